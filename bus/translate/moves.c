/*
 * Moves: a field of the version before that is now in a sub-message, `homepage` in
 * `links.homepage`.
 *
 * Older to newer the value waits in a slot and is written at the end, inside messages made for it.
 * Should such a message come out of a carrier as well, then it arrives in two pieces, and protobuf's
 * readers merge them.
 *
 * Newer to older the sub-message is taken along in the carrier without what moved out of it: a
 * table of its own for each message on the way (RESIDUE), in which the moved fields go to slots and
 * everything else is copied. The table for restoring it is the same with the moved fields left out,
 * so that a carrier cannot bring back what was edited.
 *
 * The first message on the path must be new: it has no other pair that could contain it.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOVE_MAX PROGRAM_SLOT_MAX

struct move {
    const struct schema_field *older;
    const struct schema_field *path[PROGRAM_PATH_MAX + 1]; /* from the newer message to the field */
    unsigned depth;                                        /* messages on the path */
    uint16_t slot;
    uint32_t convert;
};

struct moves {
    struct pairing *pairing;
    struct move list[MOVE_MAX];
    size_t count;
};

static int move_error(const struct pairing *pairing, const Parley__Move *rule, const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL,
                     "%s: (parley.message).move from \"%s\" to \"%s\": %s", pairing->newer->name,
                     rule->from ? rule->from : "", rule->to ? rule->to : "", what);
}

static int read_path(const struct pairing *pairing, const Parley__Move *rule, struct move *move)
{
    const struct schema_message *message = pairing->newer;
    const char *text = rule->to ? rule->to : "";
    for (move->depth = 0;; move->depth++) {
        char name[SCHEMA_NAME_BYTES_MAX + 1];
        size_t bytes = strcspn(text, ".");
        if (bytes >= sizeof(name) || move->depth > PROGRAM_PATH_MAX)
            return move_error(pairing, rule, "the path is longer than 8 messages; use a shorter one");
        memcpy(name, text, bytes);
        name[bytes] = '\0';
        const struct schema_field *field = schema_field_find(message, name);
        if (!field)
            return move_error(pairing, rule,
                              "the path names no field of this version; correct it");
        if (field->repeated || field->oneof >= 0)
            return move_error(pairing, rule,
                              "goes through a repeated field or a oneof, which is not supported yet");
        move->path[move->depth] = field;
        if (text[bytes] == '\0')
            break;
        if (!field->message)
            return move_error(pairing, rule, "the path goes through a field that is no message");
        message = field->message;
        for (size_t i = 0; i < message->field_count; i++)
            if (message->fields[i].required)
                return move_error(pairing, rule,
                                  "goes into a message with required fields; make them optional");
        text += bytes + 1;
    }
    return move->depth > 0 ? 0 : move_error(pairing, rule,
                                            "needs a path into a sub-message; for another name, set "
                                            "(parley.field).from");
}

static bool same_path(const struct move *a, const struct move *b)
{
    return a->depth == b->depth &&
           memcmp(a->path, b->path, (a->depth + 1) * sizeof(a->path[0])) == 0;
}

static int check_move(struct moves *moves, const Parley__Move *rule, struct move *move)
{
    struct pairing *pairing = moves->pairing;
    bool up = pairing->newer == pairing->target;
    move->older = rule->from ? schema_field_find(pairing->older, rule->from) : NULL;
    if (!move->older)
        return move_error(pairing, rule, "the version before has no such field; name one that it has");
    int r = read_path(pairing, rule, move);
    if (r < 0)
        return r;
    const struct schema_field *newer = move->path[move->depth], *older = move->older;
    size_t index = field_index(pairing->older, older);
    size_t head = field_index(pairing->newer, move->path[0]);
    bool *done = up ? pairing->source_done : pairing->target_done;
    if (done[index] || (up ? pairing->target_of : pairing->source_of)[index])
        return move_error(pairing, rule,
                          "a field of this version, or another rule, takes it already; remove one");
    if ((up ? pairing->source_of : pairing->target_of)[head])
        return move_error(pairing, rule,
                          "the first message on the path is in the version before as well, which is "
                          "not supported yet; move the field into a new message");
    for (size_t i = 0; i < moves->count; i++)
        if (same_path(&moves->list[i], move))
            return move_error(pairing, rule, "another field moves there; correct one of the two");
    enum kind kind = compile_kind(newer);
    if (kind != compile_kind(older) || kind == KIND_MESSAGE || older->repeated || older->oneof >= 0 ||
        older->presence != newer->presence || older->required || newer->required)
        return move_error(pairing, rule,
                          "is supported for singular values of the same type and presence only; "
                          "drop the old field and add the new one");
    done[index] = true;
    move->convert = PROGRAM_NONE;
    if (kind != KIND_ENUM)
        return 0;
    struct enum_map map;
    r = rules_enum(pairing, up ? older : newer, up ? newer : older, true, &map);
    move->convert = map.convert;
    return r;
}

/* The op that takes a moved value to its slot. */
static struct program_op slot_op(const struct pairing *pairing, const struct schema_field *source,
                                 const struct move *move)
{
    struct program_op op = compile_check_op(pairing->compiler, source);
    if (op.kind == KIND_FLOAT || op.kind == KIND_DOUBLE) /* their bits */
        op.kind = op.written = op.kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    op.action = ACTION_SLOT;
    op.slot = move->slot;
    op.convert = move->convert;
    return op;
}

static int emit_move(struct pairing *pairing, const struct move *move, bool up)
{
    const struct schema_field *target = up ? move->path[move->depth] : move->older;
    enum kind kind = compile_kind(target);
    kind = kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
    struct program_emit emit = pairing_emit_default(EMIT_MOVE, move->slot, target, kind);
    emit.flags = target->presence ? EMIT_SOURCE_PRESENCE : 0;
    if (up) {
        struct builder *builder = &pairing->compiler->builder;
        emit.path_count = (uint16_t)move->depth;
        emit.path_first = builder_add(builder, SECTION_TAG, move->depth);
        for (unsigned i = 0; i < move->depth && !builder->error; i++)
            *(uint32_t *)builder_at(builder, SECTION_TAG, emit.path_first + i) =
                move->path[i]->number << 3 | WIRE_BYTES;
    }
    return pairing_emit(pairing, emit);
}

/* The table of the message at @level of the moves that go through it: those whose path begins like
 * that of @first. @restore: the moved fields stay away. */
static int residue_table(struct moves *moves, const struct move *first, unsigned level, bool restore,
                         uint32_t *ret_table)
{
    struct pairing *pairing = moves->pairing;
    const struct schema_message *message = first->path[level]->message;
    struct program_op *ops = calloc(message->field_count + 1, sizeof(*ops));
    if (!ops)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    int r = 0;
    for (size_t i = 0; i < message->field_count && r == 0; i++) {
        const struct schema_field *field = &message->fields[i];
        ops[i] = compile_check_op(pairing->compiler, field);
        for (size_t j = 0; j < moves->count && r == 0; j++) {
            const struct move *move = &moves->list[j];
            if (move->depth <= level || move->path[level + 1] != field ||
                memcmp(move->path, first->path, (level + 1) * sizeof(move->path[0])) != 0)
                continue;
            if (move->depth == level + 1) {
                ops[i] = restore ? ops[i] : slot_op(pairing, field, move);
                ops[i].action = restore ? ACTION_SKIP : ACTION_SLOT;
                continue;
            }
            ops[i].action = restore ? ACTION_MESSAGE : ACTION_RESIDUE;
            r = residue_table(moves, move, level + 1, restore, &ops[i].table);
            break; /* one table for all moves that go on this way */
        }
    }
    if (r == 0) {
        struct builder *builder = &pairing->compiler->builder;
        *ret_table = builder_add(builder, SECTION_TABLE, 1);
        builder_set_ops(builder, *ret_table, ops, message->field_count);
        struct program_table *table = builder_at(builder, SECTION_TABLE, *ret_table);
        table->flags = restore ? 0 : TABLE_SHARED;
        table->slot_count = restore ? 0 : pairing->slot_count;
        table->source_id = table->target_id = program_type_id(message->name);
        table->restore = PROGRAM_NONE;
    }
    free(ops);
    return r;
}

/* The message at the head of paths, once for all that begin with it. */
static int add_heads(struct moves *moves, bool up)
{
    struct pairing *pairing = moves->pairing;
    for (size_t i = 0; i < moves->count; i++) {
        const struct move *move = &moves->list[i];
        const struct schema_field *head = move->path[0];
        bool *done = (up ? pairing->target_done : pairing->source_done) +
                     field_index(pairing->newer, head);
        if (*done)
            continue;
        *done = true;
        struct program_op op = compile_check_op(pairing->compiler, head);
        op.action = up ? ACTION_MESSAGE : ACTION_RESIDUE;
        int r = residue_table(moves, move, 0, up, &op.table);
        if (r < 0)
            return r;
        if (up) {
            op.flags |= OP_LATE;
            pairing_restore(pairing, op);
        } else {
            pairing_op(pairing, op);
        }
        pairing->compiler->carries |= !up;
    }
    return 0;
}

int rules_moves(struct pairing *pairing)
{
    const Parley__MessageRule *message = pairing->newer->rule;
    bool up = pairing->newer == pairing->target;
    struct moves moves = {.pairing = pairing};
    for (size_t i = 0; message && i < message->n_move; i++) {
        if (moves.count == MOVE_MAX)
            return move_error(pairing, message->move[i], "more than 64 moves in one message");
        struct move *move = &moves.list[moves.count];
        int r = check_move(&moves, message->move[i], move);
        if (r == 0)
            r = pairing_slot(pairing, &move->slot);
        if (r < 0)
            return r;
        moves.count++;
    }
    int r = add_heads(&moves, up);
    for (size_t i = 0; i < moves.count && r == 0; i++) {
        const struct move *move = &moves.list[i];
        if (up)
            pairing_op(pairing, slot_op(pairing, move->older, move));
        else { /* what the older version has comes from the slot, never from a carrier */
            struct program_op back = compile_check_op(pairing->compiler, move->older);
            back.action = ACTION_SKIP;
            pairing_restore(pairing, back);
        }
        r = emit_move(pairing, move, up);
    }
    return r;
}
