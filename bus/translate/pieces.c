/*
 * Singular messages that come in several pieces: on the wire they are one, with all fields of all
 * pieces, as if their bytes stood one after the other.
 *
 * Much of a message waits for its end: presence, guards, texts made of its fields. So it has to be
 * translated as one, too. Where that matters (`joins`, made when a plan is loaded, of messages
 * whose tables are not indifferent to it), the translation watches out for a second piece; when
 * there is one it is given up, the private copy is looked through, all pieces are moved together in
 * it, behind the first, and it begins again. That needs no room but what is there: a header less.
 * What comes in between moves back; between the members of a oneof it must not, for there the
 * pieces before another member are forgotten.
 *
 * Watching is a bit for each such field of a message. What waits for the message's end as it is, or
 * goes to a carrier, is looked through when it is met, for nobody does while it is translated.
 * Joining is rare, and nobody's program does it by itself, so it may take its time, but not any:
 * the bytes that it moves are counted, and more than 16 for each byte of the source, and 1 MiB, are
 * refused with -E2BIG.
 *
 * A malformed message is left as it is from there on: the translation says what is wrong with it.
 * If pieces were joined, it says so at its place in the joined message.
 */
#include "translate/fast.h"

#define MOVED_BYTES_MIN ((size_t)1 << 20) /* that joining may always move */
#define MOVED_FACTOR 16

struct joiner {
    struct run *run;
    size_t left; /* bytes that may still be moved */
};

/* Its message is gone over again, by whatever table: at the end, or by a version behind this one,
 * from the carrier. So all in it is joined. */
static inline bool waits(const struct program_op *op)
{
    return op->kind == KIND_MESSAGE &&
           (op->action == ACTION_DEFER || op->action == ACTION_LATER || op->action == ACTION_AWAY ||
            op->action == ACTION_CARRY || op->pipe != 0);
}

/* Of others the pieces go over as they are. Between those of a oneof's member there may be another
 * member, which may come to be elsewhere in the translation. */
static inline bool is_looked_into(const struct program_op *op)
{
    return op->kind == KIND_MESSAGE &&
           (op->action == ACTION_MESSAGE || op->action == ACTION_RESIDUE ||
            op->action == ACTION_JOIN || op->oneof != 0 || waits(op));
}

/* Whether the pieces of a field that is looked into have to be joined. */
static inline bool joins(const struct plan *plan, const struct program_op *op, bool all)
{
    return !(op->flags & OP_REPEATED) && (all || op->action != ACTION_MESSAGE || op->oneof != 0 ||
                                          op->pipe != 0 || plan->fast[op->table].whole);
}

/* Whether there may be such fields in it. */
static inline bool leads_on(const struct plan *plan, const struct program_op *op, bool all)
{
    return all || waits(op) || plan->fast[op->table].joins;
}

struct record {
    uint32_t number;
    enum wire_type type;
    const uint8_t *at, *value, *end; /* value: behind the length, if it has one */
};

/* False: there is nothing more that could be understood. */
static inline bool next_record(const uint8_t *pos, const uint8_t *end, struct record *ret_record)
{
    uint32_t tag, bytes = 0;
    const uint8_t *value = run_read_u32(pos, end, &tag);
    const uint8_t *after = value;
    uint64_t raw;
    if (!value)
        return false;
    switch (tag & 7) {
    case WIRE_VARINT:
        after = run_read_varint(value, end, &raw);
        break;
    case WIRE_64BIT:
        bytes = 8;
        break;
    case WIRE_BYTES:
        after = value = run_read_length(value, end, &bytes);
        break;
    case WIRE_32BIT:
        bytes = 4;
        break;
    default:
        return false;
    }
    if (!after || bytes > (size_t)(end - after))
        return false;
    *ret_record = (struct record){tag >> 3, (enum wire_type)(tag & 7), pos, value, after + bytes};
    return true;
}

/* The op, if it is for a message that may have to be joined, or that holds such. */
static inline const struct program_op *find_message(const struct plan *plan,
                                                    const struct program_table *table,
                                                    const struct record *record, bool all)
{
    const struct fast_table *fast = &plan->fast[table - plan->tables];
    if (record->type != WIRE_BYTES ||
        (!all && !(fast->messages & fast_message_bit(record->number))))
        return NULL;
    const struct program_op *op = run_find(plan, table, record->number);
    return op && op->kind == KIND_MESSAGE && (all || is_looked_into(op)) ? op : NULL;
}

/* Whether there may be pieces: there are not if this says so. */
static bool has_pieces(const struct plan *plan, const struct program_table *table,
                       const uint8_t *pos, const uint8_t *end, unsigned depth, bool all)
{
    struct record record;
    uint64_t seen = 0;
    const uint64_t messages = all ? UINT64_MAX : plan->fast[table - plan->tables].messages;
    for (; pos < end; pos = record.end) {
        /* Most have a tag and a length, or a value, of one byte each, and are no messages. */
        while (end - pos > 2 && (pos[0] | pos[1]) < 0x80 &&
               ((pos[0] & 7) == WIRE_VARINT ||
                ((pos[0] & 7) == WIRE_BYTES && !(messages & fast_message_bit(pos[0] >> 3)) &&
                 pos[1] < end - pos - 2)))
            pos += (pos[0] & 7) == WIRE_VARINT ? 2 : 2 + pos[1];
        if (!next_record(pos, end, &record))
            return false;
        const struct program_op *op = find_message(plan, table, &record, all);
        if (!op)
            continue;
        if (joins(plan, op, all)) {
            uint64_t bit = UINT64_C(1) << (record.number & 63);
            if (seen & bit)
                return true;
            seen |= bit;
        }
        if (leads_on(plan, op, all) && depth < WIRE_DEPTH_MAX &&
            has_pieces(plan, &plan->tables[op->table], record.value, record.end, depth + 1,
                       all || waits(op)))
            return true;
    }
    return false;
}

int run_watch_piece(struct run *run, struct frame *frame, const struct program_table *table,
                    const struct program_op *op, const uint8_t *data, const uint8_t *end)
{
    const struct plan *plan = run->plan;
    const uint64_t bit = fast_message_bit(op->number);
    if (!run->watches || run->origin || table != frame->table ||
        !(plan->fast[table - plan->tables].messages & bit) || !is_looked_into(op))
        return 0;
    if (joins(plan, op, false)) {
        if (frame->seen & bit)
            return RUN_PIECES;
        frame->seen |= bit;
    }
    bool deep = waits(op) && frame->depth < WIRE_DEPTH_MAX;
    return deep && has_pieces(plan, &plan->tables[op->table], data, end, frame->depth + 1, true)
               ? RUN_PIECES
               : 0;
}

static int count_moved(struct joiner *joiner, const uint8_t *at, size_t bytes)
{
    if (bytes > joiner->left)
        return run_fail(joiner->run, -E2BIG, at, 0, "messages in more pieces than the limit");
    joiner->left -= bytes;
    return 0;
}

static void reverse(uint8_t *begin, uint8_t *end)
{
    while (end - begin > 1) {
        uint8_t byte = *begin;
        *begin++ = *--end;
        *end = byte;
    }
}

/* The next piece of the message behind @record. *ret_replaced: another member of its oneof lies
 * between, so that nothing of what was before is left. */
static bool find_piece(const struct plan *plan, const struct program_table *table,
                       const struct program_op *op, const struct record *record, const uint8_t *end,
                       struct record *ret_piece, bool *ret_replaced)
{
    const uint8_t *pos = record->end;
    *ret_replaced = false;
    while (pos < end && next_record(pos, end, ret_piece)) {
        if (ret_piece->number == op->number)
            return ret_piece->type == WIRE_BYTES;
        const struct program_op *other =
            op->oneof ? run_find(plan, table, ret_piece->number) : NULL;
        *ret_replaced |= other && other->oneof == op->oneof;
        pos = ret_piece->end;
    }
    return false;
}

/* What is left out has to be well-formed all the same; but not complete. */
static int check_fields(struct run *run, const struct program_table *table, const uint8_t *pos,
                        const uint8_t *end, unsigned depth)
{
    uint32_t tag;
    int r = 0;
    while (pos < end && r == 0) {
        const uint8_t *at = pos;
        pos = run_read_u32(pos, end, &tag);
        if (!pos)
            return run_fail(run, -EBADMSG, at, 0, "truncated or malformed tag");
        enum wire_type type = (enum wire_type)(tag & 7);
        const struct program_op *op = run_find(run->plan, table, tag >> 3);
        if (!op || op->action == ACTION_ALIEN || op->action == ACTION_OPEN) {
            r = run_skip_unknown(run, tag, at, pos, end, &pos);
            continue;
        }
        uint32_t bytes = 0;
        const uint8_t *data = type == WIRE_BYTES && op->kind == KIND_MESSAGE
                                  ? run_read_length(pos, end, &bytes)
                                  : NULL;
        if (!data) {
            r = run_check_value(run, op, type, at, pos, end, depth, &pos);
        } else if (depth == WIRE_DEPTH_MAX) {
            r = run_fail(run, -E2BIG, at, op->number, "messages nested deeper than the limit");
        } else {
            pos = data + bytes;
            r = check_fields(run, &run->plan->tables[op->table], data, pos, depth + 1);
        }
    }
    return r;
}

static int leave_out(struct run *run, const struct program_op *op, const struct record *record,
                     unsigned depth)
{
    uint32_t elements = run->elements;
    int r = depth == WIRE_DEPTH_MAX ? run_fail(run, -E2BIG, record->at, op->number,
                                               "messages nested deeper than the limit")
                                    : check_fields(run, &run->plan->tables[op->table],
                                                   record->value, record->end, depth + 1);
    run->elements = elements;
    return r;
}

static uint8_t *own(const uint8_t *pos)
{
    return (uint8_t *)(uintptr_t)pos; /* in the private copy */
}

static size_t header_bytes(uint32_t number, size_t bytes)
{
    return wire_varint_size(number << 3 | WIRE_BYTES) + wire_varint_size(bytes);
}

static uint8_t *write_header(uint8_t *at, uint32_t number, size_t bytes)
{
    at = wire_write_varint(at, number << 3 | WIRE_BYTES);
    return wire_write_varint(at, bytes);
}

/* header content, between, header content: becomes a gap, header, both contents, between. The gap
 * is what the second header has needed, or one byte less, if the length needs that. */
static int join_two(struct joiner *joiner, struct record *record, const struct record *piece)
{
    size_t bytes = (size_t)(record->end - record->value);
    size_t more = (size_t)(piece->end - piece->value);
    size_t dropped = (size_t)(piece->value - piece->at);
    int r = count_moved(joiner, record->at, (size_t)(piece->end - record->at));
    if (r < 0)
        return r;
    if (piece->at > record->end) {
        uint8_t *begin = own(record->end), *end = own(piece->end);
        reverse(begin, own(piece->at));
        reverse(own(piece->at), end);
        reverse(begin, end);
    }
    uint8_t *value = own(record->end) + dropped - bytes;
    memmove(value, record->value, bytes);
    uint8_t *at = value - header_bytes(record->number, bytes + more);
    (void)write_header(at, record->number, bytes + more);
    record->at = at;
    record->value = value;
    record->end = value + bytes + more;
    return 0;
}

static int join_message(struct joiner *joiner, const struct program_table *table,
                        const uint8_t *start, const uint8_t *end, unsigned depth, bool all,
                        const uint8_t **ret_end);

/* Whether it is whole fields: else a field could go on in the next piece, which no reader would
 * see. */
static bool is_whole(const struct record *message)
{
    struct record record;
    const uint8_t *pos = message->value;
    while (pos < message->end && next_record(pos, message->end, &record))
        pos = record.end;
    return pos == message->end;
}

/* Joins the pieces of one message, and what is in it. *ret_end: of its content. Return: 1: nothing
 * is left of it. */
static int join_field(struct joiner *joiner, const struct program_table *table,
                      const struct program_op *op, const uint8_t *end, unsigned depth, bool all,
                      struct record *record, const uint8_t **ret_end)
{
    const struct plan *plan = joiner->run->plan;
    struct record piece;
    bool replaced;
    while (joins(plan, op, all) && find_piece(plan, table, op, record, end, &piece, &replaced)) {
        if (!is_whole(record) || !is_whole(&piece))
            break; /* the translation says what is wrong with it */
        int r =
            replaced ? leave_out(joiner->run, op, record, depth) : join_two(joiner, record, &piece);
        if (r < 0 || replaced)
            return r < 0 ? r : 1;
    }
    *ret_end = record->end;
    if (!leads_on(plan, op, all) || depth == WIRE_DEPTH_MAX)
        return 0;
    return join_message(joiner, &plan->tables[op->table], record->value, record->end, depth + 1,
                        all || waits(op), ret_end);
}

/* Joins all that is in a message, and moves what is left together, to its beginning. */
static int join_message(struct joiner *joiner, const struct program_table *table,
                        const uint8_t *start, const uint8_t *end, unsigned depth, bool all,
                        const uint8_t **ret_end)
{
    uint8_t *to = own(start);
    const uint8_t *pos = start;
    struct record record;
    while (pos < end && next_record(pos, end, &record)) {
        const struct program_op *op = find_message(joiner->run->plan, table, &record, all);
        const uint8_t *content_end = record.end;
        int r = op ? join_field(joiner, table, op, end, depth, all, &record, &content_end) : 0;
        pos = record.end;
        if (r > 0)
            continue;
        if (r == 0 && to != record.at)
            r = count_moved(joiner, record.at, (size_t)(record.end - record.at));
        if (r < 0)
            return r;
        const uint8_t *from = record.at;
        if (content_end != record.end) {
            to = write_header(to, record.number, (size_t)(content_end - record.value));
            from = record.value;
        }
        memmove(to, from, (size_t)(content_end - from));
        to += content_end - from;
    }
    memmove(to, pos, (size_t)(end - pos));
    *ret_end = to + (end - pos);
    return 0;
}

bool run_has_pieces(const struct run *run, const struct program_table *table, const uint8_t *start,
                    size_t bytes)
{
    return run->watches && has_pieces(run->plan, table, start, start + bytes, 1, false);
}

int run_join_pieces(struct run *run, const struct program_table *table, uint8_t *start,
                    size_t *bytes, unsigned depth)
{
    const struct plan *plan = run->plan;
    const uint8_t *end = start + *bytes;
    if (!plan->fast[table - plan->tables].joins ||
        !has_pieces(plan, table, start, end, depth, false))
        return 0;
    struct joiner joiner = {run, MOVED_BYTES_MIN + MOVED_FACTOR * *bytes};
    int r = join_message(&joiner, table, start, end, depth, false, &end);
    *bytes = (size_t)(end - start);
    return r;
}

/* ---- Which messages it matters for ---- */

static void look_at(const struct plan *plan, const struct program_table *table,
                    struct fast_table *fast)
{
    if (table->flags & TABLE_VERBATIM)
        return;
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        fast->whole |= op->pipe != 0;
        if (!is_looked_into(op))
            continue;
        bool join = joins(plan, op, false);
        fast->whole |= join;
        if (join || leads_on(plan, op, false)) {
            fast->joins = true;
            fast->messages |= fast_message_bit(op->number);
        }
    }
}

void fast_find_joins(struct plan *plan, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct program_table *table = &plan->tables[i];
        plan->fast[i].whole = table->emit_count > 0 || table->slot_count > 0 ||
                              (table->required_count > 0 && !(table->flags & TABLE_VERBATIM)) ||
                              table->next != 0 || (table->flags & (TABLE_SHARED | TABLE_MARK));
        plan->fast[i].joins = false;
        plan->fast[i].messages = 0;
    }
    for (bool changed = true; changed;) { /* at most thrice as often as there are tables */
        changed = false;
        for (uint32_t i = count; i-- > 0;) {
            struct fast_table *fast = &plan->fast[i];
            bool whole = fast->whole;
            uint64_t messages = fast->messages;
            look_at(plan, &plan->tables[i], fast);
            changed |= whole != fast->whole || messages != fast->messages;
        }
    }
}

bool fast_joins(const struct plan *plan, const struct program_table *table,
                const struct program_op *op)
{
    return !(table->flags & TABLE_VERBATIM) && is_looked_into(op) && joins(plan, op, false);
}
