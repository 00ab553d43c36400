/*
 * What tests of REP sockets that serve have in common: a broker in a thread, publishing through its
 * control API, and a REP socket that does as it is told, right or wrong.
 */
#ifndef PARLEY_TESTS_UNIT_BROKER_GUESTS_H
#define PARLEY_TESTS_UNIT_BROKER_GUESTS_H

#include "support/test.h"

#include <stdbool.h>

#include <nng/nng.h>

#include "broker/broker.h"
#include "control/bus_frame.h"
#include "echo.parley.h"

#include "support/frames.h"

#define PATIENCE_NS (UINT64_C(20) * 1000000000)

enum { ECHO = 0, FAIL = 1, NEVER = 4 };   /* methods of echo */
static const uint8_t seven[] = {0x10, 7}; /* a Message whose number is 7 */

struct guest_certificate {
    const char *authority, *certificate; /* PEM files */
};

/* A raw REP socket that has published and dialled, and whose instance is up. */
struct guest_socket {
    nng_socket socket;
    uint64_t id;
    char url[256];
};

struct guests {
    char folder[64], socket[96], control[112], bus[112];
    struct broker *broker;            /* in its own thread */
    struct parley_endpoint *endpoint; /* of the test's client */
    struct guest_certificate as;      /* by which sockets dial URLs of TLS */
    struct guest_socket echo;     /* guests_begin_echo(): one that serves echo, a call at a time */
    struct parley_client *client; /* ... and a client with a channel to it */
};
extern struct guests guests;

/* @options: for the broker's serve_options, but for dir; NULL: none. @eject: NULL: the defaults. */
void guests_begin(const struct serve_options *options, const struct eject_settings *eject);
/* The bus URL is of tls+tcp://127.0.0.1. */
void guests_begin_tls(const struct tls_settings *tls);
void guests_end(void);
/* cmocka's: guests_begin(NULL, NULL), and guests_end(). */
int guests_set_up(void **state);
int guests_tear_down(void **state);
/* cmocka's, with guests.echo and guests.client. */
int guests_begin_echo(void **state);
int guests_end_echo(void **state);

/* Dials, in the background, with that certificate if the URL is one of TLS. */
void guests_connect(nng_socket socket, const char *url, const struct guest_certificate *with);
/* Whether an event audit.publish has these words. */
bool guests_audited(const char *words);

/* One request of the control API. The caller's: wire_free(). */
Parley__ControlReply *guests_ask(const Parley__ControlRequest *request);
/* Publishes; NULL: what the broker answered, else its reply must be freed. */
Parley__ControlReply *guests_publish(const Parley__PublishRequest *request);
/* A request with the interface's descriptor set. */
Parley__PublishRequest guests_request(const struct parley_interface *interface);

/* A call of parley.bus on the bus URL, which is of tcp. @ret: wire_free(). */
enum parley_status guests_bus_call(const char *method, const ProtobufCMessage *request,
                                   const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);

void guests_join(struct guest_socket *guest, const struct parley_interface *interface,
                 uint32_t calls_max);
void guests_dial(struct guest_socket *guest, const Parley__PublishReply *reply);
void guests_leave(struct guest_socket *guest); /* safe twice */

/* What it was sent. */
struct guest_ask {
    nng_msg *message;
    struct bus_frame frame; /* points into it */
};
/* Waits for the next; the test's client is served meanwhile. */
void guests_take(struct guest_socket *guest, struct guest_ask *ret);
/* Whether there was one. */
bool guests_try(struct guest_socket *guest, struct guest_ask *ret);
/* Whether nothing comes, as far as a few turns tell. */
bool guests_quiet(struct guest_socket *guest);
/* Sends any bytes as the answer, and frees the request; @again: keeps it. */
void guests_send(struct guest_socket *guest, struct guest_ask *ask, const void *data, size_t bytes,
                 bool again);
void guests_reply(struct guest_socket *guest, struct guest_ask *ask, enum parley_status status,
                  enum parley_executed executed, const void *payload, size_t bytes);

/* The test's client: a client of @interface with a channel. */
struct parley_client *guests_client(const struct parley_interface *interface);
void guests_await_channels(const struct parley_client *client, size_t count);

/* A call of it on bytes, and its end. */
struct guest_call_end {
    size_t count;
    enum parley_status status;
    enum parley_executed executed;
    char text[256];
    uint8_t payload[4096]; /* the first of them */
    size_t bytes;
};
/* Return: its number, for parley_client_cancel(). */
uint64_t guests_start(struct parley_client *client, unsigned method, uint64_t timeout_ns,
                      struct guest_call_end *end);
uint64_t guests_start_with(struct parley_client *client, unsigned method, uint64_t timeout_ns,
                           const uint8_t *payload, size_t bytes, struct guest_call_end *end);
void guests_await(const struct guest_call_end *end, size_t count);
void guests_turn(void);                    /* of the test's endpoint: a moment */
uint64_t guests_counter(const char *name); /* of Stats.serve, by its name in stats.proto */
/* Waits until it has the value. */
void guests_await_counter(const char *name, uint64_t value);

#endif
