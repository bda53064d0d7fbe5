// fasdk._native: the frame pass for Python. Arguments are checked here, the GIL is released for
// the work itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "fasdk/frame_pass.hpp"
#include "fasdk/resize.hpp"
#include "rows.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename Sample>
using Frame = nb::ndarray<const Sample, nb::device::cpu>;
using Levels = nb::ndarray<const std::uint8_t, nb::shape<65536>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::shape<3, -1, -1>, nb::c_contig, nb::device::cpu>;
template <typename Sample>
using ResizedOut = nb::ndarray<Sample, nb::c_contig, nb::device::cpu>;
using Map = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Box = std::tuple<int, int, int, int>;
using Three = std::tuple<float, float, float>;
using Six = std::tuple<double, double, double, double, double, double>;

int as_size(std::size_t size) {
    // Column offsets are 32-bit samples, four of them to a pixel.
    if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() / 4)) {
        throw std::invalid_argument("an axis is too long");
    }
    return static_cast<int>(size);
}

template <typename Sample>
fasdk::FrameView<Sample> view_of(const Frame<Sample>& frame) {
    if (frame.ndim() != 2 && frame.ndim() != 3) {
        throw std::invalid_argument("frame must be [H, W] or [H, W, C]");
    }
    if (reinterpret_cast<std::uintptr_t>(frame.data()) % alignof(Sample) != 0) {
        throw std::invalid_argument("frame is not aligned to its samples");
    }
    const bool planes = frame.ndim() == 3;
    return {frame.data(),
            as_size(frame.shape(1)),
            as_size(frame.shape(0)),
            planes ? as_size(frame.shape(2)) : 1,
            frame.stride(0),
            frame.stride(1),
            planes ? frame.stride(2) : 1};
}

fasdk::Region region_of(const Box& box) {
    return {std::get<0>(box), std::get<1>(box), std::get<2>(box), std::get<3>(box)};
}

const fasdk::RowKernels& kernels_of(const std::string& tier) {
    for (const fasdk::RowKernels* kernels : fasdk::row_kernels()) {
        if (tier.empty() || tier == kernels->tier) {
            return *kernels;
        }
    }
    throw std::invalid_argument("this CPU has no tier " + tier);
}

fasdk::Alignment alignment_of(const Six& to_frame) {
    return {{std::get<0>(to_frame), std::get<1>(to_frame), std::get<2>(to_frame),
             std::get<3>(to_frame), std::get<4>(to_frame), std::get<5>(to_frame)}};
}

// Lets other threads run meanwhile if the work takes long enough. For some 20 µs it does not: to take
// the GIL back from another thread costs more than that, three times a capture.
class ReleaseForLong {
   public:
    ReleaseForLong(const fasdk::Target& target, const Box& box, const fasdk::Framing& framing) {
        const std::int64_t width = std::int64_t{std::get<2>(box)} - std::get<0>(box);
        if (target.width > kShortAxis || target.height > kShortAxis || width > kShortLine ||
            framing.area) {
            release_.emplace();
        }
    }

   private:
    static constexpr int kShortAxis = 96;   // pixels of the tensor
    static constexpr int kShortLine = 640;  // pixels of the crop; depth reads its lines whole
    std::optional<nb::gil_scoped_release> release_;
};

// How the frames of one modality become tensors; threads may share one.
class Pass {
   public:
    Pass(const Three& mean, const Three& std, bool swap, const std::string& tier,
         const std::string& interpolation, bool pad, const std::string& border, int border_level,
         const std::string& fit)
        : planes_{{std::get<0>(mean), std::get<0>(std)},
                  {std::get<1>(mean), std::get<1>(std)},
                  {std::get<2>(mean), std::get<2>(std)}},
          swap_(swap),
          kernels_(kernels_of(tier)) {
        if (border_level < 0 || border_level > 255) {
            throw std::invalid_argument("border_level is no 8-bit level");
        }
        framing_.area = fasdk::is_area(interpolation);
        framing_.pad = pad;
        framing_.border = fasdk::border_named(border);
        framing_.level = static_cast<std::uint8_t>(border_level);
        framing_.fit = fasdk::fit_named(fit);
    }

    void image(const Frame<std::uint8_t>& frame, const Box& box, const Out& out) const {
        const auto view = view_of(frame);
        const fasdk::Target target = target_of(out);
        const ReleaseForLong release(target, box, framing_);
        fasdk::image_to_tensor(view, region_of(box), target, kernels_, framing_);
    }

    void depth(const Frame<std::uint16_t>& frame, const Box& box, const Levels& levels,
               const Out& out) const {
        const auto view = view_of(frame);
        const fasdk::Target target = target_of(out);
        const ReleaseForLong release(target, box, framing_);
        fasdk::depth_to_tensor(view, region_of(box), levels.data(), target, kernels_, framing_);
    }

    void composite(const Frame<std::uint8_t>& frame, const Box& box, const Out& out) const {
        const auto view = view_of(frame);
        const fasdk::Target target = target_of(out);
        const nb::gil_scoped_release release;
        fasdk::composite_to_tensor(view, region_of(box), target, kernels_, framing_);
    }

    void aligned_image(const Frame<std::uint8_t>& frame, const Six& to_frame,
                       const Out& out) const {
        const auto view = view_of(frame);
        const fasdk::Target target = target_of(out);
        const nb::gil_scoped_release release;
        fasdk::aligned_image_to_tensor(view, alignment_of(to_frame), target, kernels_, framing_);
    }

    void aligned_depth(const Frame<std::uint16_t>& frame, const Six& to_frame,
                       const Levels& levels, const Out& out) const {
        const auto view = view_of(frame);
        const fasdk::Target target = target_of(out);
        const nb::gil_scoped_release release;
        fasdk::aligned_depth_to_tensor(view, alignment_of(to_frame), levels.data(), target,
                                       kernels_, framing_);
    }

   private:
    fasdk::Target target_of(const Out& out) const {
        return fasdk::target_of(out.data(), as_size(out.shape(2)), as_size(out.shape(1)), planes_,
                                swap_);
    }

    fasdk::Normalization planes_[3];
    bool swap_;
    const fasdk::RowKernels& kernels_;
    fasdk::Framing framing_;
};

template <typename Sample>
fasdk::Resized<Sample> resized_of(const Frame<Sample>& image, const ResizedOut<Sample>& out) {
    if (out.ndim() != image.ndim() || (image.ndim() == 3 && out.shape(2) != image.shape(2))) {
        throw std::invalid_argument("out must have the image's axes and channels");
    }
    return {out.data(), as_size(out.shape(1)), as_size(out.shape(0))};
}

void resize_8(const Frame<std::uint8_t>& image, const ResizedOut<std::uint8_t>& out,
              const std::string& tier) {
    const auto view = view_of(image);
    const auto to = resized_of(image, out);
    const fasdk::RowKernels& kernels = kernels_of(tier);
    const nb::gil_scoped_release release;
    fasdk::resize_8(view, to, kernels);
}

void resize_16(const Frame<std::uint16_t>& image, const ResizedOut<std::uint16_t>& out) {
    const auto view = view_of(image);
    const auto to = resized_of(image, out);
    const nb::gil_scoped_release release;
    fasdk::resize_16(view, to);
}

template <void (*draw)(const fasdk::FrameView<std::uint8_t>&, std::uint8_t*,
                       const fasdk::RowKernels&, fasdk::Scratch&)>
void map(const Frame<std::uint8_t>& gray, const Map& out, const std::string& tier) {
    const auto view = view_of(gray);
    if (gray.ndim() != 2 || out.shape(0) != gray.shape(0) || out.shape(1) != gray.shape(1)) {
        throw std::invalid_argument("image and out must be [H, W] of one size");
    }
    std::uint8_t* const to = out.data();
    const fasdk::RowKernels& kernels = kernels_of(tier);
    const nb::gil_scoped_release release;
    fasdk::Scratch& scratch = fasdk::scratch_of_this_thread();
    draw(fasdk::contiguous(view, scratch.gray), to, kernels, scratch);
}

}  // namespace

NB_MODULE(_native, module) {
    // A lane's thread may still hold an object as the interpreter ends: not a leak to report.
    nb::set_leak_warnings(false);
    module.doc() = "Crop, resize, normalize and NCHW layout of a frame in one pass.";
    nb::list tiers;
    for (const fasdk::RowKernels* kernels : fasdk::row_kernels()) {
        tiers.append(kernels->tier);
    }
    module.attr("TIERS") = nb::tuple(tiers);
    nb::class_<Pass>(module, "Pass")
        .def(nb::init<const Three&, const Three&, bool, const std::string&, const std::string&,
                      bool, const std::string&, int, const std::string&>(),
             nb::kw_only(), "mean"_a, "std"_a, "swap"_a, "tier"_a = "",
             "interpolation"_a = "bilinear", "pad"_a = false, "border"_a = "constant",
             "border_level"_a = 0, "fit"_a = "stretch")
        .def("image", &Pass::image, "frame"_a.noconvert(), "region"_a, "out"_a.noconvert())
        .def("depth", &Pass::depth, "frame"_a.noconvert(), "region"_a, "levels"_a.noconvert(),
             "out"_a.noconvert())
        .def("composite", &Pass::composite, "frame"_a.noconvert(), "region"_a,
             "out"_a.noconvert())
        .def("aligned_image", &Pass::aligned_image, "frame"_a.noconvert(), "to_frame"_a,
             "out"_a.noconvert())
        .def("aligned_depth", &Pass::aligned_depth, "frame"_a.noconvert(), "to_frame"_a,
             "levels"_a.noconvert(), "out"_a.noconvert());
    module.def("resize_8", &resize_8, "image"_a.noconvert(), "out"_a.noconvert(), "tier"_a = "");
    module.def("resize_16", &resize_16, "image"_a.noconvert(), "out"_a.noconvert());
    module.def("hog_map", &map<fasdk::draw_hog>, "image"_a.noconvert(), "out"_a.noconvert(),
               "tier"_a = "");
    module.def("plgf_map", &map<fasdk::draw_plgf>, "image"_a.noconvert(), "out"_a.noconvert(),
               "tier"_a = "");
    bind_rows(module);
}
