/*
 * When two messages are the same, and messages as text for people.
 */
#include "laws.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool differ(struct error_text *where, const char *name, const char *what)
{
    error_set(where, 0, "%s: %s", name, what);
    return false;
}

static bool is_bytes(const struct schema_field *field)
{
    return field->type == TYPE(STRING) || field->type == TYPE(BYTES);
}

static bool same_data(const struct value *a, const struct value *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

static bool value_equal(const struct schema_field *field, const struct value *a,
                        const struct value *b, unsigned flags, struct error_text *where)
{
    if (field->type == TYPE(MESSAGE)) {
        if (tree_equal(a->tree, b->tree, flags, where))
            return true;
        error_prefix(where, 0, "%s", field->name);
        return false;
    }
    if (is_bytes(field) ? same_data(a, b) : a->bits == b->bits)
        return true;
    return differ(where, field->name, "another value");
}

/* ---- Maps: by key, the last entry wins, what is not in an entry is the default ---- */

static bool same_key(const struct tree *a, const struct tree *b)
{
    struct error_text ignored;
    const struct values *x = &a->fields[0], *y = &b->fields[0];
    static const struct value nothing;
    return value_equal(&a->type->fields[0], x->count ? &x->list[0] : &nothing,
                       y->count ? &y->list[0] : &nothing, 0, &ignored);
}

static const struct tree *find_last(const struct values *entries, const struct tree *key)
{
    for (size_t i = entries->count; i > 0; i--)
        if (same_key(entries->list[i - 1].tree, key))
            return entries->list[i - 1].tree;
    return NULL;
}

static bool entry_value_equal(const struct tree *a, const struct tree *b, unsigned flags,
                              struct error_text *where)
{
    const struct schema_field *field = &a->type->fields[1];
    struct arena arena = {NULL};
    struct value none = {0}, none_too = {0};
    if (field->type == TYPE(MESSAGE))
        none.tree = none_too.tree = tree_new(&arena, field->message);
    const struct values *x = &a->fields[1], *y = &b->fields[1];
    bool equal = value_equal(field, x->count ? &x->list[0] : &none,
                             y->count ? &y->list[0] : &none_too, flags, where);
    arena_free(&arena);
    return equal;
}

static bool map_within(const struct schema_field *field, const struct values *a,
                       const struct values *b, unsigned flags, struct error_text *where)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct tree *key = a->list[i].tree;
        const struct tree *x = find_last(a, key), *y = find_last(b, key);
        if (!y)
            return differ(where, field->name, "a key of the map is in one of them only");
        if (!entry_value_equal(x, y, flags, where)) {
            error_prefix(where, 0, "%s", field->name);
            return false;
        }
    }
    return true;
}

/* ---- Fields, unknown fields, messages ---- */

/* A singular field without presence that has its default is one that is not there. */
static size_t count_of(const struct schema_field *field, const struct values *values)
{
    if (field->repeated || field->presence || values->count == 0)
        return values->count;
    const struct value *value = &values->list[0];
    return (is_bytes(field) ? value->bytes == 0 : value->bits == 0) ? 0 : 1;
}

bool values_equal(const struct schema_field *field, const struct values *a, const struct values *b,
                  unsigned flags, struct error_text *where)
{
    if (field->message && field->message->map_entry)
        return map_within(field, a, b, flags, where) && map_within(field, b, a, flags, where);
    size_t count = count_of(field, a);
    if ((count == 1 && a->list[0].perhaps && count_of(field, b) == 0) ||
        (count == 0 && count_of(field, b) == 1 && b->list[0].perhaps))
        return true;
    if (count != count_of(field, b)) {
        error_set(where, 0, "%s: %zu and %zu values", field->name, count, count_of(field, b));
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (!value_equal(field, &a->list[i], &b->list[i], flags, where))
            return false;
    return true;
}

static bool same_unknown(const struct unknown *a, const struct unknown *b)
{
    return a->type == b->type && a->bits == b->bits && a->bytes == b->bytes &&
           (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

/* The @n-th unknown field of that number. */
static const struct unknown *nth(const struct tree *tree, uint32_t number, size_t n)
{
    for (size_t i = 0; i < tree->unknown_count; i++)
        if (tree->unknowns[i].number == number && n-- == 0)
            return &tree->unknowns[i];
    return NULL;
}

/* Every unknown field of @a is in @b, and those of one number in the same order. */
static bool unknowns_within(const struct tree *a, const struct tree *b, unsigned flags,
                            struct error_text *where)
{
    for (size_t i = 0; i < a->unknown_count; i++) {
        const struct unknown *unknown = &a->unknowns[i];
        if ((flags & COMPARE_NO_CARRIERS) && unknown->number == LAWS_CARRIER_NUMBER)
            continue;
        size_t n = 0;
        for (size_t j = 0; j < i; j++)
            n += a->unknowns[j].number == unknown->number;
        const struct unknown *other = nth(b, unknown->number, n);
        if (!other || !same_unknown(unknown, other)) {
            error_set(where, 0, "unknown field %u: %s", unknown->number,
                      other ? "another value" : "in one of them only");
            return false;
        }
    }
    return true;
}

bool tree_equal(const struct tree *a, const struct tree *b, unsigned flags,
                struct error_text *where)
{
    if (a->type != b->type)
        return differ(where, a->type->name, "another type");
    for (size_t i = 0; i < a->type->field_count; i++)
        if (!values_equal(&a->type->fields[i], &a->fields[i], &b->fields[i], flags, where))
            return false;
    return unknowns_within(a, b, flags, where) && unknowns_within(b, a, flags, where);
}

bool tree_in_pieces(const struct tree *tree)
{
    bool pieces = tree->pieces;
    for (size_t i = 0; i < tree->type->field_count && !pieces; i++)
        for (size_t j = 0; j < tree->fields[i].count && !pieces; j++)
            pieces = tree->fields[i].list[j].tree && tree_in_pieces(tree->fields[i].list[j].tree);
    return pieces;
}

bool tree_is_plain(const struct tree *tree)
{
    if (tree->pieces)
        return false;
    for (size_t i = 0; i < tree->unknown_count; i++) {
        const struct unknown *unknown = &tree->unknowns[i];
        if (unknown->number == LAWS_CARRIER_NUMBER &&
            (unknown->bytes != LAWS_FOREIGN_CARRIER_BYTES ||
             memcmp(unknown->data, LAWS_FOREIGN_CARRIER, unknown->bytes) != 0))
            return false;
    }
    for (size_t i = 0; i < tree->type->field_count; i++)
        for (size_t j = 0; j < tree->fields[i].count; j++) {
            const struct tree *nested = tree->fields[i].list[j].tree;
            if (nested && !tree_is_plain(nested))
                return false;
        }
    return true;
}

/* ---- As text ---- */

static void print_data(const uint8_t *data, size_t bytes, FILE *out)
{
    (void)fputc('"', out);
    for (size_t i = 0; i < bytes; i++)
        if (isprint(data[i]) && data[i] != '"' && data[i] != '\\')
            (void)fputc(data[i], out);
        else
            (void)fprintf(out, "\\x%02x", data[i]);
    (void)fputc('"', out);
}

static void print_value(const struct schema_field *field, const struct value *value, int indent,
                        FILE *out)
{
    (void)fprintf(out, "%*s%s", indent, "", field->name);
    if (field->type == TYPE(MESSAGE)) {
        (void)fputs(" {\n", out);
        tree_print(value->tree, indent + 2, out);
        (void)fprintf(out, "%*s}\n", indent, "");
        return;
    }
    (void)fputs(": ", out);
    float single;
    double twice;
    uint32_t low = (uint32_t)value->bits;
    memcpy(&single, &low, sizeof(single));
    memcpy(&twice, &value->bits, sizeof(twice));
    if (is_bytes(field))
        print_data(value->data, value->bytes, out);
    else if (field->type == TYPE(FLOAT))
        (void)fprintf(out, "%.9g", (double)single);
    else if (field->type == TYPE(DOUBLE))
        (void)fprintf(out, "%.17g", twice);
    else if (field->type == TYPE(UINT64) || field->type == TYPE(FIXED64))
        (void)fprintf(out, "%" PRIu64, value->bits);
    else
        (void)fprintf(out, "%" PRId64, (int64_t)value->bits);
    (void)fputc('\n', out);
}

void tree_print(const struct tree *tree, int indent, FILE *out)
{
    for (size_t i = 0; i < tree->type->field_count; i++)
        for (size_t j = 0; j < tree->fields[i].count; j++)
            print_value(&tree->type->fields[i], &tree->fields[i].list[j], indent, out);
    for (size_t i = 0; i < tree->unknown_count; i++) {
        const struct unknown *unknown = &tree->unknowns[i];
        (void)fprintf(out, "%*s%s%u: ", indent, "",
                      unknown->number == LAWS_CARRIER_NUMBER ? "carrier " : "", unknown->number);
        if (unknown->type == WIRE_BYTES)
            print_data(unknown->data, unknown->bytes, out);
        else
            (void)fprintf(out, "0x%" PRIx64, unknown->bits);
        (void)fputc('\n', out);
    }
}
