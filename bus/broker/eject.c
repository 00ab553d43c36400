/*
 * Outlier ejection, as arithmetic.
 *
 * The model is Envoy's outlier detection (docs: "Outlier detection"): ejections last longer each
 * time in a row, one is forgiven for each base time that the instance was well, and only a share of
 * the instances is ever ejected. What is compared differs, for Envoy's deviation from the mean
 * needs five hosts and a bus has two or three instances:
 *
 *   in a row  a client saw so many failures one after another, and at least half of all calls of
 *             the interval failed. Also without volume: somebody who stopped answers nobody.
 *   rate      the share of failures is some points above that of all the others together, and not
 *             by chance: the pooled two-proportion z-test at EJECT_Z, one-sided. With z >= 4 a
 *             healthy instance is taken for a bad one in 3 of 100,000 looks (normal approximation).
 *   slow      the median latency is some times that of the others, and some milliseconds more. Of
 * the median, since one slow method or one stall is no slow instance; by buckets that double.
 *
 * Nobody is ejected for what the others do as well: if half of the others' calls fail, too, what
 * fails is behind all of them, and fewer instances would only have more to do.
 */
#include "broker/eject.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define EJECT_Z 4.0
#define EJECT_SLOW_PART 5 /* of the volume is enough for a median: who is slow has few calls */
#define EJECT_BROKEN 0.5  /* share of failures */

/* ---- Comparing ---- */

static void add(struct eject_figures *sum, const struct eject_figures *figures)
{
    sum->ended += figures->ended;
    sum->failed += figures->failed;
    for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++)
        sum->bucket[i] += figures->bucket[i];
}

static double rate(const struct eject_figures *figures)
{
    return figures->ended ? (double)figures->failed / (double)figures->ended : 0;
}

static uint64_t calls_timed(const struct eject_figures *figures)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++)
        count += figures->bucket[i];
    return count;
}

uint64_t eject_median_ns(const struct eject_figures *figures)
{
    uint64_t count = calls_timed(figures), below = 0;
    for (unsigned i = 0; i < STATS_INSTANCE_BUCKETS; i++) {
        below += figures->bucket[i];
        if (count > 0 && below * 2 >= count)
            return UINT64_C(1) << (10 + i);
    }
    return 0;
}

static bool fails_more(const struct eject_settings *settings, const struct eject_figures *own,
                       const struct eject_figures *others)
{
    if (own->ended < settings->volume || others->ended < settings->volume)
        return false;
    double difference = rate(own) - rate(others);
    double pooled = (double)(own->failed + others->failed) / (double)(own->ended + others->ended);
    double deviation =
        sqrt(pooled * (1 - pooled) * (1 / (double)own->ended + 1 / (double)others->ended));
    return difference >= settings->points && difference >= EJECT_Z * deviation;
}

static bool is_slow(const struct eject_settings *settings, const struct eject_figures *own,
                    const struct eject_figures *others)
{
    uint32_t least = (settings->volume + EJECT_SLOW_PART - 1) / EJECT_SLOW_PART;
    if (calls_timed(own) < least || calls_timed(others) < least)
        return false;
    uint64_t mine = eject_median_ns(own), theirs = eject_median_ns(others);
    return (double)mine >= settings->slow * (double)theirs && mine >= theirs + settings->slow_ns;
}

static struct eject_figures all_but(const struct eject_figures *figures, size_t count, size_t own)
{
    struct eject_figures sum = {0};
    for (size_t i = 0; i < count; i++)
        if (i != own)
            add(&sum, &figures[i]);
    return sum;
}

static bool fails_in_a_row(const struct eject_settings *settings, const struct eject_figures *own)
{
    return own->in_a_row >= settings->failures && own->ended > 0 && rate(own) >= EJECT_BROKEN;
}

void eject_compare(const struct eject_settings *settings, const struct eject_figures *latest,
                   const struct eject_figures *window, size_t count, enum eject_reason *ret_reasons)
{
    for (size_t i = 0; i < count; i++) {
        const struct eject_figures now = all_but(latest, count, i);
        const struct eject_figures others = all_but(window, count, i);
        bool all_broken = rate(&now) >= EJECT_BROKEN || rate(&others) >= EJECT_BROKEN;
        ret_reasons[i] = EJECT_NONE;
        if (settings->off || count < 2 || all_broken)
            continue;
        if (fails_in_a_row(settings, &latest[i]))
            ret_reasons[i] = EJECT_IN_A_ROW;
        else if (fails_more(settings, &window[i], &others))
            ret_reasons[i] = EJECT_RATE;
        else if (is_slow(settings, &window[i], &others))
            ret_reasons[i] = EJECT_SLOW;
    }
}

/* ---- Time ---- */

bool eject_restore(const struct eject_settings *settings, uint64_t now_ns,
                   struct eject_state *state)
{
    if (state->until_ns > now_ns || (!state->ejected && state->times == 0))
        return false;
    bool was = state->ejected;
    if (!was)
        state->times--;
    state->ejected = false;
    state->until_ns = clock_add(now_ns, settings->base_ns);
    return was;
}

bool eject_may(const struct eject_settings *settings, size_t up, size_t ejected)
{
    if (settings->off || up < 2 || ejected + 1 >= up)
        return false; /* somebody must be left */
    size_t most = (size_t)floor(settings->share * (double)up);
    return ejected < (most > 1 ? most : 1);
}

uint64_t eject_begin(const struct eject_settings *settings, uint64_t now_ns,
                     struct eject_state *state)
{
    uint64_t ns = settings->longest_ns;
    if (state->times < ns / settings->base_ns)
        ns = settings->base_ns * (state->times + 1);
    if (ns > settings->longest_ns)
        ns = settings->longest_ns;
    state->ejected = true;
    state->times++;
    state->until_ns = clock_add(now_ns, ns);
    return ns;
}

/* ---- Settings ---- */

/* "100ms", "10s", "5m". */
static bool parse_ns(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"us", NS_PER_US}, {"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}};
    char *end;
    size_t digits = strspn(text, "0123456789");
    unsigned long long value = strtoull(text, &end, 10);
    for (size_t i = 0; digits > 0 && digits < 10 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        *ret_ns = value * units[i].ns;
        return value > 0 && *ret_ns <= 86400 * NS_PER_S;
    }
    return false;
}

static bool parse_count(const char *text, uint32_t *ret_count)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 7 || text[digits])
        return false;
    *ret_count = (uint32_t)strtoul(text, NULL, 10);
    return *ret_count > 0;
}

static bool parse_number(const char *text, double min, double max, double *ret_number)
{
    char *end;
    if (strspn(text, "0123456789.") != strlen(text) || *text == '\0')
        return false;
    *ret_number = strtod(text, &end);
    return *end == '\0' && *ret_number >= min && *ret_number <= max;
}

/* Return: what it takes; NULL: it is set; "": no such key. */
static const char *set(struct eject_settings *settings, const char *key, const char *value)
{
    static const char time_words[] = "a time of up to a day, as 500ms, 10s or 5m";
    static const char count_words[] = "a number from 1 to 9999999";
    if (strcmp(key, "interval") == 0)
        return parse_ns(value, &settings->interval_ns) ? NULL : time_words;
    if (strcmp(key, "base") == 0)
        return parse_ns(value, &settings->base_ns) ? NULL : time_words;
    if (strcmp(key, "longest") == 0)
        return parse_ns(value, &settings->longest_ns) ? NULL : time_words;
    if (strcmp(key, "slow-by") == 0)
        return parse_ns(value, &settings->slow_ns) ? NULL : time_words;
    if (strcmp(key, "failures") == 0)
        return parse_count(value, &settings->failures) ? NULL : count_words;
    if (strcmp(key, "volume") == 0)
        return parse_count(value, &settings->volume) ? NULL : count_words;
    if (strcmp(key, "points") == 0)
        return parse_number(value, 0.001, 1, &settings->points) ? NULL : "0.001 to 1";
    if (strcmp(key, "share") == 0)
        return parse_number(value, 0, 1, &settings->share) ? NULL : "0 to 1";
    if (strcmp(key, "slow") == 0)
        return parse_number(value, 1, 1000, &settings->slow) ? NULL : "1 to 1000";
    return "";
}

int eject_parse(const char *text, struct eject_settings *ret_settings, struct error_text *error)
{
    struct eject_settings settings = EJECT_DEFAULTS;
    char copy[256];
    size_t bytes = strlen(text);
    if (bytes >= sizeof(copy))
        return error_set(error, -EINVAL, "settings of ejection: %zu bytes, at most %zu", bytes,
                         sizeof(copy) - 1);
    memcpy(copy, text, bytes + 1);
    settings.off = strcmp(text, "off") == 0;
    char *rest = settings.off || strcmp(text, "on") == 0 ? NULL : copy;
    while (rest) {
        char *pair = strsep(&rest, ",");
        char *value = strchr(pair, '=');
        if (value)
            *value++ = '\0';
        const char *wanted = value ? set(&settings, pair, value) : "";
        if (wanted && *wanted)
            return error_set(error, -EINVAL, "'%s=%s': %s takes %s", pair, value, pair, wanted);
        if (wanted)
            return error_set(error, -EINVAL,
                             "'%s' is no setting of ejection: off, on, or KEY=VALUE with interval, "
                             "failures, volume, points, slow, slow-by, base, longest, share",
                             pair);
    }
    *ret_settings = settings;
    return 0;
}
