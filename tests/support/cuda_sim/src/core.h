// The simulated driver's state: contexts, memory, streams, events, graphs, and what went wrong.
//
// One mutex guards everything here. It is never held while an operation runs, since an operation
// may call into Python, whose own lock the caller of the driver may be holding.
#pragma once

#include <cuda.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cudasim {

using Time = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

// What each party has seen of every stream: stream number -> operations known to be before it.
class VectorClock {
  public:
    std::uint64_t seen(std::uint64_t stream) const;
    void see(std::uint64_t stream, std::uint64_t operation);
    void join(const VectorClock &other);

  private:
    std::unordered_map<std::uint64_t, std::uint64_t> seen_;
};

struct Range {
    std::uintptr_t address = 0;
    std::size_t bytes = 0;

    bool overlaps(const Range &other) const;
    bool holds(const Range &other) const;
};

struct Access {
    Range range;
    bool writes = false;
};

struct Capture;
struct Context;
struct Kernel;
struct Stream;

// Memory never accessed again is filled with one of these: NaN as float16, bfloat16, float32 and
// float64, and different so that a debugger shows which it was.
enum class Poison : std::uint16_t { kFresh = 0x7FFA, kFreed = 0x7FFD, kPending = 0x7FFE };
void poison(const Range &range, Poison pattern);
bool holds_only(const Range &range, Poison pattern);

enum class MemoryKind { kDevice, kPinned, kRegistered };

struct Allocation {
    // The latest access of its kind by one stream to one range.
    struct Past {
        std::shared_ptr<Stream> stream;
        std::uint64_t operation;
        Access access;
        std::string name;
    };

    Range range;
    MemoryKind kind = MemoryKind::kDevice;
    Context *context = nullptr;
    unsigned flags = 0;
    bool freed = false;
    bool retired = false;  // made before the last reset: of no interest any more
    void *mapping = nullptr;
    std::size_t mapped_bytes = 0;
    std::vector<Past> past;

    ~Allocation();
    std::string describe() const;
};

struct Ticket {
    std::shared_ptr<Stream> stream;
    std::uint64_t operation = 0;
};

// One `cuEventRecord`.
struct EventRecord {
    Ticket ticket;
    VectorClock clock;
    Time::time_point finished;
};

struct Event {
    std::uint64_t id = 0;
    Context *context = nullptr;
    unsigned flags = 0;
    bool retired = false;
    std::shared_ptr<EventRecord> last;
    std::shared_ptr<Capture> capture;  // recorded while its stream was capturing
    std::map<std::uint64_t, std::size_t> capture_seen;
};

enum class OperationKind { kDevice, kHostFunction, kMarker };

// Memory that the program must leave alone while an operation is enqueued.
struct Guard {
    Range range;
    bool is_checked = false;     // the rest is filled in when the operation is enqueued
    std::uint64_t checksum = 0;  // of a source
};

// Kernels that were loaded.
struct Module {
    std::uint64_t id = 0;
    bool retired = false;
    bool unloaded = false;
    std::map<std::uint64_t, std::uint64_t> last;  // stream -> the latest launch of one of them
};

struct Function {
    const Kernel *kernel = nullptr;
    std::shared_ptr<Module> module;
};

// What is enqueued on a stream, or kept as a graph's node.
struct Operation {
    std::string name;
    OperationKind kind = OperationKind::kDevice;
    std::vector<Access> accesses;
    std::function<CUresult()> run;
    std::vector<Guard> sources;  // page-locked memory that must not change before it is read
    std::vector<Guard> targets;  // memory that holds nothing until the operation is done
    std::shared_ptr<Module> module;  // whose kernel it runs
    std::vector<std::shared_ptr<EventRecord>> after;
    std::shared_ptr<Event> event;  // recorded anew each time it is enqueued

    // Filled in when it is enqueued.
    std::uint64_t index = 0;
    Time::time_point enqueued;
    std::vector<Ticket> waits;
    std::vector<std::shared_ptr<Allocation>> pins;
    std::shared_ptr<EventRecord> record;
    VectorClock clock;  // host functions only
};

struct Stream {
    std::uint64_t id = 0;
    std::uint64_t ordinal = 0;  // since the last reset, so that a seed gives the same delays
    Context *context = nullptr;
    bool blocking = true;
    bool legacy = false;
    bool retired = false;
    bool closing = false;
    std::deque<Operation> queue;
    std::uint64_t enqueued = 0;
    std::uint64_t completed = 0;
    std::uint64_t demanded = 0;  // the host waits for operations up to this one
    VectorClock clock;
    std::shared_ptr<Capture> capture;
    std::condition_variable wake;  // the worker: work, demand, closing
    std::condition_variable done;  // whoever waits for an operation
    std::mt19937_64 random;

    bool idle() const { return completed == enqueued; }
};

struct Capture {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id owner;
    std::uint64_t origin = 0;
    bool invalidated = false;
    std::vector<Operation> nodes;
    // stream -> (stream -> nodes of it that come before)
    std::map<std::uint64_t, std::map<std::uint64_t, std::size_t>> seen;
    std::vector<std::shared_ptr<Stream>> streams;
};

struct Graph {
    std::uint64_t id = 0;
    bool retired = false;
    std::vector<Operation> nodes;
    std::shared_ptr<EventRecord> last;  // of an executable graph: its latest launch
};

struct Context {
    std::uint64_t id = 0;
    bool primary = false;
    bool destroyed = false;
    CUresult fault = CUDA_SUCCESS;
    std::shared_ptr<Stream> legacy;
    std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;
    // Streams that were destroyed: their work goes on, and the context is waited for with it.
    std::vector<std::shared_ptr<Stream>> destroyed_streams;
    VectorClock destroyed_clock;
};

bool integrated_at_first();  // what CUDASIM_INTEGRATED says, else not

struct Settings {
    std::uint64_t seed = 0;
    std::uint64_t delay_min_us = 0;
    std::uint64_t delay_max_us = 100;
    std::uint64_t hold_us = 250'000;
    unsigned starvation = 8;
    std::uint64_t memory_bytes = std::uint64_t{8} << 30;
    bool integrated = integrated_at_first();
};

struct InjectedFailure {
    std::string name;
    std::uint64_t calls_left = 1;
    CUresult code = CUDA_SUCCESS;
    bool repeats = false;
};

struct Violation {
    std::string kind;
    std::string text;
    std::uint64_t count = 1;
};

struct State {
    std::mutex mutex;
    bool initialized = false;
    CUresult lost = CUDA_SUCCESS;
    bool hung = false;
    Settings settings;
    std::uint64_t next_id = 1;
    VectorClock host;  // what the host has waited for

    std::map<std::uint64_t, std::unique_ptr<Context>> contexts;
    Context *primary = nullptr;
    unsigned primary_retained = 0;
    std::map<std::uint64_t, std::shared_ptr<Stream>> streams;
    std::map<std::uint64_t, std::shared_ptr<Event>> events;
    std::map<std::uint64_t, std::shared_ptr<Graph>> graphs;
    std::map<std::uint64_t, std::shared_ptr<Graph>> executables;
    std::map<std::uint64_t, std::shared_ptr<Module>> modules;
    std::map<std::uint64_t, Function> functions;  // for good: their handles are never given again
    std::map<std::uintptr_t, std::shared_ptr<Allocation>> memory;
    std::deque<std::shared_ptr<Allocation>> quarantine;
    std::size_t quarantined_bytes = 0;
    std::vector<std::shared_ptr<Capture>> captures;

    std::vector<InjectedFailure> failures;
    std::uint64_t operations_to_fault = 0;  // 0: none
    CUresult fault_code = CUDA_SUCCESS;
    std::vector<Violation> violations;
    std::map<std::string, std::uint64_t> executed;
    std::uint64_t finished_operations = 0;
    std::uint64_t streams_made = 0;
};

State &state();

// The handles that a program holds are numbers; one that was destroyed is never given again.
template <typename Handle> Handle to_handle(std::uint64_t id) {
    return reinterpret_cast<Handle>(static_cast<std::uintptr_t>(0x5EA000000000 + id * 16));
}
template <typename Handle> std::uint64_t to_id(Handle handle) {
    const auto value = reinterpret_cast<std::uintptr_t>(handle);
    return value < 0x5EA000000000 ? 0 : (value - 0x5EA000000000) / 16;
}

// -- one call of the driver ----------------------------------------------------------------------

enum class Needs { kNothing, kDriver, kContext };

// Takes the lock, counts the call, and finds out whether it may go on.
class Call {
  public:
    Call(const char *name, Needs needs);
    bool failed() const { return result != CUDA_SUCCESS; }

    Lock lock;
    std::string name;
    Context *context = nullptr;
    CUresult result = CUDA_SUCCESS;
};

std::vector<Context *> &context_stack();  // this thread's
void destroy_context(Context &context);
std::pair<int, int> compute_capability();

// -- memory --------------------------------------------------------------------------------------

std::shared_ptr<Allocation> allocate(MemoryKind kind, std::size_t bytes, Context *context);
CUresult release(const std::string &name, std::uintptr_t address, bool device);
std::shared_ptr<Allocation> find_memory(const Range &range);  // freed memory too
bool is_usable(const Range &range, bool device);
std::uint64_t device_bytes_used();
std::uint64_t checksum(const Range &range);

// -- order ---------------------------------------------------------------------------------------

void note_accesses(const std::shared_ptr<Stream> &stream, Operation &operation);
bool is_pending(const Allocation &memory, const Range &range, bool writes_only);
void guard_mapped_memory(Operation &operation);  // page-locked memory that a kernel works in

// -- streams -------------------------------------------------------------------------------------

std::shared_ptr<Stream> make_stream(Context *context, bool blocking, bool legacy);
CUresult find_stream(Call &call, CUstream handle, std::shared_ptr<Stream> &stream);
CUresult submit(const std::shared_ptr<Stream> &stream, Operation operation);
void enqueue(const std::shared_ptr<Stream> &stream, Operation operation);
void demand(const Ticket &ticket);
CUresult wait_for(Lock &lock, const Ticket &ticket);
CUresult wait_for_context(Lock &lock, Context &context);
void close(const std::shared_ptr<Stream> &stream);

// -- capture -------------------------------------------------------------------------------------

void invalidate(Capture &capture);
CUresult refuse_while_capturing(const Call &call);  // a call that no capture of this thread allows
CUresult refuse_legacy_while_capturing(const Call &call);
CUresult capture(const std::shared_ptr<Stream> &stream, Operation operation);
bool is_captured(const Event &event);

// -- faults --------------------------------------------------------------------------------------

CUresult injected_failure(const std::string &name);
void report_violation(const std::string &kind, const std::string &text);
std::string hex(std::uintptr_t value);

}  // namespace cudasim
