/* Between the files of the load benchmark: its subjects, and what was measured of them. */
#ifndef PARLEY_BENCH_LOAD_H
#define PARLEY_BENCH_LOAD_H

#include "peer.h"

#define LOAD_RATE_COUNT_MAX 16
#define LOAD_BYTES 64

/* Ascending, calls a second; by --rates. */
struct load_rates {
    uint32_t count;
    uint32_t rates[LOAD_RATE_COUNT_MAX];
};

/* "1000,50000": Return: 0, or -1 with a sentence in @error, *ret_rates untouched. */
int load_parse_rates(const char *text, struct load_rates *ret_rates, struct error_text *error);
/* A decimal number of 64 bits. The same. */
int load_parse_seed(const char *text, uint64_t *ret_seed, struct error_text *error);

extern struct load_rates load_rates;
extern uint64_t load_seed;

/* Columns: the floor is the first, with no calls in it. */
size_t load_column_count(void);
const struct peer *load_peer(size_t column); /* NULL: the floor */
const char *load_name(size_t column);        /* in tables, up to 12 columns */
/* "gRPC: libgrpc++-dev is not installed", or NULL if it is there. */
const char *load_skipped(size_t column);
/* The subject's index. */
size_t load_subject(size_t column, size_t rate);

enum load_state {
    LOAD_NOT_TRIED, /* a lower rate was too much, or it was not asked for */
    LOAD_SATURATED, /* in at least half of the rounds */
    LOAD_KEPT_UP,
};
enum load_state load_state(const struct bench_result *results, size_t column, size_t rate);

/* load_print.c: for struct bench. */
void load_print(const struct bench_result *results);
void load_write_rows(const struct bench_result *results, FILE *file);
int load_write_report(const struct bench_result *results, const char *folder);

#endif
