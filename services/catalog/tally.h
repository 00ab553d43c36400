/*
 * What a client counts of its calls, as numbers and as a line of JSON: clients write it, the demo
 * reads it and adds up.
 */
#ifndef CATALOG_TALLY_H
#define CATALOG_TALLY_H

#include <stdint.h>

#include <jansson.h>

/* Latency: buckets grow by an eighth, up to 2^40 ns (18 minutes). */
#define TALLY_SUB_BITS 3
#define TALLY_OCTAVE_MAX 40
#define TALLY_BUCKET_COUNT ((TALLY_OCTAVE_MAX - TALLY_SUB_BITS + 1) << TALLY_SUB_BITS)
#define TALLY_VERSION_MAX 4
#define TALLY_TEXT_BYTES 512

struct tally {
    uint64_t calls;      /* that ended */
    uint64_t failed;     /* ended with another status than they had to */
    uint64_t wrong;      /* the reply is not what dpkg says */
    uint64_t translated; /* served by another version than the client's own */
    uint64_t retried;    /* took more than one attempt */
    uint64_t visits;     /* calls of Visit that ended as OK */
    /* Calls of Visit, which nobody may repeat, that ended as UNAVAILABLE, by `executed`; counted
     * where instances are killed on purpose, and then not as failed. */
    uint64_t unavailable_no, unavailable_unknown;
    uint64_t unavailable_ns_max; /* the longest that one of them took */
    uint64_t ill; /* ended as INTERNAL by a service that is made ill on purpose, and not as failed */
    struct {
        char version[32];
        uint64_t calls;
    } served[TALLY_VERSION_MAX];
    uint64_t latency[TALLY_BUCKET_COUNT]; /* of calls that were made one at a time */
    char failure[TALLY_TEXT_BYTES];    /* the first failed call; "": none */
    char difference[TALLY_TEXT_BYTES]; /* the first wrong reply; "": none */
};

void tally_latency(struct tally *tally, uint64_t ns);
void tally_served(struct tally *tally, const char *version);
uint64_t tally_served_by(const struct tally *tally, const char *version);

/* @total += @tally; texts: the first one stays. */
void tally_add(struct tally *total, const struct tally *tally);
/* @ret = @now - @before: what happened since; all numbers only grow. Texts and maxima: @now's. */
void tally_since(const struct tally *now, const struct tally *before, struct tally *ret);

/* The latency that @quantile (0..1) of the calls did not exceed, in ns; 0 of no calls. */
uint64_t tally_quantile_ns(const struct tally *tally, double quantile);

/* A new object; NULL without memory. */
json_t *tally_to_json(const struct tally *tally);
/* Return: 0, or -1 if it is no tally; what it names beyond the limits is left out. */
int tally_from_json(const json_t *json, struct tally *ret_tally);

#endif
