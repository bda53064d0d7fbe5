// Entry points: memory, copies and fills.
#include "core.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

using namespace cudasim;

namespace {

constexpr std::size_t kPitchBytes = 512;

std::uintptr_t address_of(const void *pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
void *pointer_to(std::uintptr_t address) { return reinterpret_cast<void *>(address); }

CUresult allocate_device(const char *name, CUdeviceptr *address, std::size_t bytes) {
    Call call(name, Needs::kContext);
    if (call.failed()) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    const State &s = state();
    if (bytes > s.settings.memory_bytes || device_bytes_used() > s.settings.memory_bytes - bytes) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    const auto memory = allocate(MemoryKind::kDevice, bytes, call.context);
    if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
    *address = memory->range.address;
    return CUDA_SUCCESS;
}

CUresult free_memory(const char *name, std::uintptr_t address, bool device) {
    Call call(name, Needs::kContext);
    // A context that failed frees nothing, but the program has done its part.
    const bool only_dead = call.context != nullptr && call.result == call.context->fault;
    if (call.failed() && !only_dead) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    if (address == 0) return device ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    const CUresult result = release(name, address, device);
    return call.failed() ? call.result : result;
}

// One copy. Which sides are on the device is what the caller claims.
struct Copy {
    const char *name;
    std::uintptr_t target;
    bool target_on_device;
    std::uintptr_t source;
    bool source_on_device;
    std::size_t bytes;
};

bool sides_are_valid(const Copy &copy) {
    const Range target{copy.target, copy.bytes};
    const Range source{copy.source, copy.bytes};
    if (copy.target_on_device && !is_usable(target, false)) return false;
    return !copy.source_on_device || is_usable(source, false);
}

Operation copy_operation(const Copy &copy) {
    Operation operation;
    operation.name = copy.name;
    operation.accesses = {{{copy.source, copy.bytes}, false}, {{copy.target, copy.bytes}, true}};
    operation.targets.push_back({{copy.target, copy.bytes}});
    if (!copy.source_on_device) operation.sources.push_back({{copy.source, copy.bytes}});
    operation.run = [copy] {
        std::memcpy(pointer_to(copy.target), pointer_to(copy.source), copy.bytes);
        return CUDA_SUCCESS;
    };
    return operation;
}

// A source that is not page-locked is staged before the call returns.
Operation staged_copy_operation(const Copy &copy) {
    const auto *const bytes = static_cast<const unsigned char *>(pointer_to(copy.source));
    const auto staged = std::make_shared<std::vector<unsigned char>>(bytes, bytes + copy.bytes);
    Operation operation;
    operation.name = copy.name;
    operation.accesses = {{{copy.target, copy.bytes}, true}};
    operation.targets.push_back({{copy.target, copy.bytes}});
    operation.run = [target = copy.target, staged] {
        std::memcpy(pointer_to(target), staged->data(), staged->size());
        return CUDA_SUCCESS;
    };
    return operation;
}

CUresult submit_and_wait(Call &call, const std::shared_ptr<Stream> &stream, Operation operation) {
    enqueue(stream, std::move(operation));
    const VectorClock clock = stream->clock;
    const CUresult result = wait_for(call.lock, {stream, stream->enqueued});
    state().host.join(clock);
    return result;
}

CUresult copy_async(const Copy &copy, CUstream handle) {
    Call call(copy.name, Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (copy.bytes == 0) return CUDA_SUCCESS;
    if (!sides_are_valid(copy)) return CUDA_ERROR_INVALID_VALUE;
    const bool source_is_pageable =
        !copy.source_on_device && !is_usable({copy.source, copy.bytes}, false);
    const bool target_is_pageable =
        !copy.target_on_device && !is_usable({copy.target, copy.bytes}, false);
    if ((source_is_pageable || target_is_pageable) && stream->capture) {
        invalidate(*stream->capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (target_is_pageable) return submit_and_wait(call, stream, copy_operation(copy));
    if (source_is_pageable) return submit(stream, staged_copy_operation(copy));
    return submit(stream, copy_operation(copy));
}

CUresult copy_and_wait(const Copy &copy) {
    Call call(copy.name, Needs::kContext);
    if (call.failed()) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, nullptr, stream);
    if (found != CUDA_SUCCESS) return found;
    if (copy.bytes == 0) return CUDA_SUCCESS;
    if (!sides_are_valid(copy)) return CUDA_ERROR_INVALID_VALUE;
    return submit_and_wait(call, stream, copy_operation(copy));
}

template <typename Element>
CUresult fill(const char *name, CUdeviceptr target, Element value, std::size_t count,
              CUstream handle) {
    Call call(name, Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (count == 0) return CUDA_SUCCESS;
    const Range range{static_cast<std::uintptr_t>(target), count * sizeof(Element)};
    if (target % sizeof(Element) != 0 || !is_usable(range, false)) return CUDA_ERROR_INVALID_VALUE;
    Operation operation;
    operation.name = name;
    operation.accesses = {{range, true}};
    operation.run = [range, value, count] {
        std::fill_n(static_cast<Element *>(pointer_to(range.address)), count, value);
        return CUDA_SUCCESS;
    };
    return submit(stream, std::move(operation));
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuMemAlloc(CUdeviceptr *address, size_t bytes) {
    return allocate_device("cuMemAlloc", address, bytes);
}

CUresult CUDAAPI cuMemAllocPitch(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                                 unsigned) {
    *pitch = (width + kPitchBytes - 1) / kPitchBytes * kPitchBytes;
    return allocate_device("cuMemAllocPitch", address, *pitch * height);
}

CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
    return free_memory("cuMemFree", static_cast<std::uintptr_t>(address), true);
}

CUresult CUDAAPI cuMemGetInfo(size_t *free, size_t *total) {
    Call call("cuMemGetInfo", Needs::kContext);
    if (call.failed()) return call.result;
    *total = state().settings.memory_bytes;
    *free = *total - std::min<std::size_t>(*total, device_bytes_used());
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
    Call call("cuMemGetAddressRange", Needs::kContext);
    if (call.failed()) return call.result;
    const auto memory = find_memory({static_cast<std::uintptr_t>(address), 1});
    if (!memory || memory->freed) return CUDA_ERROR_NOT_FOUND;
    if (base != nullptr) *base = memory->range.address;
    if (bytes != nullptr) *bytes = memory->range.bytes;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    Call call("cuMemHostAlloc", Needs::kContext);
    if (call.failed()) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    const auto memory = allocate(MemoryKind::kPinned, bytes, call.context);
    if (!memory) return CUDA_ERROR_OUT_OF_MEMORY;
    memory->flags = flags;
    *pointer = pointer_to(memory->range.address);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFreeHost(void *pointer) {
    return free_memory("cuMemFreeHost", address_of(pointer), false);
}

CUresult CUDAAPI cuMemHostGetDevicePointer(CUdeviceptr *address, void *pointer, unsigned) {
    Call call("cuMemHostGetDevicePointer", Needs::kContext);
    if (call.failed()) return call.result;
    const auto memory = find_memory({address_of(pointer), 1});
    const bool is_mapped = memory && !memory->freed && (memory->flags & CU_MEMHOSTALLOC_DEVICEMAP);
    if (!is_mapped) return CUDA_ERROR_INVALID_VALUE;
    *address = address_of(pointer);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostGetFlags(unsigned *flags, void *pointer) {
    Call call("cuMemHostGetFlags", Needs::kContext);
    if (call.failed()) return call.result;
    const auto memory = find_memory({address_of(pointer), 1});
    if (!memory || memory->freed || memory->kind == MemoryKind::kDevice) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *flags = memory->flags;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostRegister(void *pointer, size_t bytes, unsigned flags) {
    Call call("cuMemHostRegister", Needs::kContext);
    if (call.failed()) return call.result;
    const CUresult refused = refuse_while_capturing(call);
    if (refused != CUDA_SUCCESS) return refused;
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (find_memory({address_of(pointer), 1})) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    auto memory = std::make_shared<Allocation>();
    memory->range = {address_of(pointer), bytes};
    memory->kind = MemoryKind::kRegistered;
    memory->context = call.context;
    memory->flags = flags;
    state().memory[memory->range.address] = memory;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostUnregister(void *pointer) {
    return free_memory("cuMemHostUnregister", address_of(pointer), false);
}

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr target, const void *source, size_t bytes) {
    return copy_and_wait({"cuMemcpyHtoD", static_cast<std::uintptr_t>(target), true,
                          address_of(source), false, bytes});
}

CUresult CUDAAPI cuMemcpyDtoH(void *target, CUdeviceptr source, size_t bytes) {
    return copy_and_wait({"cuMemcpyDtoH", address_of(target), false,
                          static_cast<std::uintptr_t>(source), true, bytes});
}

CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
    return copy_and_wait({"cuMemcpyDtoD", static_cast<std::uintptr_t>(target), true,
                          static_cast<std::uintptr_t>(source), true, bytes});
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr target, const void *source, size_t bytes,
                                   CUstream stream) {
    return copy_async({"cuMemcpyHtoDAsync", static_cast<std::uintptr_t>(target), true,
                       address_of(source), false, bytes},
                      stream);
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void *target, CUdeviceptr source, size_t bytes,
                                   CUstream stream) {
    return copy_async({"cuMemcpyDtoHAsync", address_of(target), false,
                       static_cast<std::uintptr_t>(source), true, bytes},
                      stream);
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes,
                                   CUstream stream) {
    return copy_async({"cuMemcpyDtoDAsync", static_cast<std::uintptr_t>(target), true,
                       static_cast<std::uintptr_t>(source), true, bytes},
                      stream);
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr target, unsigned char value, size_t count) {
    return fill("cuMemsetD8", target, value, count, nullptr);
}

CUresult CUDAAPI cuMemsetD16(CUdeviceptr target, unsigned short value, size_t count) {
    return fill("cuMemsetD16", target, value, count, nullptr);
}

CUresult CUDAAPI cuMemsetD32(CUdeviceptr target, unsigned value, size_t count) {
    return fill("cuMemsetD32", target, value, count, nullptr);
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count,
                                 CUstream stream) {
    return fill("cuMemsetD8Async", target, value, count, stream);
}

CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count,
                                  CUstream stream) {
    return fill("cuMemsetD16Async", target, value, count, stream);
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count,
                                  CUstream stream) {
    return fill("cuMemsetD32Async", target, value, count, stream);
}

}  // extern "C"
