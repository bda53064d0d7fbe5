// The kernel is a loop over `tensor_values_at`, which the host's tests run.
#include "preprocess.hpp"

#include <cuda_runtime.h>

namespace fasdk {
namespace cuda {
namespace {

template <typename Sample>
__global__ void write_tensor(const TensorSource<Sample> source, float* const out) {
    const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= source.out_width || y >= source.out_height) {
        return;
    }
    const TensorValues values = tensor_values_at(source, x, y);
    const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(source.out_height) * source.out_width;
    float* const to = out + static_cast<std::ptrdiff_t>(y) * source.out_width + x;
    to[0] = values.planes[0];
    to[plane] = values.planes[1];
    to[2 * plane] = values.planes[2];
}

template <typename Sample>
const char* launch(const TensorSource<Sample>& source, float* input, std::size_t row,
                   void* stream) {
    const std::size_t tensor = std::size_t{3} * static_cast<std::size_t>(source.out_height) *
                               static_cast<std::size_t>(source.out_width);
    const dim3 block(32, 8);  // a warp writes 128 consecutive bytes of each plane
    const dim3 grid((static_cast<unsigned>(source.out_width) + block.x - 1) / block.x,
                    (static_cast<unsigned>(source.out_height) + block.y - 1) / block.y);
    write_tensor<Sample>
        <<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(source, input + row * tensor);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* fill_row(const TensorSource<std::uint8_t>& source, float* input, std::size_t row,
                     void* stream) {
    return launch(source, input, row, stream);
}

const char* fill_row(const TensorSource<std::uint16_t>& source, float* input, std::size_t row,
                     void* stream) {
    return launch(source, input, row, stream);
}

}  // namespace cuda
}  // namespace fasdk
