/*
 * parley drain: an instance out of service without losing a call, or back.
 *
 * The broker acts at once and answers; it does not wait. So we look again, by the ids that the
 * first answer named, until each has drained or is gone.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/json.h"
#include "wire/wire.h"

#define DRAIN_ID_DIGITS 16
#define DRAIN_PAUSE_NS_MIN (5 * NS_PER_MS) /* between two looks; doubles */
#define DRAIN_PAUSE_NS_MAX (200 * NS_PER_MS)
#define DRAIN_TIMEOUT_NS (30 * NS_PER_S)
#define DRAIN_IDS_MAX 64 /* that one request may name */

struct options {
    const char *interface;
    bool undo, no_wait, force;
};

/* 16 hexadecimal digits are an id, other digits a pid, all else an endpoint's name. */
static void name_target(Parley__DrainRequest *request, char *text, uint64_t *id)
{
    size_t length = strlen(text);
    if (length == DRAIN_ID_DIGITS && strspn(text, "0123456789abcdefABCDEF") == length) {
        *id = strtoull(text, NULL, 16);
        request->instance_id = id;
        request->n_instance_id = 1;
    } else if (length > 0 && length < 10 && strspn(text, "0123456789") == length) {
        request->has_pid = true;
        request->pid = (uint32_t)strtoul(text, NULL, 10);
    } else {
        request->endpoint = text;
    }
}

static int ask(struct cli *cli, Parley__DrainRequest *drain, Parley__ControlReply **ret_reply)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_DRAIN;
    request.drain = drain;
    return control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_DRAIN, ret_reply);
}

static size_t count_of(const Parley__DrainReply *reply, Parley__DrainState state)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->n_instance; i++)
        count += reply->instance[i]->state == state;
    return count;
}

/* What LOOK says, by the names of the first answer: what is gone has none any more. */
static void take_states(Parley__DrainReply *first, const Parley__DrainReply *now)
{
    for (size_t i = 0; i < first->n_instance; i++)
        for (size_t k = 0; k < now->n_instance; k++)
            if (now->instance[k]->instance_id == first->instance[i]->instance_id)
                first->instance[i]->state = now->instance[k]->state;
}

/* Return: CLI_EXIT_OK, also when it was stopped or time is over. */
static int look_until_drained(struct cli *cli, uint64_t timeout_ns, Parley__DrainReply *first)
{
    uint64_t ids[DRAIN_IDS_MAX];
    Parley__DrainRequest look = PARLEY__DRAIN_REQUEST__INIT;
    look.has_action = true;
    look.action = PARLEY__DRAIN_ACTION__LOOK;
    look.instance_id = ids;
    for (size_t i = 0; i < first->n_instance && i < DRAIN_IDS_MAX; i++)
        ids[look.n_instance_id++] = first->instance[i]->instance_id;
    uint64_t deadline = clock_add(clock_now_ns(), timeout_ns), pause = DRAIN_PAUSE_NS_MIN;
    bool said = false; /* once, and not where it is a matter of a moment */
    while (count_of(first, PARLEY__DRAIN_STATE__DRAINING) > 0 && !stop_requested() &&
           clock_now_ns() < deadline) {
        Parley__ControlReply *reply;
        if (pause == DRAIN_PAUSE_NS_MAX && !said) {
            fprintf(cli->err,
                    "parley: %zu draining: waiting for their calls (Ctrl-C leaves them so)\n",
                    count_of(first, PARLEY__DRAIN_STATE__DRAINING));
            said = true;
        }
        stop_wait(pause);
        pause = pause * 2 < DRAIN_PAUSE_NS_MAX ? pause * 2 : DRAIN_PAUSE_NS_MAX;
        int code = ask(cli, &look, &reply);
        if (code != CLI_EXIT_OK)
            return code;
        take_states(first, reply->drain);
        wire_free(reply);
    }
    return CLI_EXIT_OK;
}

static const char *state_name(const Parley__DrainInfo *info)
{
    static const char *const names[] = {"up", "draining", "drained", "gone"};
    return (unsigned)info->state < 4 ? names[info->state] : "-";
}

static void print_text(FILE *out, const Parley__DrainReply *reply)
{
    static const char *const titles[] = {"INTERFACE", "VERSION", "INSTANCE", "ENDPOINT",
                                         ">PID",      "STATE",   NULL};
    struct table *table = table_new(titles);
    for (size_t i = 0; i < reply->n_instance; i++) {
        const Parley__DrainInfo *info = reply->instance[i];
        table_cell(table, "%s", info->interface ? info->interface : "-");
        table_cell(table, "%s", info->version ? info->version : "-");
        table_cell(table, "%016" PRIx64, info->instance_id);
        table_cell(table, "%s", info->endpoint ? info->endpoint : "-");
        table_cell(table, "%" PRIu32, info->pid);
        table_cell(table, "%s", state_name(info));
    }
    table_print(table, out);
    table_free(table);
}

static void print_json(FILE *out, const Parley__DrainReply *reply)
{
    json_t *object = json_object(), *instances = json_array();
    for (size_t i = 0; i < reply->n_instance; i++) {
        const Parley__DrainInfo *info = reply->instance[i];
        json_t *instance = json_object();
        json_set_text(instance, "interface", info->interface);
        json_set_text(instance, "version", info->version);
        json_set_id(instance, "instance", info->instance_id);
        json_set_text(instance, "endpoint", info->endpoint);
        json_object_set_new(instance, "pid", json_integer(info->pid));
        json_set_text(instance, "state", state_name(info));
        json_array_append_new(instances, instance);
    }
    json_object_set_new(object, "instances", instances);
    json_print(out, object, 2);
}

static int drain(struct cli *cli, const struct options *options, char *target)
{
    uint64_t id;
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    name_target(&request, target, &id);
    request.interface = (char *)(uintptr_t)options->interface;
    request.has_action = request.has_force = true;
    request.action = options->undo ? PARLEY__DRAIN_ACTION__UNDO : PARLEY__DRAIN_ACTION__BEGIN;
    request.force = options->force;
    Parley__ControlReply *reply;
    uint64_t timeout_ns = cli->timeout_ns ? cli->timeout_ns : DRAIN_TIMEOUT_NS;
    cli->timeout_ns = 0; /* it is for the draining; each answer of the broker has its own */
    int code = ask(cli, &request, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (!options->no_wait && !options->undo)
        code = look_until_drained(cli, timeout_ns, reply->drain);
    if (code == CLI_EXIT_OK)
        (cli->json ? print_json : print_text)(cli->out, reply->drain);
    size_t left = count_of(reply->drain, PARLEY__DRAIN_STATE__DRAINING);
    if (code == CLI_EXIT_OK && left > 0 && !options->no_wait && !options->undo)
        code = cli_complain(cli, CLI_EXIT_REFUSED,
                            "%zu still draining: calls are in flight there; look again with parley "
                            "ls, or put back with --undo",
                            left);
    wire_free(reply);
    return code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {"interface", 'i', OPTION_TEXT, "NAME", "of these only the instances of that interface",
         &options.interface},
        {"undo", 0, OPTION_FLAG, NULL, "put it back into service", &options.undo},
        {"no-wait", 0, OPTION_FLAG, NULL, "do not wait until it has drained", &options.no_wait},
        {"force", 0, OPTION_FLAG, NULL, "also the last one of its interface", &options.force},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    if (argc != 1)
        return cli_usage(cli, argc == 0 ? "which instance? parley ls lists them"
                                        : "one instance, endpoint or pid at a time");
    if (stop_begin() < 0)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with");
    code = drain(cli, &options, argv[0]);
    stop_end();
    return code;
}

const struct cli_command cmd_drain = {
    .name = "drain",
    .usage = "[--interface NAME] [--undo] [--no-wait] [--force] INSTANCE|ENDPOINT|PID",
    .summary = "take an instance out of service without losing a call",
    .details =
        "Clients send it no new call from now on, what it has is answered, and its channels end;\n"
        "waits until that is done, 30 s unless --timeout says otherwise. It stays published, as\n"
        "drained: stop its process then, or put it back with --undo. 16 hexadecimal digits name\n"
        "one instance, a number all instances of a process, anything else all of the endpoints of\n"
        "that name. The last instance of an interface is drained only with --force.\n",
    .example = "  parley drain catalog-v1 && systemctl stop catalog-v1\n"
               "  parley drain --undo 5a1f0c9b7d3e2468\n",
    .run = run,
};
