/*
 * parley rollout: looks at rollouts and acts on them.
 *
 * Every action has the same form: a name goes to the broker, how the rollout stands then comes
 * back. What may be done in which phase is the broker's to say, and who did it the kernel's, so
 * nothing of that is here. `show` and `history` are made from the JSON that the broker gives, so
 * that --json is exactly that, and text shows no more than it.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/nearest.h"
#include "cli/json.h"
#include "wire/wire.h"

#define DOCUMENT_BYTES_MAX (64 * 1024) /* bus/rollout reads no more */
#define FOLLOW_NS (NS_PER_S / 2)

struct rollout_options {
    const char *reason;
    bool follow;
    bool full;
};

struct action {
    const char *name;
    Parley__RolloutAction action;
    bool named; /* takes NAME */
};

static const struct action actions[] = {
    {"ls", PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST, false},
    {"show", PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW, true},
    {"history", PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW, true},
    {"apply", PARLEY__ROLLOUT_ACTION__ROLLOUT_APPLY, false},
    {"pause", PARLEY__ROLLOUT_ACTION__ROLLOUT_PAUSE, true},
    {"resume", PARLEY__ROLLOUT_ACTION__ROLLOUT_RESUME, true},
    {"approve", PARLEY__ROLLOUT_ACTION__ROLLOUT_APPROVE, true},
    {"promote", PARLEY__ROLLOUT_ACTION__ROLLOUT_PROMOTE, true},
    {"rollback", PARLEY__ROLLOUT_ACTION__ROLLOUT_ROLLBACK, true},
    {"undo", PARLEY__ROLLOUT_ACTION__ROLLOUT_UNDO, true},
    {"delete", PARLEY__ROLLOUT_ACTION__ROLLOUT_DELETE, true},
};
#define ACTION_COUNT (sizeof(actions) / sizeof(actions[0]))

static const char *or_dash(const char *text)
{
    return text && *text ? text : "-";
}

/* ---- Asking ---- */

static int ask(struct cli *cli, Parley__RolloutRequest *rollout, Parley__ControlReply **ret_reply)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_ROLLOUT;
    request.rollout = rollout;
    return control_ask(cli, &request, PARLEY__CONTROL_REPLY__BODY_ROLLOUT, ret_reply);
}

/* The one rollout of an answer as JSON; NULL after a complaint. The caller's. */
static json_t *rollout_of(struct cli *cli, const Parley__RolloutReply *reply)
{
    const char *text = reply->n_rollout == 1 ? reply->rollout[0]->json : NULL;
    json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json)
        (void)control_bad_reply(cli, "the rollout");
    return json;
}

/* ---- ls ---- */

static void print_list(FILE *out, const Parley__RolloutReply *reply)
{
    static const char *const titles[] = {"NAME",   "INTERFACE", "PHASE",  ">STEP", ">CANARY",
                                         "STABLE", "TO",        "REASON", NULL};
    char share[TEXT_SHARE_BYTES];
    if (reply->n_rollout == 0) {
        fputs("The broker runs no rollout.\n", out);
        return;
    }
    struct table *table = table_new(titles);
    for (size_t i = 0; i < reply->n_rollout; i++) {
        const Parley__RolloutInfo *rollout = reply->rollout[i];
        table_cell(table, "%s", or_dash(rollout->name));
        table_cell(table, "%s", or_dash(rollout->interface));
        table_cell(table, "%s", or_dash(rollout->phase));
        table_cell(table, "%" PRIu32 "/%" PRIu32, rollout->step, rollout->steps);
        table_cell(table, "%s", text_share(rollout->weight_per_100000 / 1000.0, share));
        table_cell(table, "%s", or_dash(rollout->stable));
        table_cell(table, "%s", or_dash(rollout->canary));
        table_cell(table, "%s", or_dash(rollout->text));
    }
    table_print(table, out);
    table_free(table);
}

static void print_list_json(FILE *out, const Parley__RolloutReply *reply)
{
    json_t *object = json_object(), *array = json_array();
    for (size_t i = 0; i < reply->n_rollout; i++) {
        const Parley__RolloutInfo *rollout = reply->rollout[i];
        json_t *item = json_object();
        json_set_text(item, "name", rollout->name);
        json_set_text(item, "interface", rollout->interface);
        json_set_text(item, "phase", rollout->phase);
        json_object_set_new(item, "step", json_integer(rollout->step));
        json_object_set_new(item, "steps", json_integer(rollout->steps));
        json_object_set_new(item, "canary_percent", json_real(rollout->weight_per_100000 / 1000.0));
        json_set_text(item, "stable", rollout->stable);
        json_set_text(item, "canary", rollout->canary);
        json_set_text(item, "reason", rollout->text);
        json_object_set_new(item, "updated_unix_ns",
                            json_integer((json_int_t)rollout->updated_unix_ns));
        json_set_text(item, "file", rollout->source);
        json_object_set_new(item, "ended", json_boolean(rollout->ended));
        json_array_append_new(array, item);
    }
    json_object_set_new(object, "rollouts", array);
    json_print(out, object, 2);
}

static int list(struct cli *cli)
{
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    Parley__ControlReply *reply;
    int code = ask(cli, &request, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    if (cli->json)
        print_list_json(cli->out, reply->rollout);
    else
        print_list(cli->out, reply->rollout);
    wire_free(reply);
    return CLI_EXIT_OK;
}

/* ---- show ---- */

static const char *text_at(const json_t *object, const char *key)
{
    return or_dash(json_string_value(json_object_get(object, key)));
}

static double number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static json_int_t integer_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* What a peer sent, on a line of its own. */
static void print_field(FILE *out, const char *title, const char *text)
{
    fprintf(out, "%-11s", title);
    text_print(out, text);
    fputc('\n', out);
}

static void print_share(FILE *out, const char *title, double percent)
{
    char share[TEXT_SHARE_BYTES];
    fprintf(out, "%-11s%s\n", title, text_share(isfinite(percent) ? percent : 0, share));
}

/* "1.20 %" or "850 us"; "-" if it is not known. */
static const char *gate_value(const json_t *gate, const char *key, bool is_time, char text[32])
{
    double value = number_at(gate, key);
    if (!isfinite(value) || value < 0)
        snprintf(text, 32, "-");
    else if (is_time && value < 1e18)
        text_duration((uint64_t)value, text);
    else
        snprintf(text, 32, "%.2f %%", value * 100);
    return text;
}

static void print_gate(FILE *out, const char *title, const json_t *gate, bool is_time)
{
    char stable[32], canary[32], limit[32];
    fprintf(out, "  %-9s%-10s canary %s, stable %s, limit %s", title, text_at(gate, "verdict"),
            gate_value(gate, "canary", is_time, canary),
            gate_value(gate, "stable", is_time, stable), gate_value(gate, "limit", is_time, limit));
    fprintf(out, "; evidence: bad %.2f, good %.2f\n", number_at(gate, "harm"),
            number_at(gate, "health"));
}

static void print_steps(FILE *out, const json_t *spec, const json_t *status)
{
    const json_t *steps = json_object_get(spec, "steps");
    json_int_t current = integer_at(status, "step");
    size_t i;
    json_t *step;
    char share[TEXT_SHARE_BYTES], hold[TEXT_DURATION_BYTES];
    json_array_foreach(steps, i, step)
    {
        double seconds = number_at(step, "holdSeconds");
        fprintf(out, "  %c %zu  %s", (json_int_t)i + 1 == current ? '>' : ' ', i + 1,
                text_share(number_at(step, "weight"), share));
        if (seconds > 0 && seconds < 1e9)
            fprintf(out, " for %s", text_time((uint64_t)(seconds * 1e9), hold));
        fprintf(out, "%s\n",
                json_is_true(json_object_get(step, "approval")) ? ", then an approval" : "");
    }
}

static void print_mirror(FILE *out, const json_t *mirror)
{
    if (!json_is_object(mirror))
        return;
    fprintf(out,
            "Mirrored   %" JSON_INTEGER_FORMAT
            " calls were copied to the canary: %" JSON_INTEGER_FORMAT
            " replies differ, %" JSON_INTEGER_FORMAT " failed; %" JSON_INTEGER_FORMAT
            " were not copied\n",
            integer_at(mirror, "sent"), integer_at(mirror, "differ"), integer_at(mirror, "failed"),
            integer_at(mirror, "skipped"));
}

static void print_show(FILE *out, const json_t *rollout)
{
    const json_t *spec = json_object_get(rollout, "spec");
    const json_t *status = json_object_get(rollout, "status");
    const json_t *gates = json_object_get(status, "gates");
    char line[256];
    print_field(out, "Name", text_at(json_object_get(rollout, "metadata"), "name"));
    print_field(out, "Interface", text_at(spec, "interface"));
    print_field(out, "Phase", text_at(status, "phase"));
    print_field(out, "Reason", text_at(status, "reason"));
    snprintf(line, sizeof(line), "%s (%s)", text_at(status, "stable"), text_at(spec, "stable"));
    print_field(out, "Stable", line);
    snprintf(line, sizeof(line), "%s (%s)", text_at(status, "canary"), text_at(spec, "canary"));
    print_field(out, "Canary", line);
    print_share(out, "Share", number_at(status, "weight"));
    if (json_is_true(json_object_get(status, "overridden")))
        print_field(out, "Overridden", "the shares were set by hand: parley route shows them");
    fputs("Steps\n", out);
    print_steps(out, spec, status);
    fprintf(out,
            "Gates      of %" JSON_INTEGER_FORMAT " calls to the canary and %" JSON_INTEGER_FORMAT
            " to the stable version in this step\n",
            integer_at(status, "canaryCalls"), integer_at(status, "stableCalls"));
    print_gate(out, "errors", json_object_get(gates, "errorRate"), false);
    print_gate(out, "p99", json_object_get(gates, "p99Ns"), true);
    fprintf(out, "Exposed    %" JSON_INTEGER_FORMAT " calls met the canary\n",
            integer_at(status, "exposedCalls"));
    print_mirror(out, json_object_get(status, "mirror"));
    print_field(out, "Document",
                json_is_string(json_object_get(status, "file")) ? text_at(status, "file")
                                                                : "applied");
}

static void print_history(struct cli *cli, const json_t *rollout)
{
    static const char *const titles[] = {"TIME",    "WHO",   "WHAT", ">STEP",
                                         ">CANARY", "PHASE", "WHY",  NULL};
    json_t *history = json_object_get(json_object_get(rollout, "status"), "history");
    char share[TEXT_SHARE_BYTES];
    size_t i;
    json_t *entry;
    if (cli->json) {
        json_t *object = json_object();
        json_object_set(object, "history", history);
        json_print(cli->out, object, 2);
        return;
    }
    struct table *table = table_new(titles);
    json_array_foreach(history, i, entry)
    {
        table_cell(table, "%s", text_at(entry, "time"));
        table_cell(table, "%s", text_at(entry, "who"));
        table_cell(table, "%s", text_at(entry, "what"));
        table_cell(table, "%" JSON_INTEGER_FORMAT, integer_at(entry, "step"));
        table_cell(table, "%s", text_share(number_at(entry, "weight"), share));
        table_cell(table, "%s", text_at(entry, "phase"));
        table_cell(table, "%s", text_at(entry, "why"));
    }
    table_print(table, cli->out);
    table_free(table);
}

/* ---- Following ---- */

/* What has to change for another picture: everything but how long a step was held. */
static char *picture(json_t *rollout)
{
    json_t *status = json_object_get(rollout, "status");
    json_object_del(status, "heldSeconds");
    return json_dumps(rollout, JSON_COMPACT);
}

static void print_round(struct cli *cli, json_t *rollout, bool first)
{
    if (cli->json) {
        json_print(cli->out, json_incref(rollout), 0);
        return;
    }
    if (!first)
        fputs(isatty(fileno(cli->out)) ? "\033[H\033[2J" : "\n", cli->out);
    print_show(cli->out, rollout);
}

/* One look; prints it if it is another one than *last. @ret_ended: NULL while it runs, else the
 * phase in which it ended. */
static int follow_once(struct cli *cli, Parley__RolloutRequest *request, char **last,
                       bool *ret_ended, bool *ret_completed)
{
    Parley__ControlReply *reply;
    int code = ask(cli, request, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    json_t *rollout = rollout_of(cli, reply->rollout);
    wire_free(reply);
    if (!rollout)
        return CLI_EXIT_BAD_REPLY;
    const json_t *status = json_object_get(rollout, "status");
    *ret_ended = !json_is_true(json_object_get(status, "running"));
    *ret_completed = strcmp(text_at(status, "phase"), "Completed") == 0;
    _cleanup_(freep) char *now = picture(rollout);
    if (!*last || !now || strcmp(*last, now) != 0)
        print_round(cli, rollout, !*last);
    free(*last);
    *last = steal_ptr(&now);
    json_decref(rollout);
    return CLI_EXIT_OK;
}

/* Until it has ended, or Ctrl-C. A broker that is away for a moment is asked again. */
static int follow(struct cli *cli, Parley__RolloutRequest *request)
{
    _cleanup_(freep) char *last = NULL;
    bool ended = false, completed = false;
    int code = CLI_EXIT_OK;
    if (stop_begin() < 0)
        return cli_complain(cli, CLI_EXIT_TROUBLE, "no descriptor is left to wait with: %s",
                            strerror(errno));
    for (bool first = true; !stop_requested() && !ended; first = false) {
        if (!first)
            stop_wait(FOLLOW_NS);
        code = follow_once(cli, request, &last, &ended, &completed);
        if (code != CLI_EXIT_OK && (code != CLI_EXIT_NO_BROKER || first))
            break;
        if (fflush(cli->out) != 0)
            break;
    }
    bool stopped = stop_requested() && !ended;
    stop_end();
    if (stopped || code != CLI_EXIT_OK)
        return stopped ? CLI_EXIT_OK : code;
    return completed ? CLI_EXIT_OK : CLI_EXIT_REFUSED;
}

/* ---- Acting ---- */

/* @path: "-": the standard input. Return: the caller's, NUL-terminated; NULL after a complaint. */
static char *read_document(struct cli *cli, const char *path, int *ret_code)
{
    FILE *in = strcmp(path, "-") == 0 ? cli->in : fopen(path, "re");
    if (!in) {
        *ret_code =
            cli_complain(cli, CLI_EXIT_TROUBLE, "%s cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    char *text = text_alloc(DOCUMENT_BYTES_MAX + 2);
    size_t bytes = fread(text, 1, DOCUMENT_BYTES_MAX + 1, in);
    int failed = ferror(in) ? errno : 0;
    text[bytes] = '\0';
    if (in != cli->in)
        (void)fclose(in);
    if (failed)
        *ret_code =
            cli_complain(cli, CLI_EXIT_TROUBLE, "%s cannot be read: %s", path, strerror(failed));
    else if (bytes > DOCUMENT_BYTES_MAX)
        *ret_code = cli_complain(cli, CLI_EXIT_USAGE, "%s has more than %d bytes: no rollout has",
                                 path, DOCUMENT_BYTES_MAX);
    else if (strlen(text) != bytes)
        *ret_code = cli_complain(cli, CLI_EXIT_USAGE, "%s has a NUL in it: no YAML has", path);
    else
        return text;
    free(text);
    return NULL;
}

static void print_deleted(struct cli *cli, const char *name)
{
    if (cli->json) {
        json_print(cli->out, json_pack("{s:s, s:b}", "name", name, "deleted", 1), 2);
        return;
    }
    text_print(cli->out, name);
    fputs(": deleted\n", cli->out);
}

static void print_done(FILE *out, const Parley__RolloutReply *reply)
{
    char share[TEXT_SHARE_BYTES];
    if (reply->n_rollout != 1)
        return;
    const Parley__RolloutInfo *rollout = reply->rollout[0];
    text_print(out, or_dash(rollout->name));
    fputs(": ", out);
    text_print(out, or_dash(rollout->phase));
    fprintf(out, ", step %" PRIu32 " of %" PRIu32 ", the canary gets %s. ", rollout->step,
            rollout->steps, text_share(rollout->weight_per_100000 / 1000.0, share));
    text_print(out, or_dash(rollout->text));
    fputc('\n', out);
}

static int act(struct cli *cli, const struct action *action, Parley__RolloutRequest *request)
{
    Parley__ControlReply *reply;
    int code = ask(cli, request, &reply);
    if (code != CLI_EXIT_OK)
        return code;
    bool shows = request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW;
    json_t *rollout = NULL;
    if (request->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_DELETE)
        print_deleted(cli, request->name);
    else if ((shows || cli->json) && !(rollout = rollout_of(cli, reply->rollout)))
        code = CLI_EXIT_BAD_REPLY;
    else if (rollout && strcmp(action->name, "history") == 0)
        print_history(cli, rollout);
    else if (rollout && cli->json)
        json_print(cli->out, json_incref(rollout), 2);
    else if (shows)
        print_show(cli->out, rollout);
    else
        print_done(cli->out, reply->rollout);
    json_decref(rollout);
    wire_free(reply);
    return code;
}

static int apply(struct cli *cli, const struct action *action, const char *path,
                 Parley__RolloutRequest *request)
{
    int code = CLI_EXIT_OK;
    _cleanup_(freep) char *text = read_document(cli, path, &code);
    if (!text)
        return code;
    request->document = text;
    request->file = (char *)(uintptr_t)(strcmp(path, "-") == 0 ? "stdin" : path);
    return act(cli, action, request);
}

static const struct action *find_action(struct cli *cli, const char *name)
{
    const char *names[ACTION_COUNT];
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        names[i] = actions[i].name;
        if (strcmp(name, names[i]) == 0)
            return &actions[i];
    }
    const char *near = nearest(name, names, ACTION_COUNT);
    if (near)
        (void)cli_usage(cli, "'%s' is nothing to do with rollouts; did you mean '%s'?", name, near);
    else
        (void)cli_usage(cli, "'%s' is nothing to do with rollouts", name);
    return NULL;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct rollout_options given = {NULL};
    const struct option_spec specs[] = {
        {"follow", 'w', OPTION_FLAG, NULL,
         "show: print it whenever it has changed, until it has ended or Ctrl-C", &given.follow},
        {"full", 0, OPTION_FLAG, NULL, "promote: everything to the canary, not the next step",
         &given.full},
        {"reason", 'r', OPTION_TEXT, "TEXT", "why, for the history", &given.reason},
    };
    int code;
    if (!options_take(cli, specs, 3, &argc, argv, &code))
        return code;
    const struct action *action = find_action(cli, argc > 0 ? argv[0] : "ls");
    if (!action)
        return CLI_EXIT_USAGE;
    bool is_list = action->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST;
    int operands = argc > 0 ? argc - 1 : 0;
    if (!is_list && operands == 0)
        return cli_usage(cli,
                         action->named ? "%s which rollout? parley rollout ls lists them"
                                       : "%s which document? a file, or - for the input",
                         action->name);
    if (operands > (is_list ? 0 : 1))
        return cli_usage(cli, "'%s' is one too many", argv[is_list ? 1 : 2]);
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    request.has_action = true;
    request.action = action->action;
    request.reason = (char *)(uintptr_t)given.reason;
    request.has_full = given.full;
    request.full = given.full;
    if (is_list)
        return list(cli);
    if (!action->named)
        return apply(cli, action, argv[1], &request);
    request.name = argv[1];
    if (given.follow && strcmp(action->name, "show") == 0)
        return follow(cli, &request);
    return act(cli, action, &request);
}

const struct cli_command cmd_rollout = {
    .name = "rollout",
    .usage =
        "[ls | apply FILE | show|history|pause|resume|approve|promote|rollback|undo|delete NAME]",
    .summary = "look at rollouts, and act on them",
    .details =
        "A rollout moves an interface's calls from a stable version to a canary in steps, watches\n"
        "both meanwhile, and goes back if the canary is worse. It is described by a document\n"
        "(docs/ROLLOUT.md), in the broker's folder (parleyd --rollouts DIR) or brought by apply;\n"
        "'apply -' reads the standard input.\n"
        "\n"
        "  ls        all of them (also without an action)\n"
        "  show      one: versions, steps, gates; with --follow until it has ended, and then exit\n"
        "            status 0 if it was completed, 1 if it was rolled back\n"
        "  history   who did what when\n"
        "  apply     begin one, or change the one of that name\n"
        "  pause     stay in this step\n"
        "  resume    go on; after a rollback, begin again\n"
        "  approve   the step that waits for it\n"
        "  promote   the next step now; with --full all calls to the canary\n"
        "  rollback  all calls to the stable version now\n"
        "  undo      what was in force before the last document\n"
        "  delete    no more; unless it was completed all calls go to the stable version\n",
    .example = "  parley rollout apply catalog.yaml\n"
               "  parley rollout show --follow catalog\n"
               "  parley rollout rollback catalog --reason 'orders are missing'\n",
    .run = run,
};
