#include "fronts.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "support/echoes.h"

_Atomic unsigned never_count, cancelled_count;
struct asker asker;
static char bus_url[112];

/* ---- The bus ---- */

struct front_counts fronts_counts(void)
{
    struct front_counts now;
    served_hold();
    front_counts(served.broker, &now);
    served_go();
    return now;
}

int fronts_begin(const struct broker_options *options)
{
    served_prepare();
    snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus.ipc", served.folder);
    const char *bus[] = {bus_url};
    struct broker_options all = options ? *options : (struct broker_options){0};
    all.bus_urls = bus;
    all.bus_url_count = 1;
    atomic_store(&never_count, 0);
    atomic_store(&cancelled_count, 0);
    served_begin(&all);
    asker = asker_new();
    return 0;
}

int fronts_begin_echo(void **state)
{
    (void)state;
    int r = fronts_begin(NULL);
    served_start(0, &echo_service);
    return r;
}

int fronts_end(void **state)
{
    (void)state;
    asker_hang_up(&asker);
    return served_end(); /* empty: nothing was left behind */
}

void fronts_wait(const _Atomic unsigned *count, unsigned want)
{
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; atomic_load(count) < want;) {
        assert_true(clock_now_ns() < until);
        sched_yield();
    }
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
    return echo_serve(endpoint, handle_never);
}

const struct served_service echo_service = {"service", serve_echo, NULL};

/* ---- Askers ---- */

static void rest(struct sp *sp, uint64_t until_ns)
{
    assert_true(clock_now_ns() < until_ns && !sp->hung_up);
    struct pollfd ready = {.fd = sp->fd, .events = POLLIN};
    (void)poll(&ready, 1, 1000);
}

struct asker asker_new(void)
{
    struct sp *sp = sp_connect(bus_url);
    sp_send_hello(sp, SP_REQ);
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !sp_has_hello(sp);)
        rest(sp, until);
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return (struct asker){.sp = sp};
}

void asker_hang_up(struct asker *who)
{
    free(who->answer.data);
    who->answer.data = NULL;
    who->sp = sp_free(who->sp);
}

void asker_hear(struct asker *who)
{
    struct asker_answer *answer = &who->answer;
    size_t bytes;
    free(answer->data);
    answer->data = NULL;
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !sp_has_message(who->sp);)
        rest(who->sp, until);
    sp_take_message(who->sp, &answer->data, &bytes);
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

void asker_say(struct asker *who, uint32_t id, const struct bus_frame *frame, const void *payload)
{
    size_t head_bytes = bus_frame_head_bytes(frame);
    size_t bytes = head_bytes + frame->payload_bytes;
    uint8_t *message = malloc(bytes);
    assert_non_null(message);
    assert_int_equal(bus_frame_write(frame, message, head_bytes), 0);
    if (frame->payload_bytes)
        memcpy(message + head_bytes, payload, frame->payload_bytes);
    sp_ask(who->sp, id, message, bytes);
    free(message);
}

void asker_expect(struct asker *who, uint64_t call_id, enum parley_status status, const char *words)
{
    const struct asker_answer *answer = &who->answer;
    asker_hear(who);
    if (answer->frame.header.status != (uint8_t)status)
        fail_msg("status %u instead of %d: %s", answer->frame.header.status, (int)status,
                 answer->text);
    assert_true(answer->frame.header.call_id == call_id);
    if (words && !strstr(answer->text, words))
        fail_msg("\"%s\" does not say \"%s\"", answer->text, words);
}

void asker_is_served(struct asker *who)
{
    struct bus_frame frame = frame_of("parley.bus", "Ping", 4711);
    asker_say(who, 4711, &frame, NULL);
    asker_expect(who, 4711, PARLEY_OK, NULL);
}

struct bus_frame frame_of(const char *interface, const char *method, uint64_t call_id)
{
    return (struct bus_frame){
        .header = {.call_id = call_id, .method = BUS_FRAME_METHOD_BY_NAME, .kind = FRAME_REQUEST},
        .interface = {interface, strlen(interface)},
        .method = {method, strlen(method)},
    };
}

size_t echo_pack(uint32_t number, const char *text, uint8_t *out)
{
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.number = number;
    message.text = (char *)(uintptr_t)text;
    return echo__v1__message__pack(&message, out);
}
