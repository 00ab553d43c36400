/*
 * Fusing tables: one that does what two do, one after another.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fusion {
    uint32_t a, b, table;
};

void fuser_deinit(struct fuser *fuser)
{
    free(fuser->list);
}

void fuse_prepare(struct builder *builder, uint32_t first)
{
    (void)builder;
    (void)first;
}

uint32_t fuse_tables(struct fuser *fuser, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < fuser->count; i++)
        if (fuser->list[i].a == a && fuser->list[i].b == b)
            return fuser->list[i].table;
    if (fuser->count == fuser->capacity) {
        size_t capacity = 2 * fuser->capacity + 16;
        struct fusion *list = realloc(fuser->list, capacity * sizeof(*list));
        if (!list) {
            fuser->builder->error = -ENOMEM;
            return 0;
        }
        fuser->list = list;
        fuser->capacity = capacity;
    }
    uint32_t table = builder_add(fuser->builder, SECTION_TABLE, 1);
    fuser->list[fuser->count++] = (struct fusion){a, b, table};
    return table;
}

static struct program_table *table_at(struct fuser *fuser, uint32_t index)
{
    return builder_at(fuser->builder, SECTION_TABLE, index);
}

/* The two one after another, as they are. */
static void fuse_in_stages(struct fuser *fuser, const struct fusion *fusion)
{
    struct program_table table = *table_at(fuser, fusion->a);
    table.flags &= ~TABLE_VERBATIM;
    table.next = fusion->b + 1;
    table.level = table_at(fuser, fusion->b)->level + 1;
    *table_at(fuser, fusion->table) = table;
}

int fuse_all(struct fuser *fuser)
{
    for (; fuser->done < fuser->count && !fuser->builder->error; fuser->done++) {
        struct fusion fusion = fuser->list[fuser->done];
        fuse_in_stages(fuser, &fusion);
    }
    return fuser->builder->error;
}
