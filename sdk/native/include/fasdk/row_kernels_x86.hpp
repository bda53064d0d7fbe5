// x86-64: SSE2, which every such CPU has, and AVX2, compiled beside it and chosen at run time.
#pragma once

#include <immintrin.h>

#include "fasdk/row_kernels.hpp"

namespace fasdk {
namespace detail {

template <typename Value>
Value load_as(const void* from) {
    Value value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

}  // namespace detail

namespace sse2 {

// The pixels at `first` and after it as words: first and second sample of every channel in turn.
template <int kChannels>
FASDK_INLINE __m128i pair_of_pixels(const std::uint8_t* at) {
    const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    return _mm_unpacklo_epi8(_mm_unpacklo_epi8(pair, _mm_srli_si128(pair, kChannels)),
                             _mm_setzero_si128());
}

template <int kChannels>
void columns(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    const __m128i zero = _mm_setzero_si128();
    std::size_t x = 0;
    for (; x < plan.paired_in_8; ++x) {
        const __m128i words = pair_of_pixels<kChannels>(source + plan.taps[x].first);
        const __m128i weights =
            _mm_set1_epi32(detail::load_as<std::int32_t>(&plan.weights[2 * x]));
        const __m128i sums = _mm_srli_epi32(_mm_madd_epi16(words, weights), 4);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 4 * x), _mm_packs_epi32(sums, zero));
    }
    plain::columns_from<kChannels>(x, source, plan, to);
}

inline void columns_1(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    const auto pair = [&](std::size_t at) {
        return static_cast<int>(detail::load_as<std::uint16_t>(source + plan.taps[at].first));
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
    std::size_t x = 0;
    for (; x + 8 <= plan.paired_in_8; x += 8) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x),
                         _mm_packs_epi32(four(x), four(x + 4)));
    }
    plain::columns_from<1>(x, source, plan, to);
}

inline void mix(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                std::size_t count, std::uint8_t* to) {
    const __m128i first = _mm_set1_epi16(row.first_weight);
    const __m128i second = _mm_set1_epi16(row.second_weight);
    const __m128i half = _mm_set1_epi16(2);
    const auto eight = [&](std::size_t at) {
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(upper + at));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lower + at));
        const __m128i sum = _mm_add_epi16(_mm_mulhi_epi16(a, first), _mm_mulhi_epi16(b, second));
        return _mm_srli_epi16(_mm_add_epi16(sum, half), 2);
    };
    std::size_t x = 0;
    for (; x + 16 <= count; x += 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x),
                         _mm_packus_epi16(eight(x), eight(x + 8)));
    }
    plain::mix_from(x, upper, lower, row, count, to);
}

constexpr RowKernels kKernels{
    "sse2",        columns_1,    columns<3>,     columns<4>,      mix,
    plain::planes, plain::plane, plain::hog_row, plain::plgf_row, plain::plgf_guess};

}  // namespace sse2

#define FASDK_AVX2 __attribute__((target("avx2")))

namespace avx2 {

FASDK_AVX2 inline __m256i two_halves(const void* low, const void* high) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
        _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}

// Four taps of color a turn. A tap fills one 128-bit half: first and second sample of up to four
// channels as words, times its two weights, summed in pairs.
template <int kChannels>
FASDK_AVX2 void columns(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    constexpr char z = static_cast<char>(detail::kZero);
    constexpr char c = kChannels;
    constexpr char fourth = kChannels == 4 ? 3 : z;
    constexpr char fourth_second = kChannels == 4 ? 7 : z;
    const __m256i pick = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, z, c, z, 1, z, c + 1, z, 2, z, c + 2, z, fourth, z, fourth_second, z));
    // Halves of the first product hold taps 0 and 2, of the second 1 and 3: packing puts them right.
    const __m256i even = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                          8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11);
    const __m256i odd =
        _mm256_setr_epi8(4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7,  //
                         12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15);
    const Tap* taps = plan.taps.data();
    std::size_t x = 0;
    for (; x + 4 <= plan.paired_in_16; x += 4) {
        const __m256i weights = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(&plan.weights[2 * x])));
        const __m256i a = _mm256_shuffle_epi8(
            two_halves(source + taps[x].first, source + taps[x + 2].first), pick);
        const __m256i b = _mm256_shuffle_epi8(
            two_halves(source + taps[x + 1].first, source + taps[x + 3].first), pick);
        const __m256i first = _mm256_madd_epi16(a, _mm256_shuffle_epi8(weights, even));
        const __m256i second = _mm256_madd_epi16(b, _mm256_shuffle_epi8(weights, odd));
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(to + 4 * x),
            _mm256_packs_epi32(_mm256_srli_epi32(first, 4), _mm256_srli_epi32(second, 4)));
    }
    plain::columns_from<kChannels>(x, source, plan, to);
}

// Eight taps of one channel a turn: where 16 bytes hold four taps, one shuffle finds their samples.
FASDK_AVX2 inline void columns_1(const std::uint8_t* source, const ColumnPlan& plan,
                                 std::int16_t* to) {
    const ColumnPlan::Four* four = plan.fours.data();
    std::size_t x = 0;
    for (; x + 8 <= 4 * plan.fours.size(); x += 8, four += 2) {
        const __m256i samples =
            _mm256_shuffle_epi8(two_halves(source + four[0].base, source + four[1].base),
                                two_halves(four[0].picks, four[1].picks));
        const __m256i weights =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&plan.weights[2 * x]));
        const __m256i sums = _mm256_srli_epi32(_mm256_madd_epi16(samples, weights), 4);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + x),
                         _mm_packs_epi32(_mm256_castsi256_si128(sums),
                                         _mm256_extracti128_si256(sums, 1)));
    }
    if (x == 0) {  // the row is short or shrinks by more than four
        sse2::columns_1(source, plan, to);
        return;
    }
    plain::columns_from<1>(x, source, plan, to);
}

FASDK_AVX2 inline __m256i mix_16(const std::int16_t* upper, const std::int16_t* lower,
                                 __m256i first, __m256i second) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lower));
    const __m256i sum =
        _mm256_add_epi16(_mm256_mulhi_epi16(a, first), _mm256_mulhi_epi16(b, second));
    return _mm256_srli_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
}

FASDK_AVX2 inline void mix(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                           std::size_t count, std::uint8_t* to) {
    const __m256i first = _mm256_set1_epi16(row.first_weight);
    const __m256i second = _mm256_set1_epi16(row.second_weight);
    std::size_t x = 0;
    for (; x + 32 <= count; x += 32) {
        const __m256i packed =
            _mm256_packus_epi16(mix_16(upper + x, lower + x, first, second),
                                mix_16(upper + x + 16, lower + x + 16, first, second));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + x),
                            _mm256_permute4x64_epi64(packed, 0xD8));
    }
    plain::mix_from(x, upper, lower, row, count, to);
}

FASDK_AVX2 inline void planes(const std::uint32_t* pixels, std::size_t count,
                              const PlaneRow* three) {
    plain::planes_inline(pixels, count, three);
}

FASDK_AVX2 inline void plane(const std::uint8_t* levels, std::size_t count, const PlaneRow& to) {
    plain::plane_inline(levels, count, to);
}

FASDK_AVX2 inline void hog_row(const std::uint8_t* above, const std::uint8_t* row,
                               const std::uint8_t* below, std::size_t width, std::int16_t* across,
                               double* magnitude, std::int16_t* bin) {
    plain::hog_row_inline(above, row, below, width, across, magnitude, bin);
}

FASDK_AVX2 inline void plgf_row(const std::int16_t* row, std::ptrdiff_t stride, std::size_t width,
                                std::int16_t* sums, double* tangents) {
    plain::plgf_row_inline(row, stride, width, sums, tangents);
}

FASDK_AVX2 inline void plgf_guess(const double* tangents, std::size_t count, float low, float by,
                                  float* guess) {
    plain::plgf_guess_inline(tangents, count, low, by, guess);
}

constexpr RowKernels kKernels{"avx2", columns_1, columns<3>, columns<4>, mix,
                              planes, plane,     hog_row,    plgf_row,   plgf_guess};

}  // namespace avx2
}  // namespace fasdk
