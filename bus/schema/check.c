/*
 * What may be a name and a default value.
 *
 * Descriptor sets come from peers. Every name that passes here is an identifier, so that it may go
 * into logs, JSON and generated C as it is; what has not passed is printed through printable().
 */
#include "schema/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Length of the identifier that @text begins with; 0: none. */
static size_t identifier_span(const char *text)
{
    if (!is_letter(text[0]))
        return 0;
    size_t n = 1;
    while (is_letter(text[n]) || is_digit(text[n]))
        n++;
    return n;
}

bool name_is_identifier(const char *name)
{
    size_t n = identifier_span(name);
    return n > 0 && name[n] == '\0';
}

bool name_is_package(const char *name)
{
    for (;;) {
        size_t n = identifier_span(name);
        if (n == 0)
            return false;
        if (name[n] == '\0')
            return true;
        if (name[n] != '.')
            return false;
        name += n + 1;
    }
}

int schema_check_interface_name(const char *name)
{
    if (!(name[0] >= 'a' && name[0] <= 'z'))
        return -EINVAL;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
    return name[n] == '\0' && n <= SCHEMA_INTERFACE_BYTES_MAX ? 0 : -EINVAL;
}

const char *printable(struct printable *buffer, const char *name)
{
    const size_t room = sizeof(buffer->text) - 4;
    size_t n = 0;
    for (; name && name[n] && n < room; n++)
        buffer->text[n] = name[n] >= 0x20 && name[n] < 0x7f ? name[n] : '?';
    memcpy(buffer->text + n, name && name[n] ? "..." : "", name && name[n] ? 4 : 1);
    return buffer->text;
}

static bool is_integer(const char *text, bool has_sign, unsigned bits)
{
    bool negative = text[0] == '-';
    if (negative && !has_sign)
        return false;
    text += negative;
    if (!is_digit(text[0]) || strlen(text) > 20)
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end)
        return false;
    uint64_t max = UINT64_MAX >> (64 - bits + (has_sign ? 1 : 0));
    return value <= max || (negative && value == max + 1);
}

static bool is_float(const char *text)
{
    if (strcmp(text, "inf") == 0 || strcmp(text, "-inf") == 0 || strcmp(text, "nan") == 0 ||
        strcmp(text, "-nan") == 0)
        return true;
    if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")])
        return false;
    char *end;
    (void)strtod(text, &end);
    return *end == '\0';
}

static bool is_enum_value(const struct schema_enum *enumeration, const char *text)
{
    for (size_t i = 0; i < enumeration->value_count; i++) {
        if (strcmp(enumeration->values[i].name, text) == 0)
            return true;
    }
    return false;
}

bool default_is_valid(const struct schema_field *field, const char *text)
{
    switch (field->type) {
    case TYPE(DOUBLE):
    case TYPE(FLOAT):
        return is_float(text);
    case TYPE(INT32):
    case TYPE(SINT32):
    case TYPE(SFIXED32):
        return is_integer(text, true, 32);
    case TYPE(INT64):
    case TYPE(SINT64):
    case TYPE(SFIXED64):
        return is_integer(text, true, 64);
    case TYPE(UINT32):
    case TYPE(FIXED32):
        return is_integer(text, false, 32);
    case TYPE(UINT64):
    case TYPE(FIXED64):
        return is_integer(text, false, 64);
    case TYPE(BOOL):
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    case TYPE(ENUM):
        return is_enum_value(field->enumeration, text);
    case TYPE(STRING):
    case TYPE(BYTES):
        return true;
    default:
        return false;
    }
}

char *json_name_of(struct pool *pool, const char *name)
{
    char *json = pool_alloc(pool, strlen(name) + 1);
    if (!json)
        return NULL;
    char *out = json;
    bool capital = false;
    for (; *name; name++) {
        if (*name == '_') {
            capital = true;
            continue;
        }
        *out++ = capital && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        capital = false;
    }
    return json;
}
