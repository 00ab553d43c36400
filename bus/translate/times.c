/*
 * google.protobuf.Timestamp and Duration as integers of a unit and as text.
 *
 * Their own domains hold: a Timestamp is in the years 1 to 9999 with nanos from 0 to 999,999,999; a
 * Duration is within 315,576,000,000 seconds, its nanos have its sign (google/protobuf's .proto
 * files). As an integer a Timestamp is rounded down, a Duration towards zero, as their nanos are
 * counted.
 *
 * Text is protobuf's JSON mapping: "2026-11-22T18:00:00Z", "1.500s", with no, three, six or nine
 * digits behind the point. Read are also other numbers of digits up to nine, offsets from UTC, and
 * lower case letters in a Timestamp. No leap seconds: a Timestamp has none.
 *
 * Days and dates: the civil calendar by eras of 400 years that begin in March, as in Howard
 * Hinnant's "chrono-Compatible Low-Level Date Algorithms".
 */
#include "translate/convert.h"

#define NANOS_PER_SECOND INT64_C(1000000000)
#define SECONDS_PER_DAY 86400
#define TIMESTAMP_SECONDS_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define DURATION_SECONDS_MAX INT64_C(315576000000)

static int64_t unit_per_second(uint8_t unit)
{
    static const int64_t units[] = {1, 1, 1000, 1000000, NANOS_PER_SECOND};
    return units[unit < sizeof(units) / sizeof(units[0]) ? unit : 0];
}

static bool nanos_are_good(enum form form, const struct value *time)
{
    if (form == FORM_TIMESTAMP)
        return time->nanos >= 0 && time->nanos < NANOS_PER_SECOND;
    return time->nanos > -NANOS_PER_SECOND && time->nanos < NANOS_PER_SECOND &&
           (time->number <= 0 || time->nanos >= 0) && (time->number >= 0 || time->nanos <= 0);
}

static bool is_good(enum form form, const struct value *time)
{
    int64_t least = form == FORM_TIMESTAMP ? TIMESTAMP_SECONDS_MIN : -DURATION_SECONDS_MAX;
    int64_t most = form == FORM_TIMESTAMP ? TIMESTAMP_SECONDS_MAX : DURATION_SECONDS_MAX;
    return time->number >= least && time->number <= most && nanos_are_good(form, time);
}

/* The nearest that there is. */
static enum domain clamp(enum form form, struct value *time)
{
    if (is_good(form, time))
        return DOMAIN_GOOD;
    bool low = time->number < 0;
    if (form == FORM_TIMESTAMP) {
        time->number = low ? TIMESTAMP_SECONDS_MIN : TIMESTAMP_SECONDS_MAX;
        time->nanos = low ? 0 : (int32_t)(NANOS_PER_SECOND - 1);
    } else {
        time->number = low ? -DURATION_SECONDS_MAX : DURATION_SECONDS_MAX;
        time->nanos = 0;
    }
    return DOMAIN_RANGE;
}

enum domain times_to_number(enum form form, uint8_t unit, const struct value *time, int128 *ret)
{
    int64_t per = unit_per_second(unit);
    if (!nanos_are_good(form, time))
        return DOMAIN_NOTHING;
    *ret = time->number * per + time->nanos / (NANOS_PER_SECOND / per);
    return DOMAIN_GOOD;
}

enum domain times_from_number(enum form form, uint8_t unit, int128 number, struct value *out)
{
    int64_t per = unit_per_second(unit);
    int128 seconds = number / per, rest = number % per;
    if (form == FORM_TIMESTAMP && rest < 0) {
        seconds--;
        rest += per;
    }
    out->form = VALUE_TIME;
    out->number = seconds;
    out->nanos = (int32_t)(rest * (NANOS_PER_SECOND / per));
    return clamp(form, out);
}

/* ---- Dates ---- */

static int64_t days_of_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    *ret_day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (unsigned)(month < 10 ? month + 3 : month - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

/* ---- Writing ---- */

static uint8_t *put_digits(uint8_t *out, int64_t number, unsigned count)
{
    for (unsigned i = count; i > 0; i--) {
        out[i - 1] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return out + count;
}

static uint8_t *put_nanos(uint8_t *out, int32_t nanos)
{
    if (nanos == 0)
        return out;
    *out++ = '.';
    if (nanos % 1000000 == 0)
        return put_digits(out, nanos / 1000000, 3);
    return nanos % 1000 == 0 ? put_digits(out, nanos / 1000, 6) : put_digits(out, nanos, 9);
}

static uint8_t *put_timestamp(uint8_t *at, const struct value *time)
{
    int64_t seconds = (int64_t)time->number, year;
    int64_t days = seconds / SECONDS_PER_DAY, rest = seconds % SECONDS_PER_DAY;
    unsigned month, day;
    if (rest < 0) {
        days--;
        rest += SECONDS_PER_DAY;
    }
    date_of_days(days, &year, &month, &day);
    const struct {
        int64_t number;
        unsigned digits;
        char behind;
    } parts[] = {{year, 4, '-'},        {month, 2, '-'},          {day, 2, 'T'},
                 {rest / 3600, 2, ':'}, {rest / 60 % 60, 2, ':'}, {rest % 60, 2, 0}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        at = put_digits(at, parts[i].number, parts[i].digits);
        if (parts[i].behind)
            *at++ = (uint8_t)parts[i].behind;
    }
    at = put_nanos(at, time->nanos);
    *at++ = 'Z';
    return at;
}

static uint8_t *put_duration(uint8_t *at, const struct value *time)
{
    if (time->number < 0 || time->nanos < 0)
        *at++ = '-';
    at += text_format_number(time->number < 0 ? -time->number : time->number, at);
    at = put_nanos(at, time->nanos < 0 ? -time->nanos : time->nanos);
    *at++ = 's';
    return at;
}

enum domain times_format(enum form form, const struct value *time, struct value *out)
{
    out->form = VALUE_TEXT;
    out->data = out->scratch;
    out->bytes = 0;
    if (!is_good(form, time))
        return DOMAIN_NOTHING;
    uint8_t *end = form == FORM_TIMESTAMP ? put_timestamp(out->scratch, time)
                                          : put_duration(out->scratch, time);
    out->bytes = (size_t)(end - out->scratch);
    return DOMAIN_GOOD;
}

/* ---- Reading ---- */

struct scan {
    const uint8_t *pos, *end;
    bool bad;
};

static bool take(struct scan *scan, const char *any)
{
    if (scan->pos == scan->end || !*scan->pos || !strchr(any, *scan->pos))
        return false;
    scan->pos++;
    return true;
}

static void expect(struct scan *scan, const char *any)
{
    scan->bad |= !take(scan, any);
}

/* Exactly @count digits. */
static unsigned take_digits(struct scan *scan, unsigned count)
{
    unsigned number = 0;
    for (unsigned i = 0; i < count; i++) {
        expect(scan, "0123456789");
        if (!scan->bad)
            number = number * 10 + scan->pos[-1] - '0';
    }
    return number;
}

/* Behind a point, up to nine digits; none of it: 0. */
static int32_t take_nanos(struct scan *scan)
{
    int32_t nanos = 0, unit = (int32_t)NANOS_PER_SECOND;
    if (!take(scan, "."))
        return 0;
    while (unit > 1 && take(scan, "0123456789")) {
        unit /= 10;
        nanos += (scan->pos[-1] - '0') * unit;
    }
    scan->bad |= unit == NANOS_PER_SECOND;
    return nanos;
}

static int64_t take_offset(struct scan *scan)
{
    if (take(scan, "Zz"))
        return 0;
    expect(scan, "+-");
    bool negative = !scan->bad && scan->pos[-1] == '-';
    unsigned hours = take_digits(scan, 2);
    expect(scan, ":");
    unsigned minutes = take_digits(scan, 2);
    scan->bad |= hours > 23 || minutes > 59;
    int64_t offset = hours * 3600 + minutes * 60;
    return negative ? -offset : offset;
}

static bool is_date(unsigned year, unsigned month, unsigned day)
{
    static const uint8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] &&
           (month != 2 || day < 29 || leap);
}

static void read_timestamp(struct scan *scan, struct value *out)
{
    unsigned year = take_digits(scan, 4);
    expect(scan, "-");
    unsigned month = take_digits(scan, 2);
    expect(scan, "-");
    unsigned day = take_digits(scan, 2);
    expect(scan, "Tt");
    unsigned hour = take_digits(scan, 2);
    expect(scan, ":");
    unsigned minute = take_digits(scan, 2);
    expect(scan, ":");
    unsigned second = take_digits(scan, 2);
    out->nanos = take_nanos(scan);
    int64_t offset = take_offset(scan);
    scan->bad |= hour > 23 || minute > 59 || second > 59 || !is_date(year, month, day);
    if (!scan->bad)
        out->number = days_of_date(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 +
                      second - offset;
}

static void read_duration(struct scan *scan, struct value *out)
{
    bool negative = take(scan, "-");
    int64_t seconds = 0;
    unsigned digits = 0;
    for (; digits < 15 && take(scan, "0123456789"); digits++)
        seconds = seconds * 10 + scan->pos[-1] - '0';
    scan->bad |= digits == 0;
    out->nanos = take_nanos(scan);
    expect(scan, "s");
    out->number = negative ? -seconds : seconds;
    out->nanos = negative ? -out->nanos : out->nanos;
}

enum domain times_parse(enum form form, const uint8_t *data, size_t bytes, struct value *out)
{
    struct scan scan = {data, data + bytes, false};
    out->form = VALUE_TIME;
    if (form == FORM_TIMESTAMP)
        read_timestamp(&scan, out);
    else
        read_duration(&scan, out);
    return scan.bad || scan.pos != scan.end ? DOMAIN_NOTHING : clamp(form, out);
}
