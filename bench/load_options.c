/* What the load benchmark is told beside what all benchmarks are. */
#include "load.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Digits only, for strtoul() takes signs and spaces, too. */
static int parse_number(const char *text, char **ret_end, uint64_t *ret_number)
{
    if (!isdigit((unsigned char)*text))
        return -1;
    errno = 0;
    *ret_number = strtoull(text, ret_end, 10);
    return errno == 0 ? 0 : -1;
}

static int add_rate(struct load_rates *rates, uint64_t rate, struct error_text *error)
{
    if (rate < PACE_RATE_MIN || rate > PACE_RATE_MAX)
        return error_set(error, -1, "a rate is %u to %u calls a second, not %" PRIu64,
                         PACE_RATE_MIN, PACE_RATE_MAX, rate);
    if (rates->count == LOAD_RATE_COUNT_MAX)
        return error_set(error, -1, "more than %d rates", LOAD_RATE_COUNT_MAX);
    if (rates->count > 0 && rate <= rates->rates[rates->count - 1])
        return error_set(error, -1, "rates must ascend, %" PRIu64 " does not", rate);
    rates->rates[rates->count++] = (uint32_t)rate;
    return 0;
}

int load_parse_rates(const char *text, struct load_rates *ret_rates, struct error_text *error)
{
    struct load_rates rates = {0};
    for (const char *at = text;; at++) {
        uint64_t rate;
        char *end = NULL;
        if (parse_number(at, &end, &rate) < 0 || (*end != '\0' && *end != ','))
            return error_set(error, -1, "rates are numbers with commas between them");
        if (add_rate(&rates, rate, error) < 0)
            return -1;
        at = end;
        if (*at == '\0')
            break;
    }
    *ret_rates = rates;
    return 0;
}

int load_parse_seed(const char *text, uint64_t *ret_seed, struct error_text *error)
{
    uint64_t seed;
    char *end = NULL;
    if (parse_number(text, &end, &seed) < 0 || *end != '\0')
        return error_set(error, -1, "a seed is a number of 64 bits");
    *ret_seed = seed;
    return 0;
}
