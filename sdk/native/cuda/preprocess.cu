// The kernels that write one row of an engine's input. nvcc and NVRTC compile this file for a GPU;
// the simulated driver of the tests compiles it for the CPU and runs it thread by thread.
#include "fasdk/row_arguments.hpp"

namespace {

// One pixel of three planes; a warp writes consecutive floats of each.
template <typename Sample>
__device__ void write_pixel(const fasdk::TensorSource<Sample>& source, float* const out) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= source.out_width || y >= source.out_height) {
        return;
    }
    const fasdk::TensorValues values = fasdk::tensor_values_at(source, x, y);
    const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(source.out_height) * source.out_width;
    float* const to = out + static_cast<std::ptrdiff_t>(y) * source.out_width + x;
    to[0] = values.planes[0];
    to[plane] = values.planes[1];
    to[2 * plane] = values.planes[2];
}

}  // namespace

extern "C" __global__ void fasdk_image_row(const fasdk::TensorSource<std::uint8_t> source,
                                           float* const out) {
    write_pixel(source, out);
}

extern "C" __global__ void fasdk_depth_row(const fasdk::TensorSource<std::uint16_t> source,
                                           float* const out) {
    write_pixel(source, out);
}

extern "C" __global__ void fasdk_constant_row(float* const out, const std::uint32_t count,
                                              const float value) {
    const std::uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = value;
    }
}

extern "C" __global__ void fasdk_present_row(float* const out, const std::uint32_t count,
                                             const std::uint32_t present) {
    const std::uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = (present >> at & 1U) != 0U ? 1.0F : 0.0F;
    }
}
