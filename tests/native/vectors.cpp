// Runs the vectors that make_vectors.py wrote from OpenCV, scikit-image and SciPy, bit by bit: no
// Python, so the same program runs under qemu for another architecture. Every vector goes through
// each tier of instructions this CPU has, and pixel by pixel through the CUDA kernel's body. Exit 0
// only if every vector passed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fasdk/frame_pass.hpp"
#include "fasdk/resize.hpp"
#include "fasdk/tensor_values.hpp"

namespace {

constexpr char kMagic[] = {'F', 'A', 'S', 'D', 'K', 'V', 'C', '3'};
constexpr std::uint32_t kDigest = 1;     // a 64-bit digest of the levels follows, not the levels
constexpr std::uint32_t kSwap = 2;       // plane 0 takes the last channel
constexpr std::uint32_t kUpsideDown = 4; // rows, columns, channels stored in reverse
constexpr std::uint32_t kMirrored = 8;
constexpr std::uint32_t kReversed = 16;
constexpr std::uint32_t kComposite = 32;  // infrared, HOG and PLGF are the answer's channels
constexpr std::uint32_t kWide = 64;       // 16-bit samples are resized as they are
constexpr std::uint32_t kArea = 128;      // INTER_AREA, not INTER_LINEAR
constexpr std::uint32_t kPad = 256;       // the region may leave the frame
constexpr std::uint32_t kAligned = 512;   // there is no region, but an alignment

struct Vector {
    std::uint32_t seed, bits, channels, width, height, row_padding, flags;
    std::uint32_t left, top, right, bottom, out_width, out_height, border, level, fit;
    fasdk::Alignment alignment;
};

fasdk::Framing framing_of(const Vector& v) {
    return {(v.flags & kArea) != 0, (v.flags & kPad) != 0, static_cast<fasdk::Border>(v.border),
            static_cast<std::uint8_t>(v.level), static_cast<fasdk::Fit>(v.fit)};
}

// Whether there is more to it than a region that is resized.
bool is_framed(const Vector& v) { return (v.flags & (kArea | kPad | kAligned)) != 0 || v.fit != 0; }

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
    double number() {
        const std::uint64_t low = word();
        const std::uint64_t bits = low | (static_cast<std::uint64_t>(word()) << 32);
        double value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
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

fasdk::Region region_of(const Vector& v) {
    return {static_cast<int>(v.left), static_cast<int>(v.top), static_cast<int>(v.right),
            static_cast<int>(v.bottom)};
}

std::size_t pixels_of(const Vector& v) {
    return static_cast<std::size_t>(v.out_width) * v.out_height;
}

// Planes with a mean and a spread of their own; every other vector divides by a power of two.
void draw_normalization(const Vector& v, fasdk::Normalization* planes) {
    Bytes bytes(v.seed ^ 0x5EEDU);
    for (int i = 0; i < 3; ++i) {
        planes[i].mean = static_cast<float>(bytes.next()) + static_cast<float>(bytes.next()) / 256;
        planes[i].std = 1 + static_cast<float>(bytes.next()) + static_cast<float>(bytes.next()) / 256;
        if (v.seed % 2 == 0) planes[i].std = i == 1 ? 128.0F : -0.25F;
    }
    if (v.seed % 3 == 0) planes[1] = planes[2] = planes[0];
}

// The tensor's bit patterns must be the normalized levels, nothing near them.
bool same_bits(const Vector& v, const std::vector<std::uint8_t>& levels, std::size_t channels,
               const fasdk::Normalization* planes, const std::vector<float>& tensor) {
    for (std::size_t plane = 0; plane < 3; ++plane) {
        const std::size_t shown = (v.flags & kSwap) ? 2 - plane : plane;
        const std::size_t channel = channels == 1 ? 0 : shown;
        for (std::size_t i = 0; i < pixels_of(v); ++i) {
            const float level = static_cast<float>(levels[i * channels + channel]);
            const float wanted = (level - planes[plane].mean) / planes[plane].std;
            if (std::memcmp(&tensor[plane * pixels_of(v) + i], &wanted, sizeof wanted) != 0) {
                return false;
            }
        }
    }
    return true;
}

// The range of indices that an axis of an aligned face is interpolated from; 0 alone if none is.
struct Needed {
    int first = -1;
    int last = 0;

    void add(int at, int size, fasdk::Border border) {
        for (const int neighbor : {at, at + 1}) {
            const int index = fasdk::border_index(neighbor, size, border);
            if (index < 0) continue;
            first = first < 0 || index < first ? index : first;
            last = index > last ? index : last;
        }
    }
    int size() const { return last - begin() + 1; }
    int begin() const { return first < 0 ? 0 : first; }
};

// The part of the frame that the aligned face is interpolated from, and nothing beside it.
template <typename Sample>
struct Held {
    std::vector<Sample> samples;
    fasdk::FrameView<Sample> view;
    fasdk::Window window;
};

template <typename Sample>
Held<Sample> needed_part(const fasdk::FrameView<Sample>& frame, const Vector& v,
                         const fasdk::Target& target) {
    Needed rows;
    Needed columns;
    for (int y = 0; y < target.height; ++y) {
        for (int x = 0; x < target.width; ++x) {
            const fasdk::AlignedPoint at = fasdk::aligned_point(v.alignment, x, y);
            rows.add(at.row, frame.height, framing_of(v).border);
            columns.add(at.column, frame.width, framing_of(v).border);
        }
    }
    Held<Sample> held;
    for (int y = rows.begin(); y <= rows.last; ++y) {
        for (int x = columns.begin(); x <= columns.last; ++x) {
            for (int c = 0; c < frame.channels; ++c) {
                held.samples.push_back(
                    frame.row(y)[x * frame.column_stride + c * frame.channel_stride]);
            }
        }
    }
    const int width = columns.size();
    held.view = {held.samples.data(), width, rows.size(), frame.channels,
                 std::ptrdiff_t{width} * frame.channels, frame.channels, 1};
    held.window = {columns.begin(), rows.begin(), frame.width, frame.height};
    return held;
}

// What a CUDA thread runs, over every output pixel.
template <typename Sample>
std::vector<float> pixel_by_pixel(const fasdk::FrameView<Sample>& frame, const Vector& v,
                                  const std::uint8_t* levels, const fasdk::Target& target) {
    const bool aligned = (v.flags & kAligned) != 0;
    const Held<Sample> held = aligned ? needed_part(frame, v, target) : Held<Sample>{};
    const auto source =
        aligned
            ? fasdk::aligned_source(held.view, held.window, v.alignment, framing_of(v),
                                    target.width, target.height, levels, target.planes, target.swap)
            : fasdk::cropped_source(frame, region_of(v), framing_of(v), target.width,
                                    target.height, levels, target.planes, target.swap);
    std::vector<float> tensor;
    for (int plane = 0; plane < 3; ++plane) {
        for (int y = 0; y < target.height; ++y) {
            for (int x = 0; x < target.width; ++x) {
                tensor.push_back(fasdk::tensor_values_at(source, x, y).planes[plane]);
            }
        }
    }
    return tensor;
}

std::vector<std::uint8_t> read_levels(Reader& file, std::size_t size) {
    std::vector<std::uint8_t> levels(size);
    file.read(levels.data(), levels.size());
    return levels;
}

// The file's answer where it is whole; where it is a digest, `found` if that is the digest's.
std::vector<std::uint8_t> wanted_levels(const Vector& v, Reader& file,
                                        const std::vector<std::uint8_t>& found) {
    if (!(v.flags & kDigest)) return read_levels(file, found.size());
    const std::uint64_t low = file.word();
    const std::uint64_t digest = low | (static_cast<std::uint64_t>(file.word()) << 32);
    return digest == fnv1a(found) ? found : std::vector<std::uint8_t>();
}

std::vector<std::uint8_t> resized(const Vector& v, const fasdk::FrameView<std::uint8_t>& part,
                                  const fasdk::RowKernels& kernels) {
    std::vector<std::uint8_t> levels(pixels_of(v) * static_cast<std::size_t>(part.channels));
    fasdk::resize_8(part,
                    {levels.data(), static_cast<int>(v.out_width), static_cast<int>(v.out_height)},
                    kernels);
    return levels;
}

void fill(const fasdk::FrameView<std::uint8_t>& frame, const Vector& v, const std::uint8_t*,
          const fasdk::Target& target, const fasdk::RowKernels& kernels) {
    if (v.flags & kComposite) {
        fasdk::composite_to_tensor(frame, region_of(v), target, kernels, framing_of(v));
    } else if (v.flags & kAligned) {
        fasdk::aligned_image_to_tensor(frame, v.alignment, target, kernels, framing_of(v));
    } else {
        fasdk::image_to_tensor(frame, region_of(v), target, kernels, framing_of(v));
    }
}

void fill(const fasdk::FrameView<std::uint16_t>& frame, const Vector& v, const std::uint8_t* levels,
          const fasdk::Target& target, const fasdk::RowKernels& kernels) {
    if (v.flags & kAligned) {
        fasdk::aligned_depth_to_tensor(frame, v.alignment, levels, target, kernels, framing_of(v));
    } else {
        fasdk::depth_to_tensor(frame, region_of(v), levels, target, kernels, framing_of(v));
    }
}

// Levels of a framed vector: those of a tensor that is not normalized.
template <typename Sample>
std::vector<std::uint8_t> framed_levels(const Vector& v, const fasdk::FrameView<Sample>& frame,
                                        const std::uint8_t* to_levels,
                                        const fasdk::RowKernels& kernels) {
    const fasdk::Normalization none[3] = {{0, 1}, {0, 1}, {0, 1}};
    std::vector<float> tensor(pixels_of(v) * 3, -1.0F);
    fill(frame, v, to_levels,
         fasdk::target_of(tensor.data(), static_cast<int>(v.out_width),
                          static_cast<int>(v.out_height), none, false),
         kernels);
    std::vector<std::uint8_t> levels;
    for (std::size_t i = 0; i < pixels_of(v); ++i) {
        for (std::size_t c = 0; c < v.channels; ++c) {
            levels.push_back(static_cast<std::uint8_t>(tensor[c * pixels_of(v) + i]));
        }
    }
    return levels;
}

// Levels of a vector that becomes a tensor, before normalization, by a tier.
std::vector<std::uint8_t> levels_of(const Vector& v, const fasdk::FrameView<std::uint8_t>& frame,
                                    const std::uint8_t*, const fasdk::RowKernels& kernels) {
    if (is_framed(v)) return framed_levels(v, frame, nullptr, kernels);
    const fasdk::FrameView<std::uint8_t> part = fasdk::cropped(frame, region_of(v));
    if (!(v.flags & kComposite)) return resized(v, part, kernels);
    std::vector<std::uint8_t> gray;
    const fasdk::FrameView<std::uint8_t> whole = fasdk::contiguous(part, gray);
    std::vector<std::uint8_t> map(gray.size());
    fasdk::FrameView<std::uint8_t> drawn = whole;
    drawn.data = map.data();
    fasdk::Scratch scratch;
    const std::vector<std::uint8_t> plain = resized(v, whole, kernels);
    fasdk::draw_hog(whole, map.data(), kernels, scratch);
    const std::vector<std::uint8_t> hog = resized(v, drawn, kernels);
    fasdk::draw_plgf(whole, map.data(), kernels, scratch);
    const std::vector<std::uint8_t> plgf = resized(v, drawn, kernels);
    std::vector<std::uint8_t> levels;
    for (std::size_t i = 0; i < plain.size(); ++i) {
        levels.insert(levels.end(), {plain[i], hog[i], plgf[i]});
    }
    return levels;
}

// Depth is mapped to 8 bits at its own size, whole, then resized.
std::vector<std::uint8_t> levels_of(const Vector& v, const fasdk::FrameView<std::uint16_t>& frame,
                                    const std::uint8_t* to_levels,
                                    const fasdk::RowKernels& kernels) {
    if (is_framed(v)) return framed_levels(v, frame, to_levels, kernels);
    const fasdk::FrameView<std::uint16_t> part = fasdk::cropped(frame, region_of(v));
    std::vector<std::uint8_t> mapped;
    for (int y = 0; y < part.height; ++y) {
        for (int x = 0; x < part.width; ++x) {
            mapped.push_back(to_levels[part.row(y)[x * part.column_stride]]);
        }
    }
    return resized(v, {mapped.data(), part.width, part.height, 1, part.width, 1, 1}, kernels);
}

template <typename Sample>
bool passes(const Vector& v, Reader& file) {
    const Stored<Sample> frame = store<Sample>(v);
    std::vector<std::uint8_t> depth_levels;
    if (sizeof(Sample) == 2) {
        for (unsigned depth = 0; depth < 65536; ++depth) {
            depth_levels.push_back(static_cast<std::uint8_t>((depth * 40503U) >> 16));
        }
    }
    const std::uint8_t* to_levels = depth_levels.empty() ? nullptr : depth_levels.data();
    const bool composite = (v.flags & kComposite) != 0;
    const std::size_t channels = composite ? 3 : v.channels;

    const auto& tiers = fasdk::row_kernels();
    std::vector<std::uint8_t> wanted =
        wanted_levels(v, file, levels_of(v, frame.view, to_levels, *tiers.front()));
    bool right = true;
    std::vector<float> tensor(pixels_of(v) * 3);
    fasdk::Normalization planes[3];
    draw_normalization(v, planes);
    const fasdk::Target target =
        fasdk::target_of(tensor.data(), static_cast<int>(v.out_width),
                         static_cast<int>(v.out_height), planes, (v.flags & kSwap) != 0);
    for (const fasdk::RowKernels* kernels : tiers) {
        right = right && levels_of(v, frame.view, to_levels, *kernels) == wanted;
        if (!right || v.channels == 4) continue;
        tensor.assign(tensor.size(), -1.0F);
        fill(frame.view, v, to_levels, target, *kernels);
        right = same_bits(v, wanted, channels, target.planes, tensor);
    }
    if (right && v.channels != 4 && !composite) {
        right = same_bits(v, wanted, channels, target.planes,
                          pixel_by_pixel(frame.view, v, to_levels, target));
    }
    return right;
}

// 16-bit samples: within two units of OpenCV's answer.
bool passes_wide(const Vector& v, Reader& file) {
    const Stored<std::uint16_t> frame = store<std::uint16_t>(v);
    std::vector<std::uint16_t> found(pixels_of(v) * v.channels);
    fasdk::resize_16(
        fasdk::cropped(frame.view, region_of(v)),
        {found.data(), static_cast<int>(v.out_width), static_cast<int>(v.out_height)});
    const std::vector<std::uint8_t> wanted = read_levels(file, 2 * found.size());
    bool right = true;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const int sample = wanted[2 * i] | (wanted[2 * i + 1] << 8);
        right = right && std::abs(found[i] - sample) <= 2;
    }
    return right;
}

bool passes(const Vector& v, Reader& file) {
    if (v.flags & kWide) return passes_wide(v, file);
    return v.bits == 8 ? passes<std::uint8_t>(v, file) : passes<std::uint16_t>(v, file);
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
        Vector v{file.word(), file.word(), file.word(), file.word(), file.word(), file.word(),
                 file.word(), file.word(), file.word(), file.word(), file.word(), file.word(),
                 file.word(), file.word(), file.word(), file.word(), {}};
        if (v.bits != 8 && v.bits != 16) throw std::runtime_error("a vector of unknown depth");
        if (v.border > 3 || v.level > 255 || v.fit > 2) {
            throw std::runtime_error("a vector of unknown framing");
        }
        if (v.flags & kAligned) {
            for (double& number : v.alignment.m) number = file.number();
        }
        if (passes(v, file)) continue;
        ++wrong;
        std::printf("vector %u: %ux%ux%u to %ux%u differs\n", i, v.right - v.left + 1,
                    v.bottom - v.top + 1, v.channels, v.out_width, v.out_height);
    }
    if (count == 0 || !file.exhausted()) throw std::runtime_error(path + ": wrong vector count");
    std::printf("%u of %u vectors match by", count - wrong, count);
    for (const fasdk::RowKernels* kernels : fasdk::row_kernels()) std::printf(" %s", kernels->tier);
    std::printf("\n");
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
