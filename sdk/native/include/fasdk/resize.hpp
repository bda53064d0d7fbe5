// Resize as such: 8-bit bit for bit as OpenCV, 16-bit as close as OpenCV is to itself.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "fasdk/frame.hpp"
#include "fasdk/level_rows.hpp"

namespace fasdk {

// [height, width, channels], contiguous, to write to.
template <typename Sample>
struct Resized {
    Sample* data;
    int width;
    int height;

    Sample* row(int y, int channels) const {
        return data + static_cast<std::ptrdiff_t>(y) * width * channels;
    }
};

namespace detail {

template <typename Sample>
void require(const FrameView<Sample>& frame, const Resized<Sample>& out) {
    if (frame.width < 1 || frame.height < 1 || out.width < 1 || out.height < 1) {
        throw std::invalid_argument("image or out is empty");
    }
    if (frame.channels != 1 && frame.channels != 3 && frame.channels != 4) {
        throw std::invalid_argument("image must have 1, 3 or 4 channels");
    }
}

template <int kChannels>
void resize_8(const FrameView<std::uint8_t>& frame, const Resized<std::uint8_t>& out,
              const Framing& framing, const RowKernels& kernels, Scratch& scratch) {
    const std::size_t width = static_cast<std::size_t>(out.width);
    const Crop<std::uint8_t> whole{frame, 0, 0, frame.width, frame.height};
    LevelRows<std::uint8_t, kChannels>(whole, framing, out.width, out.height, nullptr, kernels,
                                       scratch)
        .run([&](int y, const std::uint32_t* pixels) {
            std::uint8_t* to = out.row(y, kChannels);
            const auto* from = reinterpret_cast<const std::uint8_t*>(pixels);
            if constexpr (kChannels != 3) {
                std::memcpy(to, from, width * std::size_t{kChannels});
            } else {
                for (std::size_t x = 0; x < width; ++x, to += 3, from += 4) {
                    to[0] = from[0];
                    to[1] = from[1];
                    to[2] = from[2];
                }
            }
        });
}

// Where an output coordinate samples its axis, with weights that stay floats.
struct FloatTap {
    std::int32_t first;
    std::int32_t second;
    float first_weight;
    float second_weight;
};

inline std::vector<FloatTap> float_taps(int from, int to, bool snap) {
    std::vector<FloatTap> taps;
    taps.reserve(static_cast<std::size_t>(to));
    for (int at = 0; at < to; ++at) {
        Position p = position(at, from, to);
        if (snap && (p.index < 0 || p.index >= from - 1)) {
            p = {clamped(p.index, from), 0.0F};
        }
        taps.push_back({clamped(p.index, from), clamped(p.index + 1, from), 1.0F - p.fraction,
                        p.fraction});
    }
    return taps;
}

inline std::uint16_t rounded_16(float value) {  // a sum of weights may exceed 1 by rounding
    return static_cast<std::uint16_t>(std::lrint(value > 65535.0F ? 65535.0F : value));
}

}  // namespace detail

inline void resize_8(const FrameView<std::uint8_t>& frame, const Resized<std::uint8_t>& out,
                     const RowKernels& kernels, bool area = false) {
    detail::require(frame, out);
    Scratch& scratch = scratch_of_this_thread();
    const auto resize = frame.channels == 1   ? detail::resize_8<1>
                        : frame.channels == 3 ? detail::resize_8<3>
                                              : detail::resize_8<4>;
    Framing framing;
    framing.area = area;
    resize(frame, out, framing, kernels, scratch);
}

// 16-bit samples, INTER_LINEAR, in float as OpenCV does, each product and sum rounded. OpenCV fuses some of them
// by CPU, so its own answers differ by a unit or two of the last place.
inline void resize_16(const FrameView<std::uint16_t>& frame, const Resized<std::uint16_t>& out) {
    detail::require(frame, out);
    const int channels = frame.channels;
    const auto at = [&](int y, int x, int c) -> unsigned {
        return frame.row(y)[x * frame.column_stride + c * frame.channel_stride];
    };
    if (scaling_of(frame.width, frame.height, out.width, out.height, false) == Scaling::kHalve) {
        for (int y = 0; y < out.height; ++y) {
            std::uint16_t* to = out.row(y, channels);
            for (int x = 0; x < out.width; ++x) {
                for (int c = 0; c < channels; ++c) {
                    *to++ = static_cast<std::uint16_t>(
                        (at(2 * y, 2 * x, c) + at(2 * y, 2 * x + 1, c) + at(2 * y + 1, 2 * x, c) +
                         at(2 * y + 1, 2 * x + 1, c) + 2) >>
                        2);
                }
            }
        }
        return;
    }
    const auto columns = detail::float_taps(frame.width, out.width, true);
    const auto rows = detail::float_taps(frame.height, out.height, false);
    for (int y = 0; y < out.height; ++y) {
        const detail::FloatTap& row = rows[static_cast<std::size_t>(y)];
        std::uint16_t* to = out.row(y, channels);
        for (const detail::FloatTap& column : columns) {
            for (int c = 0; c < channels; ++c) {
                const auto across = [&](int r) {
                    return static_cast<float>(at(r, column.first, c)) * column.first_weight +
                           static_cast<float>(at(r, column.second, c)) * column.second_weight;
                };
                *to++ = detail::rounded_16(across(row.first) * row.first_weight +
                                           across(row.second) * row.second_weight);
            }
        }
    }
}

}  // namespace fasdk
