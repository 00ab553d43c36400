/*
 * parley ls: what is on the bus.
 *
 * Two tables, of instances and of endpoints, each row complete in itself, so that grep and awk can
 * use them; --json for everything else. A version that has no instance any more (its weight is
 * remembered) still has a row.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/json.h"
#include "parley/client.h"
#include "wire/wire.h"

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

static void add_version(struct table *table, const Parley__InterfaceInfo *interface,
                        const Parley__VersionInfo *version, const Parley__InstanceInfo *instance)
{
    char share[TEXT_SHARE_BYTES];
    table_cell(table, "%s", or_dash(interface->name));
    table_cell(table, "%s", or_dash(version->version));
    table_cell(table, "%s", text_share(version->weight_per_100000 / 1000.0, share));
    if (!instance) {
        for (const char *c = "12345"; *c; c++)
            table_cell(table, "-");
        return;
    }
    table_cell(table, "%016" PRIx64, instance->instance_id);
    table_cell(table, "%s", or_dash(instance->endpoint));
    table_number(table, instance->has_pid, instance->pid);
    table_number(table, instance->has_uid, instance->uid);
    table_cell(table, "%s", instance->draining ? "draining" : instance->ejected ? "ejected" : "up");
}

static void print_instances(FILE *out, const Parley__ListReply *list)
{
    static const char *const titles[] = {"INTERFACE", "VERSION", ">SHARE", "INSTANCE", "ENDPOINT",
                                         ">PID",      ">UID",    "STATE",  NULL};
    struct table *table = table_new(titles);
    size_t rows = 0;
    for (size_t i = 0; i < list->n_interface; i++) {
        const Parley__InterfaceInfo *interface = list->interface[i];
        for (size_t v = 0; v < interface->n_version; v++, rows++) {
            const Parley__VersionInfo *version = interface->version[v];
            if (version->n_instance == 0)
                add_version(table, interface, version, NULL);
            for (size_t k = 0; k < version->n_instance; k++)
                add_version(table, interface, version, version->instance[k]);
        }
    }
    if (rows > 0)
        table_print(table, out);
    else
        fputs("Nothing is published. parley(7) tells how a service joins.\n", out);
    table_free(table);
}

static void print_interfaces(FILE *out, const Parley__ListReply *list)
{
    static const char *const titles[] = {"INTERFACE", ">VERSIONS", ">INSTANCES", ">CLIENTS", NULL};
    struct table *table = table_new(titles);
    for (size_t i = 0; i < list->n_interface; i++) {
        const Parley__InterfaceInfo *interface = list->interface[i];
        size_t instances = 0;
        for (size_t v = 0; v < interface->n_version; v++)
            instances += interface->version[v]->n_instance;
        table_cell(table, "%s", or_dash(interface->name));
        table_cell(table, "%zu", interface->n_version);
        table_cell(table, "%zu", instances);
        table_cell(table, "%" PRIu32, interface->clients);
    }
    if (list->n_interface > 0) {
        fputc('\n', out);
        table_print(table, out);
    }
    table_free(table);
}

/* "carried over 2.0.0, 3.0.0" */
static void add_offer(struct table *table, const Parley__InterfaceInfo *interface,
                      const Parley__OfferInfo *offer)
{
    char over[128] = "-";
    size_t used = 0;
    for (size_t i = 0; i < offer->n_over && used < sizeof(over); i++) {
        int n = snprintf(over + used, sizeof(over) - used, "%s%s", i ? ", " : "",
                         or_dash(offer->over[i]));
        used += n > 0 ? (size_t)n : 0;
    }
    table_cell(table, "%s", or_dash(interface->name));
    table_cell(table, "%s", or_dash(offer->client_version));
    table_cell(table, "%s", or_dash(offer->version));
    table_cell(table, "%s", parley_translation_name(offer->translation));
    table_cell(table, "%s", over);
    table_cell(table, "%" PRIu32, offer->clients);
}

static void print_offers(FILE *out, const Parley__ListReply *list)
{
    static const char *const titles[] = {"INTERFACE", "CLIENTS OF", "MAY CALL", "TRANSLATION",
                                         "OVER",      ">CLIENTS",   NULL};
    struct table *table = table_new(titles);
    size_t rows = 0;
    for (size_t i = 0; i < list->n_interface; i++)
        for (size_t k = 0; k < list->interface[i]->n_offer; k++, rows++)
            add_offer(table, list->interface[i], list->interface[i]->offer[k]);
    if (rows > 0) {
        fputc('\n', out);
        table_print(table, out);
    }
    table_free(table);
}

static void print_endpoints(FILE *out, const Parley__ListReply *list)
{
    static const char *const titles[] = {"ENDPOINT", ">PID", ">UID", ">SERVES", ">CALLS", NULL};
    struct table *table = table_new(titles);
    for (size_t i = 0; i < list->n_endpoint; i++) {
        const Parley__EndpointInfo *endpoint = list->endpoint[i];
        table_cell(table, "%s", or_dash(endpoint->name));
        table_number(table, endpoint->has_pid, endpoint->pid);
        table_number(table, endpoint->has_uid, endpoint->uid);
        table_cell(table, "%" PRIu32, endpoint->instances);
        table_cell(table, "%" PRIu32, endpoint->contracts);
    }
    if (list->n_endpoint > 0) {
        fputc('\n', out);
        table_print(table, out);
    }
    table_free(table);
}

/* Left out if there is none. */
static void set_number(json_t *object, const char *key, bool has, uint32_t number)
{
    if (has)
        json_object_set_new(object, key, json_integer(number));
}

static json_t *instance_json(const Parley__InstanceInfo *instance)
{
    json_t *object = json_object();
    json_set_id(object, "instance", instance->instance_id);
    json_set_text(object, "endpoint", instance->endpoint);
    set_number(object, "pid", instance->has_pid, instance->pid);
    set_number(object, "uid", instance->has_uid, instance->uid);
    json_object_set_new(object, "draining", json_boolean(instance->draining));
    json_object_set_new(object, "ejected", json_boolean(instance->ejected));
    return object;
}

static json_t *version_json(const Parley__VersionInfo *version)
{
    json_t *object = json_object(), *methods = json_array(), *instances = json_array();
    json_set_text(object, "version", version->version);
    json_set_text(object, "service", version->service);
    json_object_set_new(object, "share_percent", json_real(version->weight_per_100000 / 1000.0));
    for (size_t i = 0; i < version->n_method; i++)
        json_array_append_new(methods, json_string(version->method[i]));
    for (size_t i = 0; i < version->n_instance; i++)
        json_array_append_new(instances, instance_json(version->instance[i]));
    json_object_set_new(object, "methods", methods);
    json_object_set_new(object, "instances", instances);
    return object;
}

static json_t *offer_json(const Parley__OfferInfo *offer)
{
    json_t *object = json_object(), *over = json_array();
    json_set_text(object, "client_version", offer->client_version);
    json_set_text(object, "version", offer->version);
    json_set_text(object, "translation", parley_translation_name(offer->translation));
    json_object_set_new(object, "clients", json_integer(offer->clients));
    for (size_t i = 0; i < offer->n_over; i++)
        json_array_append_new(over, json_string(offer->over[i]));
    json_object_set_new(object, "over", over);
    return object;
}

static json_t *interface_json(const Parley__InterfaceInfo *interface)
{
    json_t *object = json_object(), *versions = json_array(), *offers = json_array();
    json_set_text(object, "interface", interface->name);
    json_object_set_new(object, "clients", json_integer(interface->clients));
    json_object_set_new(object, "route_generation",
                        json_integer((json_int_t)interface->route_generation));
    for (size_t i = 0; i < interface->n_version; i++)
        json_array_append_new(versions, version_json(interface->version[i]));
    json_object_set_new(object, "versions", versions);
    for (size_t i = 0; i < interface->n_offer; i++)
        json_array_append_new(offers, offer_json(interface->offer[i]));
    json_object_set_new(object, "offers", offers);
    return object;
}

static json_t *endpoint_json(const Parley__EndpointInfo *endpoint)
{
    json_t *object = json_object();
    json_set_id(object, "id", endpoint->endpoint_id);
    json_set_text(object, "endpoint", endpoint->name);
    set_number(object, "pid", endpoint->has_pid, endpoint->pid);
    set_number(object, "uid", endpoint->has_uid, endpoint->uid);
    json_object_set_new(object, "instances", json_integer(endpoint->instances));
    json_object_set_new(object, "clients", json_integer(endpoint->contracts));
    return object;
}

static void print_json(struct cli *cli, const Parley__ListReply *list)
{
    json_t *object = json_object(), *interfaces = json_array(), *endpoints = json_array();
    json_set_id(object, "broker", list->broker_id);
    for (size_t i = 0; i < list->n_interface; i++)
        json_array_append_new(interfaces, interface_json(list->interface[i]));
    for (size_t i = 0; i < list->n_endpoint; i++)
        json_array_append_new(endpoints, endpoint_json(list->endpoint[i]));
    json_object_set_new(object, "interfaces", interfaces);
    json_object_set_new(object, "endpoints", endpoints);
    json_print(cli->out, object, 2);
}

static bool has_method_before(const Parley__InterfaceInfo *interface, size_t version,
                              const char *method)
{
    for (size_t v = 0; v < version; v++) {
        for (size_t m = 0; m < interface->version[v]->n_method; m++) {
            if (strcmp(interface->version[v]->method[m], method) == 0)
                return true;
        }
    }
    return false;
}

static json_t *names_of(const Parley__ListReply *list)
{
    json_t *names = json_array();
    for (size_t i = 0; i < list->n_interface; i++)
        json_array_append_new(names, json_string(or_dash(list->interface[i]->name)));
    return names;
}

static json_t *methods_of(const Parley__ListReply *list)
{
    json_t *names = json_array();
    for (size_t i = 0; i < list->n_interface; i++) {
        const Parley__InterfaceInfo *interface = list->interface[i];
        for (size_t v = 0; v < interface->n_version; v++) {
            for (size_t m = 0; m < interface->version[v]->n_method; m++) {
                const char *method = interface->version[v]->method[m];
                if (!has_method_before(interface, v, method))
                    json_array_append_new(names,
                                          json_sprintf("%s/%s", or_dash(interface->name), method));
            }
        }
    }
    return names;
}

/* One a line, or an array. Takes @names over. */
static void print_names(struct cli *cli, json_t *names)
{
    if (cli->json) {
        json_print(cli->out, names, 2);
        return;
    }
    for (size_t i = 0; i < json_array_size(names); i++) {
        text_print(cli->out, json_string_value(json_array_get(names, i)));
        fputc('\n', cli->out);
    }
    json_decref(names);
}

static int by_version(const void *a, const void *b)
{
    return version_compare((*(Parley__VersionInfo *const *)a)->version,
                           (*(Parley__VersionInfo *const *)b)->version);
}

static int by_offer(const void *a, const void *b)
{
    const Parley__OfferInfo *x = *(Parley__OfferInfo *const *)a;
    const Parley__OfferInfo *y = *(Parley__OfferInfo *const *)b;
    int order = version_compare(x->client_version, y->client_version);
    return order ? order : version_compare(x->version, y->version);
}

static int by_interface(const void *a, const void *b)
{
    return strcmp(or_dash((*(Parley__InterfaceInfo *const *)a)->name),
                  or_dash((*(Parley__InterfaceInfo *const *)b)->name));
}

/* The broker tells them in the order of its tables. */
static void sort(Parley__ListReply *list)
{
    if (list->n_interface > 0)
        qsort(list->interface, list->n_interface, sizeof(*list->interface), by_interface);
    for (size_t i = 0; i < list->n_interface; i++) {
        Parley__InterfaceInfo *interface = list->interface[i];
        if (interface->n_version > 0)
            qsort(interface->version, interface->n_version, sizeof(*interface->version),
                  by_version);
        if (interface->n_offer > 0)
            qsort(interface->offer, interface->n_offer, sizeof(*interface->offer), by_offer);
    }
}

static int run(struct cli *cli, int argc, char **argv)
{
    bool names = false, methods = false;
    const struct option_spec specs[] = {
        {"names", 0, OPTION_FLAG, NULL, "only the names of the interfaces, one a line", &names},
        {"methods", 0, OPTION_FLAG, NULL, "only INTERFACE/METHOD, one a line", &methods},
    };
    int code;
    if (!options_take(cli, specs, 2, &argc, argv, &code))
        return code;
    if (argc > 0)
        return cli_usage(cli, "ls takes no argument; '%s' is one too many", argv[0]);

    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    request.list = &list;
    code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_LIST, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    sort(reply->list);
    if (names) {
        print_names(cli, names_of(reply->list));
    } else if (methods) {
        print_names(cli, methods_of(reply->list));
    } else if (cli->json) {
        print_json(cli, reply->list);
    } else {
        print_instances(cli->out, reply->list);
        print_interfaces(cli->out, reply->list);
        print_offers(cli->out, reply->list);
        print_endpoints(cli->out, reply->list);
    }
    wire_free(reply);
    return CLI_EXIT_OK;
}

const struct cli_command cmd_ls = {
    .name = "ls",
    .usage = "[--names | --methods] [--json]",
    .summary = "list interfaces, versions, instances and endpoints",
    .details =
        "Lists what is on the bus: each interface with its versions, their share of the\n"
        "calls and their instances; then how many clients each interface has; which versions\n"
        "were negotiated for clients of which, with the class of the translation (identity,\n"
        "iso, carried, lossy) and the versions that it leads over; then every\n"
        "endpoint (SERVES: instances that it publishes, CALLS: interfaces that it calls).\n",
    .example = "  parley ls\n"
               "  parley ls --json | jq '.interfaces[].versions[].instances | length'\n",
    .run = run,
};
