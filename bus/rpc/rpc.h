/*
 * What the rpc room shows to rooms above it, beside the public API: calls on raw bytes, for
 * programs that have no generated code (the broker's relay), and an endpoint over a socket that is
 * connected already.
 */
#ifndef PARLEY_RPC_RPC_H
#define PARLEY_RPC_RPC_H

#include <parley/parley.h>

#include "base/error.h"
#include "translate/plan.h"

/* An endpoint over one end of a SOCK_SEQPACKET socketpair; the broker adopts the other. Returns at
 * once; the handshake goes on in parley_dispatch(). @fd is the endpoint's afterwards, on failure
 * too. It does not reconnect. Return: PARLEY_OK or what parley_endpoint_new() returns. */
enum parley_status rpc_endpoint_attach(int fd, const char *name,
                                       struct parley_endpoint **ret_endpoint);

/* What a client asks for, without a generated struct parley_interface. All borrowed until
 * parley_client_free(). */
struct rpc_contract_spec {
    const char *interface;
    const char *version; /* that payloads are in */
    const char *accept;  /* NULL: anything */
    const char *service; /* full name, "catalog.v1.Catalog" */
    const uint8_t *descriptor_set;
    size_t descriptor_set_bytes;
    const struct parley_method *methods;
    size_t method_count;
    struct plan *replies; /* identity for its replies; a reference is taken */
    uint64_t timeout_ns;  /* 0: the default */
};

/* @status OK: it may be called; UNAVAILABLE: nothing is published yet, comes again when there is;
 * else refused, final. */
typedef void (*rpc_opened)(struct parley_client *client, enum parley_status status,
                           const char *text, void *userdata);

enum parley_status rpc_contract_open(struct parley_endpoint *endpoint,
                                     const struct rpc_contract_spec *spec, rpc_opened opened,
                                     void *userdata, struct parley_client **ret_client);

/* Runs exactly once; @payload is checked, in the contract's version, and valid inside only; NULL
 * if @call->status is not OK. */
typedef void (*rpc_replied)(const struct parley_call *call, const uint8_t *payload, size_t bytes,
                            void *userdata);

/* @payload: a packed message of the method's input in the contract's version; copied. The service
 * checks it. @call: in fields, or NULL. */
void rpc_call_raw(struct parley_client *client, unsigned method, const uint8_t *payload,
                  size_t bytes, const struct parley_call *call, rpc_replied replied,
                  void *userdata);

/* Calls that wait or are in flight. */
size_t rpc_calls_pending(const struct parley_client *client);

#endif
