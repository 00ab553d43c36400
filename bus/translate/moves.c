/*
 * Moves: a field of the version before that is now in a sub-message, `homepage` in
 * `links.homepage`.
 *
 * Newer to older the sub-message is taken along in the carrier without what moved out of it: a
 * table of its own for each message on the way (RESIDUE), in which the moved fields go to slots and
 * everything else is copied.
 *
 * Older to newer the values wait in slots, and the messages are made at the end (EMIT_GATHER): a
 * tree of nodes, each with the fields that move into it, the nodes below it, and what a carrier has
 * of it, through a table that leaves out all that the node writes itself, so that a carrier cannot
 * bring back what was edited. Each message is written in one piece.
 *
 * The first message on the path must be new: it has no other pair that could contain it.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

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
            return move_error(pairing, rule,
                              "the path is longer than 8 messages; use a shorter one");
        memcpy(name, text, bytes);
        name[bytes] = '\0';
        const struct schema_field *field = schema_field_find(message, name);
        if (!field)
            return move_error(pairing, rule, "the path names no field of this version; correct it");
        if (field->repeated || field->oneof >= 0)
            return move_error(
                pairing, rule,
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
    return move->depth > 0 ? 0
                           : move_error(pairing, rule,
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
        return move_error(pairing, rule,
                          "the version before has no such field; name one that it has");
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
        return move_error(
            pairing, rule,
            "the first message on the path is in the version before as well, which is "
            "not supported yet; move the field into a new message");
    for (size_t i = 0; i < moves->count; i++)
        if (same_path(&moves->list[i], move))
            return move_error(pairing, rule, "another field moves there; correct one of the two");
    enum kind kind = compile_kind(newer);
    if (kind != compile_kind(older) || kind == KIND_MESSAGE || older->repeated ||
        older->oneof >= 0 || older->presence != newer->presence || older->required ||
        newer->required)
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
    op.flags |= OP_STRICT | (source->presence ? OP_OWN_PRESENCE : 0);
    op.slot = move->slot;
    op.convert = move->convert;
    return op;
}

static struct program_emit move_emit(const struct move *move, const struct schema_field *target)
{
    enum kind kind = compile_kind(target);
    kind = kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
    struct program_emit emit = pairing_emit_default(EMIT_MOVE, move->slot, target, kind);
    emit.flags = target->presence ? EMIT_SOURCE_PRESENCE : 0;
    return emit;
}

/* Whether the move goes through the field, in the message at @level of @first's path. */
static bool goes_through(const struct move *move, const struct move *first, unsigned level,
                         const struct schema_field *field)
{
    return move->depth > level && move->path[level + 1] == field &&
           memcmp(move->path, first->path, (level + 1) * sizeof(move->path[0])) == 0;
}

static void write_table(struct pairing *pairing, const struct schema_message *message,
                        struct program_op *ops, uint32_t *ret_table)
{
    struct builder *builder = &pairing->compiler->builder;
    *ret_table = builder_add(builder, SECTION_TABLE, 1);
    builder_set_ops(builder, *ret_table, ops, message->field_count);
    struct program_table *table = builder_at(builder, SECTION_TABLE, *ret_table);
    table->flags = TABLE_SHARED;
    table->slot_count = pairing->slot_count;
    table->source_id = table->target_id = program_type_id(message->name);
    table->restore = PROGRAM_NONE;
}

/* Newer to older: the table of the message at @level of @first's path, for all moves through it. */
static int residue_table(struct moves *moves, const struct move *first, unsigned level,
                         uint32_t *ret_table)
{
    struct pairing *pairing = moves->pairing;
    const struct schema_message *message = first->path[level]->message;
    _cleanup_(freep) struct program_op *ops = calloc(message->field_count + 1, sizeof(*ops));
    if (!ops)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        ops[i] = compile_check_op(pairing->compiler, field);
        for (size_t j = 0; j < moves->count; j++) {
            const struct move *move = &moves->list[j];
            if (!goes_through(move, first, level, field))
                continue;
            if (move->depth == level + 1) {
                ops[i] = slot_op(pairing, field, move);
                break;
            }
            ops[i].action = ACTION_RESIDUE;
            int r = residue_table(moves, move, level + 1, &ops[i].table);
            if (r < 0)
                return r;
            break; /* one table for all moves that go on this way */
        }
    }
    write_table(pairing, message, ops, ret_table);
    return 0;
}

/* Older to newer: the node of that message, at its place in the program. */
static int fill_node(struct moves *moves, const struct move *first, unsigned level, uint32_t index)
{
    struct pairing *pairing = moves->pairing;
    struct builder *builder = &pairing->compiler->builder;
    const struct schema_message *message = first->path[level]->message;
    _cleanup_(freep) struct program_op *ops = calloc(message->field_count + 1, sizeof(*ops));
    struct program_emit leaves[MOVE_MAX];
    const struct move *children[MOVE_MAX];
    uint32_t leaf_count = 0, child_count = 0;
    if (!ops)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        ops[i] = compile_check_op(pairing->compiler, field);
        for (size_t j = 0; j < moves->count; j++) {
            const struct move *move = &moves->list[j];
            if (!goes_through(move, first, level, field))
                continue;
            ops[i].action = ACTION_SKIP; /* the node writes it */
            if (move->depth == level + 1)
                leaves[leaf_count++] = move_emit(move, field);
            else
                children[child_count++] = move;
            break;
        }
    }
    struct program_node node = {
        .tag = first->path[level]->number << 3 | WIRE_BYTES,
        .leaf_first = builder_add(builder, SECTION_EMIT, leaf_count),
        .leaf_count = leaf_count,
        .child_first = builder_add(builder, SECTION_NODE, child_count),
        .child_count = child_count,
    };
    write_table(pairing, message, ops, &node.table);
    for (uint32_t i = 0; i < leaf_count; i++)
        *(struct program_emit *)builder_at(builder, SECTION_EMIT, node.leaf_first + i) = leaves[i];
    *(struct program_node *)builder_at(builder, SECTION_NODE, index) = node;
    for (uint32_t i = 0; i < child_count; i++) {
        int r = fill_node(moves, children[i], level + 1, node.child_first + i);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_head(struct moves *moves, const struct move *move, bool up)
{
    struct pairing *pairing = moves->pairing;
    struct program_op op = compile_check_op(pairing->compiler, move->path[0]);
    if (!up) {
        op.action = ACTION_RESIDUE;
        int r = residue_table(moves, move, 0, &op.table);
        pairing_op(pairing, op);
        pairing->compiler->carries = true;
        return r;
    }
    op.action = ACTION_SKIP;
    op.flags |= OP_GATHERED;
    pairing_restore(pairing, op);
    struct program_emit emit =
        pairing_emit_default(EMIT_GATHER, move->slot, move->path[0], KIND_MESSAGE);
    emit.node = builder_add(&pairing->compiler->builder, SECTION_NODE, 1);
    int r = fill_node(moves, move, 0, emit.node);
    return r < 0 ? r : pairing_emit(pairing, emit);
}

/* The message at the head of paths, once for all that begin with it. */
static int add_heads(struct moves *moves, bool up)
{
    struct pairing *pairing = moves->pairing;
    for (size_t i = 0; i < moves->count; i++) {
        const struct move *move = &moves->list[i];
        bool *done = (up ? pairing->target_done : pairing->source_done) +
                     field_index(pairing->newer, move->path[0]);
        if (*done)
            continue;
        *done = true;
        int r = add_head(moves, move, up);
        if (r < 0)
            return r;
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
        if (up) {
            pairing_op(pairing, slot_op(pairing, move->older, move));
            continue;
        }
        /* What the older version has comes from the slot, never from a carrier. */
        struct program_op back = compile_check_op(pairing->compiler, move->older);
        back.action = ACTION_SKIP;
        pairing_restore(pairing, back);
        r = pairing_emit(pairing, move_emit(move, move->older));
    }
    return r;
}
