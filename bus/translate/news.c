/*
 * Fields that the newer version has alone, and says something about: what they are where the
 * version before is silent (`default`), or that they may be lost (`lossy`). What is made of other
 * fields
 * (`computed`) is text, and in rules.c.
 *
 * A default. Older to newer, it is written at the end of the message, unless a carrier says what
 * was there: a value, or, by a record of the wrong wire type, that there was none. Newer to older,
 * a value that is the default is left out, and everything else is carried: other values, and
 * absence, which on the way back would be taken for the default.
 */
#include "translate/compile.h"

#include <errno.h>
#include <string.h>

static int news_error(const struct pairing *pairing, const struct schema_field *field,
                      const char *rule, const char *what)
{
    return error_set(pairing->compiler->error, -EINVAL, "%s.%s: (parley.field).%s: %s",
                     pairing->newer->name, field->name, rule, what);
}

bool rules_is_news(const Parley__FieldRule *rule)
{
    return !rule->from && !rule->has_multiply && !rule->convert && !rule->split && !rule->merge &&
           !rule->wrap && !rule->unwrap && !rule->entries && !rule->has_pick &&
           (rule->default_ || rule->computed || rule->lossy);
}

/* The default as a record of the program; *ret_nothing: it is what absence is anyway. */
static int read_default(struct pairing *pairing, const struct schema_field *field,
                        uint32_t *ret_convert, bool *ret_nothing)
{
    enum kind kind = compile_kind(field);
    struct program_convert convert = {
        .mode = CONVERT_VALUE,
        .map = PROGRAM_NONE,
        .multiply = 1,
        .divide = 1,
        .kind = (uint8_t)kind,
        .written = (uint8_t)kind,
    };
    if (field->message || field->repeated || field_shares_oneof(pairing->newer, field))
        return news_error(pairing, field, "default",
                          "is for a singular value outside of oneofs; remove it");
    int r = rules_literal(pairing, field, field->rule->default_, "default", &convert);
    *ret_nothing = !field->presence && convert.otherwise == 0 && convert.text_bytes == 0;
    if (r == 0)
        *ret_convert = rules_add_convert(pairing, &convert);
    return r;
}

/* Older to newer. */
static int add_constant(struct pairing *pairing, const struct schema_field *field, uint32_t convert)
{
    struct program_op back = compile_check_op(pairing->compiler, field);
    back.action = ACTION_TOLD;
    int r = pairing_slot(pairing, &back.slot);
    if (r < 0)
        return r;
    struct program_emit emit =
        pairing_emit_default(EMIT_CONSTANT, back.slot, field, compile_kind(field));
    emit.node = convert;
    emit.required = pairing_required(pairing, field);
    pairing_restore(pairing, back);
    return pairing_emit(pairing, emit);
}

/* Newer to older. */
static int add_unusual(struct pairing *pairing, const struct schema_field *field, uint32_t convert)
{
    struct program_op op = compile_check_op(pairing->compiler, field);
    op.action = ACTION_LATER;
    op.convert = convert;
    int r = pairing_slot(pairing, &op.slot);
    if (r < 0)
        return r;
    struct program_emit emit =
        pairing_emit_default(EMIT_UNUSUAL, op.slot, field, compile_kind(field));
    pairing_op(pairing, op);
    return pairing_emit(pairing, emit);
}

static void leave_out(struct pairing *pairing, const struct schema_field *field)
{
    struct program_op op = compile_check_op(pairing->compiler, field);
    op.action = ACTION_SKIP;
    pairing_op(pairing, op);
}

static int add_news(struct pairing *pairing, const struct schema_field *field)
{
    bool up = pairing->newer == pairing->target;
    bool *done =
        (up ? pairing->target_done : pairing->source_done) + field_index(pairing->newer, field);
    const Parley__FieldRule *rule = field->rule;
    uint32_t convert = PROGRAM_NONE;
    bool nothing = true;
    int r = rules_check(pairing, field);
    if (r == 0 && rule->default_)
        r = read_default(pairing, field, &convert, &nothing);
    if (r < 0)
        return r;
    pairing->compiler->loses |= rule->lossy != NULL;
    if (rule->computed) {
        *done = true; /* rules_restores() */
        return 0;
    }
    if (rule->lossy && !up) {
        *done = true;
        leave_out(pairing, field);
        return 0;
    }
    if (nothing)
        return 0;
    *done = true;
    return up ? add_constant(pairing, field, convert) : add_unusual(pairing, field, convert);
}

int rules_news(struct pairing *pairing)
{
    bool up = pairing->newer == pairing->target;
    for (size_t i = 0; i < pairing->newer->field_count; i++) {
        const struct schema_field *field = &pairing->newer->fields[i];
        const Parley__FieldRule *rule = field->rule;
        bool paired = (up ? pairing->source_of : pairing->target_of)[i] != NULL;
        if (!rule || (paired && !rule->default_ && !rule->computed))
            continue;
        if (paired)
            return news_error(pairing, field, rule->default_ ? "default" : "computed",
                              "is for a field that the version before lacks, but it has one of "
                              "that name; remove the rule, or rename the field");
        int r = add_news(pairing, field);
        if (r < 0)
            return r;
    }
    return 0;
}
