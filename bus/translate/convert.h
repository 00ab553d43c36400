/*
 * Inside the plan runner: single values that change their type, by rules (scalar.c), as text
 * (text.c), as times (times.c); and the fields that hold them (convert.c).
 */
#ifndef PARLEY_TRANSLATE_CONVERT_H
#define PARLEY_TRANSLATE_CONVERT_H

#include "translate/run.h"

#define TEXT_NUMBER_BYTES_MAX 128 /* of a number as text; longer ones do not parse */
#define VALUE_SCRATCH_BYTES 64    /* the longest text that a number or a time gives */

enum value_form {
    VALUE_NUMBER, /* integers, bool, enums */
    VALUE_REAL,
    VALUE_TEXT, /* string, bytes */
    VALUE_TIME, /* Timestamp, Duration */
};

/* How the text of a value looks in comparison with what is written of it. */
enum coding {
    CODING_NONE,
    CODING_TO_HEX,
    CODING_FROM_HEX,
    CODING_TO_BASE64,
    CODING_FROM_BASE64,
};

/* Not to be copied by assignment: `data` may point into `scratch`. */
struct value {
    enum value_form form;
    int128 number; /* NUMBER; TIME: seconds */
    double real;
    uint64_t bits; /* REAL, of its kind: tells -0 and NaNs apart */
    int32_t nanos;
    bool extra;   /* had more than the value holds */
    bool inexact; /* going back would give something else */
    const uint8_t *data;
    size_t bytes;
    enum coding coding;
    uint8_t scratch[VALUE_SCRATCH_BYTES];
};

enum domain {
    DOMAIN_GOOD,
    DOMAIN_RANGE,   /* past the ends of the target's type; the value is the nearest */
    DOMAIN_NOTHING, /* means nothing there */
    DOMAIN_ABSENT,  /* a closed enum of the target does not have it: left out */
    DOMAIN_ALIEN,   /* a closed enum of the source does not have it: an unknown field */
};

/* ---- scalar.c ---- */

/* Everything but `scratch`: a number, 0. */
void scalar_clear(struct value *value);
/* What the rule makes of @in; @back: of a value of the target, for the source. */
enum domain scalar_convert(const struct plan *plan, const struct program_convert *convert,
                           bool back, const struct value *in, struct value *out);
/* Whether going back gives the same. */
bool scalar_comes_back(const struct plan *plan, const struct program_convert *convert,
                       const struct value *in, const struct value *out);
/* The rule's `otherwise`, or its constant. */
void scalar_otherwise(const struct plan *plan, const struct program_convert *convert,
                      struct value *out);
/* The default of the target's type. */
void scalar_default(const struct program_convert *convert, struct value *out);
bool scalar_fits(enum kind kind, int128 number);
bool scalar_is_default(const struct value *value);
bool scalar_equals(const struct value *a, const struct value *b);
uint64_t scalar_guard(const struct value *value);

/* ---- text.c ---- */

/* Decimal digits, with a sign, and any number of zeros before. What is too large for any integer
 * type stays too large. */
bool text_parse_number(const uint8_t *data, size_t bytes, int128 *ret_number);
size_t text_format_number(int128 number, uint8_t *out);
/* @single: of a float. */
enum domain text_parse_real(const uint8_t *data, size_t bytes, bool single, double *ret_real);
size_t text_format_real(double real, bool single, uint8_t *out);
/* Whether @data is hexadecimal, or base64; *ret_canonical: just as we write it. */
bool text_is_hex(const uint8_t *data, size_t bytes, bool *ret_canonical);
bool text_is_base64(const uint8_t *data, size_t bytes, bool *ret_canonical);
#define TEXT_CHUNK_BYTES 64
/* The next piece of a value that is coded; *offset begins at 0. Returns its length, 0: done. */
size_t text_chunk(const struct value *value, size_t *offset, uint8_t out[TEXT_CHUNK_BYTES]);
/* Bytes that all pieces have together, or a few more. */
size_t text_coded_bytes(const struct value *value);

/* ---- times.c ---- */

enum domain times_parse(enum form form, const uint8_t *data, size_t bytes, struct value *out);
enum domain times_format(enum form form, const struct value *time, struct value *out);
enum domain times_to_number(enum form form, uint8_t unit, const struct value *time, int128 *ret);
enum domain times_from_number(enum form form, uint8_t unit, int128 number, struct value *out);

/* ---- convert.c ---- */

/* ACTION_LATER: the record from @at to @after was checked. */
int convert_later(struct frame *frame, const struct program_op *op, const uint8_t *at,
                  const uint8_t *after);
/* OP_YIELDS: whether the oneof holds a member that waits, and not this one. */
int convert_yields(struct run *run, const struct frame *frame, const struct program_op *op,
                   bool *ret_yields);
/* ACTION_TOLD, not checked yet. */
int convert_told(struct run *run, struct frame *frame, const struct program_op *op,
                 enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
                 const uint8_t **ret_pos);
/* Whether what was guarded by @guard may be restored, by what the slot's field is now. */
int convert_holds(struct run *run, const struct frame *frame, const struct program_op *guarded,
                  uint64_t guard, bool *ret_holds);
int convert_emit(struct run *run, struct frame *frame, const struct program_emit *emit);

#endif
