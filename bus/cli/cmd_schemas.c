/*
 * parley schemas: what the broker's registry has.
 *
 * One row a content, so that two of one version are seen to be two; a version that no row has is
 * one that no path can lead over.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/digest.h"
#include "cli/json.h"
#include "wire/wire.h"

#define HASH_SHORT 12 /* digits; enough to tell them apart */

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

/* Who brought it, if it lies in no file now. */
static const char *origin_name(const Parley__SchemaInfo *schema)
{
    static const char *const names[] = {"refused", "client", "folder", "instance", "broker"};
    if (!schema->has_origin) /* of an older broker */
        return schema->published ? "instance" : "client";
    return (size_t)schema->origin < sizeof(names) / sizeof(names[0]) ? names[schema->origin] : "-";
}

/* "" if it is no hash. */
static void hash_text(const Parley__SchemaInfo *schema, char text[DIGEST_TEXT_BYTES])
{
    struct digest digest;
    text[0] = '\0';
    if (schema->hash.len != DIGEST_BYTES)
        return;
    memcpy(digest.bytes, schema->hash.data, DIGEST_BYTES);
    digest_text(&digest, text);
}

/* @interface: NULL: all were asked for */
static void print_table(FILE *out, const Parley__SchemasReply *schemas, const char *interface)
{
    static const char *const titles[] = {"INTERFACE", "VERSION", "SERVICE", "PREVIOUS", "HASH",
                                         ">BYTES",    "FROM",    "RULES",   NULL};
    struct table *table = table_new(titles);
    for (size_t i = 0; i < schemas->n_schema; i++) {
        const Parley__SchemaInfo *schema = schemas->schema[i];
        char hash[DIGEST_TEXT_BYTES];
        hash_text(schema, hash);
        hash[HASH_SHORT] = '\0';
        table_cell(table, "%s", or_dash(schema->interface));
        table_cell(table, "%s", or_dash(schema->version));
        table_cell(table, "%s", or_dash(schema->service));
        table_cell(table, "%s", or_dash(schema->previous));
        table_cell(table, "%s", or_dash(hash));
        table_cell(table, "%" PRIu32, schema->bytes);
        table_cell(table, "%s", schema->file ? schema->file : origin_name(schema));
        table_cell(table, "%s", schema->in_force ? "in force" : "-");
    }
    if (schemas->n_schema > 0)
        table_print(table, out);
    else
        fprintf(out, "The broker has seen no schema%s%s.\n", interface ? " of " : "",
                interface ? interface : "");
    table_free(table);
}

static json_t *schema_json(const Parley__SchemaInfo *schema)
{
    char hash[DIGEST_TEXT_BYTES];
    json_t *object = json_object();
    hash_text(schema, hash);
    json_set_text(object, "interface", schema->interface);
    json_set_text(object, "version", schema->version);
    json_set_text(object, "service", schema->service);
    json_set_text(object, "previous", schema->previous);
    json_set_text(object, "sha256", hash);
    json_object_set_new(object, "bytes", json_integer(schema->bytes));
    json_set_text(object, "file", schema->file);
    json_set_text(object, "origin", schema->file ? "folder" : origin_name(schema));
    json_object_set_new(object, "published", json_boolean(schema->published));
    json_object_set_new(object, "in_force", json_boolean(schema->in_force));
    json_object_set_new(object, "users", json_integer(schema->users));
    return object;
}

static void print_json(FILE *out, const Parley__SchemasReply *schemas)
{
    json_t *object = json_object(), *array = json_array();
    for (size_t i = 0; i < schemas->n_schema; i++)
        json_array_append_new(array, schema_json(schemas->schema[i]));
    json_object_set_new(object, "schemas", array);
    json_print(out, object, 2);
}

static int by_name(const void *a, const void *b)
{
    const Parley__SchemaInfo *x = *(Parley__SchemaInfo *const *)a;
    const Parley__SchemaInfo *y = *(Parley__SchemaInfo *const *)b;
    int order = strcmp(or_dash(x->interface), or_dash(y->interface));
    return order ? order : version_compare(x->version, y->version);
}

static int run(struct cli *cli, int argc, char **argv)
{
    int code;
    if (!options_take(cli, NULL, 0, &argc, argv, &code))
        return code;
    if (argc > 1)
        return cli_usage(cli, "schemas takes one interface; '%s' is one too many", argv[1]);
    if (argc == 1 && !target_interface(cli, argv[0]))
        return CLI_EXIT_USAGE;
    Parley__SchemasRequest schemas = PARLEY__SCHEMAS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    schemas.interface = argc == 1 ? argv[0] : NULL;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_SCHEMAS;
    request.schemas = &schemas;
    code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_SCHEMAS, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (reply->schemas->n_schema > 0)
        qsort(reply->schemas->schema, reply->schemas->n_schema, sizeof(*reply->schemas->schema),
              by_name);
    if (cli->json)
        print_json(cli->out, reply->schemas);
    else
        print_table(cli->out, reply->schemas, schemas.interface);
    wire_free(reply);
    return CLI_EXIT_OK;
}

const struct cli_command cmd_schemas = {
    .name = "schemas",
    .usage = "[--json] [INTERFACE]",
    .summary = "list the schemas that the broker knows",
    .details =
        "Lists what the broker's registry has: each content of each version, by its SHA-256,\n"
        "and where it is from: a file of parleyd --schemas (\"folder\": it is gone), an\n"
        "instance that published it, only a client that was built against it, the broker\n"
        "itself, or only somebody who was refused with it. Paths between versions lead over\n"
        "those of files and instances. Of several contents of one version, the rules of the\n"
        "one that is in force count.\n",
    .example = "  parley schemas catalog\n"
               "  parley schemas --json | jq -r '.schemas[] | .version + \" \" + .sha256'\n",
    .run = run,
};
