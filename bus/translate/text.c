/*
 * Numbers and bytes as text.
 *
 * Each value has one canonical text, which is what going back gives; other texts of the same value
 * are read too, and carried along.
 *
 *   integers   -?digits, no zeros before, no "-0". Also read: zeros before, "+".
 *   reals      the first of %.15g, %.16g, %.17g (%.6g to %.9g for float) that reads back as the
 *              same, of C's printf in the C locale; NaN, Infinity, -Infinity, as in protobuf's
 *              JSON. Also read: what strtod() reads of digits, a point, an exponent; nan, inf.
 *   hex        two lower-case digits a byte. Upper case is read.
 *   base64     RFC 4648, section 4, with padding. Read without padding, too.
 *
 * The locale: programs set one, and a comma instead of a point would be another number. newlocale()
 * of "C" gives a constant of glibc's, without allocating.
 */
#include "translate/convert.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_TOO_LARGE ((int128)1 << 100)

/* ---- Integers ---- */

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

bool text_parse_number(const uint8_t *data, size_t bytes, int128 *ret_number)
{
    size_t i = bytes > 0 && (data[0] == '-' || data[0] == '+');
    bool negative = i && data[0] == '-';
    int128 number = 0;
    if (i == bytes || bytes > TEXT_NUMBER_BYTES_MAX)
        return false;
    for (; i < bytes; i++) {
        if (!is_digit(data[i]))
            return false;
        number = number * 10 + (data[i] - '0');
        if (number > NUMBER_TOO_LARGE)
            number = NUMBER_TOO_LARGE;
    }
    *ret_number = negative ? -number : number;
    return true;
}

size_t text_format_number(int128 number, uint8_t *out)
{
    uint8_t digits[40];
    size_t count = 0, bytes = 0;
    bool negative = number < 0;
    if (negative)
        number = -number;
    do {
        digits[count++] = (uint8_t)('0' + (int)(number % 10));
        number /= 10;
    } while (number > 0);
    if (negative)
        out[bytes++] = '-';
    while (count > 0)
        out[bytes++] = digits[--count];
    return bytes;
}

/* ---- Reals ---- */

static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t get_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_locale);
    return c_locale;
}

static size_t skip_digits(const char *text, size_t i)
{
    while (is_digit((uint8_t)text[i]))
        i++;
    return i;
}

/* digits [. digits] [e [sign] digits], with digits on one side of the point at least. */
static bool is_decimal(const char *text)
{
    size_t i = text[0] == '-' || text[0] == '+', first = i;
    i = skip_digits(text, i);
    size_t digits = i - first;
    if (text[i] == '.') {
        size_t after = skip_digits(text, i + 1);
        digits += after - i - 1;
        i = after;
    }
    if (digits == 0)
        return false;
    if (text[i] == 'e' || text[i] == 'E') {
        i += 1 + (text[i + 1] == '-' || text[i + 1] == '+');
        size_t after = skip_digits(text, i);
        if (after == i)
            return false;
        i = after;
    }
    return text[i] == '\0';
}

static bool read_name(const char *text, double *ret_real)
{
    static const struct {
        const char *name;
        double real;
    } names[] = {
        {"NaN", NAN},
        {"nan", NAN},
        {"Infinity", INFINITY},
        {"inf", INFINITY},
        {"+Infinity", INFINITY},
        {"+inf", INFINITY},
        {"-Infinity", -INFINITY},
        {"-inf", -INFINITY},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i].name) != 0)
            continue;
        *ret_real = names[i].real;
        return true;
    }
    return false;
}

static double read_real(const char *text, bool single)
{
    return single ? (double)strtof_l(text, NULL, get_locale()) : strtod_l(text, NULL, get_locale());
}

enum domain text_parse_real(const uint8_t *data, size_t bytes, bool single, double *ret_real)
{
    char text[TEXT_NUMBER_BYTES_MAX + 1];
    if (bytes == 0 || bytes > TEXT_NUMBER_BYTES_MAX)
        return DOMAIN_NOTHING;
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    if (read_name(text, ret_real))
        return DOMAIN_GOOD;
    if (!is_decimal(text))
        return DOMAIN_NOTHING;
    double real = read_real(text, single);
    *ret_real = real;
    if (!isinf(real))
        return DOMAIN_GOOD;
    *ret_real = copysign(single ? (double)FLT_MAX : DBL_MAX, real);
    return DOMAIN_RANGE;
}

size_t text_format_real(double real, bool single, uint8_t *out)
{
    char *text = (char *)out;
    if (isnan(real) || isinf(real)) {
        const char *name = isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity";
        memcpy(out, name, strlen(name));
        return strlen(name);
    }
    locale_t before = uselocale(get_locale());
    int bytes = 0, last = single ? 9 : 17;
    for (int digits = single ? 6 : 15; digits <= last; digits++) {
        bytes = snprintf(text, VALUE_SCRATCH_BYTES, "%.*g", digits, real);
        if (read_real(text, single) == real)
            break;
    }
    uselocale(before);
    return (size_t)bytes;
}

/* ---- Bytes ---- */

static int hex_digit(uint8_t byte)
{
    if (is_digit(byte))
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

bool text_is_hex(const uint8_t *data, size_t bytes, bool *ret_canonical)
{
    *ret_canonical = true;
    for (size_t i = 0; i < bytes; i++) {
        if (hex_digit(data[i]) < 0)
            return false;
        if (data[i] >= 'A' && data[i] <= 'F')
            *ret_canonical = false;
    }
    return bytes % 2 == 0;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - 'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - 'a' + 26;
    if (is_digit(byte))
        return byte - '0' + 52;
    return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

/* Without the padding. */
static size_t base64_digit_count(const uint8_t *data, size_t bytes)
{
    size_t padding = 0;
    while (padding < 2 && padding < bytes && data[bytes - 1 - padding] == '=')
        padding++;
    return bytes - padding;
}

bool text_is_base64(const uint8_t *data, size_t bytes, bool *ret_canonical)
{
    size_t digits = base64_digit_count(data, bytes);
    for (size_t i = 0; i < digits; i++)
        if (base64_digit(data[i]) < 0)
            return false;
    if (digits % 4 == 1 || (digits != bytes && bytes % 4 != 0))
        return false;
    /* Bits that no byte has must be 0. */
    int last = digits > 0 ? base64_digit(data[digits - 1]) : 0;
    int spare = digits % 4 == 2 ? 15 : digits % 4 == 3 ? 3 : 0;
    *ret_canonical = bytes % 4 == 0 && (last & spare) == 0;
    return true;
}

static size_t to_hex(const struct value *value, size_t *offset, uint8_t *out)
{
    size_t n = 0;
    for (; *offset < value->bytes && n < TEXT_CHUNK_BYTES; ++*offset) {
        out[n++] = (uint8_t) "0123456789abcdef"[value->data[*offset] >> 4];
        out[n++] = (uint8_t) "0123456789abcdef"[value->data[*offset] & 15];
    }
    return n;
}

static size_t from_hex(const struct value *value, size_t *offset, uint8_t *out)
{
    size_t n = 0;
    for (; *offset + 1 < value->bytes && n < TEXT_CHUNK_BYTES; *offset += 2)
        out[n++] =
            (uint8_t)(hex_digit(value->data[*offset]) << 4 | hex_digit(value->data[*offset + 1]));
    return n;
}

static size_t to_base64(const struct value *value, size_t *offset, uint8_t *out)
{
    size_t n = 0;
    for (; *offset < value->bytes && n < TEXT_CHUNK_BYTES; *offset += 3) {
        const uint8_t *at = value->data + *offset;
        size_t left = value->bytes - *offset;
        uint32_t bits = (uint32_t)at[0] << 16;
        bits |= left > 1 ? (uint32_t)at[1] << 8 : 0;
        bits |= left > 2 ? at[2] : 0;
        out[n++] = (uint8_t)base64_digits[bits >> 18];
        out[n++] = (uint8_t)base64_digits[bits >> 12 & 63];
        out[n++] = left > 1 ? (uint8_t)base64_digits[bits >> 6 & 63] : '=';
        out[n++] = left > 2 ? (uint8_t)base64_digits[bits & 63] : '=';
    }
    return n;
}

static size_t from_base64(const struct value *value, size_t *offset, uint8_t *out)
{
    size_t digits = base64_digit_count(value->data, value->bytes), n = 0;
    for (; *offset < digits && n + 3 <= TEXT_CHUNK_BYTES; *offset += 4) {
        uint32_t bits = 0;
        size_t left = digits - *offset < 4 ? digits - *offset : 4;
        for (size_t i = 0; i < 4; i++)
            bits =
                bits << 6 | (i < left ? (uint32_t)base64_digit(value->data[*offset + i]) & 63 : 0);
        for (size_t i = 0; i + 1 < left; i++)
            out[n++] = (uint8_t)(bits >> (16 - 8 * i));
    }
    return n;
}

size_t text_chunk(const struct value *value, size_t *offset, uint8_t out[TEXT_CHUNK_BYTES])
{
    switch (value->coding) {
    case CODING_TO_HEX:
        return to_hex(value, offset, out);
    case CODING_FROM_HEX:
        return from_hex(value, offset, out);
    case CODING_TO_BASE64:
        return to_base64(value, offset, out);
    case CODING_FROM_BASE64:
        return from_base64(value, offset, out);
    default:
        return 0;
    }
}

size_t text_coded_bytes(const struct value *value)
{
    switch (value->coding) {
    case CODING_TO_HEX:
        return 2 * value->bytes;
    case CODING_FROM_HEX:
        return value->bytes / 2;
    case CODING_TO_BASE64:
        return (value->bytes + 2) / 3 * 4;
    case CODING_FROM_BASE64:
        return base64_digit_count(value->data, value->bytes) * 3 / 4;
    default:
        return value->bytes;
    }
}
