/*
 * A service, on structs or on bytes (service.c, serve.c, raw.c).
 */
#ifndef PARLEY_RPC_SERVICE_H
#define PARLEY_RPC_SERVICE_H

#include "rpc/context.h"
#include "rpc/rpc.h"

struct parley_service {
    TAILQ_ENTRY(parley_service) entry;
    struct parley_endpoint *endpoint;
    const struct parley_interface *interface;
    ProtobufCService *implementation;
    struct plan *identity; /* for requests */
    struct wire_packer *packer; /* of replies */
    uint64_t instance_id;
    uint32_t calls_max;
    uint64_t drain_timeout_ns;
    bool answered; /* the broker has */
    enum parley_status status;
    char text[ERROR_TEXT_BYTES_MAX];
    uint32_t route_slot;
    bool route_known; /* the slot is of the broker that is linked */
    struct route_view view; /* to remember the weights over a broker's restart */
    bool closing;
    bool freed;
    uint64_t closing_since_ns;
    uint64_t drain_order; /* of the broker, for which it is closing; 0: it closes by itself */
    bool drain_told;      /* that it has drained */
    LIST_HEAD(, channel) channels;
    uint32_t channel_count;
    struct contexts orphans; /* whose callers are gone */
    struct contexts untold;  /* as well, and on_cancel() has still to be run */
    uint32_t serving; /* contexts not answered */
    struct raw_service *raw; /* it works on bytes: raw.c; NULL: on structs */
};

/* Onto the endpoint's list, with what is the same for all. An instance_id that is set stays. */
void service_join(struct parley_service *service, struct parley_endpoint *endpoint,
                  const struct parley_service_options *options);
/* Return: 0; -ESTALE: it could not be packed, something else must be sent. */
int service_send_response(struct channel *channel, struct frame_header *header, struct body *body);
/* channel_bind() to the service's structs, if it works on such. Return: as that. */
int service_bind(struct channel *channel, struct held_plan *held, struct error_text *error);
/* What a channel's first request would have to do first. A failure is that request's. */
void service_prepare(struct channel *channel);
/* channel_ops.frame */
int service_frame(struct channel *channel, const struct frame *frame, struct error_text *error);
void service_link_up(struct parley_service *service);
void service_link_down(struct parley_service *service); /* remembers the weights */
struct rpc_weights;
/* As if it had seen them on the page; NULL, or none: what it has stays. Each at most ROUTE_BUCKETS. */
void service_remember_weights(struct parley_service *service, const struct rpc_weights *weights);
void service_published(struct parley_service *service, const Parley__Published *message);
void service_attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                    int bell);
/* The broker says that it is to drain, or no longer. */
void service_drain_ordered(struct parley_service *service, const Parley__Drain *message);
/* endpoint->hang_up_at_ns has come. */
void services_hang_up_due(struct parley_endpoint *endpoint, uint64_t now);
/* Hangs up on clients that have not answered GOAWAY in time and have nothing in flight. */
void service_hang_up_silent(struct parley_service *service);
void service_destroy(struct parley_service *service);

/* ---- raw.c: services that work on bytes (rpc.h) ---- */

struct raw_answer {
    enum parley_status status;
    enum parley_executed executed;
    const uint8_t *data; /* a packed reply; a sentence if the status is not OK */
    size_t bytes;
};
/* serve.c: answers for good. */
void raw_context_end(struct parley_context *context, const struct raw_answer *answer);
/* Return: what the call has ended as. */
enum parley_status raw_send(struct parley_context *context, const struct raw_answer *answer);
/* One crossing into the memory that the service names. Return: 0, or as plan_run(); -ENOMEM. */
int raw_enter(struct parley_context *context, const struct frame *frame, uint32_t method,
              uint8_t **ret_payload, size_t *ret_bytes, struct plan_failure *failure);
void raw_serve(struct parley_context *context, uint32_t method, uint8_t *payload, size_t bytes);
void raw_published(struct parley_service *service);
const char *raw_input_name(const struct parley_service *service, uint32_t method);
struct raw_service *raw_free(struct raw_service *raw); /* NULL is fine; returns NULL */

#endif
