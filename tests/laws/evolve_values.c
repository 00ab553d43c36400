/* Edits that change what a value is: convert, default, computed, mappings of whole enums, lossy. */
#include <stdlib.h>
#include <string.h>

#include "evolve.h"

static bool is_real(int type)
{
    return type == TYPE(FLOAT) || type == TYPE(DOUBLE);
}

static bool is_time(const struct field *field)
{
    return field->type == TYPE(MESSAGE) &&
           (field->ref == REF_TIMESTAMP || field->ref == REF_DURATION);
}

static bool is_number(int type)
{
    return type_is_integer(type) || is_real(type);
}

static bool is_convertible(const struct field *field)
{
    return field->origin >= 0 && !field->changed && !field->text_rule && !field->default_value[0] &&
           field->label != LABEL_REQUIRED && (field->type != TYPE(MESSAGE) || is_time(field));
}

static void become_time(struct picks *picks, struct field *field)
{
    field->type = TYPE(MESSAGE);
    field->ref = random_below(picks->random, 2) ? REF_TIMESTAMP : REF_DURATION;
    if (field->label == LABEL_OPTIONAL)
        field->label = LABEL_PLAIN;
}

/* Another type that the value can become. */
static bool pick_type(struct picks *picks, struct field *field)
{
    static const int from_number[] = {TYPE(STRING), TYPE(STRING), TYPE(BOOL),
                                      TYPE(FLOAT),  TYPE(DOUBLE), TYPE(ENUM)};
    static const int from_text[] = {TYPE(BOOL), TYPE(DOUBLE), TYPE(FLOAT), TYPE(ENUM), TYPE(BYTES)};
    int was = field->type;
    uint32_t what = random_below(picks->random, 8);
    bool number = type_is_integer(was) || was == TYPE(ENUM) || was == TYPE(BOOL);
    if (is_time(field))
        field->type = what < 4 ? TYPE(STRING) : type_random_integer(picks->random);
    else if (was == TYPE(BYTES))
        field->type = TYPE(STRING);
    else if (is_real(was))
        field->type = what < 3   ? TYPE(STRING)
                      : what < 5 ? (was == TYPE(FLOAT) ? TYPE(DOUBLE) : TYPE(FLOAT))
                                 : type_random_integer(picks->random);
    else if (what == 0 && (was == TYPE(STRING) || type_is_integer(was)))
        become_time(picks, field);
    else if (was == TYPE(STRING))
        field->type = what < 4 ? type_random_integer(picks->random) : from_text[what - 3];
    else if (number)
        field->type =
            what < 3 ? type_random_integer(picks->random) : from_number[what - 3 + (what < 3)];
    if (field->type == TYPE(ENUM) && (picks->older->enum_count == 0 || was == TYPE(ENUM)))
        return false;
    if (field->type != TYPE(MESSAGE) || is_time(field))
        field->ref = field->type == TYPE(MESSAGE) ? field->ref : REF_NONE;
    if (field->type == TYPE(ENUM))
        field->ref = (int)random_below(picks->random, (uint32_t)picks->older->enum_count);
    return true;
}

static void pick_linear(struct picks *picks, bool reals, Parley__Convert *convert)
{
    static const int64_t factors[] = {2, 9, -3, 1000, 1}, divisors[] = {5, 10, 1, -7};
    static const int64_t offsets[] = {32, -7, 1};
    convert->has_multiply = random_below(picks->random, 2);
    convert->multiply = factors[random_below(picks->random, 5)];
    convert->has_divide = random_below(picks->random, 2);
    convert->divide = divisors[random_below(picks->random, 4)];
    if (reals) { /* which would make -0 of 0, and to a guard they are one */
        convert->multiply = 9;
        convert->divide = 5;
    }
    convert->has_offset = random_below(picks->random, 4) == 0;
    convert->offset = offsets[random_below(picks->random, 3)];
}

/* As protobuf writes defaults. */
static bool value_text(struct picks *picks, const struct version *version,
                       const struct field *field, char *ret_text)
{
    if (is_number(field->type)) {
        (void)strcpy(ret_text, "7");
    } else if (field->type == TYPE(BOOL)) {
        (void)strcpy(ret_text, "true");
    } else if (field->type == TYPE(STRING)) {
        (void)strcpy(ret_text, "stable");
    } else if (field->type == TYPE(ENUM)) {
        const struct enumeration *enumeration = &version->enums[field->ref];
        uint32_t index = random_below(picks->random, (uint32_t)enumeration->value_count);
        (void)sprintf(ret_text, "%s_%s", enumeration->prefix, enumeration->values[index].name);
    } else {
        return false;
    }
    return true;
}

static bool has_convertible_type(const struct field *field)
{
    return field->label != LABEL_MAP && (field->type != TYPE(MESSAGE) || is_time(field));
}

/* @field, the value of which was @before in the version before, becomes of another type; the rule
 * is one of @holder. */
static bool convert_value(struct picks *picks, const struct field *before, struct field *field,
                          struct field *holder)
{
    char newer[64], older[64];
    if (!pick_type(picks, field))
        return false;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Convert convert = PARLEY__CONVERT__INIT;
    if ((is_time(before) && type_is_integer(field->type)) ||
        (is_time(field) && type_is_integer(before->type))) {
        convert.has_unit = true;
        convert.unit = (Parley__TimeUnit)(1 + random_below(picks->random, 4));
    } else if (is_number(before->type) && is_number(field->type) &&
               random_below(picks->random, 2)) {
        pick_linear(picks, is_real(before->type) || is_real(field->type), &convert);
    }
    if (before->type == TYPE(BYTES) || field->type == TYPE(BYTES)) {
        convert.has_bytes = true;
        convert.bytes = (Parley__BytesText)random_below(picks->random, 3);
    }
    if (before->type == TYPE(ENUM) || field->type == TYPE(ENUM)) {
        convert.has_exact_names = true;
        convert.exact_names = random_below(picks->random, 2);
    }
    convert.has_out_of_domain = random_below(picks->random, 4) > 0;
    convert.out_of_domain = (Parley__OutOfDomain)random_below(picks->random, 3);
    if (random_below(picks->random, 4) == 0 && value_text(picks, picks->newer, field, newer))
        convert.otherwise = newer;
    if (random_below(picks->random, 4) == 0 && value_text(picks, picks->older, before, older))
        convert.otherwise_before = older;
    rule.convert = &convert;
    option_add(&holder->rule, &rule);
    return true;
}

void convert_too(struct picks *picks, const struct field *before, struct field *field,
                 struct field *holder)
{
    struct field was = *field;
    if (random_below(picks->random, 3) == 0 && has_convertible_type(before) &&
        !convert_value(picks, before, field, holder))
        *field = was;
}

bool edit_convert(struct picks *picks)
{
    struct field *field = pick_field(picks, is_convertible);
    if (!field || !convert_value(picks, origin_of(picks, field), field, field))
        return false;
    field->packed = -1;
    field->changed = true;
    return true;
}

bool edit_default(struct picks *picks)
{
    int index = (int)random_below(picks->random, (uint32_t)picks->older->message_count);
    struct message *message = &picks->newer->messages[index];
    char value[64];
    if (message->field_count == LAWS_FIELD_MAX)
        return false;
    struct field field =
        field_random(picks->newer, message, picks->random, picks->older->message_count);
    if (field.type == TYPE(MESSAGE) || field.default_value[0] ||
        !value_text(picks, picks->newer, &field, value))
        return false;
    if (field.label != LABEL_OPTIONAL)
        field.label = LABEL_PLAIN;
    field.packed = -1;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.default_ = value;
    option_add(&field.rule, &rule);
    field.changed = true;
    message->fields[message->field_count++] = field;
    return true;
}

bool edit_computed(struct picks *picks)
{
    int index = (int)random_below(picks->random, (uint32_t)picks->older->message_count);
    struct message *message = &picks->newer->messages[index];
    char pattern[96] = "", *end = pattern;
    int parts = 0;
    picks->message = message;
    picks->old_message = &picks->older->messages[index];
    if (message->field_count == LAWS_FIELD_MAX)
        return false;
    for (int i = 0; i < message->field_count && parts < 2; i++) {
        struct field *part = &message->fields[i];
        if (part->origin < 0 || !is_plain_string(picks, part))
            continue;
        const struct field *origin = origin_of(picks, part);
        if (origin->type != TYPE(STRING) || origin->label != LABEL_PLAIN || origin->oneof >= 0)
            continue;
        part->text_rule = true;
        end += sprintf(end, "%s{%s}", parts++ ? "_" : "", origin->name);
    }
    if (parts == 0)
        return false;
    struct field *field = new_field(picks, message, TYPE(STRING));
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.computed = pattern;
    option_add(&field->rule, &rule);
    field->changed = field->text_rule = true;
    return true;
}

bool edit_enum_rule(struct picks *picks)
{
    if (picks->older->enum_count == 0)
        return false;
    uint32_t index = random_below(picks->random, (uint32_t)picks->older->enum_count);
    struct enumeration *newer = &picks->newer->enums[index];
    const struct enumeration *older = &picks->older->enums[index];
    char otherwise[64], before[64];
    if (newer->rule.bytes > 0)
        return false;
    Parley__EnumRule rule = PARLEY__ENUM_RULE__INIT;
    uint32_t a = random_below(picks->random, (uint32_t)newer->value_count);
    uint32_t b = random_below(picks->random, (uint32_t)older->value_count);
    (void)sprintf(otherwise, "%s_%s", newer->prefix, newer->values[a].name);
    (void)sprintf(before, "%s_%s", older->prefix, older->values[b].name);
    uint32_t which = 1 + random_below(picks->random, 3);
    rule.otherwise = which & 1 ? otherwise : NULL;
    rule.otherwise_before = which & 2 ? before : NULL;
    option_add(&newer->rule, &rule);
    return true;
}

static bool has_rule(const struct field *field)
{
    return field->origin >= 0 && field->rule.bytes > 0 && field->changed;
}

bool edit_lossy(struct picks *picks)
{
    struct field *field = random_below(picks->random, 4) ? NULL : pick_field(picks, has_rule);
    if (!field)
        return false;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.lossy = text_of("nobody minds");
    option_add(&field->rule, &rule);
    return true;
}
