#include "base/nearest.h"

#include <string.h>

/* Levenshtein's distance (1966), one row at a time, letters alike in either case. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_BYTES_MAX + 1], length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t above = row[j];
            size_t best = diagonal + ((a[i - 1] | 0x20) != (b[j - 1] | 0x20));
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[length];
}

const char *nearest(const char *word, const char *const *names, size_t count)
{
    const char *found = NULL;
    size_t length = strlen(word), best = length / 3 + 2;
    if (length == 0 || length > NEAREST_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) > NEAREST_BYTES_MAX)
            continue;
        size_t d = strncmp(word, names[i], length) == 0 ? 1 : distance(word, names[i]);
        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}
