// Parameters of the kernels that write a row of an engine's input, as a launch passes them.
//
// A kernel takes the members one by one; a launch takes them packed, and C packs them as these
// structures: `NAME_PARAMETERS` in `fasdk._native` is read off them and held against the compiled
// kernels.
#pragma once

#include "fasdk/standard.hpp"
#include "fasdk/tensor_values.hpp"

namespace fasdk {

// fasdk_image_row (uint8 samples) and fasdk_depth_row (uint16): a frame's planes.
template <typename Sample>
struct FrameRow {
    TensorSource<Sample> source;
    float* out;  // float [3, source.out_height, source.out_width]
};

// fasdk_constant_row: one value, for a modality that is absent.
struct ConstantRow {
    float* out;  // float [count]
    std::uint32_t count;
    float value;
};

// fasdk_present_row: 1 or 0 for each modality, by the bits of `present`, the lowest one first.
struct PresentRow {
    float* out;  // float [count], at most 32
    std::uint32_t count;
    std::uint32_t present;
};

}  // namespace fasdk
