/*
 * Enum values, in both directions.
 *
 * Values pair by name, without the prefix that all names of their enum share, or by the newer one's
 * (parley.value).from. A newer value that the other version lacks may name a stand-in (`to`): the
 * older side sees that one, and the original is carried along. What has neither:
 *
 *   a number that is free on the other side goes over as it is, as protobuf does with values that
 *   a reader does not know; a number that means something else there must not, and becomes 0, with
 *   the original carried along. A newer value in that position is an error that asks for `to`.
 *
 * The same holds for numbers that the source itself does not know: never a valid wrong value.
 *
 * (parley.enumeration).otherwise and otherwise_before name a value for all of these instead.
 *
 * Closed enums (proto2). A number that a closed source does not declare is no value of the field,
 * and what a closed target does not declare would be none: both are left out there, not 0, which it
 * may not have; the original is carried along.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct values {
    struct pairing *pairing;
    const struct schema_enum *newer, *older;
    size_t newer_prefix, older_prefix;
    const struct schema_enum_value **older_of; /* by index of the newer value; exact */
    const struct schema_enum_value **stand_in; /* by index of the newer value: `to` */
    const struct schema_enum_value **newer_of; /* by index of the older value */
    const struct schema_enum_value *otherwise, *otherwise_before; /* NULL: none */
    bool strict;
};

size_t values_prefix(const struct schema_enum *enumeration)
{
    const char *first = enumeration->values[0].name;
    size_t bytes = strlen(first);
    for (size_t i = 1; i < enumeration->value_count; i++) {
        size_t same = 0;
        while (same < bytes && enumeration->values[i].name[same] == first[same])
            same++;
        bytes = same;
    }
    if (enumeration->value_count < 2)
        return 0;
    while (bytes > 0 && first[bytes - 1] != '_')
        bytes--;
    return bytes;
}

static const struct schema_enum_value *find_value(const struct schema_enum *enumeration,
                                                  size_t prefix, const char *name)
{
    for (size_t i = 0; i < enumeration->value_count; i++)
        if (strcmp(enumeration->values[i].name + prefix, name) == 0)
            return &enumeration->values[i];
    return NULL;
}

const struct schema_enum_value *values_find(const struct schema_enum *enumeration, const char *name)
{
    size_t prefix = values_prefix(enumeration);
    const struct schema_enum_value *value = find_value(enumeration, 0, name);
    return value ? value : find_value(enumeration, prefix, name);
}

static const struct schema_enum_value *find_number(const struct schema_enum *enumeration,
                                                   int32_t number)
{
    for (size_t i = 0; i < enumeration->value_count; i++)
        if (enumeration->values[i].number == number)
            return &enumeration->values[i];
    return NULL;
}

static int value_error(const struct values *values, const struct schema_enum_value *value,
                       const char *rule, const char *name, const char *what)
{
    return error_set(values->pairing->compiler->error, -EINVAL, "%s.%s: %s%s%s%s: %s",
                     values->newer->name, value->name, rule, name ? " \"" : "", name ? name : "",
                     name ? "\"" : "", what);
}

static int enum_error(const struct values *values, const char *rule, const char *name,
                      const char *what)
{
    return error_set(values->pairing->compiler->error, -EINVAL,
                     "%s: (parley.enumeration).%s \"%s\": %s", values->newer->name, rule, name,
                     what);
}

/* A value of the older enum that a rule names: in full, or without the prefix. */
static const struct schema_enum_value *named(const struct values *values, const char *name)
{
    const struct schema_enum_value *value = find_value(values->older, 0, name);
    return value ? value : find_value(values->older, values->older_prefix, name);
}

static int pair_value(struct values *values, size_t index)
{
    const struct schema_enum_value *newer = &values->newer->values[index];
    const char *from = newer->rule ? newer->rule->from : NULL;
    const char *to = newer->rule ? newer->rule->to : NULL;
    const struct schema_enum_value *older =
        from ? named(values, from)
             : find_value(values->older, values->older_prefix, newer->name + values->newer_prefix);
    if (from && !older)
        return value_error(values, newer, "(parley.value).from", from,
                           "the version before has no such value; name one that it has");
    if (to && older)
        return value_error(values, newer, "(parley.value).to", to,
                           "the version before has this value; remove the rule");
    if (to) {
        values->stand_in[index] = named(values, to);
        return values->stand_in[index]
                   ? 0
                   : value_error(values, newer, "(parley.value).to", to,
                                 "the version before has no such value; name one that it has");
    }
    if (!older)
        return 0;
    size_t there = (size_t)(older - values->older->values);
    const struct schema_enum_value *other = values->newer_of[there];
    if (other && other->number != newer->number)
        return value_error(values, newer, "comes from", older->name,
                           "which another value comes from already; only one may");
    values->older_of[index] = older;
    if (!other)
        values->newer_of[there] = newer;
    return 0;
}

/* What a number of the newer (older) enum is on the other side: by any name that has a pair. */
static const struct schema_enum_value *exact(const struct values *values, bool up, int32_t number)
{
    const struct schema_enum *from = up ? values->older : values->newer;
    const struct schema_enum_value **pairs = up ? values->newer_of : values->older_of;
    for (size_t i = 0; i < from->value_count; i++)
        if (from->values[i].number == number && pairs[i])
            return pairs[i];
    return NULL;
}

static const struct schema_enum_value *stands_in(const struct values *values, int32_t number)
{
    for (size_t i = 0; i < values->newer->value_count; i++)
        if (values->newer->values[i].number == number && values->stand_in[i])
            return values->stand_in[i];
    return NULL;
}

/* What stands for all that has nothing else there. */
static const struct schema_enum_value *otherwise(const struct values *values, bool up)
{
    return up ? values->otherwise : values->otherwise_before;
}

/* Whether a number that neither declares is not mapped there, and on the way back is. */
static bool is_one_way(const struct values *values, bool up)
{
    return !values->strict && !otherwise(values, up) && otherwise(values, !up);
}

/* How one number goes over. */
static int map_number(const struct values *values, bool up, const struct schema_enum_value *value,
                      struct program_pair *ret_pair)
{
    const struct schema_enum *other = up ? values->newer : values->older;
    const struct schema_enum_value *pair = exact(values, up, value->number);
    *ret_pair = (struct program_pair){value->number, value->number, 0};
    if (pair) {
        ret_pair->target = pair->number;
        return 0;
    }
    pair = up ? NULL : stands_in(values, value->number);
    pair = pair ? pair : otherwise(values, up);
    bool taken = find_number(other, value->number) != NULL;
    if (!pair && other->closed && !values->strict) {
        ret_pair->flags = PAIR_LOST | PAIR_ABSENT;
        return 0;
    }
    if (!pair && !taken) {
        ret_pair->flags = values->strict ? 0 : PAIR_LOST;
        return 0;
    }
    if (!pair && !up)
        return value_error(
            values, value, "its number means another value in the version before", NULL,
            "name the value that stands for it there, [(parley.value).to = \"...\"], or for all "
            "of them, (parley.enumeration).otherwise_before");
    if (values->strict)
        return error_set(
            values->pairing->compiler->error, -EINVAL,
            "%s.%s: has no counterpart in %s, and is used where the original cannot be carried "
            "along (as keys of entries, or among other fields that are moved); leave the field as "
            "it is",
            up ? values->older->name : values->newer->name, value->name, other->name);
    ret_pair->target = pair ? pair->number : 0;
    ret_pair->flags = PAIR_LOST;
    return 0;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct program_pair *x = a, *y = b;
    return x->source < y->source ? -1 : x->source > y->source;
}

/* All numbers that either side declares, in one direction. @pairs has room for them. */
static int map_all(const struct values *values, bool up, struct program_pair *pairs,
                   size_t *ret_count, bool *ret_lost)
{
    const struct schema_enum *from = up ? values->older : values->newer;
    const struct schema_enum *to = up ? values->newer : values->older;
    size_t count = 0;
    *ret_lost = false;
    for (size_t i = 0; i < from->value_count; i++) {
        const struct schema_enum_value *value = &from->values[i];
        if (find_number(from, value->number) != value)
            continue; /* an alias */
        int r = map_number(values, up, value, &pairs[count]);
        if (r < 0)
            return r;
        *ret_lost |= (pairs[count].flags & PAIR_LOST) != 0;
        count++;
    }
    for (size_t i = 0; i < to->value_count; i++) {
        int32_t number = to->values[i].number;
        if (find_number(from, number) || find_number(to, number) != &to->values[i])
            continue;
        /* Unknown here, something there. On its own there, and nothing can be carried: let it pass,
         * as its own version lets it pass when it comes from there. */
        if (values->strict && !exact(values, !up, number))
            continue;
        const struct schema_enum_value *stands = otherwise(values, up);
        uint32_t flags = values->strict ? PAIR_LOST
                         : from->closed ? PAIR_ALIEN
                         : stands       ? PAIR_LOST
                         : to->closed   ? PAIR_LOST | PAIR_ABSENT
                                        : PAIR_LOST;
        pairs[count++] = (struct program_pair){number, stands ? stands->number : 0, flags};
        *ret_lost |= !values->strict && !from->closed;
    }
    *ret_lost |= otherwise(values, up) && !from->closed;
    *ret_lost |= is_one_way(values, up) && !from->closed;
    if (count > 1)
        qsort(pairs, count, sizeof(*pairs), compare_pairs);
    *ret_count = count;
    return 0;
}

static uint32_t map_flags(const struct values *values, bool up)
{
    const struct schema_enum *from = up ? values->older : values->newer;
    const struct schema_enum *to = up ? values->newer : values->older;
    if (values->strict)
        return 0;
    return (from->closed ? MAP_CLOSED : 0) | (is_one_way(values, up) ? MAP_ONE_WAY : 0) |
           (otherwise(values, up) ? MAP_OTHERWISE
            : to->closed          ? MAP_ABSENT
                                  : 0);
}

/* Whether every value, and every number that is none, goes over as it is. */
static bool is_trivial(const struct program_pair *pairs, size_t count, uint32_t flags,
                       bool to_closed)
{
    bool closed = flags & MAP_CLOSED;
    bool trivial = !(flags & (MAP_OTHERWISE | MAP_ONE_WAY)) && closed == to_closed;
    for (size_t i = 0; i < count; i++)
        trivial = trivial && pairs[i].source == pairs[i].target && pairs[i].flags == 0;
    return trivial;
}

static uint32_t add_map(struct builder *builder, const struct program_pair *pairs, size_t count,
                        uint32_t flags, bool to_closed, const struct schema_enum_value *stands)
{
    if (is_trivial(pairs, count, flags, to_closed))
        return PROGRAM_NONE;
    uint32_t first = builder_add(builder, SECTION_PAIR, count);
    uint32_t map = builder_add(builder, SECTION_MAP, 1);
    uint32_t index = builder_add(builder, SECTION_CONVERT, 1);
    if (builder->error)
        return PROGRAM_NONE;
    memcpy(builder_at(builder, SECTION_PAIR, first), pairs, count * sizeof(*pairs));
    *(struct program_map *)builder_at(builder, SECTION_MAP, map) = (struct program_map){
        .pair_first = first,
        .pair_count = (uint32_t)count,
        .flags = flags,
        .otherwise = stands ? stands->number : 0,
    };
    *(struct program_convert *)builder_at(builder, SECTION_CONVERT, index) =
        (struct program_convert){
            .mode = CONVERT_MAP, .map = map, .kind = KIND_ENUM, .written = KIND_ENUM};
    return index;
}

static int check_zero(const struct values *values, const struct schema_field *source,
                      const struct program_pair *pairs, size_t count)
{
    if (source->presence || source->repeated)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (pairs[i].source == 0 && pairs[i].target != 0)
            return error_set(values->pairing->compiler->error, -EINVAL,
                             "%s and %s: the value 0 must mean the same in both versions, for a "
                             "field that is absent has it; keep the meaning of 0",
                             values->newer->name, values->older->name);
    return 0;
}

static int read_rule(struct values *values)
{
    const Parley__EnumRule *rule = values->newer->rule;
    if (!rule)
        return 0;
    if (rule->from && strcmp(rule->from, values->older->local) != 0)
        return enum_error(values, "from", rule->from,
                          "the field had another enum in the version before; name that one");
    if (rule->otherwise)
        values->otherwise = values_find(values->newer, rule->otherwise);
    if (rule->otherwise && !values->otherwise)
        return enum_error(values, "otherwise", rule->otherwise,
                          "this version has no such value; name one that it has");
    if (rule->otherwise_before)
        values->otherwise_before = values_find(values->older, rule->otherwise_before);
    if (rule->otherwise_before && !values->otherwise_before)
        return enum_error(values, "otherwise_before", rule->otherwise_before,
                          "the version before has no such value; name one that it has");
    return 0;
}

int rules_enum(struct pairing *pairing, const struct schema_field *source,
               const struct schema_field *target, bool strict, struct enum_map *ret_map)
{
    bool up = pairing->newer == pairing->target;
    struct values values = {
        .pairing = pairing,
        .newer = up ? target->enumeration : source->enumeration,
        .older = up ? source->enumeration : target->enumeration,
        .strict = strict,
    };
    ret_map->lost = ret_map->lost_back = false;
    size_t most = values.newer->value_count + values.older->value_count;
    values.newer_prefix = values_prefix(values.newer);
    values.older_prefix = values_prefix(values.older);
    _cleanup_(freep) const struct schema_enum_value **table = calloc(3 * most, sizeof(*table));
    _cleanup_(freep) struct program_pair *pairs = calloc(2 * most, sizeof(*pairs));
    if (!table || !pairs)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    values.older_of = table;
    values.stand_in = table + most;
    values.newer_of = table + 2 * most;
    int r = read_rule(&values);
    for (size_t i = 0; i < values.newer->value_count && r == 0; i++)
        r = pair_value(&values, i);
    size_t count = 0, count_back = 0;
    struct program_pair *back = pairs + most;
    if (r == 0)
        r = map_all(&values, !up, back, &count_back, &ret_map->lost_back);
    if (r == 0)
        r = map_all(&values, up, pairs, &count, &ret_map->lost);
    if (r == 0)
        r = check_zero(&values, source, pairs, count);
    if (r == 0)
        ret_map->convert =
            add_map(&pairing->compiler->builder, pairs, count, map_flags(&values, up),
                    !strict && target->enumeration->closed, otherwise(&values, up));
    bool mapped = ret_map->convert != PROGRAM_NONE || pairing->compiler->builder.error;
    bool mapped_back = !is_trivial(back, count_back, map_flags(&values, !up),
                                   !strict && source->enumeration->closed);
    ret_map->lost &= mapped;
    ret_map->later = (mapped || mapped_back || ret_map->lost_back) &&
                     (values.newer->closed || values.older->closed);
    return r;
}
