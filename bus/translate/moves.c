/*
 * Moves: a field that is at another nesting level now, `homepage` in `links.homepage`, or
 * `links.homepage` in `homepage`, or `a.x` in `b.x`.
 *
 * A move has a path in the source and one in the target. What becomes of the first message on a
 * path depends on whether the other side has it:
 *
 *  - The source has it alone. It travels in the carrier without what moved out of it: a table of
 *    its own for each message on the way (RESIDUE), from which the moved fields go away and in
 *    which everything else is copied.
 *  - The target has it alone. It is made at the end (EMIT_GATHER): a tree of nodes, each with the
 *    fields that move into it, the nodes below it, and what a carrier has of it, through a table
 *    that leaves out all that the node writes itself, so that a carrier cannot bring back what was
 *    edited. Each message is written in one piece.
 *  - Both have it, and it pairs. It gets a table of its own (a context), in which the moves go on
 *    from the next message of their paths; it is translated at the end (EMIT_WITHIN).
 *
 * A singular number or text that passes no such context waits in a slot. Everything else is looked
 * up by its path in the message around, the root, which all contexts are in (ACTION_AWAY,
 * EMIT_MOVED): lists and messages, and what moves into a context.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define MOVE_MAX PROGRAM_SLOT_MAX

/* From a message to a field in it: fields[depth]. */
struct field_path {
    const struct schema_field *fields[PROGRAM_PATH_MAX + 1];
    unsigned depth; /* messages on the path */
};

struct move {
    struct field_path source, target;
    bool by_slot;     /* else by its path */
    uint16_t slot;    /* of the root */
    uint32_t convert; /* by_slot */
    uint32_t table;   /* else: how its values are written */
};

struct moves {
    struct moves *next; /* all that the compiler has made */
    size_t count;
    struct move list[MOVE_MAX];
};

struct context {
    struct context *next;
    struct moves *moves;
    const struct schema_field *key; /* of an entry, instead of moves; NULL: none */
    bool key_of_source;
    unsigned level; /* messages between the root and this one */
    const struct schema_field *source[PROGRAM_PATH_MAX], *target[PROGRAM_PATH_MAX];
};

/* The moves that concern a pair of messages. */
struct scope {
    struct pairing *pairing;
    const struct context *context;
    struct moves *moves;
    uint16_t slots[MOVE_MAX]; /* in a context: for what goes away from it */
};

static int move_error(const struct pairing *pairing, const Parley__Move *rule, const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL,
                     "%s: (parley.message).move from \"%s\" to \"%s\": %s", pairing->newer->name,
                     rule->from ? rule->from : "", rule->to ? rule->to : "", what);
}

/* ---- Reading the rules ---- */

static int read_path(const struct pairing *pairing, const Parley__Move *rule, bool newer,
                     struct field_path *path)
{
    const struct schema_message *message = newer ? pairing->newer : pairing->older;
    const char *text = newer ? rule->to : rule->from;
    for (path->depth = 0, text = text ? text : "";; path->depth++) {
        char name[SCHEMA_NAME_BYTES_MAX + 1];
        size_t bytes = strcspn(text, ".");
        if (bytes >= sizeof(name) || path->depth > PROGRAM_PATH_MAX)
            return move_error(pairing, rule,
                              "the path is longer than 8 messages; use a shorter one");
        memcpy(name, text, bytes);
        name[bytes] = '\0';
        const struct schema_field *field = schema_field_find(message, name);
        if (!field)
            return move_error(pairing, rule,
                              newer ? "the path names no field of this version; correct it"
                                    : "the version before has no such field; name one that it has");
        if (field_shares_oneof(message, field))
            return move_error(pairing, rule,
                              "goes through a oneof with others, which cannot be moved into or out "
                              "of; take the field out of the oneof");
        path->fields[path->depth] = field;
        if (text[bytes] == '\0')
            return 0;
        if (!field->message || field->message->map_entry)
            return move_error(pairing, rule, "the path goes through a field that is no message");
        if (field->repeated)
            return move_error(pairing, rule,
                              "the path goes through a repeated field: there would be no telling "
                              "which element it is; move the whole list");
        message = field->message;
        for (size_t i = 0; i < message->field_count; i++)
            if (message->fields[i].required)
                return move_error(pairing, rule,
                                  "goes into a message with required fields; make them optional");
        text += bytes + 1;
    }
}

/* Whether one path leads to the other, or through it. */
static bool overlap(const struct field_path *a, const struct field_path *b)
{
    unsigned depth = a->depth < b->depth ? a->depth : b->depth;
    return memcmp(a->fields, b->fields, (depth + 1) * sizeof(a->fields[0])) == 0;
}

/* Whether the path passes a message that both sides have, where it begins. */
static bool passes_pair(const struct pairing *pairing, const struct field_path *path, bool source)
{
    const struct schema_field **pair = source ? pairing->target_of : pairing->source_of;
    const struct schema_message *message = source ? pairing->source : pairing->target;
    return path->depth > 0 && pair[field_index(message, path->fields[0])];
}

static int check_taken(const struct moves *moves, const struct pairing *pairing,
                       const Parley__Move *rule, const struct move *move)
{
    for (int side = 0; side < 2; side++) {
        bool source = side == 0;
        const struct field_path *path = source ? &move->source : &move->target;
        const struct schema_message *message = source ? pairing->source : pairing->target;
        size_t index = field_index(message, path->fields[0]);
        const struct schema_field **pair = source ? pairing->target_of : pairing->source_of;
        if (path->depth == 0 && pair[index])
            return move_error(pairing, rule,
                              "a field of the other version has that name, or comes from it, "
                              "already; remove one of the two rules, or rename the field");
        for (size_t i = 0; i < moves->count; i++)
            if (overlap(path, source ? &moves->list[i].source : &moves->list[i].target))
                return move_error(pairing, rule,
                                  source == (pairing->newer == pairing->target)
                                      ? "another move takes it already, or a part of it, or what "
                                        "it is in; remove one"
                                      : "another field moves there, or into it, or around it; "
                                        "correct one of the two");
    }
    return 0;
}

static int check_value(struct pairing *pairing, const Parley__Move *rule, struct move *move)
{
    const struct schema_field *source = move->source.fields[move->source.depth];
    const struct schema_field *target = move->target.fields[move->target.depth];
    enum kind kind = compile_kind(source);
    if (move->source.depth == 0 && move->target.depth == 0)
        return move_error(pairing, rule,
                          "needs a path into a sub-message; for another name, set "
                          "(parley.field).from");
    if (kind != compile_kind(target) || source->repeated != target->repeated ||
        source->presence != target->presence || source->required || target->required)
        return move_error(pairing, rule,
                          "is for values of the same type, label and presence; drop the old field "
                          "and add the new one");
    const char *a = source->default_value ? source->default_value : "";
    const char *b = target->default_value ? target->default_value : "";
    if (strcmp(a, b) != 0)
        return move_error(pairing, rule, "the defaults differ; keep the default");
    move->by_slot = kind != KIND_MESSAGE && !source->repeated &&
                    !passes_pair(pairing, &move->source, true) &&
                    !passes_pair(pairing, &move->target, false);
    move->convert = PROGRAM_NONE;
    if (move->by_slot && kind == KIND_ENUM) {
        struct enum_map map;
        int r = rules_enum(pairing, source, target, true, &map);
        move->convert = map.convert;
        return r;
    }
    struct program_op op;
    if (move->by_slot)
        return 0;
    struct shape_place place = {NULL, "(parley.message).move"};
    int r = shape_value(pairing, source, target, &place, &op);
    op.flags |= source->repeated ? OP_REPEATED : 0;
    if (r == 0)
        move->table = shape_table(pairing, &op, 1);
    return r;
}

static int read_move(struct moves *moves, struct pairing *pairing, const Parley__Move *rule,
                     struct move *move)
{
    bool up = pairing->newer == pairing->target;
    int r = read_path(pairing, rule, true, up ? &move->target : &move->source);
    if (r == 0)
        r = read_path(pairing, rule, false, up ? &move->source : &move->target);
    if (r == 0)
        r = check_taken(moves, pairing, rule, move);
    if (r == 0)
        r = check_value(pairing, rule, move);
    return r == 0 ? pairing_slot(pairing, &move->slot) : r;
}

/* ---- Which moves concern what ---- */

/* Whether the path goes through the messages of @at, a path of @level fields. */
static bool goes_along(const struct field_path *path, const struct schema_field *const *at,
                       unsigned level)
{
    return path->depth >= level &&
           (level == 0 || memcmp(path->fields, at, level * sizeof(path->fields[0])) == 0);
}

static const struct schema_field *const *prefix(const struct scope *scope, bool source)
{
    return !scope->context ? NULL : source ? scope->context->source : scope->context->target;
}

static unsigned level_of(const struct scope *scope)
{
    return scope->context ? scope->context->level : 0;
}

static const struct field_path *path_of(const struct move *move, bool source)
{
    return source ? &move->source : &move->target;
}

/* The field of this message that the path goes to or through; NULL: it does not come here. */
static const struct schema_field *here(const struct scope *scope, const struct move *move,
                                       bool source)
{
    const struct field_path *path = path_of(move, source);
    return goes_along(path, prefix(scope, source), level_of(scope)) ? path->fields[level_of(scope)]
                                                                    : NULL;
}

/* ---- Values ---- */

/* The op that takes a moved value away. */
static struct program_op away_op(const struct scope *scope, const struct schema_field *source,
                                 const struct move *move)
{
    struct program_op op = compile_check_op(scope->pairing->compiler, source);
    op.slot = scope->context ? scope->slots[move - scope->moves->list] : move->slot;
    op.action = ACTION_AWAY;
    op.flags |= source->presence ? OP_OWN_PRESENCE : 0;
    if (!move->by_slot)
        return op;
    if (op.kind == KIND_FLOAT || op.kind == KIND_DOUBLE) /* their bits */
        op.kind = op.written = op.kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    op.action = ACTION_SLOT;
    op.flags |= OP_STRICT;
    op.convert = move->convert;
    return op;
}

/* One that the table has; such an emit does not look at it. */
static uint16_t any_slot(const struct scope *scope, const struct move *move)
{
    return scope->context ? scope->slots[0] : move->slot;
}

/* What writes it at its new place. */
static struct program_emit move_emit(const struct scope *scope, const struct move *move)
{
    const struct schema_field *target = move->target.fields[move->target.depth];
    struct builder *builder = &scope->pairing->compiler->builder;
    enum kind kind = compile_kind(target);
    if (move->by_slot) {
        kind = kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
        struct program_emit emit = pairing_emit_default(EMIT_MOVE, move->slot, target, kind);
        emit.flags = target->presence ? EMIT_SOURCE_PRESENCE : 0;
        return emit;
    }
    struct program_emit emit =
        pairing_emit_default(EMIT_MOVED, any_slot(scope, move), target, kind);
    emit.flags = (uint8_t)((scope->context ? EMIT_OF_ROOT : 0) |
                           (target->presence || target->repeated ? EMIT_SOURCE_PRESENCE : 0));
    emit.table = move->table;
    emit.level = (uint8_t)level_of(scope);
    while (emit.near < emit.level && goes_along(&move->source, prefix(scope, true), emit.near + 1u))
        emit.near++;
    emit.template = move->source.depth + 1;
    emit.node = builder_add(builder, SECTION_STEP, emit.template);
    for (unsigned i = 0; i <= move->source.depth; i++) {
        struct program_step *step = builder_at(builder, SECTION_STEP, emit.node + i);
        step->number = move->source.fields[i]->number;
    }
    return emit;
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

/* Whether the move goes through the field, in the message at @level of @first's path. */
static bool goes_through(const struct field_path *path, const struct field_path *first,
                         unsigned level, const struct schema_field *field)
{
    return path->depth > level && path->fields[level + 1] == field &&
           memcmp(path->fields, first->fields, (level + 1) * sizeof(path->fields[0])) == 0;
}

/* ---- A message that the source has alone ---- */

/* The table of the message at @level of @first's path, for all moves through it. */
static int residue_table(const struct scope *scope, const struct field_path *first, unsigned level,
                         uint32_t *ret_table)
{
    struct pairing *pairing = scope->pairing;
    const struct schema_message *message = first->fields[level]->message;
    _cleanup_(freep) struct program_op *ops = calloc(message->field_count + 1, sizeof(*ops));
    if (!ops)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        ops[i] = compile_check_op(pairing->compiler, field);
        for (size_t j = 0; j < scope->moves->count; j++) {
            const struct move *move = &scope->moves->list[j];
            if (!goes_through(&move->source, first, level, field))
                continue;
            if (move->source.depth == level + 1) {
                ops[i] = away_op(scope, field, move);
                break;
            }
            ops[i].action = ACTION_RESIDUE;
            int r = residue_table(scope, &move->source, level + 1, &ops[i].table);
            if (r < 0)
                return r;
            break; /* one table for all moves that go on this way */
        }
    }
    write_table(pairing, message, ops, ret_table);
    return 0;
}

/* ---- A message that the target has alone ---- */

/* The node of the message at @level of @first's path, at its place in the program. */
static int fill_node(const struct scope *scope, const struct field_path *first, unsigned level,
                     uint32_t index, bool *ret_deep)
{
    struct pairing *pairing = scope->pairing;
    struct builder *builder = &pairing->compiler->builder;
    const struct schema_message *message = first->fields[level]->message;
    _cleanup_(freep) struct program_op *ops = calloc(message->field_count + 1, sizeof(*ops));
    struct program_emit leaves[MOVE_MAX];
    const struct move *children[MOVE_MAX];
    uint32_t leaf_count = 0, child_count = 0;
    if (!ops)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        ops[i] = compile_check_op(pairing->compiler, field);
        for (size_t j = 0; j < scope->moves->count; j++) {
            const struct move *move = &scope->moves->list[j];
            if (!goes_through(&move->target, first, level, field))
                continue;
            ops[i].action = ACTION_SKIP; /* the node writes it */
            *ret_deep |= !move->by_slot;
            if (move->target.depth == level + 1)
                leaves[leaf_count++] = move_emit(scope, move);
            else
                children[child_count++] = move;
            break;
        }
    }
    struct program_node node = {
        .tag = first->fields[level]->number << 3 | WIRE_BYTES,
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
        int r = fill_node(scope, &children[i]->target, level + 1, node.child_first + i, ret_deep);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- A message that both have ---- */

static int add_context(const struct scope *scope, const struct schema_field *source,
                       const struct schema_field *target)
{
    struct pairing *pairing = scope->pairing;
    struct compiler *compiler = pairing->compiler;
    unsigned level = level_of(scope);
    const Parley__FieldRule *rule = (pairing->newer == pairing->target ? target : source)->rule;
    if (!source->message || !target->message || source->repeated || target->repeated ||
        !compile_types_pair(compiler, source->message, target->message) ||
        (rule && (rule->wrap || rule->unwrap || rule->split || rule->merge)))
        return error_set(compiler->error, -EINVAL,
                         "%s.%s: (parley.message).move: a path goes through it, and its type is "
                         "no message, or another one in the other version; move into a message "
                         "that both have, or that is new",
                         pairing->newer->name,
                         (pairing->newer == pairing->target ? target : source)->name);
    struct context *context = calloc(1, sizeof(*context));
    if (!context)
        return error_set(compiler->error, -ENOMEM, "out of memory while compiling a plan");
    if (scope->context)
        *context = *scope->context;
    context->moves = scope->moves;
    context->source[level] = source;
    context->target[level] = target;
    context->level = level + 1;
    context->next = compiler->contexts;
    compiler->contexts = context;
    struct program_op op = compile_check_op(compiler, source);
    op.action = ACTION_DEFER;
    int r = pairing_slot(pairing, &op.slot);
    if (r < 0)
        return r;
    struct program_op back = compile_check_op(compiler, target);
    back.action = ACTION_HELD;
    back.flags |= OP_GATHERED;
    back.slot = op.slot;
    struct program_emit emit = pairing_emit_default(EMIT_WITHIN, op.slot, target, KIND_MESSAGE);
    emit.flags = scope->context ? EMIT_OF_ROOT : 0;
    emit.number = source->number;
    emit.level = (uint8_t)level_of(scope);
    emit.table = compile_context(compiler, source->message, target->message, context);
    pairing_op(pairing, op);
    pairing_restore(pairing, back);
    pairing->source_done[field_index(pairing->source, source)] = true;
    pairing->target_done[field_index(pairing->target, target)] = true;
    compiler->carries = true;
    return pairing_emit(pairing, emit);
}

/* ---- What becomes of the fields of a message ---- */

static int leave(const struct scope *scope, const struct schema_field *source,
                 const struct move *move)
{
    struct pairing *pairing = scope->pairing;
    if (move->source.depth == level_of(scope)) {
        pairing_op(pairing, away_op(scope, source, move));
        return 0;
    }
    struct program_op op = compile_check_op(pairing->compiler, source);
    op.action = ACTION_RESIDUE;
    int r = residue_table(scope, &move->source, level_of(scope), &op.table);
    pairing_op(pairing, op);
    pairing->compiler->carries = true;
    return r;
}

static int arrive(const struct scope *scope, const struct schema_field *target,
                  const struct move *move)
{
    struct pairing *pairing = scope->pairing;
    /* What the target has of it comes from here, never from a carrier. */
    struct program_op back = compile_check_op(pairing->compiler, target);
    back.action = ACTION_SKIP;
    if (move->target.depth == level_of(scope)) {
        pairing_restore(pairing, back);
        return pairing_emit(pairing, move_emit(scope, move));
    }
    back.flags |= OP_GATHERED;
    pairing_restore(pairing, back);
    bool deep = false;
    struct program_emit emit =
        pairing_emit_default(EMIT_GATHER, any_slot(scope, move), target, KIND_MESSAGE);
    emit.node = builder_add(&pairing->compiler->builder, SECTION_NODE, 1);
    emit.level = (uint8_t)level_of(scope);
    int r = fill_node(scope, &move->target, level_of(scope), emit.node, &deep);
    emit.flags = (uint8_t)((deep ? EMIT_DEEP : 0) | (scope->context ? EMIT_OF_ROOT : 0));
    return r < 0 ? r : pairing_emit(pairing, emit);
}

/* One side of one move. */
static int go(const struct scope *scope, const struct move *move, bool source)
{
    struct pairing *pairing = scope->pairing;
    const struct schema_field *field = here(scope, move, source);
    if (!field)
        return 0;
    const struct schema_message *message = source ? pairing->source : pairing->target;
    size_t index = field_index(message, field);
    bool *done = source ? pairing->source_done : pairing->target_done;
    const struct schema_field *pair = (source ? pairing->target_of : pairing->source_of)[index];
    if (done[index])
        return 0; /* with another move that goes through it */
    if (pair && path_of(move, source)->depth > level_of(scope))
        return add_context(scope, source ? field : pair, source ? pair : field);
    if (pair)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s: (parley.message).move: %s has it as well, so that it would be in "
                         "two places; rename it, or remove the rule",
                         message->name, field->name,
                         source ? pairing->target->name : pairing->source->name);
    done[index] = true;
    return source ? leave(scope, field, move) : arrive(scope, field, move);
}

static int go_all(struct scope *scope)
{
    int r = 0;
    for (size_t i = 0; i < scope->moves->count && r == 0; i++)
        r = go(scope, &scope->moves->list[i], true);
    for (size_t i = 0; i < scope->moves->count && r == 0; i++)
        r = go(scope, &scope->moves->list[i], false);
    return r;
}

/* Nothing that comes from around may be in the way of the message's own moves. */
static int check_scope(const struct scope *scope)
{
    const struct pairing *pairing = scope->pairing;
    for (size_t i = 0; i < 2 * scope->moves->count; i++) {
        bool source = i < scope->moves->count;
        const struct move *move = &scope->moves->list[i % scope->moves->count];
        const struct schema_field *field = here(scope, move, source);
        const struct schema_message *message = source ? pairing->source : pairing->target;
        const bool *done = source ? pairing->source_done : pairing->target_done;
        if (field && done[field_index(message, field)])
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: (parley.message).move: a rule of a message around it and one "
                             "of its own take it; remove one",
                             message->name, field->name);
    }
    return 0;
}

uint32_t moves_without_key(struct compiler *compiler, const struct schema_message *source,
                           const struct schema_message *target, const struct schema_field *key,
                           bool of_source)
{
    struct context *context = calloc(1, sizeof(*context));
    if (!context) {
        compiler->builder.error = -ENOMEM;
        return 0;
    }
    context->key = key;
    context->key_of_source = of_source;
    context->next = compiler->contexts;
    compiler->contexts = context;
    return compile_context(compiler, source, target, context);
}

/* It is written with the entry, and read from it. */
static int leave_key_out(struct pairing *pairing)
{
    const struct context *context = pairing->context;
    bool source = context->key_of_source;
    size_t index = field_index(source ? pairing->source : pairing->target, context->key);
    bool *done = &(source ? pairing->source_done : pairing->target_done)[index];
    if (*done || (source ? pairing->target_of : pairing->source_of)[index])
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s and %s: (parley.field).entries: the message in the map may not have "
                         "the key \"%s\" as well; take it out of there, or name a `value`",
                         pairing->source->name, pairing->target->name, context->key->name);
    *done = true;
    struct program_op op = compile_check_op(pairing->compiler, context->key);
    op.action = ACTION_SKIP;
    if (source)
        pairing_op(pairing, op);
    else
        pairing_restore(pairing, op);
    return 0;
}

void moves_free(struct compiler *compiler)
{
    while (compiler->contexts) {
        struct context *next = compiler->contexts->next;
        free(compiler->contexts);
        compiler->contexts = next;
    }
    while (compiler->moves) {
        struct moves *next = compiler->moves->next;
        free(compiler->moves);
        compiler->moves = next;
    }
}

/* Those that the rules of messages around have brought here, and those of this one. */
int rules_moves(struct pairing *pairing)
{
    struct compiler *compiler = pairing->compiler;
    const Parley__MessageRule *message = pairing->newer->rule;
    int r = 0;
    if (message && message->n_move > 0) {
        struct moves *moves = calloc(1, sizeof(*moves));
        if (!moves)
            return error_set(compiler->error, -ENOMEM, "out of memory while compiling a plan");
        moves->next = compiler->moves;
        compiler->moves = moves;
        for (size_t i = 0; i < message->n_move && r == 0; i++) {
            if (moves->count == MOVE_MAX)
                return move_error(pairing, message->move[i], "more than 64 moves in one message");
            r = read_move(moves, pairing, message->move[i], &moves->list[moves->count]);
            moves->count += r == 0;
        }
        struct scope own = {.pairing = pairing, .moves = moves};
        if (r == 0)
            r = go_all(&own);
    }
    if (r == 0 && pairing->context && pairing->context->key)
        return leave_key_out(pairing);
    if (r == 0 && pairing->context) {
        struct scope scope = {pairing, pairing->context, pairing->context->moves, {0}};
        r = pairing_slot(pairing, &scope.slots[0]);
        for (size_t i = 1; i < scope.moves->count && r == 0; i++)
            r = here(&scope, &scope.moves->list[i], true) ? pairing_slot(pairing, &scope.slots[i])
                                                          : 0;
        if (r == 0)
            r = check_scope(&scope);
        if (r == 0)
            r = go_all(&scope);
    }
    return r;
}
