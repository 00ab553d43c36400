/*
 * Binding a plan to structs: once, when a reader gets a plan, so that unpacking follows pointers.
 *
 * From each entry's message type, tables are made as they are met: one for each pair of a program's
 * table and a type of the reader, and one for each type alone. A pair is made once; they are few,
 * since a program has one table for two types that meet, but a program comes from elsewhere, so
 * their number has a limit.
 *
 * The program was verified, so that its indices can be followed; what it says of the reader's types
 * is not part of that. Here it is held against the descriptors, which are this program's own:
 * a value that the program writes as what the struct's field is not is refused. Whatever is not
 * refused but unusual (repeated here, singular there; a kind with the same bytes) is left to the
 * slow way, through wire bytes that the plain table reads with its own eyes.
 *
 * What tables do at their ends is bound in bind_emit.c, the short way of their fields in
 * bind_quick.c.
 *
 * While tables are collected, arrays move: tables and ops refer to each other by index, in `links`,
 * and pointers are set at the end.
 */
#include "translate/bind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "translate/unpack_code.h"

#define BIND_TABLE_MAX 16384
#define BIND_OP_MAX (1u << 20)

enum sort { SORT_PLAIN, SORT_VERBATIM, SORT_TRANSLATED };

/* A table that is wanted. */
struct want {
    uint32_t table; /* of the program; PROGRAM_NONE: plain */
    enum sort sort;
    const ProtobufCMessageDescriptor *type;
    uint32_t plain;    /* index of the type's plain table */
    uint32_t op_first; /* its ops */
    uint32_t next;     /* of the same hash */
};

#define BUCKET_COUNT 1024

struct binder {
    const struct plan *plan;
    struct error_text *error;
    struct want *wants; /* wants[i] becomes tables[i] */
    uint32_t want_count, want_capacity;
    struct bound_op *ops;
    uint32_t *links; /* of ops[i]: the table of its message */
    uint32_t op_count, op_capacity;
    uint32_t buckets[BUCKET_COUNT]; /* want + 1 */
};

static int out_of_memory(const struct binder *binder)
{
    return error_set(binder->error, -ENOMEM, "out of memory while binding a plan");
}

/* The index of a table, wanted from now on if it is new. */
static int want_table(struct binder *binder, uint32_t table, enum sort sort,
                      const ProtobufCMessageDescriptor *type, uint32_t *ret_index)
{
    uintptr_t hash = ((uintptr_t)type >> 4) * 31 + table * 3 + (uintptr_t)sort;
    uint32_t *bucket = &binder->buckets[hash % BUCKET_COUNT];
    for (uint32_t i = *bucket; i > 0; i = binder->wants[i - 1].next) {
        const struct want *want = &binder->wants[i - 1];
        if (want->table == table && want->sort == sort && want->type == type) {
            *ret_index = i - 1;
            return 0;
        }
    }
    if (binder->want_count == BIND_TABLE_MAX)
        return error_set(binder->error, -E2BIG, "plan: more than %d types to bind", BIND_TABLE_MAX);
    if (binder->want_count == binder->want_capacity) {
        uint32_t capacity = 2 * binder->want_capacity + 16;
        struct want *wants = realloc(binder->wants, capacity * sizeof(*wants));
        if (!wants)
            return out_of_memory(binder);
        binder->wants = wants;
        binder->want_capacity = capacity;
    }
    *ret_index = binder->want_count;
    binder->wants[binder->want_count++] = (struct want){
        .table = table,
        .sort = sort,
        .type = type,
        .next = *bucket,
    };
    *bucket = *ret_index + 1;
    return 0;
}

static int add_ops(struct binder *binder, uint32_t count, uint32_t *ret_first)
{
    if (count > BIND_OP_MAX - binder->op_count)
        return error_set(binder->error, -E2BIG, "plan: more than %u fields to bind", BIND_OP_MAX);
    if (count > binder->op_capacity - binder->op_count) {
        uint32_t capacity = 2 * (binder->op_count + count) + 64;
        struct bound_op *ops = realloc(binder->ops, capacity * sizeof(*ops));
        if (ops)
            binder->ops = ops;
        uint32_t *links = realloc(binder->links, capacity * sizeof(*links));
        if (links)
            binder->links = links;
        if (!ops || !links)
            return out_of_memory(binder);
        binder->op_capacity = capacity;
    }
    *ret_first = binder->op_count;
    if (count == 0)
        return 0;
    memset(binder->ops + binder->op_count, 0, count * sizeof(binder->ops[0]));
    for (uint32_t i = 0; i < count; i++)
        binder->links[binder->op_count++] = PROGRAM_NONE;
    return 0;
}

/* ---- One field ---- */

static uint8_t size_of(enum kind kind)
{
    switch (kind) {
    case KIND_STRING:
        return sizeof(char *);
    case KIND_BYTES:
        return sizeof(ProtobufCBinaryData);
    case KIND_MESSAGE:
        return sizeof(ProtobufCMessage *);
    case KIND_BOOL:
        return sizeof(protobuf_c_boolean);
    case KIND_INT64:
    case KIND_SINT64:
    case KIND_UINT64:
    case KIND_FIXED64:
    case KIND_SFIXED64:
    case KIND_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

static enum bound_code scalar_code(enum kind kind)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_UINT32:
    case KIND_ENUM:
        return CODE_INT32;
    case KIND_SINT32:
        return CODE_SINT32;
    case KIND_INT64:
    case KIND_UINT64:
        return CODE_INT64;
    case KIND_SINT64:
        return CODE_SINT64;
    case KIND_BOOL:
        return CODE_BOOL;
    case KIND_FIXED32:
    case KIND_SFIXED32:
    case KIND_FLOAT:
        return CODE_FIXED32;
    case KIND_FIXED64:
    case KIND_SFIXED64:
    case KIND_DOUBLE:
        return CODE_FIXED64;
    default:
        return CODE_VALUE;
    }
}

/* The way of a value that needs no change. */
static enum bound_code direct_code(const struct bound_op *op)
{
    if (op->oneof)
        return CODE_VALUE;
    if (op->kind == KIND_STRING)
        return op->repeated ? CODE_STRINGS : CODE_STRING;
    if (op->kind == KIND_MESSAGE)
        return op->repeated ? CODE_MESSAGES : CODE_MESSAGE;
    return op->repeated ? CODE_VALUE : scalar_code((enum kind)op->kind);
}

/* Where the struct has it. */
static void place(struct bound_op *op, const ProtobufCFieldDescriptor *field)
{
    op->kind = (uint8_t)program_kind(field->type);
    op->size = size_of((enum kind)op->kind);
    op->repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    op->oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    op->target = field->id;
    op->offset = field->offset;
    op->quantifier = field->quantifier_offset;
}

static bool is_table(const struct plan *plan, uint32_t table, bool verbatim)
{
    uint32_t flags = plan->tables[table].flags;
    return !(flags & TABLE_SHARED) && (!verbatim || (flags & TABLE_VERBATIM));
}

static int place_message(struct binder *binder, const struct want *want, struct bound_op *op,
                         const ProtobufCFieldDescriptor *field, uint32_t *ret_link)
{
    uint32_t table = op->op->table;
    bool verbatim = want->sort == SORT_VERBATIM || op->op->action == ACTION_VERBATIM ||
                    op->op->action == ACTION_RENUMBER;
    if (!is_table(binder->plan, table, verbatim))
        return 0; /* slow, as it is */
    verbatim = (binder->plan->tables[table].flags & TABLE_VERBATIM) != 0;
    op->code = (uint8_t)direct_code(op);
    return want_table(binder, table, verbatim ? SORT_VERBATIM : SORT_TRANSLATED, field->descriptor,
                      ret_link);
}

/* Float and fixed are the same bytes, and the same in the struct. */
static enum kind as_bits(enum kind kind)
{
    return kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
}

static bool is_integer(enum kind kind)
{
    return program_wire_type(kind) != WIRE_BYTES && kind != KIND_FLOAT && kind != KIND_DOUBLE;
}

/* A known conversion between two integers, of one value. */
static bool is_conversion(const struct plan *plan, const struct program_op *op)
{
    if (op->action != ACTION_SCALAR || (op->flags & OP_REPEATED) ||
        !is_integer((enum kind)op->kind) || !is_integer((enum kind)op->written))
        return false;
    return op->convert == PROGRAM_NONE || plan->converts[op->convert].mode <= CONVERT_MAP;
}

static void place_value(const struct binder *binder, const struct want *want, struct bound_op *op)
{
    const struct program_op *from = op->op;
    bool same = as_bits((enum kind)from->written) == as_bits((enum kind)op->kind) &&
                op->counted == op->repeated;
    if (!same)
        return;
    bool moves = from->action == ACTION_VERBATIM || from->action == ACTION_RENUMBER;
    if (want->sort == SORT_TRANSLATED && !moves) {
        if (is_conversion(binder->plan, from) && !op->oneof)
            op->code = CODE_CONVERT;
        return;
    }
    if (from->kind != from->written)
        return;
    if (want->sort == SORT_VERBATIM || from->slot == PROGRAM_SLOT_NONE)
        op->code = (uint8_t)direct_code(op);
    else if (direct_code(op) == CODE_STRING)
        op->code = CODE_NOTED;
}

static int bad_field(const struct binder *binder, const struct want *want,
                     const ProtobufCFieldDescriptor *field)
{
    return error_set(binder->error, -EBADMSG,
                     "plan: field %u is not what %s.%s is here; the broker has another schema of "
                     "this version: publish it again",
                     field->id, want->type->name, field->name);
}

/* A message that is nothing but fields for slots, unless it holds more than these. */
static bool is_taken(const struct plan *plan, const struct program_op *op)
{
    if ((op->action != ACTION_JOIN && op->action != ACTION_RESIDUE) || op->kind != KIND_MESSAGE ||
        (op->flags & (OP_REPEATED | OP_GATHERED)))
        return false;
    const struct program_table *table = &plan->tables[op->table];
    return table->next == 0 && table->emit_count == 0 && table->required_count == 0;
}

static int bind_op(struct binder *binder, const struct want *want, struct bound_op *op,
                   uint32_t *ret_link)
{
    const struct program_op *from = op->op;
    bool verbatim = want->sort == SORT_VERBATIM;
    op->number = from->number;
    op->wire = from->wire;
    op->required = from->required;
    op->counted = (from->flags & OP_REPEATED) != 0;
    op->slot = from->slot;
    op->code = verbatim ? CODE_CHECKED : CODE_SLOW;
    if (from->pipe != 0 || (from->flags & OP_YIELDS))
        return 0;
    if (!verbatim && from->action == ACTION_OPEN && !op->counted &&
        from->required == PROGRAM_REQUIRED_NONE) {
        op->code = CODE_CARRIER;
        return 0;
    }
    if (!verbatim && from->action == ACTION_CARRY) {
        op->code = CODE_CARRY;
        return 0;
    }
    if (!verbatim && is_taken(binder->plan, from)) {
        op->code = CODE_TAKEN;
        return 0;
    }
    if (!verbatim && from->action == ACTION_SLOT && from->kind == KIND_STRING && !op->counted) {
        op->code = CODE_SLOT_TEXT;
        return 0;
    }
    bool same_number = verbatim || from->action == ACTION_VERBATIM;
    if (!same_number && from->action != ACTION_RENUMBER && from->action != ACTION_SCALAR &&
        from->action != ACTION_MESSAGE)
        return 0;
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
        want->type, same_number ? from->number : from->tag >> 3);
    if (!field)
        return 0;
    enum kind kind = program_kind(field->type);
    if (program_wire_type(kind) != program_wire_type((enum kind)from->written) ||
        (kind == KIND_MESSAGE) != (from->written == KIND_MESSAGE))
        return bad_field(binder, want, field);
    place(op, field);
    if (kind != KIND_MESSAGE) {
        place_value(binder, want, op);
        return 0;
    }
    if (from->kind != KIND_MESSAGE || op->counted != op->repeated)
        return 0;
    return place_message(binder, want, op, field, ret_link);
}

/* ---- Tables ---- */

/* What is written in stages is not bound field by field: the first stage's types are not the
 * reader's. */
static uint32_t bound_count(const struct program_table *table)
{
    bool staged = table->next && !(table->flags & TABLE_VERBATIM);
    return staged ? 0 : table->op_count;
}

static int bind_program_table(struct binder *binder, uint32_t index)
{
    const struct program_table *table = &binder->plan->tables[binder->wants[index].table];
    const ProtobufCMessageDescriptor *type = binder->wants[index].type;
    uint32_t first = 0, plain = 0;
    int r = want_table(binder, PROGRAM_NONE, SORT_PLAIN, type, &plain);
    uint32_t count = bound_count(table);
    if (r == 0)
        r = add_ops(binder, count, &first);
    if (r < 0)
        return r;
    binder->wants[index].op_first = first;
    binder->wants[index].plain = plain;
    uint32_t pieces = 0;
    for (uint32_t i = 0; i < count && r == 0; i++) {
        struct want want = binder->wants[index]; /* the array may move */
        const struct program_op *from = &binder->plan->ops[table->op_first + i];
        binder->ops[first + i].op = from;
        if (want.sort == SORT_TRANSLATED && from->kind == KIND_MESSAGE &&
            !(from->flags & OP_REPEATED))
            binder->ops[first + i].piece = (uint8_t)(1 + pieces++ % 64);
        r = bind_op(binder, &want, &binder->ops[first + i], &binder->links[first + i]);
    }
    return r;
}

static int bind_plain_table(struct binder *binder, uint32_t index)
{
    const ProtobufCMessageDescriptor *type = binder->wants[index].type;
    uint32_t first = 0, required = 0;
    int r = add_ops(binder, type->n_fields, &first);
    binder->wants[index].op_first = first;
    binder->wants[index].plain = index;
    for (unsigned i = 0; i < type->n_fields && r == 0; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        struct bound_op *op = &binder->ops[first + i];
        place(op, field);
        op->number = field->id;
        op->wire = (uint8_t)program_wire_type((enum kind)op->kind);
        op->counted = op->repeated;
        op->slot = PROGRAM_SLOT_NONE;
        op->required = PROGRAM_REQUIRED_NONE;
        op->code = (uint8_t)direct_code(op);
        if (field->label == PROTOBUF_C_LABEL_REQUIRED) {
            if (required == PROGRAM_REQUIRED_MAX)
                return error_set(binder->error, -E2BIG, "%s: more than %d required fields",
                                 type->name, PROGRAM_REQUIRED_MAX);
            op->required = (uint8_t)required++;
        }
        if (op->kind == KIND_MESSAGE)
            r = want_table(binder, PROGRAM_NONE, SORT_PLAIN, field->descriptor,
                           &binder->links[first + i]);
    }
    return r;
}

static uint32_t count_required(const struct bound_table *table)
{
    if (table->table)
        return table->table->required_count;
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->op_count; i++)
        count += table->ops[i].required != PROGRAM_REQUIRED_NONE;
    return count;
}

static size_t image_size(const ProtobufCMessageDescriptor *type)
{
    return (type->sizeof_message + 31) & ~(size_t)31;
}

static void fill_table(const struct binder *binder, struct plan_binding *binding, uint32_t index,
                       uint8_t *image)
{
    const struct want *want = &binder->wants[index];
    struct bound_table *table = &binding->tables[index];
    table->type = want->type;
    table->plain = &binding->tables[want->plain];
    table->ops = binding->ops ? binding->ops + want->op_first : NULL; /* no type has a field */
    table->op_count = want->type->n_fields;
    if (want->sort != SORT_PLAIN) {
        table->table = &binder->plan->tables[want->table];
        table->op_count = bound_count(table->table);
    }
    table->owner = table->table ? table->table->source_id : 0;
    table->translated = want->sort == SORT_TRANSLATED;
    table->staged = table->translated && table->table->next != 0;
    table->waits =
        table->translated && (table->table->emit_count > 0 || table->table->slot_count > 0);
    table->required_count = count_required(table);
    table->image = image;
    table->image_bytes = (uint32_t)image_size(want->type);
    table->message_bytes = (uint32_t)((want->type->sizeof_message + 7) & ~(size_t)7);
    protobuf_c_message_init(want->type, image);
}

/* Takes over what the binder has collected. */
static int settle(struct binder *binder, struct plan_binding *binding)
{
    size_t image_bytes = 0;
    for (uint32_t i = 0; i < binder->want_count; i++)
        image_bytes += image_size(binder->wants[i].type);
    binding->tables = calloc(binder->want_count + 1, sizeof(binding->tables[0]));
    binding->images = calloc(1, image_bytes + 1);
    if (!binding->tables || !binding->images)
        return out_of_memory(binder);
    binding->table_count = binder->want_count;
    binding->ops = steal_ptr(&binder->ops);
    uint8_t *image = binding->images;
    for (uint32_t i = 0; i < binder->want_count; i++) {
        fill_table(binder, binding, i, image);
        image += image_size(binder->wants[i].type);
    }
    for (uint32_t i = 0; i < binder->op_count; i++)
        if (binder->links[i] != PROGRAM_NONE)
            binding->ops[i].table = &binding->tables[binder->links[i]];
    int r = bind_emits(binding, binder->want_count);
    if (r == 0)
        r = bind_quick(binding, binder->want_count);
    for (uint32_t i = 0; i < binder->want_count; i++)
        bind_direct(&binding->tables[i], binder->plan->header->flags & PROGRAM_STAGED);
    if (r == -E2BIG)
        return error_set(binder->error, r, "plan: too many rules to bind");
    return r < 0 ? out_of_memory(binder) : 0;
}

static void binder_deinit(struct binder *binder)
{
    free(binder->wants);
    free(binder->ops);
    free(binder->links);
}

/* ---- The whole ---- */

/* What the reader gets of entry @entry, or NULL. */
static const ProtobufCMessageDescriptor *entry_type(const struct plan *plan, uint32_t entry,
                                                    const ProtobufCServiceDescriptor *service,
                                                    enum plan_payload payload)
{
    uint32_t method = payload == PLAN_REQUESTS ? plan_method(plan, entry) : entry;
    if (method >= service->n_methods || plan->entries[entry].table == PROGRAM_NONE)
        return NULL;
    return payload == PLAN_REQUESTS ? service->methods[method].input
                                    : service->methods[method].output;
}

static int bind_all(struct binder *binder, const ProtobufCServiceDescriptor *service,
                    enum plan_payload payload, struct plan_binding *binding)
{
    const struct plan *plan = binder->plan;
    _cleanup_(freep) uint32_t *tables = calloc(binding->entry_count + 1, sizeof(*tables));
    if (!tables)
        return out_of_memory(binder);
    int r = 0;
    for (uint32_t i = 0; i < binding->entry_count && r == 0; i++) {
        const ProtobufCMessageDescriptor *type = entry_type(plan, i, service, payload);
        uint32_t table = plan->entries[i].table;
        if (type)
            r = want_table(binder, table,
                           plan->tables[table].flags & TABLE_VERBATIM ? SORT_VERBATIM
                                                                      : SORT_TRANSLATED,
                           type, &tables[i]);
    }
    for (uint32_t i = 0; i < binder->want_count && r == 0; i++)
        r = binder->wants[i].sort == SORT_PLAIN ? bind_plain_table(binder, i)
                                                : bind_program_table(binder, i);
    if (r == 0)
        r = settle(binder, binding);
    for (uint32_t i = 0; i < binding->entry_count && r == 0; i++)
        if (entry_type(plan, i, service, payload))
            binding->entries[i] = &binding->tables[tables[i]];
    return r;
}

DEFINE_CLEANUP(struct plan_binding *, plan_binding_unref);

int plan_bind(struct plan *plan, const ProtobufCServiceDescriptor *service,
              enum plan_payload payload, struct plan_binding **ret_binding,
              struct error_text *error)
{
    _cleanup_(binder_deinit) struct binder binder = {.plan = plan, .error = error};
    _cleanup_(plan_binding_unrefp) struct plan_binding *binding = calloc(1, sizeof(*binding));
    if (!binding)
        return out_of_memory(&binder);
    atomic_init(&binding->references, 1);
    binding->plan = plan_ref(plan);
    binding->entry_count = plan_entry_count(plan);
    binding->entries = calloc(binding->entry_count + 1, sizeof(binding->entries[0]));
    if (!binding->entries)
        return out_of_memory(&binder);
    int r = bind_all(&binder, service, payload, binding);
    if (r == 0)
        *ret_binding = steal_ptr(&binding);
    return r;
}

struct plan_binding *plan_binding_ref(struct plan_binding *binding)
{
    /* relaxed: who refers to it already keeps it alive. */
    atomic_fetch_add_explicit(&binding->references, 1, memory_order_relaxed);
    return binding;
}

struct plan_binding *plan_binding_unref(struct plan_binding *binding)
{
    /* acq_rel: pairs with itself in other threads, as in plan_unref(). */
    if (!binding || atomic_fetch_sub_explicit(&binding->references, 1, memory_order_acq_rel) != 1)
        return NULL;
    plan_unref(binding->plan);
    free(binding->entries);
    free(binding->tables);
    free(binding->ops);
    free(binding->emits);
    free(binding->wide);
    free(binding->maps);
    free(binding->text);
    free(binding->images);
    unpack_code_free(atomic_load_explicit(&binding->code, memory_order_relaxed));
    free(binding);
    return NULL;
}

const struct plan *plan_binding_plan(const struct plan_binding *binding)
{
    return binding->plan;
}
