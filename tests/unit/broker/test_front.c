/*
 * The bus URL: the broker in a thread, services in others, and askers that speak SP by themselves,
 * so that they can do what no NNG library does.
 */
#include "support/test.h"

#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/front.h"
#include "broker/metrics.h"
#include "control/bus_frame.h"
#include "echo.parley.h"
#include "parley/bus.pb-c.h"
#include "support/echoes.h"
#include "support/served.h"
#include "support/sp.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define TEXT(literal) ((struct bus_text){literal, sizeof(literal) - 1})

static char bus_url[112];
static _Atomic unsigned never_count, cancelled_count;
static struct quota_settings quota;
static const char *schemas; /* NULL: none */

/* ---- The bus ---- */

static struct front_counts counts(void)
{
    struct front_counts now;
    served_hold();
    front_counts(served.broker, &now);
    served_go();
    return now;
}

static int begin(void **state)
{
    (void)state;
    served_prepare();
    snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus.ipc", served.folder);
    const char *bus[] = {bus_url};
    const struct broker_options options = {
        .bus_urls = bus,
        .bus_url_count = 1,
        .quota = quota,
        .schemas = schemas,
    };
    atomic_store(&never_count, 0);
    atomic_store(&cancelled_count, 0);
    served_begin(&options);
    return 0;
}

/* Version 1 of ware lies in a folder. */
static char schema_folder[64], schema_file[96];

static int begin_with_schemas(void **state)
{
    strcpy(schema_folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(schema_folder));
    snprintf(schema_file, sizeof(schema_file), "%s/ware_v1.binpb", schema_folder);
    FILE *file = fopen(schema_file, "we");
    assert_non_null(file);
    const struct parley_interface *ware = &ware__v1__store__interface;
    assert_int_equal(fwrite(ware->descriptor_set, ware->descriptor_set_bytes, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    schemas = schema_folder;
    int r = begin(state);
    schemas = NULL;
    return r;
}

static int begin_with_few_calls(void **state)
{
    quota = (struct quota_settings){.calls = 4};
    int r = begin(state);
    quota = (struct quota_settings){0};
    return r;
}

/* ---- Services ---- */

struct never {
    struct parley_context *context;
    Echo__V1__Message_Closure closure;
    void *data;
};

/* Until nobody waits for it any more. */
static void on_cancel(struct parley_context *context, void *userdata)
{
    struct never *never = userdata;
    parley_context_fail(context, PARLEY_CANCELLED, "nobody waits");
    never->closure(NULL, never->data);
    free(never);
    atomic_fetch_add(&cancelled_count, 1);
}

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    struct never *never = malloc(sizeof(*never));
    assert_non_null(never);
    *never = (struct never){parley_context_current(), closure, data};
    atomic_fetch_add(&never_count, 1);
    parley_context_on_cancel(never->context, on_cancel, never);
}

static enum parley_status serve_echo(struct parley_endpoint *endpoint)
{
    static Echo__V1__Echo_Service echo = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .echo = echo_returned,
        .fail = echo_failed,
        .context = echo_context,
        .never = handle_never,
    };
    const struct parley_service_options quick = {.drain_timeout_ns = NS_PER_MS};
    struct parley_service *service;
    return parley_service_new(endpoint, &echo__v1__echo__interface, &echo.base, &quick, &service);
}

static void new__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                       Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V2__Ware reply = *input;
    reply.milligrams += 1000;
    closure(&reply, data);
}

static enum parley_status serve_ware(struct parley_endpoint *endpoint)
{
    static Ware__V2__Store_Service ware = WARE__V2__STORE__INIT(new__);
    struct parley_service *service;
    return ware__v2__store__serve(endpoint, &ware, NULL, &service);
}

static void old__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void old__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static enum parley_status serve_old_ware(struct parley_endpoint *endpoint)
{
    static Ware__V1__Store_Service ware = WARE__V1__STORE__INIT(old__);
    struct parley_service *service;
    return ware__v1__store__serve(endpoint, &ware, NULL, &service);
}

static const struct served_service echo_service = {"service", serve_echo, NULL};
static const struct served_service ware_service = {"service", serve_ware, NULL};
static const struct served_service old_ware_service = {"service", serve_old_ware, NULL};

static int end(void **state)
{
    (void)state;
    return served_end(); /* empty: nothing was left behind */
}

static int end_with_schemas(void **state)
{
    int r = end(state);
    return unlink(schema_file) == 0 && rmdir(schema_folder) == 0 ? r : -1;
}

/* ---- Askers ---- */

static struct sp *dial(void)
{
    struct sp *sp = sp_connect(bus_url);
    sp_send_hello(sp, SP_REQ);
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !sp_has_hello(sp);) {
        assert_true(clock_now_ns() < until && !sp->hung_up);
        struct pollfd poll_fd = {.fd = sp->fd, .events = POLLIN};
        (void)poll(&poll_fd, 1, 1000);
    }
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return sp;
}

/* An answer; its memory is until the next one. */
struct answer {
    uint8_t *data;
    uint32_t request;
    struct bus_frame frame;
    char text[1024];
};

static void hear(struct sp *sp, struct answer *answer)
{
    size_t bytes;
    free(answer->data);
    answer->data = NULL;
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !sp_has_message(sp);) {
        assert_true(clock_now_ns() < until && !sp->hung_up);
        struct pollfd poll_fd = {.fd = sp->fd, .events = POLLIN};
        (void)poll(&poll_fd, 1, 1000);
    }
    sp_take_message(sp, &answer->data, &bytes);
    assert_true(bytes >= 4);
    answer->request = (uint32_t)answer->data[1] << 16 | (uint32_t)answer->data[2] << 8 |
                      answer->data[3] | (uint32_t)(answer->data[0] & 0x7f) << 24;
    struct error_text error = {""};
    if (bus_frame_read(answer->data + 4, bytes - 4, &answer->frame, &error) < 0)
        fail_msg("an answer that is no frame: %s", error.text);
    assert_int_equal(answer->frame.header.kind, FRAME_RESPONSE);
    snprintf(answer->text, sizeof(answer->text), "%.*s",
             answer->frame.header.status ? (int)answer->frame.payload_bytes : 0,
             (const char *)answer->frame.payload);
}

static void heard(struct answer *answer)
{
    free(answer->data);
    answer->data = NULL;
}

static void say(struct sp *sp, uint32_t id, const struct bus_frame *frame, const void *payload)
{
    size_t head_bytes = bus_frame_head_bytes(frame);
    size_t bytes = head_bytes + frame->payload_bytes;
    uint8_t *message = malloc(bytes);
    assert_non_null(message);
    assert_int_equal(bus_frame_write(frame, message, head_bytes), 0);
    if (frame->payload_bytes)
        memcpy(message + head_bytes, payload, frame->payload_bytes);
    sp_ask(sp, id, message, bytes);
    free(message);
}

static void expect(struct sp *sp, struct answer *answer, uint64_t call_id,
                   enum parley_status status, const char *words)
{
    hear(sp, answer);
    if (answer->frame.header.status != (uint8_t)status)
        fail_msg("status %u instead of %d: %s", answer->frame.header.status, (int)status,
                 answer->text);
    assert_true(answer->frame.header.call_id == call_id);
    if (words && !strstr(answer->text, words))
        fail_msg("\"%s\" does not say \"%s\"", answer->text, words);
}

static struct bus_frame frame_of(const char *interface, const char *method, uint64_t call_id)
{
    return (struct bus_frame){
        .header = {.call_id = call_id, .method = BUS_FRAME_METHOD_BY_NAME, .kind = FRAME_REQUEST},
        .interface = {interface, strlen(interface)},
        .method = {method, strlen(method)},
    };
}

static size_t pack(uint32_t number, const char *text, uint8_t *out)
{
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.number = number;
    message.text = (char *)(uintptr_t)text;
    return echo__v1__message__pack(&message, out);
}

static bool text_is(const struct bus_text *text, const char *want)
{
    return text->text && text->bytes == strlen(want) && memcmp(text->text, want, text->bytes) == 0;
}

static void wait_for(const _Atomic unsigned *count, unsigned want)
{
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; atomic_load(count) < want;) {
        assert_true(clock_now_ns() < until);
        sched_yield();
    }
}

/* One more call is answered: nothing that came before has hurt. */
static void still_serves(struct sp *sp)
{
    struct answer answer = {0};
    struct bus_frame frame = frame_of("parley.bus", "Ping", 4711);
    say(sp, 4711, &frame, NULL);
    expect(sp, &answer, 4711, PARLEY_OK, NULL);
    heard(&answer);
}

/* ---- Calls ---- */

static void test_a_frame_is_answered_with_the_reply_and_who_served(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    uint8_t payload[64];
    struct bus_frame frame = frame_of("echo", "Echo", UINT64_C(0xfedcba9876543210));
    frame.payload_bytes = pack(42, "hello", payload);
    for (unsigned i = 0; i < 3; i++) { /* the first looks its target up */
        say(sp, 5 + i, &frame, payload);
        expect(sp, &answer, UINT64_C(0xfedcba9876543210), PARLEY_OK, NULL);
        assert_int_equal(answer.request, 5 + i);
        assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_YES);
        assert_true(text_is(&answer.frame.version, "1.0.0"));
        assert_true(text_is(&answer.frame.translation, "identity"));
        assert_int_equal(answer.frame.payload_bytes, frame.payload_bytes);
        assert_memory_equal(answer.frame.payload, payload, frame.payload_bytes);
    }
    heard(&answer);
    sp_free(sp);
}

static void test_a_method_can_be_named_by_its_number(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "", 1);
    frame.method.text = NULL;
    frame.header.method = 0;
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    frame.header.method = 7;
    say(sp, 2, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "has 7 methods");
    heard(&answer);
    sp_free(sp);
}

/* With the schema that its caller was built for: version 1 of ware. */
static void say_open(struct sp *sp, uint32_t id)
{
    Parley__Bus__V1__OpenRequest open = PARLEY__BUS__V1__OPEN_REQUEST__INIT;
    open.interface = (char *)(uintptr_t) "ware";
    open.has_descriptor_set = true;
    open.descriptor_set.data = (uint8_t *)(uintptr_t)ware__v1__store__interface.descriptor_set;
    open.descriptor_set.len = ware__v1__store__interface.descriptor_set_bytes;
    size_t bytes = parley__bus__v1__open_request__get_packed_size(&open);
    uint8_t *packed = malloc(bytes);
    assert_non_null(packed);
    struct bus_frame asked = frame_of("parley.bus", "Open", id);
    asked.payload_bytes = parley__bus__v1__open_request__pack(&open, packed);
    say(sp, id, &asked, packed);
    free(packed);
}

static void test_another_version_s_service_is_translated_for(void **state)
{
    (void)state;
    served_start(0, &old_ware_service);
    served_start(1, &ware_service);
    served_stop(0); /* its schema stays known */
    struct sp *sp = dial();
    struct answer answer = {0};
    Ware__V2__Ware ware = WARE__V2__WARE__INIT;
    uint8_t payload[64];
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    ware.title = (char *)(uintptr_t) "bolt";
    ware.milligrams = 5000;
    frame.payload_bytes = ware__v2__ware__pack(&ware, payload);
    say(sp, 1, &frame, payload);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    assert_true(text_is(&answer.frame.version, "2.0.0"));

    /* By a schema of its own. */
    say_open(sp, 2);
    expect(sp, &answer, 2, PARLEY_OK, NULL);
    Parley__Bus__V1__OpenReply *opened =
        parley__bus__v1__open_reply__unpack(NULL, answer.frame.payload_bytes, answer.frame.payload);
    assert_non_null(opened);
    assert_int_equal(opened->n_offer, 1);
    assert_string_equal(opened->offer[0]->version, "2.0.0");
    assert_int_equal(opened->transcript.len, 32);
    char digits[17];
    snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)opened->contract);
    parley__bus__v1__open_reply__free_unpacked(opened, NULL);

    Ware__V1__Ware old = WARE__V1__WARE__INIT;
    old.name = (char *)(uintptr_t) "nut";
    old.grams = 7;
    frame = frame_of("ware", "Weigh", 3);
    frame.interface.text = NULL;
    frame.contract = (struct bus_text){digits, 16};
    frame.payload_bytes = ware__v1__ware__pack(&old, payload);
    say(sp, 3, &frame, payload);
    expect(sp, &answer, 3, PARLEY_OK, NULL);
    assert_true(text_is(&answer.frame.version, "2.0.0"));
    assert_false(text_is(&answer.frame.translation, "identity"));
    Ware__V1__Ware *reply =
        ware__v1__ware__unpack(NULL, answer.frame.payload_bytes, answer.frame.payload);
    assert_non_null(reply);
    assert_string_equal(reply->name, "nut");
    assert_int_equal(reply->grams, 8);
    ware__v1__ware__free_unpacked(reply, NULL);

    /* With a range of the call's own. */
    frame.accept = TEXT("1");
    say(sp, 3, &frame, payload);
    expect(sp, &answer, 3, PARLEY_FAILED_PRECONDITION, "on offer: 2.0.0");
    frame.accept = TEXT("1 || 2");
    say(sp, 3, &frame, payload);
    expect(sp, &answer, 3, PARLEY_OK, NULL);
    frame.accept.text = NULL;

    /* What the service's version has no more. */
    frame.method = TEXT("Count");
    say(sp, 4, &frame, payload);
    expect(sp, &answer, 3, PARLEY_UNIMPLEMENTED, "no version on offer has this method");
    frame.interface = TEXT("ware");
    say(sp, 5, &frame, payload);
    expect(sp, &answer, 3, PARLEY_INVALID_ARGUMENT, "parley.contract is instead");
    frame.interface.text = NULL;
    digits[0] = digits[0] == 'f' ? '0' : 'f';
    say(sp, 6, &frame, payload);
    expect(sp, &answer, 3, PARLEY_FAILED_PRECONDITION, "open another");
    assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_NO);
    digits[3] = 'x';
    say(sp, 7, &frame, payload);
    expect(sp, &answer, 3, PARLEY_INVALID_ARGUMENT, "16 hexadecimal digits");
    heard(&answer);
    sp_free(sp);
}

/* A call in version 1, of 7 grams. */
static struct bus_frame old_frame(uint8_t payload[64])
{
    Ware__V1__Ware old = WARE__V1__WARE__INIT;
    old.name = (char *)(uintptr_t) "nut";
    old.grams = 7;
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    frame.version = TEXT("1.0.0");
    frame.payload_bytes = ware__v1__ware__pack(&old, payload);
    return frame;
}

static void expect_translated(struct sp *sp, struct answer *answer)
{
    expect(sp, answer, 1, PARLEY_OK, NULL);
    assert_true(text_is(&answer->frame.version, "2.0.0"));
    assert_false(text_is(&answer->frame.translation, "identity"));
    Ware__V1__Ware *reply =
        ware__v1__ware__unpack(NULL, answer->frame.payload_bytes, answer->frame.payload);
    assert_non_null(reply);
    assert_string_equal(reply->name, "nut");
    assert_int_equal(reply->grams, 8);
    ware__v1__ware__free_unpacked(reply, NULL);
}

static void test_a_version_of_the_folder_is_known(void **state)
{
    (void)state;
    served_start(0, &ware_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    uint8_t payload[64];
    struct bus_frame frame = old_frame(payload);
    say(sp, 1, &frame, payload);
    expect_translated(sp, &answer);
    heard(&answer);
    sp_free(sp);
}

static void test_a_version_is_known_that_nobody_publishes_now(void **state)
{
    (void)state;
    served_start(0, &ware_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    uint8_t payload[64];
    struct bus_frame frame = old_frame(payload);
    say(sp, 1, &frame, payload);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "there is: 2.0.0");

    /* What only a client brought does not say how the bytes of others are read. */
    say_open(sp, 2);
    expect(sp, &answer, 2, PARLEY_OK, NULL);
    say(sp, 3, &frame, payload);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "there is: 2.0.0");

    served_start(1, &old_ware_service);
    served_stop(1);
    say(sp, 4, &frame, payload);
    expect_translated(sp, &answer);

    frame.version = TEXT("1.0.1");
    say(sp, 5, &frame, payload);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "there is: 2.0.0");
    frame.version = TEXT("one");
    say(sp, 6, &frame, payload);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "no version \"one\"");
    heard(&answer);
    sp_free(sp);
}

static void test_ranges_restrict_who_serves(void **state)
{
    (void)state;
    served_start(0, &old_ware_service);
    served_start(1, &ware_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("ware", "Weigh", 1);
    frame.version = TEXT("1.0.0");
    frame.accept = TEXT("^2");
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    assert_true(text_is(&answer.frame.version, "2.0.0"));
    frame.accept = TEXT("1.x");
    say(sp, 2, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    assert_true(text_is(&answer.frame.version, "1.0.0"));
    frame.accept = TEXT("^9");
    say(sp, 3, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_FAILED_PRECONDITION, "in the range");
    frame.accept = TEXT("nonsense");
    say(sp, 4, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_INVALID_ARGUMENT, "nonsense");
    heard(&answer);
    sp_free(sp);
}

static void test_a_target_that_is_remembered_changes_with_the_bus(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    for (unsigned i = 0; i < 2; i++) {
        say(sp, 1, &frame, NULL);
        expect(sp, &answer, 1, PARLEY_OK, NULL);
        served_stop(0);
        say(sp, 2, &frame, NULL);
        expect(sp, &answer, 1, PARLEY_UNAVAILABLE, NULL);
        assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_NO);
        served_start(0, &echo_service);
    }
    /* More targets than are remembered. */
    const char *methods[] = {"Echo", "Context", "Nope", "Fail", "Later", "Die", "Echo"};
    for (size_t i = 0; i < 7; i++) {
        frame = frame_of("echo", methods[i], i);
        frame.accept = TEXT("^9");
        say(sp, 1, &frame, NULL);
        expect(sp, &answer, i, i == 2 ? PARLEY_NOT_FOUND : PARLEY_FAILED_PRECONDITION, NULL);
    }
    heard(&answer);
    sp_free(sp);
}

static void test_metadata_travel_but_not_the_bus_s_own(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    uint8_t payload[64];
    const struct {
        const char *key, *value;
    } cases[] = {{"tenant", "blue"},
                 {"gray.version", "2"},
                 {"parley.interface", NULL},
                 {"parley.method", NULL}};
    for (size_t i = 0; i < 4; i++) {
        struct bus_frame frame = frame_of("echo", "Context", i);
        frame.metadata = (const uint8_t *)"\x06\x04\0tenantblue\x0c\x01\0gray.version2";
        frame.metadata_bytes = 13 + 16;
        frame.payload_bytes = pack(0, cases[i].key, payload);
        say(sp, 1, &frame, payload);
        expect(sp, &answer, i, PARLEY_OK, NULL);
        Echo__V1__Message *got =
            echo__v1__message__unpack(NULL, answer.frame.payload_bytes, answer.frame.payload);
        assert_non_null(got);
        size_t want = cases[i].value ? strlen(cases[i].value) : 0;
        assert_int_equal(got->payload.len, want);
        if (want)
            assert_memory_equal(got->payload.data, cases[i].value, want);
        echo__v1__message__free_unpacked(got, NULL);
    }
    heard(&answer);
    sp_free(sp);
}

static void test_the_service_s_refusal_is_the_asker_s(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    uint8_t payload[64];
    struct bus_frame frame = frame_of("echo", "Fail", 1);
    frame.payload_bytes = pack(PARLEY_ABORTED, "no luck", payload);
    say(sp, 1, &frame, payload);
    expect(sp, &answer, 1, PARLEY_ABORTED, "no luck");
    assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_YES);
    assert_true(text_is(&answer.frame.version, "1.0.0"));
    frame = frame_of("echo", "Echo", 2);
    frame.payload_bytes = 3;
    say(sp, 2, &frame, "\x0a\xff\xff"); /* not of the schema */
    expect(sp, &answer, 2, PARLEY_INVALID_ARGUMENT, NULL);
    heard(&answer);
    sp_free(sp);
}

static void test_large_payloads_pass(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.payload.len = 3000000;
    message.payload.data = malloc(message.payload.len);
    uint8_t *payload = malloc(message.payload.len + 64);
    assert_true(payload && message.payload.data);
    for (size_t i = 0; i < message.payload.len; i++)
        message.payload.data[i] = (uint8_t)(i * 7);
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    frame.payload_bytes = echo__v1__message__pack(&message, payload);
    say(sp, 1, &frame, payload);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    assert_int_equal(answer.frame.payload_bytes, frame.payload_bytes);
    assert_memory_equal(answer.frame.payload, payload, frame.payload_bytes);
    heard(&answer);
    free(payload);
    free(message.payload.data);
    sp_free(sp);
}

static void test_one_way_is_answered_when_it_is_on_its_way(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Never", 1);
    frame.header.kind = FRAME_ONE_WAY;
    for (unsigned i = 0; i < 2; i++) {
        say(sp, 1, &frame, NULL);
        expect(sp, &answer, 1, PARLEY_OK, NULL);
        assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
        assert_int_equal(answer.frame.payload_bytes, 0);
    }
    wait_for(&never_count, 2);
    heard(&answer);
    sp_free(sp);
}

static void test_deadline_ends_a_call(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Never", 1);
    frame.header.time_left_us = 30000;
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_DEADLINE_EXCEEDED, NULL);
    assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
    wait_for(&cancelled_count, 1);
    heard(&answer);
    sp_free(sp);
}

/* ---- Cancelling, and hanging up ---- */

static void test_cancel_ends_calls_of_its_own_connection_only(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial(), *other = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Never", 7);
    frame.header.time_left_us = UINT32_MAX;
    say(sp, 1, &frame, NULL);
    wait_for(&never_count, 1);
    const struct bus_frame cancel = {.header = {.call_id = 7, .kind = FRAME_CANCEL}};
    say(other, 2, &cancel, NULL);
    expect(other, &answer, 7, PARLEY_NOT_FOUND, "no such call");
    assert_int_equal(atomic_load(&cancelled_count), 0);
    say(sp, 3, &cancel, NULL);
    expect(sp, &answer, 7, PARLEY_CANCELLED, NULL);
    assert_int_equal(answer.request, 1);
    assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
    expect(sp, &answer, 7, PARLEY_OK, NULL);
    assert_int_equal(answer.request, 3);
    wait_for(&cancelled_count, 1);
    say(sp, 4, &cancel, NULL);
    expect(sp, &answer, 7, PARLEY_NOT_FOUND, "no such call");
    assert_int_equal(counts().cancelled, 1);
    heard(&answer);
    sp_free(sp);
    sp_free(other);
}

static void test_who_hangs_up_has_its_calls_cancelled(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial(), *other = dial();
    struct bus_frame frame = frame_of("echo", "Never", 7);
    for (unsigned i = 0; i < 100; i++)
        say(sp, i, &frame, NULL);
    say(other, 1, &frame, NULL);
    wait_for(&never_count, 101);
    assert_int_equal(counts().calls_now, 101);
    sp_free(sp);
    wait_for(&cancelled_count, 100);
    still_serves(other);
    struct front_counts now = counts();
    assert_int_equal(now.calls_now, 1);
    assert_int_equal(now.calls_most, 101 + (now.calls_most == 102));
    assert_int_equal(now.abandoned, 100);
    assert_int_equal(now.replier.connections_now, 1);
    assert_int_equal(atomic_load(&cancelled_count), 100);
    sp_free(other);
}

/* Under way on many connections; nobody's answer waits for them. */
static void test_thousands_are_under_way(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *askers[50], *other = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Never", 7);
    for (unsigned i = 0; i < 50; i++) {
        askers[i] = dial();
        for (unsigned j = 0; j < 50; j++)
            say(askers[i], j, &frame, NULL);
    }
    wait_for(&never_count, 2500);
    assert_int_equal(counts().calls_now, 2500);
    frame = frame_of("echo", "Echo", 8);
    say(other, 1, &frame, NULL);
    expect(other, &answer, 8, PARLEY_OK, NULL);
    served_stop(0);
    for (unsigned i = 0; i < 50; i++) {
        bool seen[50] = {false};
        for (unsigned j = 0; j < 50; j++) {
            expect(askers[i], &answer, 7, PARLEY_UNAVAILABLE, NULL);
            assert_true(answer.request < 50 && !seen[answer.request]);
            seen[answer.request] = true;
        }
        sp_free(askers[i]);
    }
    heard(&answer);
    sp_free(other);
}

static void test_a_connection_has_so_many_calls_at_once(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial(), *other = dial();
    struct answer answer = {0};
    for (unsigned i = 0; i < 4; i++) {
        struct bus_frame frame = frame_of("echo", "Never", i);
        say(sp, i, &frame, NULL);
    }
    wait_for(&never_count, 4);
    struct bus_frame frame = frame_of("echo", "Echo", 4);
    say(sp, 4, &frame, NULL);
    expect(sp, &answer, 4, PARLEY_RESOURCE_EXHAUSTED, "--limit calls=N");
    assert_int_equal(answer.frame.header.executed, PARLEY_EXECUTED_NO);
    say(other, 4, &frame, NULL);
    expect(other, &answer, 4, PARLEY_OK, NULL);
    assert_int_equal(counts().limited, 1);
    heard(&answer);
    sp_free(sp);
    sp_free(other);
}

static void test_what_is_under_way_is_answered_or_not_when_the_broker_ends(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct bus_frame frame = frame_of("echo", "Never", 1);
    for (unsigned i = 0; i < 10; i++)
        say(sp, i, &frame, NULL);
    wait_for(&never_count, 10);
    served_stop(0);
    end(state);
    begin(state);
    sp_free(sp);
}

/* ---- What is wrong ---- */

static void test_names_that_are_not_there_are_answered_with_those_that_are(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("nix", "Get", 1);
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_NOT_FOUND, "there is: echo");
    frame = frame_of("echo", "Get", 2);
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 2, PARLEY_NOT_FOUND, "there is: Echo, Fail");
    frame = frame_of("echo", "Echo", 3);
    frame.version = TEXT("9.0.0");
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 3, PARLEY_NOT_FOUND, "there is: 1.0.0");
    frame = frame_of("", "Echo", 4);
    frame.interface.text = NULL;
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 4, PARLEY_INVALID_ARGUMENT, "parley.interface");
    heard(&answer);
    sp_free(sp);
}

static void test_who_asks_cannot_say_who_it_is(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    frame.metadata = (const uint8_t *)"\x0f\x01\0parley.peer.uid0";
    frame.metadata_bytes = 19;
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_INVALID_ARGUMENT, "the bus says itself");
    heard(&answer);
    sp_free(sp);
}

static void test_a_service_s_frames_are_refused(void **state)
{
    (void)state;
    struct sp *sp = dial();
    struct answer answer = {0};
    const uint8_t kinds[] = {FRAME_RESPONSE, FRAME_GOAWAY, FRAME_BYE};
    for (size_t i = 0; i < 3; i++) {
        const struct bus_frame frame = {.header = {.call_id = i, .kind = kinds[i]}};
        say(sp, 1, &frame, NULL);
        expect(sp, &answer, i, PARLEY_INVALID_ARGUMENT, "who asks sends");
    }
    heard(&answer);
    sp_free(sp);
}

static void test_wrong_or_cut_at_every_byte_it_is_answered(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    uint8_t payload[64], message[256];
    frame.version = TEXT("1.0.0");
    frame.payload_bytes = pack(1, "hello", payload);
    size_t head_bytes = bus_frame_head_bytes(&frame);
    size_t bytes = head_bytes + frame.payload_bytes;
    assert_int_equal(bus_frame_write(&frame, message, head_bytes), 0);
    memcpy(message + head_bytes, payload, frame.payload_bytes);
    for (size_t i = 0; i < bytes; i++) { /* cut */
        if (i > 22) {
            sp_ask(sp, 1, message, i);
            expect(sp, &answer, i >= 32, PARLEY_INVALID_ARGUMENT, NULL);
            assert_true(strlen(answer.text) > 10);
        }
    }
    for (size_t i = 0; i < bytes; i++) { /* wrong */
        for (unsigned bit = 0; bit < 8; bit++) {
            message[i] ^= (uint8_t)(1u << bit);
            if (bus_frame_is(message, bytes) && i != 22) {
                sp_ask(sp, 1, message, bytes);
                hear(sp, &answer);
                if (i >= 32 && answer.frame.header.status)
                    assert_true(strlen(answer.text) > 10);
                else if (i >= 8 && i < 32 && (i < 12 || i > 15)) /* not an id, nor a time */
                    assert_int_equal(answer.frame.header.status, PARLEY_INVALID_ARGUMENT);
            }
            message[i] ^= (uint8_t)(1u << bit);
        }
    }
    still_serves(sp);
    assert_true(counts().malformed > 0);
    heard(&answer);
    sp_free(sp);
}

/* ---- Statistics ---- */

static void test_what_came_is_counted(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    for (unsigned i = 0; i < 3; i++) {
        say(sp, 1, &frame, NULL);
        expect(sp, &answer, 1, PARLEY_OK, NULL);
    }
    sp_ask(sp, 1, "nonsense", 8);
    expect(sp, &answer, 0, PARLEY_INVALID_ARGUMENT, "8 bytes are no frame");
    frame = frame_of("echo", "Never", 2);
    say(sp, 1, &frame, NULL);
    wait_for(&never_count, 1);
    served_hold();
    Parley__Stats stats;
    assert_int_equal(stats_reply(served.broker, false, &stats), 0);
    assert_non_null(stats.front);
    assert_int_equal(stats.front->connections, 1);
    assert_int_equal(stats.front->connections_ever, 1);
    assert_int_equal(stats.front->frames, 4);
    assert_int_equal(stats.front->malformed, 1);
    assert_int_equal(stats.front->calls, 1);
    assert_int_equal(stats.front->calls_most, 1);
    assert_true(stats.front->bytes_in > 4 * 32 && stats.front->bytes_out > 4 * 32);
    stats_reply_free(&stats);
    assert_int_equal(stats_reply(served.broker, true, &stats), 0);
    assert_non_null(strstr(stats.json, "\"frames\":4,\"json\":0,\"malformed\":1"));
    stats_reply_free(&stats);
    struct metrics metrics = {.failed = false};
    assert_int_equal(metrics_stats(&metrics, served.broker), 0);
    metrics_end(&metrics);
    assert_non_null(
        strstr(metrics.text, "parley_front_messages_total{parley_message=\"frame\"} 4"));
    metrics_deinit(&metrics);
    served_go();
    heard(&answer);
    sp_free(sp);
}

/* ---- parley.bus ---- */

static void test_reflection(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    struct bus_frame frame = frame_of("parley.bus", "List", 1);
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    Parley__ListReply *list =
        parley__list_reply__unpack(NULL, answer.frame.payload_bytes, answer.frame.payload);
    assert_non_null(list);
    assert_int_equal(list->n_interface, 1);
    assert_string_equal(list->interface[0]->name, "echo");
    assert_int_equal(list->n_endpoint, 1);
    parley__list_reply__free_unpacked(list, NULL);

    const struct {
        const char *request, *version;
    } sets[] = {{"\x0a\x04"
                 "echo",
                 "1.0.0"},
                {"\x0a\x0a"
                 "parley.bus",
                 "1.0.0"}};
    for (size_t i = 0; i < 2; i++) {
        frame = frame_of("parley.bus", "Describe", 2);
        frame.payload_bytes = strlen(sets[i].request);
        say(sp, 2, &frame, sets[i].request);
        expect(sp, &answer, 2, PARLEY_OK, NULL);
        Parley__DescribeReply *set =
            parley__describe_reply__unpack(NULL, answer.frame.payload_bytes, answer.frame.payload);
        assert_non_null(set);
        assert_string_equal(set->version, sets[i].version);
        struct schema *schema;
        struct error_text error = {""};
        if (schema_new(set->descriptor_set.data, set->descriptor_set.len, set->service, &schema,
                       &error) < 0)
            fail_msg("%s", error.text);
        schema_unref(schema);
        parley__describe_reply__free_unpacked(set, NULL);
    }
    frame.payload_bytes = 5;
    say(sp, 3, &frame, "\x0a\x03nix");
    expect(sp, &answer, 2, PARLEY_NOT_FOUND, "there is: echo");
    say(sp, 4, &frame, "\x0a\xffnix");
    expect(sp, &answer, 2, PARLEY_INVALID_ARGUMENT, "the request of Describe");
    heard(&answer);
    sp_free(sp);
}

static void test_open_says_what_does_not_fit(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    const struct {
        const char *request;
        enum parley_status status;
        const char *words;
    } cases[] = {
        {"", PARLEY_INVALID_ARGUMENT, "names no interface"},
        {"\x0a\x03nix", PARLEY_NOT_FOUND, "there is: echo"},
        {"\x0a\x04"
         "echo\x12\x05"
         "9.0.0",
         PARLEY_NOT_FOUND, "there is: 1.0.0"},
        {"\x0a\x04"
         "echo\x1a\x02^9",
         PARLEY_FAILED_PRECONDITION, "finds no version"},
        {"\x0a\x04"
         "echo\x1a\x02^^",
         PARLEY_INVALID_ARGUMENT, "accept"},
        {"\x0a\x04"
         "echo\x22\x03xyz",
         PARLEY_INVALID_ARGUMENT, NULL},
        {"\x0a\x04"
         "echo",
         PARLEY_OK, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bus_frame frame = frame_of("parley.bus", "Open", i);
        frame.payload_bytes = strlen(cases[i].request);
        say(sp, 1, &frame, cases[i].request);
        expect(sp, &answer, i, cases[i].status, cases[i].words);
    }
    heard(&answer);
    sp_free(sp);
}

/* More than are kept: those that were used last are. */
static void test_contracts_are_bounded(void **state)
{
    (void)state;
    served_start(0, &echo_service);
    struct sp *sp = dial();
    struct answer answer = {0};
    char first[17] = "", digits[17] = "";
    for (unsigned i = 0; i < FRONT_CONTRACT_MAX + 2; i++) {
        char request[32]; /* each accepts something else: the same would be the same contract */
        struct bus_frame frame = frame_of("parley.bus", "Open", i);
        frame.payload_bytes = (size_t)snprintf(request, sizeof(request),
                                               "\x0a\x04"
                                               "echo\x1a\x0a"
                                               "1||9.%05u",
                                               10000 + i);
        say(sp, 1, &frame, request);
        expect(sp, &answer, i, PARLEY_OK, NULL);
        Parley__Bus__V1__OpenReply *opened = parley__bus__v1__open_reply__unpack(
            NULL, answer.frame.payload_bytes, answer.frame.payload);
        assert_non_null(opened);
        snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)opened->contract);
        if (i == 0)
            strcpy(first, digits);
        parley__bus__v1__open_reply__free_unpacked(opened, NULL);
    }
    struct bus_frame frame = frame_of("", "Echo", 1);
    frame.interface.text = NULL;
    frame.contract = (struct bus_text){first, 16};
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_FAILED_PRECONDITION, "open another");
    frame.contract = (struct bus_text){digits, 16};
    say(sp, 1, &frame, NULL);
    expect(sp, &answer, 1, PARLEY_OK, NULL);
    heard(&answer);
    sp_free(sp);
}

#define FRONT(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT(test_a_frame_is_answered_with_the_reply_and_who_served),
        FRONT(test_a_method_can_be_named_by_its_number),
        FRONT(test_another_version_s_service_is_translated_for),
        FRONT(test_a_version_is_known_that_nobody_publishes_now),
        cmocka_unit_test_setup_teardown(test_a_version_of_the_folder_is_known, begin_with_schemas,
                                        end_with_schemas),
        FRONT(test_ranges_restrict_who_serves),
        FRONT(test_a_target_that_is_remembered_changes_with_the_bus),
        FRONT(test_metadata_travel_but_not_the_bus_s_own),
        FRONT(test_the_service_s_refusal_is_the_asker_s),
        FRONT(test_large_payloads_pass),
        FRONT(test_one_way_is_answered_when_it_is_on_its_way),
        FRONT(test_deadline_ends_a_call),
        FRONT(test_cancel_ends_calls_of_its_own_connection_only),
        FRONT(test_who_hangs_up_has_its_calls_cancelled),
        FRONT(test_thousands_are_under_way),
        cmocka_unit_test_setup_teardown(test_a_connection_has_so_many_calls_at_once,
                                        begin_with_few_calls, end),
        FRONT(test_what_is_under_way_is_answered_or_not_when_the_broker_ends),
        FRONT(test_names_that_are_not_there_are_answered_with_those_that_are),
        FRONT(test_who_asks_cannot_say_who_it_is),
        FRONT(test_a_service_s_frames_are_refused),
        FRONT(test_wrong_or_cut_at_every_byte_it_is_answered),
        FRONT(test_what_came_is_counted),
        FRONT(test_reflection),
        FRONT(test_open_says_what_does_not_fit),
        FRONT(test_contracts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
