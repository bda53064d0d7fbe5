// Views of frames owned elsewhere, crops of them, and buffers that outlive a frame.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "fasdk/pixel.hpp"
#include "fasdk/row_kernels.hpp"

namespace fasdk {

// Strides are in samples and may be negative.
template <typename Sample>
struct FrameView {
    const Sample* data;
    int width;
    int height;
    int channels;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::ptrdiff_t channel_stride;

    const Sample* row(int y) const { return data + y * row_stride; }
};

// Part of a frame in pixels, right and bottom inclusive.
struct Region {
    int left;
    int top;
    int right;
    int bottom;

    int width() const { return right - left + 1; }
    int height() const { return bottom - top + 1; }
};

template <typename Sample>
FrameView<Sample> cropped(const FrameView<Sample>& frame, const Region& region) {
    if (region.left < 0 || region.top < 0 || region.right >= frame.width ||
        region.bottom >= frame.height || region.width() < 1 || region.height() < 1) {
        throw std::invalid_argument("region is empty or leaves the frame");
    }
    FrameView<Sample> part = frame;
    part.data += region.top * frame.row_stride + region.left * frame.column_stride;
    part.width = region.width();
    part.height = region.height();
    return part;
}

// The last few axes a thread has met: a camera's face boxes change slowly.
template <typename Plan>
class AxisCache {
   public:
    // The plan of that axis, made by `make(plan)` from an old one's buffers where there is none.
    template <typename Make>
    const Plan& get(int from, int to, int channels, const Make& make) {
        const std::array<int, 3> key{from, to, channels};
        for (const Entry& entry : entries_) {
            if (entry.key == key) {
                return entry.plan;
            }
        }
        Entry& oldest = entries_[next_++ % entries_.size()];
        oldest.key = {};  // no axis, should `make` throw
        make(oldest.plan);
        oldest.key = key;
        return oldest.plan;
    }

   private:
    struct Entry {
        std::array<int, 3> key{};
        Plan plan;
    };
    std::array<Entry, 6> entries_;
    std::size_t next_ = 0;
};

// What one thread works in, kept from frame to frame: in steady state nothing is allocated.
struct Scratch {
    AxisCache<ColumnPlan> columns;
    AxisCache<std::vector<Tap>> rows;
    std::vector<std::uint8_t> samples;  // a row of the region
    std::vector<std::uint8_t> other_samples;
    std::vector<std::int16_t> upper;  // source rows after the horizontal step
    std::vector<std::int16_t> lower;
    std::vector<std::uint32_t> levels;  // an output row
    // Of the infrared composite:
    std::vector<std::uint8_t> gray;
    std::vector<std::uint8_t> drawn;
    std::vector<std::int16_t> padded;
    std::vector<std::int16_t> sums;
    std::vector<double> values;
    std::vector<float> singles;
};

inline Scratch& scratch_of_this_thread() {
    thread_local Scratch scratch;
    return scratch;
}

// A buffer of at least `size`, never shrunk.
template <typename Value>
Value* room(std::vector<Value>& buffer, std::size_t size) {
    if (buffer.size() < size) {
        buffer.resize(size);
    }
    return buffer.data();
}

}  // namespace fasdk
