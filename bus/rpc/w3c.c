/*
 * What the W3C says of the metadata traceparent, tracestate and baggage, applied where they come
 * in: to what a program gives to a call, and to what a service takes from a client.
 *
 * Trace Context (https://www.w3.org/TR/trace-context/): a traceparent that is malformed, or comes
 * twice, is as good as none: the trace starts anew, and a tracestate without it is dropped unread.
 * A tracestate that is malformed, or has more than 32 members, is dropped whole; of one that is
 * longer than 512 bytes first the members over 128 bytes go, then the last ones. Baggage
 * (https://www.w3.org/TR/baggage/): 64 members and 8,192 bytes travel; members are dropped whole,
 * those that are malformed and those past the limits. OpenTelemetry's limits are the W3C's.
 *
 * Everything here only shortens a block, in place: the caller's own copy.
 */
#include "rpc/internal.h"

#include <string.h>

#define TRACEPARENT_BYTES 55 /* 2-32-16-2 hexadecimal digits */
#define TRACESTATE_MEMBERS_MAX 32
#define TRACESTATE_BYTES_MAX 512
#define TRACESTATE_LARGE_BYTES 128
#define TRACESTATE_KEY_BYTES_MAX 256
#define TRACESTATE_VALUE_BYTES_MAX 256
#define BAGGAGE_MEMBERS_MAX 64
#define BAGGAGE_BYTES_MAX 8192

/* ---- traceparent ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_hex(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!is_digit(text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
    return true;
}

static bool is_zero(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != '0')
            return false;
    return true;
}

bool traceparent_is_valid(const char *text, size_t bytes)
{
    if (bytes < TRACEPARENT_BYTES || !is_hex(text, 2) || text[2] != '-' || !is_hex(text + 3, 32) ||
        text[35] != '-' || !is_hex(text + 36, 16) || text[52] != '-' || !is_hex(text + 53, 2))
        return false;
    if (memcmp(text, "ff", 2) == 0 || is_zero(text + 3, 32) || is_zero(text + 36, 16))
        return false;
    /* A later version may have more behind it. */
    bool first_version = memcmp(text, "00", 2) == 0;
    return bytes == TRACEPARENT_BYTES || (!first_version && text[TRACEPARENT_BYTES] == '-');
}

/* ---- Lists with commas ---- */

struct member {
    size_t at, bytes; /* without the space around it */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* The member at *@at, and *@at behind its comma. False: the end. */
static bool member_next(const char *text, size_t bytes, size_t *at, struct member *ret_member)
{
    if (*at >= bytes)
        return false;
    const char *comma = memchr(text + *at, ',', bytes - *at);
    size_t end = comma ? (size_t)(comma - text) : bytes;
    size_t from = *at, to = end;
    while (from < to && is_space(text[from]))
        from++;
    while (to > from && is_space(text[to - 1]))
        to--;
    *ret_member = (struct member){.at = from, .bytes = to - from};
    *at = end + 1;
    return true;
}

/* Moves a member to the end of what is kept of the list in front of it. Return: the new end. */
static size_t member_keep(char *text, size_t used, const struct member *member)
{
    if (used)
        text[used++] = ',';
    memmove(text + used, text + member->at, member->bytes);
    return used + member->bytes;
}

/* ---- tracestate ---- */

/* Level 2's grammar: a letter or digit first, then those and _ - * / @. */
static bool tracestate_key_is_valid(const char *key, size_t bytes)
{
    if (bytes == 0 || bytes > TRACESTATE_KEY_BYTES_MAX || (!is_lower(key[0]) && !is_digit(key[0])))
        return false;
    for (size_t i = 1; i < bytes; i++)
        if (!is_lower(key[i]) && !is_digit(key[i]) && (!key[i] || !strchr("_-*/@", key[i])))
            return false;
    return true;
}

static bool tracestate_member_is_valid(const char *text, size_t bytes)
{
    const char *equals = memchr(text, '=', bytes);
    if (!equals || !tracestate_key_is_valid(text, (size_t)(equals - text)))
        return false;
    const char *value = equals + 1;
    size_t value_bytes = bytes - (size_t)(value - text);
    if (value_bytes == 0 || value_bytes > TRACESTATE_VALUE_BYTES_MAX)
        return false;
    for (size_t i = 0; i < value_bytes; i++)
        if (value[i] < 0x20 || value[i] > 0x7e || value[i] == '=')
            return false;
    return true;
}

/* Keeps members of at most @member_max bytes, as long as all of them are at most @all_max. */
static size_t tracestate_cut(char *text, size_t bytes, size_t member_max, size_t all_max)
{
    struct member member;
    size_t used = 0;
    for (size_t at = 0; member_next(text, bytes, &at, &member);) {
        if (member.bytes == 0 || member.bytes > member_max)
            continue;
        if (used + (used > 0) + member.bytes > all_max)
            break;
        used = member_keep(text, used, &member);
    }
    return used;
}

size_t tracestate_tidy(char *text, size_t bytes)
{
    struct member member;
    unsigned members = 0;
    for (size_t at = 0; member_next(text, bytes, &at, &member);) {
        if (member.bytes == 0)
            continue;
        if (!tracestate_member_is_valid(text + member.at, member.bytes) ||
            ++members > TRACESTATE_MEMBERS_MAX)
            return 0;
    }
    bytes = tracestate_cut(text, bytes, SIZE_MAX, SIZE_MAX);
    if (bytes > TRACESTATE_BYTES_MAX)
        bytes = tracestate_cut(text, bytes, TRACESTATE_LARGE_BYTES, SIZE_MAX);
    return tracestate_cut(text, bytes, SIZE_MAX, TRACESTATE_BYTES_MAX);
}

/* ---- baggage ---- */

/* A token of HTTP (RFC 7230). */
static bool is_token(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (!is_lower(c) && !is_digit(c) && !(c >= 'A' && c <= 'Z') &&
            (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return bytes > 0;
}

/* key = value, with space around both, and properties behind ';', which are left as they are. */
static bool baggage_member_is_valid(const char *text, size_t bytes)
{
    const char *equals = memchr(text, '=', bytes);
    if (!equals)
        return false;
    size_t key_bytes = (size_t)(equals - text);
    while (key_bytes > 0 && is_space(text[key_bytes - 1]))
        key_bytes--;
    if (!is_token(text, key_bytes))
        return false;
    for (const char *c = equals + 1; c < text + bytes; c++)
        if ((*c < 0x20 && *c != '\t') || *c > 0x7e || *c == '"' || *c == '\\')
            return false;
    return true;
}

size_t baggage_tidy(char *text, size_t bytes)
{
    struct member member;
    unsigned members = 0;
    size_t used = 0;
    for (size_t at = 0; members < BAGGAGE_MEMBERS_MAX && member_next(text, bytes, &at, &member);) {
        if (!baggage_member_is_valid(text + member.at, member.bytes))
            continue;
        if (used + (used > 0) + member.bytes > BAGGAGE_BYTES_MAX)
            break;
        used = member_keep(text, used, &member);
        members++;
    }
    return used;
}

/* ---- A block ---- */

enum standard_key { KEY_OTHER, KEY_TRACEPARENT, KEY_TRACESTATE, KEY_BAGGAGE, KEY_RESERVED };

static enum standard_key key_of(const uint8_t *key, size_t bytes)
{
    if (bytes == 11 && memcmp(key, "traceparent", 11) == 0)
        return KEY_TRACEPARENT;
    if (bytes == 10 && memcmp(key, "tracestate", 10) == 0)
        return KEY_TRACESTATE;
    if (bytes == 7 && memcmp(key, "baggage", 7) == 0)
        return KEY_BAGGAGE;
    return metadata_key_is_reserved((const char *)key, bytes) ? KEY_RESERVED : KEY_OTHER;
}

struct pair {
    enum standard_key key;
    size_t key_bytes, value_bytes;
};

static struct pair pair_at(const uint8_t *pair)
{
    size_t key_bytes = pair[0];
    return (struct pair){.key = key_of(pair + 3, key_bytes),
                         .key_bytes = key_bytes,
                         .value_bytes = pair[1] | (size_t)pair[2] << 8};
}

static bool traced(const uint8_t *block, size_t bytes)
{
    unsigned count = 0;
    bool valid = false;
    for (size_t at = 0; at < bytes;) {
        struct pair pair = pair_at(block + at);
        if (pair.key == KEY_TRACEPARENT) {
            count++;
            valid = traceparent_is_valid((const char *)block + at + 3 + pair.key_bytes,
                                         pair.value_bytes);
        }
        at += 3 + pair.key_bytes + pair.value_bytes;
    }
    return valid && count == 1;
}

/* What is left of the value; SIZE_MAX: the pair is to be dropped. */
static size_t value_tidy(const struct pair *pair, char *value, bool keep_trace, bool beside)
{
    size_t left = pair->value_bytes;
    switch (pair->key) {
    case KEY_TRACEPARENT:
        return keep_trace && !beside ? left : SIZE_MAX;
    case KEY_TRACESTATE:
        left = keep_trace ? tracestate_tidy(value, left) : 0;
        return left ? left : SIZE_MAX;
    case KEY_BAGGAGE:
        left = baggage_tidy(value, left);
        return left ? left : SIZE_MAX;
    case KEY_RESERVED:
        return SIZE_MAX;
    case KEY_OTHER:
        break;
    }
    return left;
}

size_t metadata_tidy(uint8_t *block, size_t bytes, bool beside)
{
    bool any = false;
    for (size_t at = 0; at < bytes;) {
        struct pair pair = pair_at(block + at);
        any = any || pair.key != KEY_OTHER;
        at += 3 + pair.key_bytes + pair.value_bytes;
    }
    if (!any)
        return bytes;
    bool keep_trace = beside || traced(block, bytes);
    size_t used = 0;
    for (size_t at = 0; at < bytes;) {
        struct pair pair = pair_at(block + at);
        size_t next = at + 3 + pair.key_bytes + pair.value_bytes;
        size_t left =
            value_tidy(&pair, (char *)block + at + 3 + pair.key_bytes, keep_trace, beside);
        if (left != SIZE_MAX) {
            block[at + 1] = (uint8_t)(left & 0xff);
            block[at + 2] = (uint8_t)(left >> 8);
            memmove(block + used, block + at, 3 + pair.key_bytes + left);
            used += 3 + pair.key_bytes + left;
        }
        at = next;
    }
    return used;
}
