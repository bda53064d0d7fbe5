// Streams: a worker thread each, which is as late as it may be.
#include "core.h"

#include <algorithm>

namespace cudasim {
namespace {

std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

// For a while some streams lag behind the others, then others do.
bool is_starved(const Stream &stream) {
    const State &s = state();
    const std::uint64_t period = s.finished_operations / 64;
    return mix(mix(s.settings.seed ^ period << 32) + stream.ordinal) % 2 == 0;
}

std::uint64_t next_delay_us(Stream &stream) {
    const Settings &settings = state().settings;
    if (settings.delay_max_us == 0) return 0;
    const std::uint64_t spread = settings.delay_max_us - settings.delay_min_us + 1;
    const std::uint64_t delay = settings.delay_min_us + stream.random() % spread;
    return is_starved(stream) ? delay * settings.starvation : delay;
}

void wait_until_due(Lock &lock, Stream &stream, const Operation &operation) {
    State &s = state();
    for (const auto &ticket : operation.waits) {
        ticket.stream->done.wait(
            lock, [&] { return ticket.stream->completed >= ticket.operation; });
    }
    while (stream.demanded < operation.index) {
        const auto due = operation.enqueued + std::chrono::microseconds(s.settings.hold_us);
        if (Time::now() >= due) break;
        stream.wake.wait_until(lock, due);
    }
    while (s.hung) stream.wake.wait_for(lock, std::chrono::milliseconds(5));
}

bool faults_now() {
    State &s = state();
    return s.operations_to_fault > 0 && --s.operations_to_fault == 0;
}

// Freeing it was reported, and that it changed since is no news.
bool uses_freed_memory(const Operation &operation) {
    return std::any_of(operation.pins.begin(), operation.pins.end(),
                       [](const auto &memory) { return memory->freed; });
}

void finish(Stream &stream, Operation &operation) {
    State &s = state();
    if (operation.record) operation.record->finished = Time::now();
    if (operation.kind == OperationKind::kHostFunction) s.host.join(operation.clock);
    if (operation.kind != OperationKind::kMarker) ++s.executed[operation.name];
    ++s.finished_operations;
    stream.completed = operation.index;
}

void work(const std::shared_ptr<Stream> &stream) {
    State &s = state();
    Lock lock(s.mutex);
    while (true) {
        stream->wake.wait(lock, [&] { return !stream->queue.empty() || stream->closing; });
        if (stream->queue.empty()) return;
        Operation &operation = stream->queue.front();  // pushing behind it does not move it
        wait_until_due(lock, *stream, operation);
        Context &context = *stream->context;
        const std::uint64_t delay_us = next_delay_us(*stream);
        const bool may_fault = operation.kind == OperationKind::kDevice;
        if (may_fault && context.fault == CUDA_SUCCESS && faults_now()) {
            context.fault = s.fault_code;
        }
        const bool runs = context.fault == CUDA_SUCCESS && !context.destroyed && operation.run;
        lock.unlock();
        const Guard *overwritten = nullptr;
        for (const Guard &target : operation.targets) {
            const bool is_whole = !target.is_checked || holds_only(target.range, Poison::kPending);
            if (runs && !is_whole) overwritten = &target;
            poison(target.range, Poison::kPending);
        }
        if (delay_us > 0) {
            std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
        } else {
            std::this_thread::yield();
        }
        const Guard *changed = nullptr;
        for (const Guard &source : operation.sources) {
            const bool differs = source.is_checked && checksum(source.range) != source.checksum;
            if (runs && differs) changed = &source;
        }
        const CUresult result = runs ? operation.run() : CUDA_SUCCESS;
        lock.lock();
        if (changed && !uses_freed_memory(operation)) {
            report_violation("source_changed", "page-locked memory at " +
                                                   hex(changed->range.address) +
                                                   " was changed before " + operation.name +
                                                   " had read it");
        }
        if (overwritten && !uses_freed_memory(operation)) {
            report_violation("target_changed", "page-locked memory at " +
                                                   hex(overwritten->range.address) +
                                                   " was written to while " + operation.name +
                                                   " into it was enqueued");
        }
        if (result != CUDA_SUCCESS && context.fault == CUDA_SUCCESS) context.fault = result;
        finish(*stream, operation);
        // What it holds may be the last of its kind, and letting go of it takes no lock.
        Operation finished = std::move(operation);
        stream->queue.pop_front();
        stream->done.notify_all();
        lock.unlock();
        finished = Operation();
        lock.lock();
    }
}

// The legacy stream and the streams that block with it wait for each other.
void order_with_legacy(Stream &stream, Operation &operation) {
    const auto wait_behind = [&](const std::shared_ptr<Stream> &other) {
        if (!other->idle()) operation.waits.push_back({other, other->enqueued});
        stream.clock.join(other->clock);
    };
    if (stream.legacy) {
        for (const auto &[id, other] : state().streams) {
            if (other->context == stream.context && other->blocking && !other->legacy) {
                wait_behind(other);
            }
        }
    } else if (stream.blocking && stream.context->legacy) {
        wait_behind(stream.context->legacy);
    }
}

void note_launch(const Stream &stream, const Operation &operation) {
    Module &module = *operation.module;
    if (module.unloaded && !module.retired) {
        report_violation("use_after_free",
                         operation.name + " was enqueued after its module was unloaded");
    }
    module.last[stream.id] = operation.index;
}

void prepare_memory(Operation &operation) {
    // Nothing can be relied on in a target from now on, unless work already enqueued uses it.
    for (Guard &target : operation.targets) {
        const auto memory = find_memory(target.range);
        if (memory && memory->kind != MemoryKind::kDevice && !memory->freed &&
            !is_pending(*memory, target.range, false)) {
            poison(target.range, Poison::kPending);
            target.is_checked = true;
        }
    }
    for (Guard &source : operation.sources) {
        const auto memory = find_memory(source.range);
        source.is_checked = memory && !memory->freed && !is_pending(*memory, source.range, true);
        if (source.is_checked) source.checksum = checksum(source.range);
    }
}

}  // namespace

std::shared_ptr<Stream> make_stream(Context *context, bool blocking, bool legacy) {
    State &s = state();
    auto stream = std::make_shared<Stream>();
    stream->id = s.next_id++;
    stream->context = context;
    stream->blocking = blocking;
    stream->legacy = legacy;
    stream->ordinal = s.streams_made++;
    stream->random.seed(mix(mix(s.settings.seed) + stream->ordinal));
    s.streams[stream->id] = stream;
    std::thread(work, stream).detach();
    return stream;
}

CUresult find_stream(Call &call, CUstream handle, std::shared_ptr<Stream> &stream) {
    State &s = state();
    Context &context = *call.context;
    if (handle == nullptr || handle == CU_STREAM_LEGACY) {
        const CUresult refused = refuse_legacy_while_capturing(call);
        if (refused != CUDA_SUCCESS) return refused;
        if (!context.legacy) context.legacy = make_stream(&context, true, true);
        stream = context.legacy;
        return CUDA_SUCCESS;
    }
    if (handle == CU_STREAM_PER_THREAD) {
        auto &own = context.per_thread[std::this_thread::get_id()];
        if (!own) own = make_stream(&context, true, false);
        stream = own;
        return CUDA_SUCCESS;
    }
    const auto found = s.streams.find(to_id(handle));
    if (found == s.streams.end()) {
        report_violation("invalid_handle", call.name + " of a stream that does not exist any more");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (found->second->context != &context) return CUDA_ERROR_INVALID_HANDLE;
    stream = found->second;
    return CUDA_SUCCESS;
}

CUresult submit(const std::shared_ptr<Stream> &stream, Operation operation) {
    if (stream->capture) return capture(stream, std::move(operation));
    enqueue(stream, std::move(operation));
    return CUDA_SUCCESS;
}

void enqueue(const std::shared_ptr<Stream> &stream, Operation operation) {
    stream->clock.join(state().host);
    for (const auto &record : operation.after) {
        operation.waits.push_back(record->ticket);
        stream->clock.join(record->clock);
    }
    order_with_legacy(*stream, operation);
    prepare_memory(operation);
    operation.index = ++stream->enqueued;
    operation.enqueued = Time::now();
    stream->clock.see(stream->id, operation.index);
    note_accesses(stream, operation);
    if (operation.module) note_launch(*stream, operation);
    if (operation.kind == OperationKind::kHostFunction) operation.clock = stream->clock;
    if (operation.event) {
        operation.record = operation.event->last = std::make_shared<EventRecord>();
    }
    if (operation.record) {
        operation.record->ticket = {stream, operation.index};
        operation.record->clock = stream->clock;
    }
    stream->queue.push_back(std::move(operation));
    stream->wake.notify_all();
}

void demand(const Ticket &ticket) {
    Stream &stream = *ticket.stream;
    if (stream.demanded >= ticket.operation) return;
    stream.demanded = ticket.operation;
    for (const auto &operation : stream.queue) {
        if (operation.index > ticket.operation) break;
        for (const auto &wait : operation.waits) demand(wait);
    }
    stream.wake.notify_all();
}

CUresult wait_for(Lock &lock, const Ticket &ticket) {
    const std::shared_ptr<Stream> stream = ticket.stream;
    demand(ticket);
    stream->done.wait(lock, [&] { return stream->completed >= ticket.operation; });
    return stream->context->fault;
}

CUresult wait_for_context(Lock &lock, Context &context) {
    std::vector<Ticket> tickets;
    VectorClock clock = context.destroyed_clock;
    for (const auto &stream : context.destroyed_streams) {
        tickets.push_back({stream, stream->enqueued});
    }
    for (const auto &[id, stream] : state().streams) {
        if (stream->context != &context) continue;
        tickets.push_back({stream, stream->enqueued});
        clock.join(stream->clock);
    }
    for (const auto &ticket : tickets) demand(ticket);
    for (const auto &ticket : tickets) wait_for(lock, ticket);
    state().host.join(clock);
    return context.fault;
}

void close(const std::shared_ptr<Stream> &stream) {
    auto &destroyed = stream->context->destroyed_streams;
    destroyed.erase(std::remove_if(destroyed.begin(), destroyed.end(),
                                   [](const auto &other) { return other->idle(); }),
                    destroyed.end());
    if (!stream->idle()) destroyed.push_back(stream);
    stream->context->destroyed_clock.join(stream->clock);
    stream->closing = true;
    stream->wake.notify_all();
    state().streams.erase(stream->id);
}

}  // namespace cudasim
