/*
 * Text that grows. A failed allocation is remembered, not returned: generated code is hundreds of
 * small additions, and who takes the text asks once, at the end, whether all of it is there.
 */
#include "codegen/codegen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(struct text *text, size_t bytes)
{
    if (text->failed)
        return false;
    if (bytes < text->room - text->bytes)
        return true;
    size_t room = 2 * text->room + bytes + 256;
    char *data = realloc(text->data, room);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->room = room;
    return true;
}

void text_add_bytes(struct text *text, const char *data, size_t bytes)
{
    if (!text_reserve(text, bytes))
        return;
    memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    text->data[text->bytes] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !text_reserve(text, (size_t)n))
        return;
    va_start(args, format);
    (void)vsnprintf(text->data + text->bytes, text->room - text->bytes, format, args);
    va_end(args);
    text->bytes += (size_t)n;
}

char *text_take(struct text *text)
{
    if (text->failed) {
        free(text->data);
        text->data = NULL;
    }
    return text->data;
}
