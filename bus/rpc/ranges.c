/*
 * The ranges of versions that calls ask for, as they were parsed the last time.
 *
 * Who says `accept` for a call mostly says the same for the next; so an endpoint keeps the last
 * few, by their text. A call has a reference: one that is replaced here lives as long as calls do
 * that began with it. What does not parse is not kept.
 */
#include "rpc/offers.h"

#include <string.h>

struct ranges_kept {
    unsigned next; /* to be replaced */
    struct {
        struct semver_ranges *ranges; /* NULL: none */
        char text[SEMVER_RANGE_BYTES_MAX + 1];
    } entries[RPC_RANGES_KEPT];
};

static struct semver_ranges *find(const struct ranges_kept *kept, const char *text)
{
    for (unsigned i = 0; kept && i < RPC_RANGES_KEPT; i++)
        if (kept->entries[i].ranges && strcmp(kept->entries[i].text, text) == 0)
            return semver_ranges_ref(kept->entries[i].ranges);
    return NULL;
}

static void keep(struct ranges_kept *kept, const char *text, struct semver_ranges *ranges)
{
    unsigned i = kept->next++ % RPC_RANGES_KEPT;
    semver_ranges_free(kept->entries[i].ranges);
    kept->entries[i].ranges = semver_ranges_ref(ranges);
    memcpy(kept->entries[i].text, text, strlen(text) + 1); /* it has parsed, so it fits */
}

int ranges_get(struct ranges_kept **kept, const char *text, struct semver_ranges **ret_ranges,
               struct error_text *error)
{
    *ret_ranges = find(*kept, text);
    if (*ret_ranges)
        return 0;
    int r = semver_ranges_new(text, ret_ranges, error);
    if (r < 0)
        return r;
    if (!*kept)
        *kept = calloc(1, sizeof(**kept));
    if (*kept)
        keep(*kept, text, *ret_ranges);
    return 0;
}

struct ranges_kept *ranges_free(struct ranges_kept *kept)
{
    for (unsigned i = 0; kept && i < RPC_RANGES_KEPT; i++)
        semver_ranges_free(kept->entries[i].ranges);
    free(kept);
    return NULL;
}
