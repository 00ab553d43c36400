/*
 * Inside the translate room: a plan bound to the structs that protoc-gen-c generated for its
 * reader.
 *
 * A bound table is what unpacking runs on: for each field that may come, where in the struct it
 * goes and how; and for most of them a short way, found by the tag (unpack_quick.c). There are
 * three sorts, all of the same form:
 *
 *  - translated: of a program's table that translates;
 *  - verbatim: of a program's table that only checks;
 *  - plain: of a type alone, for bytes that are in the reader's version already.
 */
#ifndef PARLEY_TRANSLATE_BIND_H
#define PARLEY_TRANSLATE_BIND_H

#include "translate/fast.h"

enum bound_code {
    CODE_SLOW,      /* translated: to wire bytes first. Others: never */
    CODE_CHECKED,   /* verbatim: checked by the program, then stored by the plain table */
    CODE_SLOT_TEXT, /* translated: ACTION_SLOT of a text */
    CODE_TAKEN,     /* translated: a message whose fields go to slots, and nothing else of it */
    CODE_CARRY,     /* translated: ACTION_CARRY */
    CODE_CARRIER,   /* translated: ACTION_OPEN */
    CODE_DIRECT,    /* from here on it goes straight into the struct */
    CODE_STRING = CODE_DIRECT,
    CODE_NOTED,   /* a string, noted in a slot as well */
    CODE_STRINGS, /* repeated */
    CODE_INT32,   /* from here to DOUBLE: singular, no oneof */
    CODE_SINT32,
    CODE_INT64,
    CODE_SINT64,
    CODE_BOOL,
    CODE_FIXED32,
    CODE_FIXED64,
    CODE_CONVERT, /* ACTION_SCALAR, singular, no oneof */
    CODE_MESSAGE, /* singular, no oneof */
    CODE_MESSAGES,
    CODE_VALUE, /* whatever else: oneofs, bytes, repeated scalars, packed or not */
};

struct bound_op {
    uint8_t code;
    uint8_t kind;     /* of the struct's field */
    uint8_t wire;     /* of the source's, unpacked */
    uint8_t required; /* PROGRAM_REQUIRED_NONE, or a bit */
    uint8_t size;     /* of the struct's field, or of one element */
    bool counted;     /* repeated in the source: counts as an element, not as a field */
    bool repeated;    /* in the struct */
    bool oneof;
    uint32_t number; /* in the source */
    uint32_t target; /* in the struct: what a oneof's case says */
    uint32_t offset;
    uint32_t quantifier; /* offset of has_, n_ or the case; 0: none */
    uint16_t slot;       /* CODE_NOTED, CODE_CONVERT, CODE_SLOT_TEXT */
    uint8_t piece;       /* a singular message that is translated: which one, from 1; 0: none */
    const struct program_op *op;     /* NULL in plain tables */
    const struct bound_table *table; /* KIND_MESSAGE */
};

/* ---- The short way: records of 32 bytes, found by a field's number ---- */

#define QUICK_NUMBER_COUNT 16 /* numbers whose tags are one byte */
#define QUICK_WIDE_MAX 256    /* numbers below have tags of two bytes at most, and may have a way */

enum quick_way {
    QUICK_NONE, /* the long way */
    QUICK_STRING,
    QUICK_NOTED,   /* CODE_NOTED */
    QUICK_TEXT,    /* CODE_SLOT_TEXT */
    QUICK_STRINGS, /* CODE_STRINGS */
    QUICK_BYTES,
    QUICK_INT32, /* CODE_INT32 to CODE_FIXED64 */
    QUICK_SINT32,
    QUICK_INT64,
    QUICK_SINT64,
    QUICK_BOOL,
    QUICK_FIXED32,
    QUICK_FIXED64,
    QUICK_MULTIPLY32, /* CODE_CONVERT, into 4 bytes, or 8; also by 1 */
    QUICK_MULTIPLY64,
    QUICK_DIVIDE32,
    QUICK_DIVIDE64,
    QUICK_MAP,
    QUICK_MESSAGE,
    QUICK_MESSAGES,
    QUICK_TAKEN,
    QUICK_CARRIED, /* CODE_CARRY of a text */
    QUICK_COUNT,
};

/* A map of small numbers. What it does not know goes the long way. */
#define QUICK_MAP_COUNT 32
struct quick_map {
    uint32_t known, lost; /* bits, by number */
    int32_t targets[QUICK_MAP_COUNT];
};

struct quick {
    uint8_t tag; /* its first byte */
    uint8_t way;
    uint16_t offset;
    uint16_t quantifier; /* of has_; `offset` if there is none: written before the value is */
    uint16_t slot;       /* PROGRAM_SLOT_NONE: none */
    union {
        struct {
            const struct bound_op *op;
            const struct bound_table *table;
            uint64_t piece; /* its bit; 0: pieces of it need no care */
        } message;
        struct fast_number number; /* CODE_CONVERT of a varint */
        const struct quick_map *map;
    } u;
};
static_assert(sizeof(struct quick) == 32, "two in a cache line");

/* ---- What is made at a message's end ---- */

enum bound_make {
    MAKE_SLOWLY, /* through wire bytes */
    MAKE_LOST,
    MAKE_DROPPED,
    MAKE_TEXT,
    MAKE_JOIN,
    MAKE_MOVED_TEXT,
    MAKE_MOVED_NUMBER,
    MAKE_SPLIT,
    MAKE_GATHERED,
};

#define TEXT_BEHIND_BYTES 32 /* behind the binding's copy of the program's text */

/* An emit that needs no wire bytes. */
struct bound_emit {
    uint8_t make;
    uint16_t slot;
    const struct program_emit *emit;
    const struct bound_op *field;                   /* of the plain table, that it writes */
    const struct bound_op *parts[PROGRAM_PART_MAX]; /* SPLIT, GATHERED: the texts in it */
};

struct bound_table {
    const struct quick *wide; /* by number, from QUICK_NUMBER_COUNT on */
    uint32_t wide_count;
    bool waits;                        /* what has been read is looked at again at its end */
    const struct program_table *table; /* NULL: plain */
    const struct bound_table *plain;   /* of the same type */
    const ProtobufCMessageDescriptor *type;
    const struct bound_op *ops;     /* ascending by number */
    const struct bound_emit *emits; /* of the program's table */
    uint32_t op_count;
    uint32_t required_count;
    uint32_t owner; /* of what it carries, if its ops say nothing else */
    bool translated;
    bool staged;            /* by several steps: not field by field */
    bool restores;          /* what was guarded, before its emits, which may all be direct */
    bool hides_pieces;      /* messages in it, at any depth, are looked into by the runner alone */
    const uint8_t *image;   /* an empty message */
    uint32_t image_bytes;   /* type->sizeof_message, rounded up to 32 */
    uint32_t message_bytes; /* rounded up to 8 */
    uint32_t direct_end;    /* shorter sources cross directly (unpack_cross.c); 0: none */
    uint32_t long_end;      /* and into a long block (wire/bump.h) */
    uint32_t short_end;     /* into a short one */
    uint32_t
        code_at; /* machine code (unpack_code.h); 0: none, and so it is read when there is some */
    struct quick quick[QUICK_NUMBER_COUNT];
};

struct plan_binding {
    atomic_uint references;
    struct plan *plan;
    uint32_t entry_count, table_count;
    const struct bound_table **entries; /* NULL: no such method here */
    struct bound_table *tables;
    struct bound_op *ops;
    struct bound_emit *emits;
    struct quick *wide;
    struct quick_map *maps;
    uint8_t *text; /* the program's, with readable bytes behind it */
    uint8_t *images;
    atomic_int code_uses; /* how often it was unpacked without code; then: it was asked for */
    _Atomic(struct unpack_code *) code; /* NULL: none, or not yet */
};

/* The op of a field of that number, or NULL. */
static inline const struct bound_op *bound_find(const struct bound_table *table, uint32_t number)
{
    uint32_t low = 0, high = table->op_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->ops[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < table->op_count && table->ops[low].number == number ? &table->ops[low] : NULL;
}

/* Once all tables of the binding are made, and refer to each other. Return: 0, -ENOMEM, -E2BIG. */
int bind_emits(struct plan_binding *binding, uint32_t table_count); /* bind_emit.c */
void bind_direct(struct bound_table *table, bool in_stages); /* unpack_cross.c */
int bind_quick(struct plan_binding *binding, uint32_t table_count); /* bind_quick.c */

#endif
