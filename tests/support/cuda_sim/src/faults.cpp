// What goes wrong: failures a test asks for, violations of a program, and the report of both.
#include "core.h"
#include "cudasim.h"

#include <cstdio>

namespace cudasim {
namespace {

constexpr std::size_t kDifferentViolations = 200;

std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) < 0x20) {
            out += ' ';
        } else {
            out += c;
        }
    }
    return out + "\"";
}

template <typename Objects> std::uint64_t count_live(const Objects &objects) {
    std::uint64_t live = 0;
    for (const auto &[id, object] : objects) live += object->retired ? 0 : 1;
    return live;
}

// Entry points are spoken of by the names in the documentation, without the ABI's suffix.
std::string without_suffix(const std::string &name) {
    const auto at = name.rfind("_v");
    return at != std::string::npos && at + 3 == name.size() ? name.substr(0, at) : name;
}

void append_memory(std::string &out) {
    std::uint64_t counts[3] = {};
    std::uint64_t bytes[3] = {};
    std::string list;
    for (const auto &[address, memory] : state().memory) {
        if (memory->freed || memory->retired) continue;
        const auto kind = static_cast<std::size_t>(memory->kind);
        ++counts[kind];
        bytes[kind] += memory->range.bytes;
        if (counts[0] + counts[1] + counts[2] <= kDifferentViolations) {
            list += (list.empty() ? "" : ", ") + quoted(memory->describe());
        }
    }
    const char *names[3] = {"device", "pinned", "registered"};
    for (std::size_t kind = 0; kind < 3; ++kind) {
        out += quoted(names[kind]) + ": " + std::to_string(counts[kind]) + ", ";
        const std::string size = std::string(names[kind]) + "_bytes";
        out += quoted(size) + ": " + std::to_string(bytes[kind]) + ", ";
    }
    out += "\"memory\": [" + list + "]";
}

std::uint64_t count_streams() {
    std::uint64_t live = 0;
    for (const auto &[id, stream] : state().streams) {
        const auto &own = stream->context->per_thread;
        bool is_default = stream->legacy;
        for (const auto &[thread, other] : own) is_default = is_default || other == stream;
        live += stream->retired || is_default ? 0 : 1;
    }
    return live;
}

}  // namespace

std::string hex(std::uintptr_t value) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

CUresult injected_failure(const std::string &name) {
    for (auto &failure : state().failures) {
        if (failure.name != name || failure.calls_left == 0) continue;
        if (failure.calls_left > 1) {
            --failure.calls_left;
            continue;
        }
        if (!failure.repeats) failure.calls_left = 0;
        return failure.code;
    }
    return CUDA_SUCCESS;
}

void report_violation(const std::string &kind, const std::string &text) {
    auto &violations = state().violations;
    for (auto &violation : violations) {
        if (violation.kind == kind && violation.text == text) {
            ++violation.count;
            return;
        }
    }
    if (violations.size() < kDifferentViolations) violations.push_back({kind, text});
}

}  // namespace cudasim

using namespace cudasim;

extern "C" {

void cudasim_reset(std::uint64_t seed) {
    State &s = state();
    Lock lock(s.mutex);
    s.hung = false;
    s.settings = Settings();
    for (const auto &capture : s.captures) {
        for (const auto &stream : capture->streams) stream->capture = nullptr;
    }
    s.captures.clear();
    std::vector<Ticket> pending;
    for (const auto &[id, stream] : s.streams) pending.push_back({stream, stream->enqueued});
    for (const auto &[id, context] : s.contexts) {
        for (const auto &stream : context->destroyed_streams) {
            pending.push_back({stream, stream->enqueued});
        }
        s.host.join(context->destroyed_clock);
    }
    for (const auto &ticket : pending) wait_for(lock, ticket);
    for (const auto &ticket : pending) {
        s.host.join(ticket.stream->clock);
        ticket.stream->retired = true;
    }
    for (const auto &[address, memory] : s.memory) memory->retired = true;
    for (const auto &[id, event] : s.events) event->retired = true;
    for (const auto &[id, graph] : s.graphs) graph->retired = true;
    for (const auto &[id, graph] : s.executables) graph->retired = true;
    for (const auto &[id, module] : s.modules) module->retired = true;
    for (const auto &[id, context] : s.contexts) context->fault = CUDA_SUCCESS;
    s.settings.seed = seed;
    s.lost = CUDA_SUCCESS;
    s.failures.clear();
    s.operations_to_fault = 0;
    s.violations.clear();
    s.executed.clear();
    s.finished_operations = 0;
    s.streams_made = 0;
}

void cudasim_set_delay(std::uint64_t min_us, std::uint64_t max_us, unsigned starvation) {
    Lock lock(state().mutex);
    state().settings.delay_min_us = min_us;
    state().settings.delay_max_us = max_us < min_us ? min_us : max_us;
    state().settings.starvation = starvation;
}

void cudasim_set_hold(std::uint64_t hold_us) {
    Lock lock(state().mutex);
    state().settings.hold_us = hold_us;
    for (const auto &[id, stream] : state().streams) stream->wake.notify_all();
}

void cudasim_set_memory(std::uint64_t bytes) {
    Lock lock(state().mutex);
    state().settings.memory_bytes = bytes;
}

void cudasim_set_integrated(int integrated) {
    Lock lock(state().mutex);
    state().settings.integrated = integrated != 0;
}

void cudasim_fail_call(const char *name, std::uint64_t nth, int code, int repeats) {
    Lock lock(state().mutex);
    state().failures.push_back(
        {without_suffix(name), nth, static_cast<CUresult>(code), repeats != 0});
}

void cudasim_fail_operation(std::uint64_t nth, int code) {
    Lock lock(state().mutex);
    state().operations_to_fault = nth;
    state().fault_code = static_cast<CUresult>(code);
}

void cudasim_lose_device(int code) {
    State &s = state();
    Lock lock(s.mutex);
    s.lost = static_cast<CUresult>(code);
    if (code == 0) return;
    for (const auto &[id, context] : s.contexts) {
        if (context->fault == CUDA_SUCCESS) context->fault = s.lost;
    }
}

void cudasim_hang(int hangs) {
    Lock lock(state().mutex);
    state().hung = hangs != 0;
}

void cudasim_violation(const char *kind, const char *text) {
    Lock lock(state().mutex);
    report_violation(kind, text);
}

const char *cudasim_report(void) {
    static thread_local std::string out;
    State &s = state();
    Lock lock(s.mutex);
    out = "{\"violations\": [";
    for (const auto &violation : s.violations) {
        if (&violation != &s.violations.front()) out += ", ";
        out += "{\"kind\": " + quoted(violation.kind) + ", \"text\": " + quoted(violation.text) +
               ", \"count\": " + std::to_string(violation.count) + "}";
    }
    out += "], \"live\": {\"streams\": " + std::to_string(count_streams());
    out += ", \"events\": " + std::to_string(count_live(s.events));
    out += ", \"graphs\": " + std::to_string(count_live(s.graphs));
    out += ", \"executables\": " + std::to_string(count_live(s.executables));
    out += ", \"modules\": " + std::to_string(count_live(s.modules)) + ", ";
    append_memory(out);
    out += "}, \"executed\": {";
    bool first = true;
    for (const auto &[name, count] : s.executed) {
        out += std::string(first ? "" : ", ") + quoted(name) + ": " + std::to_string(count);
        first = false;
    }
    out += "}}";
    return out.c_str();
}

}  // extern "C"
