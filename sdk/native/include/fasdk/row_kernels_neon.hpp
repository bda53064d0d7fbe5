// aarch64: NEON, which every such CPU has.
#pragma once

#include <arm_neon.h>

#include "fasdk/row_kernels.hpp"

namespace fasdk {
namespace neon {

template <int kChannels>
void columns(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    std::size_t x = 0;
    for (; x < plan.paired_in_8; ++x) {
        const Tap& tap = plan.taps[x];
        const uint16x8_t pair = vmovl_u8(vld1_u8(source + tap.first));
        const uint16x4_t first = vget_low_u16(pair);
        const uint16x4_t second = vget_low_u16(vextq_u16(pair, pair, kChannels));
        const uint32x4_t sums =
            vmlal_n_u16(vmull_n_u16(first, static_cast<std::uint16_t>(tap.first_weight)), second,
                        static_cast<std::uint16_t>(tap.second_weight));
        vst1_s16(to + 4 * x, vreinterpret_s16_u16(vshrn_n_u32(sums, 4)));
    }
    plain::columns_from<kChannels>(x, source, plan, to);
}

// Four taps of one channel a turn: where 16 bytes hold them, one look-up finds their samples.
inline void columns_1(const std::uint8_t* source, const ColumnPlan& plan, std::int16_t* to) {
    std::size_t x = 0;
    for (const ColumnPlan::Four& four : plan.fours) {
        const uint16x8_t samples = vreinterpretq_u16_u8(
            vqtbl1q_u8(vld1q_u8(source + four.base), vld1q_u8(four.picks)));
        const uint16x8_t weights = vreinterpretq_u16_s16(vld1q_s16(&plan.weights[2 * x]));
        const uint32x4_t sums =
            vpaddq_u32(vmull_u16(vget_low_u16(samples), vget_low_u16(weights)),
                       vmull_u16(vget_high_u16(samples), vget_high_u16(weights)));
        vst1_s16(to + x, vreinterpret_s16_u16(vshrn_n_u32(sums, 4)));
        x += 4;
    }
    plain::columns_from<1>(x, source, plan, to);
}

inline void mix(const std::int16_t* upper, const std::int16_t* lower, const Tap& row,
                std::size_t count, std::uint8_t* to) {
    const auto product = [](int16x8_t samples, std::int16_t weight) {
        return vcombine_s16(vshrn_n_s32(vmull_n_s16(vget_low_s16(samples), weight), 16),
                            vshrn_n_s32(vmull_n_s16(vget_high_s16(samples), weight), 16));
    };
    std::size_t x = 0;
    for (; x + 8 <= count; x += 8) {
        const int16x8_t sum = vaddq_s16(product(vld1q_s16(upper + x), row.first_weight),
                                        product(vld1q_s16(lower + x), row.second_weight));
        vst1_u8(to + x, vqrshrun_n_s16(sum, 2));  // the rounding shift adds the 2
    }
    plain::mix_from(x, upper, lower, row, count, to);
}

constexpr RowKernels kKernels{
    "neon",        columns_1,    columns<3>,     columns<4>,      mix,
    plain::planes, plain::plane, plain::hog_row, plain::plgf_row, plain::plgf_guess};

}  // namespace neon
}  // namespace fasdk
