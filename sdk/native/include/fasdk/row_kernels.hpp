// The steps of pixel.hpp over a whole row, in tiers of instructions that all give the same bits:
// AVX2 where the CPU has it, else SSE2, on x86-64; NEON on aarch64; plain C++ everywhere, which
// defines the others and finishes their rows.
//
// A working row holds one sample a pixel for one channel and four for three or four channels, so
// that a pixel of color is one 32-bit lane.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fasdk/maps.hpp"
#include "fasdk/pixel.hpp"

namespace fasdk {

#if defined(__BYTE_ORDER__)
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a pixel's first channel is its low byte");
#endif

constexpr std::size_t lanes_of(int channels) { return channels == 1 ? 1 : 4; }

// Columns of one row, laid out for vector code.
struct ColumnPlan {
    std::vector<Tap> taps;              // indices multiplied by the channel count
    std::vector<std::int16_t> weights;  // first and second of every tap in turn

    // Of the first taps, 8 or 16 bytes from `first` lie in the row and begin with both pixels.
    std::size_t paired_in_8 = 0;
    std::size_t paired_in_16 = 0;

    // One channel only. Four taps whose samples lie in 16 bytes of the row: where those begin, and
    // 16 byte indices that pick first and second of every tap, each followed by a zero.
    struct Four {
        std::int32_t base;
        std::uint8_t picks[16];
    };
    std::vector<Four> fours;  // of the first taps
};

namespace detail {

constexpr std::uint8_t kZero = 0x80;  // as an index: no byte, a zero

inline void plan_fours(int from, ColumnPlan& plan) {
    plan.fours.clear();
    for (std::size_t x = 0; x + 4 <= plan.taps.size(); x += 4) {
        const Tap* taps = &plan.taps[x];
        ColumnPlan::Four four{taps[0].first < from - 16 ? taps[0].first : from - 16, {}};
        if (four.base < 0 || taps[3].second - four.base >= 16) {
            return;
        }
        for (std::size_t i = 0; i < 4; ++i) {
            four.picks[4 * i] = static_cast<std::uint8_t>(taps[i].first - four.base);
            four.picks[4 * i + 1] = kZero;
            four.picks[4 * i + 2] = static_cast<std::uint8_t>(taps[i].second - four.base);
            four.picks[4 * i + 3] = kZero;
        }
        plan.fours.push_back(four);
    }
}

}  // namespace detail

// Fill `plan`, whose buffers are used again.
inline void plan_columns(int from, int to, int channels, bool areas, ColumnPlan& plan) {
    column_taps(from, to, areas, plan.taps);
    plan.weights.clear();
    plan.paired_in_8 = plan.paired_in_16 = 0;
    if (channels == 1) {
        detail::plan_fours(from, plan);
    }
    for (Tap& tap : plan.taps) {
        const bool paired = tap.second == tap.first + 1;
        tap.first *= channels;
        tap.second *= channels;
        plan.weights.push_back(tap.first_weight);
        plan.weights.push_back(tap.second_weight);
        // Taps only move right, so the paired ones come first.
        plan.paired_in_8 += paired && tap.first + 8 <= from * channels ? 1 : 0;
        plan.paired_in_16 += paired && tap.first + 16 <= from * channels ? 1 : 0;
    }
}

// A plane's row to be written and what its levels become.
struct PlaneRow {
    float* row;
    Normalization by;
    unsigned channel;  // of a pixel of color
};

// Horizontal step of an interleaved row. Vertical step of `count` samples. Normalization of pixels
// of four samples into three planes, and of a row of levels into one.
struct RowKernels {
    const char* tier;
    void (*columns_1)(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to);
    void (*columns_3)(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to);
    void (*columns_4)(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to);
    void (*mix)(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                std::size_t count, std::uint8_t* to);
    void (*planes)(const std::uint32_t* pixels, std::size_t count, const PlaneRow* three);
    void (*plane)(const std::uint8_t* levels, std::size_t count, const PlaneRow& to);
    // The infrared composite's, in maps.hpp.
    void (*hog_row)(const std::uint8_t* above, const std::uint8_t* row, const std::uint8_t* below,
                    std::size_t width, std::int16_t* across, double* magnitude, std::int16_t* bin);
    void (*plgf_row)(const std::int16_t* row, std::ptrdiff_t stride, std::size_t width,
                     std::int16_t* sums, double* tangents);
    void (*plgf_guess)(const double* tangents, std::size_t count, float low, float by,
                       float* guess);
};

namespace plain {

template <int kChannels>
FASDK_INLINE void columns_from(std::size_t x, const std::uint8_t* source, const ColumnPlan& plan,
                               std::int16_t* to) {
    constexpr std::size_t kLanes = lanes_of(kChannels);
    for (; x < plan.taps.size(); ++x) {
        const Tap& tap = plan.taps[x];
        const std::uint8_t* a = source + tap.first;
        const std::uint8_t* b = source + tap.second;
        for (std::size_t c = 0; c < kChannels; ++c) {
            to[kLanes * x + c] = blend_columns(a[c], b[c], tap.first_weight, tap.second_weight);
        }
    }
}

template <int kChannels>
void columns(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    columns_from<kChannels>(0, source, plan, to);
}

FASDK_INLINE void mix_from(std::size_t x, const std::int16_t* upper, const std::int16_t* lower,
                           const Tap& row, std::size_t count, std::uint8_t* to) {
    for (; x < count; ++x) {
        to[x] = blend_rows(upper[x], lower[x], row.first_weight, row.second_weight);
    }
}

inline void mix(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                std::size_t count, std::uint8_t* to) {
    mix_from(0, upper, lower, row, count, to);
}

// A power of two divides exactly as its reciprocal multiplies, and a product is far quicker.
inline bool is_power_of_two(float value) {
    int exponent = 0;
    return std::fabs(std::frexp(value, &exponent)) == 0.5F && exponent > -100 && exponent < 100;
}

template <bool kMultiply>
FASDK_INLINE float scaled(std::int32_t level, float mean, float by) {
    const float centered = static_cast<float>(level) - mean;
    return kMultiply ? centered * by : centered / by;
}

// Written for a compiler's own vectoriser, in whichever tier inlines it.
template <bool kMultiply>
FASDK_INLINE void plane_of_pixels(const std::uint32_t* FASDK_RESTRICT pixels, std::size_t count,
                                  unsigned shift, float mean, float by,
                                  float* FASDK_RESTRICT to) {
    for (std::size_t x = 0; x < count; ++x) {
        const std::uint32_t level = (pixels[x] >> shift) & 255U;
        to[x] = scaled<kMultiply>(static_cast<std::int32_t>(level), mean, by);
    }
}

template <bool kMultiply>
FASDK_INLINE void plane_of_levels(const std::uint8_t* FASDK_RESTRICT levels, std::size_t count,
                                  float mean, float by, float* FASDK_RESTRICT to) {
    for (std::size_t x = 0; x < count; ++x) {
        to[x] = scaled<kMultiply>(levels[x], mean, by);
    }
}

FASDK_INLINE void planes_inline(const std::uint32_t* pixels, std::size_t count,
                                const PlaneRow* three) {
    for (const PlaneRow* to = three; to != three + 3; ++to) {
        const Normalization by = to->by;
        if (is_power_of_two(by.std)) {
            plane_of_pixels<true>(pixels, count, 8 * to->channel, by.mean, 1.0F / by.std, to->row);
        } else {
            plane_of_pixels<false>(pixels, count, 8 * to->channel, by.mean, by.std, to->row);
        }
    }
}

FASDK_INLINE void plane_inline(const std::uint8_t* levels, std::size_t count, const PlaneRow& to) {
    const Normalization by = to.by;
    if (is_power_of_two(by.std)) {
        plane_of_levels<true>(levels, count, by.mean, 1.0F / by.std, to.row);
    } else {
        plane_of_levels<false>(levels, count, by.mean, by.std, to.row);
    }
}

inline void planes(const std::uint32_t* pixels, std::size_t count, const PlaneRow* three) {
    planes_inline(pixels, count, three);
}

inline void plane(const std::uint8_t* levels, std::size_t count, const PlaneRow& to) {
    plane_inline(levels, count, to);
}

constexpr RowKernels kKernels{"portable", columns<1>, columns<3>, columns<4>, mix,
                              planes,     plane,      hog_row,    plgf_row,   plgf_guess};

}  // namespace plain

// Halving of two interleaved rows into one of `count` pixels.
template <int kChannels>
void halve_rows(const std::uint8_t* FASDK_RESTRICT upper, const std::uint8_t* FASDK_RESTRICT lower,
                std::size_t count, std::uint8_t* FASDK_RESTRICT to) {
    constexpr std::size_t kFrom = kChannels;
    constexpr std::size_t kLanes = lanes_of(kChannels);
    for (std::size_t x = 0; x < count; ++x) {
        for (std::size_t c = 0; c < kFrom; ++c) {
            const std::size_t left = 2 * kFrom * x + c;
            to[kLanes * x + c] =
                average(upper[left], upper[left + kFrom], lower[left], lower[left + kFrom]);
        }
    }
}

}  // namespace fasdk

#if defined(__x86_64__) && defined(__GNUC__)
#include "fasdk/row_kernels_x86.hpp"
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include "fasdk/row_kernels_neon.hpp"
#endif

namespace fasdk {

// The tiers this CPU has, best first.
inline const std::vector<const RowKernels*>& row_kernels() {
    static const std::vector<const RowKernels*> found = [] {
        std::vector<const RowKernels*> tiers;
#if defined(__x86_64__) && defined(__GNUC__)
        if (__builtin_cpu_supports("avx2")) {
            tiers.push_back(&avx2::kKernels);
        }
        tiers.push_back(&sse2::kKernels);
#elif defined(__ARM_NEON) && defined(__aarch64__)
        tiers.push_back(&neon::kKernels);
#endif
        tiers.push_back(&plain::kKernels);
        return tiers;
    }();
    return found;
}

}  // namespace fasdk
