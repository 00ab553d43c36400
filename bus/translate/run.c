/*
 * The plan runner: how a message enters a process.
 *
 * The source may be memory that a hostile peer changes while we look at it. So it is read once, by
 * one memcpy, into memory of our own, and nothing looks at the source again: whatever the peer
 * does, we have *some* bytes, they stay what they are, and everything after works on those. There
 * is no second read to disagree with the first.
 *
 *  - A VERBATIM table (equal versions; messages that a new version did not touch) needs no more:
 * the copy goes straight to the output, is checked there, and is the result, byte by byte.
 *  - Otherwise the copy goes to the end of the output buffer, the translation is written from its
 *    front, and is stopped before it reaches the copy. plan_output_bytes_max() allows for both.
 *
 * This file has the entry. check.c has the checking loop, frame.c the translating one, which checks
 * each value by the same functions before it uses it.
 *
 * The stack: `struct run` (6 KiB, most of it slots) and, for each level of nesting, below 900
 * bytes, an opened carrier included, or below 3 KiB where it lies in a field whose shape changes
 * (entries.c, oneof.c); no recursion but by nesting, and that ends at WIRE_DEPTH_MAX.
 */
#include "translate/fast.h"

#include "base/copy.h"

static_assert(sizeof(struct run) < 8192, "on the stack of whoever calls");

int run_fail(struct run *run, int code, const uint8_t *at, uint32_t number, const char *what)
{
    if (at && (at < run->source || at > run->source_end))
        at = run->origin; /* it was in what a stage has written */
    run->failure.offset = at ? (size_t)(at - run->source) : 0;
    run->failure.number = number;
    run->failure.what = what;
    return code;
}

static size_t output_most(size_t source_bytes)
{
    size_t most = 4 * source_bytes + 4096;
    return most < WIRE_MESSAGE_BYTES_MAX ? most : WIRE_MESSAGE_BYTES_MAX;
}

static size_t room_most(const struct plan *plan, size_t source_bytes)
{
    return (plan->header->flags & PROGRAM_STAGED ? 2 : 1) * output_most(source_bytes);
}

/* Once more from the beginning, after the pieces of messages have been joined. */
static int translate_joined(struct run *run, const struct program_table *table, uint8_t *copy,
                            size_t bytes, uint8_t *out)
{
    struct frame frame;
    run->watches = false;
    run->elements = 0;
    run->slots_used = 0;
    run->root = NULL;
    run->moves_in = false;
    run->stuck = run->origin = NULL;
    run->out = out;
    int r = run_join_pieces(run, table, copy, &bytes, 1);
    run->source_end = copy + bytes;
    return r < 0 ? r : run_translate(run, table, NULL, copy, copy + bytes, 1, &frame);
}

/* Where the source's copy goes and how far the output may grow. */
static int translate(struct run *run, const struct program_table *table, const uint8_t *source,
                     size_t source_bytes, uint8_t *out, size_t out_bytes, size_t *ret_bytes)
{
    size_t most = room_most(run->plan, source_bytes);
    size_t room = out_bytes - source_bytes;
    size_t behind = room >= most + RUN_BEHIND_BYTES ? RUN_BEHIND_BYTES : 0;
    room -= behind;
    uint8_t *copy = out + room;
    if (source_bytes > 0)
        copy_bytes(copy, source, source_bytes);
    if (behind > 0)
        memset(copy + source_bytes, 0, RUN_BEHIND_BYTES);
    run->source = copy;
    run->source_end = copy + source_bytes;
    run->readable = run->source_end + behind;
    run->out = out;
    run->limit = out + (room < most ? room : most);
    run->over = room < most ? -ENOBUFS : -E2BIG;
    struct frame frame;
    run->watches = run->plan->fast[table - run->plan->tables].joins;
    uint8_t *limit = run->limit;
    int r = run_translate(run, table, NULL, copy, copy + source_bytes, 1, &frame);
    run->limit = limit;
    /* What is wrong may be so only in a piece that another member of its oneof has replaced. */
    if (__builtin_expect(
            r == RUN_PIECES || (r < 0 && run_has_pieces(run, table, copy, source_bytes)), 0))
        r = translate_joined(run, table, copy, source_bytes, out);
    if (r == 0 && (size_t)(run->out - out) > output_most(source_bytes))
        return run_fail(run, -E2BIG, NULL, 0, "the translation is larger than the limit");
    if (r == 0)
        *ret_bytes = (size_t)(run->out - out);
    return r;
}

int plan_run(const struct plan *plan, uint32_t entry, const uint8_t *source, size_t source_bytes,
             uint8_t *out, size_t out_bytes, size_t *ret_bytes, struct plan_failure *ret_failure)
{
    uint8_t nothing[1];
    if (out_bytes == 0)
        out = nothing; /* whatever NULL it was */
    struct run run;
    run.plan = plan;
    run.divert = NULL;
    run.source = NULL;
    run_clear(&run);
    run.failure.what = "no such method";
    int r = -EINVAL;
    size_t bytes = 0;
    if (entry < plan_entry_count(plan) && plan->entries[entry].table != PROGRAM_NONE) {
        const struct program_table *table = &plan->tables[plan->entries[entry].table];
        if (source_bytes > WIRE_MESSAGE_BYTES_MAX) {
            r = run_fail(&run, -E2BIG, NULL, 0, "a message larger than the limit");
        } else if (source_bytes > out_bytes) {
            r = run_fail(&run, -ENOBUFS, NULL, 0, "the output buffer is too small");
        } else if (table->flags & TABLE_VERBATIM) {
            if (source_bytes > 0)
                copy_bytes(out, source, source_bytes);
            run.source = out;
            run.source_end = run.readable = out + source_bytes;
            if (out_bytes - source_bytes >= RUN_BEHIND_BYTES) {
                memset(out + source_bytes, 0, RUN_BEHIND_BYTES);
                run.readable += RUN_BEHIND_BYTES;
            }
            bytes = source_bytes;
            r = run_check_message(&run, table, out, out + source_bytes, 1);
        } else {
            r = translate(&run, table, source, source_bytes, out, out_bytes, &bytes);
        }
    }
    if (r == 0)
        *ret_bytes = bytes;
    else if (ret_failure)
        *ret_failure = run.failure;
    return r;
}

size_t plan_output_bytes_max(const struct plan *plan, size_t source_bytes)
{
    if (source_bytes > WIRE_MESSAGE_BYTES_MAX)
        return source_bytes;
    if (plan_class(plan) == PLAN_IDENTITY)
        return source_bytes + RUN_BEHIND_BYTES;
    return room_most(plan, source_bytes) + source_bytes + RUN_BEHIND_BYTES;
}
