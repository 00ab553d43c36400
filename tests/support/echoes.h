/* Handlers of the echo interface that several tests' services have. */
#ifndef PARLEY_TESTS_SUPPORT_ECHOES_H
#define PARLEY_TESTS_SUPPORT_ECHOES_H

#include "echo.parley.h"
#include "parley/parley.h"

/* A service with these methods, as initializer: ECHO_SERVICE(.echo = echo_returned). */
#define ECHO_SERVICE(...)                                                                          \
    {                                                                                              \
        .base = {.descriptor = &echo__v1__echo__descriptor,                                        \
                 .invoke = protobuf_c_service_invoke_internal},                                    \
        __VA_ARGS__                                                                                \
    }

/* The request, back. */
void echo_returned(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                   Echo__V1__Message_Closure closure, void *data);
/* The status that is the request's number, with its text. */
void echo_failed(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                 Echo__V1__Message_Closure closure, void *data);
/* Nothing, ever. */
void echo_unanswered(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                     Echo__V1__Message_Closure closure, void *data);
/* As payload, the metadata that the request's text names. */
void echo_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                  Echo__V1__Message_Closure closure, void *data);

/* Serves 1.0.0 with these, and with @never for Never; what is under way at the end is waited for
 * shortly. */
enum parley_status echo_serve(struct parley_endpoint *endpoint,
                              void (*never)(Echo__V1__Echo_Service *service,
                                            const Echo__V1__Message *input,
                                            Echo__V1__Message_Closure closure, void *data));

#endif
