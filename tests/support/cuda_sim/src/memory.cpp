// Device memory is host memory, so addresses can be checked and late readers be given NaN.
#include "core.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace cudasim {
namespace {

constexpr std::size_t kRedZoneBytes = 256;  // keeps the alignment cuMemAlloc promises
constexpr std::size_t kQuarantineBytes = std::size_t{256} << 20;
constexpr Poison kRedZone = Poison::kFreed;

std::uint64_t word_of(Poison pattern) {
    return static_cast<std::uint16_t>(pattern) * std::uint64_t{0x0001000100010001};
}

unsigned char byte_of(Poison pattern, std::uintptr_t address) {
    const auto half = static_cast<std::uint16_t>(pattern);
    return static_cast<unsigned char>(address % 2 ? half >> 8 : half & 0xFF);
}

Range red_zone_before(const Allocation &memory) {
    return {memory.range.address - kRedZoneBytes, kRedZoneBytes};
}

Range red_zone_after(const Allocation &memory) {
    return {memory.range.address + memory.range.bytes, kRedZoneBytes};
}

void put_in_quarantine(const std::shared_ptr<Allocation> &memory) {
    State &s = state();
    memory->freed = true;
    s.quarantine.push_back(memory);
    s.quarantined_bytes += memory->mapped_bytes;
    while (s.quarantined_bytes > kQuarantineBytes && s.quarantine.size() > 1) {
        const auto &oldest = s.quarantine.front();
        s.quarantined_bytes -= oldest->mapped_bytes;
        s.memory.erase(oldest->range.address);
        s.quarantine.pop_front();
    }
}

}  // namespace

bool Range::overlaps(const Range &other) const {
    return address < other.address + other.bytes && other.address < address + bytes;
}

bool Range::holds(const Range &other) const {
    return address <= other.address && other.bytes <= bytes &&
           other.address - address <= bytes - other.bytes;
}

void poison(const Range &range, Poison pattern) {
    auto *at = reinterpret_cast<unsigned char *>(range.address);
    const std::uint64_t word = word_of(pattern);
    std::size_t i = 0;
    for (; i < range.bytes && (range.address + i) % 8; ++i) {
        at[i] = byte_of(pattern, range.address + i);
    }
    for (; i + 8 <= range.bytes; i += 8) std::memcpy(at + i, &word, 8);
    for (; i < range.bytes; ++i) at[i] = byte_of(pattern, range.address + i);
}

bool holds_only(const Range &range, Poison pattern) {
    const auto *at = reinterpret_cast<const unsigned char *>(range.address);
    const std::uint64_t expected = word_of(pattern);
    std::size_t i = 0;
    for (; i < range.bytes && (range.address + i) % 8; ++i) {
        if (at[i] != byte_of(pattern, range.address + i)) return false;
    }
    for (; i + 8 <= range.bytes; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, at + i, 8);
        if (word != expected) return false;
    }
    for (; i < range.bytes; ++i) {
        if (at[i] != byte_of(pattern, range.address + i)) return false;
    }
    return true;
}

std::uint64_t checksum(const Range &range) {
    const auto *at = reinterpret_cast<const unsigned char *>(range.address);
    std::uint64_t sum = 0x9E3779B97F4A7C15;
    std::size_t i = 0;
    for (; i + 8 <= range.bytes; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, at + i, 8);
        sum = (sum ^ word) * 0xD6E8FEB86659FD93;
        sum ^= sum >> 32;
    }
    for (; i < range.bytes; ++i) sum = (sum ^ at[i]) * 0xD6E8FEB86659FD93;
    return sum;
}

Allocation::~Allocation() {
    if (mapping != nullptr) munmap(mapping, mapped_bytes);
}

std::string Allocation::describe() const {
    const char *what = kind == MemoryKind::kDevice ? "device" : "page-locked";
    return std::to_string(range.bytes) + " bytes of " + what + " memory at " + hex(range.address);
}

std::shared_ptr<Allocation> allocate(MemoryKind kind, std::size_t bytes, Context *context) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t needed = bytes + 2 * kRedZoneBytes;
    const std::size_t mapped = (needed + page - 1) / page * page;
    void *mapping =
        mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    auto memory = std::make_shared<Allocation>();
    memory->mapping = mapping;
    memory->mapped_bytes = mapped;
    memory->kind = kind;
    memory->context = context;
    memory->range = {reinterpret_cast<std::uintptr_t>(mapping) + kRedZoneBytes, bytes};
    poison(red_zone_before(*memory), kRedZone);
    poison(memory->range, Poison::kFresh);
    poison(red_zone_after(*memory), kRedZone);
    state().memory[memory->range.address] = memory;
    return memory;
}

CUresult release(const std::string &name, std::uintptr_t address, bool device) {
    State &s = state();
    const auto found = s.memory.find(address);
    if (found == s.memory.end() || (found->second->kind == MemoryKind::kDevice) != device) {
        report_violation("invalid_free", name + " of " + hex(address) +
                                             ", which is not the start of " +
                                             (device ? "device" : "page-locked") + " memory");
        return CUDA_ERROR_INVALID_VALUE;
    }
    const std::shared_ptr<Allocation> memory = found->second;
    if (memory->freed) {
        if (!memory->retired) report_violation("double_free", name + ": " + memory->describe());
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (const auto &past : memory->past) {
        if (memory->retired || s.host.seen(past.stream->id) >= past.operation) continue;
        report_violation("free_in_use", name + ": " + memory->describe() + ", while " + past.name +
                                            " was enqueued and nothing has waited for it");
        break;
    }
    if (memory->mapping != nullptr) {
        if (!holds_only(red_zone_before(*memory), kRedZone) ||
            !holds_only(red_zone_after(*memory), kRedZone)) {
            report_violation("overrun", "something was written beside " + memory->describe());
        }
        poison(memory->range, Poison::kFreed);
        put_in_quarantine(memory);
    } else {  // registered: the program's own memory
        memory->freed = true;
        s.memory.erase(address);
    }
    return CUDA_SUCCESS;
}

std::shared_ptr<Allocation> find_memory(const Range &range) {
    State &s = state();
    auto after = s.memory.upper_bound(range.address);
    if (after == s.memory.begin()) return nullptr;
    const auto &memory = (--after)->second;
    return memory->range.holds(range) ? memory : nullptr;
}

bool is_usable(const Range &range, bool device) {
    const auto memory = find_memory(range);
    return memory && !memory->freed && (!device || memory->kind == MemoryKind::kDevice);
}

std::uint64_t device_bytes_used() {
    std::uint64_t used = 0;
    for (const auto &[address, memory] : state().memory) {
        const bool counts = memory->kind == MemoryKind::kDevice && !memory->freed;
        if (counts && !memory->retired) used += memory->range.bytes;
    }
    return used;
}

}  // namespace cudasim
