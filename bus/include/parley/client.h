/*
 * Calling a service.
 */
#ifndef PARLEY_CLIENT_H
#define PARLEY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include <parley/endpoint.h>
#include <parley/interface.h>
#include <parley/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct parley_client;
struct parley_context;

/* A key and a value that travel with a call. Keys: 1..64 bytes of a-z 0-9 . _ -, not beginning with
 * "parley."; values: up to 8,192 bytes, any; 32 pairs and 16,384 bytes at most a call. A
 * traceparent, tracestate or baggage that is malformed or too long is cut or dropped as the W3C says
 * (parley(7)). */
struct parley_metadata {
    const char *key;   /* NUL-terminated */
    const char *value; /* not NUL-terminated */
    size_t value_bytes;
};

struct parley_client_options {
    /* Versions of the service to accept, in order of preference: "~2.1, ~1.4". NULL: all that
     * Parley can translate. */
    const char *accept;
    /* How long parley_client_new() waits until such a version is published, in ns. 0: 5 seconds. */
    uint64_t wait_ns;
    /* The deadline of a call that does not set its own, in ns. 0: 10 seconds. */
    uint64_t timeout_ns;
};

/**
 * parley_client_new() - negotiate a version with the broker and attach to the instances
 * @interface:  what this program was built against (protoc-gen-parley); borrowed, usually static
 * @options:    NULL for the defaults
 * @ret_client: the caller's; parley_client_free()
 *
 * Runs the endpoint's loop while it waits.
 *
 * Return: PARLEY_OK; UNAVAILABLE if nothing is published in time or the broker went away;
 * FAILED_PRECONDITION if no version on offer is accepted, or none can be translated;
 * INVALID_ARGUMENT if @interface or the ranges do not parse; PERMISSION_DENIED.
 * parley_error_text() has the versions on offer.
 */
PARLEY_API enum parley_status parley_client_new(struct parley_endpoint *endpoint,
                                                const struct parley_interface *interface,
                                                const struct parley_client_options *options,
                                                struct parley_client **ret_client);

/* Pending calls end as CANCELLED; their closures run before this returns. NULL is fine. Returns
 * NULL. */
PARLEY_API struct parley_client *parley_client_free(struct parley_client *client);

/**
 * parley_client_service() - the client as protobuf-c's own service
 *
 * For the client functions that protoc-gen-c generates: the call starts at once, its closure runs
 * in parley_dispatch(), exactly once, with the reply, or with NULL if the call did not end as OK;
 * the closure then finds the call's end in parley_call_current(). The reply is valid during the
 * closure only.
 *
 * Return: borrowed; valid until parley_client_free(). Do not call protobuf_c_service_destroy().
 */
PARLEY_API ProtobufCService *parley_client_service(struct parley_client *client);

/* What becomes of messages between two versions. */
enum parley_translation {
    PARLEY_IDENTITY = 0, /* the same version */
    PARLEY_ISO = 1,      /* nothing is lost either way */
    PARLEY_CARRIED = 2,  /* what the other version lacks travels along, and comes back */
    PARLEY_LOSSY = 3,    /* something is lost, as the schema accepts */
};
/* "identity", "iso", "carried", "lossy". */
PARLEY_API const char *parley_translation_name(enum parley_translation translation);

#define PARLEY_OFFER_MAX 8

/* A version that may serve a client. */
struct parley_offer {
    char version[32]; /* "2.0.0" */
    enum parley_translation translation;
    uint32_t channels; /* to its instances; 0: none is up */
};

/**
 * parley_client_offers() - what was negotiated
 * @offers: room for @offer_count; PARLEY_OFFER_MAX are always enough
 *
 * The versions on offer now, best first: by the order of the ranges that the client accepts, then
 * the higher version. Versions join while they are published; none leaves.
 *
 * Return: how many there are, and be it more than @offer_count.
 */
PARLEY_API size_t parley_client_offers(const struct parley_client *client,
                                       struct parley_offer *offers, size_t offer_count);

/* One call: what the caller asks for, and how it ended. Zero it, fill in what is needed. */
struct parley_call {
    /* in */
    uint64_t timeout_ns; /* 0: the client's default. PARLEY_FOREVER is cut to one hour */
    const struct parley_metadata *metadata;
    size_t metadata_count;
    /* Only these of the versions on offer, "~2.1, ~1.4"; the first range that anybody serves.
     * Weights of the route that are 0 do not count. None on offer is in range: the call ends as
     * FAILED_PRECONDITION, and says what is. NULL: any. */
    const char *accept;
    /* No reply travels. The call ends as OK, executed `unknown`, once the request is in the
     * instance's ring, which it waits for until its deadline; it has no reply then (NULL). Whether
     * and how the handler ran nobody learns. */
    bool one_way;
    /* The call being served that this one is made for. It ends by the deadline of that one, at the
     * latest, and inherits its metadata traceparent, tracestate, baggage, tenant and gray.*, but
     * for keys that it has itself. NULL: the one whose handler runs, if one does; a handler that
     * has returned and goes on later says it here. */
    const struct parley_context *parent;
    bool detached; /* inherits nothing: for what outlives the call being served */

    /* out */
    enum parley_status status;
    enum parley_executed executed;
    uint32_t attempts;      /* 1 unless it was retried */
    bool translated;        /* the service spoke another version */
    enum parley_translation translation; /* how: the class for this pair of versions */
    char version[32];       /* the version that answered, "2.0.0"; "" if none did */
    char error[256];        /* a sentence if status is not OK; "" otherwise */
};

/**
 * parley_client_call() - call and wait for the reply
 * @method:    index in interface->service->methods
 * @request:   of the method's input type; borrowed
 * @ret_reply: of the method's output type; free with parley_reply_free(). Untouched on failure;
 *             NULL if the call is one-way
 * @call:      NULL for the defaults
 *
 * The generated stubs (catalog__v1__catalog__get_call()) wrap this with the method's types.
 * Handlers of this endpoint's services do not run while it waits; closures of other calls do. If it
 * is itself inside of a handler, it ends as CANCELLED when the call being served is cancelled.
 *
 * Return: the call's status; parley_error_text() has a sentence.
 */
PARLEY_API enum parley_status parley_client_call(struct parley_client *client, unsigned method,
                                                 const ProtobufCMessage *request,
                                                 ProtobufCMessage **ret_reply,
                                                 struct parley_call *call);

/**
 * parley_client_send() - call one-way
 * @call: NULL for the defaults; it is one-way whatever this says
 *
 * The generated stubs (catalog__v1__catalog__visit_send()) wrap this with the method's type.
 * parley_client_call() that waits only until the request is on its way. What one client sends and
 * calls reaches an instance in this order.
 *
 * Return: PARLEY_OK; DEADLINE_EXCEEDED if the instance took too little to make room; UNAVAILABLE
 * and the like if there is none.
 */
PARLEY_API enum parley_status parley_client_send(struct parley_client *client, unsigned method,
                                                 const ProtobufCMessage *request,
                                                 struct parley_call *call);

/**
 * parley_client_start() - call without waiting
 * @method:  index in interface->service->methods
 * @request: of the method's input type; packed before this returns
 * @call:    in fields are read now; NULL for the defaults
 * @closure: runs exactly once, in parley_dispatch() mostly; in parley_client_cancel() or
 *           parley_client_free() if they end the call; before this returns if it ends at once.
 *           NULL: nobody cares
 *
 * parley_client_service()'s functions are this with no @call.
 *
 * Return: a name for the call, for parley_client_cancel(), which no later call gets; 0 if it has
 * ended already.
 */
PARLEY_API uint64_t parley_client_start(struct parley_client *client, unsigned method,
                                        const ProtobufCMessage *request,
                                        const struct parley_call *call, ProtobufCClosure closure,
                                        void *closure_data);

/**
 * parley_client_cancel() - end a call now
 * @call_id: from parley_client_start() of this client
 *
 * It ends as CANCELLED, executed `no` if it was never sent, else `unknown`; its closure runs before
 * this returns. The service is told, so that its handler can stop (parley_context_cancelled()); a
 * reply that comes all the same is dropped. A call whose deadline passes is cancelled in the same
 * way, and ends as DEADLINE_EXCEEDED.
 *
 * Return: PARLEY_OK; NOT_FOUND if it has ended already.
 */
PARLEY_API enum parley_status parley_client_cancel(struct parley_client *client, uint64_t call_id);

/* Inside a closure: how the call that it belongs to ended; else NULL. Borrowed; valid during the
 * closure. */
PARLEY_API const struct parley_call *parley_call_current(void);

/* A reply is one block: this frees all of it. On any thread, but for a reply with live bytes
 * (parley/buffer.h). NULL is fine. */
PARLEY_API void parley_reply_free(void *reply);

/* The share of calls that went to each version is the broker's to decide; these are what this
 * client sees of it: the number of instances that it has a channel to. */
PARLEY_API size_t parley_client_channel_count(const struct parley_client *client);

#ifdef __cplusplus
}
#endif
#endif
