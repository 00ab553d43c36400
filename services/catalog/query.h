/*
 * What the clients ask, in no version's words, and what dpkg's answer to it is.
 */
#ifndef CATALOG_QUERY_H
#define CATALOG_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <parley/status.h>

#include "truth.h"

enum query_kind {
    QUERY_GET,
    QUERY_GET_MISSING, /* a package that is not installed */
    QUERY_GET_NOTHING, /* no name */
    QUERY_LIST,
    QUERY_SEARCH,
    QUERY_VISIT,
};

/* One call: what it asks, in no version's words. */
struct query {
    enum query_kind kind;
    const struct truth *truth;
    const struct truth_package *package; /* GET, VISIT: the one that it asks for */
    char text[256];       /* GET, VISIT: a name or an id. SEARCH: what for */
    const char *section;  /* LIST: "" for all */
    const char *priority; /* LIST: "" for all, else as dpkg writes it */
    uint32_t kib_min;     /* LIST */
    uint32_t limit;       /* LIST, SEARCH: 0 for none */
    uint32_t dice;        /* random, for what only one version can ask */
};

/* A random question: mostly GET; @visit_per_cent of VISIT. */
void query_make(struct query *query, const struct truth *truth, uint64_t *dice,
                unsigned visit_per_cent);
/* "Get(\"bash:amd64\")", for people. */
void query_text(const struct query *query, char *text, size_t bytes);
/* How it has to end. */
enum parley_status query_status(const struct query *query);

/* Where a reply is not what dpkg says; found: false until the first. */
struct difference {
    bool found;
    char text[256];
};

void difference_text(struct difference *difference, const char *of, const char *field,
                     const char *got, const char *want);
void difference_number(struct difference *difference, const char *of, const char *field,
                       uint64_t got, uint64_t want);

/* Whether a LIST or SEARCH asks for this package; its limit aside. */
bool query_lists(const struct query *query, const struct truth_package *package);
bool query_finds(const struct query *query, const struct truth_package *package);

#endif
