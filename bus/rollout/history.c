/* Who did what when: the last ROLLOUT_HISTORY_MAX entries, numbered through. */
#include "rollout/internal.h"

#include <stdarg.h>
#include <stdio.h>

static bool is_character(const char *text, size_t bytes)
{
    for (size_t i = 1; i < bytes; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return false;
    json_t *string = json_stringn(text, bytes);
    json_decref(string);
    return string != NULL;
}

void text_make_printable(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        size_t bytes = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (c < 0x20 || c == 0x7f || (bytes > 1 && !is_character(text, bytes)))
            *text = '?';
        else
            text += bytes - 1;
    }
}

void history_add(struct rollout *rollout, struct rollout_time now, const char *who,
                 const char *what, const char *why, ...)
{
    uint32_t index = (rollout->history_first + rollout->history_count) % ROLLOUT_HISTORY_MAX;
    struct rollout_entry *entry = &rollout->history[index];
    if (rollout->history_count < ROLLOUT_HISTORY_MAX)
        rollout->history_count++;
    else
        rollout->history_first = (rollout->history_first + 1) % ROLLOUT_HISTORY_MAX;
    *entry = (struct rollout_entry){
        .wall_ms = now.wall_ms,
        .serial = ++rollout->history_serial,
        .revision = rollout->revision,
        .stage = rollout->stage,
        .canary_buckets = rollout_buckets(rollout),
        .phase = rollout->phase,
    };
    (void)snprintf(entry->who, sizeof(entry->who), "%s", who);
    (void)snprintf(entry->what, sizeof(entry->what), "%s", what);
    va_list args;
    va_start(args, why);
    (void)vsnprintf(entry->why, sizeof(entry->why), why, args);
    va_end(args);
    text_make_printable(entry->who);
    text_make_printable(entry->why);
    rollout->changed = true;
}

const struct rollout_entry *rollout_history(const struct rollout *rollout, uint32_t index)
{
    if (index >= rollout->history_count)
        return NULL;
    return &rollout->history[(rollout->history_first + index) % ROLLOUT_HISTORY_MAX];
}
