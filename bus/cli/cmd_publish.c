/*
 * parley publish: makes a REP socket of any program an instance, and prints the URL that it is to
 * dial; parley withdraw ends that. So a service can be a shell script.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/compile.h"
#include "base/cleanup.h"
#include "cli/json.h"
#include "control/replier.h"
#include "wire/wire.h"

#define ID_DIGITS 16
#define CALLS_MAX 1024 /* a broker takes no more */

struct options {
    const char *service, *name, *calls;
};

static int take_calls(struct cli *cli, const char *text, Parley__PublishRequest *request)
{
    char *end;
    if (!text)
        return CLI_EXIT_OK;
    unsigned long calls = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || calls == 0 || calls > CALLS_MAX)
        return cli_usage(cli, "'%s' is no number of calls: 1 to %d", text, CALLS_MAX);
    request->has_calls_max = true;
    request->calls_max = (uint32_t)calls;
    return CLI_EXIT_OK;
}

static int print_published(struct cli *cli, const Parley__PublishReply *reply)
{
    if (!reply->url || !reply->has_instance_id)
        return control_bad_reply(cli, "a URL to dial");
    _cleanup_(freep) char *url = replier_url_by(reply->url, control_url(cli));
    if (!url)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "out of memory");
    if (!cli->json) {
        text_print(cli->out, url);
        (void)fputc('\n', cli->out);
        return CLI_EXIT_OK;
    }
    json_t *object = json_object();
    json_set_id(object, "instance", reply->instance_id);
    json_set_text(object, "url", url);
    json_object_set_new(object, "dial_within_ms", json_integer(reply->dial_within_ms));
    json_print(cli->out, object, 2);
    return CLI_EXIT_OK;
}

static int publish(struct cli *cli, const struct options *options, const char *path)
{
    Parley__PublishRequest publish = PARLEY__PUBLISH_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    struct compiled compiled = {0};
    int code = take_calls(cli, options->calls, &publish);
    if (code == CLI_EXIT_OK)
        code = compile_any(cli, path, &compiled);
    if (code != CLI_EXIT_OK)
        return code;
    publish.has_descriptor_set = true;
    publish.descriptor_set.data = compiled.set;
    publish.descriptor_set.len = compiled.bytes;
    publish.service = (char *)(uintptr_t)options->service;
    publish.name = (char *)(uintptr_t)options->name;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_PUBLISH;
    request.publish = &publish;
    code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_PUBLISH, &reply);
    compiled_deinit(&compiled);
    if (code != CLI_EXIT_OK)
        return code;
    code = print_published(cli, reply->publish);
    wire_free(reply);
    return code;
}

static int run_publish(struct cli *cli, int argc, char **argv)
{
    struct options options = {0};
    const struct option_spec specs[] = {
        {"service", 's', OPTION_TEXT, "NAME", "which service of the schema, as orders.v1.Orders",
         &options.service},
        {"name", 'n', OPTION_TEXT, "NAME", "as which parley ls shows it", &options.name},
        {"calls", 'c', OPTION_TEXT, "N", "give it so many calls at once (1)", &options.calls},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    if (argc != 1)
        return cli_usage(cli, argc == 0 ? "which schema? a .proto file, a folder of them, or a "
                                          "descriptor set"
                                        : "one schema at a time");
    return publish(cli, &options, argv[0]);
}

const struct cli_command cmd_publish = {
    .name = "publish",
    .usage = "[--service NAME] [--name NAME] [--calls N] SCHEMA",
    .summary = "let a REP socket of any program serve an interface",
    .details =
        "Prints a URL. A REP socket that dials it within ten seconds is an instance of the\n"
        "interface, until it hangs up: it is sent frames, and answers with frames, as\n"
        "docs/GUESTS.md explains. It is given one call at a time; --calls says how many, of a\n"
        "program that takes several. SCHEMA is a .proto file, a folder of them (protoc compiles\n"
        "them), or a file of descriptors (protoc --include_imports -o).\n",
    .example = "  nngcat --rep0 --dial $(parley publish hello.proto) --file answer\n",
    .run = run_publish,
};

/* ---- withdraw ---- */

static int withdraw(struct cli *cli, uint64_t id, bool drain)
{
    Parley__WithdrawRequest withdraw = PARLEY__WITHDRAW_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    withdraw.has_instance_id = withdraw.has_drain = true;
    withdraw.instance_id = id;
    withdraw.drain = drain;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_WITHDRAW;
    request.withdraw = &withdraw;
    int code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_WITHDRAW, &reply);
    if (code == CLI_EXIT_OK)
        wire_free(reply);
    return code;
}

static int run_withdraw(struct cli *cli, int argc, char **argv)
{
    bool now = false;
    const struct option_spec specs[] = {
        {"now", 0, OPTION_FLAG, NULL, "do not let it answer what it has", &now},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    if (argc != 1)
        return cli_usage(cli, argc == 0 ? "which instance? parley ls lists them"
                                        : "one instance at a time");
    if (strlen(argv[0]) != ID_DIGITS || strspn(argv[0], "0123456789abcdefABCDEF") != ID_DIGITS)
        return cli_usage(cli, "'%s' is no instance: 16 hexadecimal digits", argv[0]);
    return withdraw(cli, strtoull(argv[0], NULL, 16), !now);
}

const struct cli_command cmd_withdraw = {
    .name = "withdraw",
    .usage = "[--now] INSTANCE",
    .summary = "end an instance that parley publish has made",
    .details = "It gets no new call, answers what it has, and is hung up on. Native instances are\n"
               "taken out of service with parley drain.\n",
    .example = "  parley withdraw 5a1f0c9b7d3e2468\n",
    .run = run_withdraw,
};
