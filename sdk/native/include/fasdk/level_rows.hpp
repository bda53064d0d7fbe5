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
    static std::uint8_t level_of(Sample sample, const std::uint8_t* levels) {
        if constexpr (std::is_same_v<Sample, std::uint8_t>) {
            static_cast<void>(levels);
            return sample;
        } else {
            return levels[sample];
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
        const std::size_t count = static_cast<std::size_t>(region_.width) * std::size_t{kChannels};
        std::uint8_t* FASDK_RESTRICT const to = room(buffer, count);
        const std::uint8_t* const levels = levels_;
        if (kChannels == 1 && region_.column_stride == 1) {
            for (std::size_t x = 0; x < count; ++x) {
                to[x] = level_of(source[x], levels);
            }
            return to;
        }
        const std::ptrdiff_t step = region_.column_stride;
        const std::ptrdiff_t channel_step = region_.channel_stride;
        std::ptrdiff_t at = 0;
        for (std::size_t x = 0; x < count; x += kChannels, at += step) {
            for (std::size_t c = 0; c < kChannels; ++c) {
                to[x + c] =
                    level_of(source[at + static_cast<std::ptrdiff_t>(c) * channel_step], levels);
            }
        }
        return to;
    }

    // Ask for the row after next: rows of a crop lie pages apart, where hardware does not look ahead.
    void look_ahead(int row) const {
#if defined(__GNUC__)
        if (row + 2 < region_.height && region_.column_stride == kChannels) {
            const auto* next = reinterpret_cast<const char*>(region_.row(row + 2));
            const std::ptrdiff_t bytes = region_.width * region_.column_stride *
                                         static_cast<std::ptrdiff_t>(sizeof(Sample));
            for (std::ptrdiff_t at = 0; at < bytes; at += 64) {
                __builtin_prefetch(next + at);
            }
        }
#else
        static_cast<void>(row);
#endif
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
        look_ahead(row);
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
