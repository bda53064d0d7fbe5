#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace {

// What a kernel knows of its place, as CUDA names it.
thread_local cudasim::Extent blockDim;
thread_local cudasim::Extent blockIdx;
thread_local cudasim::Extent threadIdx;

}  // namespace

#define __global__
#define __device__
#include "preprocess.cu"
#undef __global__
#undef __device__

namespace cudasim {
namespace {

constexpr std::size_t kLevels = 65'536;

template <typename Arguments> Arguments unpacked(const unsigned char *bytes) {
    Arguments arguments;
    std::memcpy(static_cast<void *>(&arguments), bytes, sizeof arguments);
    return arguments;
}

template <typename Value> std::uintptr_t address_of(const Value *pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
}

template <typename Sample> std::vector<KernelAccess> frame_accesses(const unsigned char *bytes) {
    const auto row = unpacked<fasdk::FrameRow<Sample>>(bytes);
    const auto &part = row.source.crop.part;
    std::ptrdiff_t first = 0;
    std::ptrdiff_t last = 0;
    const std::ptrdiff_t spans[] = {part.row_stride * (part.height - 1),
                                    part.column_stride * (part.width - 1),
                                    part.channel_stride * (part.channels - 1)};
    for (const std::ptrdiff_t span : spans) {
        first += std::min<std::ptrdiff_t>(span, 0);
        last += std::max<std::ptrdiff_t>(span, 0);
    }
    std::vector<KernelAccess> found;
    found.push_back({address_of(part.data + first),
                     static_cast<std::size_t>(last - first + 1) * sizeof(Sample), alignof(Sample),
                     false});
    if (row.source.levels != nullptr) {
        found.push_back({address_of(row.source.levels), kLevels, 1, false});
    }
    const auto pixels = static_cast<std::size_t>(row.source.out_width) *
                        static_cast<std::size_t>(row.source.out_height);
    found.push_back({address_of(row.out), 3 * pixels * sizeof(float), alignof(float), true});
    return found;
}

template <typename Row> std::vector<KernelAccess> line_accesses(const unsigned char *bytes) {
    const auto row = unpacked<Row>(bytes);
    return {{address_of(row.out), row.count * sizeof(float), alignof(float), true}};
}

template <typename Row> std::vector<KernelParameter> frame_parameters() {
    return {{offsetof(Row, source), sizeof(Row::source)}, {offsetof(Row, out), sizeof(Row::out)}};
}

using ImageRow = fasdk::FrameRow<std::uint8_t>;
using DepthRow = fasdk::FrameRow<std::uint16_t>;
using fasdk::ConstantRow;
using fasdk::PresentRow;

const std::vector<Kernel> &kernels() {
    static const std::vector<Kernel> all = {
        {"fasdk_image_row", sizeof(ImageRow), frame_parameters<ImageRow>(),
         frame_accesses<std::uint8_t>,
         [](const unsigned char *bytes) {
             const auto row = unpacked<ImageRow>(bytes);
             fasdk_image_row(row.source, row.out);
         }},
        {"fasdk_depth_row", sizeof(DepthRow), frame_parameters<DepthRow>(),
         frame_accesses<std::uint16_t>,
         [](const unsigned char *bytes) {
             const auto row = unpacked<DepthRow>(bytes);
             fasdk_depth_row(row.source, row.out);
         }},
        {"fasdk_constant_row",
         sizeof(ConstantRow),
         {{offsetof(ConstantRow, out), sizeof(ConstantRow::out)},
          {offsetof(ConstantRow, count), sizeof(ConstantRow::count)},
          {offsetof(ConstantRow, value), sizeof(ConstantRow::value)}},
         line_accesses<ConstantRow>,
         [](const unsigned char *bytes) {
             const auto row = unpacked<ConstantRow>(bytes);
             fasdk_constant_row(row.out, row.count, row.value);
         }},
        {"fasdk_present_row",
         sizeof(PresentRow),
         {{offsetof(PresentRow, out), sizeof(PresentRow::out)},
          {offsetof(PresentRow, count), sizeof(PresentRow::count)},
          {offsetof(PresentRow, present), sizeof(PresentRow::present)}},
         line_accesses<PresentRow>,
         [](const unsigned char *bytes) {
             const auto row = unpacked<PresentRow>(bytes);
             fasdk_present_row(row.out, row.count, row.present);
         }},
    };
    return all;
}

}  // namespace

const Kernel *find_kernel(const std::string &name) {
    for (const Kernel &kernel : kernels()) {
        if (name == kernel.name) return &kernel;
    }
    return nullptr;
}

void run_kernel(const Kernel &kernel, const std::vector<unsigned char> &arguments, Extent grid,
                Extent block) {
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z) {
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
                for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z) {
                    for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y) {
                        for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) {
                            kernel.run_thread(arguments.data());
                        }
                    }
                }
            }
        }
    }
}

}  // namespace cudasim
