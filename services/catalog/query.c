/*
 * Random questions and dpkg's answers to them.
 *
 * The mix is that of a catalogue: most calls get one package, some search, few list a section or
 * everything (a reply of several hundred kilobytes), and one in a hundred asks for what must be
 * refused. Expected answers are computed from what dpkg-query printed, by code that the services
 * do not share.
 */
#include "query.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* xorshift64*: the clients' dice. The state is not 0. */
static uint32_t dice_roll(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

static const struct truth_package *any(const struct truth *truth, uint64_t *dice)
{
    return &truth->packages[dice_roll(dice) % truth->count];
}

static void make_get(struct query *query, enum query_kind kind, uint64_t *dice)
{
    query->kind = kind;
    query->package = any(query->truth, dice);
    bool by_name = !query->package->twin && dice_roll(dice) % 2;
    snprintf(query->text, sizeof(query->text), "%s",
             by_name ? query->package->name : query->package->id);
}

/* What both versions can ask for; "" for all. */
static const char *filter_priority(const char *priority)
{
    static const char *const known[] = {"required", "important", "standard", "optional"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i], priority) == 0)
            return known[i];
    return strcmp(priority, "extra") == 0 ? "optional" : "";
}

static void make_list(struct query *query, uint64_t *dice)
{
    query->kind = QUERY_LIST;
    query->section = query->priority = "";
    if (dice_roll(dice) % 16 == 0)
        return; /* everything */
    const struct truth_package *like = any(query->truth, dice);
    if (dice_roll(dice) % 4)
        query->section = like->section;
    else
        query->priority = filter_priority(like->priority);
    if (dice_roll(dice) % 2)
        query->kib_min = like->installed_kib;
    if (dice_roll(dice) % 2 || !*query->section)
        query->limit = 1 + dice_roll(dice) % 20;
}

/* 3 to 8 characters of a summary or a name, in capitals or as they are. */
static void make_search(struct query *query, uint64_t *dice)
{
    const struct truth_package *like = any(query->truth, dice);
    const char *from = dice_roll(dice) % 2 ? like->summary : like->name;
    size_t bytes = 3 + dice_roll(dice) % 6, length = strlen(from);
    size_t start = length > bytes ? dice_roll(dice) % (length - bytes) : 0;
    bool capitals = dice_roll(dice) % 2;
    size_t i = 0;
    for (; i < bytes && from[start + i] && isascii(from[start + i]); i++)
        query->text[i] = (char)(capitals ? toupper(from[start + i]) : from[start + i]);
    query->text[i] = '\0';
    if (i == 0)
        snprintf(query->text, sizeof(query->text), "lib");
    query->kind = QUERY_SEARCH;
    query->limit = dice_roll(dice) % 4 ? 1 + dice_roll(dice) % 50 : 0;
}

void query_make(struct query *query, const struct truth *truth, uint64_t *dice,
                unsigned visit_per_cent)
{
    query->truth = truth;
    query->package = NULL;
    query->text[0] = '\0';
    query->section = query->priority = "";
    query->kib_min = query->limit = 0;
    query->dice = dice_roll(dice);
    unsigned per_mille = dice_roll(dice) % 1000;
    if (dice_roll(dice) % 100 < visit_per_cent) {
        make_get(query, QUERY_VISIT, dice);
    } else if (per_mille < 40) {
        make_list(query, dice);
    } else if (per_mille < 110) {
        make_search(query, dice);
    } else if (per_mille < 115) {
        query->kind = QUERY_GET_MISSING;
        snprintf(query->text, sizeof(query->text), "no-such-package-%u", query->dice % 1000);
    } else if (per_mille < 120) {
        query->kind = QUERY_GET_NOTHING;
    } else {
        make_get(query, QUERY_GET, dice);
    }
}

void query_text(const struct query *query, char *text, size_t bytes)
{
    switch (query->kind) {
    case QUERY_LIST:
        snprintf(text, bytes, "List(section \"%s\", priority \"%s\", from %u KiB, limit %u)",
                 query->section, query->priority, query->kib_min, query->limit);
        break;
    case QUERY_SEARCH:
        snprintf(text, bytes, "Search(\"%s\", limit %u)", query->text, query->limit);
        break;
    case QUERY_VISIT:
        snprintf(text, bytes, "Visit(\"%s\")", query->text);
        break;
    default:
        snprintf(text, bytes, "Get(\"%s\")", query->text);
        break;
    }
}

enum parley_status query_status(const struct query *query)
{
    return query->kind == QUERY_GET_MISSING   ? PARLEY_NOT_FOUND
           : query->kind == QUERY_GET_NOTHING ? PARLEY_INVALID_ARGUMENT
                                              : PARLEY_OK;
}

/* ---- Expected answers ---- */

/* Debian's policy takes "extra" for "optional", and both versions' lists do so. */
static bool priority_is(const char *priority, const char *wanted)
{
    return strcmp(priority, wanted) == 0 ||
           (strcmp(wanted, "optional") == 0 && strcmp(priority, "extra") == 0);
}

bool query_lists(const struct query *query, const struct truth_package *package)
{
    return (!*query->section || strcmp(package->section, query->section) == 0) &&
           (!*query->priority || priority_is(package->priority, query->priority)) &&
           package->installed_kib >= query->kib_min;
}

bool query_finds(const struct query *query, const struct truth_package *package)
{
    return strcasestr(package->name, query->text) || strcasestr(package->summary, query->text);
}

static bool differs(struct difference *difference)
{
    bool first = !difference->found;
    difference->found = true;
    return first;
}

void difference_text(struct difference *difference, const char *of, const char *field,
                     const char *got, const char *want)
{
    if (strcmp(got, want) != 0 && differs(difference))
        snprintf(difference->text, sizeof(difference->text),
                 "%.40s: %s is \"%.60s\", dpkg says \"%.60s\"", of, field, got, want);
}

void difference_number(struct difference *difference, const char *of, const char *field,
                       uint64_t got, uint64_t want)
{
    if (got != want && differs(difference))
        snprintf(difference->text, sizeof(difference->text), "%.40s: %s is %llu, dpkg says %llu",
                 of, field, (unsigned long long)got, (unsigned long long)want);
}
