/*
 * POST /call/INTERFACE/METHOD: calls by HTTP, as users of grpc-gateway expect them.
 */
#ifndef PARLEY_BROKER_CALL_HTTP_H
#define PARLEY_BROKER_CALL_HTTP_H

#include "base/error.h"
#include "parley/status.h"

struct broker;

#define CALL_HTTP_PATH "/call" /* of which requests may be larger */
/* The longest that one may take, in ns, and what a connection has, which is more. */
#define CALL_HTTP_TIMEOUT_NS_MAX (UINT64_C(30) * 1000000000)
#define CALL_HTTP_LIFE_NS (UINT64_C(35) * 1000000000)

/* Makes broker->http answer. Return: 0; -ENOSPC. */
int call_http_open(struct broker *broker);

/* grpc-gateway's HTTPStatusFromCode(). */
unsigned call_http_status(enum parley_status status);

#endif
