/*
 * Frames of the bus, looked at.
 */
#ifndef PARLEY_TESTS_SUPPORT_FRAMES_H
#define PARLEY_TESTS_SUPPORT_FRAMES_H

#include <stdbool.h>
#include <string.h>

#include "control/bus_frame.h"

static inline bool bus_text_is(const struct bus_text *text, const char *want)
{
    return text->text && text->bytes == strlen(want) && memcmp(text->text, want, text->bytes) == 0;
}

#endif
