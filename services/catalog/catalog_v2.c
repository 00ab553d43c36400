/*
 * The package catalogue, version 2.0.0, as a service.
 *
 * Written as if there had never been another version: the messages are catalog.v2's. That clients
 * of catalog.v1 call it, and understand the answers, is declared in the schema's options and done
 * by the library.
 *
 * Packages are put into messages once, when the program starts. A reply borrows them, for the
 * library packs it before the closure returns. The only thing that a call changes is the count of
 * visits, and the endpoint has one thread. Handlers answer at once; only a Visit may be held back
 * for a while (serve_later()), so that --chaos has calls to kill.
 *
 * What every request filters on (size in bytes, a contact's parts) is made from dpkg's fields when
 * the program starts, so that handlers compare and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_v2.parley.h"
#include "dpkg.h"
#include "serve.h"

#define TEXT_BYTES_MAX 256

struct catalog {
    Catalog__V2__Catalog_Service service; /* first: handlers get a pointer to it */
    const struct dpkg_db *db;
    size_t count;
    Catalog__V2__Package *packages;
    Catalog__V2__Contact *contacts; /* the maintainers of packages[], at the same index */
    Catalog__V2__Links *links;
    char *names; /* what the contacts' strings are cut from */
    Catalog__V2__Package **picked; /* of a list's reply */
    Catalog__V2__Hit *hits;        /* of a search's */
    Catalog__V2__Hit **hit;
    uint64_t *visits;
};

static Catalog__V2__Priority priority(const char *name)
{
    static const struct {
        const char *name;
        Catalog__V2__Priority value;
    } names[] = {
        {"required", CATALOG__V2__PRIORITY__PRIORITY_REQUIRED},
        {"important", CATALOG__V2__PRIORITY__PRIORITY_IMPORTANT},
        {"standard", CATALOG__V2__PRIORITY__PRIORITY_STANDARD},
        {"optional", CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL},
        {"extra", CATALOG__V2__PRIORITY__PRIORITY_EXTRA},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].value;
    return CATALOG__V2__PRIORITY__PRIORITY_UNSPECIFIED;
}

static void catalog_get(Catalog__V2__Catalog_Service *service,
                        const Catalog__V2__GetRequest *request,
                        Catalog__V2__Package_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    size_t index = 0;
    bool found = !serve_ill() && serve_find(catalog->db, request->package, &index);
    closure(found ? &catalog->packages[index] : NULL, closure_data);
}

/* Who asks for optional packages gets the extra ones too: policy no longer tells them apart. */
static bool priority_matches(Catalog__V2__Priority priority_is, Catalog__V2__Priority wanted)
{
    return priority_is == wanted ||
           (wanted == CATALOG__V2__PRIORITY__PRIORITY_OPTIONAL &&
            priority_is == CATALOG__V2__PRIORITY__PRIORITY_EXTRA);
}

static bool matches(const Catalog__V2__Package *package, const Catalog__V2__ListRequest *request)
{
    return (!*request->section || strcmp(package->section, request->section) == 0) &&
           (!request->priority || priority_matches(package->priority, request->priority)) &&
           package->installed_bytes >= request->min_installed_bytes &&
           (!*request->maintainer_email ||
            (package->maintainer &&
             strcmp(package->maintainer->email, request->maintainer_email) == 0));
}

static void catalog_list(Catalog__V2__Catalog_Service *service,
                         const Catalog__V2__ListRequest *request,
                         Catalog__V2__ListReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    if (serve_ill()) {
        closure(NULL, closure_data);
        return;
    }
    if (!protobuf_c_enum_descriptor_get_value(&catalog__v2__priority__descriptor,
                                              (int)request->priority)) {
        serve_fail(PARLEY_INVALID_ARGUMENT, "The priority is none of catalog.v2.");
        closure(NULL, closure_data);
        return;
    }
    Catalog__V2__ListReply reply = CATALOG__V2__LIST_REPLY__INIT;
    reply.package = catalog->picked;
    for (size_t i = 0; i < catalog->count; i++) {
        if (!matches(&catalog->packages[i], request))
            continue;
        if (request->page_size == 0 || reply.total < request->page_size)
            reply.package[reply.n_package++] = &catalog->packages[i];
        reply.total++;
    }
    closure(&reply, closure_data);
}

static void catalog_search(Catalog__V2__Catalog_Service *service,
                           const Catalog__V2__SearchRequest *request,
                           Catalog__V2__SearchReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    if (serve_ill()) {
        closure(NULL, closure_data);
        return;
    }
    size_t bytes = strlen(request->query);
    if (bytes == 0 || bytes > TEXT_BYTES_MAX) {
        serve_fail(PARLEY_INVALID_ARGUMENT, "The text to search for must have 1 to 256 bytes.");
        closure(NULL, closure_data);
        return;
    }
    Catalog__V2__SearchReply reply = CATALOG__V2__SEARCH_REPLY__INIT;
    reply.hit = catalog->hit;
    for (size_t i = 0; i < catalog->count; i++) {
        const struct dpkg_package *package = dpkg_at(catalog->db, i);
        if (request->page_size && reply.n_hit == request->page_size)
            break;
        if (dpkg_contains(package->name, request->query) ||
            dpkg_contains(package->summary, request->query) ||
            (request->in_description && dpkg_contains(package->description, request->query)))
            reply.hit[reply.n_hit++] = &catalog->hits[i];
    }
    closure(&reply, closure_data);
}

struct visit {
    uint64_t visits;
    Catalog__V2__VisitReply_Closure closure;
    void *closure_data;
};

static void answer_visit(void *data)
{
    struct visit *visit = data;
    Catalog__V2__VisitReply reply = CATALOG__V2__VISIT_REPLY__INIT;
    reply.visits = visit->visits;
    visit->closure(&reply, visit->closure_data);
    free(visit);
}

static void catalog_visit(Catalog__V2__Catalog_Service *service,
                          const Catalog__V2__GetRequest *request,
                          Catalog__V2__VisitReply_Closure closure, void *closure_data)
{
    struct catalog *catalog = (struct catalog *)service;
    size_t index = 0;
    if (!serve_find(catalog->db, request->package, &index)) {
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

/* "Name <mail>" in two; all of it is the name where it does not look so. @at: room for a copy.
 * Returns where the copy ends. */
static char *fill_contact(Catalog__V2__Contact *contact, const char *maintainer, char *at)
{
    size_t bytes = strlen(maintainer);
    memcpy(at, maintainer, bytes + 1);
    contact->name = at;
    char *open = strstr(at, " <");
    if (open && open + 2 < at + bytes - 1 && at[bytes - 1] == '>') {
        at[bytes - 1] = '\0';
        *open = '\0';
        contact->email = open + 2;
    }
    return at + bytes + 1;
}

/* The message borrows all strings: protobuf-c's structs have no const, but nobody frees these. */
static void fill(Catalog__V2__Package *message, Catalog__V2__Contact *contact,
                 Catalog__V2__Links *links, const struct dpkg_package *package)
{
    catalog__v2__package__init(message);
    message->name = (char *)package->name;
    message->version = (char *)package->version;
    message->architecture = (char *)package->architecture;
    message->section = (char *)package->section;
    message->priority = priority(package->priority);
    message->installed_bytes = (uint64_t)package->installed_kib * 1024;
    message->maintainer = *package->maintainer ? contact : NULL;
    message->synopsis = (char *)package->summary;
    message->description = (char *)package->description;
    message->n_depends = package->depends_count;
    message->depends = (char **)package->depends;
    message->source = (char *)package->source;
    message->essential = package->essential;
    if (*package->homepage || *package->bugs || *package->origin)
        message->links = links;
    links->homepage = (char *)package->homepage;
    links->bugs = (char *)package->bugs;
    links->origin = (char *)package->origin;
}

static int catalog_alloc(struct catalog *catalog, const struct dpkg_db *db)
{
    size_t room = dpkg_count(db) + 1, name_bytes = 1;
    for (size_t i = 0; i < dpkg_count(db); i++)
        name_bytes += strlen(dpkg_at(db, i)->maintainer) + 1;
    *catalog = (struct catalog){
        .service = CATALOG__V2__CATALOG__INIT(catalog_),
        .db = db,
        .count = dpkg_count(db),
        .packages = calloc(room, sizeof(*catalog->packages)),
        .contacts = calloc(room, sizeof(*catalog->contacts)),
        .links = calloc(room, sizeof(*catalog->links)),
        .names = malloc(name_bytes),
        .picked = calloc(room, sizeof(*catalog->picked)),
        .hits = calloc(room, sizeof(*catalog->hits)),
        .hit = calloc(room, sizeof(*catalog->hit)),
        .visits = calloc(room, sizeof(*catalog->visits)),
    };
    return catalog->packages && catalog->contacts && catalog->links && catalog->names &&
                   catalog->picked && catalog->hits && catalog->hit && catalog->visits
               ? 0
               : -1;
}

static int catalog_init(struct catalog *catalog, const struct dpkg_db *db)
{
    if (catalog_alloc(catalog, db) < 0)
        return -1;
    char *names = catalog->names;
    for (size_t i = 0; i < catalog->count; i++) {
        const struct dpkg_package *package = dpkg_at(db, i);
        catalog__v2__contact__init(&catalog->contacts[i]);
        catalog__v2__links__init(&catalog->links[i]);
        catalog__v2__hit__init(&catalog->hits[i]);
        names = fill_contact(&catalog->contacts[i], package->maintainer, names);
        fill(&catalog->packages[i], &catalog->contacts[i], &catalog->links[i], package);
        catalog->hits[i].id = (char *)package->id;
        catalog->hits[i].synopsis = (char *)package->summary;
    }
    return 0;
}

static void catalog_deinit(struct catalog *catalog)
{
    free(catalog->packages);
    free(catalog->contacts);
    free(catalog->links);
    free(catalog->names);
    free(catalog->picked);
    free(catalog->hits);
    free(catalog->hit);
    free(catalog->visits);
}

int main(int argc, char **argv)
{
    struct serve_options options;
    struct dpkg_db *db = serve_begin(argc, argv, "catalog-v2", "2.0.0", &options);
    struct catalog catalog;
    int exit_status = 1;
    if (catalog_init(&catalog, db) == 0)
        exit_status = serve_run(&options, &catalog__v2__catalog__interface,
                                &catalog.service.base);
    else
        fprintf(stderr, "catalog-v2: no memory for %zu packages\n", dpkg_count(db));
    catalog_deinit(&catalog);
    dpkg_free(db);
    return exit_status;
}
