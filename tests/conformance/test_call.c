/*
 * The call path, from stub to handler and back, against a real broker and services in processes of
 * their own. Run once for each wait backend.
 */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.parley.h"
#include "support/bus.h"
#include "wait/wait.h"

static struct bus bus;

/* ---- The service ---- */

struct later {
    Echo__V1__Message_Closure closure;
    void *data;
    uint32_t number;
};
static struct later later[64];
static size_t later_count;

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

/* A message that is of another type, whatever it looks like. */
static const ProtobufCMessageDescriptor *other_type(void)
{
    static ProtobufCMessageDescriptor other;
    other = echo__v1__message__descriptor;
    other.name = "echo.v1.Other";
    return &other;
}

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    answer_later_calls();
    Echo__V1__Message other = *input;
    if (strcmp(input->text, "answer with another type") == 0) {
        other.base.descriptor = other_type();
        input = &other;
    }
    closure(input, data);
}

static void handle_fail(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    parley_context_fail(parley_context_current(), (enum parley_status)input->number, input->text);
    closure(NULL, data);
}

static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
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

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    (void)closure;
    (void)data;
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

static struct parley_endpoint *served;

static void stop(int signal)
{
    (void)signal;
    parley_stop(served);
}

static int serve(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .echo = handle_echo,
        .fail = handle_fail,
        .later = handle_later,
        .context = handle_context,
        .never = handle_never,
        .die = handle_die,
        .die_once = handle_die_once,
    };
    (void)argument;
    served = bus_endpoint(b, "echo");
    signal(SIGTERM, stop);
    struct parley_service *published;
    if (parley_service_new(served, &echo__v1__echo__interface, &service.base, NULL, &published) !=
        PARLEY_OK)
        return 2;
    int r = parley_run(served) == PARLEY_OK && parley_service_drained(published) ? 0 : 3;
    parley_endpoint_free(served);
    return r;
}

/* ---- The client ---- */

static struct parley_endpoint *endpoint;
static struct parley_client *client;

static void connect_client(size_t instances)
{
    /* 60 MB there and back, by TLS and with the machine busy, may take more than a call has. */
    const struct parley_client_options patient = {.timeout_ns = 60000000000};
    endpoint = bus_endpoint(&bus, "test");
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &patient, &client),
                     PARLEY_OK);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, instances),
                     instances);
}

static int setup(void **state)
{
    (void)state;
    bus_start(&bus);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    client = NULL;
    bus_stop(&bus);
    return 0;
}

static void echo(const void *payload, size_t bytes)
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

static void test_a_call_is_answered(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    echo("hello", 5);
    echo("", 0);
}

static void test_sizes_around_every_limit_cross_unharmed(void **state)
{
    (void)state;
    if (strncmp(bus.url, "tls", 3) == 0) {
        printf("skipped over TLS: 64 MiB may take longer there than a call has\n");
        skip();
    }
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    static const size_t sizes[] = {1,    15,    16,    31,     32,      33,      63,      64,
                                   127,  128,   1000,  4000,   4030,    4040,    4050,    4064,
                                   8191, 65536, 70000, 300000, 1000000, 5000000, 20000000};
    uint8_t *payload = malloc(20000000);
    for (size_t i = 0; i < 20000000; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            echo(payload, sizes[i]);
    }
    free(payload);
}

static void test_many_calls_wrap_the_ring_many_times(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    uint8_t payload[600];
    memset(payload, 'x', sizeof(payload));
    for (size_t i = 0; i < 20000; i++)
        echo(payload, i % sizeof(payload));
}

static void test_a_request_over_64_MiB_is_refused_here(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.len = (64u << 20) + 1;
    request.payload.data = calloc(1, request.payload.len);
    Echo__V1__Message *reply;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    free(request.payload.data);
    echo("still here", 10);
}

static void refused_closure(const Echo__V1__Message *reply, void *data)
{
    const struct parley_call *call = parley_call_current();
    assert_null(reply);
    assert_int_equal(call->status, PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call->executed, PARLEY_EXECUTED_NO);
    *(bool *)data = true;
}

static void test_a_message_of_another_type_is_not_sent(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply;
    struct parley_call call = {0};
    request.base.descriptor = other_type();
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(call.error, "the request is not of the method's type"));
    bool refused = false;
    echo__v1__echo__echo(parley_client_service(client), &request, refused_closure, &refused);
    assert_true(refused);

    request.base.descriptor = &echo__v1__message__descriptor;
    request.text = (char *)"answer with another type";
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call), PARLEY_INTERNAL);
    assert_int_equal(call.executed, PARLEY_EXECUTED_YES);
    assert_non_null(strstr(call.error, "the reply is not of the method's type"));
    echo("still here", 10);
}

static void test_a_handler_fails_with_status_and_sentence(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    for (uint32_t status = 1; status < PARLEY_STATUS_COUNT; status++) {
        if (status == PARLEY_UNAVAILABLE)
            continue; /* it was executed, so it is not retried: below */
        request.number = status;
        request.text = (char *)"no such thing";
        assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call), status);
        assert_int_equal(call.executed, PARLEY_EXECUTED_YES);
        assert_non_null(strstr(call.error, "no such thing"));
        assert_non_null(strstr(parley_error_text(), "no such thing"));
    }
    request.number = PARLEY_UNAVAILABLE;
    assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call),
                     PARLEY_UNAVAILABLE);
    assert_int_equal(call.attempts, 1);
    request.number = 99;
    assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call), PARLEY_UNKNOWN);
    assert_null(reply);
}

static void test_metadata_and_identity_reach_the_handler(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.text = (char *)"gray.mark";
    struct parley_metadata metadata[] = {{"gray.user.id", "ada", 3}, {"gray.mark", "00-1", 4}};
    struct parley_call call = {.metadata = metadata, .metadata_count = 2};
    Echo__V1__Message *reply;
    assert_int_equal(echo__v1__echo__context_call(client, &request, &reply, &call), PARLEY_OK);
    assert_string_equal(reply->text, "00-1");
    if (!bus.url[0]) { /* else it is the broker that calls, and nobody whom the kernel knows */
        assert_int_equal(reply->payload.len, 5);
        assert_memory_equal(reply->payload.data, "1.0.0", 5);
        assert_int_equal(reply->number, getpid());
    }
    parley_reply_free(reply);

    metadata[0].key = "Bad Key";
    assert_int_equal(echo__v1__echo__context_call(client, &request, &reply, &call),
                     PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
}

static void test_a_deadline_ends_a_call_that_is_not_answered(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {.timeout_ns = 20000000};
    assert_int_equal(echo__v1__echo__never_call(client, &request, &reply, &call),
                     PARLEY_DEADLINE_EXCEEDED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
    echo("still here", 10);
}

/* ---- Calls in flight ---- */

struct tally {
    size_t ended, ok, failed;
    uint32_t last;
    enum parley_executed executed;
    enum parley_status status;
};

static void count(const Echo__V1__Message *message, void *data)
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

static void await_tally(struct tally *tally, size_t ended)
{
    for (int i = 0; i < 50000 && tally->ended < ended; i++)
        assert_int_equal(parley_dispatch(endpoint, 2000000), PARLEY_OK);
    assert_int_equal(tally->ended, ended);
}

static void test_generated_client_functions_call_without_waiting(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (uint32_t i = 0; i < 2000; i++) {
        request.number = i;
        echo__v1__echo__echo(parley_client_service(client), &request, count, &tally);
    }
    await_tally(&tally, 2000);
    assert_int_equal(tally.ok, 2000);
    assert_int_equal(tally.last, 1999);
}

static void test_large_calls_in_flight_wait_for_room(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.len = 200000;
    request.payload.data = calloc(1, request.payload.len);
    for (uint32_t i = 0; i < 300; i++)
        echo__v1__echo__echo(parley_client_service(client), &request, count, &tally);
    await_tally(&tally, 300);
    assert_int_equal(tally.ok, 300);
    free(request.payload.data);
}

static void test_a_handler_may_answer_later_and_out_of_order(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.number = 1;
    echo__v1__echo__later(parley_client_service(client), &request, count, &tally);
    echo("first", 5);
    assert_int_equal(tally.ended, 0);
    echo("second", 6);
    await_tally(&tally, 1);
    assert_int_equal(tally.last, 1000);
}

static void test_freeing_a_client_cancels_its_calls(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (int i = 0; i < 3; i++)
        echo__v1__echo__never(parley_client_service(client), &request, count, &tally);
    client = parley_client_free(client);
    assert_int_equal(tally.ended, 3);
    assert_int_equal(tally.status, PARLEY_CANCELLED);
}

static struct parley_client *freed_inside;
static void free_client(const Echo__V1__Message *message, void *data)
{
    count(message, data);
    freed_inside = parley_client_free(freed_inside);
}

static void test_a_closure_may_free_its_client(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    freed_inside = client;
    echo__v1__echo__echo(parley_client_service(client), &request, free_client, &tally);
    echo__v1__echo__never(parley_client_service(client), &request, count, &tally);
    client = NULL;
    await_tally(&tally, 2);
    assert_int_equal(tally.ok, 1);
    assert_int_equal(tally.status, PARLEY_CANCELLED);
}

static void call_again(const Echo__V1__Message *message, void *data)
{
    count(message, data);
    echo("from a closure", 14);
}

static void test_a_closure_may_call_and_wait(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    echo__v1__echo__echo(parley_client_service(client), &request, call_again, &tally);
    await_tally(&tally, 1);
    assert_int_equal(tally.ok, 1);
}

/* A service that keeps a call whose caller leaves, frees itself, and answers then. */
static int serve_and_answer_too_late(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .echo = handle_echo,
        .later = handle_later,
    };
    (void)argument;
    served = bus_endpoint(b, "echo");
    signal(SIGTERM, stop);
    struct parley_service *published;
    if (parley_service_new(served, &echo__v1__echo__interface, &service.base, NULL, &published) !=
        PARLEY_OK)
        return 2;
    while (parley_dispatch(served, 100000000) == PARLEY_OK)
        ;
    if (later_count != 2)
        return 4;
    parley_service_free(published);
    later[0].closure(NULL, later[0].data);
    parley_endpoint_free(served);
    later[1].closure(NULL, later[1].data);
    return 0;
}

static void test_a_handler_may_answer_after_caller_and_service_are_gone(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve_and_answer_too_late, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct tally tally = {0};
    request.number = 1000;
    echo__v1__echo__later(parley_client_service(client), &request, count, &tally);
    echo__v1__echo__later(parley_client_service(client), &request, count, &tally);
    echo("both were taken", 15);
    client = parley_client_free(client);
    assert_int_equal(tally.ended, 2);
    kill(pid, SIGTERM);
    assert_int_equal(bus_reap(&bus, pid), 0);
}

/* ---- Death and drain ---- */

static void test_a_service_that_dies_ends_its_calls_at_once(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve, NULL);
    connect_client(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {.timeout_ns = 60000000000};
    assert_int_equal(echo__v1__echo__die_call(client, &request, &reply, &call), PARLEY_UNAVAILABLE);
    assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
    assert_int_equal(call.attempts, 1);
    assert_int_equal(bus_reap(&bus, pid), -SIGKILL);
}

static void test_an_idempotent_call_goes_to_another_instance(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof(path), "%s/died", bus.dir);
    bus_fork(&bus, serve, NULL);
    bus_fork(&bus, serve, NULL);
    connect_client(2);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.text = path;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__die_once_call(client, &request, &reply, &call), PARLEY_OK);
    /* By NNG it is the broker that tries again. */
    assert_int_equal(call.attempts, bus.url[0] ? 1 : 2);
    parley_reply_free(reply);
    unlink(path);
}

static void test_what_a_stopped_service_never_took_was_not_executed(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve, NULL);
    connect_client(1);
    kill(pid, SIGSTOP);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    echo__v1__echo__die(parley_client_service(client), &request, count, &tally);
    kill(pid, SIGKILL);
    assert_int_equal(bus_reap(&bus, pid), -SIGKILL);
    await_tally(&tally, 1);
    assert_int_equal(tally.status, PARLEY_UNAVAILABLE);
    assert_int_equal(tally.executed, PARLEY_EXECUTED_NO);
}

static void test_an_instance_that_never_answers_holds_up_nobody(void **state)
{
    (void)state;
    if (bus_is_remote("it is the broker that attaches to instances"))
        skip();
    pid_t stopped = bus_fork(&bus, serve, NULL);
    connect_client(1);
    client = parley_client_free(client);
    kill(stopped, SIGSTOP);
    struct parley_client_options options = {.wait_ns = 100000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_UNAVAILABLE);
    bus_fork(&bus, serve, NULL);
    options.wait_ns = 10000000000;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_OK);
    echo("the other one", 13);
    kill(stopped, SIGCONT);
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 2; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), 2);
}

#define LAST_WORDS 40

/* Answers all that it has kept, and leaves without another turn. */
static int serve_last_words(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .later = handle_later,
    };
    (void)argument;
    served = bus_endpoint(b, "echo");
    struct parley_service *published;
    if (parley_service_new(served, &echo__v1__echo__interface, &service.base, NULL, &published) !=
        PARLEY_OK)
        return 2;
    while (later_count < LAST_WORDS) {
        if (parley_dispatch(served, UINT64_C(1000000000)) != PARLEY_OK)
            return 3;
    }
    const Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    for (size_t i = 0; i < LAST_WORDS; i++)
        later[i].closure(&reply, later[i].data);
    parley_endpoint_free(served);
    return 0;
}

static void test_what_a_service_answered_before_it_left_is_heard(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve_last_words, NULL);
    connect_client(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (size_t i = 0; i < LAST_WORDS; i++)
        echo__v1__echo__later(parley_client_service(client), &request, count, &tally);
    await_tally(&tally, LAST_WORDS);
    assert_int_equal(tally.ok, LAST_WORDS);
    assert_int_equal(bus_reap(&bus, pid), 0);
}

static void test_a_service_that_stops_loses_no_call(void **state)
{
    (void)state;
    pid_t first = bus_fork(&bus, serve, NULL);
    bus_fork(&bus, serve, NULL);
    connect_client(2);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    size_t sent = 0;
    for (int i = 0; i < 200; i++) {
        for (int j = 0; j < 20; j++, sent++)
            echo__v1__echo__echo(parley_client_service(client), &request, count, &tally);
        if (i == 50)
            kill(first, SIGTERM);
        assert_int_equal(parley_dispatch(endpoint, 200000), PARLEY_OK);
    }
    await_tally(&tally, sent);
    if (tally.ok != sent)
        fail_msg("%zu of %zu calls; one ended with status %d, executed %d", (size_t)tally.ok, sent,
                 (int)tally.status, (int)tally.executed);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, 1), 1);
    /* Our BYE may still be on its way: the service drains while we dispatch. */
    assert_int_equal(bus_reap(&bus, first), 0);
    echo("still here", 10);
}

static void test_the_last_instance_gone_fails_calls_with_a_sentence(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve, NULL);
    connect_client(1);
    kill(pid, SIGKILL);
    bus_reap(&bus, pid);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_UNAVAILABLE);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(call.error, "no instance"));
    /* and one that comes up later serves it */
    bus_fork(&bus, serve, NULL);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, 1), 1);
    echo("back", 4);
}

/* ---- The broker ---- */

static void test_calls_go_on_while_the_broker_is_away(void **state)
{
    (void)state;
    if (bus_is_remote("calls go through the broker"))
        skip();
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    for (int round = 0; round < 3; round++) {
        bus_broker_kill(&bus);
        for (int i = 0; i < 500; i++)
            echo("no broker", 9);
        /* The kernel may take a while to close what a killed process had open. */
        for (int i = 0; i < 1000000 && parley_connected(endpoint); i++)
            echo("no broker", 9);
        assert_false(parley_connected(endpoint));
        echo("no broker", 9);
        bus_broker_start(&bus);
        for (int i = 0; i < 5000 && !parley_connected(endpoint); i++)
            parley_dispatch(endpoint, 2000000);
        assert_true(parley_connected(endpoint));
        echo("again", 5);
        assert_int_equal(parley_client_channel_count(client), 1);
    }
    /* The new broker knows the old service: a new client finds it. */
    struct parley_client *second;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, NULL, &second),
                     PARLEY_OK);
}

static void test_no_broker_is_a_clear_error(void **state)
{
    (void)state;
    struct parley_endpoint_options options = {.broker = "/nowhere/parleyd.sock",
                                              .connect_timeout_ns = 50000000};
    struct parley_endpoint *none = NULL;
    assert_int_equal(parley_endpoint_new(&options, &none), PARLEY_UNAVAILABLE);
    assert_null(none);
    assert_non_null(strstr(parley_error_text(), "/nowhere/parleyd.sock"));
    assert_non_null(strstr(parley_error_text(), "parleyd"));
}

static void test_nothing_published_is_a_clear_error(void **state)
{
    (void)state;
    endpoint = bus_endpoint(&bus, "test");
    struct parley_client_options options = {.wait_ns = 50000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_UNAVAILABLE);
    assert_non_null(strstr(parley_error_text(), "echo"));
}

static void test_no_acceptable_version_names_those_on_offer(void **state)
{
    (void)state;
    bus_fork(&bus, serve, NULL);
    connect_client(1);
    struct parley_client_options options = {.accept = "^3"};
    struct parley_client *none;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &none),
                     PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(parley_error_text(), "1.0.0"));
    options.accept = "not a range";
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &none),
                     PARLEY_INVALID_ARGUMENT);
}

static void test_a_client_waits_for_a_service_that_starts_later(void **state)
{
    (void)state;
    endpoint = bus_endpoint(&bus, "test");
    bus_fork(&bus, serve, NULL);
    struct parley_client_options options = {.wait_ns = 10000000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_OK);
    echo("there", 5);
}

#define call_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        call_test(test_a_call_is_answered),
        call_test(test_sizes_around_every_limit_cross_unharmed),
        call_test(test_many_calls_wrap_the_ring_many_times),
        call_test(test_a_request_over_64_MiB_is_refused_here),
        call_test(test_a_message_of_another_type_is_not_sent),
        call_test(test_a_handler_fails_with_status_and_sentence),
        call_test(test_metadata_and_identity_reach_the_handler),
        call_test(test_a_deadline_ends_a_call_that_is_not_answered),
        call_test(test_generated_client_functions_call_without_waiting),
        call_test(test_large_calls_in_flight_wait_for_room),
        call_test(test_a_handler_may_answer_later_and_out_of_order),
        call_test(test_freeing_a_client_cancels_its_calls),
        call_test(test_a_closure_may_free_its_client),
        call_test(test_a_closure_may_call_and_wait),
        call_test(test_a_handler_may_answer_after_caller_and_service_are_gone),
        call_test(test_a_service_that_dies_ends_its_calls_at_once),
        call_test(test_an_idempotent_call_goes_to_another_instance),
        call_test(test_what_a_stopped_service_never_took_was_not_executed),
        call_test(test_an_instance_that_never_answers_holds_up_nobody),
        call_test(test_what_a_service_answered_before_it_left_is_heard),
        call_test(test_a_service_that_stops_loses_no_call),
        call_test(test_the_last_instance_gone_fails_calls_with_a_sentence),
        call_test(test_calls_go_on_while_the_broker_is_away),
        call_test(test_no_broker_is_a_clear_error),
        call_test(test_nothing_published_is_a_clear_error),
        call_test(test_no_acceptable_version_names_those_on_offer),
        call_test(test_a_client_waits_for_a_service_that_starts_later),
    };
    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
