/* The service and the client of the call path's tests. */
#include "conformance/calls.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "support/echoes.h"

struct bus bus;

/* ---- The service ---- */

struct later later[LATER_MAX];
size_t later_count;

static void answer_later_calls(void)
{
    for (size_t i = 0; i < later_count; i++) {
        if (later[i].number-- > 0)
            continue;
        Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
        reply.number = 1000;
        later[i].closure(&reply, later[i].data);
        later[i--] = later[--later_count];
    }
}

const ProtobufCMessageDescriptor *calls_other_type(void)
{
    static ProtobufCMessageDescriptor other;
    other = echo__v1__message__descriptor;
    other.name = "echo.v1.Other";
    return &other;
}

void calls_handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                       Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    answer_later_calls();
    Echo__V1__Message other = *input;
    if (strcmp(input->text, "answer with another type") == 0) {
        other.base.descriptor = calls_other_type();
        input = &other;
    }
    closure(input, data);
}

void calls_handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    later[later_count++] = (struct later){closure, data, input->number};
}

static void handle_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    struct parley_context *context = parley_context_current();
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    size_t bytes = 0;
    const char *value = parley_context_metadata(context, input->text, &bytes);
    char text[256] = "";
    if (value)
        memcpy(text, value, bytes < sizeof(text) ? bytes : sizeof(text) - 1);
    reply.text = text;
    const char *version = parley_context_client_version(context);
    reply.payload.data = (uint8_t *)(uintptr_t)version;
    reply.payload.len = strlen(version);
    struct parley_peer peer;
    parley_context_peer(context, &peer);
    reply.number = (uint32_t)peer.pid;
    closure(&reply, data);
}

static void handle_die(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                       Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    (void)closure;
    (void)data;
    raise(SIGKILL);
}

static void handle_die_once(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                            Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    int fd = open(input->text, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd >= 0)
        raise(SIGKILL);
    closure(input, data);
}

struct parley_endpoint *served;

static void calls_stop(int signal)
{
    (void)signal;
    parley_stop(served);
}

struct parley_service *calls_publish(struct bus *b, ProtobufCService *service)
{
    struct parley_service *published;
    served = bus_endpoint(b, "echo");
    signal(SIGTERM, calls_stop);
    if (parley_service_new(served, &echo__v1__echo__interface, service, NULL, &published) !=
        PARLEY_OK)
        return NULL;
    return published;
}

int calls_serve(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service =
        ECHO_SERVICE(.echo = calls_handle_echo, .fail = echo_failed, .later = calls_handle_later,
                     .context = handle_context, .never = echo_unanswered, .die = handle_die,
                     .die_once = handle_die_once);
    (void)argument;
    struct parley_service *published = calls_publish(b, &service.base);
    if (!published)
        return 2;
    int r = parley_run(served) == PARLEY_OK && parley_service_drained(published) ? 0 : 3;
    parley_endpoint_free(served);
    return r;
}

/* ---- The client ---- */

struct parley_endpoint *endpoint;
struct parley_client *client;

void calls_connect(size_t instances)
{
    /* 60 MB there and back, by TLS and with the machine busy, may take more than a call has. */
    const struct parley_client_options patient = {.timeout_ns = 60000000000};
    endpoint = bus_endpoint(&bus, "test");
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &patient, &client),
                     PARLEY_OK);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, instances),
                     instances);
}

int calls_set_up(void **state)
{
    (void)state;
    bus_start(&bus);
    return 0;
}

int calls_tear_down(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    client = NULL;
    bus_stop(&bus);
    return 0;
}

void calls_echo(const void *payload, size_t bytes)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.data = (uint8_t *)(uintptr_t)payload;
    request.payload.len = bytes;
    request.number = 7;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    enum parley_status status = echo__v1__echo__echo_call(client, &request, &reply, &call);
    if (status != PARLEY_OK)
        print_error("%s\n", parley_error_text());
    assert_int_equal(status, PARLEY_OK);
    assert_int_equal(call.executed, PARLEY_EXECUTED_YES);
    assert_string_equal(call.version, "1.0.0");
    assert_false(call.translated);
    assert_int_equal(reply->number, 7);
    assert_int_equal(reply->payload.len, bytes);
    assert_memory_equal(reply->payload.data, payload, bytes);
    parley_reply_free(reply);
}

void calls_count(const Echo__V1__Message *message, void *data)
{
    struct tally *tally = data;
    tally->ended++;
    if (message) {
        tally->ok++;
        tally->last = message->number;
    } else {
        tally->failed++;
        tally->status = parley_call_current()->status;
        tally->executed = parley_call_current()->executed;
    }
}

void calls_await(struct tally *tally, size_t ended)
{
    for (int i = 0; i < 50000 && tally->ended < ended; i++)
        assert_int_equal(parley_dispatch(endpoint, 2000000), PARLEY_OK);
    assert_int_equal(tally->ended, ended);
}
