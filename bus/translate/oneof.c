/*
 * Oneofs whose members are grouped otherwise in the other version: plain there, fewer or more, or
 * spread over other oneofs.
 *
 * All fields that hang together by a oneof of either version are handled by one emit, when all of
 * the message has been read. First it finds which of them are set: of a source's oneof the one that
 * came last, as protobuf has it; of fields without presence those that are not their default. Then
 * it finds which of them the target can have: where several want into one oneof, it is that with
 * the highest number in the source. Their order on the wire does not count between fields that are
 * no oneof, for a program that reads and writes the message may change it; and the order in which
 * every implementation writes is by number, so that this is the last one on the wire as well.
 *
 * What the target cannot have goes to a carrier that is guarded by the set of the target's fields
 * that are set. On the way back this set is what is found first, so that a member which somebody
 * has set, or cleared, meanwhile keeps away what it would be in conflict with. Another value of the
 * same member does not.
 */
#include "translate/shape.h"

struct group {
    const struct program_op *ops;
    const struct program_member *members;
    uint32_t count;
    /* Where the records of each that is set begin, and its last one, from 1 behind the message's
     * start; 0: it is not set. */
    uint32_t first[PROGRAM_MEMBER_MAX], last[PROGRAM_MEMBER_MAX];
};

/* The set of fields that are set, whatever their order. */
static uint64_t add_to_guard(uint64_t guard, uint32_t number)
{
    return guard + run_guard_value(number);
}

static void note_record(const struct frame *frame, struct group *group, uint32_t index,
                        const uint8_t *at)
{
    uint8_t oneof = group->members[index].source_oneof;
    for (uint32_t i = 0; i < group->count && oneof != PROGRAM_ONEOF_NONE; i++)
        if (i != index && group->members[i].source_oneof == oneof)
            group->first[i] = 0;
    uint32_t place = (uint32_t)(at - frame->start) + 1;
    if (group->first[index] == 0)
        group->first[index] = place;
    group->last[index] = place;
}

static int last_value(struct run *run, const struct frame *frame, const struct group *group,
                      uint32_t index, struct element *ret_element)
{
    const uint8_t *pos = frame->start + group->last[index] - 1;
    struct run_record record;
    int r = run_next_record(run, &pos, frame->end, &record);
    *ret_element =
        (struct element){record.at, record.value, record.end, (enum wire_type)(record.tag & 7)};
    return r;
}

static int find_set(struct run *run, const struct frame *frame, const struct program_emit *emit,
                    const struct slot *slot, struct group *group, uint64_t *ret_guard)
{
    const struct program_table *table = &run->plan->tables[emit->table];
    group->ops = run->plan->ops + table->op_first;
    group->members = run->plan->members + emit->node;
    group->count = table->op_count;
    memset(group->first, 0, sizeof(group->first));
    memset(group->last, 0, sizeof(group->last));
    const uint8_t *pos = slot->data, *end = slot->seen ? slot->data + slot->bytes : slot->data;
    while (pos != end) {
        struct run_record record;
        int r = run_next_record(run, &pos, end, &record);
        if (r < 0)
            return r;
        const struct program_op *op = run_find(run->plan, table, record.tag >> 3);
        if (op && op->wire == (record.tag & 7))
            note_record(frame, group, (uint32_t)(op - group->ops), record.at);
    }
    *ret_guard = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        struct element element;
        if (group->first[i] == 0)
            continue;
        int r = last_value(run, frame, group, i, &element);
        if (r < 0)
            return r;
        if (!(group->members[i].flags & EMIT_SOURCE_PRESENCE) &&
            shape_is_zero(&group->ops[i], &element))
            group->first[i] = 0;
        else
            *ret_guard = add_to_guard(*ret_guard, group->ops[i].number);
    }
    return 0;
}

/* Whether the target can have what is set. */
static bool wins(const struct group *group, uint32_t index)
{
    uint8_t oneof = group->members[index].target_oneof;
    if (group->ops[index].action == ACTION_CARRY)
        return false;
    for (uint32_t i = index + 1; i < group->count && oneof != PROGRAM_ONEOF_NONE; i++)
        if (group->first[i] != 0 && group->ops[i].action != ACTION_CARRY &&
            group->members[i].target_oneof == oneof)
            return false;
    return true;
}

/* Its last record, or all pieces of a message; as the op says, or, without one, as they are. */
static int write_member(struct run *run, struct frame *frame, const struct group *group,
                        uint32_t index, const struct program_op *op)
{
    bool message = group->ops[index].kind == KIND_MESSAGE;
    const uint8_t *pos = frame->start + (message ? group->first : group->last)[index] - 1;
    const uint8_t *last = frame->start + group->last[index] - 1;
    while (pos <= last) {
        struct run_record record;
        int r = run_next_record(run, &pos, frame->end, &record);
        struct element element = {record.at, record.value, record.end,
                                  (enum wire_type)(record.tag & 7)};
        if (r == 0 && record.tag >> 3 == group->ops[index].number)
            r = op ? shape_write(run, frame, op, &element)
                   : run_write_bytes(run, record.at, (size_t)(record.end - record.at));
        if (r < 0)
            return r;
    }
    return 0;
}

/* Whether the target is told of it: where it cannot tell a default from absence, it is not. */
static int is_told(struct run *run, const struct frame *frame, const struct group *group,
                   uint32_t index, bool *ret_told)
{
    struct element element;
    int r = last_value(run, frame, group, index, &element);
    *ret_told = r == 0 && ((group->members[index].flags & EMIT_PRESENCE) ||
                           !shape_is_default(run, &group->ops[index], &element));
    return r;
}

/* Whether all that is set, and wins, is told. If not, what would be restored beside it would be
 * all that the target has, and win on the way back. */
static int all_told(struct run *run, const struct frame *frame, const struct group *group,
                    bool *ret_told)
{
    *ret_told = true;
    for (uint32_t i = 0; i < group->count; i++) {
        bool told = true;
        int r = group->first[i] != 0 && group->ops[i].action != ACTION_CARRY && wins(group, i)
                    ? is_told(run, frame, group, i, &told)
                    : 0;
        if (r < 0)
            return r;
        *ret_told = *ret_told && told;
    }
    return 0;
}

/* Those that the target has. What it does not get stays in *lost, by index. */
static int write_winners(struct run *run, struct frame *frame, const struct group *group,
                         uint64_t *ret_lost, uint64_t *ret_guard)
{
    *ret_lost = 0;
    *ret_guard = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct program_op *op = &group->ops[i];
        bool told;
        if (group->first[i] == 0)
            continue;
        int r = is_told(run, frame, group, i, &told);
        told = told && wins(group, i);
        if (told)
            r = write_member(run, frame, group, i, op);
        if (r < 0)
            return r;
        if (told)
            *ret_guard = add_to_guard(*ret_guard, op->tag >> 3);
        else
            *ret_lost |= UINT64_C(1) << i;
    }
    return 0;
}

static int carry_lost(struct run *run, struct frame *frame, const struct group *group,
                      uint64_t lost, const uint64_t *guard)
{
    struct open_length open;
    int r = run_carry_begin(run, frame, guard, 0, &open);
    for (uint32_t i = 0; i < group->count && r == 0; i++)
        if (lost >> i & 1)
            r = write_member(run, frame, group, i, NULL);
    return r < 0 ? r : run_carry_end(run, frame, &open, guard);
}

/* What the target could not have, if what won over it is as it was. */
static int restore_members(struct run *run, struct frame *frame, const struct program_emit *emit,
                           const uint64_t *guard)
{
    uint32_t table = run_restore_of(run, frame, frame->opens);
    struct run_held held = {.pos = frame->start, .guard = guard};
    struct run_record record;
    int r = 0;
    while (table != PROGRAM_NONE && (r = run_held_next(run, frame, &held, 0, &record)) > 0) {
        const uint8_t *after;
        const struct program_op *op =
            run_find(run->plan, &run->plan->tables[table], record.tag >> 3);
        if (!op || op->action != ACTION_HELD || op->slot != emit->slot)
            continue;
        r = run_count_field(run, frame, record.at, op->number);
        if (r == 0)
            r = run_check_value(run, op, (enum wire_type)(record.tag & 7), record.at, record.value,
                                record.end, frame->depth, &after);
        if (r == 0)
            r = run_write_bytes(run, record.at, (size_t)(record.end - record.at));
        if (r < 0)
            return r;
    }
    return r;
}

int emit_oneof(struct run *run, struct frame *frame, const struct program_emit *emit,
               const struct slot *slot)
{
    struct group group;
    uint64_t guard, lost;
    if (!slot->seen && !frame->guarded)
        return 0;
    bool told;
    int r = find_set(run, frame, emit, slot, &group, &guard);
    if (r == 0)
        r = all_told(run, frame, &group, &told);
    if (r == 0 && frame->guarded && told)
        r = restore_members(run, frame, emit, &guard);
    if (r == 0)
        r = write_winners(run, frame, &group, &lost, &guard);
    return r == 0 && lost != 0 ? carry_lost(run, frame, &group, lost, &guard) : r;
}
