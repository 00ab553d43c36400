/*
 * The laws of translation, on generated versions and messages: what the files of this folder share.
 *
 *   version.c   a random first version of an interface, as data
 *   evolve.c    versions made from it by applying rules to it
 *   describe.c  a version as descriptor set, and as .proto for people
 *   value.c     the reference reader: messages as values, independent of the plan runner
 *   message.c   random messages on the wire, and damaged ones
 *   structs.c   the structs that a compiler would make of a version
 *   forward.c   the reference model: what a rule makes of a value, directly and slowly
 *   check.c     the laws themselves
 *   shrink.c    a failure made small and printed
 *   main.c      counts, seeds, progress
 *
 * All randomness comes from seeds (base/random.h), so that a seed is a case.
 */
#ifndef PARLEY_TESTS_LAWS_LAWS_H
#define PARLEY_TESTS_LAWS_LAWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/random.h"
#include "schema/schema.h"
#include "translate/plan.h"
#include "wire/wire.h"

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

/* The harness's own bugs, and no memory. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must_alloc(size_t bytes); /* zeroed */

/* ---- Bytes that grow ---- */

struct buffer {
    uint8_t *data;
    size_t bytes, capacity;
};

void buffer_free(struct buffer *buffer);
void buffer_add(struct buffer *buffer, const void *data, size_t bytes);
void buffer_varint(struct buffer *buffer, uint64_t value);
void buffer_tag(struct buffer *buffer, uint32_t number, enum wire_type type);
void buffer_field_varint(struct buffer *buffer, uint32_t number, uint64_t value);
void buffer_field_bytes(struct buffer *buffer, uint32_t number, const void *data, size_t bytes);
void buffer_field_text(struct buffer *buffer, uint32_t number, const char *text);
/* Appends @content as a field and frees it. */
void buffer_field_message(struct buffer *buffer, uint32_t number, struct buffer *content);

/* ---- Versions as data: plain structs, copied by assignment ---- */

#define LAWS_FIELD_MAX 28
#define LAWS_MESSAGE_MAX 12
#define LAWS_ENUM_MAX 5
#define LAWS_VALUE_MAX 12
#define LAWS_ONEOF_MAX 4
#define LAWS_VERSION_MAX 6
#define LAWS_EDIT_MAX 10 /* between two versions */
#define LAWS_NAME_BYTES 16

/* One of Parley's options, encoded: appending merges, as protobuf says. */
struct option {
    uint8_t data[240];
    size_t bytes;
};
void option_add(struct option *option, const void *message);

enum label {
    LABEL_PLAIN,    /* proto3: no presence; proto2: `optional` */
    LABEL_OPTIONAL, /* proto3's `optional` */
    LABEL_REQUIRED,
    LABEL_REPEATED,
    LABEL_MAP, /* of key_type and type */
};

enum { REF_NONE = -1, REF_ANY = 100, REF_TIMESTAMP, REF_DURATION };

struct field {
    char name[LAWS_NAME_BYTES];
    uint32_t number;
    int type, key_type;
    int ref; /* index of the message or enum */
    enum label label;
    int oneof;                           /* -1: none */
    int packed;                          /* -1: as the syntax has it */
    int origin;                          /* index in the version before, -1: none */
    bool changed;                        /* a rule says already where its value comes from */
    bool text_rule;                      /* a template reads it: it stays a plain string */
    char default_value[LAWS_NAME_BYTES]; /* "": none */
    struct option rule;
};

struct message {
    char name[LAWS_NAME_BYTES];
    struct field fields[LAWS_FIELD_MAX];
    int field_count;
    char oneofs[LAWS_ONEOF_MAX][LAWS_NAME_BYTES];
    int oneof_count;
    struct option rule;
    bool fresh; /* new in this version */
};

struct value_name {
    char name[LAWS_NAME_BYTES]; /* without the prefix */
    int32_t number;
    int origin;
    struct option rule;
};

struct enumeration {
    char name[LAWS_NAME_BYTES], prefix[LAWS_NAME_BYTES];
    struct value_name values[LAWS_VALUE_MAX];
    int value_count;
    struct option rule;
};

struct version {
    int index; /* 0: the first */
    bool proto3;
    struct message messages[LAWS_MESSAGE_MAX]; /* the first is the method's */
    int message_count;
    struct enumeration enums[LAWS_ENUM_MAX];
    int enum_count;
    int names; /* given away so far */
};

/* ---- version.c ---- */

void version_random(struct version *version, uint64_t seed);
/* Helpers that evolve.c needs as well. */
struct field field_random(struct version *version, struct message *message, uint64_t *random,
                          int depth_of_messages);
uint32_t field_free_number(const struct message *message, uint64_t *random);
void version_name(struct version *version, const char *stem, char *ret_name);
bool type_is_integer(int type);
int type_random_integer(uint64_t *random);

/* ---- evolve.c ---- */

enum { EDIT_KIND_MAX = 64 };

struct edit {
    unsigned kind;
    uint64_t seed;
    bool off; /* shrunk away, or refused by the compiler */
};

unsigned edit_kind_count(void);
const char *edit_kind_name(unsigned kind);
/* Makes the next version: a copy without its rules. */
void version_next(struct version *newer, const struct version *older);
/* Applies one edit. Return: whether there was anything that it applies to. */
bool edit_apply(const struct edit *edit, const struct version *older, struct version *newer);

/* ---- describe.c ---- */

void describe_set(const struct version *version, struct buffer *ret_set);
void describe_proto(const struct version *version, FILE *out);

/* ---- Messages as values: buffer.c, value.c, compare.c ---- */

struct arena {
    struct arena_chunk *chunks;
};
void *arena_alloc(struct arena *arena, size_t bytes); /* zeroed */
void arena_free(struct arena *arena);

struct tree;

struct value {
    uint64_t bits; /* of scalars: integers sign- or zero-extended, floats as they are */
    const uint8_t *data;
    size_t bytes;
    struct tree *tree;
    bool perhaps; /* the reference model: may as well not be there */
};

struct values {
    size_t count, capacity;
    struct value *list;
};

struct unknown {
    uint32_t number;
    enum wire_type type;
    uint64_t bits;
    const uint8_t *data;
    size_t bytes;
};

struct tree {
    const struct schema_message *type;
    struct values *fields; /* by index of the field; a singular one has one value or none */
    struct unknown *unknowns;
    size_t unknown_count, unknown_capacity;
    bool pieces; /* one of its singular messages came in several */
};

/* Reads as protobuf says: last one wins, pieces merge, packed or not. Strict: what it returns is
 * well-formed. NULL: it is not, and why. */
struct tree *tree_read(struct arena *arena, const struct schema_message *type, const uint8_t *data,
                       size_t bytes, const char **ret_why);
/* UTF-8 without NUL. */
bool text_is_valid(const uint8_t *data, size_t bytes);
/* Writes it in the order of numbers, unknown fields first or last. */
void tree_write(const struct tree *tree, bool unknown_first, struct buffer *out);
struct tree *tree_new(struct arena *arena, const struct schema_message *type);
struct value *values_add(struct arena *arena, struct values *values);
void tree_add_unknown(struct arena *arena, struct tree *tree, const struct unknown *unknown);

enum {
    COMPARE_NO_CARRIERS = 1, /* what travels along is not looked at */
};
/* The same message? If not, *ret_where says where they differ. */
bool tree_equal(const struct tree *a, const struct tree *b, unsigned flags,
                struct error_text *ret_where);
bool values_equal(const struct schema_field *field, const struct values *a, const struct values *b,
                  unsigned flags, struct error_text *ret_where);
/* Whether the laws speak of it: a message without carriers of its own versions, which only a
 * translation may write, and in one piece. */
bool tree_is_plain(const struct tree *tree);
/* It, or one of the messages in it, came in several pieces; also if another member of a oneof has
 * taken its place, for protobuf-c cannot read all of these. */
bool tree_in_pieces(const struct tree *tree);
void tree_print(const struct tree *tree, int indent, FILE *out);

#define LAWS_CARRIER_NUMBER UINT32_C(536870896)
/* A carrier of another version, of which these know nothing. */
#define LAWS_FOREIGN_CARRIER "\x0d\x01\x02\x03\x04\x08\x05"
#define LAWS_FOREIGN_CARRIER_BYTES 7

/* ---- message.c ---- */

/* A valid message of that type, in any form that the wire has for it. @wild: of 100 values, how
 * many are extreme. */
void message_random(const struct schema_message *type, uint64_t seed, unsigned wild,
                    struct buffer *out);
/* Changes something that the type's programs can see. Return: the index of the field that was
 * changed, or -1. */
int message_edit(struct arena *arena, struct tree *tree, uint64_t seed);
/* Damages it so that no reader of that type may accept it. Returns what was done to it. */
const char *message_spoil(const struct schema_message *type, uint64_t seed, struct buffer *message);
/* Damages it in any way. */
void message_mutate(uint64_t seed, struct buffer *message);

/* ---- forward.c ---- */

/* What a message without carriers of its own is in the other version: visible fields and unknown
 * ones. Return: 0, -ERANGE if a value has no place there, -ENOTSUP for a rule that the model lacks.
 */
int forward_message(struct arena *arena, const struct tree *source, const struct schema *from,
                    const struct schema *to, struct tree **ret_target);
/* Whether what a field of @type holds can depend on @other's field: paired, or joined by a rule. */
bool forward_depends(const struct schema_field *field, const struct schema_message *type,
                     const struct schema_field *other, const struct schema_message *other_type,
                     bool type_is_newer);

/* ---- structs.c: the structs that protoc-gen-c would generate for a version ---- */

struct structs;
struct structs *structs_new(const struct schema *schema);
struct structs *structs_free(struct structs *structs); /* the youngest first; NULL is fine */
const ProtobufCServiceDescriptor *structs_service(const struct structs *structs);

/* ---- check.c ---- */

struct law_case {
    uint64_t seed;
    uint64_t base_gone[LAWS_MESSAGE_MAX]; /* bits: fields of the first version, shrunk away */
    int version_count;
    struct edit edits[LAWS_VERSION_MAX - 1][LAWS_EDIT_MAX];
    int edit_counts[LAWS_VERSION_MAX - 1];
    /* Made from the above. */
    struct version versions[LAWS_VERSION_MAX];
    struct schema *schemas[LAWS_VERSION_MAX];
    struct plan *up[LAWS_VERSION_MAX - 1], *down[LAWS_VERSION_MAX - 1];
    /* Over several steps; NULL: they are neighbours. */
    struct plan *paths[LAWS_VERSION_MAX][LAWS_VERSION_MAX];
};

struct law_counts {
    uint64_t cases, messages, checks, refused, compiles_refused;
    uint64_t edits[EDIT_KIND_MAX], edits_refused[EDIT_KIND_MAX];
};

/* The laws, by number, so that a shrunk case still breaks the same one. */
enum law {
    LAW_COMPILE,
    LAW_GETPUT,
    LAW_GETPUT_PROGRAM,
    LAW_FORWARD,
    LAW_EDIT,
    LAW_KEPT,
    LAW_WELL_FORMED,
    LAW_SPOILT,
    LAW_SHORT,
    LAW_MACHINE,
    LAW_STRUCT,
    LAW_PATH,
    LAW_COUNT,
};
extern const char *const law_names[LAW_COUNT];

struct law_failure {
    enum law law;
    int from, to; /* versions */
    uint64_t variant;
    struct error_text why;
};

void case_plan(struct law_case *c, uint64_t seed);
/* Builds the versions and plans. @settle: edits that the compiler refuses are switched off.
 * Return: 0, or -1 and *ret_failure if both directions cannot be compiled. */
int case_build(struct law_case *c, bool settle, struct law_counts *counts,
               struct law_failure *ret_failure);
void case_clear(struct law_case *c);
/* All laws on one message of version @from, towards version @to. Return: 0, or -1 if one is
 * broken. */
int case_check(const struct law_case *c, int from, int to, const struct buffer *message,
               uint64_t variant, struct law_counts *counts, struct law_failure *ret_failure);

/* ---- shrink.c ---- */

void shrink_and_print(struct law_case *c, struct buffer *message, struct law_failure *failure);

#endif
