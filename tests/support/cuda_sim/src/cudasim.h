/* What tests say to the simulated driver. Results are CUresult; text is UTF-8, owned by the
 * library and good until the same thread asks again. */
#pragma once

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#define CUDASIM_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Forget what was reported and injected, let enqueued work finish, and start anew with this seed.
 * What a program still holds goes on working, but is reported on no more. */
CUDASIM_EXPORT void cudasim_reset(uint64_t seed);

/* Wait this long before each operation, at random in [min, max]; streams that are being starved
 * wait `starvation` times as long. With max 0 a worker only yields. */
CUDASIM_EXPORT void cudasim_set_delay(uint64_t min_us, uint64_t max_us, unsigned starvation);

/* How long an operation is kept back unless the host waits for it. */
CUDASIM_EXPORT void cudasim_set_hold(uint64_t hold_us);

CUDASIM_EXPORT void cudasim_set_memory(uint64_t bytes);

/* Whether the device shares the host's memory; also the variable CUDASIM_INTEGRATED. */
CUDASIM_EXPORT void cudasim_set_integrated(int integrated);

/* Make the nth next call of an entry point fail with `code`, once or from then on. */
CUDASIM_EXPORT void cudasim_fail_call(const char *name, uint64_t nth, int code, int repeats);

/* Make the nth next device operation fail when it runs. Its context is dead from then on. */
CUDASIM_EXPORT void cudasim_fail_operation(uint64_t nth, int code);

/* Make every call that needs the device fail with `code`; 0 brings it back, its contexts dead. */
CUDASIM_EXPORT void cudasim_lose_device(int code);

/* Stop all streams, or let them go on. */
CUDASIM_EXPORT void cudasim_hang(int hangs);

/* Report something a stand-in for a library saw. */
CUDASIM_EXPORT void cudasim_violation(const char *kind, const char *text);

/* Violations, live objects, operations executed and calls, as JSON. */
CUDASIM_EXPORT const char *cudasim_report(void);

typedef int (*cudasim_kernel)(void *user_data); /* returns a CUresult; not 0 kills the context */
typedef struct {
    uint64_t address;
    uint64_t bytes;
    int32_t writes;
    int32_t reserved;
} cudasim_access;

/* Enqueue, or capture, host code that plays a kernel, declaring the memory it works on. */
CUDASIM_EXPORT CUresult cudasim_launch_kernel(CUstream stream, const char *name,
                                              cudasim_kernel kernel, void *user_data,
                                              const cudasim_access *accesses, size_t count);

#ifdef __cplusplus
}
#endif
