/*
 * Regular expressions of metadata values.
 *
 * Who writes a pattern is an operator; who writes the value that it is tried on is any caller. So
 * a pattern is compiled once, and what a value may cost is bounded: PCRE2 backtracks, and some
 * patterns take exponential time for some values, but it counts its steps and gives up at a limit
 * (pcre2api(3), pcre2_set_match_limit()); a value that needs more than that does not fit. Compiled
 * code is bounded by PCRE2's link size (64 KiB in Debian's), nesting and length by us.
 *
 * libc's regcomp(3) was the other choice. It has no such limits: glibc's takes gigabytes for nested
 * repetitions (`((a{255}){255}){255}`), and is exponential where there are back-references. RE2 is
 * linear, but C++, which the library does not pull into its users' processes.
 *
 * No JIT: it would be memory that is executable, for a few values.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/pattern.h"

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

static int compile_error(int code, size_t at, struct error_text *error)
{
    char text[128];
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text)) < 0)
        text[0] = '\0';
    return error_set(error, -EINVAL, "a regular expression that is none, at byte %zu: %s", at,
                     text);
}

static int compile(struct pattern *pattern, const char *text, size_t bytes,
                   struct error_text *error)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return -ENOMEM;
    pcre2_set_parens_nest_limit(context, PATTERN_NESTING_MAX);
    int code = 0;
    PCRE2_SIZE at = 0;
    pattern->code = pcre2_compile((PCRE2_SPTR)text, bytes,
                                  PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY |
                                      PCRE2_DOTALL | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF,
                                  &code, &at, context);
    pcre2_compile_context_free(context);
    return pattern->code ? 0 : compile_error(code, at, error);
}

int pattern_new(const char *text, size_t bytes, struct pattern **ret_pattern,
                struct error_text *error)
{
    if (bytes == 0 || bytes > PATTERN_BYTES_MAX)
        return error_set(error, -EINVAL, "a regular expression of %zu bytes: 1 to %d", bytes,
                         PATTERN_BYTES_MAX);
    struct pattern *pattern = calloc(1, sizeof(*pattern));
    if (!pattern)
        return error_set(error, -ENOMEM, "out of memory");
    int r = compile(pattern, text, bytes, error);
    if (r < 0) {
        pattern_free(pattern);
        return r;
    }
    pattern->match = pcre2_match_data_create(1, NULL);
    pattern->limits = pcre2_match_context_create(NULL);
    if (!pattern->match || !pattern->limits) {
        pattern_free(pattern);
        return error_set(error, -ENOMEM, "out of memory");
    }
    pcre2_set_match_limit(pattern->limits, PATTERN_STEPS_MAX);
    pcre2_set_depth_limit(pattern->limits, PATTERN_STEPS_MAX);
    pcre2_set_heap_limit(pattern->limits, PATTERN_HEAP_KIB_MAX);
    *ret_pattern = pattern;
    return 0;
}

struct pattern *pattern_free(struct pattern *pattern)
{
    if (!pattern)
        return NULL;
    pcre2_match_context_free(pattern->limits);
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    free(pattern);
    return NULL;
}

bool pattern_fits(struct pattern *pattern, const char *text, size_t bytes)
{
    /* 0: it fits, and has more groups than our match block has room for. */
    return pcre2_match(pattern->code, (PCRE2_SPTR)text, bytes, 0, 0, pattern->match,
                       pattern->limits) >= 0;
}
