// One pixel of the tensor from the raw frame: the whole body of the CUDA kernel, and a host loop's.
#pragma once

#include "fasdk/framing.hpp"
#include "fasdk/pixel.hpp"
#include "fasdk/standard.hpp"
#include "fasdk/view.hpp"

namespace fasdk {

// The cropped or aligned frame and how it becomes a tensor. Passed to a kernel by value, so a launch
// copies and allocates nothing; the pointers are the device's there.
template <typename Sample>
struct TensorSource {
    Crop<Sample> crop;  // or the frame, if aligned, its part at (left, top)
    bool aligned;
    Alignment alignment;
    Framing framing;
    Inside inside;
    std::int32_t out_width;
    std::int32_t out_height;
    const std::uint8_t* levels;  // uint8 [65536] for depth, else null
    Normalization planes[3];
    bool swap;  // plane 0 takes the frame's last channel
};

#if !defined(__CUDACC_RTC__)
template <typename Sample>
TensorSource<Sample> cropped_source(const FrameView<Sample>& frame, const Region& region,
                                    const Framing& framing, int out_width, int out_height,
                                    const std::uint8_t* levels, const Normalization* planes,
                                    bool swap) {
    const Crop<Sample> crop = crop_of(frame, region, framing);
    return {crop,
            false,
            {},
            framing,
            inside_of(crop.width, crop.height, out_width, out_height, framing.fit),
            out_width,
            out_height,
            levels,
            {planes[0], planes[1], planes[2]},
            swap};
}

// Where a part of a frame lies in it.
struct Window {
    int left;
    int top;
    int frame_width;
    int frame_height;
};

// `part` holds every pixel of the frame that the aligned face is interpolated from.
template <typename Sample>
TensorSource<Sample> aligned_source(const FrameView<Sample>& part, const Window& window,
                                    const Alignment& alignment, const Framing& framing,
                                    int out_width, int out_height, const std::uint8_t* levels,
                                    const Normalization* planes, bool swap) {
    FrameView<Sample> frame = part;
    frame.width = window.frame_width;
    frame.height = window.frame_height;
    require_aligned(frame, alignment, out_width, out_height);
    if (window.left < 0 || window.top < 0 || part.width < 1 || part.height < 1 ||
        part.width > frame.width - window.left || part.height > frame.height - window.top) {
        throw std::invalid_argument("window is empty or leaves the frame");
    }
    return {{part, window.left, window.top, frame.width, frame.height},
            true,
            alignment,
            framing,
            {0, 0, out_width, out_height},
            out_width,
            out_height,
            levels,
            {planes[0], planes[1], planes[2]},
            swap};
}

template <typename Sample>
TensorSource<Sample> aligned_source(const FrameView<Sample>& frame, const Alignment& alignment,
                                    const Framing& framing, int out_width, int out_height,
                                    const std::uint8_t* levels, const Normalization* planes,
                                    bool swap) {
    return aligned_source(frame, Window{0, 0, frame.width, frame.height}, alignment, framing,
                          out_width, out_height, levels, planes, swap);
}
#endif

struct TensorValues {
    float planes[3];
};

// The three planes' values at output pixel (x, y): crop, depth levels, resize, order, normalize.
template <typename Sample>
FASDK_HD inline TensorValues tensor_values_at(const TensorSource<Sample>& source, int x, int y) {
    const Crop<Sample>& crop = source.crop;
    const FrameView<Sample>& part = crop.part;
    const Border border = source.framing.border;
    const Inside& inside = source.inside;
    const std::int32_t column = border_index(x - inside.left, inside.width, border);
    const std::int32_t row = border_index(y - inside.top, inside.height, border);
    const Scaling scaling = scaling_of(crop.width, crop.height, inside.width, inside.height,
                                       source.framing.area);
    TensorValues values{};
    std::uint8_t level = source.framing.level;
    for (int plane = 0; plane < 3; ++plane) {
        const int channel = part.channels == 1 ? 0 : (source.swap ? 2 - plane : plane);
        const auto fetch = [&](std::int32_t r, std::int32_t c) -> std::uint8_t {
            // A crop is extended from its part in the frame; an aligned face sees the frame's border.
            std::int32_t from_row = source.aligned ? border_index(r, crop.height, border)
                                                   : border_index(r + crop.top, part.height, border);
            std::int32_t from_column =
                source.aligned ? border_index(c, crop.width, border)
                               : border_index(c + crop.left, part.width, border);
            if (from_row < 0 || from_column < 0) {
                return source.framing.level;
            }
            if (source.aligned) {
                from_row -= crop.top;
                from_column -= crop.left;
            }
            const Sample sample =
                part.data[from_row * part.row_stride + from_column * part.column_stride +
                          channel * part.channel_stride];
            return source.levels != nullptr ? source.levels[sample]
                                            : static_cast<std::uint8_t>(sample);
        };
        if (plane > 0 && part.channels == 1) {
            // gray is resized once
        } else if (source.aligned) {
            const AlignedPoint at = aligned_point(source.alignment, x, y);
            level = aligned_level(at, fetch(at.row, at.column), fetch(at.row, at.column + 1),
                                  fetch(at.row + 1, at.column), fetch(at.row + 1, at.column + 1));
        } else if (column >= 0 && row >= 0) {
            level = level_at(fetch, scaling, Size{crop.width, crop.height},
                             Size{inside.width, inside.height}, column, row);
        }
        values.planes[plane] = normalized(level, source.planes[plane]);
    }
    return values;
}

}  // namespace fasdk
