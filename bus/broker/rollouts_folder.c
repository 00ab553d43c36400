/*
 * The folder of --rollouts: a document a file, *.yaml or *.yml.
 *
 * The folder is the truth about the rollouts in it. A document that is there runs; one that changes
 * is a new revision; one that is bad is refused, and the running one stays in force; one that is
 * gone ends its rollout, a moment later, for editors save by renaming. What a rollout did meanwhile
 * is not in the file but in --state, so a broker that starts finds it in the step where it was.
 */
#include "broker/rollouts.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/folder.h"

struct rollouts_file {
    struct folder_file file;               /* first: folder.c allocates it */
    char name[ROLLOUT_NAME_BYTES_MAX + 1]; /* the rollout that it was last; "": none */
    bool refused;
};

static struct rollouts_item *item_of_file(const struct rollouts *rollouts, const char *file)
{
    for (struct rollouts_item *item = rollouts->items; item; item = item->hh.next)
        if (strcmp(item->file, file) == 0)
            return item;
    return NULL;
}

static void refuse(struct rollouts *rollouts, const char *file, const char *what)
{
    struct rollouts_item *item = item_of_file(rollouts, file);
    const struct event event = {.topic = "refused"};
    if (item)
        item->gone_at_ns = CLOCK_NEVER; /* the file is there */
    event_publish(rollouts->broker, &event, "%s/%s%s", rollouts->path, what,
                  item ? "; what it said before stays in force" : "");
}

static void on_file(void *user, struct folder_file *folder_file, const uint8_t *data, size_t bytes)
{
    struct rollouts *rollouts = user;
    struct rollouts_file *file = (struct rollouts_file *)folder_file;
    struct rollouts_item *before = rollouts_find(rollouts->broker, file->name);
    struct rollouts_item *item;
    struct error_text error = {""};
    char who[ROLLOUT_WHO_BYTES_MAX + 1];
    (void)snprintf(who, sizeof(who), "file %.50s", folder_file->name);
    int r = rollouts_apply(rollouts->broker, (const char *)data, bytes, folder_file->name,
                           folder_file->name, who, &item, &error);
    file->refused = r < 0;
    if (r < 0) {
        refuse(rollouts, folder_file->name, error.text);
        return;
    }
    (void)snprintf(file->name, sizeof(file->name), "%s", item->name);
    if (before && before != item && strcmp(before->file, folder_file->name) == 0)
        rollouts_end(before, who, "its document is another rollout's now");
}

static void on_trouble(void *user, const struct folder_file *file, const char *name,
                       const char *what)
{
    (void)file;
    char text[BROKER_FILE_BYTES + 128];
    (void)snprintf(text, sizeof(text), "%s: %.120s", name, what);
    refuse(user, name, text);
}

static void on_gone(void *user, struct folder_file *folder_file, bool stopping)
{
    const struct rollouts *rollouts = user;
    const struct rollouts_file *file = (const struct rollouts_file *)folder_file;
    struct rollouts_item *item = rollouts_find(rollouts->broker, file->name);
    if (!stopping && item && strcmp(item->file, folder_file->name) == 0)
        item->gone_at_ns = clock_add(clock_now_ns(), ROLLOUTS_GONE_NS);
}

static bool was_refused(const struct folder_file *file)
{
    return ((const struct rollouts_file *)file)->refused;
}

void rollouts_watch_again(struct rollouts *rollouts)
{
    if (rollouts->folder)
        folder_read_again(rollouts->folder, was_refused);
}

static void on_scanned(void *user)
{
    (void)user; /* each file was told */
}

int rollouts_watch(struct rollouts *rollouts, struct error_text *error)
{
    static const char *const suffixes[] = {".yaml", ".yml", NULL};
    static const struct folder_ops ops = {
        .option = "--rollouts",
        .suffixes = suffixes,
        .file_max = ROLLOUTS_MAX,
        .file_bytes_max = ROLLOUT_DOCUMENT_BYTES_MAX,
        .struct_bytes = sizeof(struct rollouts_file),
        .read = on_file,
        .trouble = on_trouble,
        .gone = on_gone,
        .scanned = on_scanned,
    };
    /* Until a file takes it up, a rollout of a file is one whose file is gone. */
    for (struct rollouts_item *item = rollouts->items; item; item = item->hh.next)
        if (item->file[0] != '\0')
            item->gone_at_ns = clock_add(clock_now_ns(), ROLLOUTS_GONE_NS);
    return folder_new(rollouts->broker, rollouts->path, &ops, rollouts, &rollouts->folder, error);
}
