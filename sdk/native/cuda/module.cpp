// fasdk._cuda_preprocess: the CUDA kernel for Python. Pointers and streams are integers, as pycuda
// and TensorRT hand them out; nothing here allocates, copies or waits.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include "fasdk/frame.hpp"
#include "preprocess.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Address = std::uintptr_t;
using Three = std::tuple<float, float, float>;
using Shape = std::tuple<int, int, int>;  // height, width, channels
using Strides = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  // in samples, likewise
using Box = std::tuple<int, int, int, int>;

template <typename Sample>
void fill_row(Address frame, const Shape& shape, const Strides& strides, const Box& box,
              Address levels, const Three& mean, const Three& std, bool swap, Address input,
              std::size_t row, const std::tuple<int, int>& out_size, Address stream) {
    const auto [height, width, channels] = shape;
    const auto [out_height, out_width] = out_size;
    if (frame == 0 || input == 0) {
        throw std::invalid_argument("frame and input must be device pointers, not null");
    }
    // A device faults on half a sample, and the whole context is lost with it.
    if (frame % alignof(Sample) != 0 || input % alignof(float) != 0) {
        throw std::invalid_argument("frame and input must start at a whole sample");
    }
    if (channels != 1 && (channels != 3 || levels != 0)) {
        throw std::invalid_argument("frame must have 1 channel, or 3 without levels");
    }
    if (out_height < 1 || out_width < 1) {
        throw std::invalid_argument("the tensor is empty");
    }
    const auto part = fasdk::cropped(
        fasdk::FrameView<Sample>{reinterpret_cast<const Sample*>(frame), width, height, channels,
                                 static_cast<std::ptrdiff_t>(std::get<0>(strides)),
                                 static_cast<std::ptrdiff_t>(std::get<1>(strides)),
                                 static_cast<std::ptrdiff_t>(std::get<2>(strides))},
        fasdk::Region{std::get<0>(box), std::get<1>(box), std::get<2>(box), std::get<3>(box)});
    const fasdk::TensorSource<Sample> source{
        part.data,
        part.row_stride,
        part.column_stride,
        part.channel_stride,
        part.width,
        part.height,
        part.channels,
        out_width,
        out_height,
        reinterpret_cast<const std::uint8_t*>(levels),
        {{std::get<0>(mean), std::get<0>(std)},
         {std::get<1>(mean), std::get<1>(std)},
         {std::get<2>(mean), std::get<2>(std)}},
        swap};
    const nb::gil_scoped_release release;
    const char* wrong = fasdk::cuda::fill_row(source, reinterpret_cast<float*>(input), row,
                                              reinterpret_cast<void*>(stream));
    if (wrong != nullptr) {
        throw std::runtime_error(std::string("the preprocessing kernel was not launched: ") + wrong);
    }
}

void image(Address frame, const Shape& shape, const Strides& strides, const Box& region,
           const Three& mean, const Three& std, bool swap, Address input, std::size_t row,
           const std::tuple<int, int>& out_size, Address stream) {
    fill_row<std::uint8_t>(frame, shape, strides, region, 0, mean, std, swap, input, row, out_size,
                           stream);
}

void depth(Address frame, const Shape& shape, const Strides& strides, const Box& region,
           Address levels, const Three& mean, const Three& std, Address input, std::size_t row,
           const std::tuple<int, int>& out_size, Address stream) {
    if (levels == 0) {
        throw std::invalid_argument("levels must be a device pointer, not null");
    }
    fill_row<std::uint16_t>(frame, shape, strides, region, levels, mean, std, false, input, row,
                            out_size, stream);
}

}  // namespace

NB_MODULE(_cuda_preprocess, module) {
    // A lane's thread may still hold an object as the interpreter ends: not a leak to report.
    nb::set_leak_warnings(false);
    module.doc() = "Crop, resize, normalize and NCHW layout of a frame in device memory.";
    module.def("image", &image, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a, "region"_a,
               "mean"_a, "std"_a, "swap"_a, "input"_a, "row"_a, "out_size"_a, "stream"_a);
    module.def("depth", &depth, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a, "region"_a,
               "levels"_a, "mean"_a, "std"_a, "input"_a, "row"_a, "out_size"_a, "stream"_a);
}
