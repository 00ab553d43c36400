/*
 * (parley.field).convert, and enums where values cannot be carried along one by one.
 *
 * What a conversion is follows from the two types; the rule's fields only say what the types do not
 * (a unit, a coding, what to do with a value that has no place). So the rule is checked against the
 * types first: what has no sensible meaning, and what would say nothing, is an error, with the way
 * out. Then it becomes one record of the program for each direction, an op that keeps the field for
 * the end of its message, and an emit that does it there (convert.c).
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "translate/convert.h"

/* What a field is, as far as conversions ask. */
enum sort {
    SORT_INTEGER,
    SORT_BOOL,
    SORT_ENUM,
    SORT_REAL,
    SORT_STRING,
    SORT_BYTES,
    SORT_TIME,
    SORT_OTHER,
};

static enum form form_of(const struct schema_field *field)
{
    if (!field->message)
        return FORM_PLAIN;
    if (strcmp(field->message->name, "google.protobuf.Timestamp") == 0)
        return FORM_TIMESTAMP;
    return strcmp(field->message->name, "google.protobuf.Duration") == 0 ? FORM_DURATION
                                                                         : FORM_PLAIN;
}

static enum sort sort_of(const struct schema_field *field)
{
    switch (compile_kind(field)) {
    case KIND_BOOL:
        return SORT_BOOL;
    case KIND_ENUM:
        return SORT_ENUM;
    case KIND_FLOAT:
    case KIND_DOUBLE:
        return SORT_REAL;
    case KIND_STRING:
        return SORT_STRING;
    case KIND_BYTES:
        return SORT_BYTES;
    case KIND_MESSAGE:
        return form_of(field) == FORM_PLAIN ? SORT_OTHER : SORT_TIME;
    case KIND_COUNT:
        return SORT_OTHER;
    default:
        return SORT_INTEGER;
    }
}

static int convert_error(const struct pairing *pairing, const struct schema_field *newer,
                         const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL, "%s.%s: (parley.field).convert: %s",
                     pairing->newer->name, newer->name, what);
}

/* ---- Rules that go together ---- */

int rules_check(const struct pairing *pairing, const struct schema_field *newer)
{
    const Parley__FieldRule *rule = newer->rule;
    if (!rule)
        return 0;
    const struct {
        const char *name;
        bool set;
    } rules[] = {
        {"multiply", rule->has_multiply}, {"convert", rule->convert},   {"split", rule->split},
        {"merge", rule->merge},           {"wrap", rule->wrap},         {"unwrap", rule->unwrap},
        {"default", rule->default_},      {"computed", rule->computed},
    };
    const char *first = NULL;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (!rules[i].set)
            continue;
        /* The two can be divided (between.c), unless this is so. */
        if (first && i >= 2 && i <= 5 && (rule->has_multiply || rule->convert) &&
            !(rule->split && rule->merge) && !(rule->wrap && rule->unwrap))
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: (parley.field).%s and %s: what %s names is not there, or is "
                             "no message; correct it",
                             pairing->newer->name, newer->name, first, rules[i].name,
                             rules[i].name);
        if (first)
            return error_set(pairing->compiler->error, -EINVAL,
                             "%s.%s: (parley.field).%s and %s cannot be combined: both say what "
                             "the value is; keep one",
                             pairing->newer->name, newer->name, first, rules[i].name);
        first = rules[i].name;
    }
    if (rule->lossy && (rule->split || rule->merge || rule->wrap || rule->unwrap ||
                        rule->has_pick || rule->entries))
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s: (parley.field).lossy is for values, not for rules on structure; "
                         "remove it",
                         pairing->newer->name, newer->name);
    if (rule->lossy && !*rule->lossy)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s: (parley.field).lossy needs a reason, for those who read the diff; "
                         "write why it is all right to lose it",
                         pairing->newer->name, newer->name);
    return 0;
}

static bool is_pair(enum sort a, enum sort b, enum sort one, enum sort other)
{
    return (a == one && b == other) || (a == other && b == one);
}

static bool is_sensible(enum sort a, enum sort b)
{
    static const enum sort pairs[][2] = {
        {SORT_INTEGER, SORT_INTEGER}, {SORT_INTEGER, SORT_BOOL}, {SORT_INTEGER, SORT_ENUM},
        {SORT_INTEGER, SORT_REAL},    {SORT_REAL, SORT_REAL},    {SORT_STRING, SORT_INTEGER},
        {SORT_STRING, SORT_BOOL},     {SORT_STRING, SORT_ENUM},  {SORT_STRING, SORT_REAL},
        {SORT_STRING, SORT_BYTES},    {SORT_TIME, SORT_INTEGER}, {SORT_TIME, SORT_STRING},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (is_pair(a, b, pairs[i][0], pairs[i][1]))
            return true;
    return false;
}

static bool is_number(enum sort sort)
{
    return sort == SORT_INTEGER || sort == SORT_REAL;
}

static int check_linear(const struct pairing *pairing, const struct schema_field *newer,
                        const Parley__Convert *rule, enum sort a, enum sort b)
{
    if (!rule->has_multiply && !rule->has_divide && !rule->has_offset)
        return 0;
    if ((rule->has_multiply && rule->multiply == 0) || (rule->has_divide && rule->divide == 0))
        return convert_error(pairing, newer,
                             "multiply and divide must not be 0, which nothing comes back from; "
                             "write another number");
    bool numbers = is_number(a) && is_number(b);
    if (!numbers && !(is_number(a) && b == SORT_STRING) && !(is_number(b) && a == SORT_STRING))
        return convert_error(pairing, newer,
                             "multiply, divide and offset are for numbers, and numbers as text; "
                             "remove them");
    return 0;
}

/* Whether the rule says what the two types need, and nothing else. */
static int check_convert(const struct pairing *pairing, const struct schema_field *newer,
                         enum sort a, enum sort b, const Parley__Convert *rule)
{
    bool time = is_pair(a, b, SORT_TIME, SORT_INTEGER);
    bool unit = rule->has_unit && rule->unit != PARLEY__TIME_UNIT__TIME_UNIT_NONE;
    if (a == SORT_ENUM && b == SORT_ENUM)
        return convert_error(pairing, newer,
                             "enums are mapped value by value; use (parley.value) and "
                             "(parley.enumeration) instead");
    if (!is_sensible(a, b))
        return convert_error(pairing, newer,
                             "there is no conversion between these two types; keep the type, or "
                             "give the new field another name and drop the old one");
    if (time && !unit)
        return convert_error(pairing, newer,
                             "an integer for a time needs its unit; add unit: "
                             "TIME_UNIT_SECONDS, _MILLISECONDS, _MICROSECONDS or _NANOSECONDS");
    if (unit && !time)
        return convert_error(pairing, newer,
                             "a unit is for a Timestamp or Duration beside an integer; remove it");
    if (rule->has_exact_names && !is_pair(a, b, SORT_STRING, SORT_ENUM))
        return convert_error(pairing, newer,
                             "exact_names is for a string beside an enum; remove it");
    if (rule->has_bytes && !is_pair(a, b, SORT_STRING, SORT_BYTES))
        return convert_error(pairing, newer, "bytes is for a string beside bytes; remove it");
    return check_linear(pairing, newer, rule, a, b);
}

/* ---- Literals ---- */

static int literal_number(const struct schema_field *field, const struct value *text,
                          struct program_convert *convert)
{
    struct value value;
    if (field->enumeration) {
        const struct schema_enum_value *named =
            values_find(field->enumeration, (const char *)text->data);
        convert->otherwise = named ? named->number : 0;
        return named ? 0 : -EINVAL;
    }
    if (scalar_convert(NULL, convert, false, text, &value) != DOMAIN_GOOD)
        return -EINVAL;
    convert->otherwise_nanos = value.form == VALUE_TIME ? value.nanos : 0;
    if (value.form == VALUE_REAL)
        memcpy(&convert->otherwise, &value.real, sizeof(convert->otherwise));
    else
        convert->otherwise = (int64_t)value.number;
    return 0;
}

int rules_literal(struct pairing *pairing, const struct schema_field *field, const char *text,
                  const char *rule, struct program_convert *convert)
{
    struct builder *builder = &pairing->compiler->builder;
    struct value value = {.form = VALUE_TEXT, .data = (const uint8_t *)text, .bytes = strlen(text)};
    enum kind kind = compile_kind(field);
    if (value.bytes > PROGRAM_NAME_BYTES_MAX)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s: %s is longer than %d bytes; use a shorter value", field->name, rule,
                         PROGRAM_NAME_BYTES_MAX);
    if (kind == KIND_STRING || kind == KIND_BYTES) {
        convert->text_first = builder_add(builder, SECTION_TEXT, value.bytes);
        convert->text_bytes = (uint32_t)value.bytes;
        if (!builder->error && value.bytes > 0)
            memcpy(builder_at(builder, SECTION_TEXT, convert->text_first), text, value.bytes);
        return 0;
    }
    struct program_convert reading = {
        .mode = CONVERT_VALUE,
        .map = PROGRAM_NONE,
        .multiply = 1,
        .divide = 1,
        .kind = KIND_STRING,
        .written = (uint8_t)kind,
        .written_form = (uint8_t)form_of(field),
    };
    if (literal_number(field, &value, &reading) < 0)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s: (parley.field).%s: \"%s\" is no value of this field's type; write "
                         "it as protobuf writes defaults (\"12\", \"true\", \"PRIORITY_EXTRA\")",
                         pairing->newer->name, field->name, rule, text);
    convert->otherwise = reading.otherwise;
    convert->otherwise_nanos = reading.otherwise_nanos;
    return 0;
}

/* ---- Enums beside text and integers ---- */

struct named {
    char text[SCHEMA_NAME_BYTES_MAX + 1];
    size_t bytes;
    int32_t number;
    size_t declared;
};

static int compare_names(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->declared > y->declared) - (x->declared < y->declared);
}

static int compare_pairs(const void *a, const void *b)
{
    const struct program_pair *x = a, *y = b;
    return x->source < y->source ? -1 : x->source > y->source;
}

/* The names as the text has them, sorted; of aliases with one text, one. */
static int make_names(struct pairing *pairing, const struct schema_field *newer,
                      const struct schema_enum *enumeration, bool exact, struct named *names,
                      size_t *ret_count)
{
    size_t prefix = exact ? 0 : values_prefix(enumeration), count = 0;
    for (size_t i = 0; i < enumeration->value_count; i++) {
        struct named *name = &names[i];
        const char *text = enumeration->values[i].name + prefix;
        name->bytes = strlen(text);
        memcpy(name->text, text, name->bytes + 1);
        for (size_t j = 0; j < name->bytes && !exact; j++)
            if (name->text[j] >= 'A' && name->text[j] <= 'Z')
                name->text[j] = (char)(name->text[j] - 'A' + 'a');
        name->number = enumeration->values[i].number;
        name->declared = i;
    }
    qsort(names, enumeration->value_count, sizeof(*names), compare_names);
    for (size_t i = 0; i < enumeration->value_count; i++) {
        if (count > 0 && strcmp(names[count - 1].text, names[i].text) == 0) {
            if (names[count - 1].number != names[i].number)
                return convert_error(pairing, newer,
                                     "two values of the enum have the same name in lower case; "
                                     "set exact_names");
            continue;
        }
        if (count != i)
            names[count] = names[i];
        count++;
    }
    *ret_count = count;
    return 0;
}

/* From numbers to the first name that was declared with them. */
static size_t make_pairs(const struct named *names, size_t count, struct program_pair *pairs)
{
    size_t pair_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (j < pair_count && pairs[j].source != names[i].number)
            j++;
        if (j == pair_count)
            pairs[pair_count++] = (struct program_pair){names[i].number, (int32_t)i, 0};
        else if (names[i].declared < names[pairs[j].target].declared)
            pairs[j].target = (int32_t)i;
    }
    qsort(pairs, pair_count, sizeof(*pairs), compare_pairs);
    return pair_count;
}

static uint32_t add_pairs(struct builder *builder, const struct program_pair *pairs, size_t count,
                          uint32_t flags)
{
    uint32_t first = builder_add(builder, SECTION_PAIR, count);
    uint32_t index = builder_add(builder, SECTION_MAP, 1);
    if (!builder->error)
        memcpy(builder_at(builder, SECTION_PAIR, first), pairs, count * sizeof(*pairs));
    struct program_map *map = builder_at(builder, SECTION_MAP, index);
    *map = (struct program_map){.pair_first = first, .pair_count = (uint32_t)count, .flags = flags};
    return index;
}

static int add_names(struct pairing *pairing, const struct schema_field *newer,
                     const struct schema_enum *enumeration, bool exact, uint32_t flags,
                     uint32_t *ret_map)
{
    struct builder *builder = &pairing->compiler->builder;
    size_t most = enumeration->value_count, count = 0;
    _cleanup_(freep) struct named *names = calloc(most + 1, sizeof(*names));
    _cleanup_(freep) struct program_pair *pairs = calloc(most + 1, sizeof(*pairs));
    if (!names || !pairs)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    int r = make_names(pairing, newer, enumeration, exact, names, &count);
    if (r < 0)
        return r;
    *ret_map = add_pairs(builder, pairs, make_pairs(names, count, pairs), flags);
    uint32_t first = builder_add(builder, SECTION_NAME, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t text = builder_add(builder, SECTION_TEXT, names[i].bytes);
        if (builder->error)
            return 0;
        memcpy(builder_at(builder, SECTION_TEXT, text), names[i].text, names[i].bytes);
        struct program_name *name = builder_at(builder, SECTION_NAME, first + i);
        *name = (struct program_name){text, (uint32_t)names[i].bytes, names[i].number};
    }
    struct program_map *map = builder_at(builder, SECTION_MAP, *ret_map);
    map->name_first = first;
    map->name_count = (uint32_t)count;
    return 0;
}

/* The numbers that it declares. */
static int add_numbers(struct pairing *pairing, const struct schema_enum *enumeration,
                       uint32_t flags, uint32_t *ret_map)
{
    size_t count = 0;
    _cleanup_(freep) struct program_pair *pairs =
        calloc(enumeration->value_count + 1, sizeof(*pairs));
    if (!pairs)
        return error_set(pairing->compiler->error, -ENOMEM, "out of memory while compiling a plan");
    for (size_t i = 0; i < enumeration->value_count; i++) {
        int32_t number = enumeration->values[i].number;
        pairs[count++] = (struct program_pair){number, number, 0};
    }
    qsort(pairs, count, sizeof(*pairs), compare_pairs);
    *ret_map = add_pairs(&pairing->compiler->builder, pairs, count, flags);
    return 0;
}

static int add_enum(struct pairing *pairing, const struct schema_field *newer,
                    const struct schema_field *source, const struct schema_field *target,
                    const Parley__Convert *rule, struct program_convert *convert)
{
    const struct schema_enum *enumeration =
        source->enumeration ? source->enumeration : target->enumeration;
    const struct schema_field *other = source->enumeration ? target : source;
    if (!enumeration)
        return 0;
    bool closed = source->enumeration && enumeration->closed;
    uint32_t flags = closed ? MAP_CLOSED : 0;
    if (compile_kind(other) == KIND_STRING)
        return add_names(pairing, newer, enumeration, rule && rule->exact_names, flags,
                         &convert->map);
    bool strict =
        target->enumeration && (enumeration->closed || (convert->flags & CONVERT_OTHERWISE));
    if (!closed && !strict)
        return 0;
    return add_numbers(pairing, enumeration, flags | (strict ? MAP_STRICT : 0), &convert->map);
}

/* ---- The program ---- */

uint32_t rules_add_convert(struct pairing *pairing, const struct program_convert *convert)
{
    struct builder *builder = &pairing->compiler->builder;
    uint32_t index = builder_add(builder, SECTION_CONVERT, 1);
    struct program_convert *added = builder_at(builder, SECTION_CONVERT, index);
    *added = *convert;
    return index;
}

static const Parley__FieldRule *newer_rule(const struct pairing *pairing,
                                           const struct schema_field *source,
                                           const struct schema_field *target)
{
    return pairing->newer == pairing->target ? target->rule : source->rule;
}

/* @flags: of the emit. */
static int add_later(struct pairing *pairing, const struct schema_field *source,
                     const struct schema_field *target, uint32_t convert, uint8_t flags)
{
    const Parley__FieldRule *rule = newer_rule(pairing, source, target);
    enum kind written = compile_kind(target);
    struct program_op op = compile_check_op(pairing->compiler, source);
    struct program_op back = compile_check_op(pairing->compiler, target);
    int r = pairing_slot(pairing, &op.slot);
    if (r < 0)
        return r;
    op.action = ACTION_LATER;
    op.written = (uint8_t)written;
    op.tag = target->number << 3 | (uint32_t)program_wire_type(written);
    op.convert = convert;
    struct program_emit emit = pairing_emit_default(EMIT_CONVERT, op.slot, target, written);
    emit.number = source->number;
    emit.required = pairing_required(pairing, target);
    emit.flags = flags | (source->presence ? EMIT_SOURCE_PRESENCE : 0) |
                 (target->presence ? EMIT_PRESENCE : 0);
    if (rule && rule->lossy) {
        emit.flags |= EMIT_LOSSY;
        pairing->compiler->loses = true;
    }
    back.action = ACTION_GUARDED;
    back.slot = op.slot;
    back.required = emit.required;
    back.flags |= OP_LATER;
    back.flags |= source->presence ? OP_TELLS : 0;
    back.flags |= target->presence ? OP_OWN_PRESENCE : 0;
    pairing_op(pairing, op);
    pairing_restore(pairing, back);
    return pairing_emit(pairing, emit);
}

int rules_later(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target, uint32_t convert)
{
    if (convert == PROGRAM_NONE && !pairing->compiler->builder.error) {
        /* Nothing changes in this direction, but something may have been carried in the other. */
        struct program_convert same = {
            .mode = CONVERT_MAP, .kind = KIND_ENUM, .written = KIND_ENUM};
        uint32_t flags = source->enumeration->closed ? MAP_CLOSED : 0;
        int r = add_numbers(pairing, source->enumeration, flags, &same.map);
        if (r < 0)
            return r;
        convert = rules_add_convert(pairing, &same);
    }
    return add_later(pairing, source, target, convert, 0);
}

static void set_linear(const Parley__FieldRule *rule, struct program_convert *convert)
{
    const Parley__Convert *linear = rule->convert;
    convert->multiply = rule->has_multiply ? (int64_t)rule->multiply : 1;
    convert->divide = 1;
    if (!linear)
        return;
    convert->multiply = linear->has_multiply ? linear->multiply : 1;
    convert->divide = linear->has_divide ? linear->divide : 1;
    convert->offset = linear->has_offset ? linear->offset : 0;
    convert->unit = (uint8_t)linear->unit;
    convert->coding = (uint8_t)linear->bytes;
    convert->out_of_domain = (uint8_t)linear->out_of_domain;
}

/* The conversion of the values of two fields, of a message or of a map's entries. @named: the newer
 * field that has the rule. */
static int make_convert(struct pairing *pairing, const struct schema_field *named,
                        const struct schema_field *source, const struct schema_field *target,
                        struct program_convert *convert)
{
    const Parley__Convert *rule = named->rule->convert;
    bool up = pairing->newer == pairing->target;
    *convert = (struct program_convert){
        .mode = CONVERT_VALUE,
        .map = PROGRAM_NONE,
        .kind = (uint8_t)compile_kind(source),
        .written = (uint8_t)compile_kind(target),
        .form = (uint8_t)form_of(source),
        .written_form = (uint8_t)form_of(target),
        .flags = up ? 0 : CONVERT_DOWN,
        .first = target->enumeration ? target->enumeration->values[0].number : 0,
    };
    set_linear(named->rule, convert);
    int r = rule ? check_convert(pairing, named, sort_of(source), sort_of(target), rule) : 0;
    const char *here = rule ? (up ? rule->otherwise : rule->otherwise_before) : NULL;
    const char *there = rule ? (up ? rule->otherwise_before : rule->otherwise) : NULL;
    struct program_convert unused = *convert;
    if (r == 0 && here)
        r = rules_literal(pairing, target, here,
                          up ? "convert.otherwise" : "convert.otherwise_before", convert);
    if (r == 0 && there)
        r = rules_literal(pairing, source, there,
                          up ? "convert.otherwise_before" : "convert.otherwise", &unused);
    convert->flags |= here ? CONVERT_OTHERWISE : 0;
    return r < 0 ? r : add_enum(pairing, named, source, target, rule, convert);
}

/* Absence on one side must be something on the other. */
static int check_presence(const struct pairing *pairing, const struct schema_field *named,
                          const struct schema_field *source, const struct schema_field *target,
                          const struct program_convert *convert, uint8_t *ret_flags)
{
    *ret_flags = 0;
    if (source->repeated)
        return 0;
    if ((source->required && !target->presence) || (target->required && !source->presence))
        return convert_error(pairing, named,
                             "from or to a required field, beside one that cannot be told to be "
                             "absent; make it optional");
    if (convert->offset == 0)
        return 0;
    bool text = convert->kind == KIND_STRING || convert->written == KIND_STRING;
    if (source->presence != target->presence || (text && !source->presence))
        return convert_error(pairing, named,
                             "with an offset an absent number is not 0 any more; give the field "
                             "presence (`optional`, or a oneof) in both versions");
    *ret_flags = source->presence ? 0 : EMIT_COUNTS;
    return 0;
}

int rules_convert(struct pairing *pairing, const struct schema_field *source,
                  const struct schema_field *target)
{
    const struct schema_field *named = pairing->newer == pairing->target ? target : source;
    struct program_convert convert;
    uint8_t flags;
    int r = make_convert(pairing, named, source, target, &convert);
    if (r == 0)
        r = check_presence(pairing, named, source, target, &convert, &flags);
    return r < 0 ? r
                 : add_later(pairing, source, target, rules_add_convert(pairing, &convert), flags);
}

/* ---- Maps ---- */

int rules_map_values(struct pairing *pairing, const struct schema_field *source,
                     const struct schema_field *target, bool *ret_done)
{
    const struct schema_field *named = pairing->newer == pairing->target ? target : source;
    const struct schema_field *key = schema_field_number(source->message, 1);
    const struct schema_field *other_key = schema_field_number(target->message, 1);
    const struct schema_field *value = schema_field_number(source->message, 2);
    const struct schema_field *other = schema_field_number(target->message, 2);
    struct enum_map map = {.convert = PROGRAM_NONE};
    struct program_convert convert;
    *ret_done = false;
    if (!key || !other_key || !value || !other)
        return 0;
    struct program_convert entries = {
        .mode = CONVERT_ENTRY,
        .map = PROGRAM_NONE,
        .key = (uint8_t)compile_kind(key),
        .key_written = (uint8_t)compile_kind(other_key),
        .first = value->enumeration ? value->enumeration->values[0].number : 0,
    };
    if ((entries.key == KIND_STRING) != (entries.key_written == KIND_STRING) ||
        (entries.key == KIND_BOOL) != (entries.key_written == KIND_BOOL))
        return 0; /* refused where the entries pair */
    int r;
    if (named->rule && (named->rule->convert || named->rule->has_multiply)) {
        if (value->message || other->message)
            return convert_error(pairing, named,
                                 "on a map it is for values that are no messages; remove it");
        r = make_convert(pairing, named, value, other, &convert);
        if (r < 0)
            return r;
        entries.value = rules_add_convert(pairing, &convert);
    } else {
        if (!value->enumeration || !other->enumeration)
            return 0;
        r = rules_enum(pairing, value, other, false, &map);
        if (r < 0 || !(map.lost || map.lost_back || map.later))
            return r;
        struct program_convert same = {
            .mode = CONVERT_MAP, .kind = KIND_ENUM, .written = KIND_ENUM};
        if (map.convert == PROGRAM_NONE) {
            r = add_numbers(pairing, value->enumeration, 0, &same.map);
            map.convert = rules_add_convert(pairing, &same);
        }
        entries.value = map.convert;
    }
    *ret_done = true;
    return r < 0 ? r : add_later(pairing, source, target, rules_add_convert(pairing, &entries), 0);
}
