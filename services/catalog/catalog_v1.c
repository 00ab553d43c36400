/*
 * The package catalogue, version 1.0.0, as a service.
 *
 * It was written when there was no other version, and it still reads so: the messages are
 * catalog.v1's, and nothing here knows of clients that speak another.
 *
 * Packages are put into messages once, when the program starts. A reply borrows them, for the
 * library packs it before the closure returns. The only thing that a call changes is the count of
 * visits, and the endpoint has one thread. Handlers answer at once; only a Visit may be held back
 * for a while (serve_later()), so that --chaos has calls to kill.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_v1.parley.h"
#include "dpkg.h"
#include "serve.h"

#define TEXT_BYTES_MAX 256

struct catalog {
    Catalog__V1__Catalog_Service service; /* first: handlers get a pointer to it */
    const struct dpkg_db *db;
    size_t count;
    Catalog__V1__Package *packages;
    Catalog__V1__Package **picked; /* of a list's reply */
    Catalog__V1__Hit *hits;        /* of a search's */
    Catalog__V1__Hit **hit;
    uint64_t *visits;
};

static Catalog__V1__Priority priority(const char *name)
{
    static const struct {
        const char *name;
        Catalog__V1__Priority value;
    } names[] = {
        {"required", CATALOG__V1__PRIORITY__PRIORITY_REQUIRED},
        {"important", CATALOG__V1__PRIORITY__PRIORITY_IMPORTANT},
        {"standard", CATALOG__V1__PRIORITY__PRIORITY_STANDARD},
        {"optional", CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL},
        {"extra", CATALOG__V1__PRIORITY__PRIORITY_OPTIONAL},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].value;
    return CATALOG__V1__PRIORITY__PRIORITY_UNSPECIFIED;
}

static void catalog_get(Catalog__V1__Catalog_Service *service,
                        const Catalog__V1__GetRequest *request,
                        Catalog__V1__Package_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    size_t index = 0;
    bool found = serve_find(catalog->db, request->name, &index);
    closure(found ? &catalog->packages[index] : NULL, closure_data);
}

static bool matches(const Catalog__V1__Package *package, const Catalog__V1__ListRequest *request)
{
    return (!*request->section || strcmp(package->section, request->section) == 0) &&
           (!request->priority || package->priority == request->priority) &&
           package->installed_kib >= request->min_installed_kib;
}

static void catalog_list(Catalog__V1__Catalog_Service *service,
                         const Catalog__V1__ListRequest *request,
                         Catalog__V1__ListReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    if (!protobuf_c_enum_descriptor_get_value(&catalog__v1__priority__descriptor,
                                              (int)request->priority)) {
        serve_fail(PARLEY_INVALID_ARGUMENT, "The priority is none of catalog.v1.");
        closure(NULL, closure_data);
        return;
    }
    Catalog__V1__ListReply reply = CATALOG__V1__LIST_REPLY__INIT;
    reply.package = catalog->picked;
    for (size_t i = 0; i < catalog->count; i++) {
        if (!matches(&catalog->packages[i], request))
            continue;
        if (request->limit == 0 || reply.total < request->limit)
            reply.package[reply.n_package++] = &catalog->packages[i];
        reply.total++;
    }
    closure(&reply, closure_data);
}

static void catalog_search(Catalog__V1__Catalog_Service *service,
                           const Catalog__V1__SearchRequest *request,
                           Catalog__V1__SearchReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    size_t bytes = strlen(request->text);
    if (bytes == 0 || bytes > TEXT_BYTES_MAX) {
        serve_fail(PARLEY_INVALID_ARGUMENT, "The text to search for must have 1 to 256 bytes.");
        closure(NULL, closure_data);
        return;
    }
    Catalog__V1__SearchReply reply = CATALOG__V1__SEARCH_REPLY__INIT;
    reply.hit = catalog->hit;
    for (size_t i = 0; i < catalog->count; i++) {
        const struct dpkg_package *package = dpkg_at(catalog->db, i);
        if (request->limit && reply.n_hit == request->limit)
            break;
        if (dpkg_contains(package->name, request->text) ||
            dpkg_contains(package->summary, request->text))
            reply.hit[reply.n_hit++] = &catalog->hits[i];
    }
    closure(&reply, closure_data);
}

struct visit {
    uint64_t visits;
    Catalog__V1__VisitReply_Closure closure;
    void *closure_data;
};

static void answer_visit(void *data)
{
    struct visit *visit = data;
    Catalog__V1__VisitReply reply = CATALOG__V1__VISIT_REPLY__INIT;
    reply.visits = visit->visits;
    visit->closure(&reply, visit->closure_data);
    free(visit);
}

static void catalog_visit(Catalog__V1__Catalog_Service *service,
                          const Catalog__V1__GetRequest *request,
                          Catalog__V1__VisitReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    size_t index = 0;
    if (!serve_find(catalog->db, request->name, &index)) {
        closure(NULL, closure_data);
        return;
    }
    struct visit *visit = malloc(sizeof(*visit));
    if (!visit) {
        serve_fail(PARLEY_RESOURCE_EXHAUSTED, "There is no memory for a visit.");
        closure(NULL, closure_data);
        return;
    }
    *visit = (struct visit){++catalog->visits[index], closure, closure_data};
    if (!serve_later(answer_visit, visit))
        answer_visit(visit);
}

/* The message borrows all strings: protobuf-c's structs have no const, but nobody frees these. */
static void fill(Catalog__V1__Package *message, const struct dpkg_package *package)
{
    catalog__v1__package__init(message);
    message->id = (char *)package->id;
    message->name = (char *)package->name;
    message->architecture = (char *)package->architecture;
    message->version = (char *)package->version;
    message->section = (char *)package->section;
    message->priority = priority(package->priority);
    message->installed_kib = package->installed_kib;
    message->maintainer = (char *)package->maintainer;
    message->homepage = (char *)package->homepage;
    message->summary = (char *)package->summary;
    message->n_depends = package->depends_count;
    message->depends = (char **)package->depends;
    message->essential = package->essential;
}

static int catalog_init(struct catalog *catalog, const struct dpkg_db *db)
{
    size_t room = dpkg_count(db) + 1;
    *catalog = (struct catalog){
        .service = CATALOG__V1__CATALOG__INIT(catalog_),
        .db = db,
        .count = dpkg_count(db),
        .packages = calloc(room, sizeof(*catalog->packages)),
        .picked = calloc(room, sizeof(*catalog->picked)),
        .hits = calloc(room, sizeof(*catalog->hits)),
        .hit = calloc(room, sizeof(*catalog->hit)),
        .visits = calloc(room, sizeof(*catalog->visits)),
    };
    if (!catalog->packages || !catalog->picked || !catalog->hits || !catalog->hit ||
        !catalog->visits)
        return -1;
    for (size_t i = 0; i < catalog->count; i++) {
        fill(&catalog->packages[i], dpkg_at(db, i));
        catalog__v1__hit__init(&catalog->hits[i]);
        catalog->hits[i].id = catalog->packages[i].id;
        catalog->hits[i].summary = catalog->packages[i].summary;
    }
    return 0;
}

static void catalog_deinit(struct catalog *catalog)
{
    free(catalog->packages);
    free(catalog->picked);
    free(catalog->hits);
    free(catalog->hit);
    free(catalog->visits);
}

int main(int argc, char **argv)
{
    struct serve_options options;
    struct dpkg_db *db = serve_begin(argc, argv, "catalog-v1", "1.0.0", &options);
    struct catalog catalog;
    int exit_status = 1;
    if (catalog_init(&catalog, db) == 0)
        exit_status = serve_run(&options, &catalog__v1__catalog__interface,
                                &catalog.service.base);
    else
        fprintf(stderr, "catalog-v1: no memory for %zu packages\n", dpkg_count(db));
    catalog_deinit(&catalog);
    dpkg_free(db);
    return exit_status;
}
