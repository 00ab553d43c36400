/*
 * Oneofs that do not have the same members in both versions.
 *
 * Nothing has to be written for it. All fields of a type that hang together are found: the members
 * of a oneof, what they pair with, the members of the oneofs that those are in, and so on. Where
 * this is one oneof on each side and all members pair, there is nothing to do. Otherwise they
 * become the members of one emit, which knows of each where it goes and which oneofs it is in
 * (oneof.c). A member that one version has alone belongs to it as well, since setting it there
 * clears the others.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct group {
    struct pairing *pairing;
    bool *source, *target; /* by index of the field: in it */
};

static int member_error(const struct pairing *pairing, const struct schema_message *message,
                        const struct schema_field *field, const char *what)
{
    return error_set(
        pairing->compiler->error, -EINVAL, "%s.%s: its oneof has other members in %s, and it %s",
        message->name, field->name,
        message == pairing->source ? pairing->target->name : pairing->source->name, what);
}

/* Adds the fields of the oneofs of those that are in, and what they pair with on the other side. */
static bool grow(const struct schema_message *message, bool *in,
                 const struct schema_field **other_of, const struct schema_message *other,
                 bool *other_in)
{
    bool grown = false;
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        for (size_t j = 0; j < message->field_count && !in[i] && field->oneof >= 0; j++)
            if (in[j] && message->fields[j].oneof == field->oneof)
                grown = in[i] = true;
        bool *there = in[i] && other_of[i] ? &other_in[field_index(other, other_of[i])] : NULL;
        if (there && !*there)
            grown = *there = true;
    }
    return grown;
}

static void grow_all(struct group *group)
{
    const struct pairing *pairing = group->pairing;
    for (bool grown = true; grown;) {
        grown = grow(pairing->source, group->source, pairing->target_of, pairing->target,
                     group->target);
        grown |= grow(pairing->target, group->target, pairing->source_of, pairing->source,
                      group->source);
    }
}

/* Whether all that is in is one oneof and pairs; *ret_pairs: whether any of it does. */
static bool is_same(const struct schema_message *message, const bool *in,
                    const struct schema_field **other_of, bool *ret_pairs)
{
    int32_t oneof = -1;
    bool same = true, any = false;
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        if (!in[i])
            continue;
        *ret_pairs |= other_of[i] != NULL;
        same = same && other_of[i] && field->oneof >= 0 && (!any || field->oneof == oneof);
        oneof = field->oneof;
        any = true;
    }
    return same;
}

static int check_member(const struct pairing *pairing, const struct schema_field *source,
                        const struct schema_field *target)
{
    bool up = pairing->newer == pairing->target;
    const Parley__FieldRule *rule = up ? target->rule : source->rule;
    const struct schema_field *newer = up ? target : source;
    if (source->repeated || target->repeated)
        return member_error(pairing, pairing->newer, newer,
                            "is repeated in one of them; give the new field another name");
    if (source->required || target->required)
        return member_error(pairing, pairing->newer, newer,
                            "is required in one of them; make it optional");
    if (rule &&
        (rule->split || rule->merge || rule->has_multiply || rule->convert || rules_is_shape(rule)))
        return member_error(pairing, pairing->newer, newer,
                            "has a rule on its value, which cannot be combined with that; give "
                            "the new field another name, or keep the members");
    const char *a = source->default_value ? source->default_value : "";
    const char *b = target->default_value ? target->default_value : "";
    return strcmp(a, b) == 0 ? 0
                             : member_error(pairing, pairing->newer, newer,
                                            "has another default there; keep the default");
}

/* The field's oneof as a number of the emit's own. */
static uint8_t number_of_oneof(const struct schema_message *message,
                               const struct schema_field *field)
{
    return field && field_shares_oneof(message, field) ? (uint8_t)field->oneof : PROGRAM_ONEOF_NONE;
}

static int make_ops(struct group *group, uint16_t slot, struct program_op *ops,
                    struct program_member *members, uint32_t *ret_count)
{
    struct pairing *pairing = group->pairing;
    bool up = pairing->newer == pairing->target;
    uint32_t count = 0;
    for (size_t i = 0; i < pairing->source->field_count; i++) {
        const struct schema_field *source = &pairing->source->fields[i];
        const struct schema_field *target = pairing->target_of[i];
        if (!group->source[i])
            continue;
        if (count == PROGRAM_MEMBER_MAX || pairing->source->oneof_count >= PROGRAM_ONEOF_NONE ||
            pairing->target->oneof_count >= PROGRAM_ONEOF_NONE)
            return member_error(pairing, pairing->source, source,
                                "is one of more than 64 members; keep the members");
        members[count] = (struct program_member){
            .source_oneof = number_of_oneof(pairing->source, source),
            .target_oneof = number_of_oneof(pairing->target, target),
            .flags = (uint8_t)((source->presence ? EMIT_SOURCE_PRESENCE : 0) |
                               (target && target->presence ? EMIT_PRESENCE : 0)),
        };
        struct program_op op = compile_check_op(pairing->compiler, source);
        ops[count] = op;
        ops[count].action = ACTION_CARRY;
        struct shape_place place = {up ? target : source, "(parley.field).from"};
        int r = target ? check_member(pairing, source, target) : 0;
        if (r == 0 && target)
            r = shape_value(pairing, source, target, &place, &ops[count]);
        if (r < 0)
            return r;
        op.action = ACTION_DEFER;
        op.slot = slot;
        pairing_op(pairing, op);
        pairing->source_done[i] = true;
        count++;
    }
    *ret_count = count;
    return 0;
}

static int make(struct group *group)
{
    struct pairing *pairing = group->pairing;
    struct builder *builder = &pairing->compiler->builder;
    struct program_op ops[PROGRAM_MEMBER_MAX];
    struct program_member members[PROGRAM_MEMBER_MAX];
    uint32_t count = 0;
    uint16_t slot = 0;
    int r = pairing_slot(pairing, &slot);
    if (r == 0)
        r = make_ops(group, slot, ops, members, &count);
    if (r < 0)
        return r;
    const struct schema_field *any = NULL;
    for (size_t i = 0; i < pairing->target->field_count; i++) {
        if (!group->target[i])
            continue;
        any = &pairing->target->fields[i];
        struct program_op back = compile_check_op(pairing->compiler, any);
        back.action = ACTION_HELD;
        back.slot = slot;
        pairing_restore(pairing, back);
        pairing->target_done[i] = true;
    }
    struct program_emit emit = pairing_emit_default(EMIT_ONEOF, slot, any, compile_kind(any));
    emit.table = shape_table(pairing, ops, count);
    emit.node = builder_add(builder, SECTION_MEMBER, count);
    if (!builder->error)
        memcpy(builder_at(builder, SECTION_MEMBER, emit.node), members, count * sizeof(members[0]));
    return pairing_emit(pairing, emit);
}

/* The group that a field of the message is in, if it is one and is not done yet. */
static int regroup(struct group *group, bool of_source, size_t index)
{
    struct pairing *pairing = group->pairing;
    memset(group->source, 0, pairing->source->field_count);
    memset(group->target, 0, pairing->target->field_count);
    (of_source ? group->source : group->target)[index] = true;
    grow_all(group);
    bool pairs = false;
    bool same = is_same(pairing->source, group->source, pairing->target_of, &pairs);
    same &= is_same(pairing->target, group->target, pairing->source_of, &pairs);
    return same || !pairs ? 0 : make(group);
}

int rules_oneofs(struct pairing *pairing)
{
    const struct schema_message *source = pairing->source, *target = pairing->target;
    _cleanup_(freep) bool *in = calloc(source->field_count + target->field_count + 1, sizeof(*in));
    if (!in)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    struct group group = {pairing, in, in + source->field_count};
    int r = 0;
    for (size_t i = 0; i < source->field_count && r == 0; i++)
        if (!pairing->source_done[i] && field_shares_oneof(source, &source->fields[i]))
            r = regroup(&group, true, i);
    for (size_t i = 0; i < target->field_count && r == 0; i++)
        if (!pairing->target_done[i] && field_shares_oneof(target, &target->fields[i]))
            r = regroup(&group, false, i);
    return r;
}
