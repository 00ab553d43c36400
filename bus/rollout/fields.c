/*
 * Reading values: each function takes one kind of value and knows how to say what it expected.
 * Numbers are read by hand: strtod() knows locales, hexadecimal and infinity, and documents do not.
 */
#include "rollout/fields.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest.h"

int field_error(const struct fields *fields, const struct node *node, int code, const char *format,
                ...)
{
    char text[ERROR_TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(fields->error, code, "%s:%u:%u: %s", fields->file, node->line, node->column,
                     text);
}

/* ---- Names ---- */

static int unknown_key(const struct fields *fields, const struct node *child, const char *where,
                       const char *const *names)
{
    size_t count = 0;
    while (names[count])
        count++;
    const char *near = nearest(child->key, names, count);
    char known[256] = "";
    for (size_t i = 0; names[i] && !near; i++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return error_set(fields->error, -EINVAL, "%s:%u:%u: %s has no key \"%.64s\": %s%s%s",
                     fields->file, child->key_line, child->key_column, where, child->key,
                     near ? "was \"" : "one of ", near ? near : known,
                     near ? "\" meant?" : " was expected");
}

int fields_of(const struct fields *fields, const struct node *node, const char *where,
              const char *const *names, const struct node **ret)
{
    for (size_t i = 0; names[i]; i++)
        ret[i] = NULL;
    if (node->kind != NODE_MAPPING)
        return field_error(fields, node, -EINVAL, "%s is %s: a mapping was expected", where,
                           node_kind_name(node));
    for (const struct node *child = node->first; child; child = child->next) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], child->key) != 0)
            i++;
        if (!names[i])
            return unknown_key(fields, child, where, names);
        ret[i] = child;
    }
    return 0;
}

/* ---- Values ---- */

static int expected(const struct fields *fields, const struct node *node, const char *where,
                    const char *what)
{
    if (node->kind != NODE_SCALAR || node_is_null(node))
        return field_error(fields, node, -EINVAL, "%s is %s: %s was expected", where,
                           node_kind_name(node), what);
    return field_error(fields, node, -EINVAL, "%s is \"%.64s\": %s was expected", where, node->text,
                       what);
}

int field_list(const struct fields *fields, const struct node *node, const char *where,
               uint32_t min, uint32_t max, uint32_t *ret_count)
{
    if (node->kind != NODE_LIST)
        return expected(fields, node, where, "a list");
    uint32_t count = 0;
    for (const struct node *child = node->first; child; child = child->next)
        count++;
    if (count < min || count > max)
        return field_error(fields, node, count > max ? -E2BIG : -EINVAL,
                           "%s has %u entries: %u to %u were expected", where, count, min, max);
    *ret_count = count;
    return 0;
}

int field_text(const struct fields *fields, const struct node *node, const char *where,
               size_t bytes_max, char *ret_text)
{
    if (node->kind != NODE_SCALAR || node_is_null(node) || node->bytes == 0)
        return expected(fields, node, where, "text");
    if (node->bytes > bytes_max)
        return field_error(fields, node, -E2BIG, "%s has %zu bytes: at most %zu were expected",
                           where, node->bytes, bytes_max);
    memcpy(ret_text, node->text, node->bytes + 1);
    return 0;
}

int field_bool(const struct fields *fields, const struct node *node, const char *where, bool *ret)
{
    bool is = node->kind == NODE_SCALAR && node->plain;
    if (!is || (strcmp(node->text, "true") != 0 && strcmp(node->text, "false") != 0))
        return expected(fields, node, where, "true or false");
    *ret = node->text[0] == 't';
    return 0;
}

/* Digits at *pos; moves it behind them. Return: whether there are any, and the value is below the
 * bound of what we read. */
static bool read_number(const char **pos, uint64_t *ret)
{
    const char *start = *pos;
    uint64_t value = 0;
    for (; **pos >= '0' && **pos <= '9'; (*pos)++) {
        if (*pos - start >= 12)
            return false;
        value = value * 10 + (uint64_t)(**pos - '0');
    }
    *ret = value;
    return *pos > start;
}

int field_u32(const struct fields *fields, const struct node *node, const char *where, uint32_t min,
              uint32_t max, uint32_t *ret)
{
    char what[64];
    uint64_t value;
    (void)snprintf(what, sizeof(what), "a whole number from %u to %u", min, max);
    const char *pos = node->text;
    if (node->kind != NODE_SCALAR || !node->plain || !read_number(&pos, &value) || *pos ||
        value < min || value > max)
        return expected(fields, node, where, what);
    *ret = (uint32_t)value;
    return 0;
}

/* A decimal number with up to three decimals, in thousandths. */
static bool read_thousandths(const char **pos, uint64_t *ret)
{
    uint64_t whole, part = 0, scale = 100;
    if (!read_number(pos, &whole))
        return false;
    if (**pos == '.') {
        (*pos)++;
        const char *start = *pos;
        for (; **pos >= '0' && **pos <= '9' && scale > 0; (*pos)++, scale /= 10)
            part += (uint64_t)(**pos - '0') * scale;
        if (*pos == start)
            return false;
    }
    *ret = whole * 1000 + part;
    return true;
}

int field_percent(const struct fields *fields, const struct node *node, const char *where,
                  bool sign, uint32_t *ret_buckets)
{
    uint64_t value = 0;
    const char *pos = node->text;
    bool good = node->kind == NODE_SCALAR && read_thousandths(&pos, &value);
    if (good && *pos == '%')
        pos++;
    else if (sign)
        good = false;
    if (!good || *pos || value > ROLLOUT_BUCKETS)
        return expected(fields, node, where,
                        sign ? "a percentage like 2%, from 0% to 100%, with up to three decimals,"
                             : "a percentage like 12.5, from 0 to 100, with up to three decimals,");
    *ret_buckets = (uint32_t)value;
    return 0;
}

int field_ratio(const struct fields *fields, const struct node *node, const char *where,
                uint32_t min_thousandths, uint32_t max_thousandths, double *ret)
{
    char what[96];
    uint64_t value = 0;
    const char *pos = node->text;
    (void)snprintf(what, sizeof(what), "a number from %g to %g, with up to three decimals,",
                   min_thousandths / 1e3, max_thousandths / 1e3);
    if (node->kind != NODE_SCALAR || !node->plain || !read_thousandths(&pos, &value) || *pos ||
        value < min_thousandths || value > max_thousandths)
        return expected(fields, node, where, what);
    *ret = (double)value / 1e3;
    return 0;
}

/* The unit at *pos in ns, 0 if there is none; moves it behind. */
static uint64_t read_unit(const char **pos)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ms", UINT64_C(1000000)},
        {"s", UINT64_C(1000000000)},
        {"m", UINT64_C(60000000000)},
        {"h", UINT64_C(3600000000000)},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t bytes = strlen(units[i].name);
        if (strncmp(*pos, units[i].name, bytes) == 0) {
            *pos += bytes;
            return units[i].ns;
        }
    }
    return 0;
}

/* Numbers with units, each smaller than the one before: "1h30m". */
static bool read_duration(const char *pos, uint64_t *ret_ns)
{
    uint64_t total = 0, last = UINT64_MAX;
    if (strcmp(pos, "0") == 0) {
        *ret_ns = 0;
        return true;
    }
    do {
        uint64_t count;
        if (!read_number(&pos, &count))
            return false;
        uint64_t unit = read_unit(&pos);
        if (unit == 0 || unit >= last || count > ROLLOUT_HOLD_NS_MAX / unit)
            return false;
        total += count * unit; /* at most four times the bound */
        last = unit;
    } while (*pos);
    *ret_ns = total;
    return total <= ROLLOUT_HOLD_NS_MAX;
}

int field_duration(const struct fields *fields, const struct node *node, const char *where,
                   uint64_t min_ns, uint64_t *ret_ns)
{
    char what[96];
    uint64_t ns;
    (void)snprintf(what, sizeof(what), "a duration like 30s, 5m or 1h30m, from %gs to 720h,",
                   (double)min_ns / 1e9);
    if (node->kind != NODE_SCALAR || !read_duration(node->text, &ns) || ns < min_ns)
        return expected(fields, node, where, what);
    *ret_ns = ns;
    return 0;
}
