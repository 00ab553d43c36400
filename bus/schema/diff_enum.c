/*
 * Two enums of one name: values meet by number.
 *
 * A number may have several names (allow_alias). What a number was called must be among what it is
 * called now; more names are no harm, and a number that is no longer there must be reserved, each
 * of its names as well. So both are sorted by number, then by name, and compared number by number.
 */
#include "schema/diff_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef const struct schema_enum_value *value_ref;

static int compare_values(const void *a, const void *b)
{
    const struct schema_enum_value *x = *(const value_ref *)a, *y = *(const value_ref *)b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->name, y->name);
}

int diff_enum_values_init(struct diff_enum_values *values, const struct schema_enum *enumeration)
{
    *values = (struct diff_enum_values){0};
    values->values = calloc(enumeration->value_count + 1, sizeof(value_ref));
    if (!values->values)
        return -ENOMEM;
    values->count = enumeration->value_count;
    for (size_t i = 0; i < values->count; i++)
        values->values[i] = &enumeration->values[i];
    qsort(values->values, values->count, sizeof(value_ref), compare_values);
    return 0;
}

void diff_enum_values_deinit(struct diff_enum_values *values)
{
    free(values->values);
    *values = (struct diff_enum_values){0};
}

bool diff_enum_values_have(const struct diff_enum_values *values,
                           const struct schema_enum_value *value)
{
    return bsearch(&value, values->values, values->count, sizeof(value_ref), compare_values);
}

struct pair {
    struct diff *diff;
    const struct schema_enum *old, *new;
    struct diff_enum_values olds, news;
    struct diff_reserved before, after;
};

/* How many from @first on have its number. */
static size_t same_number(const struct diff_enum_values *values, size_t first)
{
    size_t end = first + 1;
    while (end < values->count && values->values[end]->number == values->values[first]->number)
        end++;
    return end - first;
}

/* Their names, as many as fit. */
static const char *join(const value_ref *values, size_t count, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used + 1 < bytes; i++) {
        int n = snprintf(text + used, bytes - used, "%s\"%s\"", i > 0 ? ", " : "", values[i]->name);
        used += (size_t)n;
    }
    return text;
}

static void check_deleted(struct pair *pair, const value_ref *values, size_t count)
{
    int32_t number = values[0]->number;
    const struct diff_place *place = DIFF_PLACE(.enumeration = pair->new);
    if (!diff_reserved_number(&pair->after, number))
        diff_report(pair->diff, DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED, place,
                    pair->new->name, values[0]->name,
                    "value %" PRId32 " \"%s\" was deleted without reserving its number, which a "
                    "later value could take for another meaning; add: reserved %" PRId32 ";",
                    number, values[0]->name, number);
    for (size_t i = 0; i < count; i++)
        if (!diff_reserved_name(&pair->after, values[i]->name))
            diff_report(pair->diff, DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED, place,
                        pair->new->name, values[i]->name,
                        "value %" PRId32 " \"%s\" was deleted without reserving its name, which a "
                        "later value could take for another meaning in JSON; add: reserved \"%s\";",
                        number, values[i]->name, values[i]->name);
}

static void check_names(struct pair *pair, const value_ref *olds, size_t old_count,
                        const value_ref *news, size_t new_count)
{
    bool all = true;
    for (size_t i = 0; i < old_count && all; i++)
        all = diff_enum_values_have(&pair->news, olds[i]);
    if (all)
        return;
    char from[160], to[160];
    diff_report(pair->diff, DIFF_ENUM_VALUE_SAME_NAME,
                DIFF_PLACE(.enumeration = pair->new, .value = news[0], .part = 1), pair->new->name,
                news[0]->name,
                "value %" PRId32 " changed its name from %s to %s, which readers of the old "
                "version's JSON do not know; keep the name, or have both with option allow_alias",
                news[0]->number, join(olds, old_count, from, sizeof(from)),
                join(news, new_count, to, sizeof(to)));
}

static void walk_values(struct pair *pair)
{
    const struct diff_enum_values *olds = &pair->olds, *news = &pair->news;
    for (size_t i = 0, k = 0; i < olds->count;) {
        size_t count = same_number(olds, i);
        int32_t number = olds->values[i]->number;
        while (k < news->count && news->values[k]->number < number)
            k++;
        if (k == news->count || news->values[k]->number != number)
            check_deleted(pair, olds->values + i, count);
        else
            check_names(pair, olds->values + i, count, news->values + k, same_number(news, k));
        i += count;
    }
}

void diff_enum_pair(struct diff *diff, const struct schema_enum *old, const struct schema_enum *new)
{
    struct pair pair = {.diff = diff, .old = old, .new = new};
    if (diff_file_is_proto3(old->file) && !diff_file_is_proto3(new->file))
        diff_report(diff, DIFF_ENUM_SAME_JSON_FORMAT, DIFF_PLACE(.enumeration = new), new->name,
                    NULL,
                    "enum \"%s\" moved from proto3 to proto2, which promises no JSON form; keep "
                    "syntax = \"proto3\"",
                    new->local);
    if (diff_enum_values_init(&pair.olds, old) < 0 || diff_enum_values_init(&pair.news, new) < 0)
        diff->error = -ENOMEM;
    diff_reserved_enum(diff, old->proto, &pair.before);
    diff_reserved_enum(diff, new->proto, &pair.after);
    if (!diff->error) {
        walk_values(&pair);
        diff_reserved_pair(diff, DIFF_RESERVED_ENUM_NO_DELETE, DIFF_PLACE(.enumeration = new),
                           new->name, &pair.before, &pair.after);
    }
    diff_enum_values_deinit(&pair.olds);
    diff_enum_values_deinit(&pair.news);
    diff_reserved_deinit(&pair.before);
    diff_reserved_deinit(&pair.after);
}
