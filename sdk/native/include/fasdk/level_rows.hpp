// The resized 8-bit rows of a frame, one after the other, on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "fasdk/frame.hpp"
#include "fasdk/row_kernels.hpp"

namespace fasdk {

// Resizes a cropped frame of `kChannels` channels and hands each row to a sink.
//
// A uint8 frame is used as it is; a uint16 one is mapped to 8 bits by `levels` (uint8 [65536])
// first, sample by sample, as often as a row is needed: once, or twice when rows are far apart.
template <typename Sample, int kChannels>
class LevelRows {
    static_assert(std::is_same_v<Sample, std::uint8_t> || std::is_same_v<Sample, std::uint16_t>);
    static constexpr std::size_t kLanes = lanes_of(kChannels);

   public:
    LevelRows(const FrameView<Sample>& region, int width, int height, const std::uint8_t* levels,
              const RowKernels& kernels, Scratch& scratch)
        : region_(region),
          width_(width),
          height_(height),
          levels_(levels),
          kernels_(kernels),
          scratch_(scratch),
          samples_(static_cast<std::size_t>(width) * kLanes) {
        room(scratch.levels, (samples_ + 3) / 4);
    }

    // Calls `sink(y, pixels)` for every output row; `pixels` is uint8 [width][lanes], 4-aligned.
    template <typename Sink>
    void run(const Sink& sink) {
        if (scaling_of(region_.width, region_.height, width_, height_) == Scaling::kHalve) {
            halve(sink);
        } else {
            interpolate(sink);
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

    std::uint8_t* levels_row() { return reinterpret_cast<std::uint8_t*>(scratch_.levels.data()); }

    // Interleaved 8-bit samples of one row, straight from the frame where it can be.
    const std::uint8_t* samples(int row, std::vector<std::uint8_t>& buffer) {
        const Sample* source = region_.row(row);
        if constexpr (std::is_same_v<Sample, std::uint8_t>) {
            if (region_.column_stride == kChannels &&
                (kChannels == 1 || region_.channel_stride == 1)) {
                return source;
            }
        }
        std::uint8_t* to =
            room(buffer, static_cast<std::size_t>(region_.width) * std::size_t{kChannels});
        const std::uint8_t* const samples = to;
        if (kChannels == 1 && region_.column_stride == 1) {
            for (int x = 0; x < region_.width; ++x) {
                to[x] = level_of(source[x]);
            }
            return samples;
        }
        for (int x = 0; x < region_.width; ++x) {
            const Sample* pixel = source + x * region_.column_stride;
            for (int c = 0; c < kChannels; ++c) {
                *to++ = level_of(pixel[c * region_.channel_stride]);
            }
        }
        return samples;
    }

    // One source row after the horizontal step.
    struct ResizedRow {
        int row;
        std::int16_t* samples;
    };

    void resize_columns(int row, const ColumnPlan& plan, ResizedRow& into) {
        const auto columns = kChannels == 1   ? kernels_.columns_1
                             : kChannels == 3 ? kernels_.columns_3
                                              : kernels_.columns_4;
        columns(samples(row, scratch_.samples), plan, into.samples);
        into.row = row;
    }

    template <typename Sink>
    void interpolate(const Sink& sink) {
        const ColumnPlan& columns =
            scratch_.columns.get(region_.width, width_, kChannels, [&](ColumnPlan& plan) {
                plan_columns(region_.width, width_, kChannels, plan);
            });
        const std::vector<Tap>& rows =
            scratch_.rows.get(region_.height, height_, 0, [&](std::vector<Tap>& taps) {
                row_taps(region_.height, height_, taps);
            });
        ResizedRow upper{-1, room(scratch_.upper, samples_)};
        ResizedRow lower{-1, room(scratch_.lower, samples_)};
        for (int y = 0; y < height_; ++y) {
            const Tap& tap = rows[static_cast<std::size_t>(y)];
            if (upper.row != tap.first) {
                std::swap(upper, lower);  // rows only move down, so the lower one may serve again
                if (upper.row != tap.first) {
                    resize_columns(tap.first, columns, upper);
                }
            }
            if (lower.row != tap.second && tap.second != tap.first) {
                resize_columns(tap.second, columns, lower);
            }
            const ResizedRow& below = tap.second == tap.first ? upper : lower;
            kernels_.mix(upper.samples, below.samples, tap, samples_, levels_row());
            sink(y, scratch_.levels.data());
        }
    }

    template <typename Sink>
    void halve(const Sink& sink) {
        for (int y = 0; y < height_; ++y) {
            halve_rows<kChannels>(samples(2 * y, scratch_.samples),
                                  samples(2 * y + 1, scratch_.other_samples),
                                  static_cast<std::size_t>(width_), levels_row());
            sink(y, scratch_.levels.data());
        }
    }

    const FrameView<Sample> region_;
    const int width_;
    const int height_;
    const std::uint8_t* const levels_;
    const RowKernels& kernels_;
    Scratch& scratch_;
    const std::size_t samples_;  // of an output row
};

}  // namespace fasdk
