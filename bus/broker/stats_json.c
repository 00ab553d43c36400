/*
 * Statistics as JSON, for /stats and for who asks by NNG without protobuf. What `parley stats
 * --json` prints has the same names here.
 */
#include "broker/broker.h"

#include <stdio.h>

#include <jansson.h>

#include "base/histogram.h"
#include "parley/client.h"

static void set(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, json_string(text ? text : ""));
}

static json_t *quantiles_json(const Parley__Latency *latency)
{
    json_t *object = json_object();
    set(object, "count", latency->count);
    set(object, "p50", latency->p50_ns);
    set(object, "p90", latency->p90_ns);
    set(object, "p99", latency->p99_ns);
    set(object, "p999", latency->p999_ns);
    return object;
}

/* Pairs of a bucket's lowest value in nanoseconds and its count; empty ones are left out. */
static json_t *latency_json(const Parley__Latency *latency)
{
    json_t *buckets = json_array();
    for (size_t i = 0; i < latency->n_bucket; i++)
        if (latency->bucket[i])
            json_array_append_new(buckets,
                                  json_pack("[I,I]", (json_int_t)histogram_floor((uint32_t)i),
                                            (json_int_t)latency->bucket[i]));
    json_t *object = json_object();
    set(object, "count", latency->count);
    set(object, "p50_ns", latency->p50_ns);
    set(object, "p90_ns", latency->p90_ns);
    set(object, "p99_ns", latency->p99_ns);
    set(object, "p999_ns", latency->p999_ns);
    json_object_set_new(object, "buckets", buckets);
    return object;
}

static json_t *by_status_json(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    for (size_t i = 0; i < method->n_by_status; i++)
        if (method->by_status[i])
            set(object, parley_status_name((enum parley_status)i), method->by_status[i]);
    return object;
}

static uint64_t errors_of(const Parley__MethodStats *method)
{
    uint64_t errors = 0;
    for (size_t i = 1; i < method->n_by_status; i++)
        errors += method->by_status[i];
    return errors;
}

static json_t *mirror_json(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    set(object, "sent", method->mirrored);
    set(object, "differ", method->mirror_differ);
    set(object, "failed", method->mirror_failed);
    set(object, "skipped", method->mirror_skipped);
    return object;
}

static json_t *method_json(const Parley__MethodStats *method)
{
    json_t *object = json_object();
    set_text(object, "side", method->side == PARLEY__SIDE__SERVICE ? "service" : "client");
    set_text(object, "interface", method->interface);
    set_text(object, "method", method->method);
    set_text(object, "asked", method->asked);
    set_text(object, "served", method->served);
    set_text(object, "translation",
             method->has_translation ? parley_translation_name(method->translation) : "");
    set(object, "calls", method->calls);
    set(object, "errors", errors_of(method));
    set(object, "faults", method->faults);
    json_object_set_new(object, "by_status", by_status_json(method));
    set(object, "translated", method->translated);
    set(object, "retried", method->retried);
    set(object, "in_flight", method->in_flight);
    set(object, "latency_sum_ns", method->latency_sum_ns);
    set(object, "crossings", method->crossings);
    set(object, "crossing_sum_ns", method->crossing_sum_ns);
    json_object_set_new(object, "latency_ns", quantiles_json(method->latency));
    json_object_set_new(object, "latency", latency_json(method->latency));
    if (method->has_mirrored)
        json_object_set_new(object, "mirror", mirror_json(method));
    return object;
}

static json_t *route_json(const Parley__RouteStats *route)
{
    json_t *object = json_object();
    set_text(object, "interface", route->interface);
    set_text(object, "version", route->version);
    set(object, "share_per_100000", route->share_per_100000);
    set(object, "instances", route->instances);
    set(object, "draining", route->draining);
    return object;
}

static json_t *bus_json(const Parley__BusStats *bus)
{
    json_t *object = json_object(), *routes = json_array();
    set(object, "endpoints", bus->endpoints);
    set(object, "interfaces", bus->interfaces);
    set(object, "versions", bus->versions);
    set(object, "instances", bus->instances);
    set(object, "draining", bus->draining);
    set(object, "contracts", bus->contracts);
    set(object, "contracts_waiting", bus->contracts_waiting);
    set(object, "contracts_refused", bus->contracts_refused);
    set(object, "schemas", bus->schemas);
    set(object, "schemas_idle", bus->schemas_idle);
    set(object, "plans", bus->plans);
    set(object, "plans_refused", bus->plans_refused);
    set(object, "plan_compile_ns", bus->plan_compile_ns);
    for (size_t i = 0; i < bus->n_route; i++)
        json_array_append_new(routes, route_json(bus->route[i]));
    json_object_set_new(object, "routes", routes);
    return object;
}

static json_t *broker_json(const Parley__BrokerStats *broker)
{
    json_t *object = json_object();
    set_text(object, "version", broker->version);
    if (broker->has_resident_bytes) {
        set(object, "resident_bytes", broker->resident_bytes);
        set(object, "private_bytes", broker->private_bytes);
    }
    if (broker->has_virtual_bytes)
        set(object, "virtual_bytes", broker->virtual_bytes);
    if (broker->has_cpu_ns)
        set(object, "cpu_ns", broker->cpu_ns);
    if (broker->has_descriptors)
        set(object, "descriptors", broker->descriptors);
    if (broker->has_descriptors_max)
        set(object, "descriptors_max", broker->descriptors_max);
    set(object, "start_unix_ns", broker->start_unix_ns);
    set(object, "turn_sum_ns", broker->turn_sum_ns);
    set(object, "subscribers", broker->subscribers);
    set(object, "events_sent", broker->events_sent);
    set(object, "events_lost", broker->events_lost);
    json_object_set_new(object, "turn_ns", quantiles_json(broker->turn));
    return object;
}

static json_t *front_json(const Parley__FrontStats *front)
{
    json_t *object = json_object();
    set(object, "connections", front->connections);
    set(object, "connections_ever", front->connections_ever);
    set(object, "connections_refused", front->connections_refused);
    set(object, "frames", front->frames);
    set(object, "json", front->json);
    set(object, "malformed", front->malformed);
    set(object, "limited", front->limited);
    set(object, "too_large", front->too_large);
    set(object, "held_back", front->held_back);
    set(object, "cancelled", front->cancelled);
    set(object, "abandoned", front->abandoned);
    set(object, "calls", front->calls);
    set(object, "calls_most", front->calls_most);
    set(object, "bytes_in", front->bytes_in);
    set(object, "bytes_out", front->bytes_out);
    return object;
}

static json_t *serve_json(const Parley__ServeStats *serve)
{
    json_t *object = json_object();
    set(object, "expected", serve->expected);
    set(object, "instances", serve->instances);
    set(object, "calls", serve->calls);
    set(object, "waiting", serve->waiting);
    set(object, "waiting_bytes", serve->waiting_bytes);
    set(object, "answered", serve->answered);
    set(object, "malformed", serve->malformed);
    set(object, "late", serve->late);
    set(object, "stray", serve->stray);
    set(object, "abandoned", serve->abandoned);
    set(object, "full", serve->full);
    set(object, "held", serve->held);
    return object;
}

char *stats_json(const Parley__Stats *stats)
{
    char id[17];
    (void)snprintf(id, sizeof(id), "%016llx", (unsigned long long)stats->broker_id);
    json_t *root = json_object(), *methods = json_array();
    set_text(root, "broker_id", id);
    set_text(root, "broker", id);
    set(root, "uptime_ns", stats->uptime_ns);
    set(root, "time_unix_ns", stats->time_unix_ns);
    set(root, "ring_full", stats->ring_full);
    set(root, "late_replies", stats->late_replies);
    set(root, "wakeups", stats->wakeups);
    set(root, "doorbells", stats->doorbells);
    set(root, "channels", stats->channels);
    set(root, "spins_hit", stats->spins_hit);
    set(root, "spins_missed", stats->spins_missed);
    set(root, "ejected", stats->ejected);
    set(root, "ejections", stats->ejections);
    set(root, "denied", stats->denied);
    set(root, "limited_connections", stats->limited_connections);
    set(root, "limited_calls", stats->limited_calls);
    set(root, "limited_bytes", stats->limited_bytes);
    set(root, "limited_rate", stats->limited_rate);
    set(root, "limited_messages", stats->limited_messages);
    set(root, "held_bad", stats->held_bad);
    json_object_set_new(root, "bus", bus_json(stats->bus));
    json_object_set_new(root, "process", broker_json(stats->broker));
    if (stats->front)
        json_object_set_new(root, "front", front_json(stats->front));
    if (stats->serve)
        json_object_set_new(root, "serve", serve_json(stats->serve));
    for (size_t i = 0; i < stats->n_method; i++)
        json_array_append_new(methods, method_json(stats->method[i]));
    json_object_set_new(root, "methods", methods);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}
