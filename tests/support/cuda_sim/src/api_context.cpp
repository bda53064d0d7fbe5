// Entry points: the driver itself, the device, contexts.
#include "core.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace cudasim {

State &state() {
    static auto *const only = new State();  // never destroyed: workers outlive main
    return *only;
}

std::vector<Context *> &context_stack() {
    static thread_local std::vector<Context *> stack;
    return stack;
}

Call::Call(const char *entry, Needs needs) : lock(state().mutex), name(entry) {
    State &s = state();
    result = injected_failure(name);
    if (failed() || needs == Needs::kNothing) return;
    if (!s.initialized) {
        result = CUDA_ERROR_NOT_INITIALIZED;
    } else if (needs == Needs::kContext) {
        if (context_stack().empty()) {
            result = CUDA_ERROR_INVALID_CONTEXT;
            return;
        }
        context = context_stack().back();
        result = context->destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : context->fault;
    }
    if (!failed()) result = s.lost;
}

void destroy_context(Context &context) {
    State &s = state();
    bool busy = false;
    std::vector<std::shared_ptr<Stream>> streams;
    for (const auto &[id, stream] : s.streams) {
        if (stream->context == &context) streams.push_back(stream);
    }
    for (const auto &stream : streams) {
        busy = busy || !stream->idle();
        close(stream);
    }
    if (busy) report_violation("context_in_use", "a context was destroyed while work was enqueued");
    for (const auto &[address, memory] : s.memory) {
        if (memory->context != &context || memory->freed || memory->mapping == nullptr) continue;
        if (!memory->retired) {
            report_violation("leak",
                             memory->describe() + " was never freed before its context went");
        }
        memory->freed = true;
        poison(memory->range, Poison::kFreed);
    }
    context.legacy = nullptr;
    context.per_thread.clear();
    context.destroyed = true;
}

}  // namespace cudasim

using namespace cudasim;

namespace {

struct Device {
    std::string name = "Orin";
    int major = 8;
    int minor = 7;
    int driver = 12060;

    Device() {
        if (const char *given = std::getenv("CUDASIM_NAME")) name = given;
        if (const char *given = std::getenv("CUDASIM_COMPUTE_CAPABILITY")) {
            major = std::atoi(given);
            const char *dot = std::strchr(given, '.');
            minor = dot == nullptr ? 0 : std::atoi(dot + 1);
        }
        if (const char *given = std::getenv("CUDASIM_DRIVER_VERSION")) driver = std::atoi(given);
    }
};

const Device &device() {
    static const Device only;
    return only;
}

Context *make_context(bool primary) {
    State &s = state();
    auto context = std::make_unique<Context>();
    context->id = s.next_id++;
    context->primary = primary;
    Context *const made = context.get();
    s.contexts[made->id] = std::move(context);
    return made;
}

Context *find_context(CUcontext handle) {
    const auto found = state().contexts.find(to_id(handle));
    return found == state().contexts.end() ? nullptr : found->second.get();
}

CUresult create(CUcontext *made, CUdevice ordinal) {
    Call call("cuCtxCreate", Needs::kDriver);
    if (call.failed()) return call.result;
    if (made == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    Context *const context = make_context(false);
    context_stack().push_back(context);
    *made = to_handle<CUcontext>(context->id);
    return CUDA_SUCCESS;
}

CUresult destroy(const char *name, CUcontext handle) {
    Call call(name, Needs::kDriver);
    if (call.failed()) return call.result;
    Context *const context = find_context(handle);
    if (context == nullptr || context->destroyed || context->primary) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    auto &stack = context_stack();
    if (!stack.empty() && stack.back() == context) stack.pop_back();
    destroy_context(*context);
    return CUDA_SUCCESS;
}

CUresult known_device(CUdevice ordinal) {
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace

std::pair<int, int> cudasim::compute_capability() { return {device().major, device().minor}; }

bool cudasim::integrated_at_first() {
    const char *const given = std::getenv("CUDASIM_INTEGRATED");
    return given != nullptr && std::atoi(given) != 0;
}

extern "C" {

CUresult CUDAAPI cuInit(unsigned flags) {
    Call call("cuInit", Needs::kNothing);
    if (call.failed()) return call.result;
    if (state().lost != CUDA_SUCCESS) return CUDA_ERROR_NO_DEVICE;
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    state().initialized = true;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int *version) {
    *version = device().driver;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int *count) {
    Call call("cuDeviceGetCount", Needs::kDriver);
    *count = 1;
    return call.result;
}

CUresult CUDAAPI cuDeviceGet(CUdevice *made, int ordinal) {
    Call call("cuDeviceGet", Needs::kDriver);
    if (call.failed()) return call.result;
    *made = ordinal;
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceGetName(char *name, int size, CUdevice ordinal) {
    Call call("cuDeviceGetName", Needs::kDriver);
    if (call.failed()) return call.result;
    if (size < 1) return CUDA_ERROR_INVALID_VALUE;
    std::strncpy(name, device().name.c_str(), static_cast<std::size_t>(size) - 1);
    name[size - 1] = '\0';
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceComputeCapability(int *major, int *minor, CUdevice ordinal) {
    Call call("cuDeviceComputeCapability", Needs::kDriver);
    if (call.failed()) return call.result;
    *major = device().major;
    *minor = device().minor;
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice ordinal) {
    Call call("cuDeviceTotalMem", Needs::kDriver);
    if (call.failed()) return call.result;
    *bytes = state().settings.memory_bytes;
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal) {
    Call call("cuDeviceGetAttribute", Needs::kDriver);
    if (call.failed()) return call.result;
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = device().major; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = device().minor; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 8; break;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 2; break;
        case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = state().settings.integrated; break;
        case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
        default: *value = 0;
    }
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char *id, int size, CUdevice ordinal) {
    Call call("cuDeviceGetPCIBusId", Needs::kDriver);
    if (call.failed()) return call.result;
    if (size < 13) return CUDA_ERROR_INVALID_VALUE;
    std::strcpy(id, "0000:00:00.0");
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal) {
    Call call("cuDeviceGetUuid_v2", Needs::kDriver);
    if (call.failed()) return call.result;
    for (int i = 0; i < 16; ++i) uuid->bytes[i] = static_cast<char>(i + 1);
    return known_device(ordinal);
}

CUresult CUDAAPI cuDeviceCanAccessPeer(int *can, CUdevice, CUdevice) {
    *can = 0;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *handle, CUdevice ordinal) {
    Call call("cuDevicePrimaryCtxRetain", Needs::kDriver);
    if (call.failed()) return call.result;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    State &s = state();
    if (s.primary == nullptr) s.primary = make_context(true);
    s.primary->destroyed = false;
    ++s.primary_retained;
    *handle = to_handle<CUcontext>(s.primary->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice ordinal) {
    Call call("cuDevicePrimaryCtxRelease", Needs::kNothing);
    if (call.failed()) return call.result;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    State &s = state();
    if (s.primary_retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    if (--s.primary_retained == 0) {
        destroy_context(*s.primary);
        s.primary->fault = CUDA_SUCCESS;
    }
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice, unsigned *flags, int *active) {
    Call call("cuDevicePrimaryCtxGetState", Needs::kDriver);
    *flags = 0;
    *active = state().primary_retained > 0;
    return call.result;
}

#if CUDA_VERSION >= 13000
CUresult CUDAAPI cuCtxCreate(CUcontext *made, CUctxCreateParams *, unsigned, CUdevice ordinal) {
    return create(made, ordinal);
}
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *made, unsigned, CUdevice ordinal) {
    return create(made, ordinal);
}
#else
CUresult CUDAAPI cuCtxCreate(CUcontext *made, unsigned, CUdevice ordinal) {
    return create(made, ordinal);
}
#endif

CUresult CUDAAPI cuCtxDestroy(CUcontext handle) { return destroy("cuCtxDestroy", handle); }

// pycuda detaches whatever it holds as the interpreter ends, the primary context too.
CUresult CUDAAPI cuCtxDetach(CUcontext handle) {
    {
        Call call("cuCtxDetach", Needs::kDriver);
        if (call.failed()) return call.result;
        const Context *const context = find_context(handle);
        if (context != nullptr && context->primary) {
            auto &stack = context_stack();
            if (!stack.empty() && stack.back() == context) stack.pop_back();
            if (state().primary_retained > 1) --state().primary_retained;
            return CUDA_SUCCESS;
        }
    }
    return destroy("cuCtxDetach", handle);
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext handle) {
    Call call("cuCtxPushCurrent", Needs::kNothing);
    if (call.failed()) return call.result;
    Context *const context = find_context(handle);
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (context->destroyed) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (state().lost != CUDA_SUCCESS) return state().lost;
    context_stack().push_back(context);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext *handle) {
    Call call("cuCtxPopCurrent", Needs::kNothing);
    if (call.failed()) return call.result;
    auto &stack = context_stack();
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (handle != nullptr) *handle = to_handle<CUcontext>(stack.back()->id);
    stack.pop_back();
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext handle) {
    Call call("cuCtxSetCurrent", Needs::kDriver);
    if (call.failed()) return call.result;
    auto &stack = context_stack();
    Context *const context = find_context(handle);
    if (handle != nullptr && context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (!stack.empty()) stack.pop_back();
    if (context != nullptr) stack.push_back(context);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *handle) {
    Call call("cuCtxGetCurrent", Needs::kDriver);
    if (call.failed()) return call.result;
    const auto &stack = context_stack();
    *handle = stack.empty() ? nullptr : to_handle<CUcontext>(stack.back()->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *ordinal) {
    Call call("cuCtxGetDevice", Needs::kContext);
    if (call.failed()) return call.result;
    *ordinal = 0;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetApiVersion(CUcontext, unsigned *version) {
    *version = 3020;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSynchronize(void) {
    Call call("cuCtxSynchronize", Needs::kContext);
    if (call.failed()) return call.result;
    for (const auto &capture : state().captures) {
        const auto &streams = capture->streams;
        if (std::any_of(streams.begin(), streams.end(),
                        [&](const auto &stream) { return stream->context == call.context; })) {
            invalidate(*capture);
            call.result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    if (call.failed()) return call.result;
    return wait_for_context(call.lock, *call.context);
}


}  // extern "C"
