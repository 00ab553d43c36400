/*
 * Rollouts on disk: one file each, rollout-NAME.json in --state, replaced whenever a rollout has
 * changed.
 *
 * What cannot be read is put aside under another name and reported, and the broker goes on without
 * that rollout: a rollout that is forgotten leaves the shares as they are, a broker that does not
 * start serves nobody.
 */
#include "broker/rollouts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/state.h"

#define STATE_FORMAT 1

static void name_of(const char *rollout, char name[STATE_NAME_BYTES])
{
    (void)snprintf(name, STATE_NAME_BYTES, "rollout-%s.json", rollout);
}

void rollouts_keep(struct rollouts_item *item)
{
    const char *dir = item->broker->rollouts->state;
    char name[STATE_NAME_BYTES];
    struct error_text error = {""};
    item->kept_ns = clock_now_ns();
    if (dir[0] == '\0')
        return;
    json_t *json =
        json_pack("{s:i, s:s, s:b, s:o}", "format", STATE_FORMAT, "file", item->file, "overridden",
                  (int)item->overridden, "rollout", rollout_to_json(item->rollout, rollouts_now()));
    _cleanup_(freep) char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    name_of(item->name, name);
    if (!text)
        log_error("rollout %s is not kept in %s: out of memory", item->name, dir);
    else if (state_write(dir, name, text, strlen(text), &error) < 0)
        log_error(
            "rollout %s is not kept: %s; it would begin anew if the broker were started again",
            item->name, error.text);
}

void rollouts_forget(const struct rollouts_item *item)
{
    const char *dir = item->broker->rollouts->state;
    char name[STATE_NAME_BYTES];
    struct error_text error = {""};
    name_of(item->name, name);
    if (dir[0] != '\0' && state_remove(dir, name, &error) < 0)
        log_error("%s: rollout %s would come back if the broker were started again", error.text,
                  item->name);
}

/* ---- Reading ---- */

/* Return: 0; -errno with a sentence. */
static int restore(struct rollouts *rollouts, const char *name, const json_t *json,
                   struct error_text *error)
{
    int format = 0, overridden = 0;
    const char *file = NULL;
    json_t *inner = NULL;
    struct rollout *rollout;
    struct rollout_view view;
    char expected[STATE_NAME_BYTES];
    if (json_unpack((json_t *)(uintptr_t)json, "{s:i, s:s, s:b, s:o}", "format", &format, "file",
                    &file, "overridden", &overridden, "rollout", &inner) < 0 ||
        strlen(file) >= BROKER_FILE_BYTES)
        return error_set(error, -EINVAL, "format, file, overridden and rollout are not all there");
    if (format != STATE_FORMAT)
        return error_set(error, -EINVAL, "its format is %d, this broker reads %d", format,
                         STATE_FORMAT);
    int r = rollout_from_json(inner, rollouts_now(), &rollout, error);
    if (r < 0)
        return r;
    rollout_view(rollout, &view);
    name_of(view.spec->name, expected);
    if (strcmp(expected, name) != 0)
        r = error_set(error, -EINVAL, "rollout %s is in it", view.spec->name);
    if (r == 0)
        r = rollouts_restore(rollouts, rollout, file, overridden, error);
    if (r < 0)
        rollout_free(rollout);
    return r;
}

static void on_file(void *user, const char *name, int result, const char *data, size_t bytes)
{
    struct rollouts *rollouts = user;
    struct error_text error = {""};
    json_error_t where;
    if (result == 0) {
        json_t *json = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &where);
        if (json)
            result = restore(rollouts, name, json, &error);
        else
            result = error_set(&error, -EINVAL, "line %d, column %d: %s", where.line, where.column,
                               where.text);
        json_decref(json);
    } else {
        (void)error_set(&error, result, "%s", data);
    }
    if (result == 0)
        return;
    struct error_text aside = {""};
    bool moved = state_put_aside(rollouts->state, name, &aside) == 0;
    const struct event event = {.topic = "refused"};
    event_publish(rollouts->broker, &event,
                  "%s/%s is no state of a rollout, and is not used: %s; %s", rollouts->state, name,
                  error.text, moved ? "it is kept as NAME.damaged" : aside.text);
}

int rollouts_state_read(struct rollouts *rollouts, struct error_text *error)
{
    if (rollouts->state[0] == '\0')
        return 0;
    return state_read_all(rollouts->state, "rollout-", ".json", on_file, rollouts, error);
}
