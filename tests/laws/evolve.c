/*
 * Newer versions, made from an older one by edits: each is one rule of docs/TRANSLATION.md, applied
 * to something picked by the edit's own seed. So an edit can be left out, and those behind it stay
 * what they were: what shrinking needs.
 *
 * An edit that finds nothing to apply to does nothing. One that the compiler refuses is switched
 * off by check.c, and counted: `laws --verbose` prints how often, which shows a rule that is
 * refused where it should not be.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

#include "evolve.h"

void version_next(struct version *newer, const struct version *older)
{
    *newer = *older;
    newer->index++;
    for (int i = 0; i < newer->message_count; i++) {
        struct message *message = &newer->messages[i];
        message->fresh = false;
        message->rule.bytes = 0;
        for (int j = 0; j < message->field_count; j++) {
            message->fields[j].rule.bytes = 0;
            message->fields[j].origin = j;
            message->fields[j].changed = message->fields[j].text_rule = false;
        }
    }
    for (int i = 0; i < newer->enum_count; i++) {
        newer->enums[i].rule.bytes = 0;
        for (int j = 0; j < newer->enums[i].value_count; j++) {
            newer->enums[i].values[j].rule.bytes = 0;
            newer->enums[i].values[j].origin = j;
        }
    }
}

/* ---- Picking ---- */

bool pick_any(const struct field *field)
{
    return field->origin >= 0;
}

static bool pick_unchanged(const struct field *field)
{
    return field->origin >= 0 && !field->changed;
}

bool pick_singular(const struct field *field)
{
    return pick_unchanged(field) && !field->text_rule && field->label != LABEL_REPEATED &&
           field->label != LABEL_MAP;
}

static bool pick_alone(const struct field *field)
{
    return pick_singular(field) && field->oneof < 0;
}

struct field *pick_field(struct picks *picks, bool (*fits)(const struct field *))
{
    struct version *newer = picks->newer;
    unsigned count = 0;
    for (int pass = 0; pass < 2; pass++) {
        unsigned wanted = pass ? random_below(picks->random, count) : 0;
        for (int i = 0; i < newer->message_count; i++) {
            picks->message = &newer->messages[i];
            picks->old_message = &picks->older->messages[i];
            for (int j = 0; j < picks->message->field_count && !picks->message->fresh; j++) {
                if (!fits(&picks->message->fields[j]))
                    continue;
                if (pass && wanted-- == 0)
                    return &picks->message->fields[j];
                count += !pass;
            }
        }
        if (count == 0)
            return NULL;
    }
    return NULL;
}

const struct field *origin_of(const struct picks *picks, const struct field *field)
{
    return &picks->old_message->fields[field->origin];
}

static struct message *pick_message(struct picks *picks)
{
    uint32_t index = random_below(picks->random, (uint32_t)picks->older->message_count);
    picks->message = &picks->newer->messages[index];
    picks->old_message = &picks->older->messages[index];
    return picks->message;
}

char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

void add_from(const struct picks *picks, struct field *field)
{
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.from = text_of(origin_of(picks, field)->name);
    option_add(&field->rule, &rule);
}

void remove_field(struct message *message, struct field *field)
{
    int index = (int)(field - message->fields);
    memmove(field, field + 1, (size_t)(message->field_count - index - 1) * sizeof(*field));
    message->field_count--;
}

/* ---- Fields ---- */

static bool is_renamed(const struct picks *picks, const struct field *field)
{
    return strcmp(field->name, origin_of(picks, field)->name) != 0;
}

static bool edit_rename(struct picks *picks)
{
    struct field *field = pick_field(picks, pick_any);
    if (!field || is_renamed(picks, field) || field->text_rule || field->changed)
        return false;
    version_name(picks->newer, "r", field->name);
    add_from(picks, field);
    return true;
}

static bool edit_renumber(struct picks *picks)
{
    struct field *field = pick_field(picks, pick_any);
    if (!field)
        return false;
    struct field *other =
        &picks->message->fields[random_below(picks->random, (uint32_t)picks->message->field_count)];
    if (other != field && random_below(picks->random, 2)) {
        uint32_t number = field->number;
        field->number = other->number;
        other->number = number;
    } else {
        field->number = field_free_number(picks->message, picks->random);
    }
    return true;
}

static bool is_integer_field(const struct field *field)
{
    return pick_unchanged(field) && type_is_integer(field->type) && !field->default_value[0];
}

static bool edit_width(struct picks *picks)
{
    struct field *field = pick_field(picks, is_integer_field);
    if (!field)
        return false;
    field->type = type_random_integer(picks->random);
    return true;
}

static bool is_text_field(const struct field *field)
{
    return pick_unchanged(field) && (field->type == TYPE(STRING) || field->type == TYPE(BYTES)) &&
           !field->text_rule && !field->default_value[0];
}

static bool edit_text(struct picks *picks)
{
    struct field *field = pick_field(picks, is_text_field);
    if (!field)
        return false;
    field->type = field->type == TYPE(STRING) ? TYPE(BYTES) : TYPE(STRING);
    return true;
}

static bool is_unit_field(const struct field *field)
{
    return is_integer_field(field) && pick_alone(field);
}

static bool edit_multiply(struct picks *picks)
{
    static const uint64_t factors[] = {1, 2, 60, 1000, 1024, 1u << 20, INT64_MAX};
    struct field *field = pick_field(picks, is_unit_field);
    if (!field)
        return false;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.has_multiply = true;
    rule.multiply = factors[random_below(picks->random, 7)];
    field->type = type_random_integer(picks->random);
    field->changed = true;
    option_add(&field->rule, &rule);
    return true;
}

static bool is_presence_field(const struct field *field)
{
    return field->origin >= 0 && !field->text_rule && field->type != TYPE(MESSAGE) &&
           field->oneof < 0 && (field->label == LABEL_PLAIN || field->label == LABEL_OPTIONAL);
}

/* Gains or loses `optional`, or goes into a oneof of its own. */
static bool edit_presence(struct picks *picks)
{
    struct field *field = pick_field(picks, is_presence_field);
    if (!field)
        return false;
    if (random_below(picks->random, 3) == 0 && picks->message->oneof_count < LAWS_ONEOF_MAX &&
        !field->default_value[0]) {
        field->oneof = picks->message->oneof_count++;
        field->label = LABEL_PLAIN;
        version_name(picks->newer, "o", picks->message->oneofs[field->oneof]);
        return true;
    }
    if (!picks->newer->proto3)
        return false;
    field->label = field->label == LABEL_OPTIONAL ? LABEL_PLAIN : LABEL_OPTIONAL;
    return true;
}

static bool is_packable_field(const struct field *field)
{
    return field->origin >= 0 && field->label == LABEL_REPEATED && field->type != TYPE(STRING) &&
           field->type != TYPE(BYTES) && field->type != TYPE(MESSAGE);
}

static bool edit_packed(struct picks *picks)
{
    struct field *field = pick_field(picks, is_packable_field);
    if (!field)
        return false;
    field->packed = field->packed == 1 ? 0 : 1;
    return true;
}

static bool edit_add(struct picks *picks)
{
    struct message *message = pick_message(picks);
    if (message->field_count == LAWS_FIELD_MAX)
        return false;
    struct field field =
        field_random(picks->newer, message, picks->random, picks->older->message_count);
    if (field.label == LABEL_REQUIRED)
        field.label = LABEL_PLAIN;
    message->fields[message->field_count++] = field;
    return true;
}

static bool pick_removable(const struct field *field)
{
    return pick_unchanged(field) && !field->text_rule && field->label != LABEL_REQUIRED &&
           field->oneof < 0;
}

static void add_drop(const struct picks *picks, const struct field *field, char *restore)
{
    Parley__MessageRule rule = PARLEY__MESSAGE_RULE__INIT;
    Parley__Drop drop = PARLEY__DROP__INIT, *drops[] = {&drop};
    drop.from = text_of(origin_of(picks, field)->name);
    drop.reason = text_of("not used");
    drop.restore = restore;
    rule.drop = drops;
    rule.n_drop = 1;
    option_add(&picks->message->rule, &rule);
}

static bool edit_remove(struct picks *picks)
{
    struct field *field = pick_field(picks, pick_removable);
    if (!field)
        return false;
    if (random_below(picks->random, 2))
        add_drop(picks, field, NULL);
    remove_field(picks->message, field);
    return true;
}

/* ---- Texts ---- */

bool is_plain_string(const struct picks *picks, const struct field *field)
{
    return field->type == TYPE(STRING) && field->label == LABEL_PLAIN && field->oneof < 0 &&
           !field->changed && picks->newer->proto3 && picks->older->proto3;
}

static bool pick_string(const struct field *field)
{
    return pick_alone(field) && field->type == TYPE(STRING) && field->label == LABEL_PLAIN;
}

static bool edit_restore(struct picks *picks)
{
    struct field *field = pick_field(picks, pick_string);
    char pattern[96] = "", *end = pattern;
    if (!field || !is_plain_string(picks, field))
        return false;
    int parts = 0;
    for (int i = 0; i < picks->message->field_count && parts < 2; i++) {
        struct field *part = &picks->message->fields[i];
        if (part == field || part->origin < 0 || !is_plain_string(picks, part) ||
            origin_of(picks, part)->type != TYPE(STRING) ||
            origin_of(picks, part)->label != LABEL_PLAIN || origin_of(picks, part)->oneof >= 0)
            continue;
        part->text_rule = true;
        end += sprintf(end, "%s{%s}", parts++ ? ":" : "", part->name);
    }
    if (parts == 0)
        return false;
    if (random_below(picks->random, 3) == 0)
        (void)sprintf(end, ">");
    add_drop(picks, field, pattern);
    remove_field(picks->message, field);
    return true;
}

struct message *new_message(struct picks *picks)
{
    if (picks->newer->message_count == LAWS_MESSAGE_MAX)
        return NULL;
    struct message *message = &picks->newer->messages[picks->newer->message_count++];
    *message = (struct message){.fresh = true};
    version_name(picks->newer, "M", message->name);
    return message;
}

struct field *new_field(struct picks *picks, struct message *message, int type)
{
    struct field *field = &message->fields[message->field_count++];
    *field = (struct field){.type = type, .ref = REF_NONE, .oneof = -1, .packed = -1};
    field->origin = -1;
    version_name(picks->newer, "f", field->name);
    field->number = field_free_number(message, picks->random);
    return field;
}

static bool edit_split(struct picks *picks)
{
    static const char *const separators[] = {" <", ":", "/", "--"};
    struct field *field =
        pick_field(picks, random_below(picks->random, 4) ? pick_string : pick_alone);
    bool converted = field && field->type != TYPE(STRING);
    if (!field || field->label != LABEL_PLAIN || field->oneof >= 0 || field->changed ||
        field->default_value[0] || !picks->newer->proto3 || !picks->older->proto3 ||
        (converted && field->type == TYPE(MESSAGE) && field->ref < REF_ANY) ||
        (!converted && is_renamed(picks, field)))
        return false;
    struct message *message = new_message(picks);
    if (!message)
        return false;
    char pattern[96] = "", *end = pattern;
    int parts = 1 + (int)random_below(picks->random, 3);
    if (random_below(picks->random, 4) == 0)
        end += sprintf(end, "(");
    for (int i = 0; i < parts; i++) {
        struct field *part = new_field(picks, message, TYPE(STRING));
        end +=
            sprintf(end, "%s{%s}", i ? separators[random_below(picks->random, 4)] : "", part->name);
    }
    if (random_below(picks->random, 2))
        (void)sprintf(end, ">");
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Split split = PARLEY__SPLIT__INIT;
    split.pattern = pattern;
    split.otherwise = message->fields[random_below(picks->random, (uint32_t)parts)].name;
    rule.split = &split;
    Parley__Convert convert = PARLEY__CONVERT__INIT;
    convert.has_out_of_domain = true;
    convert.out_of_domain = (Parley__OutOfDomain)random_below(picks->random, 3);
    rule.convert = converted ? &convert : NULL;
    option_add(&field->rule, &rule);
    if (random_below(picks->random, 2))
        (void)new_field(picks, message, TYPE(INT32)); /* which the text cannot hold */
    field->type = TYPE(MESSAGE);
    field->ref = (int)(message - picks->newer->messages);
    field->changed = true;
    return true;
}

/* ---- Moves ---- */

static bool pick_movable(const struct field *field)
{
    return pick_alone(field) && field->type != TYPE(MESSAGE) && field->label != LABEL_REQUIRED &&
           !field->default_value[0] && field->rule.bytes == 0;
}

/* A new message that this version's edits have made for moves, or one more. */
static struct field *pick_place(struct picks *picks)
{
    for (int i = 0; i < picks->message->field_count; i++) {
        struct field *place = &picks->message->fields[i];
        if (place->origin < 0 && place->type == TYPE(MESSAGE) && place->label == LABEL_PLAIN &&
            place->oneof < 0 && place->ref < REF_ANY && picks->newer->messages[place->ref].fresh &&
            random_below(picks->random, 3))
            return place;
    }
    struct message *message = new_message(picks);
    if (!message || picks->message->field_count == LAWS_FIELD_MAX)
        return NULL;
    struct field *place = new_field(picks, picks->message, TYPE(MESSAGE));
    place->ref = (int)(message - picks->newer->messages);
    if (random_below(picks->random, 2))
        (void)new_field(picks, message, TYPE(UINT32));
    return place;
}

static bool edit_move(struct picks *picks)
{
    struct field *field = pick_field(picks, pick_movable);
    if (!field || picks->message->field_count == LAWS_FIELD_MAX)
        return false;
    struct field moved = *field;
    char from[LAWS_NAME_BYTES], path[64];
    strcpy(from, origin_of(picks, field)->name);
    remove_field(picks->message, field);
    struct field *place = pick_place(picks);
    if (!place)
        return false;
    struct message *inner = &picks->newer->messages[place->ref];
    char *end = path + sprintf(path, "%s", place->name);
    if (random_below(picks->random, 3) == 0) { /* one deeper */
        struct message *deeper = new_message(picks);
        if (!deeper)
            return false;
        struct field *next = new_field(picks, inner, TYPE(MESSAGE));
        next->ref = (int)(deeper - picks->newer->messages);
        end += sprintf(end, ".%s", next->name);
        inner = deeper;
    }
    struct field *leaf = new_field(picks, inner, moved.type);
    uint32_t number = leaf->number;
    char name[LAWS_NAME_BYTES];
    strcpy(name, leaf->name);
    *leaf = moved;
    leaf->number = number;
    convert_too(picks, &moved, leaf, leaf);
    leaf->origin = -1;
    strcpy(leaf->name, name);
    (void)sprintf(end, ".%s", name);
    Parley__MessageRule rule = PARLEY__MESSAGE_RULE__INIT;
    Parley__Move move = PARLEY__MOVE__INIT, *moves[] = {&move};
    move.from = from;
    move.to = path;
    rule.move = moves;
    rule.n_move = 1;
    option_add(&picks->message->rule, &rule);
    return true;
}

/* ---- Messages, syntax ---- */

static bool edit_message_name(struct picks *picks)
{
    struct message *message = pick_message(picks);
    if (strcmp(message->name, picks->old_message->name) != 0)
        return false;
    Parley__MessageRule rule = PARLEY__MESSAGE_RULE__INIT;
    rule.from = text_of(picks->old_message->name);
    option_add(&message->rule, &rule);
    version_name(picks->newer, "R", message->name);
    return true;
}

/* proto2 to proto3 and back: presence, closed enums, packed by default. */
static bool edit_syntax(struct picks *picks)
{
    struct version *newer = picks->newer;
    for (int i = 0; i < newer->message_count; i++)
        for (int j = 0; j < newer->messages[i].field_count; j++)
            if (newer->messages[i].fields[j].label == LABEL_REQUIRED ||
                newer->messages[i].fields[j].default_value[0] ||
                newer->messages[i].fields[j].text_rule || newer->messages[i].fields[j].changed)
                return false;
    for (int i = 0; i < newer->message_count; i++)
        for (int j = 0; j < newer->messages[i].field_count; j++)
            if (newer->messages[i].fields[j].label == LABEL_OPTIONAL)
                newer->messages[i].fields[j].label = LABEL_PLAIN;
    newer->proto3 = !newer->proto3;
    return true;
}

/* ---- Enums ---- */

static struct enumeration *pick_enum(struct picks *picks)
{
    if (picks->older->enum_count == 0)
        return NULL;
    return &picks->newer->enums[random_below(picks->random, (uint32_t)picks->older->enum_count)];
}

static const struct enumeration *old_enum(const struct picks *picks,
                                          const struct enumeration *enumeration)
{
    return &picks->older->enums[enumeration - picks->newer->enums];
}

static struct value_name *pick_value(struct picks *picks, struct enumeration *enumeration)
{
    if (enumeration->value_count < 2)
        return NULL;
    return &enumeration
                ->values[1 + random_below(picks->random, (uint32_t)enumeration->value_count - 1)];
}

static bool value_number_taken(const struct enumeration *enumeration, int32_t number)
{
    for (int i = 0; i < enumeration->value_count; i++)
        if (enumeration->values[i].number == number)
            return true;
    return false;
}

static bool edit_value_name(struct picks *picks)
{
    struct enumeration *enumeration = pick_enum(picks);
    struct value_name *value = enumeration ? pick_value(picks, enumeration) : NULL;
    if (!value || value->origin < 0 || value->rule.bytes > 0)
        return false;
    const struct enumeration *old = old_enum(picks, enumeration);
    char full[2 * LAWS_NAME_BYTES + 2];
    (void)snprintf(full, sizeof(full), "%s_%s", old->prefix, old->values[value->origin].name);
    Parley__ValueRule rule = PARLEY__VALUE_RULE__INIT;
    rule.from = random_below(picks->random, 2) ? full : text_of(old->values[value->origin].name);
    if (old->value_count < 2)
        rule.from = full; /* one value has no prefix to leave out */
    option_add(&value->rule, &rule);
    version_name(picks->newer, "W", value->name);
    return true;
}

static bool edit_value_number(struct picks *picks)
{
    struct enumeration *enumeration = pick_enum(picks);
    struct value_name *value = enumeration ? pick_value(picks, enumeration) : NULL;
    if (!value)
        return false;
    struct value_name *other = pick_value(picks, enumeration);
    int32_t number = (int32_t)random_below(picks->random, 12) - 2;
    if (other != value && random_below(picks->random, 2)) {
        number = value->number;
        value->number = other->number;
        other->number = number;
        return true;
    }
    if (value_number_taken(enumeration, number))
        return false;
    value->number = number;
    return true;
}

static bool edit_value_add(struct picks *picks)
{
    struct enumeration *enumeration = pick_enum(picks);
    if (!enumeration || enumeration->value_count == LAWS_VALUE_MAX)
        return false;
    const struct enumeration *old = old_enum(picks, enumeration);
    int32_t number = (int32_t)random_below(picks->random, 12) - 2;
    if (value_number_taken(enumeration, number))
        return false;
    struct value_name *value = &enumeration->values[enumeration->value_count++];
    *value = (struct value_name){.number = number, .origin = -1};
    version_name(picks->newer, "V", value->name);
    if (random_below(picks->random, 2) || old->value_count < 2)
        return true;
    Parley__ValueRule rule = PARLEY__VALUE_RULE__INIT;
    rule.to = text_of(old->values[random_below(picks->random, (uint32_t)old->value_count)].name);
    option_add(&value->rule, &rule);
    return true;
}

static bool edit_value_remove(struct picks *picks)
{
    struct enumeration *enumeration = pick_enum(picks);
    struct value_name *value = enumeration ? pick_value(picks, enumeration) : NULL;
    if (!value)
        return false;
    int index = (int)(value - enumeration->values);
    memmove(value, value + 1, (size_t)(enumeration->value_count - index - 1) * sizeof(*value));
    enumeration->value_count--;
    return true;
}

static bool edit_enum_prefix(struct picks *picks)
{
    struct enumeration *enumeration = pick_enum(picks);
    /* With one value, the prefix is part of the name. */
    if (!enumeration || enumeration->value_count < 2 ||
        old_enum(picks, enumeration)->value_count < 2)
        return false;
    version_name(picks->newer, "Q", enumeration->prefix);
    if (random_below(picks->random, 2))
        version_name(picks->newer, "E", enumeration->name);
    return true;
}

/* ---- All of them ---- */

static const struct {
    const char *name;
    bool (*apply)(struct picks *picks);
} kinds[] = {
    {"rename", edit_rename},
    {"renumber", edit_renumber},
    {"width", edit_width},
    {"string and bytes", edit_text},
    {"multiply", edit_multiply},
    {"presence", edit_presence},
    {"packed", edit_packed},
    {"add", edit_add},
    {"remove", edit_remove},
    {"drop and restore", edit_restore},
    {"split", edit_split},
    {"move", edit_move},
    {"message name", edit_message_name},
    {"syntax", edit_syntax},
    {"value name", edit_value_name},
    {"value number", edit_value_number},
    {"value added", edit_value_add},
    {"value removed", edit_value_remove},
    {"enum prefix", edit_enum_prefix},
    {"wrap", edit_wrap},
    {"unwrap", edit_unwrap},
    {"pick", edit_pick},
    {"merge", edit_merge},
    {"into a oneof", edit_group},
    {"out of a oneof", edit_ungroup},
    {"convert", edit_convert},
    {"convert", edit_convert},
    {"default", edit_default},
    {"computed", edit_computed},
    {"enum otherwise", edit_enum_rule},
    {"lossy", edit_lossy},
    {"entries", edit_entries},
};

unsigned edit_kind_count(void)
{
    return sizeof(kinds) / sizeof(kinds[0]);
}

const char *edit_kind_name(unsigned kind)
{
    return kinds[kind].name;
}

bool edit_apply(const struct edit *edit, const struct version *older, struct version *newer)
{
    struct version before = *newer;
    uint64_t random = edit->seed;
    struct picks picks = {.older = older, .newer = newer, .random = &random};
    if (kinds[edit->kind].apply(&picks))
        return true;
    *newer = before; /* whatever it had begun */
    return false;
}
