/*
 * Rollouts in the broker: documents that it runs (bus/rollout decides, we do).
 */
#ifndef PARLEY_BROKER_ROLLOUTS_H
#define PARLEY_BROKER_ROLLOUTS_H

#include <jansson.h>

#include "broker/broker.h"
#include "rollout/rollout.h"

#define ROLLOUTS_MAX 256 /* at the same time, and files of --rollouts */
/* A file of --rollouts that is gone may come back until then: editors rename. */
#define ROLLOUTS_GONE_NS (UINT64_C(2) * 1000000000)
/* One that is under way is written to disk that often, though nothing has changed but the time that
 * it was held and what was counted. */
#define ROLLOUTS_KEEP_NS (UINT64_C(10) * 1000000000)

/* ---- What others ask ---- */

/* All rollouts, by name, as `parley rollout show --json` has one; NULL: no memory. The caller's. */
json_t *rollouts_json(struct broker *broker);

/**
 * rollouts_order() - what an operator wants
 * @who: as the kernel knows them; @why: NULL: nothing said
 * Return: PARLEY_OK; NOT_FOUND, FAILED_PRECONDITION with a sentence.
 */
enum parley_status rollouts_order(struct broker *broker, const char *name, enum rollout_verb verb,
                                  const char *who, const char *why, struct error_text *error);

/* ---- For control.c ---- */

/* Who asks, for the history. @asker: NULL: this process. Return: PARLEY_OK; UNAUTHENTICATED with a
 * sentence: it has hung up, and nobody may do something and not be known for it. */
enum parley_status rollouts_who(const struct replier_request *asker,
                                char who[ROLLOUT_WHO_BYTES_MAX + 1], struct error_text *error);

/* Whether an operator may set weights. Return: PARLEY_OK; FAILED_PRECONDITION with a sentence that
 * names the rollout: it runs, and there is no @force. */
enum parley_status rollouts_allow_route(const struct broker *broker,
                                        const struct interface *interface, bool force,
                                        struct error_text *error);
/* An operator did: a rollout that runs there pauses. */
void rollouts_route_set(struct broker *broker, struct interface *interface, const char *who);

int control_rollout(struct broker *broker, const Parley__RolloutRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes);

/* ---- For broker.c ---- */

/* Reads the state, then the folder. @folder, @state: NULL: none. Return: 0; -errno with a sentence.
 */
int rollouts_new(struct broker *broker, const char *folder, const char *state,
                 struct rollouts **ret_rollouts, struct error_text *error);
struct rollouts *rollouts_free(struct rollouts *rollouts); /* NULL is fine; keeps their state */
uint64_t rollouts_next_ns(const struct broker *broker);    /* CLOCK_NEVER: nothing to wait for */
void rollouts_turn(struct broker *broker);                 /* after each turn */

/* ---- stats.c ---- */

/* What clients counted of calls of @interface that these two versions served, since this broker
 * knows them. */
void stats_figures(struct broker *broker, const char *interface, const char *const versions[2],
                   struct rollout_figures ret_figures[2]);

struct mirror_figures {
    uint64_t sent, differ, failed, skipped; /* as in struct stats_mirror */
};
/* What clients counted of copies of calls of @interface that went to @version, as above. */
void stats_mirrored(struct broker *broker, const char *interface, const char *version,
                    struct mirror_figures *ret_figures);

/* ---- Among the files of rollouts ---- */

struct rollouts {
    struct broker *broker;
    struct rollouts_item *items; /* hash by name */
    struct folder *folder;       /* NULL: none */
    char path[PATHS_BYTES_MAX];  /* of the folder */
    char state[PATHS_BYTES_MAX]; /* "": none */
    uint64_t offered_at;         /* directory.changes that they know */
    bool ended; /* one has: a file that was refused because of it may come in its place */
};

struct rollouts_item {
    UT_hash_handle hh; /* by name */
    char name[ROLLOUT_NAME_BYTES_MAX + 1];
    struct broker *broker;
    struct rollout *rollout;
    char file[BROKER_FILE_BYTES]; /* of --rollouts; "": it was applied */
    uint64_t gone_at_ns;          /* its file is gone, it ends then; CLOCK_NEVER */
    uint64_t next_ns;             /* look at it then */
    uint64_t kept_ns;             /* when it was written to disk last */
    uint64_t told;                /* serial of the last entry of its history that was published */
    bool overridden;              /* an operator's weights count, as long as it is in this phase: */
    enum rollout_phase overridden_in;
    char trouble[ERROR_TEXT_BYTES_MAX]; /* why its route could not be published; "": it was */
};

/* rollouts.c */

struct rollouts_item *rollouts_find(const struct broker *broker, const char *name);
/* Makes or changes the rollout that a document describes. @file: what sentences call it; @source:
 * the file of --rollouts, or NULL. Return: 0, also if nothing changed; -errno with a sentence. */
int rollouts_apply(struct broker *broker, const char *text, size_t bytes, const char *file,
                   const char *source, const char *who, struct rollouts_item **ret_item,
                   struct error_text *error);
/* Ends it: no more matches, and all to the stable version if it is not completed. */
void rollouts_end(struct rollouts_item *item, const char *who, const char *why);
/* Takes over what rollouts_state_read() found. Return: 0; -EEXIST, -E2BIG with a sentence. */
int rollouts_restore(struct rollouts *rollouts, struct rollout *rollout, const char *file,
                     bool overridden, struct error_text *error);
struct rollout_time rollouts_now(void);
bool rollout_running(enum rollout_phase phase);

/* rollouts_state.c */

void rollouts_keep(struct rollouts_item *item); /* trouble is logged */
void rollouts_forget(const struct rollouts_item *item);
int rollouts_state_read(struct rollouts *rollouts, struct error_text *error);

/* rollouts_folder.c */

int rollouts_watch(struct rollouts *rollouts, struct error_text *error);
/* Looks again at documents that were refused. */
void rollouts_watch_again(struct rollouts *rollouts);

/* rollouts_json.c */

json_t *rollouts_item_json(const struct rollouts_item *item);
/* By name. Return: how many. */
size_t rollouts_sorted(struct broker *broker, struct rollouts_item *items[ROLLOUTS_MAX]);

#endif
