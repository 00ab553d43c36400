/*
 * The broker's own structs. Nothing outside of this room and its tests includes this.
 *
 * Who owns whom: the broker has endpoints (one a link) and interfaces (one a name). An endpoint has
 * instances and contracts; an interface has versions, a version has instances. Ids that peers
 * choose are only ever looked up, never trusted to be unique.
 *
 * One thread. Nothing is freed while something may still walk over it: an endpoint whose link
 * fails, or that is refused, is doomed first and buried when the current event has been dealt with
 * (bury() in broker.c).
 */
#ifndef PARLEY_BROKER_BROKER_H
#define PARLEY_BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <uthash.h>

#include "base/error.h"
#include "base/paths.h"
#include "broker/admit.h"
#include "broker/audit.h"
#include "broker/eject.h"
#include "broker/quota.h"
#include "broker/registry.h"
#include "broker/routes.h"
#include "broker/trace.h"
#include "control/http.h"
#include "control/link.h"
#include "control/nng.h"
#include "control/replier.h"
#include "control/tls.h"
#include "control/transcript.h"
#include "parley/control.pb-c.h"
#include "parley/link.pb-c.h"
#include "parley/status.h"
#include "schema/schema.h"
#include "shm/shm.h"
#include "translate/plan.h"
#include "wait/wait.h"

#define BROKER_NAME_BYTES 64    /* of an endpoint or interface: 63 and a NUL */
#define BROKER_VERSION_BYTES 32 /* 31 and a NUL */
#define BROKER_BATCH_MAX 64     /* messages, or connections, that one turn takes from one source */
#define BROKER_EVENT_MAX 64     /* that one turn takes from the waiter */
#define BROKER_HELLO_TIMEOUT_NS (UINT64_C(10) * 1000000000)

struct broker;
struct broker_options;
struct contract;
struct endpoint;
struct front;
struct front_self;
struct instance;
struct interface;
struct policy;
struct relay;
struct relay_contract;
struct subscribers;
struct version;

/* ---- broker.c: the loop ---- */

/* What the loop waits for. */
struct source {
    void (*ready)(struct source *source, uint32_t events);
    TAILQ_ENTRY(source) again; /* of broker->again, if `queued` */
    bool queued;
};

/* ---- shelf.c: the folder of --schemas ---- */

#define SHELF_FILE_MAX 1024
#define SHELF_SERVICE_MAX 64 /* of one file */

struct shelf;
/* Reads the folder, and again whenever it changes. Return: 0; -errno with a sentence. */
int shelf_new(struct broker *broker, const char *path, struct shelf **ret_shelf,
              struct error_text *error);
struct shelf *shelf_free(struct shelf *shelf);

/* ---- negotiate.c ---- */

struct offer {
    struct version *version;
    struct bridge *bridge;   /* NULL: identity. These are kept: bridge_keep() */
    struct bridge *next;     /* on its way (swap.c) */
    struct bridge *previous; /* the client may not have read yet that it is not this one any more */
    int rank;              /* index of the alternative that accepts it */
};

/* One version for one contract. The offer's bridge is kept: bridge_drop(). Return: 0; -ENOENT: no alternative accepts it; -EINVAL with a
 * sentence: it cannot be bridged; -ENOMEM. */
int negotiate_version(struct negotiator *negotiator, const struct contract *contract,
                      struct version *version, struct offer *ret_offer, struct error_text *error);

/**
 * negotiate() - what a contract is offered now, best first
 * @ret_offers: their bridges are kept: bridge_drop()
 * @ret_text: if not OK: the client's version, its ranges, what is on offer, and what is wrong there
 *
 * Return: PARLEY_OK with 1..ROUTE_VERSION_MAX offers; UNAVAILABLE: nothing is published;
 * FAILED_PRECONDITION: nothing that fits; RESOURCE_EXHAUSTED.
 */
enum parley_status negotiate(struct negotiator *negotiator, const struct contract *contract,
                             struct offer ret_offers[ROUTE_VERSION_MAX], size_t *ret_count,
                             struct error_text *ret_text);

/* ---- directory.c: what there is ---- */

struct instance {
    UT_hash_handle hh; /* by id */
    LIST_ENTRY(instance) endpoint_entry;
    LIST_ENTRY(instance) version_entry;
    struct endpoint *endpoint;
    struct version *version;
    uint64_t id;
    bool draining;
    bool drained;         /* and has answered all that it had, and stays */
    bool callers_wanted;  /* it was asked who has channels to it (review.c), and has not said */
    uint64_t drain_order; /* of the operator's last Drain or its end; 0: there was none */
    struct eject_state eject;
    struct eject_user *users; /* what clients saw of it, one a uid */
    uint32_t user_count;
};

struct version {
    struct interface *interface;
    uint32_t index; /* in the interface and its route slot; stable while the version lives */
    char name[BROKER_VERSION_BYTES];
    struct semver semver;
    struct schema_entry *schema; /* NULL: learned weights name it, nobody has published it yet */
    uint32_t weight;             /* per 100,000 */
    LIST_HEAD(, instance) instances;
    uint32_t instance_count, draining_count;
};

/* Whether it is on offer to clients. */
static inline bool version_up(const struct version *version)
{
    return version->instance_count > version->draining_count;
}

struct interface {
    UT_hash_handle hh; /* by name */
    char name[BROKER_NAME_BYTES];
    int32_t slot;                                /* -1: nothing was published yet */
    struct version *versions[ROUTE_VERSION_MAX]; /* by index; NULL: free */
    uint32_t instance_count;
    uint64_t generation; /* of the weights; 0: there are none */
    bool routed;         /* an operator set the weights in this broker's life */
    struct rollout_route *rollout; /* routes_rollout.c; NULL: none runs */
    LIST_HEAD(, contract) contracts;
    uint32_t contract_count;
};

enum contract_state {
    CONTRACT_WAITING, /* nothing is published */
    CONTRACT_OPEN,
    CONTRACT_REFUSED, /* nothing that fits; a later version may */
};

struct contract {
    UT_hash_handle hh; /* of the endpoint's, by id */
    LIST_ENTRY(contract) interface_entry;
    struct endpoint *endpoint;
    struct interface *interface;
    uint64_t id;
    enum contract_state state;
    struct schema_entry *schema;  /* the client's */
    struct semver_ranges *ranges; /* NULL: anything */
    char *accept;                 /* as text; NULL */
    struct digest asked;      /* the transcript of the offer */
    struct digest transcript; /* of all that was answered so far, too */
    struct offer offers[ROUTE_VERSION_MAX];
    size_t offer_count;
};

struct directory {
    struct interface *interfaces; /* hash by name */
    struct instance *instances;   /* hash by id */
    struct interface *slots[ROUTE_SLOT_MAX];
    uint64_t changes; /* counts what instances came, left or began to drain */
};

/* NULL: not there. */
struct interface *directory_find(const struct directory *directory, const char *name);
/* Makes it if need be; without a slot. Return: 0, -ENOMEM. */
int directory_interface(struct directory *directory, const char *name, struct interface **ret);
/* Frees it if nothing uses it and it has no slot. */
void directory_settle(struct directory *directory, struct interface *interface);
/* Gives it a slot. Return: 0; -ENOSPC with a sentence. */
int directory_slot(struct broker *broker, struct interface *interface, struct error_text *error);
struct version *interface_version(const struct interface *interface, const struct semver *semver);
/* Finds or makes. Return: 0; -ENOSPC with a sentence; -ENOMEM. */
int interface_version_take(struct broker *broker, struct interface *interface, const char *name,
                           struct version **ret_version, struct error_text *error);
/* Also takes it out of every contract's offers. */
void interface_version_free(struct broker *broker, struct version *version);
int directory_instance_add(struct directory *directory, struct endpoint *endpoint,
                           struct version *version, uint64_t id, bool draining,
                           struct instance **ret_instance);
void directory_instance_remove(struct directory *directory, struct instance *instance);
struct instance *directory_instance(const struct directory *directory, uint64_t id);
void directory_deinit(struct broker *broker);
/* "1.0.0, 2.0.0", of those with instances up; "nothing". */
void interface_describe(const struct interface *interface, char *buffer, size_t bytes);

/* ---- contracts.c: telling clients ---- */

/* Negotiates and answers. */
void contract_open(struct broker *broker, struct contract *contract);
/* For every contract of the interface. */
void contracts_instance_up(struct broker *broker, struct instance *instance);
void contracts_instance_gone(struct broker *broker, const struct instance *instance);
/* It may not serve any more: they are to hang up on it. */
void contracts_instance_cut(const struct instance *instance);
/* Tells the client; the contract itself is for the caller to free. */
void contract_say_refused(struct contract *contract, enum parley_status status, const char *text);
/* The registry has changed: offers what can be bridged now to those that could not have it. */
void contracts_refresh(struct broker *broker);
/* Tells the client of an offer's new bridge. False: it could not be told. */
bool contract_offer_again(struct contract *contract, const struct offer *offer,
                          struct bridge *bridge);
void contract_free(struct broker *broker, struct contract *contract);
const struct offer *contract_offer(const struct contract *contract, const struct version *version);
/* Takes the version out of every contract's offers. */
void contracts_forget_version(struct broker *broker, const struct version *version);

/* ---- swap.c: plans on their way ---- */

#define BROKER_PLANS_SENT_MAX 1024 /* to one endpoint, which keeps them */
#define BROKER_LINE_PLANS_MAX 4    /* of one pair of versions, in one direction */

struct sent_plan {
    uint64_t id, line, sequence;
    bool taken; /* it said so; or nothing on it waits for that */
};

/* Sends one of the bridge's plans unless this endpoint has it. Return: 0 or -errno. */
int session_plan(struct endpoint *endpoint, const struct bridge *bridge, enum plan_payload payload);
bool session_has_plan(const struct endpoint *endpoint, uint64_t plan_id);
void session_on_plan_taken(struct endpoint *endpoint, const Parley__PlanTaken *message);
/* The registry has changed: sends plans that have changed to those who use them. */
void swap_begin(struct broker *broker);
/* Something that swaps wait for has happened. */
void swap_go_on(struct broker *broker);
/* Drops the bridges of an offer. */
void offer_drop(struct negotiator *negotiator, struct offer *offer);
/* Whether a version's clients could live with another content of it. Return: 0; -EINVAL with a
 * sentence; -ENOMEM, -E2BIG. */
int swap_possible(struct broker *broker, const struct version *version, struct schema_entry *schema,
                  struct error_text *error);

/* ---- session.c: an endpoint's link ---- */

struct endpoint {
    struct source source;
    TAILQ_ENTRY(endpoint) entry; /* of broker->strangers, endpoints or doomed */
    UT_hash_handle hh;           /* by id, once welcomed */
    struct broker *broker;
    struct link *link;
    struct ucred peer;
    struct account *account;
    uint64_t id; /* 0: no Hello yet */
    char name[BROKER_NAME_BYTES];
    bool internal; /* the broker's own, for the relay: not counted, not shown */
    bool doomed;
    bool waits_to_write;
    uint64_t hello_by_ns;
    struct region stats;
    struct traced *traced; /* NULL: it has no ring of spans */
    struct eject_seen *seen; /* of its places for instances, by index */
    uint32_t seen_count;
    LIST_HEAD(, instance) instances;
    uint32_t instance_count;
    struct contract *contracts; /* hash by id */
    uint32_t contract_count;
    struct sent_plan *plans_sent; /* what it has, as far as we know */
    size_t plans_sent_count, plans_sent_max;
    uint64_t plan_sequence;
    uint64_t ping_number; /* 0: it is not being asked how it is (health.c) */
    uint64_t ping_sent_ns;
    uint64_t pong_at_ns, pong_took_ns; /* its last answer, and how long it took; 0: none yet */
};

/* The link is the broker's afterwards, on failure too. */
int session_new(struct broker *broker, struct link *link, bool internal,
                struct endpoint **ret_endpoint);
void session_free(struct endpoint *endpoint); /* with all that it has; tells the others */
/* What cannot be sent dooms the endpoint. Return: 0 or -errno. @fds: borrowed */
int session_send(struct endpoint *endpoint, const Parley__LinkMessage *message, const int *fds,
                 size_t fd_count);
/* Farewell, a log line, an event; the link ends. */
void session_refuse(struct endpoint *endpoint, enum parley_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void session_doom(struct endpoint *endpoint);

enum parley_status session_status(int code); /* of a negative errno */
/* Return: 0; -EINVAL with a sentence. NULLs are refused like other nonsense. */
int session_check_names(const char *interface, const char *version, const char *service,
                        struct error_text *error);

bool session_name_is_fine(const char *name); /* of an endpoint */

/* ---- publish.c ---- */

/* Whether it could be published now, by somebody who comes later. @ret_schema: one more user. Of
 * @publish what the set says itself may be NULL. */
enum parley_status publish_check(struct broker *broker, const Parley__Publish *publish,
                                 struct schema_entry **ret_schema, struct error_text *error);
/* What became of a publication. @slot: -1: none */
void session_say_published(struct endpoint *endpoint, uint64_t instance_id,
                           enum parley_status status, const char *text, int32_t slot);
void session_on_publish(struct endpoint *endpoint, const Parley__Publish *message);
void session_on_withdraw(struct endpoint *endpoint, const Parley__Withdraw *message);
/* Frees it; tells those who use it. @why: "is gone" */
void session_instance_gone(struct broker *broker, struct instance *instance, const char *why);

/* No new calls: tells the clients. */
void instance_drain(struct broker *broker, struct instance *instance);
void instance_event(struct broker *broker, const char *topic, const struct instance *instance,
                    const char *what);

/* ---- review.c: what a changed policy does not allow any more ---- */

#define REVIEW_CALLER_MAX 4096 /* that an instance tells at once: as many as may have channels */

/* Ends contracts and publications, and asks all services who has channels. */
void policy_review(struct broker *broker);
void session_on_callers(struct endpoint *endpoint, const Parley__Callers *message);

/* ---- drain.c: taking instances out of service ---- */

#define DRAIN_INSTANCE_MAX 64 /* that one request names by their ids */

int control_drain(struct broker *broker, const Parley__DrainRequest *request,
                  Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);
/* An instance says that it has done so. */
void drain_done(struct broker *broker, struct instance *instance, uint64_t order);

/* ---- ejector.c: instances that fail or are slow are ejected, and let back in ---- */

#define EJECT_USER_MAX 8 /* uids whose calls to one instance are told apart; others do not count */

struct ejector {
    struct eject_settings settings;
    uint64_t look_ns; /* when to look again; CLOCK_NEVER: there is nothing to compare */
    unsigned idle;    /* looks in a row that saw no call: then less often */
    unsigned window;  /* intervals in it */
    unsigned known;   /* instances, at the last count */
    uint64_t ejections; /* ever */
};

/* What was read of an endpoint's place for an instance last. */
struct eject_seen;

void ejector_init(struct ejector *ejector, const struct eject_settings *settings);
uint64_t ejector_next_ns(const struct broker *broker);
void ejector_turn(struct broker *broker, uint64_t now_ns); /* after each turn */
void ejector_forget(struct instance *instance);            /* it is about to be freed */
uint32_t ejector_count(const struct broker *broker);       /* that are ejected now */

/* ---- open.c ---- */

void session_on_open(struct endpoint *endpoint, const Parley__Open *open);
void session_on_close(struct endpoint *endpoint, const Parley__Close *message);
/* @fds: two, borrowed */
void session_on_connect(struct endpoint *endpoint, const Parley__Connect *connect, const int *fds);

/* ---- mirrored.c ---- */

void session_on_mirror_differs(struct endpoint *endpoint, const Parley__MirrorDiffers *message);

/* ---- stats.c ---- */

struct stats_sum;
struct stats_sums {
    struct stats_sum *sums; /* hash by names */
    uint32_t count;
    /* Of all endpoints: */
    uint64_t ring_full, late_replies, wakeups, doorbells, spins_hit, spins_missed;
    uint64_t channels; /* of live ones */
};
#define STATS_SUM_MAX 1024 /* names that are summed apart; further ones count as "(other)" */

/* Maps an endpoint's region. @fd: borrowed. Return: 0, -EPROTO with a sentence, -errno. */
int stats_map(struct region *region, int fd, uint64_t endpoint_id, struct error_text *error);
/* Whether an endpoint has counted anything yet. */
bool stats_any(const struct region *region);
/* Adds an endpoint's counters; @left: it is gone, nothing is in flight any more. */
void stats_add(struct stats_sums *sums, const struct region *region, bool left);
void stats_sums_deinit(struct stats_sums *sums);
/* A copy that ends, of printable ASCII, and zeroes behind: whatever becomes of the original. */
void stats_copy_name(char *out, const char *live, size_t bytes);
/* Fills in @ret: free with stats_reply_free(). Return: 0, -ENOMEM. */
int stats_reply(struct broker *broker, bool json, Parley__Stats *ret);
void stats_reply_free(Parley__Stats *reply);
/* Quantiles and counts of @bucket, which is borrowed. */
void stats_latency(const uint64_t *bucket, Parley__Latency *ret);

/* ---- self.c: the bus and the broker as they are now ---- */

/* In one block, that points into itself and to names of the broker's: use it before anything changes. */
struct self {
    Parley__BusStats bus; /* first: it stands for the block */
    Parley__BrokerStats broker;
    Parley__Latency turn;
    Parley__ServeStats serve;
    Parley__FrontStats front;
};
struct self *self_new(struct broker *broker); /* NULL: no memory */
struct self *self_free(struct self *self);    /* NULL is fine; returns NULL */
/* What a turn of the loop took. */
void self_count_turn(struct broker *broker, uint64_t ns);

/* ---- stats_json.c ---- */

char *stats_json(const Parley__Stats *stats); /* the caller's; NULL: no memory */

/* ---- events.c ---- */

struct event {
    const char *topic;
    const char *interface, *version; /* NULL: none */
    uint64_t instance_id;            /* 0: none */
    pid_t pid;                       /* 0: none */
    bool quiet;                      /* published only: the log has it already */
    const struct ucred *who;         /* NULL: nobody; a gid of -1 is not known */
    const char *program;             /* NULL or "": not known */
};
/* Published, logged and kept. */
void event_publish(struct broker *broker, const struct event *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define EVENTS_JSON "json." /* before the topic of an event that is JSON */
#define EVENTS_KEPT_MAX 256
#define EVENTS_KEPT_BYTES_MAX ((size_t)64 << 10)

struct event_kept;
struct events {
    struct event_kept *kept[EVENTS_KEPT_MAX]; /* by sequence; NULL: none */
    uint64_t last;                            /* sequence of the last one; 0: none yet */
    uint32_t count;                           /* that are kept, up to `last` */
    size_t bytes;
};
void events_deinit(struct events *events);

struct events_list {
    Parley__Event **items; /* oldest first */
    size_t count;
};
/* Those that are kept and came behind @since. Return: 0, -ENOMEM. */
int events_since(const struct events *events, uint64_t since, struct events_list *ret_list);
void events_list_free(struct events_list *list);
/* The same as JSON, with the broker's id and the last sequence: free(). NULL: no memory. */
char *events_json(const struct broker *broker, uint64_t since);

/* ---- control.c ---- */

#define CONTROL_E_LATER 1
/**
 * control_handle() - answer one ControlRequest
 * @request:  kept by the relay if the answer comes later; may be NULL
 * @ret_data: the caller's; free()
 * Return: 0; CONTROL_E_LATER: the relay answers @request; -ENOMEM.
 */
int control_handle(struct broker *broker, const uint8_t *data, size_t bytes,
                   struct replier_request *request, uint8_t **ret_data, size_t *ret_bytes);
/* Packs and takes the sentence. */
int control_pack(const Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);

/* The list, as long as @with runs. Return: 0, -ENOMEM. */
int control_list(struct broker *broker, const Parley__ListRequest *request,
                 void (*with)(void *data, const Parley__ListReply *list),
                 void *data);
/* @ret: borrowed from the registry, and valid until something changes. */
enum parley_status control_describe(struct broker *broker, const Parley__DescribeRequest *request,
                                    Parley__DescribeReply *ret, struct error_text *error);
/* What is on the bus, as JSON: free(). NULL: no memory. */
char *control_list_json(struct broker *broker);

/* ---- What answers single requests ---- */

/* control_schemas.c */
int control_schemas(struct broker *broker, const Parley__SchemasRequest *request,
                    Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);

/* control_serve.c. @asker: NULL: this process */
int control_publish(struct broker *broker, const Parley__PublishRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes);
int control_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                     const struct replier_request *asker, Parley__ControlReply *reply,
                     uint8_t **ret_data, size_t *ret_bytes);

/* list_json.c; @control: whether the page may steer */
char *list_json(const Parley__ListReply *list, bool control);

/* events.c */
int control_events(struct broker *broker, const Parley__EventsRequest *request,
                   Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);

/* control_call.c: begins it. Return: PARLEY_OK: @asker is ours and will be answered; else why not. */
enum parley_status control_call(struct broker *broker, const Parley__CallRequest *request,
                                struct replier_request *asker, struct error_text *error);

/* lookup.c: what requests name. NULL: @error says what there is. */
struct interface *lookup_interface(struct broker *broker, const char *name,
                                   struct error_text *error);
struct version *lookup_version(struct interface *interface, const char *name,
                               struct error_text *error);
/* One that has a schema. @version_name NULL or "": the one with most calls. */
struct version *lookup_schema(struct broker *broker, const char *interface_name,
                              const char *version_name, struct error_text *error);

/* ---- serve.c: REP sockets that serve (serve.h) ---- */

struct serve;
struct tls_settings;
/* How it listens for them. All borrowed while the broker lives. */
struct serve_options {
    const char *dir; /* a folder for the sockets of peers on this host; NULL: none can serve */
    unsigned mode;      /* of a socket in the folder; 0: as the umask says */
    uint64_t dial_ns;   /* 0: SERVE_DIAL_NS */
    uint64_t silent_ns; /* 0: SERVE_SILENT_NS */
};

struct serve *serve_free(struct serve *serve); /* NULL is fine; returns NULL */
uint64_t serve_next_ns(const struct broker *broker);
void serve_turn(struct broker *broker, uint64_t now_ns); /* after each turn */

/* ---- watching.c: what is answered by HTTP ---- */

/* Listens, and answers from the loop. Return: 0; -errno with a sentence. */
int watching_open(struct broker *broker, const struct broker_options *options,
                  struct error_text *error);
void watching_close(struct broker *broker);

/* ---- page.c ---- */

/* Makes broker->http answer with the page, and what it asks for. @allow_control: and obey it.
 * Return: 0; -ENOSPC with a sentence. */
int page_open(struct broker *broker, bool allow_control, struct error_text *error);

/* ---- broker.c ---- */

struct broker_options {
    enum wait_backend backend;
    const char *socket; /* NULL: none, links are adopted (tests) */
    mode_t socket_mode;
    const char *const *control_urls;
    size_t control_url_count; /* 0: none */
    const char *const *health_urls; /* for SURVEYOR sockets */
    size_t health_url_count;
    const char *const *event_urls;
    size_t event_url_count; /* 0: none */
    const char *const *bus_urls;
    size_t bus_url_count;   /* 0: none */
    const char *http_url;   /* NULL: none */
    bool http_insecure;     /* one that is not loopback is fine */
    bool allow_control;     /* rollouts may be steered over HTTP */
    bool allow_calls;       /* and calls be made */
    const char *schemas; /* a folder of descriptor sets; NULL: none */
    const char *rollouts; /* a folder of documents; NULL: none */
    const char *state;    /* a folder, made when it is needed; NULL: nothing outlives the broker */
    struct admit_limits limits;
    const struct eject_settings *eject; /* NULL: the defaults */
    const char *audit;                  /* a file; NULL: none */
    const char *policy;                 /* a file; NULL: everything is allowed */
    struct quota_settings quota;       /* of the bus URLs */
    bool insecure;                      /* URLs that other machines reach need no TLS */
    struct tls_settings tls;            /* of tls+tcp:// URLs; its certificate NULL: none */
    struct serve_options serve;
};

struct broker {
    struct wait *wait;
    struct source listener_source, control_source;
    struct link_listener *listener;  /* NULL: none */
    struct replier *replier;     /* NULL: none */
    struct subscribers *subscribers; /* subscribers.h; NULL: no URL for events */
    struct source http_source;
    struct http_server *http; /* NULL: none */
    uint64_t id;
    uint64_t started_ns;
    bool stopping;
    struct admit admit;
    struct negotiator negotiator;
    struct directory directory;
    struct routes routes;
    struct stats_sums left; /* of endpoints that are gone */
    struct events events;   /* the last ones */
    bool allow_control;     /* of the page */
    struct stats_sums brought; /* what endpoints had counted before they came to us */
    uint64_t turn_bucket[STATS_BUCKET_COUNT], turn_sum_ns;
    struct tracer tracer;
    struct health *health;  /* NULL: nobody has asked yet */
    struct relay *relay;    /* NULL: not needed yet */
    struct front *front;    /* front.h; NULL: no bus URL */
    struct front_self *front_self; /* NULL: not needed yet */
    struct serve *serve;    /* NULL: not needed yet */
    struct serve_options serve_options;
    size_t bus_url_count;    /* hosts of which peers from elsewhere get ports to serve on */
    struct tls_settings tls; /* for them; its certificate NULL: none */
    uint64_t drain_last;    /* order of a Drain */
    struct ejector ejector;
    struct audit audit;
    struct policy *policy; /* guard.h; NULL: there is none */
    const char *policy_path;
    uint64_t policy_denied; /* what it refused */
    struct quota quota;
    uint64_t mirrored_ns; /* when a difference was published last */
    struct shelf *shelf;    /* NULL: none */
    struct rollouts *rollouts;
    LIST_HEAD(, folder) lost_folders; /* folder.c */
    struct endpoint *endpoints_by_id;
    TAILQ_HEAD(endpoint_list, endpoint) strangers, endpoints, doomed; /* strangers: oldest first */
    TAILQ_HEAD(, source) again; /* sources that had more than a batch */
    uint32_t endpoint_count;
};

int broker_new(const struct broker_options *options, struct broker **ret_broker,
               struct error_text *error);
struct broker *broker_free(struct broker *broker); /* NULL is fine; returns NULL */
int broker_watch(struct broker *broker, int fd, uint32_t events, struct source *source);
void broker_unwatch(struct broker *broker, int fd, struct source *source);
/* The source had more than a batch: it is ready again in the next turn. */
void broker_again(struct broker *broker, struct source *source);
/* One turn: at most @timeout_ns. Return: 0 or -errno. */
int broker_turn(struct broker *broker, uint64_t timeout_ns);

#endif
