// The arithmetic of one output pixel: OpenCV's 8-bit INTER_LINEAR, bit for bit, and normalization.
//
// Host and CUDA compile the very same functions. Levels are integers once the taps exist; a tap is
// a few IEEE operations that must not be contracted.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

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
enum class Scaling { kBilinear, kHalve };

FASDK_HD constexpr Scaling scaling_of(int from_width, int from_height, int to_width, int to_height) {
    return from_width == 2 * to_width && from_height == 2 * to_height ? Scaling::kHalve
                                                                      : Scaling::kBilinear;
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

// The 8-bit level of output pixel (x, y) of one channel.
//
// `fetch(row, column)` returns that channel's uint8 sample inside the cropped region; `column` and
// `row` are the taps of x and y and are not read when the scaling is kHalve.
template <typename Fetch>
FASDK_HD std::uint8_t level_at(const Fetch& fetch, Scaling scaling, const Tap& column,
                               const Tap& row, int x, int y) {
    if (scaling == Scaling::kHalve) {
        return average(fetch(2 * y, 2 * x), fetch(2 * y, 2 * x + 1), fetch(2 * y + 1, 2 * x),
                       fetch(2 * y + 1, 2 * x + 1));
    }
    const auto across = [&](std::int32_t r) {
        return blend_columns(fetch(r, column.first), fetch(r, column.second), column.first_weight,
                             column.second_weight);
    };
    return blend_rows(across(row.first), across(row.second), row.first_weight, row.second_weight);
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
FASDK_HD inline Tap column_tap(int at, int from, int to) {
    const detail::Position p = detail::position(at, from, to);
    return p.index < 0 || p.index >= from - 1
               ? detail::tap_at({detail::clamped(p.index, from), 0.0F}, from)
               : detail::tap_at(p, from);
}

// The same for rows: the indices are clamped but the weights stay. The two weights can sum to 2049,
// so this is not the column rule in other words.
FASDK_HD inline Tap row_tap(int at, int from, int to) {
    return detail::tap_at(detail::position(at, from, to), from);
}

inline void column_taps(int from, int to, std::vector<Tap>& taps) {
    taps.resize(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        taps[static_cast<std::size_t>(at)] = column_tap(at, from, to);
    }
}

inline void row_taps(int from, int to, std::vector<Tap>& taps) {
    taps.resize(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        taps[static_cast<std::size_t>(at)] = row_tap(at, from, to);
    }
}

}  // namespace fasdk
