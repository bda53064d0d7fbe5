// Entry points: names and texts of result codes.
#include <cuda.h>

namespace {

struct Text {
    CUresult code;
    const char *name;
    const char *text;
};

#define CUDASIM_TEXT(code, text) {code, #code, text}
constexpr Text kTexts[] = {
    CUDASIM_TEXT(CUDA_SUCCESS, "no error"),
    CUDASIM_TEXT(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    CUDASIM_TEXT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    CUDASIM_TEXT(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    CUDASIM_TEXT(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    CUDASIM_TEXT(CUDA_ERROR_DEVICE_UNAVAILABLE,
                 "CUDA-capable device(s) is/are busy or unavailable"),
    CUDASIM_TEXT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    CUDASIM_TEXT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    CUDASIM_TEXT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    CUDASIM_TEXT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    CUDASIM_TEXT(CUDA_ERROR_NO_BINARY_FOR_GPU,
                 "no kernel image is available for execution on the device"),
    CUDASIM_TEXT(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    CUDASIM_TEXT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    CUDASIM_TEXT(CUDA_ERROR_ILLEGAL_STATE,
                 "the operation cannot be performed in the present state"),
    CUDASIM_TEXT(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    CUDASIM_TEXT(CUDA_ERROR_NOT_READY, "device not ready"),
    CUDASIM_TEXT(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    CUDASIM_TEXT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    CUDASIM_TEXT(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    CUDASIM_TEXT(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    CUDASIM_TEXT(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
                 "part or all of the requested memory range is already mapped"),
    CUDASIM_TEXT(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                 "pointer does not correspond to a registered memory region"),
    CUDASIM_TEXT(CUDA_ERROR_HARDWARE_STACK_ERROR, "hardware stack error"),
    CUDASIM_TEXT(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    CUDASIM_TEXT(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    CUDASIM_TEXT(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    CUDASIM_TEXT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    CUDASIM_TEXT(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                 "operation not permitted when stream is capturing"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                 "operation failed due to a previous error during capture"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_MERGE,
                 "operation would result in a merge of separate capture sequences"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                 "capture was not ended in the same stream as it began"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                 "dependency created on uncaptured work in another stream"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                 "operation would make the legacy stream depend on a capturing blocking stream"),
    CUDASIM_TEXT(CUDA_ERROR_CAPTURED_EVENT,
                 "operation not permitted on an event last recorded in a capturing stream"),
    CUDASIM_TEXT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
                 "attempt to terminate a thread-local capture sequence from another thread"),
    CUDASIM_TEXT(CUDA_ERROR_UNKNOWN, "unknown error"),
};
#undef CUDASIM_TEXT

const Text *find(CUresult code) {
    for (const auto &text : kTexts) {
        if (text.code == code) return &text;
    }
    return nullptr;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult code, const char **text) {
    const Text *const found = find(code);
    *text = found == nullptr ? "CUDA_ERROR_UNNAMED" : found->name;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorString(CUresult code, const char **text) {
    const Text *const found = find(code);
    *text = found == nullptr ? "unnamed error" : found->text;
    return CUDA_SUCCESS;
}

}  // extern "C"
