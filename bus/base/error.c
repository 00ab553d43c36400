#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error_text *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return code;
}

int error_prefix(struct error_text *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    char old[ERROR_TEXT_BYTES_MAX];
    memcpy(old, error->text, sizeof(old));
    old[sizeof(old) - 1] = '\0';

    va_list args;
    va_start(args, format);
    int n = vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(error->text)) {
        size_t room = sizeof(error->text) - (size_t)n;
        int m = snprintf(error->text + n, room, ": %s", old);
        (void)m; /* cut at the limit, as documented */
    }
    return code;
}
