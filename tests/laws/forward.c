/*
 * The reference model: what a message of one version is in the other, by docs/TRANSLATION.md,
 * worked out field by field on values. It knows nothing of plans, slots or bytes, and does
 * everything the slow way, so that it is right where one can see that it is.
 *
 * It answers for messages without carriers of their own: what the other version sees of them, not
 * what travels along. check.c compares that with what the plan wrote.
 */
#include "laws.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forward.h"

#define PIECE_MAX 8

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static bool is_bytes(int type)
{
    return type == TYPE(STRING) || type == TYPE(BYTES);
}

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

struct values *values_of(const struct tree *tree, const struct schema_field *field)
{
    return &tree->fields[field - tree->type->fields];
}

/* ---- Integers ---- */

__extension__ typedef __int128 wide;

static bool is_unsigned(int type)
{
    return type == TYPE(UINT32) || type == TYPE(UINT64) || type == TYPE(FIXED32) ||
           type == TYPE(FIXED64);
}

static bool fits(int type, wide value)
{
    bool narrow = type == TYPE(INT32) || type == TYPE(SINT32) || type == TYPE(SFIXED32) ||
                  type == TYPE(UINT32) || type == TYPE(FIXED32);
    wide most =
        is_unsigned(type) ? (narrow ? UINT32_MAX : UINT64_MAX) : (narrow ? INT32_MAX : INT64_MAX);
    return value <= most && value >= (is_unsigned(type) ? 0 : -most - 1);
}

/* ---- Enums ---- */

static size_t prefix_of(const struct schema_enum *enumeration)
{
    if (enumeration->value_count < 2)
        return 0;
    size_t bytes = 0;
    for (const char *first = enumeration->values[0].name; first[bytes]; bytes++)
        for (size_t i = 1; i < enumeration->value_count; i++)
            if (enumeration->values[i].name[bytes] != first[bytes])
                goto differs;
differs:
    while (bytes > 0 && enumeration->values[0].name[bytes - 1] != '_')
        bytes--;
    return bytes;
}

/* The value that a rule or a paired name stands for; NULL: none. */
static const struct schema_enum_value *named(const struct schema_enum *enumeration,
                                             const char *name)
{
    size_t prefix = prefix_of(enumeration);
    for (size_t i = 0; i < enumeration->value_count; i++)
        if (same(enumeration->values[i].name, name) ||
            same(enumeration->values[i].name + prefix, name))
            return &enumeration->values[i];
    return NULL;
}

static const struct schema_enum_value *older_of(const struct schema_enum *older,
                                                const struct schema_enum *newer,
                                                const struct schema_enum_value *value)
{
    if (value->rule && value->rule->from)
        return named(older, value->rule->from);
    const char *name = value->name + prefix_of(newer);
    for (size_t i = 0; i < older->value_count; i++)
        if (same(older->values[i].name + prefix_of(older), name))
            return &older->values[i];
    return NULL;
}

static bool declares(const struct schema_enum *enumeration, int64_t number)
{
    for (size_t i = 0; i < enumeration->value_count; i++)
        if (enumeration->values[i].number == number)
            return true;
    return false;
}

static bool has_pair(const struct schema_enum *newer, const struct schema_enum *older, bool up,
                     int64_t number, int64_t *ret_number)
{
    for (size_t i = 0; i < newer->value_count; i++) {
        const struct schema_enum_value *a = &newer->values[i], *b = older_of(older, newer, a);
        if (!b || (up ? b->number : a->number) != number)
            continue;
        *ret_number = up ? a->number : b->number;
        return true;
    }
    return false;
}

/* Whether all values of each have a pair of the same number, and nothing else is said. */
static bool unchanged(const struct schema_enum *newer, const struct schema_enum *older)
{
    int64_t other;
    if (newer->closed != older->closed ||
        (newer->rule && (newer->rule->otherwise || newer->rule->otherwise_before)))
        return false;
    for (size_t i = 0; i < newer->value_count; i++)
        if (!has_pair(newer, older, false, newer->values[i].number, &other) ||
            other != newer->values[i].number)
            return false;
    for (size_t i = 0; i < older->value_count; i++)
        if (!has_pair(newer, older, true, older->values[i].number, &other) ||
            other != older->values[i].number)
            return false;
    return true;
}

/* Whether values of the two have to be carried along, for which a rule on structure has to be done
 * in a step of its own: the other laws hold for that as well. */
static bool needs_carrying(const struct schema_enum *newer, const struct schema_enum *older)
{
    int64_t other;
    for (int up = 0; up < 2; up++) {
        const struct schema_enum *from = up ? older : newer, *to = up ? newer : older;
        for (size_t i = 0; i < from->value_count; i++) {
            const struct schema_enum_value *value = &from->values[i];
            bool stands =
                (!up && value->rule && value->rule->to) ||
                (newer->rule && (up ? newer->rule->otherwise : newer->rule->otherwise_before));
            if (!has_pair(newer, older, up, value->number, &other) &&
                (stands || declares(to, value->number)))
                return true;
        }
    }
    return false;
}

/* @strict: nothing can be carried along. Return: 0; 1: left out; -ERANGE. */
static int forward_enum(const struct model *model, const struct schema_enum *from,
                        const struct schema_enum *to, bool strict, int64_t number,
                        int64_t *ret_number)
{
    const struct schema_enum *newer = model->up ? to : from, *older = model->up ? from : to;
    int64_t other;
    *ret_number = number;
    if (strict && needs_carrying(newer, older))
        return -ENOTSUP;
    bool same_numbers = !strict && unchanged(newer, older);
    if (same_numbers)
        return 0;
    if (!strict && from->closed && !declares(from, number))
        return 1;
    if (has_pair(newer, older, model->up, number, ret_number))
        return 0;
    for (size_t i = 0; i < newer->value_count && !model->up; i++) {
        const struct schema_enum_value *value = &newer->values[i];
        if (value->number == number && value->rule && value->rule->to) {
            *ret_number = named(older, value->rule->to)->number;
            return 0;
        }
    }
    const char *otherwise = newer->rule && !strict ? (model->up ? newer->rule->otherwise
                                                                : newer->rule->otherwise_before)
                                                   : NULL;
    if (otherwise) {
        *ret_number = named(to, otherwise)->number;
        return 0;
    }
    if (!strict && to->closed)
        return 1;
    if (!declares(to, number))
        return 0;
    if (!strict) {
        *ret_number = 0;
        return 0;
    }
    /* A number of the other side's own, which its programs know how to take. */
    return has_pair(newer, older, !model->up, number, &other) ? -ERANGE : 0;
}

/* ---- One value ---- */

static int forward_integer(const struct model *model, const struct field_pair *pair,
                           const struct value *value, struct value *ret_value)
{
    wide number = is_unsigned(pair->from->type) ? (wide)value->bits : (wide)(int64_t)value->bits;
    if (pair->rule && pair->rule->has_multiply)
        number =
            model->up ? number * (wide)pair->rule->multiply : number / (wide)pair->rule->multiply;
    if (!fits(pair->to->type, number))
        return -ERANGE;
    ret_value->bits = (uint64_t)number;
    return 0;
}

/* An entry of a map whose value, of a closed enum, is left out. */
static bool is_left_out(const struct model *model, const struct field_pair *pair,
                        const struct tree *entry)
{
    if (!pair->from->message->map_entry || !pair->to->message->map_entry)
        return false;
    const struct schema_field *from = schema_field_number(pair->from->message, 2);
    const struct schema_field *to = schema_field_number(pair->to->message, 2);
    const struct values *values = values_of(entry, from);
    int64_t number;
    if (!from->enumeration || !to->enumeration)
        return false;
    number = values->count ? (int64_t)values->list[0].bits : from->enumeration->values[0].number;
    return forward_enum(model, from->enumeration, to->enumeration, false, number, &number) == 1;
}

static int forward_value(const struct model *model, const struct field_pair *pair,
                         const struct value *value, struct value *ret_value)
{
    int from = pair->from->type, to = pair->to->type;
    *ret_value = *value;
    if (from == TYPE(MESSAGE) && to == TYPE(MESSAGE) && is_left_out(model, pair, value->tree))
        return 1;
    if (from == TYPE(MESSAGE) && to == TYPE(MESSAGE))
        return forward_tree(model, value->tree, pair->to->message, &ret_value->tree);
    if (from == TYPE(ENUM) && to == TYPE(ENUM)) {
        int64_t number;
        int r = forward_enum(model, pair->from->enumeration, pair->to->enumeration, pair->strict,
                             (int64_t)value->bits, &number);
        ret_value->bits = (uint64_t)number;
        return r;
    }
    if (type_is_integer(from) && type_is_integer(to))
        return forward_integer(model, pair, value, ret_value);
    if (to == TYPE(STRING) && from == TYPE(BYTES) && !text_is_valid(value->data, value->bytes))
        return -EBADMSG;
    return from == to || (is_bytes(from) && is_bytes(to)) ? 0 : -ENOTSUP;
}

static bool is_given(const struct schema_field *field, const struct value *value)
{
    return is_bytes(field->type) ? value->bytes > 0 : value->tree || value->bits != 0;
}

/* All values of a pair of fields, as they are in the target. */
static int forward_values(const struct model *model, const struct field_pair *pair,
                          const struct values *source, struct values *target)
{
    for (size_t i = 0; i < source->count; i++) {
        struct value value;
        int r = forward_value(model, pair, &source->list[i], &value);
        if (r < 0)
            return r;
        if (r == 1)
            continue;
        /* Without presence, a default says nothing. */
        bool alone = !pair->from->repeated && !pair->from->presence && !pair->to->required;
        if (alone && !is_given(pair->from, &value) && !is_given(pair->from, &source->list[i]))
            continue;
        /* That a value has become one is told where nothing else tells it. */
        value.perhaps = alone && !is_given(pair->from, &value);
        *values_add(model->arena, target) = value;
    }
    if (pair->to->required && target->count == 0 && !pair->from->presence)
        *values_add(model->arena, target) = (struct value){0};
    return pair->to->required && target->count == 0 ? -EBADMSG : 0;
}

/* ---- Text ---- */

struct piece {
    const char *literal;
    size_t literal_bytes;
    const struct schema_field *field; /* NULL: the literal at the end */
    const uint8_t *data;
    size_t bytes;
};

static size_t read_pattern(const struct schema_message *type, const char *text,
                           struct piece *ret_pieces)
{
    size_t count = 0;
    while (*text) {
        struct piece *piece = &ret_pieces[count++];
        char name[SCHEMA_NAME_BYTES_MAX + 1] = "";
        *piece = (struct piece){.literal = text, .literal_bytes = strcspn(text, "{")};
        text += piece->literal_bytes;
        if (!*text)
            break;
        size_t bytes = strcspn(++text, "}");
        memcpy(name, text, bytes);
        piece->field = schema_field_find(type, name);
        text += bytes + 1;
    }
    return count;
}

static struct value concatenate(const struct model *model, const struct piece *pieces, size_t count)
{
    struct buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        buffer_add(&text, pieces[i].literal, pieces[i].literal_bytes);
        buffer_add(&text, pieces[i].data, pieces[i].bytes);
    }
    uint8_t *kept = arena_alloc(model->arena, text.bytes);
    if (text.bytes > 0)
        memcpy(kept, text.data, text.bytes);
    struct value value = {.data = kept, .bytes = text.bytes};
    buffer_free(&text);
    return value;
}

/* Fills the pieces with the fields of @tree. Returns how many are not empty. */
static size_t take_fields(const struct tree *tree, struct piece *pieces, size_t count)
{
    size_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        const struct values *values = pieces[i].field ? values_of(tree, pieces[i].field) : NULL;
        if (!values || values->count == 0)
            continue;
        pieces[i].data = values->list[0].data;
        pieces[i].bytes = values->list[0].bytes;
        filled += pieces[i].bytes > 0;
    }
    return filled;
}

/* From the right: every field at least one byte, every literal where it stands last. */
static bool take_apart(const struct value *text, struct piece *pieces, size_t count)
{
    size_t end = text->bytes;
    if (!pieces[count - 1].field) {
        const struct piece *last = &pieces[--count];
        if (end < last->literal_bytes ||
            memcmp(text->data + end - last->literal_bytes, last->literal, last->literal_bytes) != 0)
            return false;
        end -= last->literal_bytes;
    }
    for (size_t i = count - 1; i > 0; i--) {
        size_t length = pieces[i].literal_bytes;
        size_t at = end > length + 1 ? end - length - 1 : 0; /* leaves one byte behind it */
        while (at > 0 && memcmp(text->data + at, pieces[i].literal, length) != 0)
            at--;
        if (at == 0)
            return false;
        pieces[i].data = text->data + at + length;
        pieces[i].bytes = end - at - length;
        end = at;
    }
    size_t head = pieces[0].literal_bytes;
    if (end <= head || memcmp(text->data, pieces[0].literal, head) != 0)
        return false;
    pieces[0].data = text->data + head;
    pieces[0].bytes = end - head;
    return true;
}

static void split(const struct model *model, const struct field_pair *pair,
                  const struct values *source, struct values *target, const Parley__Split *rule)
{
    struct piece pieces[PIECE_MAX];
    if (source->count == 0 || (source->list[0].bytes == 0 && !pair->from->presence))
        return;
    const struct value *text = &source->list[0];
    struct tree *message = tree_new(model->arena, pair->to->message);
    size_t count = read_pattern(message->type, rule->pattern, pieces);
    *values_add(model->arena, target) = (struct value){.tree = message};
    bool apart = take_apart(text, pieces, count);
    for (size_t i = 0; i < count; i++) {
        if (!pieces[i].field)
            continue;
        if (!apart && !same(pieces[i].field->name, rule->otherwise))
            continue;
        *values_add(model->arena, values_of(message, pieces[i].field)) =
            apart ? (struct value){.data = pieces[i].data, .bytes = pieces[i].bytes} : *text;
    }
}

static void join(const struct model *model, const struct field_pair *pair,
                 const struct values *source, struct values *target, const Parley__Split *rule)
{
    struct piece pieces[PIECE_MAX];
    if (source->count == 0)
        return;
    const struct tree *message = source->list[0].tree;
    size_t count = read_pattern(message->type, rule->pattern, pieces), fields = 0;
    size_t filled = take_fields(message, pieces, count);
    struct value text = {0};
    for (size_t i = 0; i < count; i++)
        fields += pieces[i].field != NULL;
    if (filled > 0)
        text = concatenate(model, pieces, count);
    for (size_t i = 0; i < count && filled == 1 && fields > 1; i++)
        if (pieces[i].field && pieces[i].bytes > 0 && same(pieces[i].field->name, rule->otherwise))
            text = (struct value){.data = pieces[i].data, .bytes = pieces[i].bytes};
    if (text.bytes > 0 || pair->to->presence)
        *values_add(model->arena, target) = text;
}

/* ---- Shapes ---- */

static const struct schema_field *inner_of(const struct schema_field *field, const char *name)
{
    return schema_field_find(field->message, name);
}

/* Bare values, each into a message of its own. */
static int put_inside(const struct model *model, const struct field_pair *pair,
                      const struct values *source, struct values *target, const char *name)
{
    struct field_pair inner = {pair->from, inner_of(pair->to, name), NULL, true};
    for (size_t i = 0; i < source->count; i++) {
        const struct value *value = &source->list[i];
        if (!pair->from->repeated && !pair->from->presence && !is_given(pair->from, value))
            continue;
        struct tree *message = tree_new(model->arena, pair->to->message);
        int r = forward_value(model, &inner, value,
                              values_add(model->arena, values_of(message, inner.to)));
        if (r < 0)
            return r;
        values_add(model->arena, target)->tree = message;
    }
    return 0;
}

/* The values in messages. One that tells absence may be missing; else it is its default. */
static int take_out(const struct model *model, const struct field_pair *pair,
                    const struct values *source, struct values *target, const char *name)
{
    struct field_pair inner = {inner_of(pair->from, name), pair->to, NULL, true};
    static const struct value nothing;
    for (size_t i = 0; i < source->count; i++) {
        const struct values *values = values_of(source->list[i].tree, inner.from);
        if (values->count == 0 && inner.from->presence && !pair->to->repeated)
            continue;
        if (values->count == 0 && inner.from->message) { /* stands for none: of nobody's version */
            for (size_t j = 0; j < pair->to->message->field_count; j++)
                if (pair->to->message->fields[j].required)
                    return -ERANGE;
            values_add(model->arena, target)->tree = tree_new(model->arena, pair->to->message);
            continue;
        }
        struct value value = values->count ? values->list[0] : nothing;
        int r = forward_value(model, &inner, &value, values_add(model->arena, target));
        if (r < 0)
            return r;
    }
    return 0;
}

static int forward_pick(const struct model *model, const struct field_pair *pair,
                        const struct values *source, struct values *target)
{
    struct field_pair strict = *pair;
    strict.rule = NULL;
    strict.strict = true;
    if (!pair->from->repeated)
        return forward_values(model, &strict, source, target);
    if (source->count > 1 && pair->rule->pick == PARLEY__PICK__PICK_ONLY)
        return -ERANGE;
    if (source->count == 0)
        return 0;
    size_t index = pair->rule->pick == PARLEY__PICK__PICK_LAST ? source->count - 1 : 0;
    return forward_value(model, &strict, &source->list[index], values_add(model->arena, target));
}

/* ---- Rules of a message ---- */

/* The field at the end of a path, and the message that it is in: made on the way with @make. */
static struct tree *follow(const struct model *model, struct tree *tree, const char *path,
                           bool make, const struct schema_field **ret_field)
{
    for (;;) {
        char name[SCHEMA_NAME_BYTES_MAX + 1] = "";
        size_t bytes = strcspn(path, ".");
        memcpy(name, path, bytes);
        const struct schema_field *field = schema_field_find(tree->type, name);
        if (path[bytes] == '\0') {
            *ret_field = field;
            return tree;
        }
        struct values *values = values_of(tree, field);
        if (values->count == 0 && !make)
            return NULL;
        if (values->count == 0)
            values_add(model->arena, values)->tree = tree_new(model->arena, field->message);
        tree = values->list[0].tree;
        path += bytes + 1;
    }
}

/* Whether the field at the end of a path in a newer message is converted as well. */
static bool is_converted(const struct schema_message *newer, const char *path)
{
    for (;; path += strcspn(path, ".") + 1) {
        char name[SCHEMA_NAME_BYTES_MAX + 1] = "";
        memcpy(name, path, strcspn(path, "."));
        const struct schema_field *field = schema_field_find(newer, name);
        if (path[strlen(name)] == '\0')
            return field->rule && field->rule->convert;
        newer = field->message;
    }
}

static int forward_move(const struct model *model, struct tree *source, struct tree *target,
                        const Parley__Move *move)
{
    struct field_pair pair = {.strict = true};
    if (is_converted(model->up ? target->type : source->type, move->to))
        return -ENOTSUP;
    const char *from = model->up ? move->from : move->to;
    const char *to = model->up ? move->to : move->from;
    const struct tree *at = follow(model, source, from, false, &pair.from);
    if (!at)
        return 0;
    const struct values *values = values_of(at, pair.from);
    if (values->count == 0 || (!pair.from->presence && !is_given(pair.from, &values->list[0])))
        return 0;
    struct tree *place = follow(model, target, to, true, &pair.to);
    return forward_values(model, &pair, values, values_of(place, pair.to));
}

static void restore(const struct model *model, const struct tree *source, struct tree *target,
                    const Parley__Drop *drop)
{
    struct piece pieces[PIECE_MAX];
    size_t count = read_pattern(source->type, drop->restore, pieces);
    if (take_fields(source, pieces, count) == 0)
        return;
    const struct schema_field *field = schema_field_find(target->type, drop->from);
    *values_add(model->arena, values_of(target, field)) = concatenate(model, pieces, count);
}

static int forward_message_rules(const struct model *model, struct tree *source,
                                 struct tree *target)
{
    const Parley__MessageRule *rule = model->up ? target->type->rule : source->type->rule;
    int r = 0;
    for (size_t i = 0; rule && i < rule->n_move && r == 0; i++)
        r = forward_move(model, source, target, rule->move[i]);
    for (size_t i = 0; rule && i < rule->n_drop && !model->up; i++)
        if (rule->drop[i]->restore)
            restore(model, source, target, rule->drop[i]);
    return r;
}

/* ---- Messages ---- */

/* The field of the older message that the newer one's comes from; NULL: none. */
static const struct schema_field *older_field(const struct schema_message *older,
                                              const struct schema_field *newer)
{
    const char *from = newer->rule ? newer->rule->from : NULL;
    return schema_field_find(older, text_or(from, newer->name));
}

static int forward_pair(const struct model *model, const struct field_pair *pair,
                        const struct tree *source, struct tree *target)
{
    const struct values *values = values_of(source, pair->from);
    struct values *result = values_of(target, pair->to);
    if (pair->rule && (pair->rule->convert || pair->rule->entries))
        return -ENOTSUP; /* the other laws hold for it as well */
    if (pair->rule && pair->rule->split) {
        (model->up ? split : join)(model, pair, values, result, pair->rule->split);
        return 0;
    }
    if (pair->rule && pair->rule->merge) {
        (model->up ? join : split)(model, pair, values, result, pair->rule->merge);
        return 0;
    }
    if (pair->rule && pair->rule->wrap)
        return (model->up ? put_inside : take_out)(model, pair, values, result, pair->rule->wrap);
    if (pair->rule && pair->rule->unwrap)
        return (model->up ? take_out : put_inside)(model, pair, values, result, pair->rule->unwrap);
    if (pair->rule && pair->rule->has_pick)
        return forward_pick(model, pair, values, result);
    return forward_values(model, pair, values, result);
}

/* A field that the version before lacks, and says by a rule what it is. */
static void forward_new(const struct model *model, const struct schema_field *field,
                        const struct tree *source, struct values *target)
{
    struct piece pieces[PIECE_MAX];
    struct value value = {0};
    const char *text = field->rule->default_;
    if (field->rule->computed) {
        size_t count = read_pattern(source->type, field->rule->computed, pieces);
        if (take_fields(source, pieces, count) > 0)
            *values_add(model->arena, target) = concatenate(model, pieces, count);
        return;
    }
    if (!text)
        return;
    if (field->type == TYPE(STRING))
        value = (struct value){.data = (const uint8_t *)text, .bytes = strlen(text)};
    else if (field->enumeration)
        value.bits = (uint64_t)(int64_t)named(field->enumeration, text)->number;
    else if (field->type == TYPE(DOUBLE) || field->type == TYPE(FLOAT))
        value.bits =
            field->type == TYPE(DOUBLE) ? UINT64_C(0x401c000000000000) : 0x40e00000; /* 7 */
    else
        value.bits = same(text, "true") ? 1 : strtoull(text, NULL, 0);
    *values_add(model->arena, target) = value;
}

/* The number of the source's field that the target's comes from. */
static uint32_t source_number(const struct model *model, const struct schema_message *source,
                              const struct schema_message *target, const struct schema_field *field)
{
    const struct schema_message *newer = model->up ? target : source;
    const struct schema_message *older = model->up ? source : target;
    for (size_t i = 0; i < newer->field_count; i++) {
        const struct schema_field *mine = &newer->fields[i], *other = older_field(older, mine);
        if (other && (model->up ? mine : other) == field)
            return (model->up ? other : mine)->number;
    }
    return 0;
}

/* Of several that want into one oneof, the one with the highest number of the source wins. */
static void choose_members(const struct model *model, const struct schema_message *source,
                           struct tree *target)
{
    const struct schema_message *type = target->type;
    for (size_t i = 0; i < type->field_count; i++)
        for (size_t j = 0; j < type->field_count; j++)
            if (i != j && type->fields[i].oneof >= 0 &&
                type->fields[i].oneof == type->fields[j].oneof && target->fields[i].count > 0 &&
                target->fields[j].count > 0 &&
                source_number(model, source, type, &type->fields[i]) <
                    source_number(model, source, type, &type->fields[j]))
                target->fields[i].count = 0;
}

/* Whether the oneofs of the two have the same members, or there are none. */
static bool same_members(const struct model *model, const struct field_pair *pair,
                         const struct schema_message *source, const struct schema_message *target)
{
    size_t wanted = 0, pairs = 0, there = 0;
    for (size_t i = 0; i < source->field_count; i++)
        wanted += pair->from->oneof >= 0 && source->fields[i].oneof == pair->from->oneof;
    for (size_t i = 0; i < target->field_count; i++) {
        if (pair->to->oneof < 0 || target->fields[i].oneof != pair->to->oneof)
            continue;
        uint32_t number = source_number(model, source, target, &target->fields[i]);
        const struct schema_field *from = number ? schema_field_number(source, number) : NULL;
        pairs += from && from->oneof >= 0 && from->oneof == pair->from->oneof;
        there++;
    }
    return (wanted <= 1 && there <= 1) || (wanted == pairs && there == pairs);
}

int forward_tree(const struct model *model, struct tree *source,
                 const struct schema_message *target_type, struct tree **ret_target)
{
    struct tree *target = tree_new(model->arena, target_type);
    const struct schema_message *newer = model->up ? target_type : source->type;
    const struct schema_message *older = model->up ? source->type : target_type;
    for (size_t i = 0; i < newer->field_count; i++) {
        const struct schema_field *mine = &newer->fields[i], *other = older_field(older, mine);
        if (!other) {
            if (model->up && mine->rule)
                forward_new(model, mine, source, values_of(target, mine));
            continue;
        }
        struct field_pair pair = {
            .from = model->up ? other : mine,
            .to = model->up ? mine : other,
            .rule = mine->rule,
        };
        pair.strict = !same_members(model, &pair, source->type, target_type);
        bool regrouped = pair.strict;
        int r = forward_pair(model, &pair, source, target);
        if (r < 0) /* what loses in a oneof may have no place */
            return regrouped ? -ENOTSUP : r;
    }
    int r = forward_message_rules(model, source, target);
    if (r == 0)
        choose_members(model, source->type, target);
    for (size_t i = 0; i < source->unknown_count; i++)
        if (!schema_field_number(target_type, source->unknowns[i].number))
            tree_add_unknown(model->arena, target, &source->unknowns[i]);
    *ret_target = target;
    return r;
}

int forward_message(struct arena *arena, const struct tree *source, const struct schema *from,
                    const struct schema *to, struct tree **ret_target)
{
    const struct schema_service *target = schema_service(to), *origin = schema_service(from);
    struct model model = {
        .arena = arena,
        .up = target->interface->previous && same(target->interface->previous, origin->package),
    };
    return forward_tree(&model, (struct tree *)(uintptr_t)source, target->methods[0].input,
                        ret_target);
}

/* ---- What depends on what ---- */

static bool path_begins(const char *path, const char *name)
{
    size_t bytes = strlen(name);
    return path && strncmp(path, name, bytes) == 0 && (path[bytes] == '.' || path[bytes] == '\0');
}

static bool mentions(const char *pattern, const char *name)
{
    char braced[SCHEMA_NAME_BYTES_MAX + 3];
    (void)snprintf(braced, sizeof(braced), "{%s}", name);
    return pattern && strstr(pattern, braced);
}

static bool depends(const struct schema_message *newer, const struct schema_field *mine,
                    const struct schema_message *older, const struct schema_field *other)
{
    const Parley__MessageRule *rule = newer->rule;
    if (older_field(older, mine) == other)
        return true;
    if (mine->rule && mentions(mine->rule->computed, other->name))
        return true;
    for (size_t i = 0; rule && i < rule->n_move; i++)
        if (path_begins(rule->move[i]->to, mine->name) &&
            path_begins(rule->move[i]->from, other->name))
            return true;
    for (size_t i = 0; rule && i < rule->n_drop; i++)
        if (same(rule->drop[i]->from, other->name) && mentions(rule->drop[i]->restore, mine->name))
            return true;
    return false;
}

static bool depends_at_all(const struct schema_field *field, const struct schema_message *type,
                           const struct schema_field *other,
                           const struct schema_message *other_type, bool type_is_newer)
{
    return type_is_newer ? depends(type, field, other_type, other)
                         : depends(other_type, other, type, field);
}

static bool shares_oneof(const struct schema_message *type, const struct schema_field *field)
{
    size_t members = 0;
    for (size_t i = 0; i < type->field_count && field->oneof >= 0; i++)
        members += type->fields[i].oneof == field->oneof;
    return members > 1;
}

/* Whether it is in a oneof of several, here or there. */
static bool is_grouped(const struct schema_field *field, const struct schema_message *type,
                       const struct schema_message *other_type, bool type_is_newer)
{
    if (shares_oneof(type, field))
        return true;
    for (size_t i = 0; i < other_type->field_count; i++)
        if (shares_oneof(other_type, &other_type->fields[i]) &&
            depends_at_all(field, type, &other_type->fields[i], other_type, type_is_newer))
            return true;
    return false;
}

bool forward_depends(const struct schema_field *field, const struct schema_message *type,
                     const struct schema_field *other, const struct schema_message *other_type,
                     bool type_is_newer)
{
    /* Fields that hang together by oneofs come back together or not at all. */
    if (is_grouped(field, type, other_type, type_is_newer) &&
        is_grouped(other, other_type, type, !type_is_newer))
        return true;
    /* To set one member of a oneof is to clear the others. */
    for (size_t i = 0; i < type->field_count; i++)
        for (size_t j = 0; j < other_type->field_count; j++) {
            const struct schema_field *a = &type->fields[i], *b = &other_type->fields[j];
            bool mine = a == field || (field->oneof >= 0 && a->oneof == field->oneof);
            bool theirs = b == other || (other->oneof >= 0 && b->oneof == other->oneof);
            if (mine && theirs && depends_at_all(a, type, b, other_type, type_is_newer))
                return true;
        }
    return false;
}
