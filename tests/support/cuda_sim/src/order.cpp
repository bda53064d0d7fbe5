// Happens-before between streams and the host, kept by vector clocks as calls are made: whether two
// accesses are ordered does not depend on which of them happened to run first.
#include "core.h"

#include <algorithm>

namespace cudasim {
namespace {

// Drop what everything to come is ordered behind anyway, since the host has waited for it.
void forget_the_seen(Allocation &memory) {
    auto &past = memory.past;
    const auto is_seen = [](const Allocation::Past &one) {
        return state().host.seen(one.stream->id) >= one.operation;
    };
    past.erase(std::remove_if(past.begin(), past.end(), is_seen), past.end());
}

void remember(Allocation &memory, const std::shared_ptr<Stream> &stream, const Operation &operation,
              const Access &access) {
    for (auto &past : memory.past) {
        if (past.stream == stream && past.access.writes == access.writes &&
            past.access.range.address == access.range.address &&
            past.access.range.bytes == access.range.bytes) {
            past.operation = operation.index;
            past.name = operation.name;
            return;
        }
    }
    memory.past.push_back({stream, operation.index, access, operation.name});
}

}  // namespace

std::uint64_t VectorClock::seen(std::uint64_t stream) const {
    const auto found = seen_.find(stream);
    return found == seen_.end() ? 0 : found->second;
}

void VectorClock::see(std::uint64_t stream, std::uint64_t operation) {
    auto &seen = seen_[stream];
    seen = std::max(seen, operation);
}

void VectorClock::join(const VectorClock &other) {
    for (const auto &[stream, operation] : other.seen_) see(stream, operation);
}

// Pins the memory an operation uses, and reports accesses that nothing orders against another's.
void note_accesses(const std::shared_ptr<Stream> &stream, Operation &operation) {
    for (const auto &access : operation.accesses) {
        const auto memory = find_memory(access.range);
        if (!memory) continue;
        if (memory->freed && !memory->retired) {
            report_violation("use_after_free",
                             operation.name + " uses freed memory: " + memory->describe());
        }
        operation.pins.push_back(memory);
        forget_the_seen(*memory);
        for (const auto &past : memory->past) {
            if (past.stream == stream || memory->retired) continue;
            if (!past.access.range.overlaps(access.range)) continue;
            if (!past.access.writes && !access.writes) continue;
            if (stream->clock.seen(past.stream->id) >= past.operation) continue;
            report_violation("race", operation.name + (access.writes ? " writes " : " reads ") +
                                         memory->describe() + " with nothing to order it after " +
                                         past.name + " on another stream, which " +
                                         (past.access.writes ? "writes" : "reads") + " it");
        }
        remember(*memory, stream, operation, access);
    }
}

void guard_mapped_memory(Operation &operation) {
    for (const auto &access : operation.accesses) {
        const auto memory = find_memory(access.range);
        if (!memory || memory->kind == MemoryKind::kDevice) continue;
        (access.writes ? operation.targets : operation.sources).push_back({access.range});
    }
}

bool is_pending(const Allocation &memory, const Range &range, bool writes_only) {
    return std::any_of(memory.past.begin(), memory.past.end(), [&](const Allocation::Past &past) {
        return past.stream->completed < past.operation && past.access.range.overlaps(range) &&
               (past.access.writes || !writes_only);
    });
}

}  // namespace cudasim
