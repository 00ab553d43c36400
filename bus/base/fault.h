/*
 * Which statuses speak against who serves, and not against who asks: OpenTelemetry's list for gRPC.
 * What is counted as an error wherever calls are compared, shown, or judged.
 */
#ifndef PARLEY_BASE_FAULT_H
#define PARLEY_BASE_FAULT_H

#include <parley/status.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool status_is_fault(unsigned status)
{
    const uint32_t faults = 1u << PARLEY_UNKNOWN | 1u << PARLEY_DEADLINE_EXCEEDED |
                            1u << PARLEY_UNIMPLEMENTED | 1u << PARLEY_INTERNAL |
                            1u << PARLEY_UNAVAILABLE | 1u << PARLEY_DATA_LOSS;
    return status < 32 && (faults >> status & 1);
}

#endif
