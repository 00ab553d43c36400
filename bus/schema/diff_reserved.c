/*
 * What `reserved` says: numbers and names that no field or value may have.
 *
 * A message's ranges end before their end and an enum's with it, and either may overlap or touch.
 * So they are brought into one form first: ascending and merged, which makes "is it reserved" a
 * bisection and "is all of it still reserved" one bisection a range, however many ranges a peer's
 * schema has.
 */
#include "schema/diff_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_ranges(const void *a, const void *b)
{
    const struct diff_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void normalize(struct diff_reserved *reserved)
{
    struct diff_range *ranges = reserved->ranges;
    size_t count = 0;
    if (reserved->range_count > 0)
        qsort(ranges, reserved->range_count, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < reserved->range_count; i++) {
        if (ranges[i].first > ranges[i].last)
            continue; /* no protoc writes it: empty */
        if (count > 0 && ranges[i].first <= ranges[count - 1].last + 1) {
            if (ranges[i].last > ranges[count - 1].last)
                ranges[count - 1].last = ranges[i].last;
        } else {
            ranges[count++] = ranges[i];
        }
    }
    reserved->range_count = count;
    if (reserved->name_count > 0)
        qsort(reserved->names, reserved->name_count, sizeof(*reserved->names), compare_names);
}

static bool reserve(struct diff *diff, struct diff_reserved *reserved, size_t ranges, char **names,
                    size_t name_count)
{
    *reserved = (struct diff_reserved){
        .ranges = calloc(ranges + 1, sizeof(*reserved->ranges)),
        .names = calloc(name_count + 1, sizeof(*reserved->names)),
    };
    if (!reserved->ranges || !reserved->names) {
        diff->error = -ENOMEM;
        return false;
    }
    for (size_t i = 0; i < name_count; i++)
        reserved->names[i] = names[i];
    reserved->name_count = name_count;
    return true;
}

void diff_reserved_message(struct diff *diff, const Google__Protobuf__DescriptorProto *proto,
                           struct diff_reserved *reserved)
{
    if (!reserve(diff, reserved, proto->n_reserved_range, proto->reserved_name,
                 proto->n_reserved_name))
        return;
    for (size_t i = 0; i < proto->n_reserved_range; i++)
        reserved->ranges[i] = (struct diff_range){proto->reserved_range[i]->start,
                                                  (int64_t)proto->reserved_range[i]->end - 1};
    reserved->range_count = proto->n_reserved_range;
    normalize(reserved);
}

void diff_reserved_enum(struct diff *diff, const Google__Protobuf__EnumDescriptorProto *proto,
                        struct diff_reserved *reserved)
{
    if (!reserve(diff, reserved, proto->n_reserved_range, proto->reserved_name,
                 proto->n_reserved_name))
        return;
    for (size_t i = 0; i < proto->n_reserved_range; i++)
        reserved->ranges[i] =
            (struct diff_range){proto->reserved_range[i]->start, proto->reserved_range[i]->end};
    reserved->range_count = proto->n_reserved_range;
    normalize(reserved);
}

/* The range that @number is in, or the first one behind it; NULL: none. */
static const struct diff_range *at_or_behind(const struct diff_reserved *reserved, int64_t number)
{
    size_t low = 0, high = reserved->range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (reserved->ranges[middle].last < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < reserved->range_count ? &reserved->ranges[low] : NULL;
}

bool diff_reserved_number(const struct diff_reserved *reserved, int64_t number)
{
    const struct diff_range *range = at_or_behind(reserved, number);
    return range && range->first <= number;
}

bool diff_reserved_name(const struct diff_reserved *reserved, const char *name)
{
    return bsearch(&name, reserved->names, reserved->name_count, sizeof(name), compare_names);
}

void diff_reserved_deinit(struct diff_reserved *reserved)
{
    free(reserved->ranges);
    free(reserved->names);
    *reserved = (struct diff_reserved){0};
}

/* The first numbers of @range that are not reserved; false: all are. */
static bool first_gap(const struct diff_reserved *reserved, struct diff_range range,
                      struct diff_range *ret_gap)
{
    const struct diff_range *cover = at_or_behind(reserved, range.first);
    if (cover && cover->first <= range.first) {
        if (cover->last >= range.last)
            return false;
        range.first = cover->last + 1;
        cover = cover + 1 < reserved->ranges + reserved->range_count ? cover + 1 : NULL;
    }
    if (cover && cover->first <= range.last)
        range.last = cover->first - 1;
    *ret_gap = range;
    return true;
}

void diff_reserved_pair(struct diff *diff, enum diff_rule rule, const struct diff_place *place,
                        const char *element, const struct diff_reserved *old,
                        const struct diff_reserved *new)
{
    for (size_t i = 0; i < old->range_count; i++) {
        struct diff_range gap = {0, 0};
        if (!first_gap(new, old->ranges[i], &gap))
            continue;
        char text[64];
        if (gap.first == gap.last)
            (void)snprintf(text, sizeof(text), "%" PRId64, gap.first);
        else
            (void)snprintf(text, sizeof(text), "%" PRId64 " to %" PRId64, gap.first, gap.last);
        diff_report(diff, rule, place, element, NULL,
                    "%s was reserved and is not any more: messages of older versions may have it "
                    "with another meaning; put back: reserved %s;",
                    text, text);
    }
    for (size_t i = 0; i < old->name_count; i++)
        if (!diff_reserved_name(new, old->names[i]))
            diff_report(diff, rule, place, element, NULL,
                        "\"%s\" was reserved and is not any more: JSON of older versions may have "
                        "it with another meaning; put back: reserved \"%s\";",
                        PRINTABLE(old->names[i]), PRINTABLE(old->names[i]));
}
