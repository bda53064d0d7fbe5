// Which part of a frame fills which part of the tensor: borders, letterboxes, aligned faces.
//
// Host and CUDA compile the very same functions; what they compute in floating point must not be
// contracted.
#pragma once

#include "fasdk/pixel.hpp"
#include "fasdk/standard.hpp"

#if !defined(__CUDACC_RTC__)
#include <stdexcept>
#include <string>
#endif

namespace fasdk {

// Pixels outside an image, by OpenCV's names of border types.
enum class Border : std::int32_t { kConstant, kReplicate, kReflect, kReflect101 };

// How a crop becomes as large as the tensor; the last two keep its aspect, the very last one with
// sides that are rounded down.
enum class Fit : std::int32_t { kStretch, kLetterbox, kLetterboxFloor };

// How a crop becomes a tensor, beside its normalization.
struct Framing {
    bool area = false;  // OpenCV's INTER_AREA, not INTER_LINEAR
    bool pad = false;   // the crop may leave the frame
    Border border = Border::kConstant;
    std::uint8_t level = 0;  // of a constant border
    Fit fit = Fit::kStretch;
};

#if !defined(__CUDACC_RTC__)
// By the names a manifest has for them.
inline Border border_named(const std::string& name) {
    if (name == "constant") return Border::kConstant;
    if (name == "replicate") return Border::kReplicate;
    if (name == "reflect") return Border::kReflect;
    if (name == "reflect-101") return Border::kReflect101;
    throw std::invalid_argument("there is no border " + name);
}

inline Fit fit_named(const std::string& name) {
    if (name == "stretch") return Fit::kStretch;
    if (name == "letterbox") return Fit::kLetterbox;
    if (name == "letterbox-floor") return Fit::kLetterboxFloor;
    throw std::invalid_argument("there is no fit " + name);
}

inline bool is_area(const std::string& interpolation) {
    if (interpolation == "area") return true;
    if (interpolation == "bilinear") return false;
    throw std::invalid_argument("there is no interpolation " + interpolation);
}
#endif

// The index in [0, size) of what is seen at `at` of an axis; -1 where it is the constant level.
FASDK_HD inline std::int32_t border_index(std::int32_t at, std::int32_t size, Border border) {
    if (at >= 0 && at < size) {
        return at;
    }
    if (border == Border::kConstant) {
        return -1;
    }
    if (border == Border::kReplicate || size == 1) {
        return at < 0 ? 0 : size - 1;
    }
    const std::int32_t repeated = border == Border::kReflect ? 0 : 1;  // mirrored without the last
    const std::int32_t period = 2 * (size - repeated);
    std::int32_t within = at % period;
    within += within < 0 ? period : 0;
    return within < size ? within : period - 1 + repeated - within;
}

// The part of the tensor that the resized crop fills.
struct Inside {
    std::int32_t left;
    std::int32_t top;
    std::int32_t width;
    std::int32_t height;
};

namespace detail {

FASDK_HD inline std::int32_t letterbox_side(int side, double ratio, int out, Fit fit) {
    const double exact = side * ratio;
    const std::int32_t whole = fit == Fit::kLetterbox ? static_cast<std::int32_t>(std::lrint(exact))
                                                      : static_cast<std::int32_t>(exact);
    return whole < 1 ? 1 : (whole > out ? out : whole);
}

}  // namespace detail

FASDK_HD inline Inside inside_of(int width, int height, int out_width, int out_height, Fit fit) {
    if (fit == Fit::kStretch) {
        return {0, 0, out_width, out_height};
    }
    const double across = static_cast<double>(out_width) / width;
    const double down = static_cast<double>(out_height) / height;
    const double ratio = across < down ? across : down;
    const std::int32_t inner_width = detail::letterbox_side(width, ratio, out_width, fit);
    const std::int32_t inner_height = detail::letterbox_side(height, ratio, out_height, fit);
    return {(out_width - inner_width) / 2, (out_height - inner_height) / 2, inner_width,
            inner_height};
}

// Where an aligned face lies: (x, y) of the tensor is seen at (m[0] x + m[1] y + m[2], m[3] x +
// m[4] y + m[5]) of the frame.
struct Alignment {
    double m[6];
};

// OpenCV's fixed-point coordinates hold no more, neither do its 16-bit ones.
constexpr double kFarthest = 1 << 19;
constexpr std::int32_t kLongestAlignedSide = 32767;

// Whether every coordinate of a tensor fits.
inline bool fits(const Alignment& alignment, int width, int height) {
    for (int axis = 0; axis < 6; axis += 3) {
        const double* m = alignment.m + axis;
        const double across = std::fabs(m[0]) * width;
        const double down = std::fabs(m[1]) * height + std::fabs(m[2]);
        if (!(across < kFarthest) || !(down < kFarthest)) {
            return false;
        }
    }
    return true;
}

// A place in the frame in pixels and their 32nds: OpenCV's, which rounds the parts of a line's
// start and of the way along it to 1024ths.
struct AlignedPoint {
    std::int32_t column;
    std::int32_t row;
    std::int32_t across;  // 32nds to the next column
    std::int32_t down;
};

namespace detail {

FASDK_HD inline std::int32_t in_1024ths(double pixels) {
    return static_cast<std::int32_t>(std::lrint(pixels * 1024.0));  // ties to even
}

FASDK_HD constexpr std::int32_t in_16_bits(std::int32_t at) {
    return at < -32768 ? -32768 : (at > 32767 ? 32767 : at);
}

}  // namespace detail

// Of one coordinate, m three of an alignment's numbers: how far column x lies along its line, and
// where line y starts, in 1024ths of a pixel.
FASDK_HD inline std::int32_t aligned_along(const double* m, int x) {
    return detail::in_1024ths(m[0] * x);
}

FASDK_HD inline std::int32_t aligned_start(const double* m, int y) {
    return detail::in_1024ths(m[1] * y + m[2]) + 16;
}

FASDK_HD constexpr AlignedPoint aligned_point(std::int32_t x_1024, std::int32_t y_1024) {
    const std::int32_t across = x_1024 >> 5;
    const std::int32_t down = y_1024 >> 5;
    return {detail::in_16_bits(across >> 5), detail::in_16_bits(down >> 5), across & 31, down & 31};
}

FASDK_HD inline AlignedPoint aligned_point(const Alignment& alignment, int x, int y) {
    const double* const m = alignment.m;
    return aligned_point(aligned_start(m, y) + aligned_along(m, x),
                         aligned_start(m + 3, y) + aligned_along(m + 3, x));
}

// The level there, of the four samples about it: weights in 1/1024, halves up.
FASDK_HD constexpr std::uint8_t aligned_level(const AlignedPoint& at, std::uint8_t upper_left,
                                              std::uint8_t upper_right, std::uint8_t lower_left,
                                              std::uint8_t lower_right) {
    const std::int32_t upper = upper_left * (32 - at.across) + upper_right * at.across;
    const std::int32_t lower = lower_left * (32 - at.across) + lower_right * at.across;
    return static_cast<std::uint8_t>((upper * (32 - at.down) + lower * at.down + 512) >> 10);
}

}  // namespace fasdk
