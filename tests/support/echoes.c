#include "support/echoes.h"

void echo_returned(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                   Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

void echo_failed(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                 Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    parley_context_fail(parley_context_current(), (enum parley_status)input->number, input->text);
    closure(NULL, data);
}

void echo_unanswered(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                     Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    (void)closure;
    (void)data;
}

void echo_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                  Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    size_t bytes = 0;
    const char *value = parley_context_metadata(parley_context_current(), input->text, &bytes);
    Echo__V1__Message output = ECHO__V1__MESSAGE__INIT;
    output.payload.data = (uint8_t *)(uintptr_t)value;
    output.payload.len = value ? bytes : 0;
    closure(&output, data);
}

enum parley_status echo_serve(struct parley_endpoint *endpoint,
                              void (*never)(Echo__V1__Echo_Service *service,
                                            const Echo__V1__Message *input,
                                            Echo__V1__Message_Closure closure, void *data))
{
    static Echo__V1__Echo_Service echo =
        ECHO_SERVICE(.echo = echo_returned, .fail = echo_failed, .context = echo_context);
    const struct parley_service_options quick = {.drain_timeout_ns = 1000000};
    struct parley_service *service;
    echo.never = never;
    return parley_service_new(endpoint, &echo__v1__echo__interface, &echo.base, &quick, &service);
}
