/*
 * Semantic versions, and ranges as node-semver reads them.
 *
 * A text of ranges is parsed once into comparators, and a comparator is an operator and a version:
 * tilde, caret, hyphen and x-ranges are only other ways to write a lower and an upper bound.
 *
 *     text         alternative , alternative , ...     the first that matches is the answer
 *     alternative  set || set || ...                   one must match
 *     set          comparator comparator ...           all must match
 *
 * An upper bound is written with the pre-release "0", the lowest there is: "^1.2" is >=1.2.0 and
 * <2.0.0-0, so that 2.0.0-rc.1 is not in it.
 *
 * Pre-releases are asked for by name: a version with a pre-release matches a set only if a
 * comparator of that set has the same major.minor.patch and a pre-release too. Who accepts
 * ">=1.2.3-rc.1" wants 1.2.3-rc.2, but did not say that 1.3.0-rc.1 is welcome.
 */
#include "schema/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- Versions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_identifier_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/* Reads a number without leading zeros; moves *pos behind it. */
static int read_number(const char **pos, uint32_t *ret_value)
{
    const char *p = *pos;
    if (!is_digit(*p) || (p[0] == '0' && is_digit(p[1])))
        return -EINVAL;
    uint64_t value = 0;
    for (; is_digit(*p); p++) {
        value = value * 10 + (uint64_t)(*p - '0');
        if (value > UINT32_MAX)
            return -EINVAL;
    }
    *pos = p;
    *ret_value = (uint32_t)value;
    return 0;
}

/* Length of the identifier at @p, of a pre-release (numbers: no leading zero) or build; 0: bad. */
static size_t identifier_span(const char *p, bool prerelease)
{
    size_t n = 0, digits = 0;
    for (; is_identifier_char(p[n]); n++)
        digits += is_digit(p[n]);
    if (prerelease && n > 1 && digits == n && p[0] == '0')
        return 0;
    return n;
}

/* Identifiers joined by dots; moves *pos behind them. */
static int read_identifiers(const char **pos, bool prerelease, const char **ret_start,
                            size_t *ret_bytes)
{
    const char *p = *pos;
    for (;;) {
        size_t n = identifier_span(p, prerelease);
        if (n == 0)
            return -EINVAL;
        p += n;
        if (*p != '.')
            break;
        p++;
    }
    *ret_start = *pos;
    *ret_bytes = (size_t)(p - *pos);
    *pos = p;
    return 0;
}

/* "-rc.1+build" behind the numbers, both parts optional; the build is dropped. */
static int read_qualifier(const char **pos, struct semver *version)
{
    const char *start;
    size_t bytes;
    if (**pos == '-') {
        (*pos)++;
        int r = read_identifiers(pos, true, &start, &bytes);
        if (r < 0 || bytes >= sizeof(version->prerelease))
            return -EINVAL;
        memcpy(version->prerelease, start, bytes);
        version->prerelease[bytes] = '\0';
    }
    if (**pos == '+') {
        (*pos)++;
        return read_identifiers(pos, false, &start, &bytes);
    }
    return 0;
}

int semver_parse(const char *text, struct semver *ret_version)
{
    struct semver version = {0};
    uint32_t *const numbers[] = {&version.major, &version.minor, &version.patch};
    if (strnlen(text, SEMVER_BYTES_MAX + 1) > SEMVER_BYTES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < 3; i++) {
        if (i > 0 && *text++ != '.')
            return -EINVAL;
        int r = read_number(&text, numbers[i]);
        if (r < 0)
            return r;
    }
    if (read_qualifier(&text, &version) < 0 || *text)
        return -EINVAL;
    *ret_version = version;
    return 0;
}

static int compare_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

/* One identifier of each pre-release: numbers by value and below words, words by ASCII. */
static int compare_identifiers(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    bool a_number = strspn(a, "0123456789") >= a_bytes;
    bool b_number = strspn(b, "0123456789") >= b_bytes;
    if (a_number != b_number)
        return a_number ? -1 : 1;
    if (a_number && a_bytes != b_bytes) /* no leading zeros: the longer one is greater */
        return a_bytes < b_bytes ? -1 : 1;
    size_t bytes = a_bytes < b_bytes ? a_bytes : b_bytes;
    int order = memcmp(a, b, bytes);
    if (order == 0)
        order = (a_bytes > b_bytes) - (a_bytes < b_bytes);
    return order;
}

static int compare_prereleases(const char *a, const char *b)
{
    if (!*a || !*b)
        return (*a == '\0') - (*b == '\0'); /* a release is above its pre-releases */
    for (;;) {
        size_t a_bytes = strcspn(a, "."), b_bytes = strcspn(b, ".");
        int order = compare_identifiers(a, a_bytes, b, b_bytes);
        if (order != 0)
            return order;
        a += a_bytes;
        b += b_bytes;
        if (!*a || !*b)
            return (*a != '\0') - (*b != '\0'); /* more identifiers are above fewer */
        a++;
        b++;
    }
}

int semver_compare(const struct semver *a, const struct semver *b)
{
    int order = compare_u32(a->major, b->major);
    if (order == 0)
        order = compare_u32(a->minor, b->minor);
    if (order == 0)
        order = compare_u32(a->patch, b->patch);
    if (order == 0)
        order = compare_prereleases(a->prerelease, b->prerelease);
    return order;
}

/* ---- Ranges ---- */

enum range_op { OP_ANY, OP_NONE, OP_EQ, OP_LT, OP_LE, OP_GT, OP_GE };

struct comparator {
    enum range_op op;
    uint32_t alternative; /* between commas */
    uint32_t set;         /* between ||, counted through the whole text */
    struct semver version;
};

struct semver_ranges {
    unsigned users; /* besides the one that made it */
    size_t count, room;
    struct comparator *comparators; /* by set; a set is never empty */
};

/* A version of which only the first numbers may be given: 1, 1.2, 1.x, *. */
struct partial {
    unsigned given; /* how many numbers: 0..3 */
    struct semver version;
};

struct parser {
    const char *text, *pos;
    struct semver_ranges *ranges;
    uint32_t alternative, set;
    struct error_text *error;
};

static int parse_error(const struct parser *parser, const char *expected)
{
    return error_set(parser->error, -EINVAL,
                     "the version ranges \"%s\": at byte %zu, %s was expected", parser->text,
                     (size_t)(parser->pos - parser->text) + 1, expected);
}

static void skip_space(struct parser *parser)
{
    while (*parser->pos == ' ' || *parser->pos == '\t')
        parser->pos++;
}

static int add(struct parser *parser, enum range_op op, const struct semver *version)
{
    struct semver_ranges *ranges = parser->ranges;
    if (ranges->count == ranges->room) {
        size_t room = ranges->room > 0 ? 2 * ranges->room : 8;
        struct comparator *more = realloc(ranges->comparators, room * sizeof(*more));
        if (!more)
            return error_set(parser->error, -ENOMEM, "no memory for version ranges");
        ranges->comparators = more;
        ranges->room = room;
    }
    ranges->comparators[ranges->count++] = (struct comparator){
        .op = op,
        .alternative = parser->alternative,
        .set = parser->set,
        .version = version ? *version : (struct semver){0},
    };
    return 0;
}

/* The least version above all that begin with the first @given numbers of @version. */
static int next_version(const struct parser *parser, const struct semver *version, unsigned given,
                        struct semver *ret_next)
{
    struct semver next = {.major = version->major};
    uint32_t *last = &next.major;
    if (given >= 2)
        *(last = &next.minor) = version->minor;
    if (given >= 3)
        *(last = &next.patch) = version->patch;
    if (*last == UINT32_MAX)
        return parse_error(parser, "a number below 4294967295 before this");
    (*last)++;
    *ret_next = next;
    return 0;
}

/* <NEXT-0: below everything that begins with other numbers, their pre-releases included. */
static int add_below_next(struct parser *parser, const struct semver *version, unsigned given)
{
    struct semver next;
    int r = next_version(parser, version, given, &next);
    if (r < 0)
        return r;
    memcpy(next.prerelease, "0", 2);
    return add(parser, OP_LT, &next);
}

/* >=FROM <NEXT-0, where NEXT counts the @given-th number of @partial up by one. */
static int add_span(struct parser *parser, const struct partial *partial, unsigned given)
{
    int r = add(parser, OP_GE, &partial->version);
    if (r == 0)
        r = add_below_next(parser, &partial->version, given);
    return r;
}

static int add_tilde(struct parser *parser, const struct partial *partial)
{
    if (partial->given == 0)
        return add(parser, OP_ANY, NULL);
    return add_span(parser, partial, partial->given < 2 ? partial->given : 2);
}

/* What may change is what is right of the first number that is not 0. */
static int add_caret(struct parser *parser, const struct partial *partial)
{
    if (partial->given == 0)
        return add(parser, OP_ANY, NULL);
    unsigned fixed = 1;
    if (partial->version.major == 0 && partial->given >= 2)
        fixed = partial->version.minor == 0 && partial->given == 3 ? 3 : 2;
    return add_span(parser, partial, fixed);
}

/* A comparator as written: with a part of a version, it means all that begin with that part. */
static int add_primitive(struct parser *parser, enum range_op op, const struct partial *partial)
{
    struct semver version = partial->version;
    int r;
    if (partial->given == 3)
        return add(parser, op, &version);
    if (partial->given == 0)
        return add(parser, op == OP_LT || op == OP_GT ? OP_NONE : OP_ANY, NULL);
    switch (op) {
    case OP_GT:
        r = next_version(parser, &version, partial->given, &version);
        return r < 0 ? r : add(parser, OP_GE, &version);
    case OP_GE:
        return add(parser, OP_GE, &version);
    case OP_LT:
        memcpy(version.prerelease, "0", 2);
        return add(parser, OP_LT, &version);
    case OP_LE:
        return add_below_next(parser, &version, partial->given);
    default:
        return add_span(parser, partial, partial->given);
    }
}

static int add_hyphen(struct parser *parser, const struct partial *from, const struct partial *to)
{
    int r = from->given > 0 ? add(parser, OP_GE, &from->version) : add(parser, OP_ANY, NULL);
    if (r < 0 || to->given == 0)
        return r;
    if (to->given == 3)
        return add(parser, OP_LE, &to->version);
    return add_below_next(parser, &to->version, to->given);
}

/* partial: xr ( '.' xr ( '.' xr qualifier? )? )?, where xr is a number, x, X or *. */
static int read_partial(struct parser *parser, struct partial *ret_partial)
{
    struct partial partial = {0};
    uint32_t *const numbers[] = {&partial.version.major, &partial.version.minor,
                                 &partial.version.patch};
    bool open = false; /* behind an x, numbers count for nothing */
    unsigned read = 0;
    while (*parser->pos == 'v' || *parser->pos == '=')
        parser->pos++;
    for (; read < 3; read++) {
        uint32_t number;
        if (read > 0 && *parser->pos != '.')
            break;
        parser->pos += read > 0;
        if (*parser->pos == 'x' || *parser->pos == 'X' || *parser->pos == '*') {
            parser->pos++;
            open = true;
        } else if (read_number(&parser->pos, &number) < 0) {
            return parse_error(parser, "a number without leading zeros, up to 4294967295, or x");
        } else if (!open) {
            *numbers[read] = number;
            partial.given = read + 1;
        }
    }
    if (read == 3 && read_qualifier(&parser->pos, &partial.version) < 0)
        return parse_error(parser, "a pre-release like -rc.1 of at most 31 bytes");
    if (partial.given < 3)
        partial.version.prerelease[0] = '\0';
    if (*parser->pos && !strchr(" \t,|", *parser->pos))
        return parse_error(parser, "the end of a version");
    *ret_partial = partial;
    return 0;
}

static bool accept(struct parser *parser, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(parser->pos, word, n) != 0)
        return false;
    parser->pos += n;
    return true;
}

/* "- 2.3" behind a version: a hyphen with space on both sides. */
static bool accept_hyphen(struct parser *parser)
{
    const char *p = parser->pos;
    skip_space(parser);
    if (parser->pos > p && parser->pos[0] == '-' &&
        (parser->pos[1] == ' ' || parser->pos[1] == '\t')) {
        parser->pos++;
        skip_space(parser);
        return true;
    }
    parser->pos = p;
    return false;
}

static int read_comparator(struct parser *parser)
{
    struct partial partial, to;
    int r;
    bool tilde = accept(parser, "~>") || accept(parser, "~");
    bool caret = !tilde && accept(parser, "^");
    enum range_op op = tilde || caret         ? OP_ANY
                       : accept(parser, ">=") ? OP_GE
                       : accept(parser, "<=") ? OP_LE
                       : accept(parser, ">")  ? OP_GT
                       : accept(parser, "<")  ? OP_LT
                       : accept(parser, "=")  ? OP_EQ
                                              : OP_ANY;
    if (tilde || caret || op != OP_ANY)
        skip_space(parser);
    r = read_partial(parser, &partial);
    if (r < 0)
        return r;
    if (tilde)
        return add_tilde(parser, &partial);
    if (caret)
        return add_caret(parser, &partial);
    if (op == OP_ANY && accept_hyphen(parser)) {
        r = read_partial(parser, &to);
        return r < 0 ? r : add_hyphen(parser, &partial, &to);
    }
    return add_primitive(parser, op == OP_ANY ? OP_EQ : op, &partial);
}

static int read_set(struct parser *parser)
{
    size_t before = parser->ranges->count;
    for (;;) {
        skip_space(parser);
        if (!*parser->pos || *parser->pos == ',' || *parser->pos == '|')
            break;
        int r = read_comparator(parser);
        if (r < 0)
            return r;
    }
    /* node-semver: nothing is everything. */
    return parser->ranges->count > before ? 0 : add(parser, OP_ANY, NULL);
}

static int read_alternative(struct parser *parser)
{
    skip_space(parser);
    if (*parser->pos == ',' || (!*parser->pos && parser->alternative > 0))
        return parse_error(parser, "a range, like ~1.4 or 2.x,");
    for (;;) {
        int r = read_set(parser);
        if (r < 0)
            return r;
        parser->set++;
        if (*parser->pos != '|')
            return 0;
        if (!accept(parser, "||"))
            return parse_error(parser, "||");
    }
}

static int read_ranges(struct parser *parser)
{
    for (;;) {
        int r = read_alternative(parser);
        if (r < 0)
            return r;
        if (!accept(parser, ","))
            return 0;
        parser->alternative++;
    }
}

DEFINE_CLEANUP(struct semver_ranges *, semver_ranges_free);

int semver_ranges_new(const char *text, struct semver_ranges **ret_ranges, struct error_text *error)
{
    if (strnlen(text, SEMVER_RANGE_BYTES_MAX + 1) > SEMVER_RANGE_BYTES_MAX)
        return error_set(error, -EINVAL, "the version ranges are longer than %d bytes",
                         SEMVER_RANGE_BYTES_MAX);
    for (const char *c = text; *c; c++) {
        if ((*c < 0x20 && *c != '\t') || *c >= 0x7f)
            return error_set(error, -EINVAL,
                             "the version ranges have a byte that is not printable ASCII, at %zu",
                             (size_t)(c - text) + 1);
    }
    _cleanup_(semver_ranges_freep) struct semver_ranges *ranges = calloc(1, sizeof(*ranges));
    if (!ranges)
        return error_set(error, -ENOMEM, "no memory for version ranges");
    struct parser parser = {.text = text, .pos = text, .ranges = ranges, .error = error};
    int r = read_ranges(&parser);
    if (r < 0)
        return r;
    *ret_ranges = steal_ptr(&ranges);
    return 0;
}

struct semver_ranges *semver_ranges_ref(struct semver_ranges *ranges)
{
    ranges->users++;
    return ranges;
}

struct semver_ranges *semver_ranges_free(struct semver_ranges *ranges)
{
    if (ranges && ranges->users > 0) {
        ranges->users--;
        return NULL;
    }
    if (ranges)
        free(ranges->comparators);
    free(ranges);
    return NULL;
}

static bool comparator_matches(const struct comparator *comparator, const struct semver *version)
{
    int order = semver_compare(version, &comparator->version);
    switch (comparator->op) {
    case OP_ANY:
        return true;
    case OP_NONE:
        return false;
    case OP_EQ:
        return order == 0;
    case OP_LT:
        return order < 0;
    case OP_LE:
        return order <= 0;
    case OP_GT:
        return order > 0;
    case OP_GE:
        return order >= 0;
    }
    return false;
}

/* Whether the comparator asks for pre-releases of this very version. */
static bool comparator_names(const struct comparator *comparator, const struct semver *version)
{
    return comparator->version.prerelease[0] && comparator->version.major == version->major &&
           comparator->version.minor == version->minor &&
           comparator->version.patch == version->patch;
}

static bool set_matches(const struct comparator *comparators, size_t count,
                        const struct semver *version)
{
    bool named = version->prerelease[0] == '\0';
    for (size_t i = 0; i < count; i++) {
        if (!comparator_matches(&comparators[i], version))
            return false;
        named = named || comparator_names(&comparators[i], version);
    }
    return named;
}

int semver_ranges_match(const struct semver_ranges *ranges, const struct semver *version)
{
    for (size_t i = 0; i < ranges->count;) {
        const struct comparator *first = &ranges->comparators[i];
        size_t count = 1;
        while (i + count < ranges->count && first[count].set == first->set)
            count++;
        if (set_matches(first, count, version))
            return (int)first->alternative;
        i += count;
    }
    return -1;
}
