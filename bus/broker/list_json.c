/*
 * What is on the bus, as JSON: as `parley ls --json` has it, and whether the page may steer.
 */
#include "broker/broker.h"

#include <jansson.h>

#include "parley/client.h"

static void set_id(json_t *object, const char *key, uint64_t id)
{
    json_object_set_new(object, key, json_sprintf("%016llx", (unsigned long long)id));
}

/* Absent: of another machine, or by a socket that does not tell. */
static void set_process(json_t *object, bool has, uint32_t pid, uint32_t uid)
{
    if (!has)
        return;
    json_object_set_new(object, "pid", json_integer((json_int_t)pid));
    json_object_set_new(object, "uid", json_integer((json_int_t)uid));
}

static json_t *instance_json(const Parley__InstanceInfo *instance)
{
    json_t *object = json_pack("{s:s}", "endpoint", instance->endpoint);
    set_process(object, instance->has_uid, instance->pid, instance->uid);
    json_object_set_new(object, "draining", json_boolean(instance->draining));
    json_object_set_new(object, "ejected", json_boolean(instance->ejected));
    set_id(object, "instance", instance->instance_id);
    return object;
}

static json_t *version_json(const Parley__VersionInfo *version)
{
    json_t *methods = json_array(), *instances = json_array();
    for (size_t i = 0; i < version->n_method; i++)
        json_array_append_new(methods, json_string(version->method[i]));
    for (size_t i = 0; i < version->n_instance; i++)
        json_array_append_new(instances, instance_json(version->instance[i]));
    return json_pack("{s:s,s:s?,s:f,s:o,s:o}", "version", version->version, "service",
                     version->service, "share_percent", version->weight_per_100000 / 1000.0,
                     "methods", methods, "instances", instances);
}

static json_t *offer_json(const Parley__OfferInfo *offer)
{
    json_t *over = json_array();
    for (size_t i = 0; i < offer->n_over; i++)
        json_array_append_new(over, json_string(offer->over[i]));
    return json_pack("{s:s,s:s,s:s,s:I,s:o}", "client_version", offer->client_version, "version",
                     offer->version, "translation",
                     parley_translation_name((enum parley_translation)offer->translation),
                     "clients", (json_int_t)offer->clients, "over", over);
}

static json_t *interface_json(const Parley__InterfaceInfo *interface)
{
    json_t *versions = json_array(), *offers = json_array();
    for (size_t i = 0; i < interface->n_version; i++)
        json_array_append_new(versions, version_json(interface->version[i]));
    for (size_t i = 0; i < interface->n_offer; i++)
        json_array_append_new(offers, offer_json(interface->offer[i]));
    return json_pack("{s:s,s:I,s:I,s:o,s:o}", "interface", interface->name, "clients",
                     (json_int_t)interface->clients, "route_generation",
                     (json_int_t)interface->route_generation, "versions", versions, "offers",
                     offers);
}

static json_t *endpoint_json(const Parley__EndpointInfo *endpoint)
{
    json_t *object = json_pack("{s:s}", "endpoint", endpoint->name);
    set_process(object, endpoint->has_uid, endpoint->pid, endpoint->uid);
    json_object_set_new(object, "instances", json_integer((json_int_t)endpoint->instances));
    json_object_set_new(object, "clients", json_integer((json_int_t)endpoint->contracts));
    set_id(object, "id", endpoint->endpoint_id);
    return object;
}

char *list_json(const Parley__ListReply *list, bool control)
{
    json_t *root = json_object(), *interfaces = json_array(), *endpoints = json_array();
    for (size_t i = 0; i < list->n_interface; i++)
        json_array_append_new(interfaces, interface_json(list->interface[i]));
    for (size_t i = 0; i < list->n_endpoint; i++)
        json_array_append_new(endpoints, endpoint_json(list->endpoint[i]));
    set_id(root, "broker", list->broker_id);
    json_object_set_new(root, "control", json_boolean(control));
    json_object_set_new(root, "interfaces", interfaces);
    json_object_set_new(root, "endpoints", endpoints);
    char *text = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(root);
    return text;
}
