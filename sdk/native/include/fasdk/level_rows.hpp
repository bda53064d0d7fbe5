// The resized 8-bit rows of a crop, one after the other, on one thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "fasdk/frame.hpp"
#include "fasdk/row_kernels.hpp"

namespace fasdk {

// Resizes a crop of `kChannels` channels and hands each row to a sink.
//
// A uint8 frame is used as it is; a uint16 one is mapped to 8 bits by `levels` (uint8 [65536])
// first, sample by sample, as often as a row is needed: once, or twice when rows are far apart.
template <typename Sample, int kChannels>
class LevelRows {
    static_assert(std::is_same_v<Sample, std::uint8_t> || std::is_same_v<Sample, std::uint16_t>);
    static constexpr std::size_t kLanes = lanes_of(kChannels);

   public:
    LevelRows(const Crop<Sample>& crop, const Framing& framing, int width, int height,
              const std::uint8_t* levels, const RowKernels& kernels, Scratch& scratch)
        : part_(crop.part),
          crop_(crop),
          framing_(framing),
          leaves_(crop.leaves()),
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
        switch (scaling_of(crop_.width, crop_.height, width_, height_, framing_.area)) {
            case Scaling::kHalve:
                return halve(sink);
            case Scaling::kBilinear:
                return interpolate(sink, false);
            case Scaling::kEnlargedAreas:
                return interpolate(sink, true);
            case Scaling::kBlocks:
                return average_blocks(sink);
            case Scaling::kAreas:
                return average_areas(sink);
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
        if (leaves_) {
            return extended(row, buffer);
        }
        if constexpr (std::is_same_v<Sample, std::uint8_t>) {
            if (part_.column_stride == kChannels && (kChannels == 1 || part_.channel_stride == 1)) {
                return part_.row(row);
            }
        }
        std::uint8_t* const to = room(
            buffer, static_cast<std::size_t>(part_.width) * static_cast<std::size_t>(kChannels));
        copy(part_.row(row), to);
        return to;
    }

    // A row of the crop with what the border makes of the pixels outside the frame.
    const std::uint8_t* extended(int row, std::vector<std::uint8_t>& buffer) {
        constexpr std::size_t kStep = kChannels;
        const auto width = static_cast<std::size_t>(crop_.width);
        std::uint8_t* const to = room(buffer, width * kStep);
        const int source = border_index(crop_.top + row, part_.height, framing_.border);
        if (source < 0) {
            std::memset(to, framing_.level, width * kStep);
            return to;
        }
        const auto before = static_cast<std::size_t>(-crop_.left);
        copy(part_.row(source), to + before * kStep);
        const auto outside = [&](std::size_t x) {
            const int at = border_index(static_cast<int>(x) + crop_.left, part_.width,
                                        framing_.border);
            if (at < 0) {
                std::memset(to + x * kStep, framing_.level, kStep);
            } else {
                std::memcpy(to + x * kStep, to + (before + static_cast<std::size_t>(at)) * kStep,
                            kStep);
            }
        };
        for (std::size_t x = 0; x < before; ++x) {
            outside(x);
        }
        for (std::size_t x = before + static_cast<std::size_t>(part_.width); x < width; ++x) {
            outside(x);
        }
        return to;
    }

    // Interleaved 8-bit samples of one row of the part inside the frame.
    void copy(const Sample* source, std::uint8_t* FASDK_RESTRICT const to) const {
        const std::size_t count = static_cast<std::size_t>(part_.width) * std::size_t{kChannels};
        const std::uint8_t* const levels = levels_;
        if (kChannels == 1 && part_.column_stride == 1) {
            for (std::size_t x = 0; x < count; ++x) {
                to[x] = level_of(source[x], levels);
            }
            return;
        }
        const std::ptrdiff_t step = part_.column_stride;
        const std::ptrdiff_t channel_step = part_.channel_stride;
        std::ptrdiff_t at = 0;
        for (std::size_t x = 0; x < count; x += kChannels, at += step) {
            for (std::size_t c = 0; c < kChannels; ++c) {
                to[x + c] =
                    level_of(source[at + static_cast<std::ptrdiff_t>(c) * channel_step], levels);
            }
        }
    }

    // Ask for the row after next: rows of a crop lie pages apart, where hardware does not look ahead.
    void look_ahead(int row) const {
#if defined(__GNUC__)
        if (row + 2 < part_.height && part_.column_stride == kChannels) {
            const auto* next = reinterpret_cast<const char*>(part_.row(row + 2));
            const std::ptrdiff_t bytes = part_.width * part_.column_stride *
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
    void interpolate(const Sink& sink, bool areas) {
        const ColumnPlan& columns = scratch_.columns.get(
            crop_.width, width_, areas ? -kChannels : kChannels, [&](ColumnPlan& plan) {
                plan_columns(crop_.width, width_, kChannels, areas, plan);
            });
        const std::vector<Tap>& rows =
            scratch_.rows.get(crop_.height, height_, areas ? -1 : 0, [&](std::vector<Tap>& taps) {
                row_taps(crop_.height, height_, areas, taps);
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

    // Whole blocks of pixels, summed exactly.
    template <typename Sink>
    void average_blocks(const Sink& sink) {
        const int across = crop_.width / width_;
        const int down = crop_.height / height_;
        const float share = block_share(across, down);
        const std::size_t count = static_cast<std::size_t>(width_) * std::size_t{kChannels};
        std::int64_t* const block = room(scratch_.block, count);
        for (int y = 0; y < height_; ++y) {
            std::fill_n(block, count, 0);
            for (int row = y * down; row < (y + 1) * down; ++row) {
                const std::uint8_t* from = samples(row, scratch_.samples);
                for (std::size_t x = 0; x < count; x += kChannels) {
                    std::int32_t sum[kChannels] = {};
                    for (int i = 0; i < across; ++i, from += kChannels) {
                        for (std::size_t c = 0; c < kChannels; ++c) {
                            sum[c] += from[c];
                        }
                    }
                    for (std::size_t c = 0; c < kChannels; ++c) {
                        block[x + c] += sum[c];
                    }
                }
            }
            emit([&](std::size_t i) { return static_cast<float>(block[i]) * share; });
            sink(y, scratch_.levels.data());
        }
    }

    // Areas with parts of pixels at their edges.
    template <typename Sink>
    void average_areas(const Sink& sink) {
        const auto spans_of = [](AxisCache<std::vector<Span>>& cache, int from,
                                 int to) -> const std::vector<Span>& {
            return cache.get(from, to, 0,
                             [&](std::vector<Span>& spans) { area_spans(from, to, spans); });
        };
        const std::vector<Span>& columns = spans_of(scratch_.column_spans, crop_.width, width_);
        const std::vector<Span>& rows = spans_of(scratch_.row_spans, crop_.height, height_);
        const std::size_t count = static_cast<std::size_t>(width_) * std::size_t{kChannels};
        float* const line = room(scratch_.line, count);
        float* const mean = room(scratch_.mean, count);
        int held = -1;
        for (int y = 0; y < height_; ++y) {
            const Span& span = rows[static_cast<std::size_t>(y)];
            std::fill_n(mean, count, 0.0F);
            for (int r = 0; r < span.count; ++r) {
                if (held != span.first + r) {  // an edge's row is in two spans
                    held = span.first + r;
                    average_columns(samples(held, scratch_.samples), columns, line);
                }
                const float share = span.share(r);
                for (std::size_t i = 0; i < count; ++i) {
                    mean[i] += line[i] * share;
                }
            }
            emit([&](std::size_t i) { return mean[i]; });
            sink(y, scratch_.levels.data());
        }
    }

    static void average_columns(const std::uint8_t* source, const std::vector<Span>& columns,
                                float* FASDK_RESTRICT to) {
        for (const Span& span : columns) {
            const std::uint8_t* from =
                source + static_cast<std::size_t>(span.first) * std::size_t{kChannels};
            float sum[kChannels] = {};
            for (int i = 0; i < span.count; ++i, from += kChannels) {
                const float share = span.share(i);
                for (std::size_t c = 0; c < kChannels; ++c) {
                    sum[c] += static_cast<float>(from[c]) * share;
                }
            }
            for (std::size_t c = 0; c < kChannels; ++c) {
                *to++ = sum[c];
            }
        }
    }

    // The output row of `mean(i)`, i counting interleaved samples.
    template <typename Mean>
    void emit(const Mean& mean) {
        std::uint8_t* const to = levels_row();
        for (std::size_t x = 0; x < static_cast<std::size_t>(width_); ++x) {
            for (std::size_t c = 0; c < kChannels; ++c) {
                to[x * kLanes + c] = level_of_mean(mean(x * kChannels + c));
            }
        }
    }

    const FrameView<Sample> part_;
    const Crop<Sample> crop_;
    const Framing framing_;
    const bool leaves_;
    const int width_;
    const int height_;
    const std::uint8_t* const levels_;
    const RowKernels& kernels_;
    Scratch& scratch_;
    const std::size_t samples_;  // of an output row
};

}  // namespace fasdk
