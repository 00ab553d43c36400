/*
 * Stages: what a version in between reads before the next one does.
 *
 * A plan over a path of versions is fused (fuse.c). Where a message's steps cannot be fused, they
 * are run one after another, message by message: what one has written is moved out of the way, to
 * the end of the room that is left, and translated from there to where it was. The room shrinks for
 * as long as it lies there. Nothing is allocated; plan_output_bytes_max() allows for it.
 *
 * Where only some of a message's fields cannot be fused, only these are piped: what the op or the emit
 * of one step has written goes through the ops of the next ones, in the same frame, that is, with the
 * slots of all steps. Slots may point into it, so it stays where it is until the message ends.
 *
 * A stage reads what we have written ourselves, and checks it all the same: what the step before let
 * through, the next may have to refuse. Elements of repeated fields are counted by each stage anew,
 * as they would be if each step were a plan of its own. How often a message is gone through is
 * bounded by the program (struct program_table, level).
 */
#include "translate/run.h"

int run_next(struct run *run, const struct program_table *table, uint8_t *begin,
             const uint8_t *start, uint32_t elements, unsigned depth)
{
    size_t bytes = (size_t)(run->out - begin);
    uint8_t *limit = run->limit, *input = limit - bytes;
    const uint8_t *origin = run->origin, *readable = run->readable;
    if (bytes > 0)
        memmove(input, begin, bytes);
    run->limit = input;
    run->out = begin;
    run->readable = input + bytes;
    run->elements = elements;
    if (!origin)
        run->origin = start;
    struct frame frame;
    int r = run_join_pieces(run, table, input, &bytes, depth);
    if (r == 0)
        r = run_translate(run, table, NULL, input, input + bytes, depth, &frame);
    run->limit = limit;
    run->readable = readable;
    run->origin = origin;
    return r;
}

int run_pipe(struct run *run, struct frame *frame, uint32_t pipe, uint8_t *begin, const uint8_t *at,
             struct counted before)
{
    size_t bytes = (size_t)(run->out - begin);
    const uint8_t *origin = run->origin, *readable = run->readable;
    if (bytes == 0)
        return 0;
    uint8_t *input = run->limit - bytes;
    memmove(input, begin, bytes);
    run->limit = input; /* run_translate() gives it back */
    run->readable = input + bytes;
    run->out = begin;
    run->elements = before.elements;
    frame->fields = before.fields;
    frame->carrier = NULL; /* it may have been among what has just been moved */
    if (!origin)
        run->origin = at;
    int r = run_translate_fields(run, frame, &run->plan->tables[pipe - 1], input, input + bytes);
    run->readable = readable;
    run->origin = origin;
    return r;
}
