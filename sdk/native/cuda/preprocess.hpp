// Preprocessing on the device: a frame in device memory becomes one row of an engine's input buffer.
//
// Plain C++, so that a caller needs no CUDA compiler. Streams are CUstream or cudaStream_t; work
// goes to the context that is current, which for both APIs is the primary one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fasdk/tensor_values.hpp"

namespace fasdk {
namespace cuda {

// Launch on `stream` and return at once; null when launched, else what CUDA says is wrong.
//
// `input` is the buffer's start, float [rows, 3, out_height, out_width]; `row` is written whole.
// Everything `source` points to must stay as it is until the stream has run the kernel.
const char* fill_row(const TensorSource<std::uint8_t>& source, float* input, std::size_t row,
                     void* stream);
const char* fill_row(const TensorSource<std::uint16_t>& source, float* input, std::size_t row,
                     void* stream);

}  // namespace cuda
}  // namespace fasdk
