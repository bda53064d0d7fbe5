// Runs the vectors that make_vectors.py wrote from OpenCV, bit by bit: no Python, so the same
// program runs under qemu for another architecture. Exit 0 only if every vector passed.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fasdk/frame_pass.hpp"

namespace {

constexpr char kMagic[] = {'F', 'A', 'S', 'D', 'K', 'V', 'C', '1'};
constexpr std::uint32_t kDigest = 1;     // a 64-bit digest of the levels follows, not the levels
constexpr std::uint32_t kSwap = 2;       // plane 0 takes the last channel
constexpr std::uint32_t kUpsideDown = 4; // rows, columns, channels stored in reverse
constexpr std::uint32_t kMirrored = 8;
constexpr std::uint32_t kReversed = 16;

struct Vector {
    std::uint32_t seed, bits, channels, width, height, row_padding, flags;
    std::uint32_t left, top, right, bottom, out_width, out_height;
};

// The generator both sides draw from: xorshift32, one byte a step.
class Bytes {
   public:
    explicit Bytes(std::uint32_t seed) : state_(seed * 2654435761U + 1U) {
        if (state_ == 0) state_ = 1;
    }
    std::uint8_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 17;
        state_ ^= state_ << 5;
        return static_cast<std::uint8_t>(state_ >> 24);
    }

   private:
    std::uint32_t state_;
};

class Reader {
   public:
    explicit Reader(const std::string& path) : file_(path, std::ios::binary) {
        if (!file_) throw std::runtime_error(path + ": cannot be read");
    }
    void read(void* to, std::size_t size) {
        if (!file_.read(static_cast<char*>(to), static_cast<std::streamsize>(size))) {
            throw std::runtime_error("the vector file is truncated");
        }
    }
    std::uint32_t word() {
        std::uint8_t b[4];
        read(b, sizeof b);
        return b[0] | (static_cast<std::uint32_t>(b[1]) << 8) |
               (static_cast<std::uint32_t>(b[2]) << 16) | (static_cast<std::uint32_t>(b[3]) << 24);
    }
    bool exhausted() { return file_.peek() == std::ifstream::traits_type::eof(); }

   private:
    std::ifstream file_;
};

std::uint64_t fnv1a(const std::vector<std::uint8_t>& bytes) {
    std::uint64_t hash = 14695981039346656037ULL;
    for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211ULL;
    return hash;
}

// A frame stored with padding and reversals, seen through the strides that undo them.
template <typename Sample>
struct Stored {
    std::vector<Sample> samples;
    fasdk::FrameView<Sample> view;
};

template <typename Sample>
Stored<Sample> store(const Vector& v) {
    const std::ptrdiff_t channels = v.channels;
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(v.width) * channels + v.row_padding;
    Stored<Sample> stored{
        std::vector<Sample>(static_cast<std::size_t>(row) * v.height, Sample{0xA5}),
        {nullptr, static_cast<int>(v.width), static_cast<int>(v.height),
         static_cast<int>(v.channels), row, channels, 1}};
    auto& view = stored.view;
    std::ptrdiff_t origin = 0;
    if (v.flags & kUpsideDown) {
        origin += row * (static_cast<std::ptrdiff_t>(v.height) - 1);
        view.row_stride = -row;
    }
    if (v.flags & kMirrored) {
        origin += channels * (static_cast<std::ptrdiff_t>(v.width) - 1);
        view.column_stride = -channels;
    }
    if (v.flags & kReversed) {
        origin += channels - 1;
        view.channel_stride = -1;
    }
    Sample* data = stored.samples.data() + origin;
    view.data = data;
    Bytes bytes(v.seed);
    for (std::ptrdiff_t y = 0; y < view.height; ++y) {
        for (std::ptrdiff_t x = 0; x < view.width; ++x) {
            for (std::ptrdiff_t c = 0; c < channels; ++c) {
                unsigned value = bytes.next();
                if (sizeof(Sample) == 2) value |= static_cast<unsigned>(bytes.next()) << 8;
                data[y * view.row_stride + x * view.column_stride + c * view.channel_stride] =
                    static_cast<Sample>(value);
            }
        }
    }
    return stored;
}

// Levels the pixel function gives one at a time: what a CUDA thread will run.
template <typename Sample>
std::vector<std::uint8_t> pixel_by_pixel(const Vector& v, const fasdk::FrameView<Sample>& view,
                                         const std::uint8_t* levels) {
    const int from_width = static_cast<int>(v.right - v.left + 1);
    const int from_height = static_cast<int>(v.bottom - v.top + 1);
    const int width = static_cast<int>(v.out_width);
    const int height = static_cast<int>(v.out_height);
    const auto columns = fasdk::column_taps(from_width, width);
    const auto rows = fasdk::row_taps(from_height, height);
    const auto scaling = fasdk::scaling_of(from_width, from_height, width, height);
    std::vector<std::uint8_t> result;
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            for (int c = 0; c < view.channels; ++c) {
                const auto fetch = [&](int row, int column) {
                    const Sample sample =
                        view.data[(static_cast<int>(v.top) + row) * view.row_stride +
                                  (static_cast<int>(v.left) + column) * view.column_stride +
                                  c * view.channel_stride];
                    return levels ? levels[sample] : static_cast<std::uint8_t>(sample);
                };
                result.push_back(fasdk::level_at(fetch, scaling,
                                                 columns[static_cast<std::size_t>(x)],
                                                 rows[static_cast<std::size_t>(y)], x, y));
            }
        }
    }
    return result;
}

// The tensor's bit patterns must be the table's entries at the expected levels, nothing near them.
bool same_bits(const Vector& v, const std::vector<std::uint8_t>& levels, const float* table,
               const std::vector<float>& tensor) {
    const std::size_t pixels = static_cast<std::size_t>(v.out_width) * v.out_height;
    for (std::size_t plane = 0; plane < 3; ++plane) {
        const std::size_t shown = (v.flags & kSwap) ? 2 - plane : plane;
        const std::size_t channel = v.channels == 1 ? 0 : shown;
        for (std::size_t i = 0; i < pixels; ++i) {
            const float* wanted = table + 256 * plane + levels[i * v.channels + channel];
            if (std::memcmp(&tensor[plane * pixels + i], wanted, sizeof(float)) != 0) return false;
        }
    }
    return true;
}

template <typename Sample>
bool passes(const Vector& v, Reader& file) {
    const std::size_t samples = static_cast<std::size_t>(v.out_width) * v.out_height * v.channels;
    const Stored<Sample> frame = store<Sample>(v);
    std::vector<std::uint8_t> depth_levels;
    if (sizeof(Sample) == 2) {
        for (unsigned depth = 0; depth < 65536; ++depth) {
            depth_levels.push_back(static_cast<std::uint8_t>((depth * 40503U) >> 16));
        }
    }
    const std::uint8_t* to_levels = depth_levels.empty() ? nullptr : depth_levels.data();
    const std::vector<std::uint8_t> found = pixel_by_pixel(v, frame.view, to_levels);

    bool right = true;
    if (v.flags & kDigest) {
        const std::uint64_t low = file.word();
        right = (low | (static_cast<std::uint64_t>(file.word()) << 32)) == fnv1a(found);
    } else {
        std::vector<std::uint8_t> wanted(samples);
        file.read(wanted.data(), wanted.size());
        right = wanted == found;
    }

    std::vector<float> table(768);
    Bytes bytes(v.seed ^ 0x5EEDU);
    for (float& value : table) {
        value = static_cast<float>(bytes.next()) + static_cast<float>(bytes.next()) / 256.0F;
    }
    std::vector<float> tensor(static_cast<std::size_t>(v.out_width) * v.out_height * 3, -1.0F);
    const fasdk::Region region{static_cast<int>(v.left), static_cast<int>(v.top),
                               static_cast<int>(v.right), static_cast<int>(v.bottom)};
    const fasdk::Target target{tensor.data(), static_cast<int>(v.out_width),
                               static_cast<int>(v.out_height), table.data(),
                               (v.flags & kSwap) != 0};
    fasdk::FramePass<Sample>(frame.view, region, target, to_levels).run();
    return same_bits(v, found, table.data(), tensor) && right;
}

int run(const std::string& path) {
    Reader file(path);
    char magic[sizeof kMagic];
    file.read(magic, sizeof magic);
    if (std::memcmp(magic, kMagic, sizeof magic) != 0) {
        throw std::runtime_error(path + ": not a vector file of this version");
    }
    const std::uint32_t count = file.word();
    std::uint32_t wrong = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const Vector v{file.word(), file.word(), file.word(), file.word(), file.word(),
                       file.word(), file.word(), file.word(), file.word(), file.word(),
                       file.word(), file.word(), file.word()};
        if (v.bits != 8 && v.bits != 16) throw std::runtime_error("a vector of unknown depth");
        if (v.bits == 8 ? passes<std::uint8_t>(v, file) : passes<std::uint16_t>(v, file)) continue;
        ++wrong;
        std::printf("vector %u: %ux%ux%u to %ux%u differs\n", i, v.right - v.left + 1,
                    v.bottom - v.top + 1, v.channels, v.out_width, v.out_height);
    }
    if (count == 0 || !file.exhausted()) throw std::runtime_error(path + ": wrong vector count");
    std::printf("%u of %u vectors match\n", count - wrong, count);
    return wrong == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: fasdk_vectors VECTORS\n");
        return 2;
    }
    try {
        return run(argv[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
