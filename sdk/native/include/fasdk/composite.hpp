// HOG and PLGF maps as 8-bit images of the crop's size. See maps.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "fasdk/frame.hpp"
#include "fasdk/maps.hpp"
#include "fasdk/row_kernels.hpp"

namespace fasdk {

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

// Per bin the pixels of a cell that its line covers, 8 y + x, up to a -1: what Bresenham's algorithm
// draws across the cell's center, perpendicular to the bin's middle direction, radius 3.
constexpr int kHogLineLength = 7;
constexpr std::int8_t kHogLines[kHogBins][kHogLineLength] = {
    {12, 20, 28, 35, 43, 51, -1},
    {13, 20, 28, 35, 43, 50, -1},
    {22, 28, 29, 34, 35, 41, -1},
    {22, 28, 29, 34, 35, 41, -1},
    {33, 34, 35, 36, 37, 38, 39},
    {17, 26, 27, 36, 37, 46, -1},
    {17, 26, 27, 36, 37, 46, -1},
    {10, 19, 27, 36, 44, 53, -1},
    {11, 19, 27, 36, 44, 52, -1}};


inline void require_composite(const FrameView<std::uint8_t>& gray) {
    if (gray.width < kCompositeMinimum || gray.height < kCompositeMinimum) {
        throw std::invalid_argument("the infrared composite needs at least 16x16 pixels");
    }
}

// A cell's magnitudes, row by row, into float bins: scikit-image rounds to float after each.
inline void count(const double* magnitude, const std::int16_t* bin, std::size_t cells,
                  float* histogram) {
    for (std::size_t x = 0; x < kHogCell; ++x) {  // neighbouring cells wait for each other's sums least
        for (std::size_t cell = 0; cell < cells; ++cell) {
            const std::size_t at = kHogCell * cell + x;
            float& total = histogram[kHogBins * cell + static_cast<std::size_t>(bin[at])];
            total = static_cast<float>(total + magnitude[at]);
        }
    }
}

// A cell's bins as lines. Every sum is exact in double, so the lines' order does not matter.
inline void draw_cell(const float* bins, std::uint8_t* corner, std::size_t width) {
    double drawn[kHogCell * kHogCell] = {};
    for (std::size_t bin = 0; bin < kHogBins; ++bin) {
        const double value = bins[bin] / static_cast<float>(kHogCell * kHogCell);
        for (const std::int8_t at : kHogLines[bin]) {
            if (at >= 0) {
                drawn[at] += value;
            }
        }
    }
    for (std::size_t y = 1; y < kHogCell - 1; ++y) {  // no line touches the first and last row
        for (std::size_t x = 1; x < kHogCell; ++x) {  // or the first column
            corner[y * width + x] = clipped(drawn[kHogCell * y + x]);
        }
    }
}

}  // namespace detail

// Draw HOG of a contiguous gray image into `to`, uint8 [height, width].
inline void draw_hog(const FrameView<std::uint8_t>& gray, std::uint8_t* to,
                     const RowKernels& kernels, Scratch& scratch) {
    detail::require_composite(gray);
    const std::size_t width = static_cast<std::size_t>(gray.width);
    const std::size_t cells = width / kHogCell;
    double* const magnitude = room(scratch.values, width);
    std::int16_t* const across = room(scratch.sums, 2 * width);
    std::int16_t* const bin = across + width;
    float* const histogram = room(scratch.singles, cells * kHogBins);
    std::memset(to, 0, width * static_cast<std::size_t>(gray.height));  // where no line is
    for (int top = 0; top + kHogCell <= gray.height; top += kHogCell) {
        std::fill_n(histogram, cells * kHogBins, 0.0F);
        for (int y = top; y < top + kHogCell; ++y) {
            const bool edge = y == 0 || y == gray.height - 1;
            const std::uint8_t* const row = gray.row(y);
            kernels.hog_row(edge ? row : gray.row(y - 1), row, edge ? row : gray.row(y + 1), width,
                            across, magnitude, bin);
            detail::count(magnitude, bin, cells, histogram);
        }
        std::uint8_t* const line = to + static_cast<std::size_t>(top) * width;
        for (std::size_t cell = 0; cell < cells; ++cell) {
            detail::draw_cell(histogram + kHogBins * cell, line + kHogCell * cell, width);
        }
    }
}

// Draw PLGF of a contiguous gray image into `to`, uint8 [height, width].
inline void draw_plgf(const FrameView<std::uint8_t>& gray, std::uint8_t* to,
                      const RowKernels& kernels, Scratch& scratch) {
    detail::require_composite(gray);
    const std::size_t width = static_cast<std::size_t>(gray.width);
    const std::size_t height = static_cast<std::size_t>(gray.height);
    const std::size_t padded = width + 4;
    // Every row with two zeros on either side, and two rows of zeros above and below.
    std::int16_t* const rows = room(scratch.padded, padded * (height + 4));
    std::fill_n(rows, padded * (height + 4), std::int16_t{0});
    for (std::size_t y = 0; y < height; ++y) {
        const std::uint8_t* const from = gray.row(static_cast<int>(y));
        std::int16_t* const row = rows + padded * (y + 2) + 2;
        for (std::size_t x = 0; x < width; ++x) {
            row[x] = std::max<std::int16_t>(from[x], 2);
        }
    }
    double* const tangents = room(scratch.values, width * height);
    std::int16_t* const sums = room(scratch.sums, 4 * padded);
    double low[4] = {INFINITY, INFINITY, INFINITY, INFINITY};  // of every fourth, not to wait
    double high[4] = {};
    for (std::size_t y = 0; y < height; ++y) {
        double* const line = tangents + y * width;
        kernels.plgf_row(rows + padded * (y + 2) + 2, static_cast<std::ptrdiff_t>(padded), width,
                         sums, line);
        for (std::size_t x = 0; x < width; ++x) {
            low[x % 4] = line[x] < low[x % 4] ? line[x] : low[x % 4];
            high[x % 4] = line[x] > high[x % 4] ? line[x] : high[x % 4];
        }
    }
    const double lowest = std::atan(std::sqrt(*std::min_element(low, low + 4)));
    const double span = std::atan(std::sqrt(*std::max_element(high, high + 4))) - lowest;
    // Nearly every level is certain from single precision; what is near a step is computed again, and
    // all are where the steps are too small for it.
    const double by = 254.0 / span;
    const bool guessed = by < 1e5;
    const float margin = static_cast<float>(2e-6 * by + 2e-4);
    float* const guess = room(scratch.singles, width);
    for (std::size_t y = 0; y < height; ++y) {
        const double* const line = tangents + y * width;
        std::uint8_t* const levels = to + y * width;
        if (guessed) {
            kernels.plgf_guess(line, width, static_cast<float>(lowest), static_cast<float>(by),
                               guess);
        } else {
            std::fill_n(guess, width, 0.0F);
        }
        for (std::size_t x = 0; x < width; ++x) {
            const int level = static_cast<int>(guess[x]);
            const float beyond = guess[x] - static_cast<float>(level);
            const bool certain = beyond > margin && beyond < 1.0F - margin;
            levels[x] = certain ? static_cast<std::uint8_t>(level)
                                : plgf_level(line[x], lowest, span);
        }
    }
}

}  // namespace fasdk
