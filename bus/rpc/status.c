/*
 * Statuses as people see them: names, and this thread's last sentence.
 *
 * The public functions return an enum parley_status; what they have to say beside it is kept for
 * the thread, as dlerror() does, so that a program can print it without passing a buffer about.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"

static _Thread_local struct error_text last_error;

static const char *const status_names[PARLEY_STATUS_COUNT] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *parley_status_name(enum parley_status status)
{
    if ((unsigned)status < PARLEY_STATUS_COUNT)
        return status_names[status];
    static _Thread_local char other[32];
    (void)snprintf(other, sizeof(other), "STATUS_%u", (unsigned)status);
    return other;
}

const char *parley_executed_name(enum parley_executed executed)
{
    switch (executed) {
    case PARLEY_EXECUTED_NO:
        return "no";
    case PARLEY_EXECUTED_YES:
        return "yes";
    case PARLEY_EXECUTED_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *parley_error_text(void)
{
    return last_error.text;
}

enum parley_status status_fail(enum parley_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(last_error.text, sizeof(last_error.text), format, args);
    va_end(args);
    log_debug("%s: %s", parley_status_name(status), last_error.text);
    return status;
}

enum parley_status status_forked(void)
{
    return status_fail(
        PARLEY_FAILED_PRECONDITION,
        "the endpoint belongs to the process that forked this one: free it here, and "
        "make another with parley_endpoint_new()");
}

enum parley_status status_from_errno(int code)
{
    switch (-code) {
    case 0:
        return PARLEY_OK;
    case EACCES:
    case EPERM:
        return PARLEY_PERMISSION_DENIED;
    case EINVAL:
    case EBADMSG:
        return PARLEY_INVALID_ARGUMENT;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case E2BIG:
    case EMSGSIZE:
    case ENOBUFS:
        return PARLEY_RESOURCE_EXHAUSTED;
    case ERANGE:
        return PARLEY_OUT_OF_RANGE;
    case ENOENT:
    case ECONNREFUSED:
    case EPIPE:
    case ECONNRESET:
    case EAGAIN:
        return PARLEY_UNAVAILABLE;
    case EPROTO:
    case ENOSYS:
    case ESTALE:
        return PARLEY_FAILED_PRECONDITION;
    default:
        return PARLEY_INTERNAL;
    }
}
