// One pixel of the tensor from the raw frame: the whole body of the CUDA kernel, and a host loop's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fasdk/pixel.hpp"

namespace fasdk {

// The cropped frame and how it becomes a tensor. Passed to a kernel by value, so a launch copies
// and allocates nothing; the pointers are the device's there.
template <typename Sample>
struct TensorSource {
    const Sample* data;  // the region's first sample; strides are in samples and may be negative
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;
    std::int32_t width;  // of the region
    std::int32_t height;
    std::int32_t channels;       // 1 or 3
    std::int32_t out_width;
    std::int32_t out_height;
    const std::uint8_t* levels;  // uint8 [65536] for depth, else null
    Normalization planes[3];
    bool swap;  // plane 0 takes the frame's last channel
};

struct TensorValues {
    float planes[3];
};

// The three planes' values at output pixel (x, y): crop, depth levels, resize, order, normalize.
template <typename Sample>
FASDK_HD inline TensorValues tensor_values_at(const TensorSource<Sample>& source, int x, int y) {
    const Scaling scaling =
        scaling_of(source.width, source.height, source.out_width, source.out_height);
    const Tap column = column_tap(x, source.width, source.out_width);
    const Tap row = row_tap(y, source.height, source.out_height);
    TensorValues values{};
    std::uint8_t level = 0;
    for (int plane = 0; plane < 3; ++plane) {
        const int channel = source.channels == 1 ? 0 : (source.swap ? 2 - plane : plane);
        if (plane == 0 || source.channels == 3) {  // gray is resized once
            const auto fetch = [&](std::int32_t r, std::int32_t c) -> std::uint8_t {
                const Sample sample = source.data[r * source.row_stride + c * source.column_stride +
                                                  channel * source.channel_stride];
                return source.levels != nullptr ? source.levels[sample]
                                                : static_cast<std::uint8_t>(sample);
            };
            level = level_at(fetch, scaling, column, row, x, y);
        }
        values.planes[plane] = normalized(level, source.planes[plane]);
    }
    return values;
}

}  // namespace fasdk
