/*
 * The fields of two types that are one message in two versions.
 *
 * Fields pair by name, or by the newer one's (parley.field).from; numbers mean nothing. Then each
 * field of the source gets one op, and each field of the target one op in the table for carriers
 * ("restore"), so that no number of either is left to chance:
 *
 *   paired, nothing changes      VERBATIM or RENUMBER         in a carrier: SKIP
 *   paired, a value changes      SCALAR, with a slot if it may lose something
 *                                                             GUARDED if it lost something there
 *   split, moved, dropped        rules.c, moves.c
 *   wrapped, picked, regrouped   shapes.c
 *   the source's alone           CARRY
 *   the target's alone           ALIEN: an unknown field of that number must not become it
 *                                                             VERBATIM: here it comes back
 *
 * A pair whose fields are the same under the same numbers has no use for a carrier, and no op for
 * one: such a table may turn out VERBATIM.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/nearest.h"

#define EMIT_MAX 256

size_t field_index(const struct schema_message *message, const struct schema_field *field)
{
    return (size_t)(field - message->fields);
}

static struct program_op *append(struct pairing *pairing, struct program_op **ops, size_t *count,
                                 size_t *capacity, struct program_op op)
{
    static _Thread_local struct program_op nowhere;
    if (*count == *capacity) {
        size_t more = 2 * *capacity + 16;
        struct program_op *grown = realloc(*ops, more * sizeof(*grown));
        if (!grown) {
            pairing->compiler->builder.error = -ENOMEM;
            return &nowhere;
        }
        *ops = grown;
        *capacity = more;
    }
    (*ops)[*count] = op;
    return &(*ops)[(*count)++];
}

struct program_op *pairing_op(struct pairing *pairing, struct program_op op)
{
    return append(pairing, &pairing->ops, &pairing->op_count, &pairing->op_capacity, op);
}

struct program_op *pairing_restore(struct pairing *pairing, struct program_op op)
{
    return append(pairing, &pairing->restore, &pairing->restore_count, &pairing->restore_capacity,
                  op);
}

struct program_op *pairing_find(struct pairing *pairing, uint32_t number)
{
    for (size_t i = 0; i < pairing->op_count; i++)
        if (pairing->ops[i].number == number)
            return &pairing->ops[i];
    return NULL;
}

int pairing_slot(struct pairing *pairing, uint16_t *ret_slot)
{
    if (pairing->slot_count == PROGRAM_SLOT_MAX)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s: more than %d fields with rules; divide the message",
                         pairing->newer->name, PROGRAM_SLOT_MAX);
    *ret_slot = (uint16_t)pairing->slot_count++;
    return 0;
}

int pairing_emit(struct pairing *pairing, struct program_emit emit)
{
    if (pairing->emit_count == EMIT_MAX)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s: more than %d fields with rules; divide the message",
                         pairing->newer->name, EMIT_MAX);
    if (emit.kind == EMIT_LOST || emit.kind == EMIT_DROPPED || emit.kind == EMIT_JOIN ||
        emit.kind == EMIT_PICK || emit.kind == EMIT_UNWRAP || emit.kind == EMIT_ONEOF ||
        emit.kind == EMIT_UNWRAP_EACH || emit.kind == EMIT_ENTRIES || emit.kind == EMIT_UNUSUAL ||
        (emit.kind == EMIT_CONVERT && !(emit.flags & EMIT_LOSSY)))
        pairing->compiler->carries = true;
    pairing->emits[pairing->emit_count++] = emit;
    return 0;
}

struct program_emit pairing_emit_default(enum emit kind, uint16_t slot,
                                         const struct schema_field *target, enum kind written)
{
    return (struct program_emit){
        .kind = (uint8_t)kind,
        .written = (uint8_t)written,
        .required = PROGRAM_REQUIRED_NONE,
        .slot = slot,
        .tag = target->number << 3 | (uint32_t)program_wire_type(written),
        .table = PROGRAM_NONE,
        .template = PROGRAM_NONE,
        .number = target->number,
    };
}

uint8_t pairing_required(const struct pairing *pairing, const struct schema_field *target)
{
    if (!target->required)
        return PROGRAM_REQUIRED_NONE;
    uint8_t bit = 0;
    for (const struct schema_field *field = pairing->target->fields; field < target; field++)
        bit += field->required;
    return bit;
}

static int field_error(const struct pairing *pairing, const struct schema_field *source,
                       const struct schema_field *target, const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL, "%s.%s and %s.%s: %s",
                     pairing->source->name, source->name, pairing->target->name, target->name,
                     what);
}

/* ---- Which field is which ---- */

static int check_numbers(const struct pairing *pairing, const struct schema_message *message)
{
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        if (field->number >= CARRIER_NUMBER)
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: number %u is Parley's (%u and up); choose another",
                             message->name, field->name, field->number, CARRIER_NUMBER);
        if (compile_kind(field) == KIND_COUNT)
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: groups cannot be translated; use a message", message->name,
                             field->name);
    }
    return 0;
}

/* A rule needs the field @name of the version before, which there is not: fails, with the nearest.
 */
static int no_such_field(struct pairing *pairing, const struct schema_field *newer,
                         const char *name)
{
    const struct schema_message *older = pairing->older;
    _cleanup_(freep) const char **names = calloc(older->field_count + 1, sizeof(*names));
    for (size_t i = 0; names && i < older->field_count; i++)
        names[i] = older->fields[i].name;
    const char *near = names ? nearest(name, names, older->field_count) : NULL;
    return error_set(pairing->compiler->error, -EINVAL,
                     "%s.%s: (parley.field)%s: %s has no field \"%s\"%s%s%s; name one that it has, "
                     "or take the rule away if the field is new",
                     pairing->newer->name, newer->name, newer->rule->from ? ".from" : "",
                     older->name, name, near ? " (did you mean \"" : "", near ? near : "",
                     near ? "\"?)" : "");
}

static int pair_by_name(struct pairing *pairing)
{
    bool to_newer = pairing->newer == pairing->target;
    for (size_t i = 0; i < pairing->newer->field_count; i++) {
        const struct schema_field *newer = &pairing->newer->fields[i];
        const Parley__FieldRule *rule = newer->rule;
        const char *name = rule && rule->from ? rule->from : newer->name;
        const struct schema_field *older = schema_field_find(pairing->older, name);
        if (!older && rule && !rules_is_news(rule))
            return no_such_field(pairing, newer, name);
        if (!older)
            continue;
        const struct schema_field *source = to_newer ? older : newer;
        const struct schema_field *target = to_newer ? newer : older;
        size_t s = field_index(pairing->source, source), t = field_index(pairing->target, target);
        if (pairing->target_of[s] || pairing->source_of[t])
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: %s.%s is paired with another field already; only one may come "
                             "from it (a field of that name needs no rule)",
                             pairing->newer->name, newer->name, pairing->older->name, older->name);
        pairing->target_of[s] = target;
        pairing->source_of[t] = source;
    }
    return 0;
}

static size_t oneof_size(const struct schema_message *message, int32_t oneof)
{
    size_t count = 0;
    for (size_t i = 0; i < message->field_count && oneof >= 0; i++)
        count += message->fields[i].oneof == oneof;
    return count;
}

bool field_shares_oneof(const struct schema_message *message, const struct schema_field *field)
{
    return oneof_size(message, field->oneof) > 1;
}

/* ---- Fields that pair ---- */

static bool is_integer(enum kind kind)
{
    return kind <= KIND_SFIXED64 && kind != KIND_FLOAT && kind != KIND_BOOL && kind != KIND_ENUM;
}

static bool is_text(enum kind kind)
{
    return kind == KIND_STRING || kind == KIND_BYTES;
}

static enum kind as_integer(enum kind kind)
{
    return kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
}

static const Parley__FieldRule *rule_of(const struct pairing *pairing,
                                        const struct schema_field *source,
                                        const struct schema_field *target)
{
    return pairing->newer == pairing->target ? target->rule : source->rule;
}

static int add_factor(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target, uint64_t factor, struct enum_map *ret_map)
{
    bool up = pairing->newer == pairing->target;
    if (!is_integer(compile_kind(source)) || !is_integer(compile_kind(target)))
        return field_error(pairing, source, target,
                           "(parley.field).multiply is for integers; remove it");
    if (factor == 0 || factor > INT64_MAX)
        return field_error(pairing, source, target,
                           "(parley.field).multiply must be 1 to 2^63 - 1");
    uint32_t index = builder_add(&pairing->compiler->builder, SECTION_CONVERT, 1);
    struct program_convert *convert =
        builder_at(&pairing->compiler->builder, SECTION_CONVERT, index);
    *convert = (struct program_convert){
        .mode = up ? CONVERT_MULTIPLY : CONVERT_DIVIDE,
        .map = PROGRAM_NONE,
        .factor = factor,
    };
    *ret_map = (struct enum_map){index, !up, up};
    return 0;
}

/* The op of a value that pairs, and in which directions it may lose something. */
static int plan_value(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target, struct program_op *op,
                      struct enum_map *map)
{
    enum kind from = compile_kind(source), to = compile_kind(target);
    const Parley__FieldRule *rule = rule_of(pairing, source, target);
    if (rule && rule->has_multiply)
        return add_factor(pairing, source, target, rule->multiply, map);
    if (from == KIND_ENUM && to == KIND_ENUM)
        return rules_enum(pairing, source, target, false, map);
    if (from == to || (is_integer(from) && is_integer(to)))
        return 0;
    if (is_text(from) && is_text(to)) {
        op->kind = KIND_STRING; /* in one version at least */
        return 0;
    }
    return field_error(pairing, source, target,
                       "the type is another; say that the value is converted, [(parley.field) = "
                       "{ convert {} }], or give the new field another name and drop the old one");
}

static int pair_value(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target)
{
    enum kind from = compile_kind(source), to = compile_kind(target);
    struct program_op op = program_op_default(source->number, from);
    struct enum_map map = {.convert = PROGRAM_NONE};
    int r = plan_value(pairing, source, target, &op, &map);
    if (r < 0)
        return r;
    bool alone = !source->repeated && !field_shares_oneof(pairing->source, source);
    if (map.later || (!alone && (map.lost || map.lost_back)))
        return rules_later(pairing, source, target, map.convert);
    const Parley__FieldRule *rule = rule_of(pairing, source, target);
    bool lossy = rule && rule->lossy;
    pairing->compiler->loses |= lossy;
    op.flags |= source->repeated ? OP_REPEATED : 0;
    op.written = (uint8_t)to;
    op.tag = target->number << 3 | (uint32_t)program_wire_type(to);
    op.required = pairing_required(pairing, target);
    op.convert = map.convert;
    if (alone && source->presence && !target->presence) {
        op.flags |= OP_OWN_PRESENCE;
        map.lost = true;
    }
    /* The other way round a default says nothing, and is left out; only the last one counts. */
    bool waits = alone && target->presence && !source->presence;
    map.lost_back |= waits;
    if (waits) {
        op.action = ACTION_SLOT;
        op.kind = (uint8_t)(is_text(from) ? op.kind : as_integer(from));
        op.written = (uint8_t)as_integer(to);
    } else if (!is_text(from) && (map.convert != PROGRAM_NONE || from != to ||
                                  (alone && (map.lost || map.lost_back)))) {
        op.action = ACTION_SCALAR;
        op.kind = (uint8_t)as_integer(from);
        op.written = (uint8_t)as_integer(to);
    } else {
        op.action = source->number == target->number ? ACTION_VERBATIM : ACTION_RENUMBER;
    }
    struct program_op back = compile_check_op(pairing->compiler, target);
    back.action = ACTION_SKIP;
    if (alone && (map.lost || map.lost_back)) {
        r = pairing_slot(pairing, &op.slot);
        if (r < 0)
            return r;
    }
    if (waits) {
        struct program_emit emit =
            pairing_emit_default(EMIT_MOVE, op.slot, target, (enum kind)op.written);
        emit.required = op.required;
        op.required = PROGRAM_REQUIRED_NONE;
        r = pairing_emit(pairing, emit);
    }
    if (r == 0 && alone && map.lost && !lossy) {
        struct program_emit emit = pairing_emit_default(EMIT_LOST, op.slot, target, to);
        r = pairing_emit(pairing, emit);
    }
    if (alone && map.lost_back) {
        back.action = ACTION_GUARDED;
        back.slot = op.slot;
        back.written = op.kind;
        back.tag = target->number << 3 | (uint32_t)program_wire_type((enum kind)op.kind);
        back.flags |= target->presence ? OP_OWN_PRESENCE : 0;
        back.flags |= source->presence ? OP_TELLS : 0;
    }
    pairing_op(pairing, op);
    pairing_restore(pairing, back);
    return r;
}

static int pair_message(struct pairing *pairing, const struct schema_field *source,
                        const struct schema_field *target)
{
    if (compile_kind(source) != KIND_MESSAGE || compile_kind(target) != KIND_MESSAGE)
        return field_error(
            pairing, source, target,
            "a message and a plain value; add (parley.field).split, merge, wrap or unwrap, or give "
            "the new field another name");
    if (!compile_types_pair(pairing->compiler, source->message, target->message))
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s and %s.%s: %s and %s are not versions of one message; if they are, "
                         "set (parley.message).from on the newer one",
                         pairing->source->name, source->name, pairing->target->name, target->name,
                         source->message->name, target->message->name);
    struct program_op op = program_op_default(source->number, KIND_MESSAGE);
    op.action = ACTION_MESSAGE;
    op.tag = target->number << 3 | WIRE_BYTES;
    op.flags |= source->repeated ? OP_REPEATED : 0;
    op.required = pairing_required(pairing, target);
    op.table = compile_table(pairing->compiler, source->message, target->message);
    pairing_op(pairing, op);
    struct program_op back = compile_check_op(pairing->compiler, target);
    back.action = ACTION_SKIP;
    pairing_restore(pairing, back);
    return 0;
}

static bool is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

static int pair_field(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target)
{
    const Parley__FieldRule *rule = rule_of(pairing, source, target);
    int r = rules_check(pairing, pairing->newer == pairing->target ? target : source);
    if (r < 0)
        return r;
    if (rule && (rule->split || rule->merge))
        return rules_split(pairing, source, target);
    if (rule && rules_is_shape(rule))
        return rules_shape(pairing, source, target);
    if (source->repeated != target->repeated)
        return field_error(
            pairing, source, target,
            "repeated in one version and singular in the other; say which element it "
            "is with (parley.field).pick, or give the new field another name");
    if (source->default_value || target->default_value) {
        const char *a = source->default_value ? source->default_value : "";
        const char *b = target->default_value ? target->default_value : "";
        if (strcmp(a, b) != 0)
            return field_error(pairing, source, target,
                               "the defaults differ, so that absence would change its meaning; "
                               "keep the default");
    }
    if (is_map(source) && is_map(target)) {
        bool done;
        r = rules_map_values(pairing, source, target, &done);
        if (r < 0 || done)
            return r;
    }
    bool linear = rule && rule->has_multiply && !source->message &&
                  (source->repeated || field_shares_oneof(pairing->source, source));
    if (rule && (rule->convert || linear))
        return rules_convert(pairing, source, target);
    if (source->message || target->message)
        return pair_message(pairing, source, target);
    return pair_value(pairing, source, target);
}

/* ---- Fields that one version has alone ---- */

static int fill_rest(struct pairing *pairing)
{
    struct compiler *compiler = pairing->compiler;
    for (size_t i = 0; i < pairing->source->field_count; i++) {
        const struct schema_field *field = &pairing->source->fields[i];
        if (pairing->source_done[i] || pairing->target_of[i])
            continue;
        struct program_op op = compile_check_op(compiler, field);
        op.action = ACTION_CARRY;
        pairing_op(pairing, op);
        compiler->carries = true;
    }
    for (size_t i = 0; i < pairing->target->field_count; i++) {
        const struct schema_field *field = &pairing->target->fields[i];
        if (!schema_field_number(pairing->source, field->number)) {
            struct program_op op = program_op_default(field->number, KIND_BYTES);
            op.action = ACTION_ALIEN;
            pairing_op(pairing, op);
        }
        if (pairing->target_done[i] || pairing->source_of[i])
            continue;
        if (field->required)
            return error_set(compiler->error, -EINVAL,
                             "%s.%s: required, and %s has nothing that it could come from; make it "
                             "optional, or name a field with (parley.field).from",
                             pairing->target->name, field->name, pairing->source->name);
        pairing_restore(pairing, compile_check_op(compiler, field));
    }
    return 0;
}

/* ---- The table ---- */

/* The same fields under the same numbers: nothing to carry, now or on the way back. */
static bool is_plain(const struct pairing *pairing)
{
    if (pairing->emit_count > 0 || pairing->slot_count > 0 ||
        pairing->source->field_count != pairing->target->field_count)
        return false;
    for (size_t i = 0; i < pairing->op_count; i++) {
        const struct program_op *op = &pairing->ops[i];
        if (op->tag != (op->number << 3 | (uint32_t)op->wire) ||
            (op->action != ACTION_VERBATIM && op->action != ACTION_MESSAGE))
            return false;
    }
    return true;
}

/* So that a member that waits can be told from one that another has replaced. */
static void set_oneofs(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->op_count; i++) {
        const struct schema_field *field =
            schema_field_number(pairing->source, pairing->ops[i].number);
        if (field && field_shares_oneof(pairing->source, field))
            pairing->ops[i].oneof = (uint16_t)(field->oneof + 1);
    }
}

/* A member that waits may come to nothing, if its enum is closed. Then what came before it must not
 * be what the oneof holds. */
static void set_yields(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->op_count; i++) {
        const struct program_op *later = &pairing->ops[i];
        if (later->action != ACTION_LATER || later->oneof == 0 || later->kind != KIND_ENUM)
            continue;
        for (size_t j = 0; j < pairing->op_count; j++) {
            struct program_op *op = &pairing->ops[j];
            if (op->oneof != later->oneof || op->action == ACTION_LATER)
                continue;
            op->flags |= OP_YIELDS;
            op->later = later->slot;
            if (op->action == ACTION_VERBATIM)
                op->action = ACTION_RENUMBER;
        }
    }
}

/* EMIT_WITHIN has to know which fields say nothing by being there. */
static void mark_plain(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->restore_count && pairing->context; i++) {
        const struct schema_field *field =
            schema_field_number(pairing->target, pairing->restore[i].number);
        if (field && !field->presence && !field->repeated)
            pairing->restore[i].flags |= OP_PLAIN;
    }
}

static void write_table(struct pairing *pairing, uint32_t index)
{
    set_oneofs(pairing);
    set_yields(pairing);
    struct builder *builder = &pairing->compiler->builder;
    uint32_t restore = PROGRAM_NONE;
    if (!is_plain(pairing)) {
        struct program_op open = program_op_default(CARRIER_NUMBER, KIND_BYTES);
        open.action = ACTION_OPEN;
        pairing_op(pairing, open);
        restore = builder_add(builder, SECTION_TABLE, 1);
        struct program_op nested = open;
        nested.action = ACTION_SKIP;
        mark_plain(pairing);
        pairing_restore(pairing, nested);
        builder_set_ops(builder, restore, pairing->restore, pairing->restore_count);
        struct program_table *table = builder_at(builder, SECTION_TABLE, restore);
        table->flags = TABLE_SHARED;
        table->slot_count = pairing->slot_count;
        table->required_count = pairing->required_count;
        table->restore = PROGRAM_NONE;
    }
    builder_set_ops(builder, index, pairing->ops, pairing->op_count);
    uint32_t first = builder_add(builder, SECTION_EMIT, pairing->emit_count);
    if (builder->error)
        return;
    if (pairing->emit_count > 0)
        memcpy(builder_at(builder, SECTION_EMIT, first), pairing->emits,
               pairing->emit_count * sizeof(*pairing->emits));
    struct program_table *table = builder_at(builder, SECTION_TABLE, index);
    table->emit_first = first;
    table->emit_count = (uint32_t)pairing->emit_count;
    table->slot_count = pairing->slot_count;
    table->required_count = pairing->required_count;
    table->source_id = program_type_id(pairing->source->name);
    table->target_id = program_type_id(pairing->target->name);
    table->restore = restore;
}

/* Errors of one field do not keep those of the others from being found. */
static int try_field(struct pairing *pairing, const struct schema_field *source,
                     const struct schema_field *target)
{
    bool up = pairing->newer == pairing->target;
    return compile_go_on(pairing->compiler, pair_field(pairing, source, target),
                         (struct plan_complaint){
                             .newer = pairing->newer,
                             .older = pairing->older,
                             .newer_field = up ? target : source,
                             .older_field = up ? source : target,
                         });
}

static int fill(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->target->field_count; i++)
        pairing->required_count += pairing->target->fields[i].required;
    if (pairing->required_count > PROGRAM_REQUIRED_MAX)
        return error_set(pairing->compiler->error, -EINVAL, "%s: more than %d required fields",
                         pairing->target->name, PROGRAM_REQUIRED_MAX);
    int r = check_numbers(pairing, pairing->source);
    if (r == 0)
        r = check_numbers(pairing, pairing->target);
    if (r == 0)
        r = pair_by_name(pairing);
    if (r == 0)
        r = rules_moves(pairing);
    if (r == 0)
        r = rules_drops(pairing);
    if (r == 0)
        r = rules_news(pairing);
    if (r == 0)
        r = rules_oneofs(pairing);
    size_t complaints = pairing->compiler->complaint_count;
    for (size_t i = 0; i < pairing->source->field_count && r == 0; i++)
        if (pairing->target_of[i] && !pairing->source_done[i])
            r = try_field(pairing, &pairing->source->fields[i], pairing->target_of[i]);
    if (pairing->compiler->complaint_count > complaints)
        return 0; /* the table will not be run */
    if (r == 0)
        r = rules_restores(pairing);
    return r == 0 ? fill_rest(pairing) : r;
}

int pair_fill(struct compiler *compiler, const struct job *job)
{
    struct pairing pairing = {
        .compiler = compiler,
        .context = job->context,
        .source = job->source,
        .target = job->target,
        .newer = compiler->newer_is_target ? job->target : job->source,
        .older = compiler->newer_is_target ? job->source : job->target,
        .target_of = calloc(job->source->field_count + 1, sizeof(*pairing.target_of)),
        .source_of = calloc(job->target->field_count + 1, sizeof(*pairing.source_of)),
        .source_done = calloc(job->source->field_count + 1, sizeof(bool)),
        .target_done = calloc(job->target->field_count + 1, sizeof(bool)),
        .emits = calloc(EMIT_MAX, sizeof(*pairing.emits)),
    };
    int r = -ENOMEM;
    if (pairing.target_of && pairing.source_of && pairing.source_done && pairing.target_done &&
        pairing.emits)
        r = fill(&pairing);
    else
        error_set(compiler->error, r, "out of memory while compiling a plan");
    if (r == 0)
        write_table(&pairing, job->table);
    free(pairing.target_of);
    free(pairing.source_of);
    free(pairing.source_done);
    free(pairing.target_done);
    free(pairing.emits);
    free(pairing.ops);
    free(pairing.restore);
    return r;
}

int pair_fill_same(struct compiler *compiler, const struct job *job)
{
    const struct schema_message *source = job->source, *target = job->target;
    size_t capacity = source->field_count + target->field_count + 1, count = 0;
    _cleanup_(freep) struct program_op *ops = calloc(capacity, sizeof(*ops));
    if (!ops)
        return error_set(compiler->error, -ENOMEM, "out of memory while compiling a plan");
    uint32_t required = 0;
    for (size_t i = 0; i < target->field_count; i++) {
        const struct schema_field *field = &target->fields[i];
        const struct schema_field *other = schema_field_number(source, field->number);
        enum kind kind = compile_kind(field);
        if (kind == KIND_COUNT ||
            (other &&
             (compile_kind(other) != kind || other->repeated != field->repeated ||
              (kind == KIND_MESSAGE && strcmp(other->message->name, field->message->name) != 0))))
            return error_set(compiler->error, -EINVAL,
                             "%s.%s: number %u has another type in the other version of the same "
                             "package (or is a group); types change with a new major version, in a "
                             "new package",
                             target->name, field->name, field->number);
        ops[count] = program_op_default(field->number, kind);
        ops[count].flags |= field->repeated ? OP_REPEATED : 0;
        if (field_shares_oneof(target, field)) /* what it replaces, if it comes in pieces */
            ops[count].oneof = (uint16_t)(field->oneof + 1);
        if (field->required && required == PROGRAM_REQUIRED_MAX)
            return error_set(compiler->error, -EINVAL, "%s: more than %d required fields",
                             target->name, PROGRAM_REQUIRED_MAX);
        if (field->required)
            ops[count].required = (uint8_t)required++;
        if (kind == KIND_MESSAGE) {
            ops[count].action = ACTION_MESSAGE;
            ops[count].table =
                compile_table(compiler, other ? other->message : field->message, field->message);
        }
        count++;
    }
    for (size_t i = 0; i < source->field_count; i++)
        if (!schema_field_number(target, source->fields[i].number) &&
            compile_kind(&source->fields[i]) != KIND_COUNT)
            ops[count++] = compile_check_op(compiler, &source->fields[i]);
    builder_set_ops(&compiler->builder, job->table, ops, count);
    struct program_table *table = builder_at(&compiler->builder, SECTION_TABLE, job->table);
    table->required_count = required;
    table->source_id = program_type_id(source->name);
    table->target_id = program_type_id(target->name);
    table->restore = PROGRAM_NONE;
    return 0;
}
