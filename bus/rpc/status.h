/*
 * What a public function returns, and the sentence that goes with it (status.c).
 */
#ifndef PARLEY_RPC_STATUS_H
#define PARLEY_RPC_STATUS_H

#include <parley/status.h>

/* Sets this thread's parley_error_text() and returns @status. */
enum parley_status status_fail(enum parley_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum parley_status status_from_errno(int code);

#endif
