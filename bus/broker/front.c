/*
 * The bus URLs: any program with an NNG library calls here, with frames or with JSON.
 *
 * A message is looked at once (bus_frame.c), its target is looked up, and it goes to the relay,
 * which is a client like any other; the answer is written where it will be sent from. Requests stay
 * where NNG has put them until they are answered, so what waits is not copied either.
 *
 * What a frame calls is the same again and again, so each connection remembers the last targets
 * that it named, and looks one up anew only when something on the bus has changed
 * (front_changes()).
 *
 * A connection owns its calls: their ids are its own, a CANCEL reaches no other's, and when it
 * hangs up they are cancelled. Connections are known by the replier's numbers, which are never used
 * twice. All counting of what a peer has and does is quota.c's.
 *
 * Whatever comes is answered, but from who has hung up already: a status and a sentence.
 */
#include "broker/front.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/call_json.h"
#include "broker/guard.h"
#include "control/bus_frame.h"

#define TARGET_MAX 4          /* that a connection remembers */
#define TARGET_TEXT_BYTES 192 /* of the names of one; longer ones are looked up each time */
#define CALL_BUCKETS 64       /* of a connection's calls, by id: a power of two */
#define SPARE_MAX 4096        /* calls that are kept for later */

/* What a frame named, and what that is. */
struct target {
    uint64_t stamp;              /* 0: nothing */
    struct schema_entry *schema; /* one of its users */
    size_t method;
    size_t bytes[3]; /* of interface, version, method in `text` */
    char text[TARGET_TEXT_BYTES];
};

LIST_HEAD(front_calls, front_call);

struct front_connection {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    struct quota_connection quota;
    struct target targets[TARGET_MAX];
    unsigned target_next; /* to be replaced */
    struct front_calls calls[CALL_BUCKETS];
};

struct front_call {
    LIST_ENTRY(front_call) entry; /* of its connection's bucket, or the spare ones */
    struct front *front;
    struct front_connection *connection;
    struct replier_request *request;
    uint64_t call_id;  /* the asker's */
    uint64_t relay;    /* relay_cancel() */
    size_t bytes;      /* of its message */
    size_t head_bytes; /* of the answer, if its reply has room already; else 0 */
    uint8_t *answer;
    bool gone; /* nobody waits for it */
};

struct front {
    struct source source;
    struct broker *broker;
    struct replier *replier;
    struct front_connection *connections; /* hash by number */
    struct front_connection *last;        /* whose request came last; NULL */
    struct front_calls spare;
    unsigned spare_count;
    struct front_counts counts;
};

/* ---- Answers ---- */

static struct bus_text text_of(const char *text)
{
    return text[0] ? (struct bus_text){text, strlen(text)} : (struct bus_text){NULL, 0};
}

/* The frame of an answer, but for its payload. */
static struct bus_frame answer_frame(uint64_t call_id, const struct relay_end *end)
{
    struct bus_frame frame = {
        .header = {.call_id = call_id,
                   .kind = FRAME_RESPONSE,
                   .status = (uint8_t)end->status,
                   .executed = (uint8_t)end->executed},
        .version = text_of(end->version),
    };
    if (frame.version.text)
        frame.translation = text_of(parley_translation_name(end->translation));
    return frame;
}

/* Ends the request. @payload: the reply, or a sentence. */
static void answer(struct front *front, struct replier_request *request, uint64_t call_id,
                   const struct relay_end *end, const void *payload, size_t bytes)
{
    struct bus_frame frame = answer_frame(call_id, end);
    frame.payload_bytes = bytes;
    size_t head_bytes = bus_frame_head_bytes(&frame);
    uint8_t *out;
    int r = replier_answer_begin(request, head_bytes + bytes, &out);
    if (r == 0)
        r = bus_frame_write(&frame, out, head_bytes);
    if (r < 0) {
        log_error("a call on the bus is not answered: %s", strerror(-r));
        replier_drop(request);
        return;
    }
    if (bytes)
        memcpy(out + head_bytes, payload, bytes);
    front->counts.bytes_out += head_bytes + bytes;
    (void)replier_answer_end(request, head_bytes + bytes); /* who is gone need not hear */
}

static void refuse(struct front *front, struct replier_request *request, uint64_t call_id,
                   enum parley_status status, const char *text)
{
    const struct relay_end end = {.status = status, .executed = PARLEY_EXECUTED_NO, .version = ""};
    size_t bytes = strlen(text);
    answer(front, request, call_id, &end, text, bytes);
}

/* ---- Calls ---- */

static struct front_call *call_new(struct front *front, struct front_connection *connection,
                                   struct replier_request *request, uint64_t call_id, size_t bytes)
{
    struct front_call *call = LIST_FIRST(&front->spare);
    if (call) {
        LIST_REMOVE(call, entry);
        front->spare_count--;
    } else if (!(call = malloc(sizeof(*call)))) {
        return NULL;
    }
    *call = (struct front_call){.front = front,
                                .connection = connection,
                                .request = request,
                                .call_id = call_id,
                                .bytes = bytes};
    LIST_INSERT_HEAD(&connection->calls[call_id & (CALL_BUCKETS - 1)], call, entry);
    if (++front->counts.calls_now > front->counts.calls_most)
        front->counts.calls_most = front->counts.calls_now;
    return call;
}

/* Its request has been answered, or will not be. */
static void call_free(struct front_call *call)
{
    struct front *front = call->front;
    LIST_REMOVE(call, entry);
    quota_end(&front->broker->quota, &call->connection->quota, call->bytes);
    front->counts.calls_now--;
    if (front->spare_count == SPARE_MAX) {
        free(call);
        return;
    }
    LIST_INSERT_HEAD(&front->spare, call, entry);
    front->spare_count++;
}

/* The head of the answer goes before the reply, so it is written first; how long the reply is, and
 * whether it is one, shows later. */
static uint8_t *on_room(const struct relay_end *so_far, size_t bytes, void *userdata)
{
    struct front_call *call = userdata;
    const struct bus_frame frame = answer_frame(call->call_id, so_far);
    size_t head_bytes = bus_frame_head_bytes(&frame);
    if (call->gone || !replier_has_room(call->request, head_bytes + bytes) ||
        replier_answer_begin(call->request, head_bytes + bytes, &call->answer) < 0)
        return NULL;
    if (bus_frame_write(&frame, call->answer, head_bytes) < 0)
        return NULL;
    call->head_bytes = head_bytes;
    return call->answer + head_bytes;
}

static bool has_room(const struct front_call *call, const struct relay_end *end)
{
    const struct bus_frame frame = answer_frame(call->call_id, end);
    return replier_has_room(call->request, bus_frame_head_bytes(&frame) + end->payload_bytes);
}

/* A reply for which there was no room in what waits for its asker. Whoever reads its answers, and
 * does not ask for much more at once, never sees this. */
static void answer_unread(struct front *front, struct front_call *call, const struct relay_end *end)
{
    static const char text[] = "the answers that wait for you have no room for this one: read them "
                               "first, or ask for less at once";
    const struct relay_end exhausted = {.status = PARLEY_RESOURCE_EXHAUSTED,
                                        .executed = end->executed,
                                        .translation = end->translation,
                                        .version = end->version};
    front->counts.limited++;
    answer(front, call->request, call->call_id, &exhausted, text, strlen(text));
}

static void on_ended(const struct relay_end *end, void *userdata)
{
    struct front_call *call = userdata;
    struct front *front = call->front;
    bool in_place = call->head_bytes && end->status == PARLEY_OK &&
                    end->payload == call->answer + call->head_bytes;
    if (call->gone) {
        replier_drop(call->request);
    } else if (in_place) {
        uint32_t payload_bytes = htole32((uint32_t)end->payload_bytes);
        memcpy(call->answer + offsetof(struct frame_header, payload_bytes), &payload_bytes,
               sizeof(payload_bytes));
        front->counts.bytes_out += call->head_bytes + end->payload_bytes;
        (void)replier_answer_end(call->request, call->head_bytes + end->payload_bytes);
    } else if (end->status == PARLEY_OK && !has_room(call, end)) {
        answer_unread(front, call, end);
    } else if (end->status == PARLEY_OK) {
        answer(front, call->request, call->call_id, end, end->payload, end->payload_bytes);
    } else {
        answer(front, call->request, call->call_id, end, end->text, strlen(end->text));
    }
    call_free(call);
}

/* ---- Targets ---- */

uint64_t front_changes(const struct broker *broker)
{
    return 1 + broker->negotiator.generation + broker->directory.changes + broker->routes.writes;
}

static bool names_match(const struct target *target, const struct bus_frame *frame)
{
    const struct bus_text *texts[] = {&frame->interface, &frame->version, &frame->method};
    const char *at = target->text;
    for (size_t i = 0; i < 3; i++) {
        if (texts[i]->bytes != target->bytes[i])
            return false;
        if (target->bytes[i] > 0 && memcmp(at, texts[i]->text, target->bytes[i]) != 0)
            return false;
        at += target->bytes[i];
    }
    return true;
}

/* As a string. @bytes: more than a name can have. */
static const char *string_of(const struct bus_text *text, char *out, size_t bytes)
{
    size_t length = text->bytes < bytes - 1 ? text->bytes : bytes - 1;
    if (!text->text)
        return NULL;
    memcpy(out, text->text, length);
    out[length] = '\0';
    return out;
}

static enum parley_status find_method(const struct schema_entry *schema,
                                      const struct bus_frame *frame, size_t *ret_method,
                                      struct error_text *error)
{
    char method[256];
    if (frame->method.text)
        return relay_method(schema, string_of(&frame->method, method, sizeof(method)), ret_method,
                            error);
    const struct schema_service *service = schema_service(schema->schema);
    *ret_method = frame->header.method;
    if (frame->header.method < service->method_count)
        return relay_method(schema, service->methods[frame->header.method].name, ret_method, error);
    error_set(error, 0, "%s %s has %zu methods: there is no %u", service->interface->name,
              service->interface->version, service->method_count, frame->header.method);
    return PARLEY_NOT_FOUND;
}

static enum parley_status look_up(struct front *front, const struct bus_frame *frame,
                                  struct schema_entry **ret_schema, size_t *ret_method,
                                  struct error_text *error)
{
    char interface[64], version[32];
    if (!frame->interface.text) {
        error_set(error, 0, "the frame names no interface: metadata parley.interface says it");
        return PARLEY_INVALID_ARGUMENT;
    }
    enum parley_status status =
        relay_find(front->broker, string_of(&frame->interface, interface, sizeof(interface)),
                   string_of(&frame->version, version, sizeof(version)), ret_schema, error);
    return status == PARLEY_OK ? find_method(*ret_schema, frame, ret_method, error) : status;
}

static void target_forget(struct front *front, struct target *target)
{
    if (target->stamp)
        schema_entry_drop(&front->broker->negotiator, target->schema);
    target->stamp = 0;
}

static void target_keep(struct front *front, struct front_connection *connection,
                        const struct bus_frame *frame, struct schema_entry *schema, size_t method)
{
    const struct bus_text *texts[] = {&frame->interface, &frame->version, &frame->method};
    struct target *target = &connection->targets[connection->target_next++ % TARGET_MAX];
    size_t used = 0;
    target_forget(front, target);
    for (size_t i = 0; i < 3; i++) {
        if (texts[i]->bytes > TARGET_TEXT_BYTES - used)
            return;
        target->bytes[i] = texts[i]->bytes;
        if (texts[i]->bytes)
            memcpy(target->text + used, texts[i]->text, texts[i]->bytes);
        used += texts[i]->bytes;
    }
    schema_entry_keep(&front->broker->negotiator, schema);
    target->schema = schema;
    target->method = method;
    target->stamp = front_changes(front->broker);
}

/* By names. */
static enum parley_status find_target(struct front *front, struct front_connection *connection,
                                      const struct bus_frame *frame,
                                      struct schema_entry **ret_schema, size_t *ret_method,
                                      struct error_text *error)
{
    uint64_t now = front_changes(front->broker);
    for (size_t i = 0; i < TARGET_MAX && frame->method.text; i++) {
        const struct target *target = &connection->targets[i];
        if (target->stamp == now && names_match(target, frame)) {
            *ret_schema = target->schema;
            *ret_method = target->method;
            return PARLEY_OK;
        }
    }
    enum parley_status status = look_up(front, frame, ret_schema, ret_method, error);
    if (status == PARLEY_OK && frame->method.text)
        target_keep(front, connection, frame, *ret_schema, *ret_method);
    return status;
}

/* By what Open gave; a call's own range is instead of the one that it gave. */
static enum parley_status find_contract(struct front *front, const struct replier_peer *peer,
                                        const struct bus_frame *frame, struct relay_ask *ask,
                                        struct error_text *error)
{
    char digits[17], *end;
    const char *accept;
    if (frame->interface.text || frame->version.text) {
        error_set(error, 0,
                  "parley.contract is instead of parley.interface and parley.version: leave those "
                  "out");
        return PARLEY_INVALID_ARGUMENT;
    }
    uint64_t id = strtoull(string_of(&frame->contract, digits, sizeof(digits)), &end, 16);
    if (*end != '\0') {
        error_set(error, 0, "parley.contract is \"%s\": it is 16 hexadecimal digits", digits);
        return PARLEY_INVALID_ARGUMENT;
    }
    enum parley_status status =
        front_contract_find(front->broker, id, peer, &ask->schema, &accept, error);
    if (status == PARLEY_OK && !ask->accept)
        ask->accept = accept;
    return status == PARLEY_OK ? find_method(ask->schema, frame, &ask->method, error) : status;
}

/* ---- Frames ---- */

static enum parley_status fill_in(struct front *front, struct front_connection *connection,
                                  const struct bus_frame *frame, struct relay_ask *ask,
                                  char accept[256], struct error_text *error)
{
    if (frame->says_peer) {
        error_set(error, 0, "metadata parley.peer.*: who asks the bus says itself");
        return PARLEY_INVALID_ARGUMENT;
    }
    ask->accept = string_of(&frame->accept, accept, 256);
    if (frame->contract.text)
        return find_contract(front, ask->peer, frame, ask, error);
    return find_target(front, connection, frame, &ask->schema, &ask->method, error);
}

/* It is no message, or one to nowhere. Who sends too many is not read for a while: that costs the
 * broker nothing, where hanging up would have it come again at once. */
static void count_bad(struct front *front, struct front_connection *connection,
                      const struct replier_request *request)
{
    uint64_t now_ns = clock_now_ns();
    if (!quota_bad(&front->broker->quota, &connection->quota, now_ns))
        return;
    guard_limited(front->broker, replier_request_peer(request), "to be heard",
                  "too many messages that nobody can deliver: the connection is not read for a "
                  "second (--limit bad=N)");
    replier_hold(front->replier, connection->number, now_ns + NS_PER_S);
}

static void on_call(struct front *front, struct front_connection *connection,
                    struct replier_request *request, const struct bus_frame *frame, size_t bytes)
{
    uint8_t own[BUS_FRAME_METADATA_BYTES_MAX];
    char accept[256];
    struct error_text error;
    error.text[0] = '\0';
    struct relay_ask ask = {
        .timeout_ns = frame->header.time_left_us * NS_PER_US,
        .metadata = frame->metadata,
        .metadata_bytes = frame->metadata_bytes,
        .payload = frame->payload,
        .payload_bytes = frame->payload_bytes,
        .payload_stays = true,
        .one_way = frame->header.kind == FRAME_ONE_WAY,
        .peer = replier_request_peer(request),
        .room = on_room,
        .ended = on_ended,
    };
    if (!frame->plain) {
        ask.metadata = own;
        ask.metadata_bytes = bus_frame_metadata(frame, own);
    }
    enum parley_status status = fill_in(front, connection, frame, &ask, accept, &error);
    struct front_call *call = NULL;
    if (status != PARLEY_OK) {
        count_bad(front, connection, request);
    } else {
        call = call_new(front, connection, request, frame->header.call_id, bytes);
        ask.userdata = call;
        if (call)
            call->relay = relay_start(front->broker, &ask, &status, &error);
        else
            status = PARLEY_RESOURCE_EXHAUSTED;
    }
    if (call && call->relay)
        return;
    refuse(front, request, frame->header.call_id, status,
           error.text[0] ? error.text : "the broker is out of memory");
    if (call)
        call_free(call);
    else
        quota_end(&front->broker->quota, &connection->quota, bytes);
}

static struct front_call *call_find(const struct front_connection *connection, uint64_t call_id)
{
    struct front_call *call;
    LIST_FOREACH (call, &connection->calls[call_id & (CALL_BUCKETS - 1)], entry) {
        if (call->call_id == call_id)
            return call;
    }
    return NULL;
}

/* All of that id. relay_cancel() answers it; or it has ended, and its answer is on its way. */
static void on_cancel(struct front *front, struct front_connection *connection,
                      struct replier_request *request, uint64_t call_id)
{
    struct front_call *call;
    unsigned count = 0;
    while ((call = call_find(connection, call_id)) &&
           relay_cancel(front->broker, call->relay) == PARLEY_OK)
        count++;
    front->counts.cancelled += count;
    if (count == 0) {
        refuse(front, request, call_id, PARLEY_NOT_FOUND,
               "this connection has no such call: it has ended");
        return;
    }
    const struct relay_end end = {.status = PARLEY_OK, .version = ""};
    answer(front, request, call_id, &end, NULL, 0);
}

/* The call_id of what is no frame, but long enough to have one. */
static uint64_t call_id_in(const uint8_t *data, size_t bytes)
{
    uint64_t id = 0;
    if (bytes >= sizeof(struct frame_header))
        memcpy(&id, data, sizeof(id));
    return le64toh(id);
}

static void on_frame(struct front *front, struct front_connection *connection,
                     struct replier_request *request, const uint8_t *data, size_t bytes)
{
    struct quota *quota = &front->broker->quota;
    struct bus_frame frame;
    struct error_text error;
    error.text[0] = '\0';
    if (bus_frame_read(data, bytes, &frame, &error) < 0) {
        front->counts.malformed++;
        count_bad(front, connection, request);
        refuse(front, request, call_id_in(data, bytes), PARLEY_INVALID_ARGUMENT, error.text);
        quota_end(quota, &connection->quota, bytes);
        return;
    }
    front->counts.frames++;
    switch (frame.header.kind) {
    case FRAME_REQUEST:
    case FRAME_ONE_WAY:
        on_call(front, connection, request, &frame, bytes);
        return;
    case FRAME_CANCEL:
        on_cancel(front, connection, request, frame.header.call_id);
        break;
    default:
        front->counts.malformed++;
        refuse(front, request, frame.header.call_id, PARLEY_INVALID_ARGUMENT,
               "kind is that of a service's frame: who asks sends 1 (request), 3 (cancel) or 4 "
               "(one way)");
        break;
    }
    quota_end(quota, &connection->quota, bytes);
}

/* ---- JSON ---- */

static void on_text_answered(char *text, size_t bytes, void *userdata)
{
    struct front_call *call = userdata;
    if (call->gone || !text) {
        replier_drop(call->request);
    } else {
        call->front->counts.bytes_out += bytes;
        (void)replier_answer(call->request, (const uint8_t *)text, bytes);
    }
    free(text);
    call_free(call);
}

static bool is_object(const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && strchr(" \t\r\n", data[at]) && data[at])
        at++;
    return at < bytes && data[at] == '{';
}

/* What is no frame. A call in JSON has no id: no CANCEL finds it but one of id 0. */
static void on_text(struct front *front, struct front_connection *connection,
                    struct replier_request *request, const uint8_t *data, size_t bytes)
{
    if (!is_object(data, bytes)) {
        on_frame(front, connection, request, data, bytes);
        return;
    }
    struct front_call *call = call_new(front, connection, request, 0, bytes);
    if (!call) {
        replier_drop(request);
        quota_end(&front->broker->quota, &connection->quota, bytes);
        return;
    }
    front->counts.json++;
    uint64_t relay = call_json_text(front->broker, data, bytes, replier_request_peer(request),
                                    on_text_answered, call);
    if (relay != 0)
        call->relay = relay; /* else it has been answered, and is no more */
}

/* ---- Connections ---- */

static struct front_connection *connection_find(struct front *front, uint64_t number)
{
    struct front_connection *connection = front->last;
    if (connection && connection->number == number)
        return connection;
    HASH_FIND(hh, front->connections, &number, sizeof(number), connection);
    front->last = connection;
    return connection;
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct front *front = data;
    struct front_connection *connection = calloc(1, sizeof(*connection));
    struct error_text error = {""};
    if (!connection)
        return; /* its requests are dropped, as if it had hung up */
    connection->number = peer->connection;
    int r = quota_connect(&front->broker->quota, peer, clock_now_ns(), &connection->quota, &error);
    if (r < 0)
        guard_limited(front->broker, peer, "a connection", error.text);
    if (r == -ECONNREFUSED)
        replier_hang_up(front->replier, peer->connection);
    HASH_ADD(hh, front->connections, number, sizeof(connection->number), connection);
}

static void connection_free(struct front *front, struct front_connection *connection)
{
    struct front_call *call;
    for (size_t i = 0; i < CALL_BUCKETS; i++) {
        LIST_FOREACH (call, &connection->calls[i], entry) {
            call->gone = true;
        }
        while ((call = LIST_FIRST(&connection->calls[i]))) {
            front->counts.abandoned++;
            if (relay_cancel(front->broker, call->relay) == PARLEY_OK)
                continue; /* on_ended() ran */
            /* It has ended, and is told in the relay's next turn: that is now. */
            relay_tell(front->broker);
            assert(LIST_FIRST(&connection->calls[i]) != call);
        }
    }
    for (size_t i = 0; i < TARGET_MAX; i++)
        target_forget(front, &connection->targets[i]);
    quota_disconnect(&front->broker->quota, &connection->quota);
    HASH_DEL(front->connections, connection);
    if (front->last == connection)
        front->last = NULL;
    free(connection);
}

static void on_gone(uint64_t number, void *data)
{
    struct front *front = data;
    struct front_connection *connection = connection_find(front, number);
    if (connection)
        connection_free(front, connection);
}

/* ---- The loop ---- */

static void handle(struct front *front, struct replier_request *request, const uint8_t *data,
                   size_t bytes)
{
    const struct replier_peer *peer = replier_request_peer(request);
    struct front_connection *connection = connection_find(front, peer->connection);
    if (!connection) {
        replier_drop(request); /* it has hung up */
        return;
    }
    struct error_text error;
    front->counts.bytes_in += bytes;
    enum parley_status status =
        quota_begin(&front->broker->quota, &connection->quota, bytes, clock_now_ns(), &error);
    if (status != PARLEY_OK) {
        front->counts.limited++;
        refuse(front, request, call_id_in(data, bytes), status, error.text);
    } else if (bus_frame_is(data, bytes)) {
        on_frame(front, connection, request, data, bytes);
    } else {
        on_text(front, connection, request, data, bytes);
    }
}

static void on_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct front *front = (struct front *)source; /* its first member */
    for (unsigned i = 0; i < BROKER_BATCH_MAX; i++) {
        struct replier_request *request;
        const uint8_t *data;
        size_t bytes;
        int r = replier_receive(front->replier, &request, &data, &bytes);
        if (r == REPLIER_E_AGAIN)
            return;
        if (r < 0) {
            log_error("the bus: %s", strerror(-r));
            return;
        }
        handle(front, request, data, bytes);
    }
    broker_again(front->broker, source);
}

uint64_t front_next_deadline_ns(const struct broker *broker)
{
    uint64_t self = front_self_next_deadline_ns(broker);
    uint64_t at = broker->front ? replier_next_deadline_ns(broker->front->replier) : CLOCK_NEVER;
    return self < at ? self : at;
}

void front_turn(struct broker *broker)
{
    struct front *front = broker->front;
    if (front && replier_next_deadline_ns(front->replier) <= clock_now_ns())
        on_ready(&front->source, WAIT_IN);
    front_self_turn(broker);
}

void front_flush(struct broker *broker)
{
    if (broker->front)
        replier_flush(broker->front->replier);
}

/* ---- Life ---- */

int front_open(struct broker *broker, const struct broker_options *options,
               struct error_text *error)
{
    struct front *front = calloc(1, sizeof(*front));
    if (!front)
        return error_set(error, -ENOMEM, "out of memory");
    front->source.ready = on_ready;
    front->broker = broker;
    const struct replier_options replier = {
        .urls = options->bus_urls,
        .url_count = options->bus_url_count,
        .bytes_max = quota_receive_max(&broker->quota),
        .gather = true,
        .tls = options->tls.certificate ? &options->tls : NULL,
        .mode = options->socket_mode,
        .came = on_came,
        .gone = on_gone,
        .data = front,
    };
    int r = guard_urls(options->bus_urls, options->bus_url_count, options->insecure, error);
    if (r == 0)
        r = replier_new(&replier, &front->replier, error);
    if (r < 0) {
        free(front);
        return r;
    }
    broker->front = front;
    r = broker_watch(broker, replier_fd(front->replier), WAIT_IN, &front->source);
    return r < 0 ? error_set(error, r, "cannot wait for requests: %s", strerror(-r)) : 0;
}

void front_close(struct broker *broker)
{
    struct front *front = broker->front;
    if (!front)
        return;
    broker->front = NULL;
    broker_unwatch(broker, replier_fd(front->replier), &front->source);
    while (front->connections)
        connection_free(front, front->connections);
    replier_free(front->replier);
    struct front_call *call;
    while ((call = LIST_FIRST(&front->spare))) {
        LIST_REMOVE(call, entry);
        free(call);
    }
    free(front);
}

const char *front_url(const struct broker *broker, size_t index)
{
    return replier_url(broker->front->replier, index);
}

void front_counts(const struct broker *broker, struct front_counts *ret_counts)
{
    *ret_counts = (struct front_counts){0};
    if (!broker->front)
        return;
    *ret_counts = broker->front->counts;
    replier_counts(broker->front->replier, &ret_counts->replier);
}

bool front_stats(const struct broker *broker, Parley__FrontStats *ret)
{
    struct front_counts counts;
    parley__front_stats__init(ret);
    if (!broker->front)
        return false;
    front_counts(broker, &counts);
#define FILL(field, value)                                                                         \
    do {                                                                                           \
        ret->has_##field = true;                                                                   \
        ret->field = value;                                                                        \
    } while (0)
    FILL(connections, counts.replier.connections_now);
    FILL(connections_ever, counts.replier.connections);
    FILL(connections_refused, counts.replier.refused + broker->quota.counts.connections);
    FILL(frames, counts.frames);
    FILL(json, counts.json);
    FILL(malformed, counts.malformed);
    FILL(limited, counts.limited);
    FILL(too_large, counts.replier.too_large);
    FILL(held_back, counts.replier.held_back);
    FILL(cancelled, counts.cancelled);
    FILL(abandoned, counts.abandoned);
    FILL(calls, counts.calls_now);
    FILL(calls_most, counts.calls_most);
    FILL(bytes_in, counts.bytes_in);
    FILL(bytes_out, counts.bytes_out);
#undef FILL
    return true;
}
