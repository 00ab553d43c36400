/*
 * parley diff: what a change of schema breaks.
 *
 * Needs no broker. The exit code is the answer for a script, so that nothing but a break is 1: what
 * cannot be read or compiled is 2. What is printed is the same finding in three forms: lines for
 * people, an object for programs, and the workflow commands that GitHub makes annotations of.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/compile.h"
#include "cli/json.h"
#include "translate/bridge.h"

DEFINE_CLEANUP(struct diff *, diff_free);

struct request {
    const char *format, *category, *prefix;
    enum diff_category wanted;
};

static const char *const severities[] = {
    [DIFF_BREAK] = "break",
    [DIFF_ACCEPTED] = "accepted",
    [DIFF_NOTE] = "note",
};

/* ---- text ---- */

static void print_count(FILE *out, size_t count, const char *what, const char *before)
{
    if (count > 0)
        fprintf(out, "%s%zu %s%s", before, count, what, count == 1 ? "" : "s");
}

static size_t count_of(const struct diff *diff, enum diff_severity severity)
{
    size_t count, found = 0;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count; i++)
        found += findings[i].severity == severity;
    return found;
}

static void print_text(FILE *out, const struct diff *diff, const struct request *request)
{
    size_t count;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count; i++) {
        char line[4 * DIFF_SENTENCE_BYTES_MAX];
        (void)diff_describe(&findings[i], line, sizeof(line));
        char *full = text_format("%s%s", request->prefix, line);
        text_print(out, full);
        fputc('\n', out);
        free(full);
    }
    if (diff_omitted_count(diff) > 0)
        fprintf(out, "and %zu more\n", diff_omitted_count(diff));
    size_t breaks = diff_break_count(diff), accepted = count_of(diff, DIFF_ACCEPTED);
    fputs(breaks > 0 ? "" : "nothing breaks", out);
    print_count(out, breaks, "break", "");
    if (accepted > 0)
        fprintf(out, ", %zu accepted", accepted);
    print_count(out, count_of(diff, DIFF_NOTE), "note", ", ");
    fputc('\n', out);
}

/* ---- JSON ---- */

static json_t *finding_json(const struct diff_finding *finding, const char *prefix)
{
    json_t *object = json_object();
    char *file = text_format("%s%s", prefix, finding->file);
    json_set_text(object, "file", file);
    free(file);
    json_object_set_new(object, "line", json_integer(finding->line));
    json_object_set_new(object, "column", json_integer(finding->column));
    json_set_text(object, "rule", diff_rule_name(finding->rule));
    json_set_text(object, "severity", severities[finding->severity]);
    json_set_text(object, "element", finding->element);
    json_set_text(object, "sentence", finding->sentence);
    if (finding->reason)
        json_set_text(object, "reason", finding->reason);
    return object;
}

static void print_json(FILE *out, const struct diff *diff, const struct request *request)
{
    size_t count;
    const struct diff_finding *findings = diff_findings(diff, &count);
    json_t *object = json_object(), *list = json_array();
    json_set_text(object, "category", request->category);
    json_object_set_new(object, "breaks", json_integer((json_int_t)diff_break_count(diff)));
    json_object_set_new(object, "omitted", json_integer((json_int_t)diff_omitted_count(diff)));
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, finding_json(&findings[i], request->prefix));
    json_object_set_new(object, "findings", list);
    json_print(out, object, 2);
}

/* ---- GitHub's workflow commands ---- */

/* In a property a colon and a comma would end it; in the text behind it they are themselves. */
static void print_escaped(FILE *out, const char *text, bool property)
{
    for (; *text; text++) {
        bool special = *text == '%' || *text == '\r' || *text == '\n' ||
                       (property && (*text == ':' || *text == ','));
        if (special)
            fprintf(out, "%%%02X", (unsigned char)*text);
        else
            fputc(*text, out);
    }
}

static void print_annotation(FILE *out, const struct diff_finding *finding, const char *prefix)
{
    static const char *const commands[] = {
        [DIFF_BREAK] = "error",
        [DIFF_ACCEPTED] = "notice",
        [DIFF_NOTE] = "notice",
    };
    fprintf(out, "::%s file=", commands[finding->severity]);
    print_escaped(out, prefix, true);
    print_escaped(out, finding->file, true);
    if (finding->line > 0)
        fprintf(out, ",line=%u,col=%u", finding->line, finding->column);
    fprintf(out, ",title=%s::", diff_rule_name(finding->rule));
    print_escaped(out, finding->element, false);
    fputs(": ", out);
    print_escaped(out, finding->sentence, false);
    if (finding->reason) {
        fputs("; accepted: ", out);
        print_escaped(out, finding->reason, false);
    }
    fputc('\n', out);
}

static void print_github(FILE *out, const struct diff *diff, const struct request *request)
{
    size_t count;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count; i++)
        print_annotation(out, &findings[i], request->prefix);
    if (diff_omitted_count(diff) > 0)
        fprintf(out, "::error title=parley diff::and %zu more\n", diff_omitted_count(diff));
}

/* ---- The command ---- */

static const struct {
    const char *name;
    void (*print)(FILE *out, const struct diff *diff, const struct request *request);
} formats[] = {{"text", print_text}, {"json", print_json}, {"github", print_github}};
#define FORMAT_COUNT (sizeof(formats) / sizeof(formats[0]))

static int compare(struct cli *cli, const struct request *request, const struct compiled *old,
                   const struct compiled *new)
{
    _cleanup_(diff_freep) struct diff *diff = NULL;
    struct error_text error = {"out of memory"};
    const struct diff_options options = {
        .category = request->wanted,
        .bridges = true,
        .positions = new->set,
        .positions_bytes = new->bytes,
    };
    int r = diff_new(old->schema, new->schema, &options, &diff);
    if (r == 0)
        r = diff_bridges(diff, old->schema, new->schema, &error);
    if (r == 0)
        r = diff_finish(diff, &error);
    if (r < 0)
        return cli_complain(cli, CLI_EXIT_USAGE, "%s", error.text);
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, request->format) == 0)
            formats[i].print(cli->out, diff, request);
    return diff_break_count(diff) > 0 ? CLI_EXIT_REFUSED : CLI_EXIT_OK;
}

/* Return: true, or false after a complaint. */
static bool check_request(struct cli *cli, struct request *request)
{
    if (!request->format)
        request->format = cli->json ? "json" : "text";
    size_t format = 0;
    while (format < FORMAT_COUNT && strcmp(formats[format].name, request->format) != 0)
        format++;
    if (format == FORMAT_COUNT) {
        cli_usage(cli, "--format: '%s' is none; there are text, json and github", request->format);
        return false;
    }
    bool wire = strcmp(request->category, "WIRE") == 0;
    if (!wire && strcmp(request->category, "WIRE_JSON") != 0) {
        cli_usage(cli, "--category: '%s' is none; there are WIRE and WIRE_JSON", request->category);
        return false;
    }
    request->wanted = wire ? DIFF_WIRE : DIFF_WIRE_JSON;
    return true;
}

static void print_rules(FILE *out, enum diff_category category, bool as_json)
{
    json_t *rules = json_array();
    for (int i = 0; i < DIFF_RULE_COUNT; i++) {
        enum diff_rule rule = (enum diff_rule)i;
        if (!diff_rule_applies(rule, category))
            continue;
        if (as_json)
            json_array_append_new(rules, json_pack("{s:s, s:s}", "rule", diff_rule_name(rule),
                                                   "meaning", diff_rule_meaning(rule)));
        else
            fprintf(out, "%-46s %s\n", diff_rule_name(rule), diff_rule_meaning(rule));
    }
    if (as_json)
        json_print(out, json_incref(rules), 2);
    json_decref(rules);
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct request request = {.category = "WIRE_JSON", .prefix = ""};
    bool rules = false;
    const struct option_spec specs[] = {
        {"format", 'f', OPTION_TEXT, "FORMAT", "text, json or github", &request.format},
        {"category", 'c', OPTION_TEXT, "CATEGORY", "WIRE_JSON (default), or WIRE",
         &request.category},
        {"prefix", 'p', OPTION_TEXT, "PATH", "put it before the files' names", &request.prefix},
        {"rules", 0, OPTION_FLAG, NULL, "list the category's rules instead", &rules},
    };
    int code;
    if (!options_take(cli, specs, 4, &argc, argv, &code))
        return code;
    if (!check_request(cli, &request))
        return CLI_EXIT_USAGE;
    if (rules && argc == 0) {
        print_rules(cli->out, request.wanted, strcmp(request.format, "json") == 0);
        return CLI_EXIT_OK;
    }
    if (argc != 2)
        return cli_usage(cli, "diff takes what was and what is: OLD NEW");
    struct compiled old = {0}, new = {0};
    code = compile_any(cli, argv[0], &old);
    if (code == CLI_EXIT_OK)
        code = compile_any(cli, argv[1], &new);
    if (code == CLI_EXIT_OK)
        code = compare(cli, &request, &old, &new);
    compiled_deinit(&old);
    compiled_deinit(&new);
    return code;
}

const struct cli_command cmd_diff = {
    .name = "diff",
    .usage = "[--format FORMAT] [--category CATEGORY] OLD NEW",
    .summary = "find what a change of schema breaks",
    .details =
        "OLD and NEW are folders of .proto files, single ones, or descriptor sets. Packages that\n"
        "both have are compared by the rules of buf's category WIRE_JSON, or WIRE, and by what\n"
        "was deleted; versions that name each other as `previous`, by what the translator cannot\n"
        "bridge. A finding that (parley.interface).accept names is no break.\n"
        "Exits with 0 if nothing breaks, 1 if something does, 2 if something cannot be read.\n"
        "Needs no broker.\n",
    .example = "  parley diff released/schemas schemas\n"
               "  parley diff catalog_v1.proto catalog_v2.proto\n"
               "  parley diff --format github --prefix schemas/ main/schemas schemas\n",
    .run = run,
};
