/*
 * Inside the translate room: a plan bound to the structs that protoc-gen-c generated for its
 * reader.
 *
 * A bound table is what the unpacking loop (unpack.c) runs on: for each field that may come, where
 * in the struct it goes and how. There are three sorts, all of the same form:
 *
 *  - translated: of a program's table that translates;
 *  - verbatim: of a program's table that only checks;
 *  - plain: of a type alone, for bytes that are in the reader's version already.
 */
#ifndef PARLEY_TRANSLATE_BIND_H
#define PARLEY_TRANSLATE_BIND_H

#include "translate/program.h"

#define BOUND_TAG_COUNT 128 /* tags of one byte: numbers 1..15 */

enum bound_code {
    CODE_SLOW,      /* translated: to wire bytes first. Others: never */
    CODE_CHECKED,   /* verbatim: checked by the program, then stored by the plain table */
    CODE_SLOT_TEXT, /* translated: ACTION_SLOT of a text */
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
    uint32_t quantifier;             /* offset of has_, n_ or the case; 0: none */
    uint16_t slot;                   /* CODE_NOTED, CODE_CONVERT, CODE_SLOT_TEXT */
    const struct program_op *op;     /* NULL in plain tables */
    const struct bound_table *table; /* KIND_MESSAGE */
};

/* An emit that makes a message of texts, straight in the struct: EMIT_SPLIT, EMIT_GATHER. */
struct bound_emit {
    const struct bound_op *field; /* NULL: through wire bytes */
    const struct bound_op
        *parts[PROGRAM_PART_MAX]; /* its texts: of a template's parts; of leaves */
};

struct bound_table {
    const struct program_table *table; /* NULL: plain */
    const struct bound_table *plain;   /* of the same type */
    const ProtobufCMessageDescriptor *type;
    const struct bound_op *ops;     /* ascending by number */
    const struct bound_emit *emits; /* of the program's table; NULL: none is direct */
    uint32_t op_count;
    uint32_t required_count;
    bool translated;
    bool staged;          /* by several steps: not field by field */
    bool rereads;         /* what has been read is looked at again at the message's end */
    const uint8_t *image; /* an empty message */
    size_t image_bytes;   /* type->sizeof_message, rounded up to 16 */
    uint16_t by_tag[BOUND_TAG_COUNT]; /* op + 1; 0: none for this number and wire type */
};

struct plan_binding {
    atomic_uint references;
    struct plan *plan;
    uint32_t entry_count;
    const struct bound_table **entries; /* NULL: no such method here */
    struct bound_table *tables;
    struct bound_op *ops;
    struct bound_emit *emits;
    uint8_t *images;
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

#endif
