// The arithmetic of the two maps that stand beside infrared in some checkpoints: HOG, as
// scikit-image draws it, and PLGF, pattern of local gravitational force.
//
// The published data sets were made by `skimage.feature.hog(gray, orientations=9,
// pixels_per_cell=(8, 8), cells_per_block=(2, 2), visualize=True)` and by the formula at
// `plgf_tangent_squared`, each stored through Pillow's F -> RGB conversion.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "fasdk/pixel.hpp"

namespace fasdk {

constexpr int kHogCell = 8;  // pixels along a side
constexpr int kHogBins = 9;
constexpr int kCompositeMinimum = 16;  // a block of two cells; scikit-image refuses less

// What Pillow's conversion does: rounded to float, clipped, then truncated.
FASDK_HD inline std::uint8_t clipped(double value) {
    const float single = static_cast<float>(value);
    return single >= 255.0F ? 255 : (single > 0.0F ? static_cast<std::uint8_t>(single) : 0);
}

// The orientation bin, 20 degrees wide, of a gradient of 8-bit levels; opposite gradients share it.
//
// Compares with the boundaries' directions instead of calling atan2. No whole-numbered gradient up
// to 255 comes nearer to a boundary than single precision can tell, so the bin is exact.
FASDK_HD constexpr int hog_bin(int across, int down) {
    const int turned = static_cast<int>(down < 0) |
                       (static_cast<int>(down == 0) & static_cast<int>(across < 0));
    const float x = static_cast<float>(across * (1 - 2 * turned));
    const float y = static_cast<float>(down * (1 - 2 * turned));
    // Sine and cosine of 20, 40, 60 and 80 degrees; beyond 90 only the cosine's sign differs.
    const float x20 = x * 0.34202014F, y20 = y * 0.93969262F;
    const float x40 = x * 0.64278761F, y40 = y * 0.76604444F;
    const float x60 = x * 0.86602540F, y60 = y * 0.5F;
    const float x80 = x * 0.98480775F, y80 = y * 0.17364818F;
    return static_cast<int>(y20 >= x20) + static_cast<int>(y40 >= x40) +
           static_cast<int>(y60 >= x60) + static_cast<int>(y80 >= x80) +
           static_cast<int>(-y80 >= x80) + static_cast<int>(-y60 >= x60) +
           static_cast<int>(-y40 >= x40) + static_cast<int>(-y20 >= x20);
}

// PLGF's force along one axis, in levels: the 5x5 kernel weighs a neighbour at (dx, dy) by
// dx / r^3, which takes only the values 1, 1/4, 1/(2 sqrt 2), a quarter of that, and
// 1/(5 sqrt 5) once and twice. What shares a factor is summed exactly, as whole numbers.
//
// `plain`: 4 d(1, 0) + d(2, 0); `diagonal`: 4 d(1, 1) + d(2, 2); `knight`: d(1, 2) + 2 d(2, 1),
// where d(a, b) is the difference between the neighbours a ahead and a behind, b to both sides.
FASDK_HD inline double plgf_force(int plain, int diagonal, int knight) {
    constexpr double kDiagonal = 0.35355339059327379;  // 1 / (2 sqrt 2)
    constexpr double kKnight = 0.089442719099991588;   // 1 / (5 sqrt 5)
    return 0.25 * plain + (0.25 * kDiagonal) * diagonal + kKnight * knight;
}

// Squared tangent of the map's angle atan(sqrt((gx / (I + 1e-4))^2 + (gy / (I + 1e-4))^2)), I >= 2.
FASDK_HD inline double plgf_tangent_squared(double across, double down, int level) {
    const double by = level + 0.0001;
    const double x = across / by;
    const double y = down / by;
    return x * x + y * y;
}

// The angles' range [low, low + span] becomes [1, 255]; a map without any contrast is all 1.
FASDK_HD inline std::uint8_t plgf_level(double tangent_squared, double low, double span) {
    if (!(span > 0.0)) {
        return 1;
    }
    return clipped((std::atan(std::sqrt(tangent_squared)) - low) / span * 254.0 + 1.0);
}

namespace plain {

// Magnitude and bin of each pixel of a row, whose neighbours are `above` and `below`. The image's
// first and last column have no gradient across; its first and last row are their own neighbours.
FASDK_INLINE void hog_row_inline(const std::uint8_t* FASDK_RESTRICT above,
                                 const std::uint8_t* FASDK_RESTRICT row,
                                 const std::uint8_t* FASDK_RESTRICT below, std::size_t width,
                                 std::int16_t* FASDK_RESTRICT across,
                                 double* FASDK_RESTRICT magnitude,
                                 std::int16_t* FASDK_RESTRICT bin) {
    across[0] = across[width - 1] = 0;
    for (std::size_t x = 1; x + 1 < width; ++x) {
        across[x] = static_cast<std::int16_t>(row[x + 1] - row[x - 1]);
    }
    for (std::size_t x = 0; x < width; ++x) {
        const int down = below[x] - above[x];
        const int squared = across[x] * across[x] + down * down;
        magnitude[x] = std::sqrt(static_cast<double>(squared));
    }
    for (std::size_t x = 0; x < width; ++x) {
        bin[x] = static_cast<std::int16_t>(hog_bin(across[x], below[x] - above[x]));
    }
}

// PLGF's squared tangents of a row. `row` has two samples on either side, two rows of `stride`
// above and below; `sums` has room for four rows.
FASDK_INLINE void plgf_row_inline(const std::int16_t* FASDK_RESTRICT row, std::ptrdiff_t stride,
                                  std::size_t width, std::int16_t* FASDK_RESTRICT sums,
                                  double* FASDK_RESTRICT tangents) {
    const std::size_t padded = width + 4;
    std::int16_t* FASDK_RESTRICT const s1 = sums;  // of the rows one apart, two apart
    std::int16_t* FASDK_RESTRICT const s2 = s1 + padded;
    std::int16_t* FASDK_RESTRICT const d1 = s2 + padded;  // and their differences
    std::int16_t* FASDK_RESTRICT const d2 = d1 + padded;
    const std::int16_t* const first = row - 2;
    for (std::size_t x = 0; x < padded; ++x) {
        const int up = (first - stride)[x];
        const int down = (first + stride)[x];
        const int up_2 = (first - 2 * stride)[x];
        const int down_2 = (first + 2 * stride)[x];
        s1[x] = static_cast<std::int16_t>(down + up);
        d1[x] = static_cast<std::int16_t>(down - up);
        s2[x] = static_cast<std::int16_t>(down_2 + up_2);
        d2[x] = static_cast<std::int16_t>(down_2 - up_2);
    }
    for (std::size_t x = 0; x < width; ++x) {  // column x is at x + 2
        const double across =
            plgf_force(4 * (first[x + 3] - first[x + 1]) + (first[x + 4] - first[x]),
                       4 * (s1[x + 3] - s1[x + 1]) + (s2[x + 4] - s2[x]),
                       (s2[x + 3] - s2[x + 1]) + 2 * (s1[x + 4] - s1[x]));
        const double along = plgf_force(4 * d1[x + 2] + d2[x + 2],
                                        4 * (d1[x + 1] + d1[x + 3]) + (d2[x] + d2[x + 4]),
                                        (d1[x] + d1[x + 4]) + 2 * (d2[x + 1] + d2[x + 3]));
        tangents[x] = plgf_tangent_squared(across, along, first[x + 2]);
    }
}

// Levels before truncation, within 1e-6 of `by` plus the rounding of 255: an arc tangent by a
// polynomial whose error is below 4e-8 on [0, 1].
FASDK_INLINE void plgf_guess_inline(const double* FASDK_RESTRICT tangents, std::size_t count,
                                    float low, float by, float* FASDK_RESTRICT guess) {
    for (std::size_t i = 0; i < count; ++i) {
        const float tangent = std::sqrt(static_cast<float>(tangents[i]));
        const float inverse = 1.0F / tangent;
        const float t = tangent > 1.0F ? inverse : tangent;
        const float u = t * t;
        float p = -0.0040545568F;
        p = p * u + 0.0218629205F;
        p = p * u - 0.0559122735F;
        p = p * u + 0.0964219347F;
        p = p * u - 0.1390862806F;
        p = p * u + 0.1994656536F;
        p = p * u - 0.3332986076F;
        p = p * u + 0.9999993356F;
        const float arc = p * t;
        guess[i] = ((tangent > 1.0F ? 1.5707963268F - arc : arc) - low) * by + 1.0F;
    }
}

inline void hog_row(const std::uint8_t* above, const std::uint8_t* row, const std::uint8_t* below,
                    std::size_t width, std::int16_t* across, double* magnitude,
                    std::int16_t* bin) {
    hog_row_inline(above, row, below, width, across, magnitude, bin);
}

inline void plgf_row(const std::int16_t* row, std::ptrdiff_t stride, std::size_t width,
                     std::int16_t* sums, double* tangents) {
    plgf_row_inline(row, stride, width, sums, tangents);
}

inline void plgf_guess(const double* tangents, std::size_t count, float low, float by,
                       float* guess) {
    plgf_guess_inline(tangents, count, low, by, guess);
}

}  // namespace plain
}  // namespace fasdk
