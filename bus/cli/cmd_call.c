/*
 * parley call: one call, JSON in, JSON out.
 *
 * The program has no generated code of anybody's interface. It asks the broker for the descriptors
 * of the version, encodes the JSON by them, and the broker makes the call, routed and translated
 * as any other: the reply comes in the version that was described, whichever version served it.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/json.h"
#include "parley/client.h"
#include "parley/status.h"
#include "schema/schema.h"
#include "wire/wire.h"

/* How much longer than the call may take we wait for the broker's answer. */
#define CALL_GRACE_NS (2 * NS_PER_S)
/* JSON takes more room than the message, hardly four times as much. */
#define CALL_JSON_BYTES_MAX ((size_t)256 << 20)
#define CALL_READ_BYTES 65536

/* As parley/client.h documents them. */
#define CALL_KEY_BYTES_MAX 64
#define CALL_VALUE_BYTES_MAX 8192
#define CALL_METADATA_BYTES_MAX 16384

struct call {
    struct target target;
    const struct schema_method *method;
    const char *version; /* that the payload is in */
    const char *accept;  /* NULL: any version may serve it */
    bool list, verbose, one_way;
    struct option_list metadata;
    Parley__MetadataPair pairs[OPTION_LIST_MAX];
    Parley__MetadataPair *pair_pointers[OPTION_LIST_MAX];
    char *json;       /* the request */
    uint8_t *payload; /* the request, encoded */
    size_t payload_bytes;
};

static int parse_pair(struct cli *cli, const char *text, Parley__MetadataPair *pair, size_t *bytes)
{
    const char *value = strchr(text, '=');
    if (!value)
        return cli_usage(cli, "-m %s: metadata is KEY=VALUE", text);
    size_t key_bytes = (size_t)(value - text), value_bytes = strlen(++value);
    if (key_bytes == 0 || key_bytes > CALL_KEY_BYTES_MAX ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") != key_bytes)
        return cli_usage(cli, "-m %s: a key is 1 to %d bytes of a-z 0-9 . _ -", text,
                         CALL_KEY_BYTES_MAX);
    if (value_bytes > CALL_VALUE_BYTES_MAX)
        return cli_usage(cli, "-m %.*s: the value is longer than %d bytes", (int)key_bytes, text,
                         CALL_VALUE_BYTES_MAX);
    *bytes += key_bytes + value_bytes;
    if (*bytes > CALL_METADATA_BYTES_MAX)
        return cli_usage(cli, "the metadata are longer than %d bytes", CALL_METADATA_BYTES_MAX);
    parley__metadata_pair__init(pair);
    pair->key = text_format("%.*s", (int)key_bytes, text);
    pair->has_value = true;
    pair->value.data = (uint8_t *)value;
    pair->value.len = value_bytes;
    return CLI_EXIT_OK;
}

static int parse_metadata(struct cli *cli, struct call *call)
{
    size_t bytes = 0;
    for (size_t i = 0; i < call->metadata.count; i++) {
        int code = parse_pair(cli, call->metadata.items[i], &call->pairs[i], &bytes);
        if (code != CLI_EXIT_OK)
            return code;
        call->pair_pointers[i] = &call->pairs[i];
    }
    return CLI_EXIT_OK;
}

/* Reads all of a file, up to the limit. */
static int read_all(struct cli *cli, FILE *file, const char *name, char **ret_text)
{
    size_t bytes = 0, room = CALL_READ_BYTES;
    _cleanup_(freep) char *text = text_alloc(room + 1);
    for (;;) {
        bytes += fread(text + bytes, 1, room - bytes, file);
        if (bytes < room)
            break;
        if (room >= CALL_JSON_BYTES_MAX)
            return cli_complain(cli, CLI_EXIT_USAGE, "%s is larger than %zu MiB", name,
                                CALL_JSON_BYTES_MAX >> 20);
        char *larger = text_alloc(2 * room + 1);
        memcpy(larger, text, bytes);
        free(text);
        text = larger;
        room *= 2;
    }
    if (ferror(file))
        return cli_complain(cli, CLI_EXIT_TROUBLE, "%s cannot be read: %s", name, strerror(errno));
    if (memchr(text, '\0', bytes))
        return cli_complain(cli, CLI_EXIT_USAGE, "%s is no text: it has a byte 0", name);
    text[bytes] = '\0';
    *ret_text = steal_ptr(&text);
    return CLI_EXIT_OK;
}

/* @argument: the JSON itself, "-", or "@FILE". */
static int read_json(struct cli *cli, const char *argument, char **ret_json)
{
    if (strcmp(argument, "-") == 0)
        return read_all(cli, cli->in, "the standard input", ret_json);
    if (*argument != '@') {
        *ret_json = text_format("%s", argument);
        return CLI_EXIT_OK;
    }
    FILE *file = fopen(argument + 1, "re");
    if (!file)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "%s cannot be read: %s", argument + 1,
                            strerror(errno));
    int code = read_all(cli, file, argument + 1, ret_json);
    fclose(file);
    return code;
}

/* Fills in method and payload by the schema. */
static int encode(struct cli *cli, struct call *call, const struct schema *schema)
{
    struct error_text error;
    size_t index;
    call->method = schema_method_find(schema, call->target.method, &index);
    if (!call->method)
        return method_unknown(cli, schema, &call->target);
    if (call->method->client_streaming || call->method->server_streaming)
        return cli_complain(cli, CLI_EXIT_USAGE, "%s is a stream, which parley call cannot do",
                            call->method->name);
    if (json_to_wire(call->method->input, call->json, &call->payload, &call->payload_bytes,
                     &error) < 0)
        return cli_complain(cli, CLI_EXIT_USAGE,
                            "the request is no %s: %s\nparley describe %s@%s/%s shows its fields",
                            call->method->input->name, error.text, call->target.interface,
                            call->version, call->method->name);
    return CLI_EXIT_OK;
}

static void print_status(struct cli *cli, const Parley__ControlReply *reply, uint64_t took_ns)
{
    const Parley__CallReply *body =
        reply->body_case == PARLEY__CONTROL_REPLY__BODY_CALL ? reply->call : NULL;
    char took[TEXT_DURATION_BYTES];
    fputs("parley: ", cli->err);
    fputs(parley_status_name(reply->status), cli->err);
    if (body && body->served_by && *body->served_by) {
        fputs(", served by ", cli->err);
        text_print(cli->err, body->served_by);
        if (body->has_translation)
            fprintf(cli->err, " (%s)", parley_translation_name(body->translation));
    }
    if (body && body->has_executed)
        fprintf(cli->err, ", executed: %s", parley_executed_name(body->executed));
    fprintf(cli->err, ", %s with the broker's part\n", text_duration(took_ns, took));
}

/* --json: the call's end around the reply, on one line. @reply_json: NULL if there is none. */
static void print_envelope(struct cli *cli, const Parley__ControlReply *reply,
                           const char *reply_json)
{
    const Parley__CallReply *body =
        reply->body_case == PARLEY__CONTROL_REPLY__BODY_CALL ? reply->call : NULL;
    json_t *object = json_object();
    json_set_text(object, "status", parley_status_name(reply->status));
    if (reply->status != PARLEY_OK)
        json_set_text(object, "text", reply->text);
    if (body && body->has_executed)
        json_set_text(object, "executed", parley_executed_name(body->executed));
    else if (!body) /* refused before it was one */
        json_set_text(object, "executed", parley_executed_name(PARLEY_EXECUTED_NO));
    if (body && body->served_by)
        json_set_text(object, "served_by", body->served_by);
    if (body && body->has_translation)
        json_set_text(object, "translation", parley_translation_name(body->translation));
    if (reply_json) {
        json_t *parsed = json_loads(reply_json, JSON_DECODE_ANY, NULL);
        json_object_set_new(object, "reply", parsed ? parsed : json_null());
    }
    json_print(cli->out, object, 0);
}

/* To a program, an interface that is not there is a call that failed. */
static void print_refused(struct cli *cli, const Parley__ControlReply *reply)
{
    print_envelope(cli, reply, NULL);
}

static int show_ok(struct cli *cli, const struct call *call, const Parley__ControlReply *reply)
{
    struct error_text error;
    _cleanup_(freep) char *json = NULL;
    if (reply->body_case != PARLEY__CONTROL_REPLY__BODY_CALL)
        return control_bad_reply(cli, "the call's reply");
    if (call->one_way) {
        if (cli->json)
            print_envelope(cli, reply, NULL);
        return CLI_EXIT_OK;
    }
    const ProtobufCBinaryData *payload = &reply->call->payload;
    if (json_from_wire(call->method->output, payload->data, payload->len, cli->json ? 0 : 2, false,
                       &json, &error) < 0)
        return cli_complain(cli, CLI_EXIT_BAD_REPLY, "the reply is no %s: %s",
                            call->method->output->name, error.text);
    if (cli->json)
        print_envelope(cli, reply, json);
    else
        fprintf(cli->out, "%s\n", json);
    return CLI_EXIT_OK;
}

static int show(struct cli *cli, const struct call *call, const Parley__ControlReply *reply)
{
    if (reply->status == PARLEY_OK)
        return show_ok(cli, call, reply);
    if (cli->json)
        print_envelope(cli, reply, NULL);
    return cli_complain(cli, CLI_EXIT_REFUSED, "%s: %s", parley_status_name(reply->status),
                        reply->text && *reply->text ? reply->text : "no reason was given");
}

static int make(struct cli *cli, struct call *call)
{
    uint64_t timeout_ns = cli->timeout_ns ? cli->timeout_ns : CLI_CALL_TIMEOUT_NS;
    Parley__CallRequest body = PARLEY__CALL_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_CALL;
    request.call = &body;
    body.interface = (char *)call->target.interface;
    body.version = (char *)call->version;
    body.method = (char *)call->method->name;
    body.has_payload = true;
    body.payload.data = call->payload;
    body.payload.len = call->payload_bytes;
    body.has_timeout_ns = true;
    body.timeout_ns = timeout_ns;
    body.n_metadata = call->metadata.count;
    body.metadata = call->pair_pointers;
    body.accept = (char *)call->accept;
    body.has_one_way = body.one_way = call->one_way;
    uint64_t start_ns = clock_now_ns();
    int code = control_exchange(cli, &request, timeout_ns + CALL_GRACE_NS, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (call->verbose)
        print_status(cli, reply, clock_now_ns() - start_ns);
    code = show(cli, call, reply);
    wire_free(reply);
    return code;
}

static int describe_and_make(struct cli *cli, struct call *call)
{
    Parley__ControlReply *described;
    struct schema *schema;
    int code = control_describe(cli, call->target.interface, call->target.version,
                                cli->json ? print_refused : NULL, &described, &schema);
    if (code != CLI_EXIT_OK)
        return code;
    call->version = described->describe->version;
    if (call->list && cli->json)
        describe_print_json(cli->out, schema, call->target.interface, call->version);
    else if (call->list)
        proto_print(cli->out, schema, call->target.interface, call->version, NULL);
    else
        code = encode(cli, call, schema);
    if (code == CLI_EXIT_OK && !call->list)
        code = make(cli, call);
    schema_unref(schema);
    wire_free(described);
    return code;
}

static int prepare(struct cli *cli, struct call *call, int argc, char **argv)
{
    if (argc == 0)
        return cli_usage(cli, "which method? parley ls --methods lists them");
    if (argc > 2)
        return cli_usage(cli, "one request at most; '%s' is one too many (quote the JSON)",
                         argv[2]);
    if (!target_parse(cli, argv[0], &call->target))
        return CLI_EXIT_USAGE;
    if (call->list)
        return CLI_EXIT_OK;
    if (!call->target.method)
        return cli_usage(cli, "which method of %s? parley describe %s shows them",
                         call->target.interface, call->target.interface);
    int code = parse_metadata(cli, call);
    return code == CLI_EXIT_OK ? read_json(cli, argc == 2 ? argv[1] : "{}", &call->json) : code;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct call call = {.version = NULL};
    const struct option_spec specs[] = {
        {"metadata", 'm', OPTION_LIST, "KEY=VALUE", "travels with the call; again for more",
         &call.metadata},
        {"accept", 'a', OPTION_TEXT, "RANGES", "only by these versions: \"~2.1, ~1.4\"",
         &call.accept},
        {"one-way", '1', OPTION_FLAG, NULL, "do not wait for a reply", &call.one_way},
        {"list", 'l', OPTION_FLAG, NULL, "call nothing, describe the interface", &call.list},
        {"verbose", 'v', OPTION_FLAG, NULL, "status and serving version on stderr", &call.verbose},
    };
    int code;
    if (!options_take(cli, specs, sizeof(specs) / sizeof(specs[0]), &argc, argv, &code))
        return code;
    code = prepare(cli, &call, argc, argv);
    if (code == CLI_EXIT_OK)
        code = describe_and_make(cli, &call);
    for (size_t i = 0; i < call.metadata.count; i++)
        free(call.pairs[i].key);
    free(call.json);
    free(call.payload);
    return code;
}

const struct cli_command cmd_call = {
    .name = "call",
    .usage = "[-v] [-1] [-a RANGES] [-m KEY=VALUE...] [-t DURATION]\n"
             "                   INTERFACE[@VERSION]/METHOD [JSON | - | @FILE]",
    .summary = "call a method, JSON in and JSON out",
    .details =
        "Encodes the request by the descriptors that the broker holds and prints the reply.\n"
        "The request is JSON as protobuf maps it; - reads it from the standard input,\n"
        "@FILE from a file, none is {}. A version says in which version's messages you\n"
        "write and read; whichever serves the call, Parley translates. --accept says which\n"
        "versions may serve it, in order of preference. --timeout is the\n"
        "call's deadline, 10s if not given. With --json the reply comes in an object with\n"
        "the status, on one line. With --one-way it ends once the request is on its way to\n"
        "an instance: nothing is printed, and nobody learns whether and how it was served.\n",
    .example = "  parley call --accept 2.x catalog@1.0.0/Get '{\"name\": \"libc6\"}'\n"
               "  parley call catalog@1.0.0/Get '{\"name\": \"libc6\"}'\n"
               "  echo '{\"limit\": 3}' | parley call -v -m tenant=blue catalog@1.0.0/List -\n",
    .run = run,
};
