/* The route page: weights (routes.c), and a rollout in it (routes_rollout.c). */
#ifndef PARLEY_BROKER_ROUTES_H
#define PARLEY_BROKER_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "parley/link.pb-c.h"
#include "shm/shm.h"

#define BROKER_GENERATION_MAX (UINT64_C(1) << 62)

struct broker;
struct interface;
struct version;

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
    const char *name;            /* of the rollout, for whoever is refused because of it */
    const char *stable, *canary; /* versions that the interface has; may be the same */
    uint32_t canary_buckets;     /* of ROUTE_BUCKETS, from 0 up */
    uint64_t salt;          /* of the buckets; interfaces may share it. 0: the interface's own */
    const char *sticky_key; /* a metadata key. NULL or "": a bucket is drawn for each call */
    const struct route_rule
        *rules;              /* a rule with more conditions goes first, then the earlier one */
    size_t rule_count;       /* ..ROUTE_RULE_MAX */
    uint32_t mirror_buckets; /* of the calls to the stable version; copies go to the canary */
};

/**
 * routes_set_rollout() - publish what a rollout decided, one store of a sequence for all of it
 *
 * Also sets the weights: the canary has its share, the stable version the rest, others nothing. The
 * generation rises if weights or anything else changed.
 * Return: 1: changed; 0: it was so already. Nothing is changed, with a sentence: -ENOENT: the
 * interface has no such version; -EINVAL; -E2BIG: more rules, conditions or text than fit; -ENOSPC:
 * too many interfaces have rules; -ENOMEM.
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
/* False: none runs. @next_sequence: of the slot behind this write; rules that have changed are
 * written to their block now. */
bool routes_rollout_fill(struct routes *routes, const struct interface *interface,
                         uint32_t next_sequence, struct route_slot_rollout *ret);
/* The interface goes. */
void routes_rollout_free(struct broker *broker, struct interface *interface);

/* ---- routes.c: weights ---- */

/**
 * weights_normalise() - shares of ROUTE_BUCKETS that sum to exactly that, by largest remainder
 * @weights: any unit; finite, 0 or more, not all 0
 * Return: 0, -EINVAL.
 */
int weights_normalise(const double *weights, size_t count, uint32_t *ret_shares);
/* A version joined, or all is new: whoever is first gets all. True if weights changed. */
bool weights_first(struct interface *interface, struct version *version);
/* What was learned of a broker before us, and shares of it. Return: 1; 0: nothing was; -EINVAL with
 * a sentence. */
int weights_check(uint64_t generation, Parley__Weight *const *weights, size_t count,
                  uint32_t ret_shares[ROUTE_VERSION_MAX], struct error_text *error);
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

#endif
