/*
 * Statistics as JSON. What is a count in stats.proto has the same name here, without a word in
 * between; the rest is written out below.
 */
#include "report/report.h"

#include "parley/client.h"
#include "report/set.h"

#define ALL UINT32_MAX
#define MIRROR_FIRST 40 /* of the fields of MethodStats: they are an object of their own */

static json_t *counts(const ProtobufCMessage *message)
{
    json_t *object = json_object();
    report_set_counts(object, message, ALL);
    return object;
}

static json_t *quantiles(const Parley__Latency *latency)
{
    if (!latency)
        return json_null();
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "count", (json_int_t)latency->count, "p50",
                     (json_int_t)latency->p50_ns, "p90", (json_int_t)latency->p90_ns, "p99",
                     (json_int_t)latency->p99_ns, "p999", (json_int_t)latency->p999_ns);
}

/* ---- Methods ---- */

uint64_t report_errors(const Parley__MethodStats *method)
{
    uint64_t errors = 0;
    for (size_t i = 1; i < method->n_by_status; i++)
        errors += method->by_status[i];
    return errors;
}

static json_t *by_status(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    for (size_t i = 0; i < method->n_by_status && i < PARLEY_STATUS_COUNT; i++)
        if (method->by_status[i] > 0)
            (void)json_object_set_new(object, parley_status_name((enum parley_status)i),
                                      json_integer((json_int_t)method->by_status[i]));
    return object;
}

static json_t *mirror(const Parley__MethodStats *method)
{
    return json_pack("{s:I,s:I,s:I,s:I}", "sent", (json_int_t)method->mirrored, "differ",
                     (json_int_t)method->mirror_differ, "failed", (json_int_t)method->mirror_failed,
                     "skipped", (json_int_t)method->mirror_skipped);
}

json_t *report_method(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    report_set_text(object, "side", method->side == PARLEY__SIDE__SERVICE ? "service" : "client");
    report_set_text(object, "interface", method->interface);
    report_set_text(object, "method", method->method);
    report_set_text(object, "asked", method->asked);
    report_set_text(object, "served", method->served);
    report_set_counts(object, &method->base, MIRROR_FIRST);
    if (method->has_translation) /* its name, not its number */
        report_set_text(object, "translation", parley_translation_name(method->translation));
    (void)json_object_set_new(object, "errors", json_integer((json_int_t)report_errors(method)));
    (void)json_object_set_new(object, "by_status", by_status(method));
    (void)json_object_set_new(object, "latency_ns", quantiles(method->latency));
    if (method->has_mirrored)
        (void)json_object_set_new(object, "mirror", mirror(method));
    return object;
}

/* ---- All ---- */

static json_t *bus(const Parley__BusStats *stats)
{
    json_t *object = counts(&stats->base), *routes = json_array();
    for (size_t i = 0; i < stats->n_route; i++) {
        json_t *route = counts(&stats->route[i]->base);
        report_set_text(route, "interface", stats->route[i]->interface);
        report_set_text(route, "version", stats->route[i]->version);
        (void)json_array_append_new(routes, route);
    }
    (void)json_object_set_new(object, "routes", routes);
    return object;
}

static json_t *process(const Parley__BrokerStats *stats)
{
    json_t *object = counts(&stats->base);
    report_set_text(object, "version", stats->version);
    if (stats->turn)
        (void)json_object_set_new(object, "turn_ns", quantiles(stats->turn));
    return object;
}

json_t *report_stats(const Parley__Stats *stats)
{
    json_t *object = json_object();
    report_set_id(object, "broker", stats->broker_id);
    report_set_counts(object, &stats->base, ALL);
    report_set_id(object, "broker_id", stats->broker_id); /* which is no count */
    if (stats->bus)
        (void)json_object_set_new(object, "bus", bus(stats->bus));
    if (stats->broker)
        (void)json_object_set_new(object, "process", process(stats->broker));
    if (stats->front)
        (void)json_object_set_new(object, "front", counts(&stats->front->base));
    if (stats->serve)
        (void)json_object_set_new(object, "serve", counts(&stats->serve->base));
    return object;
}
