/*
 * The plugin's parameter: what is given with --parley_opt, several of them joined by commas.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHOICE_DIGIT_MAX 6

static bool is_word(const char *text, size_t bytes, const char *word)
{
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* "default=2" */
static bool read_choice(const char *text, size_t bytes, unsigned *ret_choice)
{
    static const char key[] = "default=";
    size_t n = sizeof(key) - 1;
    if (bytes <= n || bytes > n + CHOICE_DIGIT_MAX || memcmp(text, key, n) != 0)
        return false;
    if (strspn(text + n, "0123456789") != bytes - n || text[n] == '0')
        return false;
    *ret_choice = (unsigned)strtoul(text + n, NULL, 10);
    return true;
}

int parameter_read(const char *text, struct parameter *ret_parameter, struct error_text *error)
{
    struct parameter parameter = {0};
    while (*text) {
        size_t bytes = strcspn(text, ",");
        if (is_word(text, bytes, "aliases"))
            parameter.aliases = true;
        else if (is_word(text, bytes, "aliases=only"))
            parameter.aliases = parameter.aliases_only = true;
        else if (bytes > 0 && !read_choice(text, bytes, &parameter.choice))
            return error_set(error, -EINVAL,
                             "the parameter \"%.*s\" is not known; there are aliases, aliases=only "
                             "and, with one of them, default=NUMBER",
                             bytes > 80 ? 80 : (int)bytes, text);
        text += bytes + (text[bytes] == ',');
    }
    if (parameter.choice != 0 && !parameter.aliases)
        return error_set(error, -EINVAL,
                         "the parameter default=%u says what an alias header means: give `aliases` "
                         "as well",
                         parameter.choice);
    *ret_parameter = parameter;
    return 0;
}
