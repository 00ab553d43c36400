/*
 * The paragraphs of dpkg's status file, read in place: "Field: value" with indented continuation
 * lines (deb-control(5), deb822(5)).
 */
#ifndef CATALOG_STANZA_H
#define CATALOG_STANZA_H

#include <stdbool.h>
#include <stddef.h>

enum field {
    FIELD_PACKAGE,
    FIELD_STATUS,
    FIELD_ARCHITECTURE,
    FIELD_VERSION,
    FIELD_SECTION,
    FIELD_PRIORITY,
    FIELD_INSTALLED_SIZE,
    FIELD_MAINTAINER,
    FIELD_HOMEPAGE,
    FIELD_BUGS,
    FIELD_ORIGIN,
    FIELD_SOURCE,
    FIELD_DEPENDS,
    FIELD_ESSENTIAL,
    FIELD_DESCRIPTION,
    FIELD_COUNT,
};

/* One paragraph: where the values that we know begin and end. */
struct stanza {
    struct {
        char *start; /* NULL: the field is not there */
        char *end;
    } value[FIELD_COUNT];
    size_t line;        /* of its first line, from 1 */
    const char *broken; /* why it cannot be used; NULL: it can */
};

/* Reads one paragraph at @at, up to an empty line. @line: the number of lines read so far. Returns
 * where the next may begin. */
char *stanza_read(struct stanza *stanza, char *at, char *end, size_t *line);

/* The value as a string of its own, trimmed; "" if there is none. Writes a NUL behind it, over a
 * newline or the byte behind the text. */
const char *stanza_string(const struct stanza *stanza, enum field field);

/* Space, tab, carriage return, newline. */
bool text_is_blank(char c);
void text_trim(char **start, char **end);
/* NULs and bytes that are not UTF-8 become '?'. */
void text_make_utf8(char *text, size_t bytes);

#endif
