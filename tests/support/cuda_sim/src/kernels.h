// The preprocessing kernels, compiled for the CPU from the source that nvcc compiles for a GPU.
//
// This header needs no cuda.h, whose names the kernels' source must not meet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cudasim {

struct Extent {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};

struct KernelParameter {
    std::size_t offset = 0;
    std::size_t bytes = 0;
};

// Memory that a launch works on, as its arguments say.
struct KernelAccess {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;
    std::size_t alignment = 1;
    bool writes = false;
};

struct Kernel {
    const char *name;
    std::size_t argument_bytes;
    std::vector<KernelParameter> parameters;
    std::vector<KernelAccess> (*accesses)(const unsigned char *arguments);
    void (*run_thread)(const unsigned char *arguments);
};

const Kernel *find_kernel(const std::string &name);  // null: there is none

// Runs every thread of every block, one after another.
void run_kernel(const Kernel &kernel, const std::vector<unsigned char> &arguments, Extent grid,
                Extent block);

}  // namespace cudasim
