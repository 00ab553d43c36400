/*
 * parley health: each instance is asked how it is, now.
 *
 * It is the bus that answers (interface parley.bus), as any program may ask it.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/bus.h"
#include "cli/json.h"
#include "parley/bus.pb-c.h"
#include "parley/status.h"
#include "wire/wire.h"

#define HEALTH_GRACE_NS (2 * NS_PER_S) /* longer than the instances have */

static const char *state_name(const Parley__Bus__V1__InstanceHealth *instance)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
        &parley__bus__v1__health_state__descriptor, (int)instance->state);
    return value ? value->name : "?";
}

static json_t *instance_json(const Parley__Bus__V1__InstanceHealth *instance)
{
    json_t *object = json_object();
    json_set_id(object, "instance", instance->instance_id);
    json_set_text(object, "interface", instance->interface);
    json_set_text(object, "version", instance->version);
    json_set_text(object, "endpoint", instance->endpoint);
    if (instance->has_pid)
        json_object_set_new(object, "pid", json_integer(instance->pid));
    json_set_text(object, "state", state_name(instance));
    if (instance->has_answered_ns)
        json_object_set_new(object, "answered_ns", json_integer((json_int_t)instance->answered_ns));
    return object;
}

static void print_json(struct cli *cli, const Parley__Bus__V1__HealthReply *reply)
{
    json_t *root = json_object(), *instances = json_array();
    for (size_t i = 0; i < reply->n_instance; i++)
        json_array_append_new(instances, instance_json(reply->instance[i]));
    json_object_set_new(root, "instances", instances);
    json_print(cli->out, root, 2);
}

static void print_text(struct cli *cli, const Parley__Bus__V1__HealthReply *reply)
{
    static const char *const heads[] = {"INTERFACE", "VERSION", "INSTANCE", "ENDPOINT",
                                        "PID",       "STATE",   "ANSWERED", NULL};
    struct table *table = table_new(heads);
    for (size_t i = 0; i < reply->n_instance; i++) {
        const Parley__Bus__V1__InstanceHealth *instance = reply->instance[i];
        char took[TEXT_DURATION_BYTES];
        table_cell(table, "%s", instance->interface ? instance->interface : "?");
        table_cell(table, "%s", instance->version ? instance->version : "?");
        table_cell(table, "%016" PRIx64, instance->instance_id);
        table_cell(table, "%s", instance->endpoint ? instance->endpoint : "?");
        table_number(table, instance->has_pid, instance->pid);
        table_cell(table, "%s", state_name(instance));
        table_cell(table, "%s",
                   instance->has_answered_ns ? text_duration(instance->answered_ns, took) : "-");
    }
    table_print(table, cli->out);
    table_free(table);
}

static bool all_serve(const Parley__Bus__V1__HealthReply *reply)
{
    for (size_t i = 0; i < reply->n_instance; i++)
        if (reply->instance[i]->state != PARLEY__BUS__V1__HEALTH_STATE__SERVING)
            return false;
    return reply->n_instance > 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
    int code;
    if (!options_take(cli, NULL, 0, &argc, argv, &code))
        return code;
    if (argc > 1)
        return cli_usage(cli, "one interface, or none; '%s' is one too many", argv[1]);
    if (argc == 1 && !target_interface(cli, argv[0]))
        return CLI_EXIT_USAGE;
    Parley__Bus__V1__HealthRequest request = PARLEY__BUS__V1__HEALTH_REQUEST__INIT;
    Parley__ControlReply end = PARLEY__CONTROL_REPLY__INIT;
    ProtobufCMessage *message;
    request.interface = argc == 1 ? argv[0] : NULL;
    request.has_timeout_ms = cli->timeout_ns > 0;
    request.timeout_ms = (uint32_t)(cli->timeout_ns / NS_PER_MS);
    if (!bus_url(cli))
        return CLI_EXIT_USAGE;
    code = bus_ask(cli, "Health", &request.base, cli->timeout_ns + HEALTH_GRACE_NS,
                   &parley__bus__v1__health_reply__descriptor, &message, &end);
    if (code != CLI_EXIT_OK)
        return code;
    _cleanup_(freep) char *text = end.text;
    if (!message)
        return cli_complain(cli, CLI_EXIT_REFUSED, "%s: %s", parley_status_name(end.status), text);
    const Parley__Bus__V1__HealthReply *reply = (const Parley__Bus__V1__HealthReply *)message;
    if (cli->json)
        print_json(cli, reply);
    else if (reply->n_instance > 0)
        print_text(cli, reply);
    code = all_serve(reply) ? CLI_EXIT_OK : CLI_EXIT_REFUSED;
    if (reply->n_instance == 0 && !cli->json)
        cli_complain(cli, code, "no instance%s%s", argc == 1 ? " of " : "",
                     argc == 1 ? argv[0] : "");
    wire_free(message);
    return code;
}

const struct cli_command cmd_health = {
    .name = "health",
    .usage = "[-t DURATION] [INTERFACE]",
    .summary = "ask each instance how it is",
    .details =
        "Every instance of the interface, or of all, is asked, and answers when its program turns\n"
        "its loop. SERVING: it answered; NO_ANSWER: not in time (500ms, or --timeout);\n"
        "DRAINING and EJECTED as parley ls shows them. Exit code 0 if there is one and all\n"
        "serve, else 1. --url is a bus URL here (default: ipc://DIR/bus.ipc). Any NNG\n"
        "SURVEYOR socket can ask the same at ipc://DIR/health.ipc.\n",
    .example = "  parley health\n"
               "  parley health catalog --timeout 2s --json\n",
    .run = run,
};
