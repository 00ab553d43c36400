/*
 * Negotiation: which published versions a client may be served by, in which order, and with which
 * plans (bridges.c).
 *
 * The order of offers is the client's: by the index of the alternative that accepts a version, then
 * the higher version. Equal versions are the identity (plan 0), and must then be the same
 * interface: equal bytes, or, for sets that were written by different tools, the same methods in
 * the same order over the same messages, as far as the wire can tell.
 *
 * What is refused says who asked for what, what was on offer, and why each of it was not good
 * enough.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Negotiating ---- */

int negotiate_version(struct negotiator *negotiator, const struct contract *contract,
                      struct version *version, struct offer *ret_offer, struct error_text *error)
{
    struct offer offer = {.version = version};
    if (contract->ranges) {
        offer.rank = semver_ranges_match(contract->ranges, &version->semver);
        if (offer.rank < 0)
            return error_set(error, -ENOENT, "not in the ranges");
    }
    struct schema_entry *mine = contract->schema;
    if (semver_compare(&mine->version, &version->semver) == 0) {
        struct error_text where = {""};
        int r = mine == version->schema ? 0 : compat_follows(mine, version->schema, &where);
        if (r == -ENOMEM)
            return r;
        if (r < 0)
            return error_set(error, -EINVAL,
                             "the client's %s differs from the one that is published: change the "
                             "version with the schema (%s)",
                             version->name, where.text);
        *ret_offer = offer;
        return 0;
    }
    int r = negotiator_bridge(negotiator, mine, version->schema, &offer.bridge, error);
    if (r < 0)
        return r == -ENOMEM ? r : -EINVAL;
    bridge_keep(negotiator, offer.bridge);
    *ret_offer = offer;
    return 0;
}

static int compare_offers(const void *a, const void *b)
{
    const struct offer *x = a;
    const struct offer *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return semver_compare(&y->version->semver, &x->version->semver);
}

/* Appends; cut at the end of the buffer. */
static void append(struct error_text *text, const char *piece)
{
    size_t used = strlen(text->text);
    (void)snprintf(text->text + used, sizeof(text->text) - used, "%s", piece);
}

static enum parley_status refuse(const struct contract *contract, const struct error_text *reasons,
                                 struct error_text *ret_text)
{
    char on_offer[128];
    interface_describe(contract->interface, on_offer, sizeof(on_offer));
    error_set(ret_text, 0, "a client of %s %s that accepts %.80s finds no version; on offer: %s%s",
              contract->interface->name,
              schema_service(contract->schema->schema)->interface->version,
              contract->accept ? contract->accept : "anything", on_offer, reasons->text);
    return PARLEY_FAILED_PRECONDITION;
}

static bool out_of_memory(int r, struct error_text *ret_text)
{
    if (r != -ENOMEM)
        return false;
    error_set(ret_text, 0, "the broker is out of memory");
    return true;
}

enum parley_status negotiate(struct negotiator *negotiator, const struct contract *contract,
                             struct offer ret_offers[ROUTE_VERSION_MAX], size_t *ret_count,
                             struct error_text *ret_text)
{
    struct error_text reasons = {""};
    size_t count = 0;
    unsigned published = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = contract->interface->versions[i];
        if (!version || !version_up(version))
            continue;
        published++;
        struct error_text error = {""};
        int r = negotiate_version(negotiator, contract, version, &ret_offers[count], &error);
        if (out_of_memory(r, ret_text)) {
            while (count > 0)
                bridge_drop(negotiator, ret_offers[--count].bridge);
            return PARLEY_RESOURCE_EXHAUSTED;
        }
        if (r == 0) {
            count++;
        } else if (r != -ENOENT) {
            append(&reasons, "; ");
            append(&reasons, version->name);
            append(&reasons, ": ");
            append(&reasons, error.text);
        }
    }
    if (published == 0) {
        error_set(ret_text, 0, "nothing publishes %s yet", contract->interface->name);
        return PARLEY_UNAVAILABLE;
    }
    if (count == 0)
        return refuse(contract, &reasons, ret_text);
    qsort(ret_offers, count, sizeof(ret_offers[0]), compare_offers);
    *ret_count = count;
    return PARLEY_OK;
}
