/*
 * Counting. The histogram is logarithmic with eight buckets to a doubling, so that a quantile is
 * exact to an eighth and the histograms of several processes can be added; on the wire between
 * client and demo only the buckets that are not empty are written.
 */
#include "tally.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static unsigned bucket_of(uint64_t ns)
{
    if (ns < (1u << TALLY_SUB_BITS))
        return (unsigned)ns;
    unsigned octave = 63 - (unsigned)__builtin_clzll(ns);
    if (octave >= TALLY_OCTAVE_MAX)
        return TALLY_BUCKET_COUNT - 1;
    unsigned sub = (unsigned)(ns >> (octave - TALLY_SUB_BITS)) & ((1u << TALLY_SUB_BITS) - 1);
    return ((octave - TALLY_SUB_BITS + 1) << TALLY_SUB_BITS) + sub;
}

/* The middle of a bucket. */
static uint64_t bucket_ns(unsigned bucket)
{
    if (bucket < (1u << TALLY_SUB_BITS))
        return bucket;
    unsigned octave = (bucket >> TALLY_SUB_BITS) + TALLY_SUB_BITS - 1;
    uint64_t sub = bucket & ((1u << TALLY_SUB_BITS) - 1);
    uint64_t width = UINT64_C(1) << (octave - TALLY_SUB_BITS);
    return ((UINT64_C(1) << TALLY_SUB_BITS) + sub) * width + width / 2;
}

void tally_latency(struct tally *tally, uint64_t ns)
{
    tally->latency[bucket_of(ns)]++;
}

static void served_add(struct tally *tally, const char *version, uint64_t calls)
{
    for (int i = 0; i < TALLY_VERSION_MAX; i++) {
        if (!tally->served[i].version[0])
            snprintf(tally->served[i].version, sizeof(tally->served[i].version), "%s", version);
        if (strcmp(tally->served[i].version, version) == 0) {
            tally->served[i].calls += calls;
            return;
        }
    }
}

void tally_served(struct tally *tally, const char *version)
{
    served_add(tally, version, 1);
}

uint64_t tally_served_by(const struct tally *tally, const char *version)
{
    for (int i = 0; i < TALLY_VERSION_MAX; i++)
        if (strcmp(tally->served[i].version, version) == 0)
            return tally->served[i].calls;
    return 0;
}

static void keep_first(char *text, const char *other)
{
    if (!text[0])
        snprintf(text, TALLY_TEXT_BYTES, "%s", other);
}

void tally_add(struct tally *total, const struct tally *tally)
{
    total->calls += tally->calls;
    total->failed += tally->failed;
    total->wrong += tally->wrong;
    total->translated += tally->translated;
    total->retried += tally->retried;
    total->visits += tally->visits;
    total->ill += tally->ill;
    total->unavailable_no += tally->unavailable_no;
    total->unavailable_unknown += tally->unavailable_unknown;
    if (tally->unavailable_ns_max > total->unavailable_ns_max)
        total->unavailable_ns_max = tally->unavailable_ns_max;
    for (int i = 0; i < TALLY_VERSION_MAX && tally->served[i].version[0]; i++)
        served_add(total, tally->served[i].version, tally->served[i].calls);
    for (unsigned i = 0; i < TALLY_BUCKET_COUNT; i++)
        total->latency[i] += tally->latency[i];
    keep_first(total->failure, tally->failure);
    keep_first(total->difference, tally->difference);
}

void tally_since(const struct tally *now, const struct tally *before, struct tally *ret)
{
    *ret = *now;
    ret->calls -= before->calls;
    ret->failed -= before->failed;
    ret->wrong -= before->wrong;
    ret->translated -= before->translated;
    ret->retried -= before->retried;
    ret->visits -= before->visits;
    ret->ill -= before->ill;
    ret->unavailable_no -= before->unavailable_no;
    ret->unavailable_unknown -= before->unavailable_unknown;
    for (int i = 0; i < TALLY_VERSION_MAX && ret->served[i].version[0]; i++)
        ret->served[i].calls -= tally_served_by(before, ret->served[i].version);
    for (unsigned i = 0; i < TALLY_BUCKET_COUNT; i++)
        ret->latency[i] -= before->latency[i];
}

uint64_t tally_quantile_ns(const struct tally *tally, double quantile)
{
    uint64_t count = 0, seen = 0;
    for (unsigned i = 0; i < TALLY_BUCKET_COUNT; i++)
        count += tally->latency[i];
    for (unsigned i = 0; i < TALLY_BUCKET_COUNT; i++) {
        seen += tally->latency[i];
        if (seen && (double)seen >= quantile * (double)count)
            return bucket_ns(i);
    }
    return 0;
}

/* ---- JSON ---- */

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
#define NUMBER(field) {#field, offsetof(struct tally, field)}
    NUMBER(calls),          NUMBER(failed),
    NUMBER(wrong),          NUMBER(translated),
    NUMBER(retried),        NUMBER(visits),
    NUMBER(unavailable_no), NUMBER(unavailable_unknown),
    NUMBER(unavailable_ns_max), NUMBER(ill),
#undef NUMBER
};
#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

json_t *tally_to_json(const struct tally *tally)
{
    json_t *json = json_object(), *served = json_object(), *latency = json_array();
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        uint64_t value = *(const uint64_t *)((const char *)tally + numbers[i].offset);
        json_object_set_new(json, numbers[i].name, json_integer((json_int_t)value));
    }
    for (int i = 0; i < TALLY_VERSION_MAX && tally->served[i].version[0]; i++)
        json_object_set_new(served, tally->served[i].version,
                            json_integer((json_int_t)tally->served[i].calls));
    for (unsigned i = 0; i < TALLY_BUCKET_COUNT; i++)
        if (tally->latency[i])
            json_array_append_new(latency,
                                  json_pack("[iI]", (int)i, (json_int_t)tally->latency[i]));
    json_object_set_new(json, "served", served);
    json_object_set_new(json, "latency", latency);
    if (tally->failure[0])
        json_object_set_new(json, "failure", json_string(tally->failure));
    if (tally->difference[0])
        json_object_set_new(json, "difference", json_string(tally->difference));
    return json;
}

static bool natural(const json_t *json, uint64_t *ret_value)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        return false;
    *ret_value = (uint64_t)json_integer_value(json);
    return true;
}

static void read_latency(const json_t *json, struct tally *tally)
{
    size_t index;
    json_t *pair;
    json_array_foreach(json, index, pair)
    {
        uint64_t bucket, count;
        if (natural(json_array_get(pair, 0), &bucket) && bucket < TALLY_BUCKET_COUNT &&
            natural(json_array_get(pair, 1), &count))
            tally->latency[bucket] = count;
    }
}

static void read_text(const json_t *json, char *text)
{
    if (json_is_string(json))
        keep_first(text, json_string_value(json));
}

int tally_from_json(const json_t *json, struct tally *ret_tally)
{
    struct tally tally = {0};
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        if (!natural(json_object_get(json, numbers[i].name),
                     (uint64_t *)((char *)&tally + numbers[i].offset)))
            return -1;
    const char *version;
    json_t *value;
    json_t *served = json_object_get(json, "served");
    json_object_foreach(served, version, value)
    {
        uint64_t calls;
        if (natural(value, &calls))
            served_add(&tally, version, calls);
    }
    read_latency(json_object_get(json, "latency"), &tally);
    read_text(json_object_get(json, "failure"), tally.failure);
    read_text(json_object_get(json, "difference"), tally.difference);
    *ret_tally = tally;
    return 0;
}
