// Entry points: streams, events, host functions and stand-ins for kernels.
#include "core.h"
#include "cudasim.h"

using namespace cudasim;

namespace {

CUresult find_event(const Call &call, CUevent handle, std::shared_ptr<Event> &event) {
    const auto found = state().events.find(to_id(handle));
    if (found == state().events.end()) {
        report_violation("invalid_handle", call.name + " of an event that does not exist any more");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    event = found->second;
    return CUDA_SUCCESS;
}

// Waiting for an event, or asking after it, is no part of a graph.
CUresult find_recorded_event(const Call &call, CUevent handle, std::shared_ptr<Event> &event) {
    const CUresult found = find_event(call, handle, event);
    if (found != CUDA_SUCCESS) return found;
    if (is_captured(*event)) {
        invalidate(*event->capture);
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    return refuse_while_capturing(call);
}

bool is_done(const EventRecord &record) {
    return record.ticket.stream->completed >= record.ticket.operation;
}

// Waiting for a stream, or asking after it, is no part of a graph.
CUresult refuse_captured(const Call &call, const Stream &stream) {
    if (stream.capture) {
        invalidate(*stream.capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return refuse_while_capturing(call);
}

Operation kernel_operation(const char *name, cudasim_kernel kernel, void *user_data,
                           const cudasim_access *accesses, std::size_t count) {
    Operation operation;
    operation.name = name;
    bool legal = true;
    for (std::size_t i = 0; i < count; ++i) {
        const Range range{static_cast<std::uintptr_t>(accesses[i].address),
                          static_cast<std::size_t>(accesses[i].bytes)};
        operation.accesses.push_back({range, accesses[i].writes != 0});
        legal = legal && find_memory(range);
    }
    guard_mapped_memory(operation);
    operation.run = [kernel, user_data, legal] {
        return legal ? static_cast<CUresult>(kernel(user_data)) : CUDA_ERROR_ILLEGAL_ADDRESS;
    };
    return operation;
}

Operation event_operation(const std::shared_ptr<Event> &event) {
    Operation operation;
    operation.name = "cuEventRecord";
    operation.kind = OperationKind::kMarker;
    operation.event = event;
    return operation;
}

CUresult record(Call &call, CUevent handle, CUstream stream_handle, unsigned flags) {
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    std::shared_ptr<Event> event;
    CUresult found = find_event(call, handle, event);
    if (found == CUDA_SUCCESS) found = find_stream(call, stream_handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (event->context != stream->context) return CUDA_ERROR_INVALID_HANDLE;
    const bool external = flags == CU_EVENT_RECORD_EXTERNAL;
    if (stream->capture) {
        if (stream->capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (external) {
            stream->capture->nodes.push_back(event_operation(event));
            ++stream->capture->seen[stream->id][stream->id];
            return CUDA_SUCCESS;
        }
        event->capture = stream->capture;
        event->capture_seen = stream->capture->seen[stream->id];
        return CUDA_SUCCESS;
    }
    if (external) return CUDA_ERROR_INVALID_VALUE;
    event->capture = nullptr;
    enqueue(stream, event_operation(event));
    return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuStreamCreate(CUstream *handle, unsigned flags) {
    Call call("cuStreamCreate", Needs::kContext);
    if (call.failed()) return call.result;
    if (handle == nullptr || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    const auto stream = make_stream(call.context, (flags & CU_STREAM_NON_BLOCKING) == 0, false);
    *handle = to_handle<CUstream>(stream->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *handle, unsigned flags, int) {
    return cuStreamCreate(handle, flags);
}

CUresult CUDAAPI cuStreamDestroy(CUstream handle) {
    Call call("cuStreamDestroy", Needs::kContext);
    const bool only_dead = call.context != nullptr && call.result == call.context->fault;
    if (call.failed() && !only_dead) return call.result;
    const auto found = state().streams.find(to_id(handle));
    if (found == state().streams.end()) {
        report_violation("invalid_handle",
                         "cuStreamDestroy of a stream that does not exist any more");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const std::shared_ptr<Stream> stream = found->second;
    if (stream->capture) invalidate(*stream->capture);
    if (!stream->retired && state().host.seen(stream->id) < stream->enqueued) {
        report_violation("stream_in_use",
                         "cuStreamDestroy of a stream with work that nothing has waited for");
    }
    close(stream);
    return call.result;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
    Call call("cuStreamSynchronize", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    const CUresult refused = refuse_captured(call, *stream);
    if (refused != CUDA_SUCCESS) return refused;
    const VectorClock clock = stream->clock;
    const CUresult result = wait_for(call.lock, {stream, stream->enqueued});
    state().host.join(clock);
    return result;
}

CUresult CUDAAPI cuStreamQuery(CUstream handle) {
    Call call("cuStreamQuery", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    const CUresult refused = refuse_captured(call, *stream);
    if (refused != CUDA_SUCCESS) return refused;
    if (!stream->idle()) return CUDA_ERROR_NOT_READY;
    state().host.join(stream->clock);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned) {
    Call call("cuStreamWaitEvent", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    std::shared_ptr<Event> event;
    CUresult found = find_stream(call, handle, stream);
    if (found == CUDA_SUCCESS) found = find_event(call, event_handle, event);
    if (found != CUDA_SUCCESS) return found;
    if (is_captured(*event)) {
        if (stream->capture && stream->capture != event->capture) {
            invalidate(*stream->capture);
            invalidate(*event->capture);
            return CUDA_ERROR_STREAM_CAPTURE_MERGE;
        }
        if (!stream->capture) {
            stream->capture = event->capture;
            stream->capture->streams.push_back(stream);
        }
        auto &seen = stream->capture->seen[stream->id];
        for (const auto &[other, nodes] : event->capture_seen) {
            if (seen[other] < nodes) seen[other] = nodes;
        }
        return CUDA_SUCCESS;
    }
    if (stream->capture) {
        invalidate(*stream->capture);
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (!event->last) return CUDA_SUCCESS;
    Operation operation;
    operation.name = "cuStreamWaitEvent";
    operation.kind = OperationKind::kMarker;
    operation.after.push_back(event->last);
    enqueue(stream, std::move(operation));
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream handle, CUhostFn function, void *user_data) {
    Call call("cuLaunchHostFunc", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Operation operation;
    operation.name = "cuLaunchHostFunc";
    operation.kind = OperationKind::kHostFunction;
    operation.run = [function, user_data] {
        function(user_data);
        return CUDA_SUCCESS;
    };
    return submit(stream, std::move(operation));
}

CUresult cudasim_launch_kernel(CUstream handle, const char *name, cudasim_kernel kernel,
                               void *user_data, const cudasim_access *accesses, size_t count) {
    Call call("cuLaunchKernel", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    return submit(stream, kernel_operation(name, kernel, user_data, accesses, count));
}

CUresult CUDAAPI cuEventCreate(CUevent *handle, unsigned flags) {
    Call call("cuEventCreate", Needs::kContext);
    if (call.failed()) return call.result;
    auto event = std::make_shared<Event>();
    event->id = state().next_id++;
    event->context = call.context;
    event->flags = flags;
    state().events[event->id] = event;
    *handle = to_handle<CUevent>(event->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventDestroy(CUevent handle) {
    Call call("cuEventDestroy", Needs::kContext);
    const bool only_dead = call.context != nullptr && call.result == call.context->fault;
    if (call.failed() && !only_dead) return call.result;
    std::shared_ptr<Event> event;
    const CUresult found = find_event(call, handle, event);
    if (found != CUDA_SUCCESS) return found;
    state().events.erase(event->id);
    return call.result;
}

CUresult CUDAAPI cuEventRecord(CUevent handle, CUstream stream_handle) {
    Call call("cuEventRecord", Needs::kContext);
    return record(call, handle, stream_handle, CU_EVENT_RECORD_DEFAULT);
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned flags) {
    Call call("cuEventRecordWithFlags", Needs::kContext);
    return record(call, handle, stream_handle, flags);
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle) {
    Call call("cuEventSynchronize", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Event> event;
    const CUresult found = find_recorded_event(call, handle, event);
    if (found != CUDA_SUCCESS) return found;
    const std::shared_ptr<EventRecord> record = event->last;
    if (!record) return CUDA_SUCCESS;
    const CUresult result = wait_for(call.lock, record->ticket);
    state().host.join(record->clock);
    return result;
}

CUresult CUDAAPI cuEventQuery(CUevent handle) {
    Call call("cuEventQuery", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Event> event;
    const CUresult found = find_recorded_event(call, handle, event);
    if (found != CUDA_SUCCESS) return found;
    if (!event->last) return CUDA_SUCCESS;
    if (!is_done(*event->last)) return CUDA_ERROR_NOT_READY;
    state().host.join(event->last->clock);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventElapsedTime(float *elapsed_ms, CUevent start_handle, CUevent end_handle) {
    Call call("cuEventElapsedTime", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Event> start;
    std::shared_ptr<Event> end;
    CUresult found = find_event(call, start_handle, start);
    if (found == CUDA_SUCCESS) found = find_event(call, end_handle, end);
    if (found != CUDA_SUCCESS) return found;
    if (is_captured(*start) || is_captured(*end)) return CUDA_ERROR_CAPTURED_EVENT;
    const bool timed = ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) == 0;
    if (!timed || !start->last || !end->last) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (!is_done(*start->last) || !is_done(*end->last)) return CUDA_ERROR_NOT_READY;
    const auto elapsed = end->last->finished - start->last->finished;
    *elapsed_ms = std::chrono::duration<float, std::milli>(elapsed).count();
    return CUDA_SUCCESS;
}

}  // extern "C"

#ifdef cuEventElapsedTime  // CUDA 13 calls its second form by this name; drivers keep the first
static CUresult(CUDAAPI *const second_form)(float *, CUevent, CUevent) = cuEventElapsedTime;
#undef cuEventElapsedTime
extern "C" CUresult CUDAAPI cuEventElapsedTime(float *elapsed_ms, CUevent start, CUevent end) {
    return second_form(elapsed_ms, start, end);
}
#endif
