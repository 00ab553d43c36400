/*
 * A client of catalog.v2: what load.c asks, in this version's messages, and every field of the
 * replies.
 *
 * It may be deployed before any service of its version is, and is then served by one that lacks
 * what catalog.v2 added. The schema says so in comments ("added"); what is checked here is that
 * such a field is empty then, never something else, and that a filter that was added is without
 * effect then. The call's `translated` tells.
 */
#include "ask.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

static Catalog__V2__Priority priority(const char *name)
{
    return strcmp(name, "required") == 0    ? CATALOG__V2__PRIORITY__PRIORITY_REQUIRED
           : strcmp(name, "important") == 0 ? CATALOG__V2__PRIORITY__PRIORITY_IMPORTANT
           : strcmp(name, "standard") == 0  ? CATALOG__V2__PRIORITY__PRIORITY_STANDARD
           : strcmp(name, "optional") == 0  ? CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL
           : strcmp(name, "extra") == 0     ? CATALOG__V2__PRIORITY__PRIORITY_EXTRA
                                            : CATALOG__V2__PRIORITY__PRIORITY_UNSPECIFIED;
}

/* ---- Requests ---- */

Catalog__V2__GetRequest ask_get(const struct query *query)
{
    Catalog__V2__GetRequest request = CATALOG__V2__GET_REQUEST__INIT;
    request.package = (char *)query->text;
    return request;
}

/* The address in "Name <mail>"; "" if there is none. @text: ASK_TEXT_BYTES. */
static const char *email(const struct truth_package *package, char *text)
{
    const char *open = strstr(package->maintainer, " <");
    size_t bytes = open ? strlen(open + 2) : 0;
    if (bytes == 0 || bytes >= ASK_TEXT_BYTES || open[bytes + 1] != '>')
        return "";
    memcpy(text, open + 2, bytes - 1);
    text[bytes - 1] = '\0';
    return text;
}

/* Every fourth LIST asks for one maintainer's packages, which only version 2 can. Returns whose;
 * NULL for everybody's. */
static const struct truth_package *asked_maintainer(const struct query *query)
{
    return query->dice % 4 == 0 ? &query->truth->packages[query->dice / 4 % query->truth->count]
                                : NULL;
}

static bool asks_for_descriptions(const struct query *query)
{
    return query->dice % 8 == 0;
}

Catalog__V2__ListRequest ask_list(const struct query *query, char *text)
{
    Catalog__V2__ListRequest request = CATALOG__V2__LIST_REQUEST__INIT;
    request.section = (char *)query->section;
    request.priority = priority(query->priority);
    request.min_installed_bytes = (uint64_t)query->kib_min * 1024;
    request.page_size = query->limit;
    if (asked_maintainer(query))
        request.maintainer_email = (char *)email(asked_maintainer(query), text);
    return request;
}

Catalog__V2__SearchRequest ask_search(const struct query *query)
{
    Catalog__V2__SearchRequest request = CATALOG__V2__SEARCH_REQUEST__INIT;
    request.query = (char *)query->text;
    request.page_size = query->limit;
    request.in_description = asks_for_descriptions(query);
    return request;
}

/* ---- Replies ---- */

static void check_maintainer(struct difference *difference, const Catalog__V2__Contact *got,
                             const struct truth_package *want)
{
    char text[ASK_TEXT_BYTES];
    const char *mail = email(want, text);
    size_t name_bytes = strlen(want->maintainer) - (*mail ? strlen(mail) + 3 : 0);
    char *name = strndup(want->maintainer, name_bytes);
    difference_text(difference, want->id, "maintainer.name", got ? got->name : "", name);
    difference_text(difference, want->id, "maintainer.email", got ? got->email : "", mail);
    free(name);
}

/* What version 2 added is there if @complete, else empty. */
static void check_package(struct difference *difference, const Catalog__V2__Package *got,
                          const struct truth_package *want, bool complete)
{
    const Catalog__V2__Links *links = got->links;
    int rank = complete || strcmp(want->priority, "extra") != 0 ? (int)priority(want->priority)
                                                                : (int)priority("optional");
    difference_text(difference, want->id, "name", got->name, want->name);
    difference_text(difference, want->id, "architecture", got->architecture, want->architecture);
    difference_text(difference, want->id, "version", got->version, want->version);
    difference_text(difference, want->id, "section", got->section, want->section);
    difference_number(difference, want->id, "priority", got->priority, (uint64_t)rank);
    difference_number(difference, want->id, "installed_bytes", got->installed_bytes,
                      (uint64_t)want->installed_kib * 1024);
    check_maintainer(difference, got->maintainer, want);
    difference_text(difference, want->id, "links.homepage", links ? links->homepage : "",
                    want->homepage);
    difference_text(difference, want->id, "links.bugs", links ? links->bugs : "",
                    complete ? want->bugs : "");
    difference_text(difference, want->id, "links.origin", links ? links->origin : "",
                    complete ? want->origin : "");
    difference_text(difference, want->id, "synopsis", got->synopsis, want->summary);
    difference_text(difference, want->id, "description", got->description,
                    complete ? want->description : "");
    difference_text(difference, want->id, "source", got->source, complete ? want->source : "");
    difference_number(difference, want->id, "essential", got->essential, want->essential);
    difference_number(difference, want->id, "count of depends", got->n_depends,
                      want->depends_count);
    for (size_t i = 0; i < got->n_depends && i < want->depends_count; i++)
        difference_text(difference, want->id, "depends", got->depends[i], want->depends[i]);
}

static bool has_maintainer(const struct truth_package *package, const char *mail)
{
    char text[ASK_TEXT_BYTES];
    return !*mail || strcmp(email(package, text), mail) == 0;
}

static void check_list(struct difference *difference, const struct query *query,
                       const Catalog__V2__ListReply *reply, bool complete)
{
    char text[ASK_TEXT_BYTES];
    const struct truth_package *asked = complete ? asked_maintainer(query) : NULL;
    const char *mail = asked ? email(asked, text) : "";
    size_t total = 0, expected = 0;
    for (size_t i = 0; i < query->truth->count; i++) {
        const struct truth_package *want = &query->truth->packages[i];
        if (!query_lists(query, want) || !has_maintainer(want, mail))
            continue;
        total++;
        if (query->limit && expected == query->limit)
            continue;
        if (expected < reply->n_package)
            check_package(difference, reply->package[expected], want, complete);
        expected++;
    }
    difference_number(difference, "List", "count of packages", reply->n_package, expected);
    difference_number(difference, "List", "total", reply->total, total);
}

static void check_search(struct difference *difference, const struct query *query,
                         const Catalog__V2__SearchReply *reply, bool complete)
{
    bool descriptions = complete && asks_for_descriptions(query);
    size_t expected = 0;
    for (size_t i = 0; i < query->truth->count; i++) {
        const struct truth_package *want = &query->truth->packages[i];
        if (query->limit && expected == query->limit)
            break;
        if (!query_finds(query, want) &&
            !(descriptions && strcasestr(want->description, query->text)))
            continue;
        if (expected < reply->n_hit) {
            difference_text(difference, want->id, "id", reply->hit[expected]->id, want->id);
            difference_text(difference, want->id, "synopsis", reply->hit[expected]->synopsis,
                            want->summary);
        }
        expected++;
    }
    difference_number(difference, "Search", "count of hits", reply->n_hit, expected);
}

static void check_v2(const struct query *query, const ProtobufCMessage *reply,
                     const struct parley_call *call, struct difference *difference)
{
    bool complete = !call->translated;
    if (query->kind == QUERY_LIST)
        check_list(difference, query, (const Catalog__V2__ListReply *)reply, complete);
    else if (query->kind == QUERY_SEARCH)
        check_search(difference, query, (const Catalog__V2__SearchReply *)reply, complete);
    else if (query->kind == QUERY_GET)
        check_package(difference, (const Catalog__V2__Package *)reply, query->package,
                      complete);
    else
        difference_number(difference, query->text, "whether it was visited",
                          ((const Catalog__V2__VisitReply *)reply)->visits > 0, 1);
}

int main(int argc, char **argv)
{
    static const struct load_version version = {
        .program = "catalog-client-v2",
        .interface = &catalog__v2__catalog__interface,
        .call = ask_call,
        .start = ask_start,
        .check = check_v2,
    };
    return load_main(argc, argv, &version);
}
