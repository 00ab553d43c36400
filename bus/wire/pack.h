/*
 * Inside the wire room: packing. Tables of how structs of protobuf-c are packed (pack_table.c), the
 * loop that runs on them (pack_fields.c), and the window that it writes into (pack.c).
 */
#ifndef PARLEY_WIRE_PACK_H
#define PARLEY_WIRE_PACK_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>

#include "wire/wire.h"

/* ---- Tables: made once of descriptors, never changed ---- */

/* What to do with a field. The first ones are a value as well as its rule in proto3 (zero, empty
 * and NULL are not written); those that say when it is there name the value in `kind`. */
enum pack_code {
    PACK_UINT32,
    PACK_INT32, /* enums, too: negative ones take ten bytes */
    PACK_SINT32,
    PACK_INT64,
    PACK_SINT64,
    PACK_BOOL,
    PACK_FIXED32,
    PACK_FIXED64,
    PACK_FLOAT, /* -0.0 is zero */
    PACK_DOUBLE,
    PACK_TEXT,
    PACK_BYTES,
    PACK_MESSAGE,
    PACK_ALWAYS,   /* required */
    PACK_HAS,      /* if the quantifier is not 0 */
    PACK_CASE,     /* of a oneof: if the quantifier is the field's number */
    PACK_SET,      /* a string: neither NULL nor the default */
    PACK_CASE_SET, /* a string in a oneof: both */
    PACK_MESSAGES, /* repeated; the quantifier is the count */
    PACK_REPEATED, /* other repeated ones */
    PACK_PACKED,
    PACK_END, /* of the fields; unknown ones follow */
};

struct pack_op {
    uint8_t tag[5]; /* as it is on the wire */
    uint8_t tag_bytes;
    uint8_t code;
    uint8_t kind; /* of the value: up to PACK_MESSAGE */
    uint32_t offset;
    uint32_t quantifier;
    uint32_t number;
    uint32_t element_bytes; /* in an array of the struct */
    union {
        const struct pack_table *table; /* PACK_MESSAGE */
        const void *absent;             /* PACK_TEXT: the default, by its address */
    };
};

static_assert(sizeof(struct pack_op) == 32, "two in a cache line");

struct pack_table {
    const ProtobufCMessageDescriptor *type;
    const struct pack_op *ops; /* by number, as the descriptor has them; then PACK_END */
};

struct wire_packer {
    size_t entry_count;
    const struct pack_table **entries;
    struct pack_table *tables;
    struct pack_op *ops;
};

/* ---- The window ---- */

#define PACK_SLACK_BYTES WIRE_PACK_AT_SLACK /* that one step may write: a tag, a length, a text at once, 16 */
#define PACK_TEXT_AT_ONCE 64
#define PACK_PAGE_BYTES 4096

/* Whether texts can be read sixteen bytes at a time, some of which are not theirs. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PACK_BY_SIXTEEN 0
#endif
#endif
#if !defined(PACK_BY_SIXTEEN)
#if defined(__SSE2__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PACK_BY_SIXTEEN 1
#else
#define PACK_BY_SIXTEEN 0
#endif
#endif

enum pack_mode { PACK_SMALL, PACK_MEASURE, PACK_WRITE };

struct wire_packing {
    struct wire_packed packed;      /* first: what wire_packed() reads */
    const struct pack_table *table; /* and `message`: what was packed last */
    const ProtobufCMessage *message;
    wire_refers refers; /* NULL: all bytes are copied */
    void *userdata;     /* of it */
    size_t ref_count;
    uint64_t referred_bytes;

    /* Of a small message, but while a large one is measured or written. */
    enum pack_mode mode;
    int error;              /* why a step returned NULL */
    uint8_t *begin;         /* of the window, or of where a message goes: wire_pack_at() */
    const uint8_t *limit;   /* a step may begin up to here */
    const uint8_t *end;     /* and may write up to here */
    uint64_t emptied;       /* of it: written or counted, and no more in the window */
    uint8_t *out, *out_end; /* PACK_WRITE */
    size_t text_reach;      /* sixteen bytes that begin below this, in their page, can be read */

    uint32_t *sizes; /* of nested messages, in the order in which they begin */
    size_t size_count, size_max;
    size_t size_next; /* PACK_WRITE */

    uint32_t places[WIRE_REFS_MAX]; /* of stand-ins */

    /* It lies to lines as blocks of an arena do: copy_over() is fast from here to there. */
    alignas(64) uint8_t window[WIRE_PACK_WINDOW_BYTES + PACK_SLACK_BYTES];
};

/* A message that contains the one that is being packed. */
struct pack_frame {
    const struct pack_op *op;
    const uint8_t *message;
    size_t left; /* elements that follow the nested one, from @next on */
    ProtobufCMessage *const *next;
    uint8_t *start;    /* of the nested one's length */
    uint64_t at;       /* PACK_MEASURE: where it begins; PACK_WRITE: where it will end */
    size_t size_index; /* PACK_MEASURE */
};

/* A step goes on where the step before it returned; NULL: it failed, packing->error says why. */
uint8_t *pack_fail(struct wire_packing *packing, int error);
uint8_t *pack_empty(struct wire_packing *packing, const uint8_t *pos);
/* Any number of bytes. */
uint8_t *pack_bulk(struct wire_packing *packing, uint8_t *pos, const void *data, size_t bytes);
/* Bytes that are not short: whether they are referred to. Then what stands for them is at @pos. */
bool pack_refers(struct wire_packing *packing, uint8_t *pos, const ProtobufCBinaryData *bytes);
/* In a large message a nested one begins, behind its tag; ends. */
uint8_t *pack_begin(struct wire_packing *packing, struct pack_frame *frame, uint8_t *pos);
uint8_t *pack_end(struct wire_packing *packing, struct pack_frame *frame, uint8_t *pos);
/* In a small message: what is between @start + @width and @pos gets its length, at @start, and
 * moves if that takes more than @width bytes. */
uint8_t *pack_length(struct wire_packing *packing, uint8_t *start, size_t width, uint8_t *pos);

/* Asks for PACK_SLACK_BYTES. */
static inline uint8_t *pack_room(struct wire_packing *packing, uint8_t *pos)
{
    return __builtin_expect(pos > packing->limit, 0) ? pack_empty(packing, pos) : pos;
}

/* As wire_write_varint(); negative numbers take ten bytes, and are written at once. */
uint8_t *pack_negative(uint8_t *pos, uint64_t value);
static inline uint8_t *pack_varint(uint8_t *pos, uint64_t value)
{
    if (__builtin_expect((int64_t)value < 0, 0))
        return pack_negative(pos, value);
    while (value >= 0x80) {
        *pos++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *pos++ = (uint8_t)value;
    return pos;
}

/* ---- The loop ---- */

/* Whether a struct is of the table's type. */
bool pack_is_of(const ProtobufCMessage *message, const struct pack_table *table);
/* A message, into the window. Return: where it ends. */
uint8_t *pack_fields(struct wire_packing *packing, const struct pack_table *table,
                     const ProtobufCMessage *message);

#endif
