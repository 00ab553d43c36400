/*
 * parley describe: the methods and messages of an interface, as proto-like text.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

#include "cli/json.h"
#include "schema/schema.h"
#include "wire/wire.h"

static json_t *method_json(const struct schema_method *method)
{
    json_t *object = json_object();
    json_set_text(object, "method", method->name);
    json_set_text(object, "input", method->input->name);
    json_set_text(object, "output", method->output->name);
    json_object_set_new(object, "client_streaming", json_boolean(method->client_streaming));
    json_object_set_new(object, "server_streaming", json_boolean(method->server_streaming));
    json_object_set_new(object, "idempotent", json_boolean(method->idempotency != 0));
    return object;
}

void describe_print_json(FILE *out, const struct schema *schema, const char *interface,
                         const char *version)
{
    const struct schema_service *service = schema_service(schema);
    json_t *object = json_object(), *methods = json_array();
    json_set_text(object, "interface", interface);
    json_set_text(object, "version", version);
    json_set_text(object, "service", service->name);
    for (size_t i = 0; i < service->method_count; i++)
        json_array_append_new(methods, method_json(&service->methods[i]));
    json_object_set_new(object, "methods", methods);
    json_print(out, object, 2);
}

static int save(struct cli *cli, const char *path, const struct schema *schema)
{
    size_t bytes;
    const uint8_t *set = schema_set(schema, &bytes);
    FILE *file = fopen(path, "we");
    if (!file)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "%s cannot be written: %s", path,
                            strerror(errno));
    bool bad = fwrite(set, 1, bytes, file) != bytes;
    if (fclose(file) != 0 || bad)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "%s could not be written: %s", path,
                            strerror(errno));
    return CLI_EXIT_OK;
}

static int show(struct cli *cli, const struct target *target, const char *version,
                const struct schema *schema, const char *output)
{
    const struct schema_method *method = NULL;
    size_t index;
    if (target->method) {
        method = schema_method_find(schema, target->method, &index);
        if (!method)
            return method_unknown(cli, schema, target);
    }
    if (output)
        return save(cli, output, schema);
    if (cli->json)
        describe_print_json(cli->out, schema, target->interface, version);
    else
        proto_print(cli->out, schema, target->interface, version, method);
    return CLI_EXIT_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    const char *output = NULL;
    const struct option_spec specs[] = {
        {"output", 'o', OPTION_TEXT, "FILE", "write the FileDescriptorSet there instead", &output},
    };
    struct target target;
    struct schema *schema;
    Parley__ControlReply *reply;
    int code;
    if (!options_take(cli, specs, 1, &argc, argv, &code))
        return code;
    if (argc != 1)
        return cli_usage(cli, argc == 0 ? "which interface? parley ls lists them"
                                        : "describe takes one interface");
    if (!target_parse(cli, argv[0], &target))
        return CLI_EXIT_USAGE;
    code = control_describe(cli, target.interface, target.version, NULL, &reply, &schema);
    if (code != CLI_EXIT_OK)
        return code;
    code = show(cli, &target, reply->describe->version, schema, output);
    schema_unref(schema);
    wire_free(reply);
    return code;
}

const struct cli_command cmd_describe = {
    .name = "describe",
    .usage = "[-o FILE] [--json] INTERFACE[@VERSION][/METHOD]",
    .summary = "show the methods and messages of an interface",
    .details =
        "Prints the service with every message and enum that its methods reach, as a .proto\n"
        "file would have them, from the descriptors that the service published. Without a\n"
        "version it is the one with the largest share. What a field was in the version\n"
        "before, as the schema declares it, stands behind it.\n",
    .example = "  parley describe catalog@1.0.0\n"
               "  parley describe catalog/Get\n",
    .run = run,
};
