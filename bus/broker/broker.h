/*
 * The broker's own structs. Nothing outside of this room and its tests includes this.
 *
 * Who owns whom: the broker has endpoints (one a link) and interfaces (one a name). An endpoint has
 * instances and contracts; an interface has versions, a version has instances. Ids that peers
 * choose are only ever looked up, never trusted to be unique.
 *
 * One thread. Nothing is freed while something may still walk over it: an endpoint whose link
 * fails, or that is refused, is doomed first and buried when the current event has been dealt with
 * (broker_bury()).
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
#include "broker/eject.h"
#include "broker/quota.h"
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
#define BROKER_SCHEMA_IDLE_MAX 256 /* schemas that nobody uses, kept for who comes back */
#define BROKER_SCHEMA_IDLE_BYTES_MAX ((size_t)64 << 20)
#define BROKER_FILE_BYTES 128 /* of a name in --schemas: 127 and a NUL */
#define BROKER_PATH_MAX PLAN_PATH_MAX /* versions from a client's to a service's, both counted */
#define BROKER_GENERATION_MAX (UINT64_C(1) << 62)

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

/* ---- admit.c: who may come in, and how much one user may have ---- */

/* Of one uid. Defaults: ADMIT_*. */
struct admit_limits {
    uint32_t endpoints_max;
    uint32_t instances_max;
    uint32_t contracts_max;
    uint32_t registrations_per_s; /* hellos, publications, contracts and connections */
    uint32_t registrations_burst;
};
#define ADMIT_ENDPOINTS_MAX 4096
#define ADMIT_INSTANCES_MAX 4096
#define ADMIT_CONTRACTS_MAX 16384
#define ADMIT_REGISTRATIONS_PER_S 8192
#define ADMIT_REGISTRATIONS_BURST 65536

struct account {
    UT_hash_handle hh;
    uid_t uid;
    uint32_t endpoints, instances, contracts;
    uint64_t tokens; /* thousandths of a registration */
    uint64_t filled_at_ns;
};

struct admit {
    struct admit_limits limits;
    struct account *accounts; /* hash by uid */
};

/* Limits of 0 mean the defaults. */
void admit_init(struct admit *admit, const struct admit_limits *limits);
void admit_deinit(struct admit *admit);
/* The user's account; makes it. NULL: no memory. It lives while it counts something. */
struct account *admit_account(struct admit *admit, uid_t uid, uint64_t now_ns);
/* Frees it if nothing is counted any more and its tokens are full. */
void admit_settle(struct admit *admit, struct account *account, uint64_t now_ns);
/* Each counts one more: 0; -EDQUOT with a sentence that names the limit. */
int admit_endpoint(struct admit *admit, struct account *account, struct error_text *error);
int admit_instance(struct admit *admit, struct account *account, struct error_text *error);
int admit_contract(struct admit *admit, struct account *account, struct error_text *error);
int admit_registration(struct admit *admit, struct account *account, uint64_t now_ns,
                       struct error_text *error);

/* ---- registry.c: every schema that was seen ---- */

/* One content, however many publish it or were built against it. */
struct schema_entry {
    TAILQ_ENTRY(schema_entry) entry; /* of negotiator->schemas; idle ones oldest first */
    struct schema *schema;
    struct semver version;
    struct digest hash; /* of the descriptor set, which has no positions if it was published */
    uint8_t *positions; /* a set with source_code_info, of who published it last; NULL: none */
    size_t positions_bytes;
    uint32_t users;
    uint64_t published;            /* the order of publications; 0: only clients brought it */
    char file[BROKER_FILE_BYTES];  /* of --schemas, without the folder; "": none */
    struct schema_entry *in_force; /* at generation `checked_at` */
    uint64_t checked_at;
    struct relay_contract *relayed; /* by which the relay calls with it (relay.c); NULL: none */
};

/* Whether it may decide how the messages of others are read. */
static inline bool schema_entry_trusted(const struct schema_entry *entry)
{
    return entry->published != 0 || entry->file[0] != '\0';
}

/* Of two contents of one version: whether the rules of @a count rather than those of @b. */
bool schema_entry_prevails(const struct schema_entry *a, const struct schema_entry *b);

/* From a client's schema to a service's; neighbours are adjacent versions. */
struct schema_path {
    size_t count;
    struct schema_entry *entries[BROKER_PATH_MAX];
};

struct negotiator {
    TAILQ_HEAD(schema_list, schema_entry) schemas;
    LIST_HEAD(, bridge) bridges;
    uint32_t schema_count;
    uint32_t idle_count;
    size_t idle_bytes; /* of their descriptor sets */
    uint64_t plan_last, published_last;
    uint64_t generation; /* counts changes that may lead to other paths */
    uint16_t tag_last;
    uint32_t swapping; /* offers that wait for their services to take the next plan */
    uint32_t swapped;  /* since then: */
    uint64_t swap_begun_ns;
    bool swap_again; /* something changed meanwhile */
};

/**
 * schema_entry_take() - the schema of a set, parsed or found
 * @interface, @version: what the peer says that it is, must agree with the set's options; or NULL
 * @service:             its protobuf service; NULL: the only one
 * Return: 0; -EINVAL, -EBADMSG, -E2BIG with a sentence; -ENOMEM. One more user:
 * schema_entry_drop().
 */
int schema_entry_take(struct negotiator *negotiator, const char *interface, const char *version,
                      const char *service, const uint8_t *set, size_t bytes,
                      struct schema_entry **ret_entry, struct error_text *error);
/* The same for what may be published. Positions are no part of the schema: they are taken out of the
 * set, so that a comment makes no other content, and kept beside it for the words of a refusal.
 * @positions: a set that has them; NULL: they may be in @set. Return: as above; -E2BIG for more than
 * SCHEMA_SET_BYTES_MAX of them. */
int schema_entry_take_located(struct negotiator *negotiator, const Parley__Publish *publish,
                              struct schema_entry **ret_entry, struct error_text *error);
void schema_entry_keep(struct negotiator *negotiator, struct schema_entry *entry);
struct schema_entry *schema_entry_drop(struct negotiator *negotiator, struct schema_entry *entry);
void entry_free(struct negotiator *negotiator, struct schema_entry *entry);

/* An instance has brought it. */
void registry_published(struct negotiator *negotiator, struct schema_entry *entry);
/* It lies in --schemas: one more user. Return: 0; -EEXIST with a sentence. */
int registry_file(struct negotiator *negotiator, struct schema_entry *entry, const char *name,
                  struct error_text *error);
void registry_unfile(struct negotiator *negotiator, struct schema_entry *entry);

/* The highest known version of the package before it, or of one that comes after it; NULL: none. */
struct schema_entry *registry_previous(struct negotiator *negotiator,
                                       const struct schema_entry *entry);
struct schema_entry *registry_next(struct negotiator *negotiator, const struct schema_entry *entry);
/* The content whose rules count for what @entry is a content of. */
struct schema_entry *registry_in_force(struct negotiator *negotiator, struct schema_entry *entry);
/* Return: 0; -EINVAL with the version that is missing and the way out; -E2BIG. */
int registry_path(struct negotiator *negotiator, struct schema_entry *client,
                  struct schema_entry *service, struct schema_path *ret_path,
                  struct error_text *error);
/* Over a higher minor version of the older end. False: there is none. */
bool registry_detour(struct negotiator *negotiator, struct schema_path *path);

/* ---- compat.c ---- */

/* Whether it keeps what the versions beside it in its major version promise. Return: 0; -EINVAL
 * with the breaks, as `parley diff` words them; -ENOMEM. */
int compat_neighbours(const struct negotiator *negotiator, const struct schema_entry *entry,
                      struct error_text *error);
/* Whether @newer may follow @older as a content of the same version. Return: as above. */
int compat_follows(const struct schema_entry *older, const struct schema_entry *newer,
                   struct error_text *error);

/* ---- same.c ---- */

/* Whether both are the same interface, as far as calls can tell: services, methods, messages. */
bool schema_same(const struct schema *a, const struct schema *b, struct error_text *error);

/* ---- bridges.c: what is between two schemas ---- */

/* The plans between a client's and a service's schema. */
struct bridge {
    LIST_ENTRY(bridge) entry;
    struct schema_entry *client, *service; /* as the two have them */
    struct schema_path wanted;             /* what the registry said */
    struct schema_path path;               /* what was compiled */
    uint64_t checked_at;                   /* generation of the registry */
    uint32_t users;                        /* offers */
    bool retired;                          /* another one has its place */
    int result;                            /* 0, or why there are none */
    struct error_text error;
    struct error_text complaint; /* why it was not replaced; "": nobody tried */
    enum plan_class class;
    struct plan *requests, *replies;
    uint64_t requests_id, replies_id; /* plan_id on the link */
    uint64_t requests_line, replies_line;
    uint16_t tag;
    uint64_t compile_ns;              /* what it took */
};

void negotiator_init(struct negotiator *negotiator);
void negotiator_deinit(struct negotiator *negotiator);
void negotiator_forget_bridges(struct negotiator *negotiator, const struct schema_entry *entry);

/* NULL is fine: the identity. */
struct bridge *bridge_keep(struct negotiator *negotiator, struct bridge *bridge);
struct bridge *bridge_drop(struct negotiator *negotiator, struct bridge *bridge);

/* @ret_bridge: borrowed; result 0 in it. Return: 0, -ENOMEM, or why the two cannot be bridged. */
int negotiator_bridge(struct negotiator *negotiator, struct schema_entry *client,
                      struct schema_entry *service, struct bridge **ret_bridge,
                      struct error_text *error);

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

/* ---- routes.c: the route page, and weights ---- */

struct routes {
    struct region region;
    uint32_t matches_used; /* bits: blocks of match rules */
    uint64_t writes;       /* counts changes of slots */
};

int routes_init(struct routes *routes, uint64_t broker_id, struct error_text *error);
void routes_deinit(struct routes *routes);
/* Publishes what the interface is now in its slot. */
void routes_write(struct routes *routes, const struct interface *interface);
/* Empties a slot. */
void routes_clear(struct routes *routes, uint32_t slot);
/* How many of 100,000 traces that begin are sampled; more is as good as all. */
void routes_set_tracing(struct routes *routes, uint32_t per_100000);

/* ---- routes_rollout.c: a rollout in the route page ---- */

/* Holds if @value and the value of the call's metadata @key go together as @kind says. */
struct route_condition_text {
    enum route_match_kind kind;
    const char *key;
    const char *value; /* PRESENT: not looked at */
};

/* Fits if all of its conditions hold. */
struct route_rule {
    const struct route_condition_text *conditions;
    size_t condition_count; /* 1.. */
    bool to_stable;         /* calls that fit go there; else to the canary */
};

/* Everything is copied. */
struct route_rollout {
    const char *name;           /* of the rollout, for whoever is refused because of it */
    const char *stable, *canary; /* versions that the interface has; may be the same */
    uint32_t canary_buckets;    /* of ROUTE_BUCKETS, from 0 up */
    uint64_t salt;              /* of the buckets; interfaces may share it. 0: the interface's own */
    const char *sticky_key;     /* a metadata key. NULL or "": a bucket is drawn for each call */
    const struct route_rule *rules; /* a rule with more conditions goes first, then the earlier one */
    size_t rule_count;          /* ..ROUTE_RULE_MAX */
    uint32_t mirror_buckets;    /* of the calls to the stable version; copies go to the canary */
};

/**
 * routes_set_rollout() - publish what a rollout decided, one store of a sequence for all of it
 *
 * Also sets the weights: the canary has its share, the stable version the rest, others nothing. The
 * generation rises if weights or anything else changed.
 * Return: 1: changed; 0: it was so already. Nothing is changed, with a sentence: -ENOENT: the interface has no
 * such version; -EINVAL; -E2BIG: more rules, conditions or text than fit; -ENOSPC: too many
 * interfaces have rules; -ENOMEM.
 */
int routes_set_rollout(struct broker *broker, struct interface *interface,
                       const struct route_rollout *rollout, struct error_text *error);
/* No rollout runs any more: its weights stay, its rules, key, salt and mirror go. */
void routes_end_rollout(struct broker *broker, struct interface *interface);
/* Its name, or NULL: none runs. */
const char *routes_rollout(const struct interface *interface);
/* Whether a version must keep its place in the slot, because a rollout names it. */
bool routes_rollout_names(const struct version *version);
/* What routes_write() needs of it. */
struct route_slot_rollout {
    uint64_t salt;
    const char *sticky_key; /* "": none */
    uint32_t stable, canary, canary_buckets, mirror_buckets;
    uint32_t matches, matches_sequence;
};
/* False: none runs. @next_sequence: of the slot behind this write; rules that have changed are written
 * to their block now. */
bool routes_rollout_fill(struct routes *routes, const struct interface *interface,
                         uint32_t next_sequence, struct route_slot_rollout *ret);
/* The interface goes. */
void routes_rollout_free(struct broker *broker, struct interface *interface);

/**
 * weights_normalise() - shares of ROUTE_BUCKETS that sum to exactly that, by largest remainder
 * @weights: any unit; finite, 0 or more, not all 0
 * Return: 0, -EINVAL.
 */
int weights_normalise(const double *weights, size_t count, uint32_t *ret_shares);
/* A version joined, or all is new: whoever is first gets all. True if weights changed. */
bool weights_first(struct interface *interface, struct version *version);
/**
 * weights_learn() - what an instance saw of a broker before us
 * The highest generation wins, unless an operator has spoken since: then only the generation rises.
 * Return: 1: changed, 0: not, -EINVAL with a sentence.
 */
int weights_learn(struct broker *broker, struct interface *interface, uint64_t generation,
                  Parley__Weight *const *weights, size_t count, struct error_text *error);
/* What calls really do: weights among the versions that are up; if none of these has any, alike
 * among their instances. */
void weights_effective(const struct interface *interface, uint32_t ret_shares[ROUTE_VERSION_MAX]);

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
/* Of a status: whether it is a fault of the service or of the bus, rather than of the caller: what
 * OpenTelemetry takes for an error of a gRPC server. */
bool stats_is_fault(unsigned status);
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
/* ---- audit.c: who was refused what ---- */

#define AUDIT_USER_MAX 64
#define AUDIT_USER_BURST 100 /* refusals of one user */
#define AUDIT_USER_NS (UINT64_C(1) * 1000000000) /* until there is room for another */
#define AUDIT_BURST 1000                         /* of all */
#define AUDIT_NS (UINT64_C(100) * 1000000)

struct audit_bucket {
    uid_t uid;
    uint32_t tokens;
    uint64_t filled_at_ns; /* 0: never used */
};

struct audit {
    int fd;           /* -1: no file */
    const char *path; /* NULL: none; borrowed */
    bool failing;     /* the last line could not be written */
    struct audit_bucket users[AUDIT_USER_MAX], rest, all;
    uint32_t user_count;
    uint64_t suppressed; /* since the last that was not */
    uint64_t suppressed_ever;
};

struct refusal {
    const char *topic; /* "audit.link", "audit.publish", "audit.contract", "audit.connect",
                        * "audit.control", "audit.http" */
    bool known;        /* `who` is what the kernel says */
    struct ucred who;
    const char *from;  /* an endpoint's name, or an address; NULL */
    const char *asked; /* "a link", "publish", "drain" */
    const char *interface, *version; /* NULL: none */
    enum parley_status status;
};

/* @path: of the file, borrowed; NULL: none. Return: 0; -errno with a sentence. */
int audit_init(struct audit *audit, const char *path, struct error_text *error);
void audit_deinit(struct audit *audit);
void audit_reopen(struct audit *audit); /* as SIGHUP wants */
/* Whether there is room for one more of that user; counts what there is not. */
bool audit_admits(struct audit *audit, bool known, uid_t uid, uint64_t now_ns);
/* Published and written down. */
void audit_refused(struct broker *broker, const struct refusal *refusal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void audit_refused_peer(struct endpoint *endpoint, const char *topic, const char *asked,
                        const char *interface, const char *version, enum parley_status status,
                        const char *why);
/* If the answer is a refusal. @request: NULL: it could not be read; @asker: NULL: this process */
void audit_control(struct broker *broker, const Parley__ControlRequest *request,
                   const struct replier_request *asker, const uint8_t *reply, size_t reply_bytes);

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

/* control_schemas.c */
int control_schemas(struct broker *broker, const Parley__SchemasRequest *request,
                    Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);

/* The list, as long as @with runs. Return: 0, -ENOMEM. */
int control_list(struct broker *broker, void (*with)(void *data, const Parley__ListReply *list),
                 void *data);
/* @ret: borrowed from the registry, and valid until something changes. */
enum parley_status control_describe(struct broker *broker, const Parley__DescribeRequest *request,
                                    Parley__DescribeReply *ret, struct error_text *error);
/* control_serve.c. @asker: NULL: this process */
int control_publish(struct broker *broker, const Parley__PublishRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes);
int control_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                     const struct replier_request *asker, Parley__ControlReply *reply,
                     uint8_t **ret_data, size_t *ret_bytes);

/* What is on the bus, as JSON: free(). NULL: no memory. */
char *control_list_json(struct broker *broker);
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
void broker_bury(struct broker *broker); /* frees what is doomed */

#endif
