/*
 * The bus URL among strangers: who asks is what the kernel says, limits are told by a status, and a
 * flood of garbage neither loses a call of others nor fills the broker's memory.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <parley/parley.h>

#include "../bench/garbage.h"
#include "control/bus_frame.h"
#include "echo.parley.h"
#include "support/bus.h"
#include "support/echoes.h"
#include "support/sp.h"

#define FLOOD_CALLS 500
#define FLOOD_MESSAGES 2000
#define FLOOD_CONNECTIONS 1000
#define GROWTH_BYTES_MAX (64ul << 20)

static struct bus bus;
static char bus_url[128], tcp_url[128];

/* ---- The service ---- */

static void answer_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *request,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    struct parley_peer peer;
    char text[256] = "(none)";
    size_t bytes;
    const char *value = parley_context_metadata(parley_context_current(), request->text, &bytes);
    if (value)
        (void)snprintf(text, sizeof(text), "%.*s", (int)bytes, value);
    parley_context_peer(parley_context_current(), &peer);
    reply.text = text;
    reply.number = peer.uid;
    closure(&reply, data);
}

static int serve(struct bus *on, void *argument)
{
    static Echo__V1__Echo_Service implementation =
        ECHO_SERVICE(.echo = echo_returned, .context = answer_context, .never = echo_unanswered);
    (void)argument;
    struct parley_endpoint *endpoint = bus_endpoint(on, "guarded");
    struct parley_service *service;
    if (echo__v1__echo__serve(endpoint, &implementation, NULL, &service) != PARLEY_OK)
        return 1;
    return parley_run(endpoint) == PARLEY_OK ? 0 : 1;
}

/* ---- A stranger ---- */

struct answer {
    enum parley_status status;
    char text[256];
    Echo__V1__Message *message; /* NULL: not OK */
};

static bool has_hello(void *argument)
{
    return sp_has_hello(argument);
}

static bool has_message(void *argument)
{
    return sp_has_message(argument);
}

static bool has_hung_up(void *argument)
{
    struct sp *sp = argument;
    (void)sp_has_message(sp);
    return sp->hung_up;
}

static struct sp *dial(const char *url)
{
    struct sp *sp = sp_connect(url);
    sp_send_hello(sp, SP_REQ);
    assert_true(bus_wait(NULL, has_hello, sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return sp;
}

/* @metadata: a block; NULL: none. @padding: bytes of payload. */
static void ask(struct sp *sp, uint32_t id, const char *method, const char *text,
                const struct parley_metadata *pair, size_t padding)
{
    uint8_t block[256], data[4096];
    size_t used = 0;
    if (pair) {
        block[0] = (uint8_t)strlen(pair->key);
        block[1] = (uint8_t)pair->value_bytes;
        block[2] = 0;
        memcpy(block + 3, pair->key, block[0]);
        memcpy(block + 3 + block[0], pair->value, block[1]);
        used = 3u + block[0] + block[1];
    }
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    static uint8_t zeroes[2048];
    message.text = (char *)(uintptr_t)text;
    message.payload = (ProtobufCBinaryData){.len = padding, .data = zeroes};
    struct bus_frame frame = {
        .header = {.call_id = id, .kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
        .interface = {"echo", 4},
        .method = {method, strlen(method)},
        .metadata = block,
        .metadata_bytes = used,
        .payload_bytes = echo__v1__message__get_packed_size(&message),
    };
    size_t head = bus_frame_head_bytes(&frame);
    assert_true(head + frame.payload_bytes <= sizeof(data));
    assert_int_equal(bus_frame_write(&frame, data, head), 0);
    echo__v1__message__pack(&message, data + head);
    sp_ask(sp, id, data, head + frame.payload_bytes);
}

static struct answer hear(struct sp *sp, uint32_t id)
{
    struct answer answer = {0};
    struct error_text error = {""};
    struct bus_frame frame;
    uint8_t *data;
    size_t bytes;
    if (!bus_wait(NULL, has_message, sp))
        fail_msg("no answer to %u%s", id, sp->hung_up ? ": hung up" : "");
    sp_take_message(sp, &data, &bytes);
    if (bus_frame_read(data + 4, bytes - 4, &frame, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(frame.header.call_id, id);
    answer.status = frame.header.status;
    if (answer.status == PARLEY_OK)
        answer.message = echo__v1__message__unpack(NULL, frame.payload_bytes, frame.payload);
    else
        (void)snprintf(answer.text, sizeof(answer.text), "%.*s", (int)frame.payload_bytes,
                       (const char *)frame.payload);
    free(data);
    return answer;
}

static void is_refused(struct answer answer, enum parley_status status, const char *words)
{
    assert_int_equal(answer.status, status);
    if (!strstr(answer.text, words))
        fail_msg("\"%s\" does not say \"%s\"", answer.text, words);
}

static void is_fine(struct answer answer)
{
    if (answer.status != PARLEY_OK)
        fail_msg("%s: %s", parley_status_name(answer.status), answer.text);
    echo__v1__message__free_unpacked(answer.message, NULL);
}

/* What the service sees under a key of the metadata; @ret_uid: parley_context_peer()'s. */
static void service_sees(struct sp *sp, const char *key, char *ret_text, size_t bytes,
                         uint32_t *ret_uid)
{
    ask(sp, 7, "Context", key, NULL, 0);
    struct answer answer = hear(sp, 7);
    if (answer.status != PARLEY_OK)
        fail_msg("%s: %s", parley_status_name(answer.status), answer.text);
    (void)snprintf(ret_text, bytes, "%s", answer.message->text);
    *ret_uid = answer.message->number;
    echo__v1__message__free_unpacked(answer.message, NULL);
}

/* ---- The bus ---- */

/* Where it listens by TCP, as it says itself. */
static void find_tcp(void)
{
    static const char word[] = "tcp://127.0.0.1:";
    char line[1024];
    FILE *file = fopen(bus.log, "re");
    assert_non_null(file);
    tcp_url[0] = '\0';
    while (!tcp_url[0] && fgets(line, sizeof(line), file)) {
        const char *at = strstr(line, word);
        if (at && strstr(line, "ready"))
            (void)snprintf(tcp_url, sizeof(tcp_url), "%.*s", (int)strcspn(at, " \n"), at);
    }
    (void)fclose(file);
}

static bool echoes(void *argument)
{
    struct sp *sp = argument;
    ask(sp, 1, "Echo", "x", NULL, 0);
    struct answer answer = hear(sp, 1);
    bool fine = answer.status == PARLEY_OK;
    if (fine)
        echo__v1__message__free_unpacked(answer.message, NULL);
    return fine;
}

/* With limits, or NULL. */
static void begin_with(const char *limits)
{
    static char limit[64];
    (void)snprintf(limit, sizeof(limit), "--limit=%s", limits ? limits : "bad=100");
    const char *const more[] = {"--bus=tcp://127.0.0.1:0", limit, NULL};
    bus_start_with(&bus, more);
    (void)snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus.ipc", bus.dir);
    find_tcp();
    (void)bus_fork(&bus, serve, NULL);
    assert_true(bus_log_has(&bus, "is up"));
}

static int end(void **state)
{
    (void)state;
    bus_stop(&bus);
    return 0;
}

/* ---- Who asks ---- */

static void test_a_service_is_told_who_asked_the_broker(void **state)
{
    (void)state;
    char text[256], wanted[32];
    uint32_t uid;
    begin_with(NULL);
    struct sp *sp = dial(bus_url);
    (void)snprintf(wanted, sizeof(wanted), "%u", (unsigned)getuid());
    service_sees(sp, "parley.peer.uid", text, sizeof(text), &uid);
    assert_string_equal(text, wanted);
    assert_int_equal(uid, getuid());
    (void)snprintf(wanted, sizeof(wanted), "%d", (int)getpid());
    service_sees(sp, "parley.peer.pid", text, sizeof(text), &uid);
    assert_string_equal(text, wanted);
    service_sees(sp, "parley.peer.address", text, sizeof(text), &uid);
    assert_string_equal(text, "(none)");
    sp_free(sp);
}

static void test_who_comes_by_tcp_has_no_uid(void **state)
{
    (void)state;
    char text[256];
    uint32_t uid;
    begin_with(NULL);
    struct sp *sp = dial(tcp_url);
    service_sees(sp, "parley.peer.uid", text, sizeof(text), &uid);
    assert_string_equal(text, "(none)");
    assert_int_equal(uid, UINT32_MAX);
    service_sees(sp, "parley.peer.address", text, sizeof(text), &uid);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    sp_free(sp);
}

static void test_nobody_can_claim_to_be_another(void **state)
{
    (void)state;
    static const char *const keys[] = {"parley.peer.uid", "parley.peer.pid", "parley.peer.identity",
                                       "parley.peer.address"};
    begin_with(NULL);
    struct sp *sp = dial(tcp_url);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct parley_metadata claim = {.key = keys[i], .value = "0", .value_bytes = 1};
        ask(sp, 1, "Context", keys[i], &claim, 0);
        is_refused(hear(sp, 1), PARLEY_INVALID_ARGUMENT, "who asks the bus says itself");
    }
    sp_free(sp);
}

/* ---- Limits ---- */

static void test_a_message_that_is_too_large_is_told_so(void **state)
{
    (void)state;
    begin_with("message=1K");
    struct sp *sp = dial(bus_url);
    size_t least = 100; /* more than that is not head */
    ask(sp, 1, "Echo", "x", NULL, least);
    is_fine(hear(sp, 1));
    ask(sp, 2, "Echo", "x", NULL, 1024);
    is_refused(hear(sp, 2), PARLEY_RESOURCE_EXHAUSTED, "at most 1024 are allowed");
    ask(sp, 3, "Echo", "x", NULL, least);
    is_fine(hear(sp, 3));
    sp_free(sp);
}

static void test_calls_under_way_are_limited(void **state)
{
    (void)state;
    begin_with("calls=2");
    struct sp *sp = dial(bus_url);
    ask(sp, 1, "Never", "x", NULL, 0);
    ask(sp, 2, "Echo", "x", NULL, 0);
    is_fine(hear(sp, 2)); /* the second */
    ask(sp, 3, "Never", "x", NULL, 0);
    ask(sp, 4, "Echo", "x", NULL, 0);
    is_refused(hear(sp, 4), PARLEY_RESOURCE_EXHAUSTED, "2 calls of this connection are under way");
    sp_free(sp);
    sp = dial(bus_url); /* its calls ended with the connection */
    ask(sp, 1, "Echo", "x", NULL, 0);
    is_fine(hear(sp, 1));
    sp_free(sp);
}

static void test_connections_are_limited(void **state)
{
    (void)state;
    begin_with("connections=1");
    struct sp *one = dial(bus_url), *two = dial(bus_url);
    ask(one, 1, "Echo", "x", NULL, 0);
    is_fine(hear(one, 1));
    ask(two, 1, "Echo", "x", NULL, 0);
    is_refused(hear(two, 1), PARLEY_RESOURCE_EXHAUSTED, "at most 1 are allowed");
    struct sp *three = sp_connect(bus_url);
    sp_send_hello(three, SP_REQ);
    assert_true(bus_wait(NULL, has_hung_up, three));
    ask(one, 2, "Echo", "x", NULL, 0);
    is_fine(hear(one, 2));
    sp_free(one);
    sp_free(two);
    sp_free(three);
}

static void test_a_rate_is_limited(void **state)
{
    (void)state;
    begin_with("rate=1,burst=3");
    struct sp *sp = dial(bus_url);
    for (uint32_t i = 0; i < 40; i++)
        ask(sp, i, "Echo", "x", NULL, 0);
    unsigned refused = 0;
    for (uint32_t i = 0; i < 40; i++) {
        /* Refusals are there before the calls end: by their numbers, whichever comes. */
        uint8_t *data;
        size_t bytes;
        struct bus_frame frame;
        assert_true(bus_wait(NULL, has_message, sp));
        sp_take_message(sp, &data, &bytes);
        assert_int_equal(bus_frame_read(data + 4, bytes - 4, &frame, NULL), 0);
        refused += frame.header.status == PARLEY_RESOURCE_EXHAUSTED;
        free(data);
    }
    assert_in_range(refused, 20, 37); /* three at once, and one for each second that this takes */
    sp_free(sp);
}

/* Each is answered, however long it waits; and nobody else does. */
static void test_garbage_is_answered_and_keeps_nobody(void **state)
{
    (void)state;
    uint8_t noise[40];
    memset(noise, 0x55, sizeof(noise));
    begin_with("bad=2");
    struct sp *bad = dial(bus_url), *good = dial(bus_url);
    for (uint32_t i = 0; i < 8; i++)
        sp_ask(bad, i, noise, sizeof(noise));
    for (uint32_t i = 0; i < 20; i++) {
        ask(good, i, "Echo", "x", NULL, 0);
        is_fine(hear(good, i));
    }
    for (uint32_t i = 0; i < 8; i++) {
        uint8_t *data;
        size_t bytes;
        assert_true(bus_wait(NULL, has_message, bad));
        sp_take_message(bad, &data, &bytes);
        free(data);
    }
    sp_free(bad);
    sp_free(good);
}

/* ---- A flood ---- */

static volatile struct garbage_counts *counts;

static int send_garbage(struct bus *on, void *argument)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/bus.ipc", on->dir);
    enum garbage_kind kind = *(enum garbage_kind *)argument;
    return garbage_send(path, kind, &counts[kind]);
}

static size_t peak_bytes(pid_t pid)
{
    char line[128];
    size_t kib = 0;
    (void)snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
    FILE *file = fopen(line, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "VmHWM: %zu", &kib) == 1)
            break;
    (void)fclose(file);
    return kib << 10;
}

static void call_natively(struct parley_client *client)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply;
    request.number = 5;
    if (echo__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    assert_int_equal(reply->number, 5);
    parley_reply_free(reply);
}

static bool flooded(void *argument)
{
    (void)argument;
    return counts[GARBAGE_MESSAGES].messages >= FLOOD_MESSAGES &&
           counts[GARBAGE_STORM].connections >= FLOOD_CONNECTIONS;
}

static void test_a_flood_loses_no_call_of_others_and_fills_no_memory(void **state)
{
    (void)state;
    static enum garbage_kind kinds[] = {GARBAGE_MESSAGES, GARBAGE_STORM};
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(counts != MAP_FAILED);
    begin_with(NULL);
    struct sp *sp = dial(bus_url);
    assert_true(echoes(sp));
    struct parley_endpoint *endpoint = bus_endpoint(&bus, "polite");
    struct parley_client *client;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, NULL, &client),
                     PARLEY_OK);
    call_natively(client);
    size_t before = peak_bytes(bus.broker);
    for (size_t i = 0; i < 2; i++)
        (void)bus_fork(&bus, send_garbage, &kinds[i]);
    for (uint32_t i = 0; i < FLOOD_CALLS; i++) {
        ask(sp, i, "Echo", "x", NULL, 100);
        is_fine(hear(sp, i));
        call_natively(client);
    }
    assert_true(bus_wait(NULL, flooded, NULL));
    assert_true(echoes(sp));
    size_t after = peak_bytes(bus.broker);
    print_message("%lu messages of garbage, %lu connections; the broker's peak grew by %zu KiB\n",
                  (unsigned long)counts[GARBAGE_MESSAGES].messages,
                  (unsigned long)counts[GARBAGE_STORM].connections, (after - before) >> 10);
    assert_true(after - before < GROWTH_BYTES_MAX);
    sp_free(sp);
    parley_client_free(client);
    parley_endpoint_free(endpoint);
    (void)munmap((void *)(uintptr_t)counts, 4096);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_service_is_told_who_asked_the_broker),
        TEST(test_who_comes_by_tcp_has_no_uid),
        TEST(test_nobody_can_claim_to_be_another),
        TEST(test_a_message_that_is_too_large_is_told_so),
        TEST(test_calls_under_way_are_limited),
        TEST(test_connections_are_limited),
        TEST(test_a_rate_is_limited),
        TEST(test_garbage_is_answered_and_keeps_nobody),
        TEST(test_a_flood_loses_no_call_of_others_and_fills_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
