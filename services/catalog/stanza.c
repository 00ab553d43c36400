/*
 * Paragraphs.
 *
 * A stanza says where in the text the values lie that somebody wants; nothing is copied or written
 * until stanza_string() ends one with a NUL. What the file may not have (a line that is no field, a
 * field twice) makes the stanza broken, with the reason, and reading goes on behind it.
 */
#include "stanza.h"

#include <string.h>
#include <strings.h>

static const char *const field_names[FIELD_COUNT] = {
    "Package",    "Status",   "Architecture", "Version", "Section", "Priority", "Installed-Size",
    "Maintainer", "Homepage", "Bugs",         "Origin",  "Source",  "Depends",  "Essential",
    "Description",
};

/* Length of the UTF-8 sequence at @at, 0 if it is none (RFC 3629) or a NUL. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    if (at[0] != 0 && at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xc2 && at[0] <= 0xdf ? 2
                    : (at[0] & 0xf0) == 0xe0       ? 3
                    : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4
                                                     : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    bool beyond = at[0] == 0xf4 && at[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

void text_make_utf8(char *text, size_t bytes)
{
    unsigned char *at = (unsigned char *)text;
    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(at + i, bytes - i);
        if (length == 0)
            at[i] = '?';
        i += length ? length : 1;
    }
}

bool text_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void text_trim(char **start, char **end)
{
    while (*start < *end && text_is_blank(**start))
        (*start)++;
    while (*end > *start && text_is_blank((*end)[-1]))
        (*end)--;
}

/* ---- Paragraphs ---- */

static enum field field_find(const char *name, size_t bytes)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        if (strlen(field_names[i]) == bytes && strncasecmp(field_names[i], name, bytes) == 0)
            return (enum field)i;
    return FIELD_COUNT;
}

/* "Name: value" at [line, end): into @stanza. Returns the field, FIELD_COUNT for one that we do
 * not know. */
static enum field stanza_field(struct stanza *stanza, char *line, char *end)
{
    char *colon = memchr(line, ':', (size_t)(end - line));
    if (!colon || colon == line) {
        stanza->broken = "a line is no field";
        return FIELD_COUNT;
    }
    enum field field = field_find(line, (size_t)(colon - line));
    if (field == FIELD_COUNT)
        return field;
    if (stanza->value[field].start) {
        stanza->broken = "a field is there twice";
        return FIELD_COUNT;
    }
    stanza->value[field].start = colon + 1;
    stanza->value[field].end = end;
    return field;
}

char *stanza_read(struct stanza *stanza, char *at, char *end, size_t *line)
{
    enum field field = FIELD_COUNT;
    bool any = false;
    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        char *line_end = newline ? newline : end;
        char *first = at, *last = line_end;
        text_trim(&first, &last);
        (*line)++;
        char *start = at;
        at = newline ? newline + 1 : end;
        if (first == last)
            break;
        if (!text_is_blank(*start))
            field = stanza_field(stanza, start, line_end);
        else if (!any)
            stanza->broken = "it begins with a continuation line";
        else if (field != FIELD_COUNT)
            stanza->value[field].end = line_end;
        any = true;
    }
    return at;
}

/* The byte behind a value is a newline, or the text's last. */
const char *stanza_string(const struct stanza *stanza, enum field field)
{
    char *start = stanza->value[field].start, *end = stanza->value[field].end;
    if (!start)
        return "";
    text_trim(&start, &end);
    *end = '\0';
    return start;
}
