// Crop, resize, normalize and NCHW layout of one frame in a single pass, on one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "fasdk/composite.hpp"
#include "fasdk/frame.hpp"
#include "fasdk/level_rows.hpp"

namespace fasdk {

// float [3, height, width], or a part of it, and the normalization that fills it.
struct Target {
    float* data;
    int width;
    int height;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t plane_stride;
    Normalization planes[3];
    bool swap;  // plane 0 takes the frame's last channel

    float* row(int plane, int y) const { return data + plane * plane_stride + y * row_stride; }

    Target part(const Inside& inside) const {
        Target target = *this;
        target.data += inside.top * row_stride + inside.left;
        target.width = inside.width;
        target.height = inside.height;
        return target;
    }
};

// A contiguous tensor.
inline Target target_of(float* data, int width, int height, const Normalization* planes,
                        bool swap) {
    return {data,
            width,
            height,
            width,
            static_cast<std::ptrdiff_t>(width) * height,
            {planes[0], planes[1], planes[2]},
            swap};
}

namespace detail {

inline bool same(const Normalization& a, const Normalization& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

inline void require(const Target& target) {
    if (target.width < 1 || target.height < 1) {
        throw std::invalid_argument("out is empty");
    }
}

// Rows of pixels of color, four samples each, into the planes.
class ColorPlanes {
   public:
    ColorPlanes(const Target& target, bool swap, const RowKernels& kernels)
        : target_(target), kernels_(kernels) {
        for (unsigned i = 0; i < 3; ++i) {
            planes_[i] = {nullptr, target.planes[i], swap ? 2 - i : i};
        }
    }

    void operator()(int y, const std::uint32_t* pixels) {
        for (int i = 0; i < 3; ++i) {
            planes_[i].row = target_.row(i, y);
        }
        kernels_.planes(pixels, static_cast<std::size_t>(target_.width), planes_);
    }

   private:
    const Target& target_;
    const RowKernels& kernels_;
    PlaneRow planes_[3];
};

// Rows of one channel into the planes `first` to `last`; planes of one normalization are copies.
class GrayPlanes {
   public:
    GrayPlanes(const Target& target, int first, int last, const RowKernels& kernels)
        : target_(target), first_(first), last_(last), kernels_(kernels) {}

    void operator()(int y, const std::uint32_t* row) const {
        const std::size_t width = static_cast<std::size_t>(target_.width);
        const auto* gray = reinterpret_cast<const std::uint8_t*>(row);
        kernels_.plane(gray, width, {target_.row(first_, y), target_.planes[first_], 0});
        for (int i = first_ + 1; i <= last_; ++i) {
            if (same(target_.planes[i], target_.planes[first_])) {
                std::memcpy(target_.row(i, y), target_.row(first_, y), width * sizeof(float));
            } else {
                kernels_.plane(gray, width, {target_.row(i, y), target_.planes[i], 0});
            }
        }
    }

   private:
    const Target& target_;
    const int first_;
    const int last_;
    const RowKernels& kernels_;
};

inline void write_color(Crop<std::uint8_t> crop, const Framing& framing, const Target& target,
                        const RowKernels& kernels, Scratch& scratch) {
    bool swap = target.swap;
    FrameView<std::uint8_t>& part = crop.part;
    if (part.channel_stride == -1 && part.column_stride == 3) {  // a BGR frame seen as RGB
        part.data -= 2;
        part.channel_stride = 1;
        swap = !swap;
    }
    ColorPlanes planes(target, swap, kernels);
    LevelRows<std::uint8_t, 3>(crop, framing, target.width, target.height, nullptr, kernels,
                               scratch)
        .run([&](int y, const std::uint32_t* pixels) { planes(y, pixels); });
}

template <typename Sample>
void write_gray(const Crop<Sample>& crop, const Framing& framing, const Target& target, int first,
                int last, const std::uint8_t* levels, const RowKernels& kernels,
                Scratch& scratch) {
    LevelRows<Sample, 1>(crop, framing, target.width, target.height, levels, kernels, scratch)
        .run(GrayPlanes(target, first, last, kernels));
}

// What a letterbox leaves of the planes. Normalization is the same for every pixel of a plane, so a
// border of values is the border of levels.
inline void surround(const Target& target, const Inside& inside, const Framing& framing) {
    if (inside.width == target.width && inside.height == target.height) {
        return;
    }
    for (int plane = 0; plane < 3; ++plane) {
        const float constant = normalized(framing.level, target.planes[plane]);
        for (int y = inside.top; y < inside.top + inside.height; ++y) {
            float* const row = target.row(plane, y);
            for (int x = 0; x < target.width; ++x) {
                const int at = border_index(x - inside.left, inside.width, framing.border);
                if (at < 0) {
                    row[x] = constant;
                } else if (at != x - inside.left) {
                    row[x] = row[inside.left + at];
                }
            }
        }
        const std::size_t width = static_cast<std::size_t>(target.width);
        for (int y = 0; y < target.height; ++y) {
            const int at = border_index(y - inside.top, inside.height, framing.border);
            if (at < 0) {
                std::fill_n(target.row(plane, y), width, constant);
            } else if (at != y - inside.top) {
                std::memcpy(target.row(plane, y), target.row(plane, inside.top + at),
                            width * sizeof(float));
            }
        }
    }
}

// The levels of an aligned face, row by row, to a sink as LevelRows' are.
template <int kChannels, typename Sample, typename Sink>
void align_rows(const FrameView<Sample>& frame, const Alignment& alignment, const Framing& framing,
                int width, int height, const std::uint8_t* levels, Scratch& scratch, Sink&& sink) {
    constexpr std::size_t kLanes = lanes_of(kChannels);
    room(scratch.levels, (static_cast<std::size_t>(width) * kLanes + 3) / 4);
    auto* const to = reinterpret_cast<std::uint8_t*>(scratch.levels.data());
    const auto level_of = [&](const Sample* sample) -> std::uint8_t {
        return levels == nullptr ? static_cast<std::uint8_t>(*sample) : levels[*sample];
    };
    std::int32_t* const along = room(scratch.along, 2 * static_cast<std::size_t>(width));
    for (int x = 0; x < width; ++x) {
        along[2 * x] = aligned_along(alignment.m, x);
        along[2 * x + 1] = aligned_along(alignment.m + 3, x);
    }
    for (int y = 0; y < height; ++y) {
        const std::int32_t start_x = aligned_start(alignment.m, y);
        const std::int32_t start_y = aligned_start(alignment.m + 3, y);
        std::uint8_t* out = to;
        for (int x = 0; x < width; ++x, out += kLanes) {
            const AlignedPoint at = aligned_point(start_x + along[2 * x], start_y + along[2 * x + 1]);
            if (at.column >= 0 && at.row >= 0 && at.column + 1 < frame.width &&
                at.row + 1 < frame.height) {
                const Sample* upper = frame.row(at.row) + at.column * frame.column_stride;
                for (int c = 0; c < kChannels; ++c, upper += frame.channel_stride) {
                    const Sample* lower = upper + frame.row_stride;
                    out[c] = aligned_level(
                        at, level_of(upper), level_of(upper + frame.column_stride),
                        level_of(lower), level_of(lower + frame.column_stride));
                }
                continue;
            }
            const int rows[2] = {border_index(at.row, frame.height, framing.border),
                                 border_index(at.row + 1, frame.height, framing.border)};
            const int columns[2] = {border_index(at.column, frame.width, framing.border),
                                    border_index(at.column + 1, frame.width, framing.border)};
            for (int c = 0; c < kChannels; ++c) {
                const auto fetch = [&](int row, int column) -> std::uint8_t {
                    return row < 0 || column < 0
                               ? framing.level
                               : level_of(frame.row(row) + column * frame.column_stride +
                                          c * frame.channel_stride);
                };
                out[c] = aligned_level(at, fetch(rows[0], columns[0]), fetch(rows[0], columns[1]),
                                       fetch(rows[1], columns[0]), fetch(rows[1], columns[1]));
            }
        }
        sink(y, scratch.levels.data());
    }
}

}  // namespace detail

// An 8-bit frame of three channels, or of one, which fills all three planes.
inline void image_to_tensor(const FrameView<std::uint8_t>& frame, const Region& region,
                            const Target& target, const RowKernels& kernels,
                            const Framing& framing = {}) {
    if (frame.channels != 1 && frame.channels != 3) {
        throw std::invalid_argument("frame must have 1 or 3 channels");
    }
    detail::require(target);
    const Crop<std::uint8_t> crop = crop_of(frame, region, framing);
    const Inside inside =
        inside_of(crop.width, crop.height, target.width, target.height, framing.fit);
    const Target part = target.part(inside);
    Scratch& scratch = scratch_of_this_thread();
    if (frame.channels == 3) {
        detail::write_color(crop, framing, part, kernels, scratch);
    } else {
        detail::write_gray(crop, framing, part, 0, 2, nullptr, kernels, scratch);
    }
    detail::surround(target, inside, framing);
}

// A 16-bit frame, mapped to 8 bits by `levels` (uint8 [65536]) before the resize.
inline void depth_to_tensor(const FrameView<std::uint16_t>& frame, const Region& region,
                            const std::uint8_t* levels, const Target& target,
                            const RowKernels& kernels, const Framing& framing = {}) {
    if (frame.channels != 1) {
        throw std::invalid_argument("frame must have 1 channel");
    }
    detail::require(target);
    const Crop<std::uint16_t> crop = crop_of(frame, region, framing);
    const Inside inside =
        inside_of(crop.width, crop.height, target.width, target.height, framing.fit);
    detail::write_gray(crop, framing, target.part(inside), 0, 2, levels, kernels,
                       scratch_of_this_thread());
    detail::surround(target, inside, framing);
}

// An infrared frame, its HOG and its PLGF, each resized: planes 0, 1 and 2.
inline void composite_to_tensor(const FrameView<std::uint8_t>& frame, const Region& region,
                                const Target& target, const RowKernels& kernels,
                                const Framing& framing = {}) {
    if (frame.channels != 1) {
        throw std::invalid_argument("frame must have 1 channel");
    }
    detail::require(target);
    Scratch& scratch = scratch_of_this_thread();
    const FrameView<std::uint8_t> gray = contiguous(cropped(frame, region), scratch.gray);
    const Inside inside =
        inside_of(gray.width, gray.height, target.width, target.height, framing.fit);
    const Target part = target.part(inside);
    const auto write = [&](const FrameView<std::uint8_t>& from, int plane) {
        const Crop<std::uint8_t> whole{from, 0, 0, from.width, from.height};
        detail::write_gray(whole, framing, part, plane, plane, nullptr, kernels, scratch);
    };
    write(gray, 0);
    FrameView<std::uint8_t> drawn = gray;
    std::uint8_t* const pixels = room(
        scratch.drawn, static_cast<std::size_t>(gray.width) * static_cast<std::size_t>(gray.height));
    drawn.data = pixels;
    draw_hog(gray, pixels, kernels, scratch);
    write(drawn, 1);
    draw_plgf(gray, pixels, kernels, scratch);
    write(drawn, 2);
    detail::surround(target, inside, framing);
}

// A face of an 8-bit frame, aligned: what OpenCV's warpAffine in fixed point makes of it.
inline void aligned_image_to_tensor(const FrameView<std::uint8_t>& frame,
                                    const Alignment& alignment, const Target& target,
                                    const RowKernels& kernels, const Framing& framing) {
    if (frame.channels != 1 && frame.channels != 3) {
        throw std::invalid_argument("frame must have 1 or 3 channels");
    }
    detail::require(target);
    require_aligned(frame, alignment, target.width, target.height);
    Scratch& scratch = scratch_of_this_thread();
    if (frame.channels == 3) {
        detail::align_rows<3>(frame, alignment, framing, target.width, target.height, nullptr,
                              scratch, detail::ColorPlanes(target, target.swap, kernels));
    } else {
        detail::align_rows<1>(frame, alignment, framing, target.width, target.height, nullptr,
                              scratch, detail::GrayPlanes(target, 0, 2, kernels));
    }
}

// The same of a 16-bit frame, mapped to 8 bits before it is interpolated.
inline void aligned_depth_to_tensor(const FrameView<std::uint16_t>& frame,
                                    const Alignment& alignment, const std::uint8_t* levels,
                                    const Target& target, const RowKernels& kernels,
                                    const Framing& framing) {
    if (frame.channels != 1) {
        throw std::invalid_argument("frame must have 1 channel");
    }
    detail::require(target);
    require_aligned(frame, alignment, target.width, target.height);
    detail::align_rows<1>(frame, alignment, framing, target.width, target.height, levels,
                          scratch_of_this_thread(), detail::GrayPlanes(target, 0, 2, kernels));
}

}  // namespace fasdk
