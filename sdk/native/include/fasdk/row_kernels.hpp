// The two steps of pixel.hpp over a whole row, with the vector instructions every CPU of the
// architecture has: SSE2 on x86-64, NEON on aarch64, plain C++ elsewhere. Integer throughout, so
// all three give the same bits; the scalar functions finish every row and define it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fasdk/pixel.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fasdk {

// Columns of one row, laid out for vector code.
struct ColumnPlan {
    std::vector<Tap> taps;              // indices multiplied by the channel count
    std::vector<std::int16_t> weights;  // first and second of every tap in turn
    std::size_t paired = 0;  // of these first taps, 8 bytes from `first` hold both samples
};

inline ColumnPlan plan_columns(int from, int to, int channels) {
    ColumnPlan plan;
    plan.taps = column_taps(from, to);
    plan.weights.reserve(2 * plan.taps.size());
    const int last = from * channels - 8;
    for (Tap& tap : plan.taps) {
        tap.first *= channels;
        tap.second *= channels;
        plan.weights.push_back(tap.first_weight);
        plan.weights.push_back(tap.second_weight);
        if (tap.second == tap.first + channels && tap.first <= last) {
            ++plan.paired;  // taps only move right, so the paired ones come first
        }
    }
    return plan;
}

#if defined(__SSE2__)
template <typename Value>
Value load_as(const void* from) {
    Value value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
#endif

// Horizontal step of an interleaved row of three channels; writes 3 samples a tap.
//
// The vector forms write one sample too many, which the next tap overwrites: `to` has room for it.
inline void resize_columns_3(const std::uint8_t* source, const ColumnPlan& plan,
                             std::int16_t* to) {
    const Tap* taps = plan.taps.data();
    const std::size_t count = plan.taps.size();
    std::size_t x = 0;
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    for (; x < plan.paired; ++x, to += 3) {
        const __m128i pair =
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source + taps[x].first));
        const __m128i both = _mm_unpacklo_epi8(pair, _mm_srli_si128(pair, 3));
        const __m128i weights = _mm_set1_epi32(load_as<std::int32_t>(&plan.weights[2 * x]));
        const __m128i sums = _mm_madd_epi16(_mm_unpacklo_epi8(both, zero), weights);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to),
                         _mm_packs_epi32(_mm_srli_epi32(sums, 4), zero));
    }
#elif defined(__ARM_NEON) && defined(__aarch64__)
    for (; x < plan.paired; ++x, to += 3) {
        const Tap& tap = taps[x];
        const uint16x8_t pair = vmovl_u8(vld1_u8(source + tap.first));
        const uint16x4_t first = vget_low_u16(pair);
        const uint16x4_t second = vget_low_u16(vextq_u16(pair, pair, 3));
        const uint32x4_t sums =
            vmlal_n_u16(vmull_n_u16(first, static_cast<std::uint16_t>(tap.first_weight)), second,
                        static_cast<std::uint16_t>(tap.second_weight));
        vst1_s16(to, vreinterpret_s16_u16(vshrn_n_u32(sums, 4)));
    }
#endif
    for (; x < count; ++x, to += 3) {
        const Tap& tap = taps[x];
        const std::uint8_t* a = source + tap.first;
        const std::uint8_t* b = source + tap.second;
        for (int c = 0; c < 3; ++c) {
            to[c] = blend_columns(a[c], b[c], tap.first_weight, tap.second_weight);
        }
    }
}

// Horizontal step of a row of one channel; writes 1 sample a tap.
inline void resize_columns_1(const std::uint8_t* source, const ColumnPlan& plan,
                             std::int16_t* to) {
    const Tap* taps = plan.taps.data();
    const std::size_t count = plan.taps.size();
    std::size_t x = 0;
#if defined(__SSE2__)
    const auto pair = [&](std::size_t at) {
        return static_cast<int>(load_as<std::uint16_t>(source + taps[at].first));
    };
    const auto four = [&](std::size_t at) {
        __m128i samples = _mm_cvtsi32_si128(pair(at));
        samples = _mm_insert_epi16(samples, pair(at + 1), 1);
        samples = _mm_insert_epi16(samples, pair(at + 2), 2);
        samples = _mm_insert_epi16(samples, pair(at + 3), 3);
        const __m128i weights =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(&plan.weights[2 * at]));
        const __m128i wide = _mm_unpacklo_epi8(samples, _mm_setzero_si128());
        return _mm_srli_epi32(_mm_madd_epi16(wide, weights), 4);
    };
    for (; x + 8 <= plan.paired; x += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x),
                         _mm_packs_epi32(four(x), four(x + 4)));
    }
#endif
    for (; x < count; ++x) {
        const Tap& tap = taps[x];
        to[x] = blend_columns(source[tap.first], source[tap.second], tap.first_weight,
                              tap.second_weight);
    }
}

// Vertical step of `count` samples.
inline void mix_rows(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                     std::size_t count, std::uint8_t* to) {
    std::size_t x = 0;
#if defined(__SSE2__)
    const __m128i first = _mm_set1_epi16(row.first_weight);
    const __m128i second = _mm_set1_epi16(row.second_weight);
    const __m128i half = _mm_set1_epi16(2);
    const auto eight = [&](std::size_t at) {
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(upper + at));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lower + at));
        const __m128i sum = _mm_add_epi16(_mm_mulhi_epi16(a, first), _mm_mulhi_epi16(b, second));
        return _mm_srli_epi16(_mm_add_epi16(sum, half), 2);
    };
    for (; x + 16 <= count; x += 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x),
                         _mm_packus_epi16(eight(x), eight(x + 8)));
    }
#elif defined(__ARM_NEON) && defined(__aarch64__)
    const auto product = [](int16x8_t samples, std::int16_t weight) {
        return vcombine_s16(vshrn_n_s32(vmull_n_s16(vget_low_s16(samples), weight), 16),
                            vshrn_n_s32(vmull_n_s16(vget_high_s16(samples), weight), 16));
    };
    for (; x + 8 <= count; x += 8) {
        const int16x8_t sum = vaddq_s16(product(vld1q_s16(upper + x), row.first_weight),
                                        product(vld1q_s16(lower + x), row.second_weight));
        vst1_u8(to + x, vqrshrun_n_s16(sum, 2));  // the rounding shift adds the 2
    }
#endif
    for (; x < count; ++x) {
        to[x] = blend_rows(upper[x], lower[x], row.first_weight, row.second_weight);
    }
}

// Halving of two interleaved rows into one of `count` samples.
template <std::size_t kChannels>
void halve_rows(const std::uint8_t* upper, const std::uint8_t* lower, std::size_t count,
                std::uint8_t* to) {
    for (const std::uint8_t* end = to + count; to != end;
         upper += kChannels, lower += kChannels) {
        for (std::size_t c = 0; c < kChannels; ++c, ++upper, ++lower) {
            *to++ = average(upper[0], upper[kChannels], lower[0], lower[kChannels]);
        }
    }
}

}  // namespace fasdk
