/*
 * The route page, as an endpoint reads it: private copies of a slot, bounded whatever the page says,
 * and which version a call goes to by them. Thread: the endpoint's.
 */
#ifndef PARLEY_RPC_ROUTE_H
#define PARLEY_RPC_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/shm.h"

/* ---- route.c ---- */

#define RPC_VERSION_BYTES 32 /* of its text, with the NUL */
#define ROUTE_NOBODY UINT32_MAX /* instead of a version's index */

struct route_view {
    uint32_t sequence; /* of the slot when it was copied; 1: never (odd) */
    uint32_t version_count;
    uint32_t instance_count;
    bool rollout; /* else the next five are 0 */
    uint32_t stable_version, canary_version, canary_buckets;
    uint32_t mirror_version, mirror_buckets;
    uint32_t matches_sequence; /* changes with the rules; 0: there are none */
    uint64_t generation;
    uint64_t salt;
    uint8_t sticky_bytes; /* 0: a bucket is drawn for each call */
    char sticky_key[8 * ROUTE_KEY_WORDS];
    uint32_t threshold[ROUTE_VERSION_MAX];
    uint64_t instance_id[ROUTE_INSTANCE_MAX];
    uint8_t instance_state[ROUTE_INSTANCE_MAX];
    char version[ROUTE_VERSION_MAX][RPC_VERSION_BYTES]; /* NUL-terminated */
};
/* @base: the mapped route page. True if @view changed. Bounded: keeps the old view while the broker
 * writes, for ever if it died while writing. */
bool route_refresh(struct route_view *view, const struct region *page, uint32_t slot);
/* What changes when route_refresh() has something to do. NULL: there is no such slot. */
const _Atomic uint32_t *route_sequence(const struct region *page, uint32_t slot);
/* The version's index for a bucket; ROUTE_NOBODY: none. */
uint32_t route_version(const struct route_view *view, uint32_t bucket);
uint32_t route_bucket(const struct route_view *view, const char *key, size_t bytes);
/* What the page says of an instance; UP if it says nothing. */
enum route_instance_state route_state(const struct route_view *view, uint64_t instance_id);

/* The match rules of a slot, as the page has them: private, and nothing in it is to be trusted. */
struct route_rules {
    uint32_t rule_count, condition_count, text_bytes; /* bounded, unlike what follows */
    uint8_t rule_version[ROUTE_RULE_MAX];
    struct {
        uint8_t rule, kind, key_bytes;
        uint16_t key_at, value_bytes;
    } condition[ROUTE_CONDITION_MAX];
    uint8_t text[8 * ROUTE_TEXT_WORDS];
};
/* Copies the rules that belong to @view. False: the slot has changed since. */
bool route_rules_copy(const struct route_view *view, const struct region *page, uint32_t slot,
                      struct route_rules *ret_rules);

/* The broker's page is one of ours: version, size. */
int route_check(const struct region *page, struct error_text *error);

/* ---- match.c ---- */

struct matcher;
/* Compiles rules; what is wrong in them fits nothing. NULL: no rules, or no memory. */
struct matcher *matcher_new(const struct route_rules *rules);
struct matcher *matcher_free(struct matcher *matcher);
/* The version's index of the first rule that fits a checked block; ROUTE_NOBODY: none does. */
uint32_t matcher_version(const struct matcher *matcher, const uint8_t *metadata, size_t bytes);
/* The version's index that the route has for a call: by a rule that fits its metadata, else by the
 * bucket of the sticky key's value, else of one that is drawn. @matcher may be NULL. */
uint32_t route_choose(const struct route_view *view, const struct matcher *matcher,
                      const uint8_t *metadata, size_t bytes, uint64_t *random);

#endif
