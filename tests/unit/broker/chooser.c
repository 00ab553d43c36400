#include "chooser.h"

#include <stdlib.h>

#include "rpc/internal.h"

struct chooser {
    const struct region *page;
    uint32_t slot;
    struct route_view view;
    struct matcher *matcher;
    uint32_t matcher_sequence;
    unsigned compiled;
    uint64_t random;
};

struct chooser *chooser_new(const struct region *page, uint32_t slot)
{
    struct chooser *chooser = calloc(1, sizeof(*chooser));
    *chooser = (struct chooser){.page = page, .slot = slot, .view = {.sequence = 1}, .random = 7};
    return chooser;
}

void chooser_free(struct chooser *chooser)
{
    matcher_free(chooser->matcher);
    free(chooser);
}

static void look(struct chooser *chooser)
{
    struct route_rules rules;
    (void)route_refresh(&chooser->view, chooser->page, chooser->slot);
    if (chooser->matcher_sequence == chooser->view.matches_sequence)
        return;
    if (!route_rules_copy(&chooser->view, chooser->page, chooser->slot, &rules))
        abort(); /* the test's thread is the broker's */
    matcher_free(chooser->matcher);
    chooser->matcher = matcher_new(&rules);
    chooser->matcher_sequence = chooser->view.matches_sequence;
    chooser->compiled += chooser->matcher != NULL;
}

static const char *name(const struct chooser *chooser, uint32_t version)
{
    return version < chooser->view.version_count ? chooser->view.version[version] : "";
}

const char *chooser_version(struct chooser *chooser, const struct parley_metadata *metadata,
                            size_t count)
{
    uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX];
    size_t bytes = 0;
    struct error_text error;
    if (metadata_encode(metadata, count, block, sizeof(block), &bytes, &error) < 0)
        abort();
    look(chooser);
    return name(chooser,
                route_choose(&chooser->view, chooser->matcher, block, bytes, &chooser->random));
}

unsigned chooser_compiled(const struct chooser *chooser)
{
    return chooser->compiled;
}

uint32_t chooser_mirrored(struct chooser *chooser, const char **ret_version)
{
    look(chooser);
    *ret_version = name(chooser, chooser->view.mirror_version);
    return chooser->view.mirror_buckets;
}
