/*
 * A client of catalog.v1: what load.c asks, in this version's messages, and every field of the
 * replies. It was built before there was a catalog.v2, and it cannot tell who serves it.
 */
#include "ask.h"
#include "load.h"

#include <string.h>

static Catalog__V1__Priority priority(const char *name)
{
    return strcmp(name, "required") == 0    ? CATALOG__V1__PRIORITY__PRIORITY_REQUIRED
           : strcmp(name, "important") == 0 ? CATALOG__V1__PRIORITY__PRIORITY_IMPORTANT
           : strcmp(name, "standard") == 0  ? CATALOG__V1__PRIORITY__PRIORITY_STANDARD
           : strcmp(name, "optional") == 0  ? CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL
           : strcmp(name, "extra") == 0     ? CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL
                                            : CATALOG__V1__PRIORITY__PRIORITY_UNSPECIFIED;
}

/* ---- Requests ---- */

Catalog__V1__GetRequest ask_get(const struct query *query)
{
    Catalog__V1__GetRequest request = CATALOG__V1__GET_REQUEST__INIT;
    request.name = (char *)query->text;
    return request;
}

Catalog__V1__ListRequest ask_list(const struct query *query, char *text)
{
    (void)text;
    Catalog__V1__ListRequest request = CATALOG__V1__LIST_REQUEST__INIT;
    request.section = (char *)query->section;
    request.priority = priority(query->priority);
    request.min_installed_kib = query->kib_min;
    request.limit = query->limit;
    return request;
}

Catalog__V1__SearchRequest ask_search(const struct query *query)
{
    Catalog__V1__SearchRequest request = CATALOG__V1__SEARCH_REQUEST__INIT;
    request.text = (char *)query->text;
    request.limit = query->limit;
    return request;
}

/* ---- Replies ---- */

static void check_package(struct difference *difference, const Catalog__V1__Package *got,
                          const struct truth_package *want)
{
    difference_text(difference, want->id, "id", got->id, want->id);
    difference_text(difference, want->id, "name", got->name, want->name);
    difference_text(difference, want->id, "architecture", got->architecture, want->architecture);
    difference_text(difference, want->id, "version", got->version, want->version);
    difference_text(difference, want->id, "section", got->section, want->section);
    difference_number(difference, want->id, "priority", got->priority, priority(want->priority));
    difference_number(difference, want->id, "installed_kib", got->installed_kib,
                      want->installed_kib);
    difference_text(difference, want->id, "maintainer", got->maintainer, want->maintainer);
    difference_text(difference, want->id, "homepage", got->homepage, want->homepage);
    difference_text(difference, want->id, "summary", got->summary, want->summary);
    difference_number(difference, want->id, "essential", got->essential, want->essential);
    difference_number(difference, want->id, "count of depends", got->n_depends,
                      want->depends_count);
    for (size_t i = 0; i < got->n_depends && i < want->depends_count; i++)
        difference_text(difference, want->id, "depends", got->depends[i], want->depends[i]);
}

static void check_list(struct difference *difference, const struct query *query,
                       const Catalog__V1__ListReply *reply)
{
    size_t total = 0, expected = 0;
    for (size_t i = 0; i < query->truth->count; i++) {
        const struct truth_package *want = &query->truth->packages[i];
        if (!query_lists(query, want))
            continue;
        total++;
        if (query->limit && expected == query->limit)
            continue;
        if (expected < reply->n_package)
            check_package(difference, reply->package[expected], want);
        expected++;
    }
    difference_number(difference, "List", "count of packages", reply->n_package, expected);
    difference_number(difference, "List", "total", reply->total, total);
}

static void check_search(struct difference *difference, const struct query *query,
                         const Catalog__V1__SearchReply *reply)
{
    size_t expected = 0;
    for (size_t i = 0; i < query->truth->count; i++) {
        const struct truth_package *want = &query->truth->packages[i];
        if (query->limit && expected == query->limit)
            break;
        if (!query_finds(query, want))
            continue;
        if (expected < reply->n_hit) {
            difference_text(difference, want->id, "id", reply->hit[expected]->id, want->id);
            difference_text(difference, want->id, "summary", reply->hit[expected]->summary,
                            want->summary);
        }
        expected++;
    }
    difference_number(difference, "Search", "count of hits", reply->n_hit, expected);
}

static void check_v1(const struct query *query, const ProtobufCMessage *reply,
                     const struct parley_call *call, struct difference *difference)
{
    (void)call; /* whoever served it, it has to be the same */
    if (query->kind == QUERY_LIST)
        check_list(difference, query, (const Catalog__V1__ListReply *)reply);
    else if (query->kind == QUERY_SEARCH)
        check_search(difference, query, (const Catalog__V1__SearchReply *)reply);
    else if (query->kind == QUERY_GET)
        check_package(difference, (const Catalog__V1__Package *)reply, query->package);
    else
        difference_number(difference, query->text, "whether it was visited",
                          ((const Catalog__V1__VisitReply *)reply)->visits > 0, 1);
}

int main(int argc, char **argv)
{
    static const struct load_version version = {
        .program = "catalog-client",
        .interface = &catalog__v1__catalog__interface,
        .call = ask_call,
        .start = ask_start,
        .check = check_v1,
    };
    return load_main(argc, argv, &version);
}
