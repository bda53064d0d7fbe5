// Entry points: modules, their functions, launches.
#include "core.h"
#include "kernels.h"

#include <cstdlib>
#include <cstring>

using namespace cudasim;

namespace {

// -- images: which GPUs they hold code for ---------------------------------------------------------

struct FatbinHeader {
    std::uint32_t magic;
    std::uint16_t version;
    std::uint16_t header_bytes;
    std::uint64_t entries_bytes;
};

// The start of an entry; NVIDIA documents none of it.
struct FatbinEntry {
    std::uint16_t kind;
    std::uint16_t version;
    std::uint32_t header_bytes;
    std::uint64_t payload_bytes;
    std::uint32_t others[3];
    std::uint32_t target;  // such as 87
};

constexpr std::uint32_t kFatbinMagic = 0xBA55ED50;
constexpr std::uint16_t kPtx = 1;
constexpr std::uint16_t kCubin = 2;

// A cubin runs on its own generation from its own minor release on, PTX on every later GPU.
bool runs(std::uint32_t target, bool is_ptx) {
    const auto own = static_cast<std::uint32_t>(10 * compute_capability().first +
                                                compute_capability().second);
    return is_ptx ? target <= own : target / 10 == own / 10 && target <= own;
}

CUresult check_fatbin(const unsigned char *image) {
    FatbinHeader header;
    std::memcpy(&header, image, sizeof header);
    const unsigned char *at = image + header.header_bytes;
    const unsigned char *const end = at + header.entries_bytes;
    while (at + sizeof(FatbinEntry) <= end) {
        FatbinEntry entry;
        std::memcpy(&entry, at, sizeof entry);
        if (entry.kind != kPtx && entry.kind != kCubin) return CUDA_ERROR_INVALID_IMAGE;
        if (runs(entry.target, entry.kind == kPtx)) return CUDA_SUCCESS;
        at += entry.header_bytes + entry.payload_bytes;
    }
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult check_image(const void *image) {
    if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto *const bytes = static_cast<const unsigned char *>(image);
    std::uint32_t magic;
    if (std::strncmp(static_cast<const char *>(image), "//", 2) != 0 &&
        std::strncmp(static_cast<const char *>(image), ".version", 8) != 0) {
        std::memcpy(&magic, bytes, sizeof magic);
        return magic == kFatbinMagic ? check_fatbin(bytes) : CUDA_ERROR_INVALID_IMAGE;
    }
    const char *const target = std::strstr(static_cast<const char *>(image), ".target sm_");
    if (target == nullptr) return CUDA_ERROR_INVALID_PTX;
    const auto named = static_cast<std::uint32_t>(std::atoi(target + std::strlen(".target sm_")));
    return runs(named, true) ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult load(const char *name, CUmodule *handle, const void *image) {
    Call call(name, Needs::kContext);
    if (call.failed()) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    const CUresult found = check_image(image);
    if (found != CUDA_SUCCESS) return found;
    auto module = std::make_shared<Module>();
    module->id = state().next_id++;
    state().modules[module->id] = module;
    *handle = to_handle<CUmodule>(module->id);
    return CUDA_SUCCESS;
}

// -- launches --------------------------------------------------------------------------------------

// The parameters as one block of bytes, whichever way they were passed.
CUresult gather(const Kernel &kernel, void **parameters, void **extra,
                std::vector<unsigned char> &arguments) {
    if (parameters != nullptr) {
        arguments.resize(kernel.argument_bytes);
        for (std::size_t i = 0; i < kernel.parameters.size(); ++i) {
            const KernelParameter &one = kernel.parameters[i];
            std::memcpy(arguments.data() + one.offset, parameters[i], one.bytes);
        }
        return CUDA_SUCCESS;
    }
    const unsigned char *buffer = nullptr;
    std::size_t bytes = 0;
    for (; extra != nullptr && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) {
            buffer = static_cast<const unsigned char *>(extra[1]);
        } else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) {
            bytes = *static_cast<const std::size_t *>(extra[1]);
        }
    }
    if (buffer == nullptr || bytes != kernel.argument_bytes) return CUDA_ERROR_INVALID_VALUE;
    arguments.assign(buffer, buffer + bytes);
    return CUDA_SUCCESS;
}

bool is_possible(const Extent &grid, const Extent &block) {
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    return threads >= 1 && threads <= 1024 && block.z <= 64 && grid.x >= 1 && grid.y >= 1 &&
           grid.z >= 1 && grid.x <= 0x7FFFFFFF && grid.y <= 65'535 && grid.z <= 65'535;
}

Operation launch_operation(const Function &function, std::vector<unsigned char> arguments,
                           const Extent &grid, const Extent &block) {
    const Kernel *const kernel = function.kernel;
    Operation operation;
    operation.name = kernel->name;
    operation.module = function.module;
    CUresult fault = CUDA_SUCCESS;
    for (const KernelAccess &access : kernel->accesses(arguments.data())) {
        const Range range{access.address, access.bytes};
        operation.accesses.push_back({range, access.writes});
        if (access.address % access.alignment != 0) {
            fault = CUDA_ERROR_MISALIGNED_ADDRESS;
        } else if (!find_memory(range)) {
            fault = CUDA_ERROR_ILLEGAL_ADDRESS;
        }
    }
    guard_mapped_memory(operation);
    operation.run = [kernel, fault, grid, block, given = std::move(arguments)] {
        if (fault == CUDA_SUCCESS) run_kernel(*kernel, given, grid, block);
        return fault;
    };
    return operation;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuModuleLoadData(CUmodule *handle, const void *image) {
    return load("cuModuleLoadData", handle, image);
}

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule *handle, const void *image, unsigned, CUjit_option *,
                                    void **) {
    return load("cuModuleLoadDataEx", handle, image);
}

CUresult CUDAAPI cuModuleLoadFatBinary(CUmodule *handle, const void *image) {
    return load("cuModuleLoadFatBinary", handle, image);
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
    Call call("cuModuleUnload", Needs::kContext);
    const bool only_dead = call.context != nullptr && call.result == call.context->fault;
    if (call.failed() && !only_dead) return call.result;
    const auto found = state().modules.find(to_id(handle));
    if (found == state().modules.end()) {
        report_violation("invalid_handle",
                         "cuModuleUnload of a module that does not exist any more");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const std::shared_ptr<Module> module = found->second;
    for (const auto &[stream, operation] : module->last) {
        if (module->retired || state().host.seen(stream) >= operation) continue;
        report_violation("module_in_use",
                         "cuModuleUnload while a kernel of it was enqueued and not waited for");
        break;
    }
    module->unloaded = true;
    state().modules.erase(module->id);
    return call.result;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *handle, CUmodule module, const char *name) {
    Call call("cuModuleGetFunction", Needs::kContext);
    if (call.failed()) return call.result;
    const auto found = state().modules.find(to_id(module));
    if (found == state().modules.end()) {
        report_violation("invalid_handle",
                         "cuModuleGetFunction of a module that does not exist any more");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const Kernel *const kernel = find_kernel(name);
    if (kernel == nullptr) return CUDA_ERROR_NOT_FOUND;
    const std::uint64_t id = state().next_id++;
    state().functions[id] = {kernel, found->second};
    *handle = to_handle<CUfunction>(id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction) {
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset,
                                    size_t *bytes) {
    Call call("cuFuncGetParamInfo", Needs::kContext);
    if (call.failed()) return call.result;
    const auto found = state().functions.find(to_id(handle));
    if (found == state().functions.end()) return CUDA_ERROR_INVALID_HANDLE;
    const auto &parameters = found->second.kernel->parameters;
    if (index >= parameters.size()) return CUDA_ERROR_INVALID_VALUE;
    *offset = parameters[index].offset;
    if (bytes != nullptr) *bytes = parameters[index].bytes;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned, CUstream stream_handle,
                                void **parameters, void **extra) {
    Call call("cuLaunchKernel", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult known = find_stream(call, stream_handle, stream);
    if (known != CUDA_SUCCESS) return known;
    const auto found = state().functions.find(to_id(handle));
    if (found == state().functions.end()) {
        report_violation("invalid_handle", "cuLaunchKernel of a function that never existed");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const Function &function = found->second;
    if (function.module->unloaded) {
        report_violation("use_after_free", std::string("cuLaunchKernel of ") +
                                               function.kernel->name +
                                               ", whose module was unloaded");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const Extent grid{grid_x, grid_y, grid_z};
    const Extent block{block_x, block_y, block_z};
    if (!is_possible(grid, block)) return CUDA_ERROR_INVALID_VALUE;
    std::vector<unsigned char> arguments;
    const CUresult gathered = gather(*function.kernel, parameters, extra, arguments);
    if (gathered != CUDA_SUCCESS) return gathered;
    return submit(stream, launch_operation(function, std::move(arguments), grid, block));
}

}  // extern "C"
