// The two maps that stand beside infrared in some checkpoints: HOG, as scikit-image draws it, and
// PLGF, pattern of local gravitational force. Both are 8-bit images of the crop's own size.
//
// The published data sets were made by `skimage.feature.hog(grey, orientations=9,
// pixels_per_cell=(8, 8), cells_per_block=(2, 2), visualize=True)` and by the formula at
// `plgf_tangent_squared`, each stored through Pillow's F -> RGB conversion.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "fasdk/frame.hpp"
#include "fasdk/pixel.hpp"
#include "fasdk/row_kernels.hpp"

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
    // cos and sin of 20, 40, 60 and 80 degrees; the others are their mirror images.
    constexpr float kCos[4] = {0.93969262F, 0.76604444F, 0.5F, 0.17364818F};
    constexpr float kSin[4] = {0.34202014F, 0.64278761F, 0.86602540F, 0.98480775F};
    const bool turned = down < 0 || (down == 0 && across < 0);
    const float x = static_cast<float>(turned ? -across : across);
    const float y = static_cast<float>(turned ? -down : down);
    int bin = 0;
    for (int i = 0; i < 4; ++i) {
        bin += y * kCos[i] >= x * kSin[i] ? 1 : 0;
        bin += y * -kCos[i] >= x * kSin[i] ? 1 : 0;
    }
    return bin;
}

// Per bin the pixels of a cell that its line covers: bit x of byte y. It is what Bresenham's
// algorithm draws across the cell's centre, perpendicular to the bin's middle direction, radius 3.
constexpr std::uint8_t kHogLines[kHogBins][kHogCell] = {
    {0x00, 0x10, 0x10, 0x10, 0x08, 0x08, 0x08, 0x00},
    {0x00, 0x20, 0x10, 0x10, 0x08, 0x08, 0x04, 0x00},
    {0x00, 0x00, 0x40, 0x30, 0x0c, 0x02, 0x00, 0x00},
    {0x00, 0x00, 0x40, 0x30, 0x0c, 0x02, 0x00, 0x00},
    {0x00, 0x00, 0x00, 0x00, 0xfe, 0x00, 0x00, 0x00},
    {0x00, 0x00, 0x02, 0x0c, 0x30, 0x40, 0x00, 0x00},
    {0x00, 0x00, 0x02, 0x0c, 0x30, 0x40, 0x00, 0x00},
    {0x00, 0x04, 0x08, 0x08, 0x10, 0x10, 0x20, 0x00},
    {0x00, 0x08, 0x08, 0x08, 0x10, 0x10, 0x10, 0x00},
};

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

// A copy of a one-channel region whose rows and pixels follow each other.
inline FrameView<std::uint8_t> contiguous(const FrameView<std::uint8_t>& region,
                                          std::vector<std::uint8_t>& buffer) {
    const std::size_t width = static_cast<std::size_t>(region.width);
    std::uint8_t* to = room(buffer, width * static_cast<std::size_t>(region.height));
    const FrameView<std::uint8_t> copy{to, region.width, region.height, 1, region.width, 1, 1};
    for (int y = 0; y < region.height; ++y) {
        const std::uint8_t* from = region.row(y);
        for (int x = 0; x < region.width; ++x) {
            *to++ = from[x * region.column_stride];
        }
    }
    return copy;
}

namespace detail {

inline void require_composite(const FrameView<std::uint8_t>& grey) {
    if (grey.width < kCompositeMinimum || grey.height < kCompositeMinimum) {
        throw std::invalid_argument("the infrared composite needs at least 16x16 pixels");
    }
}

// Magnitude and bin of each pixel of a row; gradients at the image's edges are 0 across them.
inline void gradients(const FrameView<std::uint8_t>& grey, int y, double* FASDK_RESTRICT magnitude,
                      std::int16_t* FASDK_RESTRICT bin) {
    const int width = grey.width;
    const bool edge = y == 0 || y == grey.height - 1;
    const std::uint8_t* row = grey.row(y);
    const std::uint8_t* above = edge ? row : grey.row(y - 1);
    const std::uint8_t* below = edge ? row : grey.row(y + 1);
    const auto set = [&](int x, int across) {
        const int down = below[x] - above[x];
        magnitude[x] = std::sqrt(static_cast<double>(across * across + down * down));
        bin[x] = static_cast<std::int16_t>(hog_bin(across, down));
    };
    set(0, 0);
    for (int x = 1; x < width - 1; ++x) {
        set(x, row[x + 1] - row[x - 1]);
    }
    set(width - 1, 0);
}

// A cell's magnitudes, row by row, into float bins: scikit-image rounds to float after each.
inline void count(const double* magnitude, const std::int16_t* bin, int cells, float* histogram) {
    for (int x = 0; x < kHogCell; ++x) {  // neighbouring cells wait for each other's sums least
        for (int cell = 0; cell < cells; ++cell) {
            const int at = kHogCell * cell + x;
            float& total = histogram[kHogBins * cell + bin[at]];
            total = static_cast<float>(total + magnitude[at]);
        }
    }
}

}  // namespace detail

// Draw HOG of a contiguous grey image into `to`, uint8 [height, width].
inline void draw_hog(const FrameView<std::uint8_t>& grey, std::uint8_t* to, Scratch& scratch) {
    detail::require_composite(grey);
    const std::size_t width = static_cast<std::size_t>(grey.width);
    const int cells = grey.width / kHogCell;
    const std::size_t bins = static_cast<std::size_t>(cells * kHogBins);
    double* const magnitude = room(scratch.values, width);
    std::int16_t* const bin = room(scratch.padded, width);
    float* const histogram = room(scratch.histogram, bins);
    std::memset(to, 0, width * static_cast<std::size_t>(grey.height));  // what no cell covers
    for (int top = 0; top + kHogCell <= grey.height; top += kHogCell) {
        std::fill_n(histogram, bins, 0.0F);
        for (int y = top; y < top + kHogCell; ++y) {
            detail::gradients(grey, y, magnitude, bin);
            detail::count(magnitude, bin, cells, histogram);
        }
        for (int cell = 0; cell < cells; ++cell) {
            double drawn[kHogCell][kHogCell] = {};
            for (int i = 0; i < kHogBins; ++i) {
                const double value =
                    histogram[kHogBins * cell + i] / static_cast<float>(kHogCell * kHogCell);
                for (int y = 0; y < kHogCell; ++y) {
                    for (int x = 0; x < kHogCell; ++x) {
                        drawn[y][x] += (kHogLines[i][y] >> x) & 1 ? value : 0.0;
                    }
                }
            }
            std::uint8_t* corner = to + static_cast<std::size_t>(top) * width +
                                   static_cast<std::size_t>(kHogCell * cell);
            for (int y = 0; y < kHogCell; ++y, corner += width) {
                for (int x = 0; x < kHogCell; ++x) {
                    corner[x] = clipped(drawn[y][x]);
                }
            }
        }
    }
}

// Draw PLGF of a contiguous grey image into `to`, uint8 [height, width].
inline void draw_plgf(const FrameView<std::uint8_t>& grey, std::uint8_t* to, Scratch& scratch) {
    detail::require_composite(grey);
    const int width = grey.width;
    const int height = grey.height;
    const std::size_t padded = static_cast<std::size_t>(width) + 4;
    // Every row with two zeros on either side, and two rows of zeros above and below.
    std::int16_t* const rows = room(scratch.padded, padded * static_cast<std::size_t>(height + 4));
    std::fill_n(rows, padded * static_cast<std::size_t>(height + 4), std::int16_t{0});
    for (int y = 0; y < height; ++y) {
        std::int16_t* row = rows + padded * static_cast<std::size_t>(y + 2) + 2;
        for (int x = 0; x < width; ++x) {
            row[x] = std::max<std::int16_t>(grey.row(y)[x], 2);
        }
    }
    double* const tangents =
        room(scratch.values, static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    std::int16_t* const s1 = room(scratch.sums, 4 * padded);  // of the rows one apart, two apart
    std::int16_t* const s2 = s1 + padded;
    std::int16_t* const d1 = s2 + padded;  // and their differences
    std::int16_t* const d2 = d1 + padded;
    double low = INFINITY;
    double high = 0.0;
    for (int y = 0; y < height; ++y) {
        const std::int16_t* const row = rows + padded * static_cast<std::size_t>(y + 2);
        const std::int16_t* const up = row - padded;
        const std::int16_t* const down = row + padded;
        for (std::size_t x = 0; x < padded; ++x) {
            s1[x] = static_cast<std::int16_t>(down[x] + up[x]);
            d1[x] = static_cast<std::int16_t>(down[x] - up[x]);
            s2[x] = static_cast<std::int16_t>(down[x + padded] + (up - padded)[x]);
            d2[x] = static_cast<std::int16_t>(down[x + padded] - (up - padded)[x]);
        }
        double* const line = tangents + static_cast<std::ptrdiff_t>(y) * width;
        for (int x = 0; x < width; ++x) {  // column x is at x + 2
            const double across =
                plgf_force(4 * (row[x + 3] - row[x + 1]) + (row[x + 4] - row[x]),
                           4 * (s1[x + 3] - s1[x + 1]) + (s2[x + 4] - s2[x]),
                           (s2[x + 3] - s2[x + 1]) + 2 * (s1[x + 4] - s1[x]));
            const double along = plgf_force(4 * d1[x + 2] + d2[x + 2],
                                            4 * (d1[x + 1] + d1[x + 3]) + (d2[x] + d2[x + 4]),
                                            (d1[x] + d1[x + 4]) + 2 * (d2[x + 1] + d2[x + 3]));
            const double tangent = plgf_tangent_squared(across, along, row[x + 2]);
            line[x] = tangent;
            low = tangent < low ? tangent : low;
            high = tangent > high ? tangent : high;
        }
    }
    const double lowest = std::atan(std::sqrt(low));
    const double span = std::atan(std::sqrt(high)) - lowest;
    const std::size_t count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    for (std::size_t i = 0; i < count; ++i) {
        to[i] = plgf_level(tangents[i], lowest, span);
    }
}

}  // namespace fasdk
