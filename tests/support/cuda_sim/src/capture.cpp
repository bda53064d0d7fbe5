// Stream capture: operations become a graph's nodes, with their arguments, instead of running.
#include "core.h"

#include <algorithm>

namespace cudasim {
namespace {

bool concerns_this_thread(const Capture &capture) {
    switch (capture.mode) {
        case CU_STREAM_CAPTURE_MODE_GLOBAL: return true;
        case CU_STREAM_CAPTURE_MODE_THREAD_LOCAL:
            return capture.owner == std::this_thread::get_id();
        default: return false;
    }
}

}  // namespace

void invalidate(Capture &capture) { capture.invalidated = true; }

CUresult refuse_while_capturing(const Call &) {
    CUresult result = CUDA_SUCCESS;
    for (const auto &capture : state().captures) {
        if (!concerns_this_thread(*capture)) continue;
        invalidate(*capture);
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return result;
}

CUresult refuse_legacy_while_capturing(const Call &call) {
    CUresult result = CUDA_SUCCESS;
    for (const auto &capture : state().captures) {
        const bool waits_for_legacy = std::any_of(
            capture->streams.begin(), capture->streams.end(),
            [&](const auto &one) { return one->blocking && one->context == call.context; });
        if (!waits_for_legacy) continue;
        invalidate(*capture);
        result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    return result;
}

CUresult capture(const std::shared_ptr<Stream> &stream, Operation operation) {
    Capture &capture = *stream->capture;
    if (capture.invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (operation.kind != OperationKind::kMarker) {
        capture.nodes.push_back(std::move(operation));
        ++capture.seen[stream->id][stream->id];
    }
    return CUDA_SUCCESS;
}

bool is_captured(const Event &event) {
    const auto &captures = state().captures;
    return event.capture &&
           std::find(captures.begin(), captures.end(), event.capture) != captures.end();
}

}  // namespace cudasim

using namespace cudasim;

namespace {

CUresult find_graph(const Call &call, const std::map<std::uint64_t, std::shared_ptr<Graph>> &graphs,
                    std::uint64_t id, std::shared_ptr<Graph> &graph) {
    const auto found = graphs.find(id);
    if (found == graphs.end()) {
        report_violation("invalid_handle", call.name + " of a graph that does not exist any more");
        return CUDA_ERROR_INVALID_VALUE;
    }
    graph = found->second;
    return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
    Call call("cuStreamBeginCapture", Needs::kContext);
    if (call.failed()) return call.result;
    if (handle == nullptr || handle == CU_STREAM_LEGACY) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    auto capture = std::make_shared<Capture>();
    capture->mode = mode;
    capture->owner = std::this_thread::get_id();
    capture->origin = stream->id;
    capture->streams.push_back(stream);
    stream->capture = capture;
    state().captures.push_back(capture);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph *graph) {
    Call call("cuStreamEndCapture", Needs::kContext);
    if (call.failed()) return call.result;
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *graph = nullptr;
    State &s = state();
    const auto found = s.streams.find(to_id(handle));
    if (found == s.streams.end()) return CUDA_ERROR_INVALID_HANDLE;
    const auto &stream = found->second;
    if (!stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    const std::shared_ptr<Capture> capture = stream->capture;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        capture->owner != std::this_thread::get_id()) {
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    }
    if (capture->origin != stream->id) {
        invalidate(*capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    }
    bool joined = true;
    for (const auto &other : capture->streams) {
        auto &seen = capture->seen;
        joined = joined && seen[stream->id][other->id] == seen[other->id][other->id];
        other->capture = nullptr;
    }
    s.captures.erase(std::find(s.captures.begin(), s.captures.end(), capture));
    if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!joined) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    auto made = std::make_shared<Graph>();
    made->id = s.next_id++;
    made->nodes = std::move(capture->nodes);
    s.graphs[made->id] = made;
    *graph = to_handle<CUgraph>(made->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status) {
    Call call("cuStreamIsCapturing", Needs::kContext);
    if (call.failed()) return call.result;
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    if (handle == nullptr || handle == CU_STREAM_LEGACY) return CUDA_SUCCESS;
    std::shared_ptr<Stream> stream;
    const CUresult found = find_stream(call, handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (stream->capture) {
        *status = stream->capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    }
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count) {
    Call call("cuGraphGetNodes", Needs::kDriver);
    if (call.failed()) return call.result;
    std::shared_ptr<Graph> graph;
    const CUresult found = find_graph(call, state().graphs, to_id(handle), graph);
    if (found != CUDA_SUCCESS) return found;
    if (nodes != nullptr) return CUDA_ERROR_NOT_SUPPORTED;
    *count = graph->nodes.size();
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph handle,
                                             unsigned long long) {
    Call call("cuGraphInstantiateWithFlags", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Graph> graph;
    const CUresult found = find_graph(call, state().graphs, to_id(handle), graph);
    if (found != CUDA_SUCCESS) return found;
    auto made = std::make_shared<Graph>();
    made->id = state().next_id++;
    made->nodes = graph->nodes;
    state().executables[made->id] = made;
    *executable = to_handle<CUgraphExec>(made->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    Call call("cuGraphLaunch", Needs::kContext);
    if (call.failed()) return call.result;
    std::shared_ptr<Graph> graph;
    std::shared_ptr<Stream> stream;
    CUresult found = find_graph(call, state().executables, to_id(handle), graph);
    if (found == CUDA_SUCCESS) found = find_stream(call, stream_handle, stream);
    if (found != CUDA_SUCCESS) return found;
    if (stream->capture) {
        for (const auto &node : graph->nodes) {
            const CUresult result = submit(stream, node);
            if (result != CUDA_SUCCESS) return result;
        }
        return CUDA_SUCCESS;
    }
    // Launches of one executable graph run one after another, whatever their streams.
    Operation start;
    start.name = "graph start";
    start.kind = OperationKind::kMarker;
    if (graph->last) start.after.push_back(graph->last);
    enqueue(stream, std::move(start));
    for (const auto &node : graph->nodes) enqueue(stream, node);
    Operation end;
    end.name = "graph end";
    end.kind = OperationKind::kMarker;
    end.record = graph->last = std::make_shared<EventRecord>();
    enqueue(stream, std::move(end));
    ++state().executed["cuGraphLaunch"];
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
    Call call("cuGraphExecDestroy", Needs::kDriver);
    if (call.failed()) return call.result;
    std::shared_ptr<Graph> graph;
    const CUresult found = find_graph(call, state().executables, to_id(handle), graph);
    if (found != CUDA_SUCCESS) return found;
    if (graph->last && !graph->retired) {
        const Ticket &launch = graph->last->ticket;
        if (state().host.seen(launch.stream->id) < launch.operation) {
            report_violation("graph_in_use",
                             "cuGraphExecDestroy of a graph that was launched and not waited for");
        }
    }
    state().executables.erase(graph->id);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
    Call call("cuGraphDestroy", Needs::kDriver);
    if (call.failed()) return call.result;
    std::shared_ptr<Graph> graph;
    const CUresult found = find_graph(call, state().graphs, to_id(handle), graph);
    if (found != CUDA_SUCCESS) return found;
    state().graphs.erase(graph->id);
    return CUDA_SUCCESS;
}

}  // extern "C"
