/*
 * One REP socket that serves: an instance like any other, whose other end is not in shared memory.
 *
 * It has an endpoint of the broker's own, on one end of a socketpair whose other end the broker
 * serves like any link, and on it a service that works on bytes (rpc/raw.c). So publication,
 * routes, plans, draining, ejection and statistics are what they are for everybody, and nothing of
 * that is done here. What is: a request crosses once, from the client's memory into the message
 * that goes to the socket (or, if others are before it, into memory where it waits), with a frame's
 * header and metadata before it; the payload of the answer goes to the client as it is, whose plan
 * checks it.
 *
 * A plain REP socket answers one before it hears the next. So a guest is given calls_max at once,
 * one unless it asked for more, and further calls wait here, where they can still be cancelled, or
 * go elsewhere if the socket hangs up: those end as executed `no`, those that it had as `unknown`.
 * What waits is bounded, and refused beyond that. Whose caller has given up leaves the line at
 * once; what the socket has then is only abandoned: it may answer late, or never. So that a program
 * which drops a request can go on, the next is sent; but with SERVE_ABANDONED_MAX that were not
 * answered none is, until one is answered or the guest is given up.
 *
 * Whatever comes as an answer ends its call with a status and a sentence, and touches no other.
 *
 * Nothing frees a guest but serve_turn(), for callbacks of its endpoint and its line run in its
 * turn: they only say that it has ended.
 */
#include "broker/guest.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/bus_frame.h"
#include "rpc/rpc.h"

#define ANSWERS_BATCH 64
#define NUMBER_MAX UINT32_C(0x7fffffff)
#define NUMBER_OF_CANCELS 0 /* their answers say nothing */

struct guest_call {
    TAILQ_ENTRY(guest_call) entry; /* of waiting or sent */
    UT_hash_handle hh;             /* by number, if sent */
    struct guest *guest;
    struct parley_context *context; /* NULL: nobody waits any more */
    uint64_t deadline_ns;
    uint32_t number; /* 0: it was not sent */
    uint8_t *frame;  /* NULL: in the line's memory, or sent */
    size_t head_bytes, bytes;
};

/* ---- How it ends ---- */

void guest_end(struct guest *guest, const char *format, ...)
{
    char why[256];
    struct broker *broker = guest->serve->broker;
    const Parley__Interface *interface = schema_service(guest->schema->schema)->interface;
    if (guest->state == GUEST_ENDED)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    guest->state = GUEST_ENDED;
    guest_mark_due(guest);
    struct instance *instance = directory_instance(&broker->directory, guest->instance_id);
    if (instance && guest->service) {
        session_instance_gone(broker, instance, why);
        return;
    }
    const struct event event = {.topic = "refused",
                                .interface = interface->name,
                                .version = interface->version,
                                .instance_id = guest->instance_id,
                                .pid = guest->peer.pid};
    event_publish(broker, &event, "%s %s of %s %s", interface->name, interface->version,
                  guest->name, why);
}

/* ---- Calls ---- */

static void call_free(struct guest_call *call)
{
    free(call->frame);
    free(call);
}

static void answer(struct guest_call *call, enum parley_status status,
                   enum parley_executed executed, const char *text)
{
    struct parley_context *context = steal_ptr(&call->context);
    parley_context_on_cancel(context, NULL, NULL);
    rpc_context_answer(context, status, executed, (const uint8_t *)text, strlen(text));
}

/* Those that could not take a one-way call may have room again. */
static void wake_held(struct serve *serve)
{
    struct guest *guest;
    if (serve->held == 0)
        return;
    TAILQ_FOREACH (guest, &serve->guests, entry)
        if (guest->held)
            guest_mark_due(guest);
}

static void leave_line(struct guest_call *call)
{
    struct guest *guest = call->guest;
    wake_held(guest->serve);
    TAILQ_REMOVE(&guest->waiting, call, entry);
    guest->waiting_count--;
    guest->waiting_bytes -= call->head_bytes + call->bytes;
    guest->serve->counts.waiting--;
    guest->serve->counts.waiting_bytes -= call->head_bytes + call->bytes;
}

static void take_back(struct guest_call *call)
{
    struct guest *guest = call->guest;
    TAILQ_REMOVE(&guest->sent, call, entry);
    HASH_DEL(guest->by_number, call);
    guest->sent_count--;
    guest->serve->counts.calls--;
}

static void abandon(struct guest_call *call)
{
    struct guest *guest = call->guest;
    guest->serve->counts.abandoned++;
    if (++guest->abandoned == SERVE_ABANDONED_MAX)
        guest->silent_by_ns = clock_add(clock_now_ns(), guest->silent_ns);
}

/* Of a call that is under way: nobody waits for it any more. */
static void give_up(struct guest_call *call, enum parley_status status, const char *text)
{
    struct guest *guest = call->guest;
    bool sent = call->number != 0;
    answer(call, status, sent ? PARLEY_EXECUTED_UNKNOWN : PARLEY_EXECUTED_NO, text);
    guest->due = true; /* another may be next */
    if (sent) {
        abandon(call);
        return;
    }
    leave_line(call);
    call_free(call);
}

static void send_cancel(struct guest *guest, uint32_t number)
{
    const struct bus_frame frame = {.header = {.kind = FRAME_CANCEL, .call_id = number}};
    size_t bytes = bus_frame_head_bytes(&frame);
    uint8_t *data;
    if (requester_send_begin(guest->line, bytes, &data) < 0 ||
        bus_frame_write(&frame, data, bytes) < 0)
        return;
    (void)requester_send_end(guest->line, bytes, NUMBER_OF_CANCELS); /* no more than a favour */
}

static void on_cancelled(struct parley_context *context, void *userdata)
{
    struct guest_call *call = userdata;
    struct guest *guest = call->guest;
    uint32_t number = call->number;
    (void)context;
    give_up(call, PARLEY_CANCELLED, "");
    if (number != 0 && guest->cancels)
        send_cancel(guest, number);
}

/* Of a one-way call nobody waits anyhow: it is served, also if its caller has gone. */
static void listen_for_end(struct guest_call *call)
{
    if (!rpc_context_owed(call->context))
        parley_context_on_cancel(call->context, on_cancelled, call);
}

/* ---- To the socket ---- */

static bool may_send(const struct guest *guest)
{
    return guest->state == GUEST_UP && guest->sent_count - guest->abandoned < guest->calls_max &&
           guest->abandoned < SERVE_ABANDONED_MAX && requester_connected(guest->line);
}

static uint32_t next_number(struct guest *guest)
{
    struct guest_call *taken;
    do {
        guest->number = guest->number % NUMBER_MAX + 1;
        HASH_FIND(hh, guest->by_number, &guest->number, sizeof(guest->number), taken);
    } while (taken);
    return guest->number;
}

/* What is known of the header only now. */
static void complete(uint8_t *data, const struct guest_call *call, uint32_t number)
{
    uint64_t left_us = clock_left(call->deadline_ns, clock_now_ns()) / NS_PER_US;
    uint32_t left = htole32(left_us == 0           ? 1
                            : left_us > UINT32_MAX ? UINT32_MAX
                                                   : (uint32_t)left_us);
    uint32_t bytes = htole32((uint32_t)call->bytes);
    uint64_t id = htole64(number);
    memcpy(data + offsetof(struct frame_header, time_left_us), &left, sizeof(left));
    memcpy(data + offsetof(struct frame_header, payload_bytes), &bytes, sizeof(bytes));
    memcpy(data + offsetof(struct frame_header, call_id), &id, sizeof(id));
}

/* @data: its frame, in the line's memory. Return: as requester_send_end(). */
static int send_call(struct guest *guest, struct guest_call *call, uint8_t *data)
{
    uint32_t number = next_number(guest);
    complete(data, call, number);
    int r = requester_send_end(guest->line, call->head_bytes + call->bytes, number);
    if (r != 0)
        return r;
    call->number = number;
    HASH_ADD(hh, guest->by_number, number, sizeof(call->number), call);
    TAILQ_INSERT_TAIL(&guest->sent, call, entry);
    guest->sent_count++;
    guest->serve->counts.calls++;
    return 0;
}

static void send_waiting(struct guest *guest)
{
    struct guest_call *call;
    while (may_send(guest) && (call = TAILQ_FIRST(&guest->waiting)) != NULL) {
        uint8_t *data;
        size_t bytes = call->head_bytes + call->bytes;
        if (requester_send_begin(guest->line, bytes, &data) < 0)
            return;
        memcpy(data, call->frame, bytes);
        leave_line(call);
        int r = send_call(guest, call, data);
        if (r == 0) {
            free(steal_ptr(&call->frame));
            continue;
        }
        TAILQ_INSERT_HEAD(&guest->waiting, call, entry);
        guest->waiting_count++;
        guest->waiting_bytes += bytes;
        guest->serve->counts.waiting++;
        guest->serve->counts.waiting_bytes += bytes;
        return;
    }
}

static struct bus_text text_of(const char *text)
{
    return (struct bus_text){text, strlen(text)};
}

static size_t add_pair(uint8_t *block, size_t used, const char *key, const char *value)
{
    size_t key_bytes = strlen(key), value_bytes = strlen(value);
    block[used++] = (uint8_t)key_bytes;
    block[used++] = (uint8_t)value_bytes;
    block[used++] = 0;
    memcpy(block + used, key, key_bytes);
    memcpy(block + used + key_bytes, value, value_bytes);
    return used + key_bytes + value_bytes;
}

static bool has_key(const uint8_t *block, size_t bytes, const char *key)
{
    size_t key_bytes = strlen(key);
    for (size_t at = 0; at < bytes;) {
        const uint8_t *pair = block + at;
        if (pair[0] == key_bytes && memcmp(pair + 3, key, key_bytes) == 0)
            return true;
        at += 3 + pair[0] + (pair[1] | (size_t)pair[2] << 8);
    }
    return false;
}

/* Who calls, the call's own metadata, and its trace as text: what a handler of a native service
 * could ask its context for. Who calls is said first, as the relay does: there it is believed.
 * @block: of BUS_FRAME_METADATA_BYTES_MAX. */
static size_t fill_metadata(struct parley_context *context, uint8_t *block)
{
    static const char *const peer[] = {"parley.peer.uid", "parley.peer.gid", "parley.peer.pid"};
    size_t used = 0, own_bytes, bytes;
    const uint8_t *own = rpc_context_metadata(context, &own_bytes);
    for (size_t i = 0; i < 3; i++) {
        const char *value = parley_context_metadata(context, peer[i], &bytes);
        if (value && !has_key(own, own_bytes, peer[i])) /* a relayed call's say so themselves */
            used = add_pair(block, used, peer[i], value);
    }
    if (own_bytes)
        memcpy(block + used, own, own_bytes);
    used += own_bytes;
    const char *trace = rpc_context_trace(context);
    return trace ? add_pair(block, used, "traceparent", trace) : used;
}

/* Memory for the call that arrives, with its frame's head written. */
static uint8_t *guest_room(struct parley_context *context, unsigned method, size_t bytes_max,
                           void *userdata)
{
    struct guest *guest = userdata;
    const struct schema_service *service = schema_service(guest->schema->schema);
    const char *client = parley_context_client_version(context);
    uint8_t block[BUS_FRAME_METADATA_BYTES_MAX];
    struct bus_frame frame = {
        .header = {.kind = rpc_context_one_way(context) ? FRAME_ONE_WAY : FRAME_REQUEST,
                   .method = BUS_FRAME_METHOD_BY_NAME},
        .interface = text_of(service->interface->name),
        .version = text_of(service->interface->version),
        .method = text_of(service->methods[method].name),
        .client = client[0] ? text_of(client) : (struct bus_text){0},
        .metadata = block,
        .metadata_bytes = fill_metadata(context, block),
    };
    struct guest_call *call = guest->arriving;
    if (call)
        free(steal_ptr(&call->frame)); /* its request turned out to be none */
    else
        call = guest->arriving = malloc(sizeof(*call));
    if (!call)
        return NULL;
    *call = (struct guest_call){.guest = guest, .head_bytes = bus_frame_head_bytes(&frame)};
    size_t bytes = call->head_bytes + bytes_max;
    uint8_t *data;
    if (may_send(guest) && TAILQ_EMPTY(&guest->waiting)) {
        if (requester_send_begin(guest->line, bytes, &data) < 0)
            return NULL;
    } else {
        data = call->frame = malloc(bytes);
        if (!data)
            return NULL;
    }
    return bus_frame_write(&frame, data, call->head_bytes) < 0 ? NULL : data + call->head_bytes;
}

/* Why a call of so many bytes cannot wait; false: it can. */
static bool is_full(const struct guest *guest, size_t bytes, struct error_text *why)
{
    const struct serve_counts *counts = &guest->serve->counts;
    size_t all = counts->waiting_bytes;
    if (guest->waiting_count >= SERVE_WAITING_MAX)
        error_set(why, 0, "%u calls wait for the instance already", guest->waiting_count);
    else if (guest->waiting_count > 0 && guest->waiting_bytes + bytes > SERVE_WAITING_BYTES_MAX)
        error_set(why, 0, "%zu bytes wait for the instance already", guest->waiting_bytes);
    else if (all > 0 && all + bytes > SERVE_BYTES_MAX)
        error_set(why, 0, "%zu bytes wait for instances already", all);
    else
        return false;
    return true;
}

/* A one-way call has ended as OK for its caller: it is not taken before there is room. */
static bool guest_full(size_t bytes, void *userdata)
{
    struct guest *guest = userdata;
    if (!is_full(guest, bytes, NULL))
        return false;
    if (!guest->held) {
        guest->held = true;
        guest->serve->held++;
    }
    guest->serve->counts.held++;
    return true;
}

static void let_in(struct guest *guest)
{
    if (!guest->held || is_full(guest, 0, NULL))
        return;
    guest->held = false;
    guest->serve->held--;
    rpc_service_resume(guest->service);
    guest_mark_due(guest);
}

/* Return: whether there is room for it; else it has ended. What has been asked about before, and is
 * larger in the service's version, is past the limit once. */
static bool may_wait(struct guest *guest, struct guest_call *call)
{
    struct error_text why = {""};
    if (rpc_context_owed(call->context) || !is_full(guest, call->head_bytes + call->bytes, &why))
        return true;
    guest->serve->counts.full++;
    answer(call, PARLEY_RESOURCE_EXHAUSTED, PARLEY_EXECUTED_NO, why.text);
    call_free(call);
    return false;
}

/* @data: the frame in the line's memory, which had no room; NULL: it is in call->frame, which may
 * be longer than what is used. */
static void wait_in_line(struct guest *guest, struct guest_call *call, const uint8_t *data)
{
    size_t bytes = call->head_bytes + call->bytes;
    if (!may_wait(guest, call))
        return;
    uint8_t *frame = realloc(call->frame, bytes);
    if (!frame) {
        answer(call, PARLEY_RESOURCE_EXHAUSTED, PARLEY_EXECUTED_NO, "the broker is out of memory");
        call_free(call);
        return;
    }
    if (data)
        memcpy(frame, data, bytes);
    call->frame = frame;
    TAILQ_INSERT_TAIL(&guest->waiting, call, entry);
    guest->waiting_count++;
    guest->waiting_bytes += bytes;
    guest->serve->counts.waiting++;
    guest->serve->counts.waiting_bytes += bytes;
    listen_for_end(call);
}

static void guest_serve(struct parley_context *context, unsigned method, uint8_t *payload,
                        size_t bytes, void *userdata)
{
    struct guest *guest = userdata;
    struct guest_call *call = steal_ptr(&guest->arriving);
    (void)method;
    call->context = context;
    call->deadline_ns = rpc_context_deadline_ns(context);
    call->bytes = bytes;
    if (call->deadline_ns < guest->expire_ns)
        guest->expire_ns = call->deadline_ns;
    if (call->frame) {
        wait_in_line(guest, call, NULL);
        return;
    }
    int r = send_call(guest, call, payload - call->head_bytes);
    if (r == 0) {
        listen_for_end(call);
        return;
    }
    uint8_t *kept = NULL;
    if (r == REQUESTER_E_AGAIN)
        r = requester_send_begin(guest->line, call->head_bytes + bytes, &kept);
    if (r == 0) {
        wait_in_line(guest, call, kept);
        return;
    }
    answer(call, PARLEY_UNAVAILABLE, PARLEY_EXECUTED_NO, "the service cannot be sent to");
    call_free(call);
    guest_end(guest, "is gone: it cannot be sent to: %s", strerror(-r));
}

/* ---- From the socket ---- */

static void malformed(struct guest_call *call, const char *why)
{
    char text[256];
    call->guest->serve->counts.malformed++;
    (void)snprintf(text, sizeof(text), "the service's answer is no response: %.200s", why);
    log_info("%s: %s", call->guest->name, text);
    answer(call, PARLEY_INTERNAL, PARLEY_EXECUTED_YES, text);
}

static void on_answer(struct guest *guest, uint32_t number, const uint8_t *data, size_t bytes)
{
    struct guest_call *call;
    struct error_text error = {""};
    struct bus_frame frame;
    if (guest->state == GUEST_PROVING) {
        guest_proof_answered(guest, number, data, bytes);
        return;
    }
    if (number == NUMBER_OF_CANCELS)
        return;
    HASH_FIND(hh, guest->by_number, &number, sizeof(number), call);
    if (!call) {
        guest->serve->counts.stray++;
        log_debug("%s answered what it was not asked, or twice", guest->name);
        return;
    }
    take_back(call);
    if (!call->context) {
        guest->serve->counts.late++;
        guest->abandoned--;
        guest->silent_by_ns = CLOCK_NEVER;
    } else if (bus_frame_read(data, bytes, &frame, &error) < 0) {
        malformed(call, error.text);
    } else if (frame.header.kind != FRAME_RESPONSE) {
        (void)snprintf(error.text, sizeof(error.text), "its kind (byte 22) is %u, a response is %d",
                       frame.header.kind, FRAME_RESPONSE);
        malformed(call, error.text);
    } else {
        enum parley_status status = (enum parley_status)frame.header.status;
        enum parley_executed executed = (enum parley_executed)frame.header.executed;
        struct parley_context *context = steal_ptr(&call->context);
        guest->serve->counts.answered++;
        parley_context_on_cancel(context, NULL, NULL);
        rpc_context_answer(context, status, status == PARLEY_OK ? PARLEY_EXECUTED_YES : executed,
                           frame.payload, frame.payload_bytes);
    }
    call_free(call);
}

static void receive_answers(struct guest *guest)
{
    for (unsigned i = 0; i < ANSWERS_BATCH; i++) {
        uint32_t number;
        const uint8_t *data;
        size_t bytes;
        if (requester_receive(guest->line, &number, &data, &bytes) == REQUESTER_E_AGAIN)
            return;
        on_answer(guest, number, data, bytes);
    }
    guest->due = true;
}

/* ---- Time ---- */

static uint64_t expire_list(struct guest_calls *calls, uint64_t now_ns, uint64_t next_ns)
{
    struct guest_call *call, *next;
    for (call = TAILQ_FIRST(calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (!call->context)
            continue;
        if (call->deadline_ns <= now_ns)
            give_up(call, PARLEY_DEADLINE_EXCEEDED,
                    call->number ? "the service did not answer in time"
                                 : "the service had no time for it before its deadline");
        else if (call->deadline_ns < next_ns)
            next_ns = call->deadline_ns;
    }
    return next_ns;
}

static void expire(struct guest *guest, uint64_t now_ns)
{
    if (guest->expire_ns > now_ns)
        return;
    uint64_t next_ns = expire_list(&guest->waiting, now_ns, CLOCK_NEVER);
    guest->expire_ns = expire_list(&guest->sent, now_ns, next_ns);
}

static void look_at_clock(struct guest *guest, uint64_t now_ns)
{
    expire(guest, now_ns);
    if (guest->state == GUEST_PROVING && guest->proof.by_ns <= now_ns)
        guest_turn_away(guest);
    if (guest->state == GUEST_EXPECTED && guest->dial_by_ns <= now_ns)
        guest_end(guest, "did not dial %s in time: its publication is forgotten",
                  requester_url(guest->line));
    if (guest->silent_by_ns <= now_ns)
        guest_end(guest, "is gone: it has left %u calls unanswered", guest->abandoned);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_turn_ns(const struct guest *guest)
{
    uint64_t next_ns = sooner(guest->expire_ns, requester_next_deadline_ns(guest->line));
    if (guest->due)
        return 0;
    if (guest->endpoint)
        next_ns = sooner(next_ns, parley_next_deadline_ns(guest->endpoint));
    if (guest->state == GUEST_EXPECTED)
        next_ns = sooner(next_ns, guest->dial_by_ns);
    if (guest->state == GUEST_PROVING)
        next_ns = sooner(next_ns, guest->proof.by_ns);
    next_ns = sooner(next_ns, guest->silent_by_ns);
    return next_ns;
}

/* ---- Joining the bus ---- */

static void guest_published(struct parley_service *service, enum parley_status status,
                            const char *text, void *userdata)
{
    struct guest *guest = userdata;
    (void)service;
    if (status != PARLEY_OK)
        guest_end(guest, "is refused: %s", text);
    else if (guest->state == GUEST_JOINING)
        guest->state = GUEST_UP;
}

const struct rpc_service_ops guest_ops = {
    .published = guest_published,
    .room = guest_room,
    .full = guest_full,
    .serve = guest_serve,
};

static void on_line(struct source *source, uint32_t events)
{
    (void)events;
    guest_mark_due((struct guest *)((uint8_t *)source - offsetof(struct guest, line_source)));
}

static void on_endpoint(struct source *source, uint32_t events)
{
    (void)events;
    guest_mark_due((struct guest *)((uint8_t *)source - offsetof(struct guest, endpoint_source)));
}

/* ---- Life ---- */

int guest_new(struct serve *serve, const struct guest_spec *spec, struct guest **ret_guest,
              struct error_text *error)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    if (!guest) {
        schema_entry_drop(&serve->broker->negotiator, spec->schema);
        return error_set(error, -ENOMEM, "the broker is out of memory");
    }
    guest->serve = serve;
    guest->schema = spec->schema;
    guest->instance_id = spec->instance_id;
    guest->calls_max = spec->calls_max;
    guest->cancels = spec->cancels;
    guest->peer = *spec->peer;
    guest_proof_init(&guest->proof, spec->proves);
    guest->weights = *spec->weights;
    guest->dial_by_ns = clock_add(clock_now_ns(), spec->dial_ns);
    guest->silent_ns = spec->silent_ns;
    guest->expire_ns = guest->silent_by_ns = CLOCK_NEVER;
    guest->line_source.ready = on_line;
    guest->endpoint_source.ready = on_endpoint;
    (void)snprintf(guest->name, sizeof(guest->name), "%s", spec->name);
    TAILQ_INIT(&guest->waiting);
    TAILQ_INIT(&guest->sent);
    TAILQ_INSERT_TAIL(&serve->guests, guest, entry);
    serve->counts.expected++;
    struct requester_options options = *spec->line;
    options.bytes_max =
        sizeof(struct frame_header) + BUS_FRAME_METADATA_BYTES_MAX + WIRE_MESSAGE_BYTES_MAX;
    options.came = guest_dialled;
    options.gone = guest_hung_up;
    options.data = guest;
    int r = requester_new(&options, &guest->line, error);
    if (r == 0)
        r = broker_watch(serve->broker, requester_fd(guest->line), WAIT_IN, &guest->line_source);
    if (r < 0) {
        guest_free(guest);
        return r;
    }
    guest->next_ns = next_turn_ns(guest);
    serve->next_ns = sooner(serve->next_ns, guest->next_ns);
    *ret_guest = guest;
    return 0;
}

static void end_calls(struct guest *guest)
{
    struct guest_call *call;
    while ((call = TAILQ_FIRST(&guest->waiting)) != NULL) {
        leave_line(call);
        answer(call, PARLEY_UNAVAILABLE, PARLEY_EXECUTED_NO,
               "the service has left before it was given the call");
        call_free(call);
    }
    while ((call = TAILQ_FIRST(&guest->sent)) != NULL) {
        take_back(call);
        if (call->context)
            answer(call, PARLEY_UNAVAILABLE, PARLEY_EXECUTED_UNKNOWN,
                   "the service has left while it had the call");
        call_free(call);
    }
    if (guest->arriving)
        call_free(guest->arriving);
}

struct guest *guest_free(struct guest *guest)
{
    struct serve *serve = guest->serve;
    struct broker *broker = serve->broker;
    TAILQ_REMOVE(&serve->guests, guest, entry);
    if (guest->came)
        serve->counts.instances--;
    else
        serve->counts.expected--;
    serve->held -= guest->held;
    guest->held = false;
    end_calls(guest);
    if (guest->endpoint)
        broker_unwatch(broker, parley_fd(guest->endpoint), &guest->endpoint_source);
    parley_endpoint_free(guest->endpoint);
    if (guest->line)
        broker_unwatch(broker, requester_fd(guest->line), &guest->line_source);
    requester_free(guest->line);
    schema_entry_drop(&broker->negotiator, guest->schema);
    free(guest);
    return NULL;
}

void guest_withdraw(struct guest *guest, bool drain)
{
    if (!drain || !guest->service || guest->state != GUEST_UP) {
        guest_end(guest, "is gone: it was withdrawn");
        return;
    }
    guest->leaving = true;
    parley_service_close(guest->service);
    guest_mark_due(guest);
}

void guest_turn(struct guest *guest, uint64_t now_ns)
{
    guest->due = false;
    if (guest->state == GUEST_UP)
        receive_answers(guest); /* before it is told that the connection has ended */
    int r = requester_turn(guest->line);
    if (r < 0)
        guest_end(guest, "is gone: it cannot be heard: %s", strerror(-r));
    if (guest->endpoint && parley_dispatch(guest->endpoint, 0) != PARLEY_OK)
        guest_end(guest, "is gone: %s", parley_error_text());
    if (guest->state != GUEST_ENDED)
        receive_answers(guest);
    look_at_clock(guest, now_ns);
    if (guest->state == GUEST_PROVING)
        guest_proof_ask(&guest->proof, guest->line);
    send_waiting(guest);
    let_in(guest);
    if (guest->endpoint && guest->state != GUEST_ENDED && !rpc_endpoint_linked(guest->endpoint))
        guest_end(guest, "is gone: the broker ended its link");
    if (guest->leaving && parley_service_drained(guest->service))
        guest_end(guest, "is gone: it has drained");
    guest->next_ns = next_turn_ns(guest);
}
