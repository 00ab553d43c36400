/*
 * What the rpc room shows to rooms above it, beside the public API: calls and services on raw bytes,
 * for programs that have no generated code (the broker's relay, and what serves by it), and an
 * endpoint over a socket that is connected already.
 */
#ifndef PARLEY_RPC_RPC_H
#define PARLEY_RPC_RPC_H

#include <parley/parley.h>

#include "base/error.h"
#include "shm/layout.h"
#include "translate/plan.h"

/* ---- metadata.c ---- */

#define RPC_METADATA_PAIRS_MAX 32
#define RPC_METADATA_KEY_BYTES_MAX 64
#define RPC_METADATA_VALUE_BYTES_MAX 8192 /* so much baggage must travel: W3C */
#define RPC_METADATA_BYTES_MAX 16384   /* of keys and values together */
#define RPC_METADATA_BLOCK_BYTES_MAX (RPC_METADATA_BYTES_MAX + 3 * RPC_METADATA_PAIRS_MAX)

/* A block is [key length: 1][value length: 2, little-endian][key][value] for each pair. Return: 0;
 * -EINVAL with a sentence: a limit, a key that is none, a reserved one. */
int metadata_encode(const struct parley_metadata *pairs, size_t count, uint8_t *out,
                    size_t bytes_max, size_t *ret_bytes, struct error_text *error);

/* ---- Endpoints, and calls on raw bytes ---- */

/* An endpoint over one end of a SOCK_SEQPACKET socketpair; the broker adopts the other. Returns at
 * once; the handshake goes on in parley_dispatch(). @fd is the endpoint's afterwards, on failure
 * too. It does not reconnect. Return: PARLEY_OK or what parley_endpoint_new() returns. */
enum parley_status rpc_endpoint_attach(int fd, const char *name,
                                       struct parley_endpoint **ret_endpoint);

struct region;
/* Calls are traced as the broker's route page says before the link has brought it, too. @route: the
 * broker's own mapping, which outlives the endpoint. */
void rpc_endpoint_trace_by(struct parley_endpoint *endpoint, const struct region *route);

/* Whether it still has the link that it was attached with. */
bool rpc_endpoint_linked(const struct parley_endpoint *endpoint);

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

/* How a call ended. Borrowed, as long as the function that gets it runs. */
struct rpc_outcome {
    enum parley_status status;
    enum parley_executed executed;
    enum parley_translation translation;
    const char *version; /* that served it; "": none */
    const char *text;    /* a sentence if status is not OK */
};

/* Runs exactly once; @payload is checked, in the contract's version, and valid inside only; NULL
 * if the status is not OK. */
typedef void (*rpc_replied)(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                            void *userdata);

/* A call on bytes. All borrowed until rpc_call_raw() returns, but for what says otherwise. */
struct rpc_call {
    uint64_t timeout_ns;     /* 0: the client's */
    const char *accept;      /* NULL or "": any */
    const uint8_t *metadata; /* an encoded block that has been checked, without "parley." keys, but for
                              * parley.peer.* at its beginning: services believe those of the broker */
    size_t metadata_bytes;
    const uint8_t *payload; /* a packed message of the method's input in the contract's version; the
                             * service checks it */
    size_t payload_bytes;
    bool payload_stays; /* until `replied` has run: then it is not copied, whatever it waits for */
    bool one_way;
    /* Where a reply of up to @bytes goes, so that the crossing writes right there; its outcome is known
     * as far as the reply's own content goes. NULL, or NULL returned: memory of the endpoint's. May
     * run without a reply that is OK in the end. Must not touch the endpoint. */
    uint8_t *(*room)(const struct rpc_outcome *outcome, size_t bytes, void *userdata);
    rpc_replied replied; /* may run inside of rpc_call_raw() */
    void *userdata;
};

/* Return: for parley_client_cancel(); 0: it has ended. */
uint64_t rpc_call_raw(struct parley_client *client, unsigned method, const struct rpc_call *call);

/* For a foreign loop that has the endpoint's calls for its main work: takes replies that are there, or
 * come while it spins, as long as that pays and no longer than so. Doorbells are not armed, descriptors
 * and timers not looked at: parley_dispatch() does that, and must run before the loop sleeps.
 * Return: whether anything came. */
bool rpc_take_replies(struct parley_endpoint *endpoint, uint64_t spin_ns_max);

/* For who makes many calls at once: from now on services that sleep are not woken up for what is sent
 * to them, until rpc_ring_held(), which must run before anybody waits for them. Thus they are woken
 * once. More than RPC_RINGS_HELD_MAX are woken as ever. */
#define RPC_RINGS_HELD_MAX 8
void rpc_hold_rings(struct parley_endpoint *endpoint);
void rpc_ring_held(struct parley_endpoint *endpoint);

/* ---- Services on raw bytes (raw.c) ---- */

/* All run in parley_dispatch() of the endpoint. */
struct rpc_service_ops {
    /* The broker has answered, perhaps again, if its link was lost. @status OK: it is up; else it was
     * refused, and @text says why. */
    void (*published)(struct parley_service *service, enum parley_status status, const char *text,
                      void *userdata);
    /* Memory for a request of up to @bytes, into which it crosses. NULL: there is none, and the call
     * is refused as RESOURCE_EXHAUSTED. If the request is malformed serve() does not follow. */
    uint8_t *(*room)(struct parley_context *context, unsigned method, size_t bytes, void *userdata);
    /* Asked first about a one-way call of @bytes, whose caller takes it for done (and not of a
     * mirrored copy). Return: whether it has to wait: then nothing is read of the endpoint's clients any more until
     * rpc_service_resume(). NULL: never. */
    bool (*full)(size_t bytes, void *userdata);
    /* A call: @payload is checked, in the service's version, and where room() said. It ends with
     * rpc_context_answer(), once, here or later. Who answers later asks parley_context_on_cancel()
     * to be told if nobody waits any more. */
    void (*serve)(struct parley_context *context, unsigned method, uint8_t *payload, size_t bytes,
                  void *userdata);
};

/* What an instance saw of its interface at a broker that is no more. */
struct rpc_weights {
    uint64_t generation;
    uint32_t count; /* 0: nothing */
    struct {
        char version[32];
        uint32_t per_100000;
    } of[ROUTE_VERSION_MAX];
};

struct rpc_service_spec {
    const struct schema *schema; /* borrowed until parley_endpoint_free() */
    uint64_t instance_id;        /* 0: one that is drawn */
    uint32_t calls_max;          /* that wait or run; further ones are refused. 0: 4,096 */
    const struct rpc_weights *weights; /* told with the first publication; NULL: none are known */
    const struct rpc_service_ops *ops; /* static */
    void *userdata;
};

/* Publishes, and returns at once: published() follows. parley_service_close(), _drained() and
 * _free() are for it, too. Return: PARLEY_OK; RESOURCE_EXHAUSTED, INTERNAL. */
enum parley_status rpc_service_open(struct parley_endpoint *endpoint,
                                    const struct rpc_service_spec *spec,
                                    struct parley_service **ret_service);

/* After full() has said so; the only service of its endpoint: the call, and what came behind it, is looked at in the next
 * parley_dispatch(), and full() asked again. */
void rpc_service_resume(struct parley_service *service);

uint64_t rpc_service_id(const struct parley_service *service); /* of the instance */
uint32_t rpc_service_serving(const struct parley_service *service); /* calls not answered */

/* Ends a call. @data: a packed reply in the service's version, which the client checks; if @status is
 * not OK a sentence, cut at 255 bytes. Borrowed. Of a one-way call, or one that was cancelled, it
 * goes nowhere. */
void rpc_context_answer(struct parley_context *context, enum parley_status status,
                        enum parley_executed executed, const uint8_t *data, size_t bytes);
bool rpc_context_one_way(const struct parley_context *context);
/* A one-way call whose caller takes it for done; no copy of one. */
bool rpc_context_owed(const struct parley_context *context);
/* When the caller gives up: CLOCK_MONOTONIC, ns; UINT64_MAX: never. */
uint64_t rpc_context_deadline_ns(const struct parley_context *context);
/* All of its metadata but the trace's, as they are encoded: [key length: 1][value length: 2,
 * little-endian][key][value]; without keys that begin with "parley.". Borrowed from the context. */
const uint8_t *rpc_context_metadata(const struct parley_context *context, size_t *ret_bytes);
/* Its traceparent, if the call is sampled; else NULL, and one may be among its metadata. */
const char *rpc_context_trace(struct parley_context *context);

#endif
