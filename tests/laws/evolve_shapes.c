/* Edits that change a field's shape: wrap, unwrap, pick, merge. */
#include <stdlib.h>
#include <string.h>

#include "evolve.h"

static bool is_shapeable(const struct field *field)
{
    return field->origin >= 0 && !field->changed && !field->text_rule && field->oneof < 0 &&
           !field->default_value[0] && field->label != LABEL_MAP && field->label != LABEL_REQUIRED;
}

bool edit_wrap(struct picks *picks)
{
    struct field *field = pick_field(picks, is_shapeable);
    if (!field)
        return false;
    struct field before = *field;
    struct message *message = new_message(picks);
    if (!message)
        return false;
    struct field *inner = new_field(picks, message, before.type);
    inner->ref = before.ref;
    if (picks->newer->proto3 && before.type != TYPE(MESSAGE) && random_below(picks->random, 3) == 0)
        inner->label = LABEL_OPTIONAL;
    struct field bare = before;
    bare.label = LABEL_PLAIN;
    convert_too(picks, &bare, inner, field);
    if (random_below(picks->random, 3) == 0)
        (void)new_field(picks, message, TYPE(STRING)); /* which the bare value has not */
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.wrap = inner->name;
    option_add(&field->rule, &rule);
    field->type = TYPE(MESSAGE);
    field->ref = (int)(message - picks->newer->messages);
    field->label = before.label == LABEL_REPEATED ? LABEL_REPEATED : LABEL_PLAIN;
    field->packed = -1;
    field->changed = true;
    return true;
}

static bool is_message_field(const struct field *field)
{
    return is_shapeable(field) && field->type == TYPE(MESSAGE) && field->ref < REF_ANY;
}

bool edit_unwrap(struct picks *picks)
{
    struct field *field = pick_field(picks, is_message_field);
    if (!field)
        return false;
    const struct message *message = &picks->older->messages[field->ref];
    if (message->field_count == 0)
        return false;
    const struct field *inner =
        &message->fields[random_below(picks->random, (uint32_t)message->field_count)];
    if (inner->label == LABEL_MAP || inner->label == LABEL_REPEATED || inner->oneof >= 0 ||
        inner->label == LABEL_REQUIRED || inner->default_value[0])
        return false;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.unwrap = text_of(inner->name);
    option_add(&field->rule, &rule);
    field->type = inner->type;
    field->ref = inner->ref;
    convert_too(picks, inner, field, field);
    if (field->label != LABEL_REPEATED && picks->newer->proto3 && field->type != TYPE(MESSAGE) &&
        random_below(picks->random, 3) == 0)
        field->label = LABEL_OPTIONAL;
    field->changed = true;
    return true;
}

bool edit_pick(struct picks *picks)
{
    struct field *field = pick_field(picks, is_shapeable);
    if (!field)
        return false;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.has_pick = true;
    rule.pick = (Parley__Pick)(1 + random_below(picks->random, 3));
    option_add(&field->rule, &rule);
    bool singular = field->label == LABEL_REPEATED;
    struct field bare = *field;
    convert_too(picks, &bare, field, field);
    field->label = singular ? LABEL_PLAIN : LABEL_REPEATED;
    if (singular && picks->newer->proto3 && field->type != TYPE(MESSAGE) &&
        random_below(picks->random, 3) == 0)
        field->label = LABEL_OPTIONAL;
    field->packed = -1;
    field->changed = true;
    return true;
}

bool edit_merge(struct picks *picks)
{
    static const char *const separators[] = {" <", ":", "/", "--"};
    struct field *field = pick_field(picks, is_message_field);
    if (!field || field->label != LABEL_PLAIN || !picks->older->proto3 || !picks->newer->proto3)
        return false;
    const struct message *message = &picks->older->messages[field->ref];
    char pattern[96] = "", *end = pattern;
    const char *otherwise = NULL;
    int parts = 0;
    for (int i = 0; i < message->field_count && parts < 3; i++) {
        const struct field *part = &message->fields[i];
        if (part->type != TYPE(STRING) || part->label != LABEL_PLAIN || part->oneof >= 0)
            continue;
        end += sprintf(end, "%s{%s}", parts++ ? separators[random_below(picks->random, 4)] : "",
                       part->name);
        if (!otherwise || random_below(picks->random, 2))
            otherwise = part->name;
    }
    if (parts == 0)
        return false;
    if (parts > 1 && random_below(picks->random, 2))
        (void)sprintf(end, ">");
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Split merge = PARLEY__SPLIT__INIT;
    merge.pattern = pattern;
    merge.otherwise = text_of(otherwise);
    rule.merge = &merge;
    option_add(&field->rule, &rule);
    field->type = TYPE(STRING);
    field->ref = REF_NONE;
    struct field joined = *field;
    convert_too(picks, &joined, field, field);
    field->changed = true;
    return true;
}

/* ---- Oneofs ---- */

static bool is_groupable(const struct field *field)
{
    return is_shapeable(field) && field->label == LABEL_PLAIN;
}

/* Plain fields become members, of a new oneof or of one that is there. */
bool edit_group(struct picks *picks)
{
    struct field *field = pick_field(picks, is_groupable);
    if (!field)
        return false;
    struct message *message = picks->message;
    int oneof = message->oneof_count;
    if (oneof > 0 && random_below(picks->random, 2))
        oneof = (int)random_below(picks->random, (uint32_t)oneof);
    if (oneof == LAWS_ONEOF_MAX)
        return false;
    if (oneof == message->oneof_count)
        version_name(picks->newer, "o", message->oneofs[message->oneof_count++]);
    field->oneof = oneof;
    for (int i = 0; i < message->field_count; i++)
        if (is_groupable(&message->fields[i]) && random_below(picks->random, 3) == 0)
            message->fields[i].oneof = oneof;
    return true;
}

static bool is_member(const struct field *field)
{
    return field->origin >= 0 && field->oneof >= 0 && !field->changed;
}

static void drop_empty_oneofs(struct message *message)
{
    for (int oneof = message->oneof_count - 1; oneof >= 0; oneof--) {
        bool used = false;
        for (int i = 0; i < message->field_count; i++)
            used |= message->fields[i].oneof == oneof;
        if (used)
            continue;
        for (int i = 0; i < message->field_count; i++)
            message->fields[i].oneof -= message->fields[i].oneof > oneof;
        memmove(message->oneofs[oneof], message->oneofs[oneof + 1],
                (size_t)(message->oneof_count - oneof - 1) * LAWS_NAME_BYTES);
        message->oneof_count--;
    }
}

/* A member becomes a plain field, goes to another oneof, or goes altogether. */
bool edit_ungroup(struct picks *picks)
{
    struct field *field = pick_field(picks, is_member);
    if (!field)
        return false;
    struct message *message = picks->message;
    int oneof = field->oneof;
    switch (random_below(picks->random, 4)) {
    case 0:
        remove_field(message, field);
        break;
    case 1:
        field->oneof = (int)random_below(picks->random, (uint32_t)message->oneof_count);
        break;
    case 2:
        for (int i = 0; i < message->field_count; i++)
            if (message->fields[i].oneof == oneof)
                message->fields[i].oneof = -1;
        break;
    default:
        field->oneof = -1;
    }
    drop_empty_oneofs(message);
    return true;
}

/* ---- Maps and entries ---- */

static bool is_entries_field(const struct field *field)
{
    return field->origin >= 0 && !field->changed && field->oneof < 0 &&
           (field->label == LABEL_MAP ||
            (field->label == LABEL_REPEATED && is_message_field(field)));
}

static bool can_be_key(const struct field *field)
{
    return field->label == LABEL_PLAIN && field->oneof < 0 && !field->default_value[0] &&
           (field->type == TYPE(STRING) || field->type == TYPE(BOOL) ||
            type_is_integer(field->type));
}

static bool can_be_value(const struct field *field)
{
    return field->label == LABEL_PLAIN && field->oneof < 0 && !field->default_value[0];
}

static bool into_entries(struct picks *picks, struct field *field, Parley__Entries *entries)
{
    struct message *message = new_message(picks);
    if (!message)
        return false;
    struct field *key = new_field(picks, message, field->key_type);
    struct field *value = new_field(picks, message, field->type);
    value->ref = field->ref;
    struct field bare = *value;
    convert_too(picks, &bare, value, field);
    entries->key = key->name;
    entries->value = value->name;
    field->label = LABEL_REPEATED;
    field->type = TYPE(MESSAGE);
    field->ref = (int)(message - picks->newer->messages);
    return true;
}

static bool into_map(struct picks *picks, struct field *field, Parley__Entries *entries)
{
    const struct message *message = &picks->older->messages[field->ref];
    const struct field *key = NULL, *value = NULL;
    for (int i = 0; i < message->field_count; i++) {
        const struct field *candidate = &message->fields[i];
        if (!key && can_be_key(candidate))
            key = candidate;
        else if (can_be_value(candidate))
            value = candidate;
    }
    if (!key || !value)
        return false;
    entries->key = text_of(key->name);
    entries->value = text_of(value->name);
    field->label = LABEL_MAP;
    field->key_type = key->type;
    field->type = value->type;
    field->ref = value->ref;
    struct field bare = *value;
    field->label = LABEL_PLAIN;
    convert_too(picks, &bare, field, field);
    field->label = LABEL_MAP;
    return true;
}

bool edit_entries(struct picks *picks)
{
    struct field *field = pick_field(picks, is_entries_field);
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Entries entries = PARLEY__ENTRIES__INIT;
    if (!field)
        return false;
    entries.has_unique = entries.unique = random_below(picks->random, 4) == 0;
    if (!(field->label == LABEL_MAP ? into_entries : into_map)(picks, field, &entries))
        return false;
    rule.entries = &entries;
    option_add(&field->rule, &rule);
    field->packed = -1;
    field->changed = true;
    return true;
}
