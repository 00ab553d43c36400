/* Names have parts with slashes between them; lists of names have commas. */
#include "names.h"

#include <string.h>

bool names_is(const char *name, const char *wanted, size_t bytes)
{
    return strncmp(name, wanted, bytes) == 0 && (name[bytes] == '\0' || name[bytes] == '/');
}

bool names_list(const char *names, const char *name)
{
    for (const char *at = names;; at++) {
        size_t bytes = strcspn(at, ",");
        if (names_is(name, at, bytes))
            return true;
        at += bytes;
        if (*at == '\0')
            return false;
    }
}

bool names_known(const char *names, const char *(*name_of)(const void *data, size_t index),
                 const void *data, size_t count)
{
    for (const char *at = names;; at++) {
        size_t bytes = strcspn(at, ","), i = 0;
        while (i < count && !names_is(name_of(data, i), at, bytes))
            i++;
        if (bytes == 0 || i == count)
            return false;
        at += bytes;
        if (*at == '\0')
            return true;
    }
}
