/*
 * INTERFACE[@VERSION][/METHOD], as people write it: "catalog", "catalog@1.0.0/Get".
 *
 * Checked here so that a mistyped one is explained before anything is sent.
 */
#include "cli/cli.h"

#include <string.h>

#include "base/nearest.h"
#include "schema/schema.h"

static bool check_method(const char *name)
{
    return *name != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789_") == strlen(name);
}

bool target_interface(struct cli *cli, const char *name)
{
    if (schema_check_interface_name(name) == 0)
        return true;
    cli_usage(cli,
              "'%.80s' is no name of an interface: a letter, and up to 62 more of a-z 0-9 _ . -; "
              "parley ls --names lists them",
              name);
    return false;
}

bool target_parse(struct cli *cli, const char *text, struct target *ret_target)
{
    struct target *target = ret_target;
    struct semver version;
    *target = (struct target){.version = NULL};
    if (strlen(text) >= sizeof(target->buffer)) {
        cli_usage(cli, "the name of the interface is longer than %zu bytes",
                  sizeof(target->buffer) - 1);
        return false;
    }
    strcpy(target->buffer, text);
    target->interface = target->buffer;
    char *slash = strchr(target->buffer, '/');
    if (slash) {
        *slash = '\0';
        target->method = slash + 1;
    }
    char *at = strchr(target->buffer, '@');
    if (at) {
        *at = '\0';
        target->version = at + 1;
    }
    if (!target_interface(cli, target->interface))
        return false;
    if (target->version && semver_parse(target->version, &version) < 0)
        cli_usage(cli, "'%s' is no version; one looks like 1.0.0", target->version);
    else if (target->method && !check_method(target->method))
        cli_usage(cli, "'%s' is no name of a method", target->method);
    else
        return true;
    return false;
}

int method_unknown(struct cli *cli, const struct schema *schema, const struct target *target)
{
    const struct schema_service *service = schema_service(schema);
    const char *names[SCHEMA_METHOD_MAX];
    size_t count =
        service->method_count < SCHEMA_METHOD_MAX ? service->method_count : SCHEMA_METHOD_MAX;
    for (size_t i = 0; i < count; i++)
        names[i] = service->methods[i].name;
    const char *near = nearest(target->method, names, count);
    if (near)
        return cli_complain(cli, CLI_EXIT_USAGE, "%s has no method '%s'; did you mean '%s'?",
                            service->name, target->method, near);
    return cli_complain(cli, CLI_EXIT_USAGE,
                        "%s has no method '%s'; parley describe %s shows what it has",
                        service->name, target->method, target->interface);
}

int version_compare(const char *a, const char *b)
{
    struct semver left, right;
    bool left_bad = !a || semver_parse(a, &left) < 0, right_bad = !b || semver_parse(b, &right) < 0;
    if (left_bad || right_bad)
        return left_bad - right_bad;
    return semver_compare(&left, &right);
}
