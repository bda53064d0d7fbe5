// fasdk._native: the frame pass for Python. Arguments are checked here, the GIL is released for
// the pass itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <tuple>

#include "fasdk/frame_pass.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Image = nb::ndarray<const std::uint8_t, nb::device::cpu>;
using Depth = nb::ndarray<const std::uint16_t, nb::ndim<2>, nb::device::cpu>;
using Levels = nb::ndarray<const std::uint8_t, nb::shape<65536>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const float, nb::shape<3, 256>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::shape<3, -1, -1>, nb::c_contig, nb::device::cpu>;
using Box = std::tuple<int, int, int, int>;

int as_size(std::size_t size) {
    // Column offsets are 32-bit samples, three of them to a pixel.
    if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() / 3)) {
        throw std::invalid_argument("an axis is too long");
    }
    return static_cast<int>(size);
}

fasdk::Target target_of(const Table& table, const Out& out, bool swap) {
    return {out.data(), as_size(out.shape(2)), as_size(out.shape(1)), table.data(), swap};
}

fasdk::Region region_of(const Box& box) {
    return {std::get<0>(box), std::get<1>(box), std::get<2>(box), std::get<3>(box)};
}

void image_to_tensor(const Image& frame, const Box& box, const Table& table, const Out& out,
                     bool swap) {
    if (frame.ndim() != 2 && frame.ndim() != 3) {
        throw std::invalid_argument("frame must be [H, W] or [H, W, C]");
    }
    const bool planes = frame.ndim() == 3;
    const fasdk::FrameView<std::uint8_t> view{frame.data(),
                                              as_size(frame.shape(1)),
                                              as_size(frame.shape(0)),
                                              planes ? as_size(frame.shape(2)) : 1,
                                              frame.stride(0),
                                              frame.stride(1),
                                              planes ? frame.stride(2) : 1};
    fasdk::FramePass<std::uint8_t> pass(view, region_of(box), target_of(table, out, swap));
    const nb::gil_scoped_release release;
    pass.run();
}

void depth_to_tensor(const Depth& frame, const Box& box, const Levels& levels, const Table& table,
                     const Out& out) {
    const fasdk::FrameView<std::uint16_t> view{
        frame.data(), as_size(frame.shape(1)), as_size(frame.shape(0)), 1, frame.stride(0),
        frame.stride(1), 1};
    fasdk::FramePass<std::uint16_t> pass(view, region_of(box), target_of(table, out, false),
                                         levels.data());
    const nb::gil_scoped_release release;
    pass.run();
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "Crop, resize, normalise and NCHW layout of one frame in one pass.";
    module.def("image_to_tensor", &image_to_tensor, "frame"_a.noconvert(), "region"_a,
               "table"_a.noconvert(), "out"_a.noconvert(), nb::kw_only(), "swap"_a);
    module.def("depth_to_tensor", &depth_to_tensor, "frame"_a.noconvert(), "region"_a,
               "levels"_a.noconvert(), "table"_a.noconvert(), "out"_a.noconvert());
}
