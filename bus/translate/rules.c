/*
 * Texts: a string split into a message's fields, a message's fields merged into a string, a dropped
 * string rebuilt from others.
 *
 * A pattern, "{name} <{email}>", is read into a template: literals and fields by turns. The program
 * has the slots of the fields in it (what to put together) and their tags (where to put what was
 * taken apart); which of the two it needs depends on the direction.
 *
 * Only strings without presence take part. "" and absent are one thing then, and a text that is not
 * there needs no case of its own; emit.c relies on it.
 */
#include "translate/compile.h"

#include <errno.h>
#include <string.h>

static int rule_error(const struct pairing *pairing, const char *element, const char *rule,
                      const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL, "%s%s%s: %s: %s", pairing->newer->name,
                     element ? "." : "", element ? element : "", rule, what);
}

/* ---- Patterns ---- */

struct piece {
    const char *literal;
    size_t literal_bytes;
    const struct schema_field *field; /* NULL: the literal at the end */
};

struct pattern {
    struct piece pieces[PROGRAM_PART_MAX];
    uint32_t count;
};

/* Whether text can go in and come out of it whole. */
static bool is_plain_text(const struct schema_message *message, const struct schema_field *field)
{
    return compile_kind(field) == KIND_STRING && !field->repeated && !field->presence &&
           field->oneof < 0 && message;
}

static int parse_field(const struct pairing *pairing, const char *element, const char *rule,
                       const struct schema_message *message, const char *name, size_t bytes,
                       const struct schema_field **ret_field)
{
    char copy[SCHEMA_NAME_BYTES_MAX + 1];
    if (bytes == 0 || bytes >= sizeof(copy))
        return rule_error(pairing, element, rule, "a name must stand between { and }");
    memcpy(copy, name, bytes);
    copy[bytes] = '\0';
    *ret_field = schema_field_find(message, copy);
    if (!*ret_field || !is_plain_text(message, *ret_field))
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s%s%s: %s: {%s} must be a singular string without presence of %s; name "
                         "one",
                         pairing->newer->name, element ? "." : "", element ? element : "", rule,
                         copy, message->name);
    return 0;
}

static int parse_pattern(const struct pairing *pairing, const char *element, const char *rule,
                         const struct schema_message *message, const char *text,
                         struct pattern *ret_pattern)
{
    ret_pattern->count = 0;
    while (*text) {
        size_t literal = strcspn(text, "{}");
        if (ret_pattern->count == PROGRAM_PART_MAX)
            return rule_error(pairing, element, rule, "more than 8 parts; use fewer fields");
        if (literal > PROGRAM_LITERAL_BYTES_MAX)
            return rule_error(pairing, element, rule, "more than 64 bytes between two fields");
        struct piece *piece = &ret_pattern->pieces[ret_pattern->count++];
        *piece = (struct piece){text, literal, NULL};
        text += literal;
        if (!*text)
            break;
        size_t name = *text == '{' ? strcspn(text + 1, "{}") : 0;
        if (*text != '{' || text[1 + name] != '}')
            return rule_error(pairing, element, rule, "a { without its }; write {field}");
        int r = parse_field(pairing, element, rule, message, text + 1, name, &piece->field);
        if (r < 0)
            return r;
        text += name + 2;
    }
    if (ret_pattern->count == 0 || !ret_pattern->pieces[0].field)
        return rule_error(pairing, element, rule, "no field in it; write {field}");
    return 0;
}

/* Adds it to the program; slots[i] and tags[i] are of the field of piece i. */
static uint32_t add_template(struct pairing *pairing, const struct pattern *pattern,
                             const uint16_t *slots, const uint32_t *tags, uint32_t otherwise)
{
    struct builder *builder = &pairing->compiler->builder;
    uint32_t first = builder_add(builder, SECTION_PART, pattern->count);
    for (uint32_t i = 0; i < pattern->count; i++) {
        const struct piece *piece = &pattern->pieces[i];
        uint32_t text = builder_add(builder, SECTION_TEXT, piece->literal_bytes);
        if (!builder->error && piece->literal_bytes > 0)
            memcpy(builder_at(builder, SECTION_TEXT, text), piece->literal, piece->literal_bytes);
        struct program_part *part = builder_at(builder, SECTION_PART, first + i);
        *part = (struct program_part){
            .text_first = text,
            .text_bytes = (uint32_t)piece->literal_bytes,
            .tag = piece->field ? tags[i] : 0,
            .slot = piece->field ? slots[i] : PROGRAM_SLOT_NONE,
        };
    }
    uint32_t index = builder_add(builder, SECTION_TEMPLATE, 1);
    struct program_template *template = builder_at(builder, SECTION_TEMPLATE, index);
    *template = (struct program_template){first, pattern->count, otherwise};
    return index;
}

/* ---- Split ---- */

/* (parley.field).split: the newer one is the message. merge: the older one is. */
struct texts {
    const char *name; /* of the rule */
    const Parley__Split *rule;
    const struct schema_field *newer, *message, *string;
};

static struct texts texts_of(const struct schema_field *newer, const struct schema_field *older)
{
    bool split = newer->rule->split != NULL;
    return (struct texts){
        .name = split ? "(parley.field).split" : "(parley.field).merge",
        .rule = split ? newer->rule->split : newer->rule->merge,
        .newer = newer,
        .message = split ? newer : older,
        .string = split ? older : newer,
    };
}

static int check_split(const struct pairing *pairing, const struct texts *texts,
                       struct pattern *pattern, uint32_t *ret_otherwise)
{
    const char *rule = texts->name, *element = texts->newer->name;
    const struct schema_field *message = texts->message, *string = texts->string;
    const Parley__FieldRule *all = texts->newer->rule;
    if (all->split && all->merge)
        return rule_error(pairing, element, rule, "cannot be combined with merge; remove one");
    if (all->has_multiply || all->wrap || all->unwrap || all->has_pick || all->entries ||
        all->convert)
        return rule_error(pairing, element, rule,
                          "cannot be combined with another rule on the value; remove one");
    if (!message->message || message->repeated || message->oneof >= 0)
        return rule_error(pairing, element, rule,
                          all->split ? "is for a singular message; remove it"
                                     : "needs a singular message in the version before");
    if (compile_kind(string) != KIND_STRING || string->repeated || string->oneof >= 0)
        return rule_error(pairing, element, rule,
                          all->split ? "needs a singular string in the version before"
                                     : "is for a singular string; remove it");
    if (!texts->rule->pattern || !texts->rule->otherwise)
        return rule_error(pairing, element, rule,
                          "needs a pattern and an `otherwise`, as in { pattern: "
                          "\"{name} <{email}>\" otherwise: \"name\" }");
    int r = parse_pattern(pairing, element, rule, message->message, texts->rule->pattern, pattern);
    if (r < 0)
        return r;
    /* "a" and "(a)" would both be the field "a". */
    if (pattern->count == 1 ? pattern->pieces[0].literal_bytes > 0
                            : !pattern->pieces[1].field && pattern->count == 2)
        return rule_error(pairing, element, rule,
                          "one field with text around it: a string that does not fit could not be "
                          "told from one that does; use two fields, or the field alone");
    *ret_otherwise = UINT32_MAX;
    for (uint32_t i = 0; i < pattern->count; i++) {
        const struct piece *piece = &pattern->pieces[i];
        if (i > 0 && piece->literal_bytes == 0)
            return rule_error(pairing, element, rule,
                              "two fields with nothing between them; put a separator there");
        for (uint32_t j = 0; j < i && piece->field; j++)
            if (pattern->pieces[j].field == piece->field)
                return rule_error(pairing, element, rule, "a field stands twice in it");
        if (piece->field && strcmp(piece->field->name, texts->rule->otherwise) == 0)
            *ret_otherwise = i;
    }
    if (*ret_otherwise == UINT32_MAX)
        return rule_error(pairing, element, rule, "`otherwise` must name a field of the pattern");
    for (size_t i = 0; i < message->message->field_count; i++)
        if (message->message->fields[i].required)
            return rule_error(pairing, element, rule,
                              "into a message with required fields; make them optional");
    return 0;
}

/* The string waits for the end, and is taken apart there. */
static int take_apart(struct pairing *pairing, const struct schema_field *source,
                      const struct schema_field *target, const struct pattern *pattern,
                      uint32_t otherwise)
{
    struct program_op op = compile_check_op(pairing->compiler, source);
    struct program_op back = compile_check_op(pairing->compiler, target);
    op.action = ACTION_SLOT;
    int r = pairing_slot(pairing, &op.slot);
    if (r < 0)
        return r;
    uint16_t slots[PROGRAM_PART_MAX];
    uint32_t tags[PROGRAM_PART_MAX];
    for (uint32_t i = 0; i < pattern->count; i++) {
        slots[i] = op.slot; /* not used; there must be one */
        tags[i] = pattern->pieces[i].field ? pattern->pieces[i].field->number << 3 | WIRE_BYTES : 0;
    }
    struct program_emit emit = pairing_emit_default(EMIT_SPLIT, op.slot, target, KIND_MESSAGE);
    emit.template = add_template(pairing, pattern, slots, tags, otherwise);
    emit.required = pairing_required(pairing, target);
    emit.flags = source->presence ? EMIT_SOURCE_PRESENCE : 0;
    back.action = ACTION_GUARDED;
    back.flags |= source->presence ? OP_TELLS | OP_OWN_PRESENCE : 0;
    back.slot = op.slot;
    back.written = KIND_STRING;
    pairing_op(pairing, op);
    pairing_restore(pairing, back);
    return pairing_emit(pairing, emit);
}

/* The message's fields wait for the end, and are put together there. */
static int put_together(struct pairing *pairing, const struct schema_field *source,
                        const struct schema_field *target, const struct pattern *pattern,
                        uint32_t otherwise)
{
    struct compiler *compiler = pairing->compiler;
    struct program_op op = program_op_default(source->number, KIND_MESSAGE);
    struct program_op nested[SCHEMA_FIELD_MAX > 256 ? 256 : SCHEMA_FIELD_MAX];
    uint16_t slots[PROGRAM_PART_MAX];
    uint32_t tags[PROGRAM_PART_MAX] = {0};
    const struct schema_message *message = source->message;
    if (message->field_count > sizeof(nested) / sizeof(nested[0]))
        return rule_error(pairing, source->name, "(parley.field).split or merge",
                          "the message has more than 256 fields; use a smaller one");
    op.action = ACTION_JOIN;
    int r = pairing_slot(pairing, &op.slot);
    for (size_t i = 0; i < message->field_count && r == 0; i++) {
        nested[i] = compile_check_op(compiler, &message->fields[i]);
        nested[i].action = ACTION_MARK;
        for (uint32_t j = 0; j < pattern->count && r == 0; j++) {
            if (pattern->pieces[j].field != &message->fields[i])
                continue;
            r = pairing_slot(pairing, &slots[j]);
            nested[i].action = ACTION_SLOT;
            nested[i].slot = slots[j];
        }
    }
    if (r < 0)
        return r;
    op.table = builder_add(&compiler->builder, SECTION_TABLE, 1);
    builder_set_ops(&compiler->builder, op.table, nested, message->field_count);
    struct program_table *table = builder_at(&compiler->builder, SECTION_TABLE, op.table);
    table->flags = TABLE_SHARED | TABLE_MARK;
    table->slot_count = pairing->slot_count;
    table->restore = PROGRAM_NONE;
    struct program_emit emit = pairing_emit_default(EMIT_JOIN, op.slot, target, KIND_STRING);
    emit.number = source->number;
    emit.template = add_template(pairing, pattern, slots, tags, otherwise);
    emit.required = pairing_required(pairing, target);
    emit.flags = target->presence ? EMIT_PRESENCE : 0;
    struct program_op back = compile_check_op(compiler, target);
    back.action = ACTION_SKIP;
    pairing_op(pairing, op);
    pairing_restore(pairing, back);
    return pairing_emit(pairing, emit);
}

int rules_split(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target)
{
    bool up = pairing->newer == pairing->target;
    struct texts texts = texts_of(up ? target : source, up ? source : target);
    struct pattern pattern;
    uint32_t otherwise = 0;
    int r = check_split(pairing, &texts, &pattern, &otherwise);
    if (r < 0)
        return r;
    return texts.string == source ? take_apart(pairing, source, target, &pattern, otherwise)
                                  : put_together(pairing, source, target, &pattern, otherwise);
}

/* ---- Drop ---- */

static const struct schema_field *find_older(const struct pairing *pairing, const char *name,
                                             size_t *ret_index)
{
    const struct schema_field *field = name ? schema_field_find(pairing->older, name) : NULL;
    *ret_index = field ? field_index(pairing->older, field) : 0;
    return field;
}

int rules_drops(struct pairing *pairing)
{
    static const char rule[] = "(parley.message).drop";
    const Parley__MessageRule *message = pairing->newer->rule;
    bool up = pairing->newer == pairing->target;
    for (size_t i = 0; message && i < message->n_drop; i++) {
        const Parley__Drop *drop = message->drop[i];
        size_t index;
        const struct schema_field *older = find_older(pairing, drop->from, &index);
        bool *done = up ? pairing->source_done : pairing->target_done;
        const struct schema_field **pair = up ? pairing->target_of : pairing->source_of;
        if (!older)
            return rule_error(pairing, drop->from, rule,
                              "the version before has no such field; name one that it has");
        if (!drop->reason || !*drop->reason)
            return rule_error(pairing, drop->from, rule,
                              "needs a reason, for those who read the diff; add one");
        if (pair[index] || done[index])
            return rule_error(pairing, drop->from, rule,
                              "has another rule or a field of this version that comes from it; "
                              "remove one of the two");
        pairing->compiler->loses |= drop->lossy;
        if (drop->lossy && up) {
            struct program_op op = compile_check_op(pairing->compiler, older);
            op.action = ACTION_SKIP;
            pairing_op(pairing, op);
            done[index] = true;
        }
        /* Without `restore` it travels like any field that the other version lacks. */
        if (!drop->restore)
            continue;
        if (!is_plain_text(pairing->older, older))
            return rule_error(pairing, drop->from, rule,
                              "`restore` is for a singular string without presence; leave it out");
        done[index] = true;
    }
    return 0;
}

/* A text that one version has alone, and the other makes of fields that both have. */
struct made {
    const struct schema_field *field;
    const struct schema_message *named; /* whose fields the template names: the newer, the older */
    const char *element, *rule, *template;
    bool lossy;
};

/* The slot in which the op of a field of the source notes its text. */
static int note_slot(struct pairing *pairing, const struct made *made,
                     const struct schema_field *named, uint16_t *ret_slot)
{
    bool is_source = made->named == pairing->source;
    size_t index = field_index(made->named, named);
    const struct schema_field *source = is_source ? named : pairing->source_of[index];
    struct program_op *op = source ? pairing_find(pairing, source->number) : NULL;
    bool plain = op && (op->action == ACTION_VERBATIM || op->action == ACTION_RENUMBER) &&
                 op->kind == KIND_STRING &&
                 !(op->flags & (OP_OWN_PRESENCE | OP_REPEATED | OP_YIELDS)) && !source->presence &&
                 (!is_source || pairing->target_of[index]);
    if (!plain)
        return error_set(pairing->compiler->error, -EINVAL,
                         "%s.%s: %s: {%s} must be a string that both versions have, unchanged; use "
                         "another field, or leave the rule out",
                         pairing->newer->name, made->element, made->rule, named->name);
    if (op->slot == PROGRAM_SLOT_NONE) {
        uint16_t slot;
        int r = pairing_slot(pairing, &slot);
        if (r < 0)
            return r;
        op = pairing_find(pairing, source->number);
        op->slot = slot;
    }
    *ret_slot = op->slot;
    return 0;
}

static int add_made(struct pairing *pairing, const struct made *made)
{
    /* The field is the source's, or the target's. */
    bool has = (made->named == pairing->newer) == (pairing->newer == pairing->target);
    struct pattern pattern;
    uint16_t slots[PROGRAM_PART_MAX], slot;
    uint32_t tags[PROGRAM_PART_MAX] = {0};
    int r =
        parse_pattern(pairing, made->element, made->rule, made->named, made->template, &pattern);
    if (r == 0)
        r = pairing_slot(pairing, &slot);
    for (uint32_t i = 0; i < pattern.count && r == 0; i++)
        if (pattern.pieces[i].field)
            r = note_slot(pairing, made, pattern.pieces[i].field, &slots[i]);
    if (r < 0 || (has && made->lossy))
        return r;
    uint32_t template = add_template(pairing, &pattern, slots, tags, 0);
    struct program_emit emit =
        pairing_emit_default(has ? EMIT_DROPPED : EMIT_TEXT, slot, made->field, KIND_STRING);
    emit.template = template;
    struct program_op op = compile_check_op(pairing->compiler, made->field);
    op.slot = slot;
    if (has) {
        op.action = ACTION_SLOT;
        pairing_op(pairing, op);
    } else {
        op.action = ACTION_GUARDED;
        op.template = template;
        emit.required = pairing_required(pairing, made->field);
        op.required = emit.required;
        pairing_restore(pairing, op);
    }
    return pairing_emit(pairing, emit);
}

static int restore_drop(struct pairing *pairing, const Parley__Drop *drop)
{
    size_t index;
    const struct made made = {
        .field = find_older(pairing, drop->from, &index),
        .named = pairing->newer,
        .element = drop->from,
        .rule = "(parley.message).drop: restore",
        .template = drop->restore,
        .lossy = drop->lossy,
    };
    return add_made(pairing, &made);
}

static int compute(struct pairing *pairing, const struct schema_field *field)
{
    static const char rule[] = "(parley.field).computed";
    const struct made made = {
        .field = field,
        .named = pairing->older,
        .element = field->name,
        .rule = rule,
        .template = field->rule->computed,
        .lossy = field->rule->lossy != NULL,
    };
    if (!is_plain_text(pairing->newer, field))
        return rule_error(pairing, field->name, rule,
                          "is for a singular string without presence; remove it");
    if (made.lossy && pairing->newer == pairing->source) {
        struct program_op op = compile_check_op(pairing->compiler, field);
        op.action = ACTION_SKIP;
        pairing_op(pairing, op);
    }
    return add_made(pairing, &made);
}

int rules_restores(struct pairing *pairing)
{
    const Parley__MessageRule *message = pairing->newer->rule;
    for (size_t i = 0; message && i < message->n_drop; i++) {
        if (!message->drop[i]->restore)
            continue;
        int r = restore_drop(pairing, message->drop[i]);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < pairing->newer->field_count; i++) {
        const struct schema_field *field = &pairing->newer->fields[i];
        int r = field->rule && field->rule->computed ? compute(pairing, field) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}
