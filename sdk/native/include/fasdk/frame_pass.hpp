// Crop, resize, normalise and NCHW layout of one frame in a single pass, on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "fasdk/pixel.hpp"
#include "fasdk/row_kernels.hpp"

namespace fasdk {

// A frame somebody else owns. Strides are in samples and may be negative.
template <typename Sample>
struct FrameView {
    const Sample* data;
    int width;
    int height;
    int channels;  // 1 or 3
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;
};

// Part of a frame in pixels, right and bottom inclusive.
struct Region {
    int left;
    int top;
    int right;
    int bottom;
};

// float [3, height, width], contiguous, and the normalisation that fills it.
struct Target {
    float* data;
    int width;
    int height;
    const float* table;  // [3, 256]: value by plane and 8-bit level
    bool swap;           // plane 0 takes the frame's last channel
};

// One frame's way to its tensor.
//
// A uint8 frame is used as it is; a uint16 one is mapped to 8 bits by `levels` (uint8 [65536])
// where the region needs it. A one-channel frame is replicated into three planes.
template <typename Sample>
class FramePass {
    static_assert(std::is_same_v<Sample, std::uint8_t> || std::is_same_v<Sample, std::uint16_t>);

   public:
    FramePass(const FrameView<Sample>& frame, const Region& region, const Target& target,
              const std::uint8_t* levels = nullptr)
        : frame_(frame),
          region_(region),
          target_(target),
          levels_(levels),
          width_(region.right - region.left + 1),
          height_(region.bottom - region.top + 1) {
        if (frame.channels != 1 && frame.channels != 3) {
            throw std::invalid_argument("frame must have 1 or 3 channels");
        }
        if (region.left < 0 || region.top < 0 || region.right >= frame.width ||
            region.bottom >= frame.height || width_ < 1 || height_ < 1) {
            throw std::invalid_argument("region is empty or leaves the frame");
        }
        if (target.width < 1 || target.height < 1) {
            throw std::invalid_argument("out is empty");
        }
        if (std::is_same_v<Sample, std::uint16_t> && levels == nullptr) {
            throw std::invalid_argument("a 16-bit frame needs its table of levels");
        }
        const std::size_t plane = 256 * sizeof(float);
        planes_equal_ = frame.channels == 1 &&
                        std::memcmp(target.table, target.table + 256, plane) == 0 &&
                        std::memcmp(target.table, target.table + 512, plane) == 0;
        levels_row_.resize(static_cast<std::size_t>(target.width) *
                           static_cast<std::size_t>(frame.channels));
    }

    void run() {
        if (scaling_of(width_, height_, target_.width, target_.height) == Scaling::kHalve) {
            halve();
        } else {
            interpolate();
        }
    }

   private:
    std::uint8_t level_of(Sample sample) const {
        if constexpr (std::is_same_v<Sample, std::uint8_t>) {
            return sample;
        } else {
            return levels_[sample];
        }
    }

    // Interleaved 8-bit samples of one row of the region, straight from the frame where it can be.
    const std::uint8_t* samples(int row, std::vector<std::uint8_t>& scratch) {
        const Sample* source =
            frame_.data + (region_.top + row) * frame_.row_stride +
            region_.left * frame_.column_stride;
        if constexpr (std::is_same_v<Sample, std::uint8_t>) {
            if (frame_.column_stride == frame_.channels &&
                (frame_.channel_stride == 1 || frame_.channels == 1)) {
                return source;
            }
        }
        const int channels = frame_.channels;
        scratch.resize(static_cast<std::size_t>(width_) * static_cast<std::size_t>(channels));
        std::uint8_t* to = scratch.data();
        if (channels == 1 && frame_.column_stride == 1) {
            for (int x = 0; x < width_; ++x) {
                to[x] = level_of(source[x]);
            }
            return scratch.data();
        }
        for (int x = 0; x < width_; ++x) {
            const Sample* pixel = source + x * frame_.column_stride;
            for (int c = 0; c < channels; ++c) {
                *to++ = level_of(pixel[c * frame_.channel_stride]);
            }
        }
        return scratch.data();
    }

    // One source row after the horizontal step, interleaved as the frame was.
    struct ResizedRow {
        int row;
        std::vector<std::int16_t> samples;
    };

    void resize_columns(int row, ResizedRow& into) {
        const std::uint8_t* source = samples(row, scratch_);
        if (frame_.channels == 1) {
            resize_columns_1(source, columns_, into.samples.data());
        } else {
            resize_columns_3(source, columns_, into.samples.data());
        }
        into.row = row;
    }

    void interpolate() {
        columns_ = plan_columns(width_, target_.width, frame_.channels);
        const std::vector<Tap> rows = row_taps(height_, target_.height);
        ResizedRow upper{-1, std::vector<std::int16_t>(levels_row_.size() + 1)};
        ResizedRow lower{-1, std::vector<std::int16_t>(levels_row_.size() + 1)};
        for (int y = 0; y < target_.height; ++y) {
            const Tap& tap = rows[static_cast<std::size_t>(y)];
            if (upper.row != tap.first) {
                std::swap(upper, lower);  // rows only move down, so the lower one may serve again
                if (upper.row != tap.first) {
                    resize_columns(tap.first, upper);
                }
            }
            if (lower.row != tap.second && tap.second != tap.first) {
                resize_columns(tap.second, lower);
            }
            const ResizedRow& below = tap.second == tap.first ? upper : lower;
            mix_rows(upper.samples.data(), below.samples.data(), tap, levels_row_.size(),
                     levels_row_.data());
            write(y);
        }
    }

    void halve() {
        const auto halve_rows_of = frame_.channels == 1 ? halve_rows<1> : halve_rows<3>;
        for (int y = 0; y < target_.height; ++y) {
            halve_rows_of(samples(2 * y, scratch_), samples(2 * y + 1, other_scratch_),
                          levels_row_.size(), levels_row_.data());
            write(y);
        }
    }

    // Normalise `levels_row_` into row `y` of all three planes.
    void write(int y) {
        const std::size_t width = static_cast<std::size_t>(target_.width);
        const std::size_t plane = static_cast<std::size_t>(target_.height) * width;
        const std::uint8_t* level = levels_row_.data();
        const float* const table = target_.table;
        float* const to = target_.data + static_cast<std::size_t>(y) * width;
        if (frame_.channels == 3) {
            const std::size_t first = target_.swap ? 2 : 0;
            for (std::size_t x = 0; x < width; ++x, level += 3) {
                to[x] = table[level[first]];
                to[plane + x] = table[256 + level[1]];
                to[2 * plane + x] = table[512 + level[2 - first]];
            }
            return;
        }
        for (std::size_t x = 0; x < width; ++x) {
            to[x] = table[level[x]];
        }
        if (planes_equal_) {
            std::memcpy(to + plane, to, width * sizeof(float));
            std::memcpy(to + 2 * plane, to, width * sizeof(float));
            return;
        }
        for (std::size_t x = 0; x < width; ++x) {
            to[plane + x] = table[256 + level[x]];
            to[2 * plane + x] = table[512 + level[x]];
        }
    }

    FrameView<Sample> frame_;
    Region region_;
    Target target_;
    const std::uint8_t* levels_;
    int width_;
    int height_;
    ColumnPlan columns_;
    bool planes_equal_ = false;  // one channel, one normalisation: the planes are copies
    std::vector<std::uint8_t> levels_row_;  // one output row before normalisation, interleaved
    std::vector<std::uint8_t> scratch_;
    std::vector<std::uint8_t> other_scratch_;
};

}  // namespace fasdk
