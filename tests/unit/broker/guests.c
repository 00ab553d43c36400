#include "guests.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>

#include "base/clock.h"
#include "broker/front.h"
#include "control/nng.h"
#include "rpc/rpc.h"
#include "wire/wire.h"

struct guests guests;
static pthread_t thread;
static _Atomic int stop;

static void *run(void *data)
{
    while (!atomic_load(&stop))
        if (broker_turn(guests.broker, WAIT_FOREVER) < 0)
            abort();
    return data;
}

static void begin(const struct serve_options *options, const struct eject_settings *eject,
                  const char *url, const struct tls_settings *tls)
{
    memset(&guests, 0, sizeof(guests));
    strcpy(guests.folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(guests.folder));
    snprintf(guests.socket, sizeof(guests.socket), "%s/parleyd.sock", guests.folder);
    snprintf(guests.control, sizeof(guests.control), "ipc://%s/control.ipc", guests.folder);
    const char *control[] = {guests.control};
    const char *bus[] = {url};
    struct broker_options all = {
        .socket = guests.socket,
        .socket_mode = 0600,
        .control_urls = control,
        .control_url_count = 1,
        .bus_urls = bus,
        .bus_url_count = 1,
        .eject = eject,
    };
    if (options)
        all.serve = *options;
    if (tls)
        all.tls = *tls;
    all.serve.dir = guests.folder;
    struct error_text error = {""};
    if (broker_new(&all, &guests.broker, &error) < 0)
        fail_msg("%s", error.text);
    snprintf(guests.bus, sizeof(guests.bus), "%s", front_url(guests.broker, 0));
    atomic_store(&stop, 0);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    const struct parley_endpoint_options mine = {
        .broker = guests.socket, .name = "asker", .connect_timeout_ns = PATIENCE_NS};
    assert_int_equal(parley_endpoint_new(&mine, &guests.endpoint), PARLEY_OK);
}

void guests_begin(const struct serve_options *options, const struct eject_settings *eject)
{
    begin(options, eject, "tcp://127.0.0.1:0", NULL);
}

void guests_begin_tls(const struct tls_settings *tls)
{
    begin(NULL, NULL, "tls+tcp://127.0.0.1:0", tls);
}

void guests_connect(nng_socket socket, const char *url, const struct guest_certificate *with)
{
    nng_dialer dialer;
    nng_tls_config *tls;
    assert_int_equal(nng_dialer_create(&dialer, socket, url), 0);
    if (strncmp(url, "tls+", 4) == 0) {
        assert_int_equal(nng_tls_config_alloc(&tls, NNG_TLS_MODE_CLIENT), 0);
        assert_int_equal(nng_tls_config_ca_file(tls, with->authority), 0);
        assert_int_equal(nng_tls_config_server_name(tls, "127.0.0.1"), 0);
        /* libnng believes names alone, and certificates of tests are for an address. */
        assert_int_equal(nng_tls_config_auth_mode(tls, NNG_TLS_AUTH_MODE_NONE), 0);
        assert_int_equal(nng_tls_config_cert_key_file(tls, with->certificate, NULL), 0);
        assert_int_equal(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, tls), 0);
        nng_tls_config_free(tls);
    }
    assert_int_equal(nng_dialer_start(dialer, NNG_FLAG_NONBLOCK), 0);
}

void guests_end(void)
{
    parley_endpoint_free(guests.endpoint);
    atomic_store(&stop, 1);
    wait_wake(guests.broker->wait);
    pthread_join(thread, NULL);
    broker_free(guests.broker);
    assert_int_equal(rmdir(guests.folder), 0); /* nothing was left behind */
}

int guests_set_up(void **state)
{
    (void)state;
    guests_begin(NULL, NULL);
    return 0;
}

int guests_tear_down(void **state)
{
    (void)state;
    guests_end();
    return 0;
}

int guests_begin_echo(void **state)
{
    (void)guests_set_up(state);
    guests_join(&guests.echo, &echo__v1__echo__interface, 0);
    guests.client = guests_client(&echo__v1__echo__interface);
    return 0;
}

int guests_end_echo(void **state)
{
    guests_leave(&guests.echo);
    return guests_tear_down(state);
}

/* ---- The control API ---- */

Parley__ControlReply *guests_ask(const Parley__ControlRequest *request)
{
    size_t bytes = parley__control_request__get_packed_size(request), answer_bytes = 0;
    uint8_t *data = malloc(bytes), *answer = NULL;
    assert_non_null(data);
    parley__control_request__pack(request, data);
    struct nng_asker *asker;
    struct error_text error = {""};
    if (nng_asker_new(guests.control, PATIENCE_NS, &asker, &error) < 0 ||
        nng_asker_ask(asker, data, bytes, &answer, &answer_bytes, &error) < 0)
        fail_msg("%s", error.text);
    nng_asker_free(asker);
    free(data);
    ProtobufCMessage *message;
    assert_int_equal(wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL,
                                 &message, &error),
                     0);
    free(answer);
    return (Parley__ControlReply *)message;
}

Parley__PublishRequest guests_request(const struct parley_interface *interface)
{
    Parley__PublishRequest request = PARLEY__PUBLISH_REQUEST__INIT;
    request.has_descriptor_set = true;
    request.descriptor_set.data = (uint8_t *)(uintptr_t)interface->descriptor_set;
    request.descriptor_set.len = interface->descriptor_set_bytes;
    request.name = (char *)(uintptr_t) "guest";
    return request;
}

Parley__ControlReply *guests_publish(const Parley__PublishRequest *request)
{
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_PUBLISH;
    control.publish = (Parley__PublishRequest *)(uintptr_t)request;
    return guests_ask(&control);
}

bool guests_audited(const char *words)
{
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__EventsRequest events = PARLEY__EVENTS_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_EVENTS;
    control.events = &events;
    bool was = false;
    Parley__ControlReply *reply = guests_ask(&control);
    for (size_t i = 0; i < reply->events->n_event; i++)
        was |= strcmp(reply->events->event[i]->topic, "audit.publish") == 0 &&
               strstr(reply->events->event[i]->text, words);
    wire_free(reply);
    return was;
}

static struct bus_text text_of(const char *text)
{
    return (struct bus_text){text, strlen(text)};
}

enum parley_status guests_bus_call(const char *method, const ProtobufCMessage *request,
                                   const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    struct bus_frame frame = {.header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
                              .interface = text_of("parley.bus"),
                              .method = text_of(method)};
    frame.payload_bytes = protobuf_c_message_get_packed_size(request);
    size_t head = bus_frame_head_bytes(&frame);
    struct error_text error = {""};
    nng_socket socket;
    nng_msg *message;
    assert_int_equal(nng_msg_alloc(&message, head + frame.payload_bytes), 0);
    assert_int_equal(bus_frame_write(&frame, nng_msg_body(message), head), 0);
    protobuf_c_message_pack(request, (uint8_t *)nng_msg_body(message) + head);
    assert_int_equal(nng_req0_open(&socket), 0);
    guests_connect(socket, guests.bus, &guests.as);
    assert_int_equal(nng_sendmsg(socket, message, 0), 0);
    assert_int_equal(nng_recvmsg(socket, &message, 0), 0);
    if (bus_frame_read(nng_msg_body(message), nng_msg_len(message), &frame, &error) < 0)
        fail_msg("%s", error.text);
    enum parley_status status = (enum parley_status)frame.header.status;
    if (status == PARLEY_OK)
        assert_int_equal(wire_unpack(type, frame.payload, frame.payload_bytes, NULL, ret, &error),
                         0);
    nng_msg_free(message);
    (void)nng_close_socket(socket.id);
    return status;
}

uint64_t guests_counter(const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(&parley__serve_stats__descriptor, name);
    assert_non_null(field);
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__StatsRequest stats = PARLEY__STATS_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_STATS;
    control.stats = &stats;
    Parley__ControlReply *reply = guests_ask(&control);
    const uint8_t *at = (const uint8_t *)reply->stats->serve + field->offset;
    uint32_t small;
    uint64_t is;
    memcpy(&small, at, sizeof(small));
    memcpy(&is, at, sizeof(is));
    wire_free(reply);
    return field->type == PROTOBUF_C_TYPE_UINT32 ? small : is;
}

void guests_await_counter(const char *name, uint64_t value)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS, is;
    do {
        is = guests_counter(name);
        guests_turn();
    } while (is != value && clock_now_ns() < until);
    if (is != value)
        fail_msg("%s is %llu instead of %llu", name, (unsigned long long)is,
                 (unsigned long long)value);
}

/* ---- The REP socket ---- */

void guests_dial(struct guest_socket *guest, const Parley__PublishReply *reply)
{
    guest->id = reply->instance_id;
    snprintf(guest->url, sizeof(guest->url), "%s", reply->url);
    assert_int_equal(nng_rep0_open_raw(&guest->socket), 0);
    guests_connect(guest->socket, guest->url, &guests.as);
}

void guests_join(struct guest_socket *guest, const struct parley_interface *interface,
                 uint32_t calls_max)
{
    Parley__PublishRequest request = guests_request(interface);
    request.has_calls_max = calls_max > 0;
    request.calls_max = calls_max;
    Parley__ControlReply *reply = guests_publish(&request);
    if (reply->status != PARLEY_OK)
        fail_msg("%s", reply->text);
    guests_dial(guest, reply->publish);
    wire_free(reply);
}

void guests_leave(struct guest_socket *guest)
{
    if (guest->socket.id != 0)
        (void)nng_close_socket(guest->socket.id);
    guest->socket.id = 0;
}

void guests_turn(void)
{
    assert_int_equal(parley_dispatch(guests.endpoint, NS_PER_MS), PARLEY_OK);
}

bool guests_try(struct guest_socket *guest, struct guest_ask *ret)
{
    struct error_text error = {""};
    int n = nng_recvmsg(guest->socket, &ret->message, NNG_FLAG_NONBLOCK);
    if (n == NNG_EAGAIN)
        return false;
    assert_int_equal(n, 0);
    if (bus_frame_read(nng_msg_body(ret->message), nng_msg_len(ret->message), &ret->frame, &error) <
        0)
        fail_msg("%s", error.text);
    return true;
}

void guests_take(struct guest_socket *guest, struct guest_ask *ret)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    bool taken = false;
    while (!taken && clock_now_ns() < until) {
        taken = guests_try(guest, ret);
        if (!taken)
            guests_turn();
    }
    assert_true(taken);
}

bool guests_quiet(struct guest_socket *guest)
{
    nng_msg *message;
    for (int i = 0; i < 30; i++) {
        guests_turn();
        if (nng_recvmsg(guest->socket, &message, NNG_FLAG_NONBLOCK) != NNG_EAGAIN)
            return false;
    }
    return true;
}

void guests_send(struct guest_socket *guest, struct guest_ask *ask, const void *data, size_t bytes,
                 bool again)
{
    nng_msg *answer;
    assert_int_equal(nng_msg_dup(&answer, ask->message), 0);
    nng_msg_clear(answer);
    assert_int_equal(nng_msg_append(answer, data, bytes), 0);
    nng_msg_set_pipe(answer, nng_msg_get_pipe(ask->message));
    assert_int_equal(nng_sendmsg(guest->socket, answer, 0), 0);
    if (!again)
        nng_msg_free(ask->message);
}

void guests_reply(struct guest_socket *guest, struct guest_ask *ask, enum parley_status status,
                  enum parley_executed executed, const void *payload, size_t bytes)
{
    const struct bus_frame frame = {
        .header = {.kind = FRAME_RESPONSE,
                   .status = (uint8_t)status,
                   .executed = (uint8_t)executed},
        .payload_bytes = bytes,
    };
    size_t head = bus_frame_head_bytes(&frame);
    uint8_t *out = malloc(head + bytes);
    assert_non_null(out);
    assert_int_equal(bus_frame_write(&frame, out, head), 0);
    if (bytes)
        memcpy(out + head, payload, bytes);
    guests_send(guest, ask, out, head + bytes, false);
    free(out);
}

/* ---- The client ---- */

struct parley_client *guests_client(const struct parley_interface *interface)
{
    struct parley_client *client;
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    enum parley_status status;
    /* The instance is up a moment after its socket has dialled. */
    while ((status = parley_client_new(guests.endpoint, interface, NULL, &client)) ==
               PARLEY_UNAVAILABLE &&
           clock_now_ns() < until)
        guests_turn();
    assert_int_equal(status, PARLEY_OK);
    while (parley_client_channel_count(client) == 0 && clock_now_ns() < until)
        guests_turn();
    assert_true(parley_client_channel_count(client) > 0);
    return client;
}

static void on_end(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                   void *userdata)
{
    struct guest_call_end *end = userdata;
    end->count++;
    end->status = outcome->status;
    end->executed = outcome->executed;
    snprintf(end->text, sizeof(end->text), "%s", outcome->text ? outcome->text : "");
    if (payload)
        memcpy(end->payload, payload, bytes < sizeof(end->payload) ? bytes : sizeof(end->payload));
    end->bytes = payload ? bytes : 0;
}

uint64_t guests_start_with(struct parley_client *client, unsigned method, uint64_t timeout_ns,
                           const uint8_t *payload, size_t bytes, struct guest_call_end *end)
{
    const struct rpc_call call = {.timeout_ns = timeout_ns ? timeout_ns : PATIENCE_NS,
                                  .payload = payload,
                                  .payload_bytes = bytes,
                                  .replied = on_end,
                                  .userdata = end};
    return rpc_call_raw(client, method, &call);
}

uint64_t guests_start(struct parley_client *client, unsigned method, uint64_t timeout_ns,
                      struct guest_call_end *end)
{
    return guests_start_with(client, method, timeout_ns, seven, sizeof(seven), end);
}

void guests_await(const struct guest_call_end *end, size_t count)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (end->count < count && clock_now_ns() < until)
        guests_turn();
    assert_int_equal(end->count, count);
}

void guests_await_channels(const struct parley_client *client, size_t count)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (parley_client_channel_count(client) != count && clock_now_ns() < until)
        guests_turn();
    assert_int_equal(parley_client_channel_count(client), count);
}
