/*
 * Serving an interface, and what a handler can learn of the call it serves.
 */
#ifndef PARLEY_SERVICE_H
#define PARLEY_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <protobuf-c/protobuf-c.h>

#include <parley/client.h>
#include <parley/endpoint.h>
#include <parley/interface.h>
#include <parley/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct parley_service;

struct parley_service_options {
    /* Most calls that wait or run at once; more end as RESOURCE_EXHAUSTED. 0: 4,096. */
    uint32_t calls_max;
    /* How long parley_run() waits for calls in flight once it was stopped, in ns: as long as the most
     * patient of the endpoint's services. 0: 10 seconds. */
    uint64_t drain_timeout_ns;
};

/**
 * parley_service_new() - publish an interface
 * @interface:      from protoc-gen-parley; borrowed, usually static
 * @implementation: protobuf-c's service, e.g. `Catalog__V1__Catalog_Service` made with its INIT
 *                  macro; borrowed until parley_service_free()
 * @options:        NULL for the defaults
 * @ret_service:    the caller's; parley_service_free()
 *
 * A handler answers by calling its closure once, in the handler or later, on the endpoint's thread:
 * with a reply, which is packed before the closure returns, or with NULL after parley_context_fail()
 * (without that the call ends as UNKNOWN). If the call is one-way that ends it all the same, and what
 * it says is counted in statistics and goes nowhere.
 *
 * Return: PARLEY_OK; ALREADY_EXISTS if the broker has this version with another schema;
 * INVALID_ARGUMENT if the schema is refused; PERMISSION_DENIED; UNAVAILABLE.
 */
PARLEY_API enum parley_status parley_service_new(struct parley_endpoint *endpoint,
                                                 const struct parley_interface *interface,
                                                 ProtobufCService *implementation,
                                                 const struct parley_service_options *options,
                                                 struct parley_service **ret_service);

/* Begins to drain: the broker routes no more calls here, clients are told to go elsewhere, calls
 * that were sent already are still answered. Does not wait; safe twice. */
PARLEY_API void parley_service_close(struct parley_service *service);

/* True once every client has left after parley_service_close(). */
PARLEY_API bool parley_service_drained(const struct parley_service *service);

/* Ends what is still there: its calls end as UNAVAILABLE at their clients. Who does not want that
 * closes first, and dispatches until it has drained. NULL is fine. Returns NULL. */
PARLEY_API struct parley_service *parley_service_free(struct parley_service *service);

struct parley_context;

/* The call whose handler is running on this thread; NULL outside of handlers. Valid until the
 * closure is called, so that a handler that answers later can keep it. */
PARLEY_API struct parley_context *parley_context_current(void);

/* The call will end with @status when its closure is called with NULL. @text: a sentence for the
 * caller, copied and cut at 255 bytes; NULL for none. PARLEY_OK counts as UNKNOWN. Of several the
 * last one counts. */
PARLEY_API void parley_context_fail(struct parley_context *context, enum parley_status status,
                                    const char *text);

/**
 * parley_context_cancelled() - whether anybody still waits for the answer
 *
 * True once the caller has cancelled the call, its deadline has passed, or the caller is gone. For
 * a handler that works for long, and looks now and then. The closure must still be called, once,
 * with anything: nobody hears it.
 *
 * While a handler works, its thread takes no frames: a caller that dies is noticed when it has
 * returned; and a cancel that finds the channel's ring full of requests, when there is room.
 */
PARLEY_API bool parley_context_cancelled(struct parley_context *context);

/**
 * parley_context_on_cancel() - be told instead
 * @cancelled: runs at most once, in parley_dispatch(), and never after the closure; at once if the
 *             call has been cancelled already. May call the closure. NULL: not any more
 *
 * For a handler that has returned and answers later: on what its caller says, and on its death.
 */
PARLEY_API void parley_context_on_cancel(struct parley_context *context,
                                         void (*cancelled)(struct parley_context *context,
                                                           void *userdata),
                                         void *userdata);

/* What is left until the caller gives up, in ns; 0 if it has. */
PARLEY_API uint64_t parley_context_time_left_ns(const struct parley_context *context);

/* The value of a metadata key, or NULL. Borrowed from the context, and not NUL-terminated; @ret_bytes
 * NULL: not asked for. parley.peer.pid, .uid and .gid are
 * what parley_context_peer() tells, in digits. Of a call that the broker relays for a program without
 * the library, parley.peer.address is where it called from, if that is no local socket, and
 * parley.peer.identity the common name of its certificate, if TLS has verified one; pid, uid and gid
 * are then NULL unless the kernel told them. parley.mirror is "1" in a copy of a call, whose reply
 * is compared with another version's and dropped. Nobody can send a key that begins with "parley.". */
PARLEY_API const char *parley_context_metadata(const struct parley_context *context,
                                               const char *key, size_t *ret_bytes);

/* The version that the caller was built against, "1.0.0". Borrowed from the context. */
PARLEY_API const char *parley_context_client_version(const struct parley_context *context);

/* Who calls, from the kernel (SO_PEERCRED), never from what the caller claims. Of a call that the
 * broker relays: who asked the broker; pid 0, and uid and gid of all ones, if the kernel does not
 * know (see parley.peer.identity above). */
struct parley_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
PARLEY_API void parley_context_peer(const struct parley_context *context,
                                    struct parley_peer *ret_peer);

#ifdef __cplusplus
}
#endif
#endif
