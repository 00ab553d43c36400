/* Memory between two pages that may not be touched, so that one byte too many is seen without a
 * sanitizer. */
#ifndef PARLEY_TESTS_LAWS_GUARDED_H
#define PARLEY_TESTS_LAWS_GUARDED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "laws.h"

struct guarded {
    uint8_t *base;     /* where it begins: in front of it is such a page, too */
    size_t room, page; /* of memory that may be touched; of each of the two pages */
};

static inline struct guarded guarded_new(size_t room)
{
    struct guarded guarded = {.page = (size_t)sysconf(_SC_PAGESIZE)};
    guarded.room = (room + guarded.page - 1) / guarded.page * guarded.page;
    void *base = mmap(NULL, guarded.room + 2 * guarded.page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        die("out of memory");
    guarded.base = (uint8_t *)base + guarded.page;
    if (mprotect(base, guarded.page, PROT_NONE) < 0 ||
        mprotect(guarded.base + guarded.room, guarded.page, PROT_NONE) < 0)
        die("mprotect");
    return guarded;
}

/* @bytes of it that end at the page; what lies before them is set, to be seen by
 * guarded_is_intact().
 */
static inline uint8_t *guarded_at_end(const struct guarded *guarded, size_t bytes)
{
    if (bytes > guarded->room)
        die("%zu bytes are more than the %zu that are guarded", bytes, guarded->room);
    uint8_t *at = guarded->base + guarded->room - bytes;
    size_t before = (size_t)(at - guarded->base);
    size_t marked = before < 256 ? before : 256;
    memset(at - marked, 0xa5, marked);
    return at;
}

static inline bool guarded_is_intact(const struct guarded *guarded, const uint8_t *at)
{
    for (unsigned i = 0; i < 256 && at > guarded->base; i++)
        if (*--at != 0xa5)
            return false;
    return true;
}

static inline void guarded_free(struct guarded *guarded)
{
    (void)munmap(guarded->base - guarded->page, guarded->room + 2 * guarded->page);
}

#endif
