/*
 * What a public function returns, and the sentence that goes with it (status.c).
 */
#ifndef PARLEY_RPC_STATUS_H
#define PARLEY_RPC_STATUS_H

#include <parley/status.h>
#include <stdbool.h>
#include <stdint.h>

/* Sets this thread's parley_error_text() and returns @status. */
enum parley_status status_fail(enum parley_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum parley_status status_from_errno(int code);
/* Whether it speaks against who serves, and not against who asks: OpenTelemetry's list for gRPC. */
static inline bool status_is_fault(enum parley_status status)
{
    const uint32_t faults = 1u << PARLEY_UNKNOWN | 1u << PARLEY_DEADLINE_EXCEEDED |
                            1u << PARLEY_UNIMPLEMENTED | 1u << PARLEY_INTERNAL |
                            1u << PARLEY_UNAVAILABLE | 1u << PARLEY_DATA_LOSS;
    return (unsigned)status < 32 && (faults >> status & 1);
}

#endif
