/*
 * How a call ends: gRPC's canonical status codes, and whether the call was executed.
 */
#ifndef PARLEY_STATUS_H
#define PARLEY_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PARLEY_API __attribute__((visibility("default")))
#else
#define PARLEY_API
#endif

/* The codes, numbers and meanings of gRPC (grpc.io/docs/guides/status-codes). */
enum parley_status {
    PARLEY_OK = 0,
    PARLEY_CANCELLED = 1,
    PARLEY_UNKNOWN = 2,
    PARLEY_INVALID_ARGUMENT = 3,
    PARLEY_DEADLINE_EXCEEDED = 4,
    PARLEY_NOT_FOUND = 5,
    PARLEY_ALREADY_EXISTS = 6,
    PARLEY_PERMISSION_DENIED = 7,
    PARLEY_RESOURCE_EXHAUSTED = 8,
    PARLEY_FAILED_PRECONDITION = 9,
    PARLEY_ABORTED = 10,
    PARLEY_OUT_OF_RANGE = 11,
    PARLEY_UNIMPLEMENTED = 12,
    PARLEY_INTERNAL = 13,
    PARLEY_UNAVAILABLE = 14,
    PARLEY_DATA_LOSS = 15,
    PARLEY_UNAUTHENTICATED = 16,
};
#define PARLEY_STATUS_COUNT 17

/* Whether the handler ran. */
enum parley_executed {
    PARLEY_EXECUTED_NO = 0,      /* never taken from the channel: safe to call again */
    PARLEY_EXECUTED_YES = 1,     /* the handler answered */
    PARLEY_EXECUTED_UNKNOWN = 2, /* the service died, or the deadline passed, holding it */
};

/* "OK", "CANCELLED", ...; "STATUS_17" and the like for a number that is no status. Static memory. */
PARLEY_API const char *parley_status_name(enum parley_status status);
/* "no", "yes", "unknown". */
PARLEY_API const char *parley_executed_name(enum parley_executed executed);

/**
 * parley_error_text() - what went wrong, for a person
 *
 * Return: a sentence on the last call of this library in this thread that did not return
 * PARLEY_OK; what happened, to what, and what to do. Valid until this thread's next call.
 */
PARLEY_API const char *parley_error_text(void);

#ifdef __cplusplus
}
#endif
#endif
