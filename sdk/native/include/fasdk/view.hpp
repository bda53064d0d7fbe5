// Views of frames owned elsewhere, and crops of them that may leave the frame.
#pragma once

#include "fasdk/framing.hpp"
#include "fasdk/standard.hpp"

#if !defined(__CUDACC_RTC__)
#include <stdexcept>
#endif

namespace fasdk {

// Strides are in samples and may be negative.
template <typename Sample>
struct FrameView {
    const Sample* data;
    int width;
    int height;
    int channels;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;

    const Sample* row(int y) const { return data + y * row_stride; }
};

// Part of a frame in pixels, right and bottom inclusive.
struct Region {
    int left;
    int top;
    int right;
    int bottom;

    // Of a region whose ends are in order and within a frame: others overflow.
    int width() const { return right - left + 1; }
    int height() const { return bottom - top + 1; }
};

// A crop that may leave the frame: the part inside, and where the crop's corner lies from that
// part's, at most 0.
template <typename Sample>
struct Crop {
    FrameView<Sample> part;
    int left;
    int top;
    int width;
    int height;

    bool leaves() const { return width != part.width || height != part.height; }
};

constexpr int kLongestCrop = 1 << 21;  // pixels; column offsets are 32-bit samples

#if !defined(__CUDACC_RTC__)
template <typename Sample>
FrameView<Sample> cropped(const FrameView<Sample>& frame, const Region& region) {
    if (region.left < 0 || region.top < 0 || region.right >= frame.width ||
        region.bottom >= frame.height || region.left > region.right ||
        region.top > region.bottom) {
        throw std::invalid_argument("region is empty or leaves the frame");
    }
    FrameView<Sample> part = frame;
    part.data += region.top * frame.row_stride + region.left * frame.column_stride;
    part.width = region.width();
    part.height = region.height();
    return part;
}

template <typename Sample>
Crop<Sample> crop_of(const FrameView<Sample>& frame, const Region& region, const Framing& framing) {
    if (!framing.pad) {
        const FrameView<Sample> part = cropped(frame, region);
        return {part, 0, 0, part.width, part.height};
    }
    const auto longer = [](int first, int last) {
        return std::int64_t{last} - first >= kLongestCrop;
    };
    if (longer(region.left, region.right) || longer(region.top, region.bottom)) {
        throw std::invalid_argument("region is too long");
    }
    const Region inside{region.left > 0 ? region.left : 0, region.top > 0 ? region.top : 0,
                        region.right < frame.width ? region.right : frame.width - 1,
                        region.bottom < frame.height ? region.bottom : frame.height - 1};
    return {cropped(frame, inside), region.left - inside.left, region.top - inside.top,
            region.width(), region.height()};
}

template <typename Sample>
void require_aligned(const FrameView<Sample>& frame, const Alignment& alignment, int out_width,
                     int out_height) {
    if (frame.width < 1 || frame.height < 1 || frame.width > kLongestAlignedSide ||
        frame.height > kLongestAlignedSide) {
        throw std::invalid_argument("frame is empty or a side is longer than 32767 pixels");
    }
    if (!fits(alignment, out_width, out_height)) {
        throw std::invalid_argument("the aligned face lies too far from the frame");
    }
}
#endif

}  // namespace fasdk
