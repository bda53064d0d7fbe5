#include "rows.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "fasdk/row_arguments.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Address = std::uintptr_t;
using Three = std::tuple<float, float, float>;
using Shape = std::tuple<int, int, int>;                               // height, width, channels
using Strides = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  // in samples, likewise
using Box = std::tuple<int, int, int, int>;
using Six = std::tuple<double, double, double, double, double, double>;

template <typename Row>
nb::bytes packed(const Row& row) {
    static_assert(std::is_trivially_copyable<Row>::value, "a launch copies the bytes");
    return nb::bytes(reinterpret_cast<const char*>(&row), sizeof(Row));
}

// Where a kernel finds its parameters in what a launch passes: offset and size of each.
template <typename Sample>
nb::tuple frame_parameters() {
    using Row = fasdk::FrameRow<Sample>;
    static_assert(std::is_standard_layout<Row>::value, "offsetof needs it");
    return nb::make_tuple(nb::make_tuple(offsetof(Row, source), sizeof(Row::source)),
                          nb::make_tuple(offsetof(Row, out), sizeof(Row::out)));
}

nb::dict parameters() {
    using fasdk::ConstantRow;
    using fasdk::PresentRow;
    nb::dict found;
    found["fasdk_image_row"] = frame_parameters<std::uint8_t>();
    found["fasdk_depth_row"] = frame_parameters<std::uint16_t>();
    found["fasdk_constant_row"] =
        nb::make_tuple(nb::make_tuple(offsetof(ConstantRow, out), sizeof(ConstantRow::out)),
                       nb::make_tuple(offsetof(ConstantRow, count), sizeof(ConstantRow::count)),
                       nb::make_tuple(offsetof(ConstantRow, value), sizeof(ConstantRow::value)));
    found["fasdk_present_row"] =
        nb::make_tuple(nb::make_tuple(offsetof(PresentRow, out), sizeof(PresentRow::out)),
                       nb::make_tuple(offsetof(PresentRow, count), sizeof(PresentRow::count)),
                       nb::make_tuple(offsetof(PresentRow, present), sizeof(PresentRow::present)));
    return found;
}

// How the frames of one modality become rows on a device.
class RowPacker {
   public:
    RowPacker(const Three& mean, const Three& std, bool swap, const std::string& interpolation,
              bool pad, const std::string& border, int border_level, const std::string& fit)
        : planes_{{std::get<0>(mean), std::get<0>(std)},
                  {std::get<1>(mean), std::get<1>(std)},
                  {std::get<2>(mean), std::get<2>(std)}},
          swap_(swap) {
        if (border_level < 0 || border_level > 255) {
            throw std::invalid_argument("border_level is no 8-bit level");
        }
        framing_.area = fasdk::is_area(interpolation);
        framing_.pad = pad;
        framing_.border = fasdk::border_named(border);
        framing_.level = static_cast<std::uint8_t>(border_level);
        framing_.fit = fasdk::fit_named(fit);
    }

    nb::bytes image(Address frame, const Shape& shape, const Strides& strides, Address out,
                    const std::tuple<int, int>& out_size, const std::optional<Box>& region,
                    const std::optional<Six>& to_frame, const std::optional<Box>& window) const {
        return row_of<std::uint8_t>(frame, shape, strides, 0, out, out_size, region, to_frame,
                                    window);
    }

    nb::bytes depth(Address frame, const Shape& shape, const Strides& strides, Address levels,
                    Address out, const std::tuple<int, int>& out_size,
                    const std::optional<Box>& region, const std::optional<Six>& to_frame,
                    const std::optional<Box>& window) const {
        if (levels == 0) {
            throw std::invalid_argument("levels must be a device address, not 0");
        }
        return row_of<std::uint16_t>(frame, shape, strides, levels, out, out_size, region,
                                     to_frame, window);
    }

   private:
    template <typename Sample>
    nb::bytes row_of(Address frame, const Shape& shape, const Strides& strides, Address levels,
                     Address out, const std::tuple<int, int>& out_size,
                     const std::optional<Box>& region, const std::optional<Six>& to_frame,
                     const std::optional<Box>& window) const {
        const auto [height, width, channels] = shape;
        const auto [out_height, out_width] = out_size;
        if (frame == 0 || out == 0) {
            throw std::invalid_argument("frame and out must be device addresses, not 0");
        }
        // A device faults on half a sample, and the whole context is lost with it.
        if (frame % alignof(Sample) != 0 || out % alignof(float) != 0) {
            throw std::invalid_argument("frame and out must start at a whole sample");
        }
        if (channels != 1 && (channels != 3 || levels != 0)) {
            throw std::invalid_argument("frame must have 1 channel, or 3 without levels");
        }
        if (out_height < 1 || out_width < 1) {
            throw std::invalid_argument("the tensor is empty");
        }
        if (region.has_value() == to_frame.has_value()) {
            throw std::invalid_argument("give a region or to_frame, and not both");
        }
        const fasdk::FrameView<Sample> view{
            reinterpret_cast<const Sample*>(frame),
            width,
            height,
            channels,
            static_cast<std::ptrdiff_t>(std::get<0>(strides)),
            static_cast<std::ptrdiff_t>(std::get<1>(strides)),
            static_cast<std::ptrdiff_t>(std::get<2>(strides))};
        const auto* to_levels = reinterpret_cast<const std::uint8_t*>(levels);
        auto* const row = reinterpret_cast<float*>(out);
        if (to_frame) {
            const auto [a, b, c, d, e, f] = *to_frame;
            const auto [at_x, at_y, frame_width, frame_height] =
                window.value_or(Box{0, 0, width, height});
            return packed(fasdk::FrameRow<Sample>{
                fasdk::aligned_source(view, fasdk::Window{at_x, at_y, frame_width, frame_height},
                                      fasdk::Alignment{{a, b, c, d, e, f}}, framing_, out_width, out_height,
                                      to_levels, planes_, swap_),
                row});
        }
        const auto [left, top, right, bottom] = *region;
        return packed(fasdk::FrameRow<Sample>{
            fasdk::cropped_source(view, fasdk::Region{left, top, right, bottom}, framing_,
                                  out_width, out_height, to_levels, planes_, swap_),
            row});
    }

    fasdk::Normalization planes_[3];
    bool swap_;
    fasdk::Framing framing_;
};

nb::bytes constant(Address out, std::uint32_t count, float value) {
    return packed(fasdk::ConstantRow{reinterpret_cast<float*>(out), count, value});
}

nb::bytes present(Address out, std::uint32_t count, std::uint32_t bits) {
    return packed(fasdk::PresentRow{reinterpret_cast<float*>(out), count, bits});
}

}  // namespace

void bind_rows(nb::module_& module) {
    module.attr("ROW_PARAMETERS") = parameters();
    nb::class_<RowPacker>(module, "RowPacker")
        .def(nb::init<const Three&, const Three&, bool, const std::string&, bool,
                      const std::string&, int, const std::string&>(),
             nb::kw_only(), "mean"_a, "std"_a, "swap"_a, "interpolation"_a = "bilinear",
             "pad"_a = false, "border"_a = "constant", "border_level"_a = 0, "fit"_a = "stretch")
        .def("image", &RowPacker::image, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a, "out"_a,
             "out_size"_a, "region"_a = nb::none(), "to_frame"_a = nb::none(),
             "window"_a = nb::none())
        .def("depth", &RowPacker::depth, nb::kw_only(), "frame"_a, "shape"_a, "strides"_a,
             "levels"_a, "out"_a, "out_size"_a, "region"_a = nb::none(), "to_frame"_a = nb::none(),
             "window"_a = nb::none());
    module.def("constant_row", &constant, nb::kw_only(), "out"_a, "count"_a, "value"_a);
    module.def("present_row", &present, nb::kw_only(), "out"_a, "count"_a, "present"_a);
}
