// Crop, resize, normalize and NCHW layout of one frame in a single pass, on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "fasdk/composite.hpp"
#include "fasdk/frame.hpp"
#include "fasdk/level_rows.hpp"

namespace fasdk {

// float [3, height, width], contiguous, and the normalization that fills it.
struct Target {
    float* data;
    int width;
    int height;
    Normalization planes[3];
    bool swap;  // plane 0 takes the frame's last channel

    float* row(int plane, int y) const {
        const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(plane) * height + y;
        return data + line * width;
    }
};

namespace detail {

inline bool same(const Normalization& a, const Normalization& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

inline void require(const Target& target) {
    if (target.width < 1 || target.height < 1) {
        throw std::invalid_argument("out is empty");
    }
}

inline void write_colour(FrameView<std::uint8_t> region, const Target& target,
                         const RowKernels& kernels, Scratch& scratch) {
    bool swap = target.swap;
    if (region.channel_stride == -1 && region.column_stride == 3) {  // a BGR frame seen as RGB
        region.data -= 2;
        region.channel_stride = 1;
        swap = !swap;
    }
    const std::size_t width = static_cast<std::size_t>(target.width);
    PlaneRow planes[3];
    for (unsigned i = 0; i < 3; ++i) {
        planes[i] = {nullptr, target.planes[i], swap ? 2 - i : i};
    }
    LevelRows<std::uint8_t, 3>(region, target.width, target.height, nullptr, kernels, scratch)
        .run([&](int y, const std::uint32_t* pixels) {
            for (int i = 0; i < 3; ++i) {
                planes[i].row = target.row(i, y);
            }
            kernels.planes(pixels, width, planes);
        });
}

// One channel into the planes `first` to `last`; planes of one normalization are copies.
template <typename Sample>
void write_grey(const FrameView<Sample>& region, const Target& target, int first, int last,
                const std::uint8_t* levels, const RowKernels& kernels, Scratch& scratch) {
    const std::size_t width = static_cast<std::size_t>(target.width);
    LevelRows<Sample, 1>(region, target.width, target.height, levels, kernels, scratch)
        .run([&](int y, const std::uint32_t* row) {
            const auto* gray = reinterpret_cast<const std::uint8_t*>(row);
            kernels.plane(gray, width, {target.row(first, y), target.planes[first], 0});
            for (int i = first + 1; i <= last; ++i) {
                if (same(target.planes[i], target.planes[first])) {
                    std::memcpy(target.row(i, y), target.row(first, y), width * sizeof(float));
                } else {
                    kernels.plane(gray, width, {target.row(i, y), target.planes[i], 0});
                }
            }
        });
}

}  // namespace detail

// An 8-bit frame of three channels, or of one, which fills all three planes.
inline void image_to_tensor(const FrameView<std::uint8_t>& frame, const Region& region,
                            const Target& target, const RowKernels& kernels) {
    if (frame.channels != 1 && frame.channels != 3) {
        throw std::invalid_argument("frame must have 1 or 3 channels");
    }
    detail::require(target);
    const FrameView<std::uint8_t> part = cropped(frame, region);
    Scratch& scratch = scratch_of_this_thread();
    if (frame.channels == 3) {
        detail::write_colour(part, target, kernels, scratch);
    } else {
        detail::write_grey(part, target, 0, 2, nullptr, kernels, scratch);
    }
}

// A 16-bit frame, mapped to 8 bits by `levels` (uint8 [65536]) before the resize.
inline void depth_to_tensor(const FrameView<std::uint16_t>& frame, const Region& region,
                            const std::uint8_t* levels, const Target& target,
                            const RowKernels& kernels) {
    if (frame.channels != 1) {
        throw std::invalid_argument("frame must have 1 channel");
    }
    detail::require(target);
    detail::write_grey(cropped(frame, region), target, 0, 2, levels, kernels,
                       scratch_of_this_thread());
}

// An infrared frame, its HOG and its PLGF, each resized: planes 0, 1 and 2.
inline void composite_to_tensor(const FrameView<std::uint8_t>& frame, const Region& region,
                                const Target& target, const RowKernels& kernels) {
    if (frame.channels != 1) {
        throw std::invalid_argument("frame must have 1 channel");
    }
    detail::require(target);
    Scratch& scratch = scratch_of_this_thread();
    const FrameView<std::uint8_t> gray = contiguous(cropped(frame, region), scratch.gray);
    const auto write = [&](const FrameView<std::uint8_t>& from, int plane) {
        detail::write_grey(from, target, plane, plane, nullptr, kernels, scratch);
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
}

}  // namespace fasdk
