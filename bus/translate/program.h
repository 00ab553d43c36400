/*
 * Inside the translate room: the form of a program, and the builder of one.
 *
 * A program is one flat piece of memory: a header, then arrays of fixed-size records that refer to
 * each other by index. No pointers, hence position-independent; native byte order, for it never
 * leaves the host; the magic number tells a foreign one.
 *
 *   header
 *   entries[]    for each method of the client: the service's index of it, the table of its message
 *   tables[]     one for each pair of message types that meet
 *   ops[]        what to do with one field of the source; a table has a run of them, by number
 *   dense[]      op + 1 of a table by number, for small numbers: no search in the common case
 *   emits[]      what a table still has to do when its message ends, in order
 *   converts[]   how a scalar changes
 *   maps[]       of converts, and pairs[], their values by ascending source number
 *   names[]      of maps between text and numbers, by ascending text
 *   templates[]  text made of, or taken apart into, fields, and parts[], their pieces
 *   nodes[]      messages that are made anew, for the fields that move into them
 *   owners[]     tables for carriers of versions that a chain has in between
 *   text[]       literals of templates, names, values
 *
 * A program for a chain of versions (fuse.c) has the same records. What could not be fused is done
 * in stages: a table has a `next`, which translates the message that it has written once more; an
 * op or an emit has a `pipe`, which does that to the records of one field. Each lowers the level.
 */
#ifndef PARLEY_TRANSLATE_PROGRAM_H
#define PARLEY_TRANSLATE_PROGRAM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "translate/plan.h"

#define PROGRAM_MAGIC UINT32_C(0x314e4c50) /* "PLN1" */
#define PROGRAM_VERSION 2
#define PROGRAM_NONE UINT32_MAX
#define PROGRAM_SLOT_NONE UINT16_MAX
#define PROGRAM_REQUIRED_NONE UINT8_MAX

#define PROGRAM_DENSE_MAX 256   /* numbers below it are found without a search */
#define PROGRAM_SLOT_MAX 64     /* of one table */
#define PROGRAM_REQUIRED_MAX 64 /* required fields of one message */
#define PROGRAM_PART_MAX 8      /* of one template */
#define PROGRAM_LITERAL_BYTES_MAX 64
#define PROGRAM_NAME_BYTES_MAX 255            /* of an enum's values, and of texts used instead */
#define PROGRAM_PATH_MAX 8                    /* messages that a moved field goes down into */
#define PROGRAM_NODE_MAX 64                   /* below one message */
#define PROGRAM_LEVEL_MAX (PLAN_VERSION_MAX - 2) /* stages after the first */

/* How a value is encoded: protobuf's scalar types, by what they mean. */
enum kind {
    KIND_INT32,
    KIND_INT64,
    KIND_UINT32,
    KIND_UINT64,
    KIND_SINT32,
    KIND_SINT64,
    KIND_BOOL,
    KIND_ENUM,
    KIND_FIXED32,
    KIND_SFIXED32,
    KIND_FLOAT,
    KIND_FIXED64,
    KIND_SFIXED64,
    KIND_DOUBLE,
    KIND_STRING,
    KIND_BYTES,
    KIND_MESSAGE,
    KIND_COUNT,
};

enum action {
    ACTION_VERBATIM, /* checked; its bytes are the target's: copied with their neighbours */
    ACTION_RENUMBER, /* checked; the value's bytes behind another tag */
    ACTION_MESSAGE,  /* translated by op.table */
    ACTION_SCALAR,   /* decoded, converted, encoded */
    ACTION_CARRY,    /* checked; the target has no such field: to the carrier */
    ACTION_ALIEN,    /* unknown to the source, but its number is the target's: to the carrier */
    ACTION_OPEN,     /* the carrier itself */
    ACTION_SLOT,     /* kept for an emit at the end of the message */
    ACTION_RESIDUE,  /* some of its fields leave it (slots), the rest goes to the carrier */
    ACTION_JOIN,     /* a message that becomes text: fields to slots */
    ACTION_MARK,     /* checked; what a JOIN cannot put in its text: noted in the slot */
    ACTION_GUARDED,  /* in a carrier: restored if the slot's guard holds */
    ACTION_SKIP,     /* checked, and left out; in a carrier: not restored */
    ACTION_LATER,    /* checked; read again for an emit at the end of the message */
    ACTION_TOLD,     /* in a carrier: a value instead of what EMIT_CONSTANT would write, or that
                        there was none */
    ACTION_DEFER,    /* checked; where its records lie is kept in the slot, for an emit */
    ACTION_HELD,     /* in a carrier: for the emit of its slot */
    ACTION_AWAY,     /* checked; EMIT_MOVED finds it by its path */
    ACTION_COUNT,
};

#define OP_REPEATED UINT8_C(1)
#define OP_OWN_PRESENCE UINT8_C(2) /* the source tells absent from default, the target does not */
#define OP_GATHERED UINT8_C(4)     /* in a carrier: what EMIT_GATHER takes from there */
#define OP_YIELDS                                                                                  \
    UINT8_C(8)                /* of a oneof with a member that waits, and may come to nothing:     \
                                 left out if that one is the last */
#define OP_TELLS UINT8_C(16)  /* ACTION_GUARDED: the source tells absent from default */
#define OP_STRICT UINT8_C(32) /* has a slot, but nothing can be carried along for it */
#define OP_LATER UINT8_C(64)  /* ACTION_GUARDED: its slot is of an ACTION_LATER */
#define OP_PLAIN UINT8_C(128) /* in a carrier, of EMIT_WITHIN: singular, and without presence */

struct program_op {
    uint32_t number; /* in the source */
    uint32_t tag;    /* to write: number << 3 | wire type */
    uint8_t action;
    uint8_t kind;    /* in the source */
    uint8_t written; /* kind in the target */
    uint8_t wire;    /* of kind */
    uint8_t flags;
    uint8_t required; /* bit in the message's set of required fields */
    uint16_t slot;
    uint32_t table;    /* KIND_MESSAGE: the nested pair */
    uint32_t convert;  /* ACTION_SCALAR, LATER; PROGRAM_NONE: width and sign only */
    uint32_t template; /* ACTION_GUARDED: its guard is this text; PROGRAM_NONE: the slot */
    uint32_t owner;    /* of what it carries; 0: the table's source_id */
    uint32_t pipe;     /* table + 1 for what it has written; 0: none */
    uint16_t oneof;    /* 1 and up: of several members in the source; 0: none */
    uint16_t later;    /* OP_YIELDS: the slot of the member that waits */
};

#define TABLE_VERBATIM UINT32_C(1) /* every op is: checking is enough */
#define TABLE_SHARED UINT32_C(2)   /* its ops use the slots of the table that calls it */
#define TABLE_MARK UINT32_C(4)     /* unknown fields are marked (JOIN), not copied */
#define TABLE_ORDERED                                                                              \
    UINT32_C(8) /* guarded carriers are restored by its emits, version by version */

struct program_table {
    uint32_t flags;
    uint32_t op_first, op_count;       /* ascending by number, each number once */
    uint32_t dense_first, dense_count; /* dense[dense_first + number] */
    uint32_t emit_first, emit_count;
    uint32_t slot_count;
    uint32_t required_count;
    uint32_t source_id, target_id;     /* program_type_id() of the two types */
    uint32_t restore;                  /* table for the content of a carrier of target_id */
    uint32_t owner_first, owner_count; /* the same for carriers of versions in between */
    uint32_t next;                     /* table + 1 for the message that it has written; 0: none */
    /* How often a byte of the message is gone through again, at most, after the first time: 0 where
     * no `next` and no pipe is reached. Of `next` it is lower by one, and of what is reached on the
     * way by as much as there is behind it: so it ends. */
    uint32_t level;
};

struct program_owner {
    uint32_t id;    /* program_type_id() */
    uint32_t table; /* as program_table.restore */
};

enum emit {
    EMIT_MOVE,      /* slot's value */
    EMIT_GATHER,    /* a message that fields have moved into: see struct program_node */
    EMIT_SPLIT,     /* slot's text taken apart into a message */
    EMIT_TEXT,      /* text made of slots */
    EMIT_JOIN,      /* the same, of a message's fields; carried along if that is not exact */
    EMIT_LOST,      /* the record of the slot, if converting it lost something: to the carrier */
    EMIT_DROPPED,   /* the record of the slot, if the template does not give it: to the carrier */
    EMIT_PICK,      /* one element of a repeated field; the others to the carrier */
    EMIT_UNPICK,    /* a repeated field of one value, and of what a carrier has of it */
    EMIT_WRAP,      /* a message with one value, and what a carrier has of it */
    EMIT_UNWRAP,    /* the one value of a message; the rest to the carrier */
    EMIT_WRAP_EACH, /* the same of repeated fields, element by element */
    EMIT_UNWRAP_EACH,
    EMIT_ENTRIES,  /* a map of repeated messages, or the other way round */
    EMIT_MOVED,    /* what is at a path from the root */
    EMIT_WITHIN,   /* a message that others move into, or out of */
    EMIT_ONEOF,    /* members of oneofs that differ; what another one excludes, to the carrier */
    EMIT_RESTORE,  /* what guarded carriers of its owner have: in a TABLE_ORDERED */
    EMIT_CONVERT,  /* the values of ACTION_LATER, converted; what does not come back is carried */
    EMIT_CONSTANT, /* a value for a field that the source's version lacks */
    EMIT_UNUSUAL,  /* ACTION_LATER's record, unless it is that value: to the carrier */
    EMIT_COUNT,
};

#define EMIT_PRESENCE UINT8_C(1)        /* the target tells absent from default */
#define EMIT_SOURCE_PRESENCE UINT8_C(2) /* the source does */
#define EMIT_INNER_PRESENCE UINT8_C(4)  /* WRAP, UNWRAP: the field in the message does */
#define EMIT_LAST UINT8_C(8)            /* PICK, UNPICK: the last element, not the first */
#define EMIT_ONLY UINT8_C(16)           /* PICK: another is an error; ENTRIES: of one key */
#define EMIT_FROM_MAP UINT8_C(64)       /* ENTRIES: the source is the map */
#define EMIT_OF_ROOT UINT8_C(8)         /* MOVED, WITHIN, GATHER: the root is further out */
#define EMIT_DEEP UINT8_C(128)          /* GATHER: has EMIT_MOVED in it */
#define EMIT_WHOLE UINT8_C(8)           /* ENTRIES: the value is the message without its key */
#define EMIT_KEY_PRESENCE UINT8_C(32)   /* ENTRIES: the key's field does; INNER: the value's */
#define EMIT_COUNTS UINT8_C(64) /* CONVERT: an absent value is 0, which becomes something else */
#define EMIT_LOSSY UINT8_C(128) /* CONVERT: nothing is carried */

struct program_emit {
    uint8_t kind;
    uint8_t flags;
    uint8_t written; /* kind in the target */
    uint8_t required;
    uint16_t slot;
    uint8_t level;  /* MOVED, WITHIN, GATHER: messages between the root and this one */
    uint8_t near;   /* MOVED: how many of them its value comes from as well */
    uint32_t node;  /* GATHER; ONEOF: the first member; MOVED: step */
    uint32_t table; /* PICK and what follows it: SHARED, its ops say how values are written */
    uint32_t tag;   /* to write; EMIT_DROPPED: of the source's field */
    uint32_t template;
    uint32_t number; /* of the source's field; UNPICK, WRAP: of the target's */
    uint32_t owner;  /* of what it carries; 0: the table's source_id */
    uint32_t opens;  /* whose carriers it looks into; 0: the table's target_id */
    uint32_t carry;  /* the number under which a source's record is carried; 0: its own */
    uint32_t pipe;   /* table + 1 for what it has written; 0: none */
};

/* A message that is put together from moved fields, messages of such, and what a carrier brings
 * back of it. In one piece: protobuf-c loses the scalars of all pieces but the last. */
struct program_node {
    uint32_t tag;
    uint32_t leaf_first, leaf_count;   /* emits, all EMIT_MOVE */
    uint32_t child_first, child_count; /* nodes */
    uint32_t table;                    /* for what a carrier has of it: SHARED, checks and copies */
};

enum convert {
    CONVERT_NONE,
    CONVERT_MULTIPLY,
    CONVERT_DIVIDE,
    CONVERT_MAP,
    CONVERT_VALUE, /* by kinds; for EMIT_CONVERT, EMIT_CONSTANT, EMIT_UNUSUAL */
    CONVERT_ENTRY, /* the value in a map's entry; for EMIT_CONVERT */
    CONVERT_COUNT,
};

/* What a value is, beyond its kind. */
enum form {
    FORM_PLAIN,
    FORM_TIMESTAMP, /* KIND_MESSAGE: google.protobuf's */
    FORM_DURATION,
    FORM_COUNT,
};

#define CONVERT_DOWN UINT8_C(1)      /* from the newer version to the older */
#define CONVERT_OTHERWISE UINT8_C(2) /* has a value for what has no meaning */

struct program_convert {
    uint32_t mode;
    uint32_t map; /* numbers (enum to enum, or those an enum has), or names */
    uint64_t factor;
    int64_t multiply, divide, offset; /* newer = older * multiply / divide + offset */
    int64_t otherwise;                /* an integer, the bits of a double, seconds */
    int32_t otherwise_nanos;
    uint32_t text_first, text_bytes; /* otherwise, for text */
    int32_t first; /* the default of the target's enum; CONVERT_ENTRY: of the source's */
    uint8_t flags;
    uint8_t kind, written; /* of source and target, not of their bits */
    uint8_t form, written_form;
    uint8_t unit;             /* enum TimeUnit, of an integer beside a form */
    uint8_t coding;           /* enum BytesText */
    uint8_t out_of_domain;    /* enum OutOfDomain */
    uint8_t key, key_written; /* CONVERT_ENTRY: kinds of the key */
    uint8_t pad[2];
    uint32_t value; /* CONVERT_ENTRY: the conversion of the value */
};

#define MAP_OTHERWISE UINT32_C(1) /* what has no pair becomes `otherwise` */
#define MAP_CLOSED UINT32_C(2)    /* what has no pair is no value of the source: an unknown field */
#define MAP_STRICT UINT32_C(4)    /* what has no pair has no meaning */
#define MAP_ABSENT UINT32_C(8)    /* what has no pair is left out: a closed target lacks it */
#define MAP_ONE_WAY UINT32_C(16)  /* what has no pair stays what it is, but does not come back */

struct program_map {
    uint32_t pair_first, pair_count;
    uint32_t name_first, name_count; /* names: pairs lead from a number to an index in them */
    uint32_t flags;
    int32_t otherwise;
};

struct program_name {
    uint32_t text_first, text_bytes;
    int32_t number;
};

#define PAIR_LOST UINT32_C(1)   /* going back does not give the source */
#define PAIR_ALIEN UINT32_C(2)  /* not declared by a closed source: as under MAP_CLOSED */
#define PAIR_ABSENT UINT32_C(4) /* nothing that a closed target has stands for it: left out */

struct program_pair {
    int32_t source, target;
    uint32_t flags;
};

struct program_template {
    uint32_t part_first, part_count;
    uint32_t otherwise; /* index of the part that takes the whole where it does not fit */
};

/* A literal, then a field; the last part may have the literal alone. */
struct program_part {
    uint32_t text_first, text_bytes;
    uint32_t tag; /* EMIT_SPLIT: of the field to write */
    uint16_t slot;
    uint16_t pad;
};

struct program_entry {
    uint32_t method, table;
};

/* The arrays, in the order in which they lie in memory, each at a multiple of 8. */
enum section {
    SECTION_ENTRY,
    SECTION_TABLE,
    SECTION_OP,
    SECTION_DENSE,
    SECTION_EMIT,
    SECTION_CONVERT,
    SECTION_MAP,
    SECTION_PAIR,
    SECTION_TEMPLATE,
    SECTION_PART,
    SECTION_NODE,
    SECTION_OWNER,
    SECTION_MEMBER,
    SECTION_NAME,
    SECTION_STEP,
    SECTION_TEXT,
    SECTION_COUNT,
};

#define PROGRAM_STAGED UINT8_C(1) /* has tables with stages, which need more room */

struct program_header {
    uint32_t magic;
    uint16_t version;
    uint8_t class;
    uint8_t flags;
    uint32_t bytes;                                          /* of all */
    uint32_t count[SECTION_COUNT + (SECTION_COUNT + 1) % 2]; /* so that it is a multiple of 8 */
};
static_assert(sizeof(struct program_header) % 8 == 0, "the sections lie behind it, aligned");

struct fast_table;
struct machine_piece;

struct plan {
    atomic_uint references;
    uint8_t *program;
    const struct program_header *header;
    const struct program_entry *entries;
    const struct program_table *tables;
    const struct program_op *ops;
    const uint16_t *dense;
    const struct program_emit *emits;
    const struct program_convert *converts;
    const struct program_map *maps;
    const struct program_pair *pairs;
    const struct program_template *templates;
    const struct program_part *parts;
    const struct program_node *nodes;
    const struct program_owner *owners;
    const struct program_member *members;
    const struct program_name *names;
    const struct program_step *steps;
    const uint8_t *text;
    struct fast_table *fast; /* fast.h: one for each table; not part of the program */
    /* machine.h: what has been made of it; grows while the plan lives, by any thread. */
    _Atomic(struct machine_piece *) pieces;
    atomic_uint piece_bytes;
};

#define PROGRAM_ONEOF_NONE UINT8_MAX
#define PROGRAM_MEMBER_MAX 64 /* of an EMIT_ONEOF */

/* Of EMIT_MOVED, `template` of them: the way from the root to the value. */
struct program_step {
    uint32_t number;
};

/* What EMIT_ONEOF knows of the field that the op of its place in the emit's table is for. Oneofs
 * are counted from 0, among those of the emit. */
struct program_member {
    uint8_t source_oneof, target_oneof; /* PROGRAM_ONEOF_NONE: alone */
    uint8_t flags;                      /* EMIT_PRESENCE, EMIT_SOURCE_PRESENCE */
    uint8_t pad;
};

/* ---- The carrier: one field number for what the other version lacks ---- */

#define CARRIER_NUMBER                                                                             \
    UINT32_C(536870896) /* 2^29 - 16; none of the sixteen last may be declared                     \
                         */
#define CARRIER_TAG (CARRIER_NUMBER << 3 | WIRE_BYTES)
#define CARRIER_TAG_BYTES 5
#define CARRIER_PLAIN_TAG 0x0d   /* 1: fixed32, the owner; records follow */
#define CARRIER_GUARDED_TAG 0x15 /* 2: fixed32, the owner; a guard follows, then records */
#define CARRIER_GUARD_TAG 0x19   /* 3: fixed64 */
#define CARRIER_OWNER_BYTES 5
#define CARRIER_GUARD_BYTES 9

/* By which a carrier says whose fields it holds: FNV-1a of the type's full name. */
uint32_t program_type_id(const char *name);

/* The element size of each section. */
extern const size_t program_element_bytes[SECTION_COUNT];

/* Wire type of a kind that is not packed. */
enum wire_type program_wire_type(enum kind kind);

/* The kind of a generated field (identity.c). */
enum kind program_kind(ProtobufCType type);

/* ---- Building (build.c) ---- */

struct builder {
    struct {
        uint8_t *data;
        size_t count, capacity;
    } sections[SECTION_COUNT];
    int error;        /* the first -ENOMEM or -E2BIG; then nothing more is added */
    size_t bytes_max; /* of a section, while it is being built; 0: PLAN_BYTES_MAX */
};

void builder_deinit(struct builder *builder);
/* Appends @count zeroed elements; returns the index of the first. Nothing past PLAN_BYTES_MAX. */
uint32_t builder_add(struct builder *builder, enum section section, size_t count);
/* Borrowed until the next builder_add() to that section. */
void *builder_at(struct builder *builder, enum section section, uint32_t index);
/* Gives table @index its ops (sorted here) and their dense index. */
void builder_set_ops(struct builder *builder, uint32_t table, struct program_op *ops, size_t count);
/* The same for ops that are in their place already, by ascending number. */
void builder_index_ops(struct builder *builder, uint32_t table, uint32_t first, size_t count);
struct program_op program_op_default(uint32_t number, enum kind kind);
/* Lays it out, verifies and loads it. */
int builder_finish(struct builder *builder, enum plan_class class, struct plan **ret_plan,
                   struct error_text *error);

/* fast.c: makes plan->fast, of a verified program. Return: 0, -ENOMEM. */
int fast_make(struct plan *plan);

/* verify.c: everything that run.c relies on. Return: 0; -EBADMSG with the place. */
int program_verify(const struct plan *plan, struct error_text *error);

#endif
