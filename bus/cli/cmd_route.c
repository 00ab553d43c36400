/*
 * parley route: the share of calls that each version of an interface gets.
 *
 * Weights are of any unit; the broker makes shares of them. A version that is not named gets
 * nothing, which is said here before it is done only by showing the result: the answer lists every
 * version with its share.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/json.h"
#include "schema/schema.h"
#include "wire/wire.h"

#define ROUTE_WEIGHT_MAX 64
#define ROUTE_WEIGHT_VALUE_MAX 1e9

struct weights {
    Parley__RouteWeight values[ROUTE_WEIGHT_MAX];
    Parley__RouteWeight *pointers[ROUTE_WEIGHT_MAX];
    size_t count;
};

static bool parse_number(const char *text, double *ret_value)
{
    size_t length = strspn(text, "0123456789.");
    char *end;
    if (length == 0 || text[length] != '\0')
        return false;
    *ret_value = strtod(text, &end);
    return *end == '\0' && isfinite(*ret_value);
}

/* @text: VERSION=WEIGHT; cut in two. Return: CLI_EXIT_OK or a complaint's. */
static int add_weight(struct cli *cli, struct weights *weights, char *text)
{
    struct semver version;
    double value;
    char *number = strchr(text, '=');
    if (!number)
        return cli_usage(cli, "'%s' is no VERSION=WEIGHT; one looks like 2.0.0=5", text);
    *number++ = '\0';
    if (semver_parse(text, &version) < 0)
        return cli_usage(cli, "'%s' is no version; one looks like 2.0.0", text);
    if (*number == '-')
        return cli_usage(cli, "the weight of %s is negative (%s); the least is 0", text, number);
    if (!parse_number(number, &value))
        return cli_usage(cli, "the weight of %s is no number: '%s'", text, number);
    if (value > ROUTE_WEIGHT_VALUE_MAX)
        return cli_usage(cli, "the weight of %s is above %.0f", text, ROUTE_WEIGHT_VALUE_MAX);
    for (size_t i = 0; i < weights->count; i++) {
        if (strcmp(weights->values[i].version, text) == 0)
            return cli_usage(cli, "%s has two weights; give it one", text);
    }
    if (weights->count == ROUTE_WEIGHT_MAX)
        return cli_usage(cli, "more than %d weights", ROUTE_WEIGHT_MAX);
    Parley__RouteWeight *weight = &weights->values[weights->count];
    parley__route_weight__init(weight);
    weight->version = text;
    weight->has_weight = true;
    weight->weight = value;
    weights->pointers[weights->count++] = weight;
    return CLI_EXIT_OK;
}

static int parse_weights(struct cli *cli, struct weights *weights, int argc, char **argv)
{
    double sum = 0;
    for (int i = 0; i < argc; i++) {
        int code = add_weight(cli, weights, argv[i]);
        if (code != CLI_EXIT_OK)
            return code;
        sum += weights->values[weights->count - 1].weight;
    }
    if (argc > 0 && !(sum > 0))
        return cli_usage(cli, "all weights are 0, so that no version would be called; give one of "
                              "them more");
    return CLI_EXIT_OK;
}

static void print_text(FILE *out, const Parley__RouteReply *route)
{
    static const char *const titles[] = {"INTERFACE", "VERSION", ">SHARE", NULL};
    struct table *table = table_new(titles);
    char share[TEXT_SHARE_BYTES];
    for (size_t i = 0; i < route->n_weight; i++) {
        table_cell(table, "%s", route->interface ? route->interface : "-");
        table_cell(table, "%s", route->weight[i]->version ? route->weight[i]->version : "-");
        table_cell(table, "%s", text_share(route->weight[i]->weight, share));
    }
    table_print(table, out);
    table_free(table);
}

static void print_json(FILE *out, const Parley__RouteReply *route)
{
    json_t *object = json_object(), *versions = json_array();
    json_set_text(object, "interface", route->interface);
    json_object_set_new(object, "route_generation", json_integer((json_int_t)route->generation));
    for (size_t i = 0; i < route->n_weight; i++) {
        json_t *version = json_object();
        double share = route->weight[i]->weight;
        json_set_text(version, "version", route->weight[i]->version);
        json_object_set_new(version, "share_percent", json_real(isfinite(share) ? share : 0));
        json_array_append_new(versions, version);
    }
    json_object_set_new(object, "versions", versions);
    json_print(out, object, 2);
}

static int by_version(const void *a, const void *b)
{
    return version_compare((*(Parley__RouteWeight *const *)a)->version,
                           (*(Parley__RouteWeight *const *)b)->version);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct weights weights = {.count = 0};
    bool force = false;
    const struct option_spec specs[] = {
        {"force", 'f', OPTION_FLAG, NULL, "though a rollout runs there, which then pauses", &force},
    };
    int code;
    if (!options_take(cli, specs, 1, &argc, argv, &code))
        return code;
    if (argc == 0)
        return cli_usage(cli, "which interface? parley ls lists them");
    if (!target_interface(cli, argv[0]))
        return CLI_EXIT_USAGE;
    code = parse_weights(cli, &weights, argc - 1, argv + 1);
    if (code != CLI_EXIT_OK)
        return code;

    Parley__RouteRequest route = PARLEY__ROUTE_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_ROUTE;
    request.route = &route;
    route.interface = argv[0];
    route.has_force = force;
    route.force = force;
    route.n_weight = weights.count;
    route.weight = weights.pointers;
    code = control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_ROUTE, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (reply->route->n_weight > 0)
        qsort(reply->route->weight, reply->route->n_weight, sizeof(*reply->route->weight),
              by_version);
    if (cli->json)
        print_json(cli->out, reply->route);
    else
        print_text(cli->out, reply->route);
    wire_free(reply);
    return CLI_EXIT_OK;
}

const struct cli_command cmd_route = {
    .name = "route",
    .usage = "[--force] INTERFACE [VERSION=WEIGHT...]",
    .summary = "show or set the share of calls that each version gets",
    .details =
        "Without weights, shows each version's share of new calls. With weights, sets them:\n"
        "they may be of any unit, 0 or more, and a version that is not named gets none.\n"
        "Clients obey on their next call. Where a rollout runs, it sets the shares: --force\n"
        "sets them all the same, and pauses the rollout.\n",
    .example = "  parley route catalog 1.0.0=95 2.0.0=5\n"
               "  parley route catalog\n",
    .run = run,
};
