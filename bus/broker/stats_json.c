/*
 * Statistics as JSON, for /stats and for who asks by NNG without protobuf: what `parley stats
 * --json` prints (bus/report), and the buckets of each method's latency, of which the page makes
 * quantiles over time.
 */
#include "broker/broker.h"

#include <jansson.h>

#include "base/histogram.h"
#include "report/report.h"

/* Pairs of a bucket's lowest value in nanoseconds and its count; empty ones are left out. */
static json_t *latency_json(const Parley__Latency *latency)
{
    json_t *buckets = json_array();
    for (size_t i = 0; i < latency->n_bucket; i++)
        if (latency->bucket[i])
            json_array_append_new(buckets,
                                  json_pack("[I,I]", (json_int_t)histogram_floor((uint32_t)i),
                                            (json_int_t)latency->bucket[i]));
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "count", (json_int_t)latency->count, "p50_ns",
                     (json_int_t)latency->p50_ns, "p90_ns", (json_int_t)latency->p90_ns, "p99_ns",
                     (json_int_t)latency->p99_ns, "p999_ns", (json_int_t)latency->p999_ns,
                     "buckets", buckets);
}

char *stats_json(const Parley__Stats *stats)
{
    json_t *root = report_stats(stats), *methods = json_array();
    for (size_t i = 0; i < stats->n_method; i++) {
        json_t *method = report_method(stats->method[i]);
        json_object_set_new(method, "latency", latency_json(stats->method[i]->latency));
        json_array_append_new(methods, method);
    }
    json_object_set_new(root, "methods", methods);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}
