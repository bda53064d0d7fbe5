// Buffers that outlive a frame, one set a thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fasdk/pixel.hpp"
#include "fasdk/row_kernels.hpp"
#include "fasdk/view.hpp"

namespace fasdk {

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
    AxisCache<std::vector<Span>> column_spans;
    AxisCache<std::vector<Span>> row_spans;
    std::vector<std::uint8_t> samples;  // a row of the region
    std::vector<std::uint8_t> other_samples;
    std::vector<std::int16_t> upper;  // source rows after the horizontal step
    std::vector<std::int16_t> lower;
    std::vector<std::uint32_t> levels;  // an output row
    // Of areas:
    std::vector<float> line;  // a source row after the horizontal step
    std::vector<float> mean;
    std::vector<std::int64_t> block;
    // Of aligned faces, along a line of the tensor in both coordinates:
    std::vector<std::int32_t> along;
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
