/*
 * Rules on a field's shape: a bare value and a message around it (wrap, unwrap), repeated and
 * singular (pick).
 *
 * Each has two sides, and which of them is the source is all that the direction changes: wrap is
 * unwrap mirrored, a pick goes from the repeated side to the singular one. How a single value goes
 * over (numbers, widths, enums, nested messages) is said by the only op of a small table, which the
 * emit at the end of the message applies to each value. What the emits do: shape.c.
 *
 * The source's field waits for its emit: a singular number or text in its slot, everything else
 * deferred. In the table for carriers the target's field is held for the emit, where the other
 * direction carries something of it.
 */
#include "translate/compile.h"

#include <errno.h>
#include <string.h>

static int shape_error(const struct pairing *pairing, const struct schema_field *source,
                       const struct schema_field *target, const char *rule, const char *what)
{
    const struct schema_field *newer = pairing->newer == pairing->target ? target : source;
    return error_set(pairing->compiler->error, -EINVAL, "%s.%s: %s: %s", pairing->newer->name,
                     newer->name, rule, what);
}

static bool is_integer(enum kind kind)
{
    return kind <= KIND_SFIXED64 && kind != KIND_FLOAT && kind != KIND_BOOL && kind != KIND_ENUM;
}

static bool is_text(enum kind kind)
{
    return kind == KIND_STRING || kind == KIND_BYTES;
}

static int place_error(const struct pairing *pairing, const struct shape_place *place,
                       const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL, "%s%s%s: %s: %s", pairing->newer->name,
                     place->field ? "." : "", place->field ? place->field->name : "", place->rule,
                     what);
}

static const struct schema_field *newer_of(const struct pairing *pairing,
                                           const struct schema_field *source,
                                           const struct schema_field *target)
{
    return pairing->newer == pairing->target ? target : source;
}

/* How one value goes over. It may stand in messages of both sides; no other rule changes it. */
int shape_value(struct pairing *pairing, const struct schema_field *from,
                const struct schema_field *to, const struct shape_place *place,
                struct program_op *ret_op)
{
    enum kind kind = compile_kind(from), written = compile_kind(to);
    struct program_op op = program_op_default(from->number, kind);
    op.tag = to->number << 3 | (uint32_t)program_wire_type(written);
    op.written = (uint8_t)written;
    op.action = ACTION_RENUMBER;
    if (kind == KIND_MESSAGE && written == KIND_MESSAGE) {
        if (!compile_types_pair(pairing->compiler, from->message, to->message))
            return place_error(pairing, place,
                               "its messages are not versions of one; if they are, set "
                               "(parley.message).from on the newer one");
        op.action = ACTION_MESSAGE;
        op.table = compile_table(pairing->compiler, from->message, to->message);
    } else if (kind == KIND_ENUM && written == KIND_ENUM) {
        struct enum_map map = {.convert = PROGRAM_NONE};
        int r = rules_enum(pairing, from, to, true, &map);
        if (r < 0)
            return r;
        op.convert = map.convert;
        op.action = map.convert == PROGRAM_NONE ? ACTION_RENUMBER : ACTION_SCALAR;
    } else if (is_text(kind) && is_text(written)) {
        op.kind = kind == written ? op.kind : KIND_STRING;
    } else if (is_integer(kind) && is_integer(written)) {
        op.action = kind == written ? ACTION_RENUMBER : ACTION_SCALAR;
    } else if (kind != written) {
        return place_error(pairing, place,
                           "no rule converts between the types of its values; keep the type");
    }
    *ret_op = op;
    return 0;
}

uint32_t shape_table(struct pairing *pairing, struct program_op *ops, size_t count)
{
    struct builder *builder = &pairing->compiler->builder;
    uint32_t index = builder_add(builder, SECTION_TABLE, 1);
    builder_set_ops(builder, index, ops, count);
    struct program_table *table = builder_at(builder, SECTION_TABLE, index);
    table->flags = TABLE_SHARED;
    table->restore = PROGRAM_NONE;
    return index;
}

/* The op by which the source's field waits. Its value goes over as @value says. */
static struct program_op waiting_op(const struct pairing *pairing,
                                    const struct schema_field *source,
                                    const struct program_op *value, uint16_t slot)
{
    struct program_op op = compile_check_op(pairing->compiler, source);
    op.slot = slot;
    op.action = ACTION_DEFER;
    if (source->repeated || op.kind == KIND_MESSAGE)
        return op;
    op.action = ACTION_SLOT;
    op.flags |= OP_STRICT;
    op.kind = value->kind;
    op.written = value->written;
    op.convert = value->convert;
    if (op.kind == KIND_FLOAT || op.kind == KIND_DOUBLE) /* their bits */
        op.kind = op.written = op.kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    op.tag = op.number << 3 | (uint32_t)program_wire_type((enum kind)op.written);
    return op;
}

/* In a slot there are bits. */
static struct program_op as_bits(struct program_op op)
{
    if (op.kind == KIND_FLOAT || op.kind == KIND_DOUBLE)
        op.kind = op.written = op.kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    return op;
}

static int add_emit(struct pairing *pairing, enum emit kind, uint8_t flags,
                    const struct schema_field *source, const struct schema_field *target,
                    uint16_t slot, uint32_t table)
{
    enum kind written = compile_kind(target);
    struct program_emit emit = pairing_emit_default(kind, slot, target, written);
    emit.flags = (uint8_t)(flags | (source->presence ? EMIT_SOURCE_PRESENCE : 0) |
                           (target->presence ? EMIT_PRESENCE : 0));
    emit.table = table;
    if (kind == EMIT_PICK || kind == EMIT_UNWRAP || kind == EMIT_UNWRAP_EACH ||
        kind == EMIT_ENTRIES)
        emit.number = source->number;
    return pairing_emit(pairing, emit);
}

/* What no rule on shapes can do. */
static int check_field(const struct pairing *pairing, const struct schema_field *source,
                       const struct schema_field *target, const char *rule)
{
    if (field_shares_oneof(pairing->source, source) || field_shares_oneof(pairing->target, target))
        return shape_error(pairing, source, target, rule,
                           "is not for a field in a oneof with others; take it out of there");
    if (source->required || target->required)
        return shape_error(pairing, source, target, rule,
                           "is not for a required field; make it optional");
    if (source->default_value || target->default_value)
        return shape_error(pairing, source, target, rule,
                           "is not for a field with a default of its own; remove the default");
    return 0;
}

/* ---- Pick ---- */

static bool is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

static int check_no_map(const struct pairing *pairing, const struct schema_field *source,
                        const struct schema_field *target, const char *rule)
{
    int r = check_field(pairing, source, target, rule);
    if (r == 0 && (is_map(source) || is_map(target)))
        return shape_error(pairing, source, target, rule,
                           "is not for a map; use (parley.field).entries");
    return r;
}

static int rules_pick(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target, Parley__Pick pick)
{
    int r = check_no_map(pairing, source, target, "(parley.field).pick");
    if (r < 0)
        return r;
    if (source->repeated == target->repeated)
        return shape_error(pairing, source, target, "(parley.field).pick",
                           "is for a field that is repeated in one of the versions only; remove "
                           "it");
    struct program_op value;
    struct shape_place place = {newer_of(pairing, source, target), "(parley.field).pick"};
    uint16_t slot = 0;
    r = shape_value(pairing, source, target, &place, &value);
    if (r == 0)
        r = pairing_slot(pairing, &slot);
    if (r < 0)
        return r;
    uint8_t flags = pick == PARLEY__PICK__PICK_LAST   ? EMIT_LAST
                    : pick == PARLEY__PICK__PICK_ONLY ? EMIT_ONLY
                                                      : 0;
    struct program_op back = compile_check_op(pairing->compiler, target);
    pairing_op(pairing, waiting_op(pairing, source, &value, slot));
    if (source->repeated) {
        back.action = ACTION_SKIP;
        pairing_restore(pairing, back);
        return add_emit(pairing, EMIT_PICK, flags, source, target, slot,
                        shape_table(pairing, &value, 1));
    }
    back.action = ACTION_HELD;
    back.flags |= OP_GATHERED | OP_OWN_PRESENCE;
    back.slot = slot;
    if (value.kind != KIND_MESSAGE) { /* an only element that was the default */
        back.action = ACTION_GUARDED;
        value = as_bits(value);
    }
    pairing_restore(pairing, back);
    return add_emit(pairing, EMIT_UNPICK, flags, source, target, slot,
                    shape_table(pairing, &value, 1));
}

/* ---- Wrap ---- */

static int find_inside(const struct pairing *pairing, const struct schema_field *source,
                       const struct schema_field *target, const char *rule,
                       const struct schema_field *message, const char *name,
                       const struct schema_field **ret_inside)
{
    if (!message->message)
        return shape_error(pairing, source, target, rule,
                           strcmp(rule, "(parley.field).wrap") == 0
                               ? "is for a field that is a message now; for the other "
                                 "way round write unwrap"
                               : "is for a field that was a message before; for the "
                                 "other way round write wrap");
    const struct schema_field *inside = schema_field_find(message->message, name);
    if (!inside)
        return shape_error(pairing, source, target, rule,
                           "names no field of the message; name the one that holds the value");
    if (inside->repeated || field_shares_oneof(message->message, inside) || inside->default_value)
        return shape_error(pairing, source, target, rule,
                           "the field that holds the value must be singular, outside of oneofs, "
                           "and without a default of its own");
    for (size_t i = 0; i < message->message->field_count; i++)
        if (message->message->fields[i].required)
            return shape_error(pairing, source, target, rule,
                               "the message has required fields; make them optional");
    *ret_inside = inside;
    return 0;
}

static int rules_wrap(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target, const Parley__FieldRule *rule)
{
    const char *what = rule->wrap ? "(parley.field).wrap" : "(parley.field).unwrap";
    bool newer_is_target = pairing->newer == pairing->target;
    bool to_message = newer_is_target == (rule->wrap != NULL);
    const struct schema_field *message = to_message ? target : source, *inside = NULL;
    int r = check_no_map(pairing, source, target, what);
    if (r == 0)
        r = find_inside(pairing, source, target, what, message,
                        rule->wrap ? rule->wrap : rule->unwrap, &inside);
    if (r < 0)
        return r;
    if (source->repeated != target->repeated)
        return shape_error(pairing, source, target, what,
                           "is for a field that is repeated in both versions or in neither");
    struct program_op value;
    uint16_t slot = 0;
    struct shape_place place = {newer_of(pairing, source, target), what};
    r = shape_value(pairing, to_message ? source : inside, to_message ? inside : target, &place,
                    &value);
    if (r == 0)
        r = pairing_slot(pairing, &slot);
    if (r < 0)
        return r;
    uint8_t flags = inside->presence ? EMIT_INNER_PRESENCE : 0;
    struct program_op back = compile_check_op(pairing->compiler, target);
    pairing_op(pairing, waiting_op(pairing, source, &value, slot));
    back.action = ACTION_SKIP;
    if (to_message) {
        back.action = ACTION_HELD;
        back.flags |= OP_GATHERED;
        back.slot = slot;
        value = as_bits(value);
    }
    pairing_restore(pairing, back);
    enum emit kind = source->repeated ? to_message ? EMIT_WRAP_EACH : EMIT_UNWRAP_EACH
                     : to_message     ? EMIT_WRAP
                                      : EMIT_UNWRAP;
    return add_emit(pairing, kind, flags, source, target, slot, shape_table(pairing, &value, 1));
}

/* ---- Entries ---- */

static int find_part(const struct pairing *pairing, const struct schema_field *source,
                     const struct schema_field *target, const struct schema_field *list,
                     const char *name, const struct schema_field **ret_part)
{
    static const char rule[] = "(parley.field).entries";
    *ret_part = name ? schema_field_find(list->message, name) : NULL;
    if (!*ret_part)
        return shape_error(pairing, source, target, rule,
                           "needs the name of a field of the repeated message as `key`, and of "
                           "another as `value`, if it is not the whole message; correct it");
    if ((*ret_part)->repeated || (*ret_part)->default_value || (*ret_part)->required ||
        field_shares_oneof(list->message, *ret_part))
        return shape_error(pairing, source, target, rule,
                           "the fields for key and value must be singular, not required, outside "
                           "of oneofs, and without defaults of their own");
    return 0;
}

static int check_entries(const struct pairing *pairing, const struct schema_field *source,
                         const struct schema_field *target)
{
    static const char rule[] = "(parley.field).entries";
    const struct schema_field *list = is_map(source) ? target : source;
    int r = check_field(pairing, source, target, rule);
    if (r < 0)
        return r;
    if (is_map(source) == is_map(target) || !list->message || !list->repeated)
        return shape_error(pairing, source, target, rule,
                           "is for a field that is a map in one version and a repeated message in "
                           "the other; remove it");
    for (size_t i = 0; i < list->message->field_count; i++)
        if (list->message->fields[i].required)
            return shape_error(pairing, source, target, rule,
                               "the message has required fields; make them optional");
    return 0;
}

/* How the value goes over, and whether the target can tell that it is not there. */
static int entries_value(struct pairing *pairing, const struct schema_field *source,
                         const struct schema_field *target, const struct shape_place *place,
                         const char *name, const struct schema_field *key,
                         struct program_op *ret_op, bool *ret_presence)
{
    bool from_map = is_map(source);
    const struct schema_field *list = from_map ? target : source, *value = NULL;
    const struct schema_field *map = &(from_map ? source : target)->message->fields[1];
    if (name) {
        int r = find_part(pairing, source, target, list, name, &value);
        if (r == 0 && key == value)
            r = shape_error(pairing, source, target, place->rule,
                            "key and value are one field; name two");
        *ret_presence = r == 0 && value->presence;
        return r < 0 ? r
                     : shape_value(pairing, from_map ? map : value, from_map ? value : map, place,
                                   ret_op);
    }
    *ret_presence = true;
    const struct schema_message *from = from_map ? map->message : list->message;
    const struct schema_message *to = from_map ? list->message : map->message;
    if (!map->message || !compile_types_pair(pairing->compiler, from, to))
        return shape_error(pairing, source, target, place->rule,
                           "without a `value` the map's messages must be versions of the repeated "
                           "ones; name a `value`, or set (parley.message).from");
    *ret_op = program_op_default(from_map ? map->number : WIRE_NUMBER_MAX, KIND_MESSAGE);
    ret_op->tag = (from_map ? WIRE_NUMBER_MAX : map->number) << 3 | WIRE_BYTES;
    ret_op->action = ACTION_MESSAGE;
    ret_op->table = moves_without_key(pairing->compiler, from, to, key, !from_map);
    return 0;
}

static int rules_entries(struct pairing *pairing, const struct schema_field *source,
                         const struct schema_field *target, const Parley__Entries *entries)
{
    static const char rule[] = "(parley.field).entries";
    bool from_map = is_map(source);
    const struct schema_field *list = from_map ? target : source, *key = NULL;
    const struct schema_field *map = (from_map ? source : target)->message->fields;
    uint16_t slot = 0;
    struct program_op ops[2] = {0};
    bool presence = false;
    struct shape_place place = {newer_of(pairing, source, target), rule};
    int r = check_entries(pairing, source, target);
    if (r == 0)
        r = find_part(pairing, source, target, list, entries->key, &key);
    if (r == 0)
        r = shape_value(pairing, from_map ? &map[0] : key, from_map ? key : &map[0], &place,
                        &ops[0]);
    if (r == 0)
        r = entries_value(pairing, source, target, &place, entries->value, key, &ops[1], &presence);
    if (r == 0)
        r = pairing_slot(pairing, &slot);
    if (r < 0)
        return r;
    uint8_t flags =
        (uint8_t)((from_map ? EMIT_FROM_MAP : 0) |
                  (entries->has_unique && entries->unique ? EMIT_ONLY : 0) |
                  (key->presence ? EMIT_KEY_PRESENCE : 0) | (presence ? EMIT_INNER_PRESENCE : 0) |
                  (entries->value ? 0 : EMIT_WHOLE));
    struct program_op back = compile_check_op(pairing->compiler, target);
    back.action = ACTION_HELD;
    back.flags |= OP_GATHERED;
    back.slot = slot;
    pairing_op(pairing, waiting_op(pairing, source, &ops[0], slot));
    pairing_restore(pairing, back);
    return add_emit(pairing, EMIT_ENTRIES, flags, source, target, slot,
                    shape_table(pairing, ops, 2));
}

bool rules_is_shape(const Parley__FieldRule *rule)
{
    return rule->wrap || rule->unwrap || rule->entries ||
           (rule->has_pick && rule->pick != PARLEY__PICK__PICK_NONE);
}

int rules_shape(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target)
{
    const Parley__FieldRule *rule = pairing->newer == pairing->target ? target->rule : source->rule;
    const char *name = rule->wrap      ? "(parley.field).wrap"
                       : rule->unwrap  ? "(parley.field).unwrap"
                       : rule->entries ? "(parley.field).entries"
                                       : "(parley.field).pick";
    bool pick = rule->has_pick && rule->pick != PARLEY__PICK__PICK_NONE;
    unsigned rules = (rule->wrap != NULL) + (rule->unwrap != NULL) + pick +
                     (rule->entries != NULL) + rule->has_multiply + (rule->convert != NULL);
    if (rules > 1)
        return shape_error(pairing, source, target, name,
                           "cannot be combined with another rule on the value; use one, and give "
                           "the field another name for the other");
    if (pick)
        return rules_pick(pairing, source, target, rule->pick);
    return rule->entries ? rules_entries(pairing, source, target, rule->entries)
                         : rules_wrap(pairing, source, target, rule);
}
