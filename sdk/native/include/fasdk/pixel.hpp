// The arithmetic of one output pixel: OpenCV's 8-bit INTER_LINEAR and INTER_AREA, bit for bit, and
// normalization.
//
// Host and CUDA compile the very same functions. Levels are integers once the taps exist; a tap is
// a few IEEE operations that must not be contracted.
#pragma once

#include "fasdk/standard.hpp"

#if !defined(__CUDACC_RTC__)
#include <vector>
#endif

#if defined(__CUDACC__)
#define FASDK_HD __host__ __device__
#else
#define FASDK_HD
#endif

#if defined(__GNUC__)
#define FASDK_INLINE inline __attribute__((always_inline))
#define FASDK_RESTRICT __restrict__
#else
#define FASDK_INLINE inline
#define FASDK_RESTRICT
#endif

namespace fasdk {

// Where one output coordinate samples its axis: two source indices and their weights in 1/2048.
struct Tap {
    std::int32_t first;
    std::int32_t second;
    std::int16_t first_weight;
    std::int16_t second_weight;
};

// What OpenCV does for a pair of sizes. An exact halving of both axes is averaged, not interpolated.
// With INTER_AREA an enlargement is interpolated between the middles of areas, whole factors are
// averaged in blocks, others in areas with parts of pixels.
enum class Scaling { kBilinear, kHalve, kEnlargedAreas, kBlocks, kAreas };

namespace detail {

FASDK_HD constexpr double axis_scale(int from, int to) {
    return 1.0 / (static_cast<double>(to) / from);
}

FASDK_HD inline bool is_whole(double scale) {
    return std::fabs(scale - std::rint(scale)) < DBL_EPSILON;
}

}  // namespace detail

FASDK_HD inline Scaling scaling_of(int from_width, int from_height, int to_width, int to_height,
                                   bool area) {
    if (from_width == 2 * to_width && from_height == 2 * to_height) {
        return Scaling::kHalve;
    }
    if (!area || (from_width == to_width && from_height == to_height)) {
        return Scaling::kBilinear;
    }
    const double across = detail::axis_scale(from_width, to_width);
    const double down = detail::axis_scale(from_height, to_height);
    if (across < 1.0 || down < 1.0) {
        return Scaling::kEnlargedAreas;
    }
    return detail::is_whole(across) && detail::is_whole(down) ? Scaling::kBlocks : Scaling::kAreas;
}

// Horizontal step; the result is the weighted sum in 1/128, at most 32,655.
FASDK_HD constexpr std::int16_t blend_columns(std::uint8_t first, std::uint8_t second,
                                              std::int16_t first_weight,
                                              std::int16_t second_weight) {
    return static_cast<std::int16_t>((first * first_weight + second * second_weight) >> 4);
}

// Vertical step on two horizontal results. Each product is truncated before the sum is rounded.
FASDK_HD constexpr std::uint8_t blend_rows(std::int16_t first, std::int16_t second,
                                           std::int16_t first_weight, std::int16_t second_weight) {
    return static_cast<std::uint8_t>(
        (((first * first_weight) >> 16) + ((second * second_weight) >> 16) + 2) >> 2);
}

FASDK_HD constexpr std::uint8_t average(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                                        std::uint8_t d) {
    return static_cast<std::uint8_t>((a + b + c + d + 2) >> 2);
}

// A tensor plane's normalization in 8-bit units.
struct Normalization {
    float mean;
    float std;
};

// Two roundings to float, a difference's and a quotient's: IEEE 754 leaves no choice, here or on a
// device, and there is no product for a compiler to contract.
FASDK_HD constexpr float normalized(std::uint8_t level, Normalization by) {
    return (static_cast<float>(level) - by.mean) / by.std;
}

namespace detail {

struct Position {
    std::int32_t index;
    float fraction;  // in [0, 1)
};

// Center of output coordinate `at` on the source axis. Double, then one rounding to float: OpenCV's
// order, which no compiler may contract (a fused multiply-subtract gives another float here).
FASDK_HD inline Position position(int at, int from, int to) {
    const double scale = 1.0 / (static_cast<double>(to) / from);
    const float center = static_cast<float>((at + 0.5) * scale - 0.5);
    const float floor = std::floor(center);
    return {static_cast<std::int32_t>(floor), center - floor};
}

// The same for the areas of an enlargement: the second sample counts as far as the output's area
// reaches into it.
FASDK_HD inline Position area_position(int at, int from, int to) {
    const double inverse = static_cast<double>(to) / from;
    const double scale = 1.0 / inverse;
    const auto index = static_cast<std::int32_t>(std::floor(at * scale));
    const float reach = static_cast<float>((at + 1) - (index + 1) * inverse);
    return {index, reach <= 0.0F ? 0.0F : reach - std::floor(reach)};
}

FASDK_HD inline Position position(int at, int from, int to, bool areas) {
    return areas ? area_position(at, from, to) : position(at, from, to);
}

FASDK_HD inline std::int16_t weight(float fraction) {
    return static_cast<std::int16_t>(std::lrint(fraction * 2048.0F));  // ties to even
}

FASDK_HD constexpr std::int32_t clamped(std::int32_t index, int size) {
    return index < 0 ? 0 : (index >= size ? size - 1 : index);
}

FASDK_HD inline Tap tap_at(const Position& p, int from) {
    return {clamped(p.index, from), clamped(p.index + 1, from), weight(1.0F - p.fraction),
            weight(p.fraction)};
}

}  // namespace detail

// The tap of output coordinate `at` of an axis of `to` outputs over `from` samples, for columns:
// outside the first and the last sample the weight snaps to that sample.
FASDK_HD inline Tap column_tap(int at, int from, int to, bool areas = false) {
    const detail::Position p = detail::position(at, from, to, areas);
    return p.index < 0 || p.index >= from - 1
               ? detail::tap_at({detail::clamped(p.index, from), 0.0F}, from)
               : detail::tap_at(p, from);
}

// The same for rows: the indices are clamped but the weights stay. The two weights can sum to 2049,
// so this is not the column rule in other words.
FASDK_HD inline Tap row_tap(int at, int from, int to, bool areas = false) {
    return detail::tap_at(detail::position(at, from, to, areas), from);
}

#if !defined(__CUDACC_RTC__)
inline void column_taps(int from, int to, bool areas, std::vector<Tap>& taps) {
    taps.resize(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        taps[static_cast<std::size_t>(at)] = column_tap(at, from, to, areas);
    }
}

inline void row_taps(int from, int to, bool areas, std::vector<Tap>& taps) {
    taps.resize(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        taps[static_cast<std::size_t>(at)] = row_tap(at, from, to, areas);
    }
}
#endif

// The samples that one output of a shrunk axis averages, with their shares of it: the first one may
// be seen in part, and the last one.
struct Span {
    std::int32_t first;
    std::int32_t count;
    float lead;  // of the first sample
    float middle;
    float tail;  // of the last sample

    FASDK_HD float share(std::int32_t at) const {
        return at == 0 ? lead : (at == count - 1 ? tail : middle);
    }
};

FASDK_HD inline Span area_span(int at, int from, int to) {
    const double scale = detail::axis_scale(from, to);
    const double start = at * scale;
    const double end = start + scale;
    const double size = scale < from - start ? scale : from - start;
    const auto floor = static_cast<std::int32_t>(std::floor(end));
    const auto ceil = static_cast<std::int32_t>(std::ceil(start));
    const std::int32_t until = floor < from - 1 ? floor : from - 1;
    const std::int32_t whole = ceil < until ? ceil : until;

    const bool leads = whole - start > 1e-3;
    const bool trails = end - until > 1e-3;
    double part = end - until < 1.0 ? end - until : 1.0;
    part = part < size ? part : size;
    const float middle = static_cast<float>(1.0 / size);
    const float lead = static_cast<float>((whole - start) / size);
    const float tail = static_cast<float>(part / size);
    return {leads ? whole - 1 : whole, until - whole + (leads ? 1 : 0) + (trails ? 1 : 0),
            leads ? lead : (until > whole ? middle : tail), middle,
            trails ? tail : (until > whole ? middle : lead)};
}

#if !defined(__CUDACC_RTC__)
inline void area_spans(int from, int to, std::vector<Span>& spans) {
    spans.resize(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        spans[static_cast<std::size_t>(at)] = area_span(at, from, to);
    }
}
#endif

// One pixel's share of a block.
FASDK_HD inline float block_share(std::int32_t width, std::int32_t height) {
    return 1.0F / static_cast<float>(static_cast<std::int64_t>(width) * height);
}

// The level of a mean, halves to even.
FASDK_HD inline std::uint8_t level_of_mean(float mean) {
    const auto level = std::lrint(mean);
    return static_cast<std::uint8_t>(level > 255 ? 255 : level);
}

// The 8-bit level of output pixel (x, y) of one channel.
//
// `fetch(row, column)` returns that channel's uint8 sample of the crop, which is resized from `from`
// to `to`.
struct Size {
    std::int32_t width;
    std::int32_t height;
};

template <typename Fetch>
FASDK_HD std::uint8_t level_at(const Fetch& fetch, Scaling scaling, Size from, Size to, int x,
                               int y) {
    if (scaling == Scaling::kHalve) {
        return average(fetch(2 * y, 2 * x), fetch(2 * y, 2 * x + 1), fetch(2 * y + 1, 2 * x),
                       fetch(2 * y + 1, 2 * x + 1));
    }
    if (scaling == Scaling::kBlocks) {
        const std::int32_t width = from.width / to.width;
        const std::int32_t height = from.height / to.height;
        std::int64_t sum = 0;
        for (std::int32_t row = y * height; row < (y + 1) * height; ++row) {
            for (std::int32_t column = x * width; column < (x + 1) * width; ++column) {
                sum += fetch(row, column);
            }
        }
        return level_of_mean(static_cast<float>(sum) * block_share(width, height));
    }
    if (scaling == Scaling::kAreas) {
        const Span columns = area_span(x, from.width, to.width);
        const Span rows = area_span(y, from.height, to.height);
        float mean = 0.0F;
        for (std::int32_t r = 0; r < rows.count; ++r) {
            float line = 0.0F;
            for (std::int32_t c = 0; c < columns.count; ++c) {
                line += fetch(rows.first + r, columns.first + c) * columns.share(c);
            }
            mean += line * rows.share(r);
        }
        return level_of_mean(mean);
    }
    const bool areas = scaling == Scaling::kEnlargedAreas;
    const Tap column = column_tap(x, from.width, to.width, areas);
    const Tap row = row_tap(y, from.height, to.height, areas);
    const auto across = [&](std::int32_t r) {
        return blend_columns(fetch(r, column.first), fetch(r, column.second), column.first_weight,
                             column.second_weight);
    };
    return blend_rows(across(row.first), across(row.second), row.first_weight, row.second_weight);
}

}  // namespace fasdk
