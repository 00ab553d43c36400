/*
 * Inside the compiler: what compile.c (types and methods), pair.c (the fields of two types) and
 * rules.c (enum values, texts, moves) share.
 */
#ifndef PARLEY_TRANSLATE_COMPILE_H
#define PARLEY_TRANSLATE_COMPILE_H

#include "translate/plan.h"
#include "translate/program.h"

/* Two types that meet, or one that is only checked (source == target). */
struct job {
    const struct schema_message *source, *target;
    uint32_t table;
    const struct context *context; /* of moves that go through; NULL: none */
};

struct compiler {
    const struct schema *source, *target;
    const char *newer_package, *older_package; /* of the two interfaces; equal: the same version */
    bool newer_is_target;
    struct builder builder;
    struct job *jobs; /* a list that grows while it is worked off */
    size_t job_count, job_capacity;
    struct moves *moves; /* moves.c: what it has made */
    struct context *contexts;
    bool carries; /* something may travel in a carrier */
    bool loses;   /* a rule accepts that something is lost */
    struct error_text *error;
    plan_complain *complain; /* NULL: stop at the first error */
    void *complain_context;
    size_t complaint_count;
};

/* ---- compile.c ---- */

/* What to do about @r: if it is an error of the schemas, and all of them are asked for, it is told
 * with @where, and the compiler goes on to look for more. Return: 0 then, else @r. */
int compile_go_on(struct compiler *compiler, int r, struct plan_complaint where);

/* Whether the rules, or the names, say that the two are one message in two versions. */
bool compile_types_pair(const struct compiler *compiler, const struct schema_message *source,
                        const struct schema_message *target);
/* The table for it, made later if it is new. */
uint32_t compile_table(struct compiler *compiler, const struct schema_message *source,
                       const struct schema_message *target);
/* The same, with moves that go through it: always a new one. */
uint32_t compile_context(struct compiler *compiler, const struct schema_message *source,
                         const struct schema_message *target, const struct context *context);
enum kind compile_kind(const struct schema_field *field);
/* A field that is only checked. */
struct program_op compile_check_op(struct compiler *compiler, const struct schema_field *field);
/* plan_compile() and plan_check() of rules that need no version in between (between.h). */
int compile_pair(const struct schema *client, const struct schema *service,
                 enum plan_payload payload, struct plan **ret_plan, struct error_text *error);
int compile_check(const struct schema *client, const struct schema *service,
                  enum plan_payload payload, plan_complain *complain, void *context,
                  struct error_text *error);
/* Adds the program between two versions to what is in the builder; it has no entries yet. */
int compile_step(struct builder *builder, const struct schema *client, const struct schema *service,
                 enum plan_payload payload, enum plan_class *ret_class, struct error_text *error);
/* Flags the tables that only copy. Returns whether all that entries use do. */
bool compile_mark_verbatim(struct builder *builder);

/* ---- chain.c ---- */

/* plan_compile_path() of at least three versions. @stages_only: as the same steps, unfused. */
int chain_compile(const struct schema *const *versions, size_t count, enum plan_payload payload,
                  bool stages_only, struct plan **ret_plan, struct error_text *error);

/* ---- fuse.c ---- */

/* Pairs of tables to become one, of which each is made once. */
struct fuser {
    struct builder *builder;
    bool stages_only;    /* nothing is fused: what fused tables are compared with */
    bool lean;        /* messages that carriers have in vain are not looked into */
    struct fusion *list; /* grows while it is worked off */
    size_t count, capacity, done;
};

void fuser_deinit(struct fuser *fuser);
/* After a step: makes what its tables leave to be understood explicit, from table @first on. */
void fuse_prepare(struct builder *builder, uint32_t first);
/* The table that does what @a, of a single step, and then @b do. Filled by fuse_all(). */
uint32_t fuse_tables(struct fuser *fuser, uint32_t a, uint32_t b);
int fuse_all(struct fuser *fuser);

/* ---- collect.c ---- */

/* Leaves out what no entry leads to, and sets the levels of the tables. */
int collect(struct builder *builder);

/* ---- pair.c ---- */

/* What a pair's table is made of. */
struct pairing {
    struct compiler *compiler;
    const struct context *context;
    const struct schema_message *source, *target, *newer, *older;
    const struct schema_field **target_of; /* by index of the source's field; NULL: none */
    const struct schema_field **source_of; /* by index of the target's */
    bool *source_done, *target_done;       /* a rule has dealt with it */
    struct program_op *ops, *restore;
    struct program_emit *emits;
    size_t op_count, restore_count, emit_count, op_capacity, restore_capacity;
    uint32_t slot_count, required_count;
};

int pair_fill(struct compiler *compiler, const struct job *job);
/* The same version on both sides: fields pair by number, everything is verbatim. */
int pair_fill_same(struct compiler *compiler, const struct job *job);

struct program_op *pairing_op(struct pairing *pairing, struct program_op op);
struct program_op *pairing_restore(struct pairing *pairing, struct program_op op);
int pairing_emit(struct pairing *pairing, struct program_emit emit);
int pairing_slot(struct pairing *pairing, uint16_t *ret_slot);
struct program_op *pairing_find(struct pairing *pairing, uint32_t number);
uint8_t pairing_required(const struct pairing *pairing, const struct schema_field *target);
struct program_emit pairing_emit_default(enum emit kind, uint16_t slot,
                                         const struct schema_field *target, enum kind written);
/* In a oneof with others: what it says depends on them. */
bool field_shares_oneof(const struct schema_message *message, const struct schema_field *field);
/* The index of a field in its message. */
size_t field_index(const struct schema_message *message, const struct schema_field *field);

/* ---- values.c, rules.c, moves.c ---- */

/* How values of one enum become those of the other; *ret_convert PROGRAM_NONE: unchanged.
 * @strict: nothing can be carried along for the field. */
struct enum_map {
    uint32_t convert;
    bool lost, lost_back; /* not every value comes back from there; or comes back to there */
    bool later;           /* a closed enum: some values are left out */
};
int rules_enum(struct pairing *pairing, const struct schema_field *source,
               const struct schema_field *target, bool strict, struct enum_map *ret_map);
/* Bytes that all names of an enum begin with, up to the last underscore among them. */
size_t values_prefix(const struct schema_enum *enumeration);
/* A value by its name, in full or without that prefix. */
const struct schema_enum_value *values_find(const struct schema_enum *enumeration,
                                            const char *name);
/* Each handles what it finds and marks the fields as done. */
int rules_split(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target);
int rules_drops(struct pairing *pairing);
int rules_restores(struct pairing *pairing); /* after all other fields have their ops */
int rules_moves(struct pairing *pairing);
void moves_free(struct compiler *compiler);

/* For entries whose value is the whole message: the table of two messages of which one has a key
 * that is not the other's, and goes its own way. */
uint32_t moves_without_key(struct compiler *compiler, const struct schema_message *source,
                           const struct schema_message *target, const struct schema_field *key,
                           bool of_source);

/* ---- shapes.c ---- */

/* wrap, unwrap, pick, entries: a field whose shape differs. */
bool rules_is_shape(const Parley__FieldRule *rule);
int rules_shape(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target);
/* How one value goes over, without a slot. */
struct shape_place {                  /* what an error is about */
    const struct schema_field *field; /* of the newer message; NULL: the message */
    const char *rule;
};
int shape_value(struct pairing *pairing, const struct schema_field *from,
                const struct schema_field *to, const struct shape_place *place,
                struct program_op *ret_op);
/* A table of such ops, by number. */
uint32_t shape_table(struct pairing *pairing, struct program_op *ops, size_t count);

/* ---- regroup.c ---- */

/* Oneofs that do not have the same members on both sides. Handles them and marks them as done. */
int rules_oneofs(struct pairing *pairing);
/* ---- converts.c ---- */

/* Whether the rules of a field of the newer version go together. */
int rules_check(const struct pairing *pairing, const struct schema_field *newer);
/* (parley.field).convert, or a linear rule where values cannot be converted one by one. */
int rules_convert(struct pairing *pairing, const struct schema_field *source,
                  const struct schema_field *target);
/* A conversion of two enums, where not every value can be carried along alone. */
int rules_later(struct pairing *pairing, const struct schema_field *source,
                const struct schema_field *target, uint32_t convert);
/* A map's values: *ret_done if they need a conversion of their own. */
int rules_map_values(struct pairing *pairing, const struct schema_field *source,
                     const struct schema_field *target, bool *ret_done);
/* A value as a rule writes it, for a field; to converts[i].otherwise. */
int rules_literal(struct pairing *pairing, const struct schema_field *field, const char *text,
                  const char *rule, struct program_convert *convert);
uint32_t rules_add_convert(struct pairing *pairing, const struct program_convert *convert);

/* ---- news.c ---- */

/* Whether the rule is for a field that the version before need not have. */
bool rules_is_news(const Parley__FieldRule *rule);
/* default, lossy and computed on fields that the newer version has alone. */
int rules_news(struct pairing *pairing);

#endif
