/* Every schema that was seen (registry.c), and what is between two of them: whether one may follow
 * the other (compat.c), is the same (same.c), and plans (bridges.c). */
#ifndef PARLEY_BROKER_REGISTRY_H
#define PARLEY_BROKER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/digest.h"
#include "base/error.h"
#include "parley/control.pb-c.h"
#include "parley/link.pb-c.h"
#include "schema/schema.h"
#include "translate/plan.h"

#define BROKER_SCHEMA_IDLE_MAX 256 /* schemas that nobody uses, kept for who comes back */
#define BROKER_SCHEMA_IDLE_BYTES_MAX ((size_t)64 << 20)
#define BROKER_FILE_BYTES 128         /* of a name in --schemas: 127 and a NUL */
#define BROKER_PATH_MAX PLAN_PATH_MAX /* versions from a client's to a service's, both counted */

struct relay_contract;

/* One content, however many publish it or were built against it. */
struct schema_entry {
    TAILQ_ENTRY(schema_entry) entry; /* of negotiator->schemas; idle ones oldest first */
    struct schema *schema;
    struct semver version;
    struct digest hash; /* of the descriptor set, which has no positions if it was published */
    uint8_t *positions; /* a set with source_code_info, of who published it last; NULL: none */
    size_t positions_bytes;
    uint32_t users;
    uint64_t published;            /* the order of publications; 0: none that counts */
    Parley__SchemaInfo__Origin origin;
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
/* The same for what may be published. Positions are no part of the schema: they are taken out of
 * the set, so that a comment makes no other content, and kept beside it for the words of a refusal.
 * @positions: a set that has them; NULL: they may be in @set. Return: as above; -E2BIG for more
 * than SCHEMA_SET_BYTES_MAX of them. */
int schema_entry_take_located(struct negotiator *negotiator, const Parley__Publish *publish,
                              struct schema_entry **ret_entry, struct error_text *error);
void schema_entry_keep(struct negotiator *negotiator, struct schema_entry *entry);
struct schema_entry *schema_entry_drop(struct negotiator *negotiator, struct schema_entry *entry);
void entry_free(struct negotiator *negotiator, struct schema_entry *entry);

/* Who brought it was not refused. */
void registry_brought(struct schema_entry *entry, Parley__SchemaInfo__Origin by);
/* An instance has brought it, and its rules count. */
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
    uint64_t compile_ns; /* what it took */
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

#endif
