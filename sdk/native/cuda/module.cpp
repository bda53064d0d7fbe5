// fasdk._cuda_preprocess: the CUDA kernel for Python. Pointers and streams are integers, as pycuda
// and TensorRT hand them out; nothing here allocates, copies or waits.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "fasdk/view.hpp"
#include "preprocess.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Address = std::uintptr_t;
using Three = std::tuple<float, float, float>;
using Shape = std::tuple<int, int, int>;  // height, width, channels
using Strides = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  // in samples, likewise
using Box = std::tuple<int, int, int, int>;
using Six = std::tuple<double, double, double, double, double, double>;

// What both functions take; one of region and to_frame.
struct Arguments {
    const Shape& shape;
    const Strides& strides;
    const std::optional<Box>& region;
    const std::optional<Six>& to_frame;
    const Three& mean;
    const Three& std;
    bool swap;
    const std::tuple<int, int>& out_size;
    const std::string& interpolation;
    bool pad;
    const std::string& border;
    int border_level;
    const std::string& fit;
};

template <typename Sample>
fasdk::TensorSource<Sample> source_of(Address frame, Address levels, const Arguments& given) {
    const auto [height, width, channels] = given.shape;
    const auto [out_height, out_width] = given.out_size;
    if (given.region.has_value() == given.to_frame.has_value()) {
        throw std::invalid_argument("give a region or to_frame, and not both");
    }
    if (given.border_level < 0 || given.border_level > 255) {
        throw std::invalid_argument("border_level is no 8-bit level");
    }
    const fasdk::Framing framing{fasdk::is_area(given.interpolation), given.pad,
                                 fasdk::border_named(given.border),
                                 static_cast<std::uint8_t>(given.border_level),
                                 fasdk::fit_named(given.fit)};
    const fasdk::FrameView<Sample> view{reinterpret_cast<const Sample*>(frame),
                                        width,
                                        height,
                                        channels,
                                        static_cast<std::ptrdiff_t>(std::get<0>(given.strides)),
                                        static_cast<std::ptrdiff_t>(std::get<1>(given.strides)),
                                        static_cast<std::ptrdiff_t>(std::get<2>(given.strides))};
    const fasdk::Normalization planes[3] = {{std::get<0>(given.mean), std::get<0>(given.std)},
                                            {std::get<1>(given.mean), std::get<1>(given.std)},
                                            {std::get<2>(given.mean), std::get<2>(given.std)}};
    const auto* to_levels = reinterpret_cast<const std::uint8_t*>(levels);
    if (given.to_frame) {
        const auto [a, b, c, d, e, f] = *given.to_frame;
        return fasdk::aligned_source(view, fasdk::Alignment{{a, b, c, d, e, f}}, framing,
                                     out_width, out_height, to_levels, planes, given.swap);
    }
    const auto [left, top, right, bottom] = *given.region;
    return fasdk::cropped_source(view, fasdk::Region{left, top, right, bottom}, framing, out_width,
                                 out_height, to_levels, planes, given.swap);
}

template <typename Sample>
void fill_row(Address frame, Address levels, const Arguments& given, Address input,
              std::size_t row, Address stream) {
    if (frame == 0 || input == 0) {
        throw std::invalid_argument("frame and input must be device pointers, not null");
    }
    // A device faults on half a sample, and the whole context is lost with it.
    if (frame % alignof(Sample) != 0 || input % alignof(float) != 0) {
        throw std::invalid_argument("frame and input must start at a whole sample");
    }
    const int channels = std::get<2>(given.shape);
    if (channels != 1 && (channels != 3 || levels != 0)) {
        throw std::invalid_argument("frame must have 1 channel, or 3 without levels");
    }
    if (std::get<0>(given.out_size) < 1 || std::get<1>(given.out_size) < 1) {
        throw std::invalid_argument("the tensor is empty");
    }
    const fasdk::TensorSource<Sample> source = source_of<Sample>(frame, levels, given);
    const nb::gil_scoped_release release;
    const char* wrong = fasdk::cuda::fill_row(source, reinterpret_cast<float*>(input), row,
                                              reinterpret_cast<void*>(stream));
    if (wrong != nullptr) {
        throw std::runtime_error(std::string("the preprocessing kernel was not launched: ") + wrong);
    }
}

void image(Address frame, const Shape& shape, const Strides& strides, const Three& mean,
           const Three& std, bool swap, Address input, std::size_t row,
           const std::tuple<int, int>& out_size, Address stream, const std::optional<Box>& region,
           const std::optional<Six>& to_frame, const std::string& interpolation, bool pad,
           const std::string& border, int border_level, const std::string& fit) {
    fill_row<std::uint8_t>(frame, 0,
                           {shape, strides, region, to_frame, mean, std, swap, out_size,
                            interpolation, pad, border, border_level, fit},
                           input, row, stream);
}

void depth(Address frame, const Shape& shape, const Strides& strides, Address levels,
           const Three& mean, const Three& std, Address input, std::size_t row,
           const std::tuple<int, int>& out_size, Address stream, const std::optional<Box>& region,
           const std::optional<Six>& to_frame, const std::string& interpolation, bool pad,
           const std::string& border, int border_level, const std::string& fit) {
    if (levels == 0) {
        throw std::invalid_argument("levels must be a device pointer, not null");
    }
    fill_row<std::uint16_t>(frame, levels,
                            {shape, strides, region, to_frame, mean, std, false, out_size,
                             interpolation, pad, border, border_level, fit},
                            input, row, stream);
}

}  // namespace

NB_MODULE(_cuda_preprocess, module) {
    // A lane's thread may still hold an object as the interpreter ends: not a leak to report.
    nb::set_leak_warnings(false);
    module.doc() = "Crop, resize, normalize and NCHW layout of a frame in device memory.";
    module.def("image", &image, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a, "mean"_a, "std"_a,
               "swap"_a, "input"_a, "row"_a, "out_size"_a, "stream"_a, "region"_a = nb::none(),
               "to_frame"_a = nb::none(), "interpolation"_a = "bilinear", "pad"_a = false,
               "border"_a = "constant", "border_level"_a = 0, "fit"_a = "stretch");
    module.def("depth", &depth, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a, "levels"_a,
               "mean"_a, "std"_a, "input"_a, "row"_a, "out_size"_a, "stream"_a,
               "region"_a = nb::none(), "to_frame"_a = nb::none(), "interpolation"_a = "bilinear",
               "pad"_a = false, "border"_a = "constant", "border_level"_a = 0, "fit"_a = "stretch");
}
