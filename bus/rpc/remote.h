/*
 * Inside the rpc room: an endpoint whose broker is at an NNG URL.
 *
 * remote.c has the connection to the bus URL, remote_client.c what stands for the services that
 * this endpoint's clients call, remote_service.c what stands for the clients of its services. What
 * stands for somebody is a `struct far`: the other end of a channel, in the same process and
 * thread, which passes on by NNG what it gets.
 */
#ifndef PARLEY_RPC_REMOTE_H
#define PARLEY_RPC_REMOTE_H

#include "control/bus_frame.h"
#include "control/caller.h"
#include "control/replier.h"
#include "parley/bus.pb-c.h"
#include "rpc/internal.h"

#define REMOTE_BYTES_MAX (WIRE_MESSAGE_BYTES_MAX + (UINT32_C(64) << 10)) /* of a message */
#define REMOTE_PING_NS                                                                             \
    (5 * NS_PER_S)              /* of silence, then a ping; as much again, then it is dead         \
                                 */
#define REMOTE_LOOK_NS NS_PER_S /* between pings that ask whether what is on offer has changed */
/* Calls on their way, of an endpoint: as many as an instance is given at once. More would wait at
 * the broker, which has to refuse what no longer fits; here they wait in the client's ring. */
#define REMOTE_CALLS_AT_ONCE 1024
#define REMOTE_ASK_TIMEOUT_NS (5 * NS_PER_S)
#define REMOTE_CONTRACT_IDLE_NS (60 * NS_PER_S) /* far less than the broker's five minutes */
#define REMOTE_LINGER_NS (100 * NS_PER_MS)      /* for answers that libnng has still to send */
#define REMOTE_DRAINED_NS                                                                          \
    (5 * NS_PER_S) /* the same, where the broker hangs up once it has them                         \
                    */
#define REMOTE_RETRY_NS_MIN (20 * NS_PER_MS)
#define REMOTE_RETRY_NS_MAX NS_PER_S

/* The other end of a channel. */
struct far {
    LIST_ENTRY(far) entry; /* of its far_client */
    struct channel *channel;
    struct far_client *client;   /* or */
    struct far_service *service; /* for whose clients it stands */
    uint64_t instance_id;
    char version[RPC_VERSION_BYTES]; /* client: that it stands for */
};

/* For a client: the contract, and one far end for each version on offer. */
struct far_client {
    LIST_ENTRY(far_client) entry;
    struct remote *remote;
    struct parley_client *client;
    uint64_t contract; /* 0: none, or the broker has forgotten it */
    uint64_t used_ns;
    bool asked; /* Open is under way */
    bool stale; /* what is on offer has changed since it was asked */
    uint64_t retry_at_ns, pause_ns;
    LIST_HEAD(, far) fars;
};

/* A request that a handler has, or that waits for one. */
struct far_request {
    LIST_ENTRY(far_request) entry;
    uint64_t call_id;
    struct replier_request *request;
};
#define FAR_REQUEST_BUCKETS 256

/* For a service: its instance at the broker, and the REP socket by which calls come. */
#define REMOTE_TOKEN_BYTES_MAX 64

struct far_service {
    LIST_ENTRY(far_service) entry;
    struct source source;
    struct remote *remote;
    struct parley_service *service; /* NULL: freed; only the withdrawal is still to be answered */
    struct far *far;                /* NULL: none yet */
    struct replier *replier;
    char *url;            /* of it */
    uint8_t token[REMOTE_TOKEN_BYTES_MAX]; /* by which the broker knows us there */
    size_t token_bytes;                    /* 0: it does not ask, or has been answered */
    uint64_t instance_id; /* at the broker; 0: not published */
    bool asked;           /* Publish is under way */
    bool came;            /* the replier is connected to the broker */
    bool lost;            /* it was, and nobody has begun again yet */
    bool told;            /* the service knows that it is published */
    bool withdrawn;
    bool bye;               /* said */
    uint64_t idle_since_ns; /* its last answer, or when it was withdrawn */
    uint64_t drain_by_ns;   /* withdrawn: the program's own limit, its drain_timeout_ns */
    uint64_t retry_at_ns, pause_ns;
    LIST_HEAD(, far_request) requests[FAR_REQUEST_BUCKETS];
};

enum ask_kind {
    ASK_FREE = 0,
    ASK_CALL,
    ASK_CANCEL,
    ASK_PING,
    ASK_OPEN,
    ASK_PUBLISH,
    ASK_WITHDRAW,
    ASK_LIST
};

/* How long its end waits for the broker to hang up, which tells that it has all answers; by libnng
 * nothing else does. Who drains waits longer, but not past the limit that the program has set. */
static inline uint64_t far_service_linger_ns(const struct far_service *service)
{
    uint64_t shortly = clock_add(service->idle_since_ns, REMOTE_LINGER_NS);
    uint64_t until = clock_add(service->idle_since_ns, REMOTE_DRAINED_NS);
    until = service->drain_by_ns < until ? service->drain_by_ns : until;
    return service->withdrawn && until > shortly ? until : shortly;
}

/* Whether a service may dial the URL that the broker at @broker has named: by a transport that it
 * may itself be at, and by TLS if the broker is. What is not so is no right broker's: its URL would
 * have us connect to this host's own sockets, or say the token to everybody on the way. */
static inline bool far_service_may_dial(const char *broker, const char *url)
{
    if (strncmp(url, "tls+tcp", 7) == 0)
        return true;
    if (strncmp(url, "ipc://", 6) == 0)
        return strncmp(broker, "ipc://", 6) == 0;
    return strncmp(url, "tcp", 3) == 0 && strncmp(broker, "tls+", 4) != 0 &&
           strncmp(broker, "wss", 3) != 0;
}

/* A request that the broker has not answered. */
struct ask {
    uint8_t kind;
    uint16_t generation;
    uint32_t next;        /* free one, and 1 */
    uint64_t id;          /* the frame's call_id */
    void *owner;          /* far; far_client, far_service; NULL: gone meanwhile */
    uint64_t deadline_ns; /* of those that are not calls */
};

struct remote {
    struct source source;
    struct parley_endpoint *endpoint;
    struct caller *caller;
    struct tls_settings tls;
    char *tls_texts[4]; /* ours, that `tls` refers to */
    uint64_t heard_ns, pinged_ns;
    bool pinged;
    uint64_t changes; /* that the broker spoke of last */
    uint64_t id_last; /* of frames that are not a client's calls, and of instances */
    struct ask *asks;
    uint32_t ask_count, ask_max, ask_free;
    uint32_t asks_due; /* that have a deadline */
    uint32_t calls;    /* of them */
    LIST_HEAD(, far_client) clients;
    LIST_HEAD(, far_service) services;
};

/* ---- remote.c ---- */

/* Sends a frame whose header and texts are filled in. @payload: of frame->payload_bytes. Return: 0;
 * CHANNEL_E_FULL: there is no room now; -EPIPE: no connection; -EMSGSIZE, -ENOMEM. */
int remote_send(struct remote *remote, const struct bus_frame *frame, const uint8_t *payload,
                enum ask_kind kind, void *owner);
/* A call of the broker's own interface. The same. */
int remote_ask(struct remote *remote, const char *method, const ProtobufCMessage *request,
               enum ask_kind kind, void *owner);
/* Nobody is there for the answers any more. */
void remote_forget(struct remote *remote, const void *owner);
/* Doubles *@pause, and sets the time. */
void remote_later(struct remote *remote, uint64_t *pause_ns, uint64_t *ret_at_ns);
/* Timers may have changed. */
void remote_timers_set(struct remote *remote);
static inline struct bus_text bus_text_of(const char *text)
{
    return (struct bus_text){.text = text, .bytes = strlen(text)};
}
/* The payload as a sentence. */
void remote_sentence(const struct bus_frame *frame, char *text, size_t bytes);

/* ---- remote_client.c ---- */

void far_client_open(struct remote *remote, struct parley_client *client);
void far_client_close(struct remote *remote, uint64_t contract_id);
void far_client_connect(struct remote *remote, const Parley__Connect *message, int segment_fd,
                        int bell);
void far_client_opened(struct far_client *client, const struct bus_frame *frame);
void far_client_failed(struct far_client *client); /* Open came to nothing */
void far_client_stale(struct far_client *client);  /* what is on offer may have changed */
void far_call_answered(struct far *far, const struct bus_frame *frame);
/* Does what is due by @now, and says when the next is; @now 0: only that. */
uint64_t far_client_timer(struct far_client *client, uint64_t now);
/* The connection is lost: ends the channels. */
void far_client_lost(struct far_client *client);
/* There may be room again. */
void far_client_resume(struct far_client *client);
void far_client_free(struct far_client *client);

/* ---- remote_service.c ---- */

void far_service_publish(struct remote *remote, struct parley_service *service,
                         const Parley__Publish *message);
void far_service_withdraw(struct remote *remote, const Parley__Withdraw *message);
void far_service_published(struct far_service *service, const struct bus_frame *frame);
void far_service_failed(struct far_service *service);
void far_service_withdrawn(struct far_service *service);
/* The weights of its interface may have changed: asks for them. */
void far_service_stale(struct far_service *service);
void far_service_listed(struct far_service *service, const struct bus_frame *frame);
uint64_t far_service_timer(struct far_service *service, uint64_t now); /* the same */
/* Only takes what has come, into the channel. */
void far_service_look(struct far_service *service);
void far_service_lost(struct far_service *service);
void far_service_free(struct far_service *service);

#endif
