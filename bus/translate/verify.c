/*
 * The verifier: after it has passed a program, run.c may follow every index in it without looking.
 *
 * What it must establish, and where run.c relies on it:
 *  - every index is inside its array, every range too;
 *  - a slot that an op, an emit or a text names is among those that its table has. A SHARED table
 *    uses its caller's slots, so it is called only by ops that say so, from tables with at least as
 *    many, and has no emits of its own;
 *  - a carrier's content cannot hold a carrier that is opened: a nested message is always shorter
 *    than the one around it and counted by depth, an opened carrier is not counted;
 *  - stages end: what a `next` or a pipe leads to is of a lower level than where it is (program.h),
 * and opens no carrier if it is a pipe;
 *  - kinds fit what is done with them: only integers are converted, only text is split or joined;
 *  - literals are text, since they end up in strings.
 * Whether the program means anything is not asked: a wrong one yields wrong or malformed messages,
 * in the buffers that it was given.
 */
#include "translate/program.h"

#include <errno.h>

struct verifier {
    const struct plan *plan;
    struct error_text *error;
};

#define COUNT(v, section) ((v)->plan->header->count[section])

static int bad(const struct verifier *v, const char *record, uint32_t index, const char *what)
{
    return error_set(v->error, -EBADMSG, "plan: %s %u: %s", record, index, what);
}

static bool in_range(const struct verifier *v, enum section section, uint32_t first, uint32_t count)
{
    return first <= COUNT(v, section) && count <= COUNT(v, section) - first;
}

static bool is_number(uint32_t number)
{
    return number >= 1 && number <= WIRE_NUMBER_MAX;
}

static bool is_tag(uint32_t tag, uint8_t kind)
{
    return is_number(tag >> 3) && (tag & 7) == (uint32_t)program_wire_type((enum kind)kind);
}

static bool is_integer(uint8_t kind)
{
    return kind <= KIND_SFIXED64 && kind != KIND_FLOAT;
}

static bool is_text(uint8_t kind)
{
    return kind == KIND_STRING || kind == KIND_BYTES;
}

/* The slots of a template's parts are among the table's. */
static bool template_fits(const struct verifier *v, uint32_t index, uint32_t slot_count)
{
    if (index >= COUNT(v, SECTION_TEMPLATE))
        return false;
    const struct program_template *template = &v->plan->templates[index];
    for (uint32_t i = 0; i < template->part_count; i++) {
        uint16_t slot = v->plan->parts[template->part_first + i].slot;
        if (slot != PROGRAM_SLOT_NONE && slot >= slot_count)
            return false;
    }
    return true;
}

/* How often what is written is gone through again by @stage, the `next` of a table or a pipe. */
static uint32_t passes(const struct verifier *v, uint32_t stage)
{
    return stage > 0 && stage <= COUNT(v, SECTION_TABLE) ? v->plan->tables[stage - 1].level + 1 : 0;
}

/* Whether the messages in the table's fields may be translated by @nested, and then go through
 * @pipe. */
static bool level_fits(const struct verifier *v, const struct program_table *table, uint32_t nested,
                       uint32_t pipe)
{
    uint64_t level = v->plan->tables[nested].level;
    return level + passes(v, pipe) + passes(v, table->next) <= table->level;
}

/* @pipe: of an op or an emit of that table. */
static bool pipe_fits(const struct verifier *v, const struct program_table *table, uint32_t pipe)
{
    if (pipe == 0)
        return true;
    if (pipe > COUNT(v, SECTION_TABLE))
        return false;
    const struct program_table *to = &v->plan->tables[pipe - 1];
    if (!(to->flags & TABLE_SHARED) || (to->flags & TABLE_MARK) ||
        passes(v, pipe) + passes(v, table->next) > table->level ||
        to->slot_count > table->slot_count || to->required_count > table->required_count ||
        !in_range(v, SECTION_OP, to->op_first, to->op_count))
        return false;
    for (uint32_t i = 0; i < to->op_count; i++)
        if (v->plan->ops[to->op_first + i].action == ACTION_OPEN)
            return false;
    return true;
}

/* A conversion from @kind to @written, for the end of a message. */
static bool fits_kinds(const struct program_convert *convert, uint8_t kind, uint8_t written)
{
    if (convert->mode == CONVERT_MAP)
        return kind == KIND_ENUM && written == KIND_ENUM;
    return convert->mode == CONVERT_VALUE && convert->kind == kind && convert->written == written;
}

static bool converts(const struct verifier *v, const struct program_op *op)
{
    if (op->convert == PROGRAM_NONE)
        return false;
    const struct program_convert *convert = &v->plan->converts[op->convert];
    if (convert->mode == CONVERT_ENTRY)
        return op->kind == KIND_MESSAGE && op->written == KIND_MESSAGE && (op->flags & OP_REPEATED);
    return fits_kinds(convert, op->kind, op->written);
}

static int verify_op_action(const struct verifier *v, const struct program_table *table,
                            const struct program_op *op, uint32_t index)
{
    const struct program_table *nested =
        op->kind == KIND_MESSAGE ? &v->plan->tables[op->table] : NULL;
    bool has_slot = op->slot != PROGRAM_SLOT_NONE;
    switch (op->action) {
    case ACTION_MESSAGE:
        return nested && !(nested->flags & TABLE_SHARED) ? 0 : bad(v, "op", index, "shared table");
    case ACTION_RESIDUE:
    case ACTION_JOIN:
        if (!nested || !(nested->flags & TABLE_SHARED) || nested->slot_count > table->slot_count)
            return bad(v, "op", index, "its table cannot share the slots");
        return op->action == ACTION_RESIDUE || has_slot ? 0 : bad(v, "op", index, "no slot");
    case ACTION_SCALAR:
        return is_integer(op->kind) && is_integer(op->written) ? 0
                                                               : bad(v, "op", index, "no integer");
    case ACTION_SLOT:
        /* One value: what comes packed is not for a slot. */
        if (!has_slot || (op->flags & OP_REPEATED) ||
            (!is_integer(op->kind) && !is_text(op->kind)) ||
            is_integer(op->kind) != is_integer(op->written))
            return bad(v, "op", index, "not for a slot");
        return 0;
    case ACTION_GUARDED:
        if (!has_slot ||
            (op->template != PROGRAM_NONE && !template_fits(v, op->template, table->slot_count)))
            return bad(v, "op", index, "no guard");
        return 0;
    case ACTION_AWAY:
    case ACTION_DEFER:
    case ACTION_HELD:
        return has_slot ? 0 : bad(v, "op", index, "no slot");
    case ACTION_OPEN:
        return op->number == CARRIER_NUMBER ? 0 : bad(v, "op", index, "not the carrier");
    case ACTION_LATER:
        return has_slot && !(table->flags & TABLE_SHARED) && converts(v, op)
                   ? 0
                   : bad(v, "op", index, "not for a conversion");
    case ACTION_TOLD:
        return has_slot && op->kind != KIND_MESSAGE ? 0 : bad(v, "op", index, "no slot");
    default:
        if (has_slot && !is_text(op->kind))
            return bad(v, "op", index, "not for a slot");
        return 0;
    }
}

static int verify_op(const struct verifier *v, const struct program_table *table, uint32_t index)
{
    const struct program_op *op = &v->plan->ops[index];
    if (index > table->op_first && op[-1].number >= op->number)
        return bad(v, "op", index, "numbers do not ascend");
    if (!is_number(op->number) || op->action >= ACTION_COUNT || op->kind >= KIND_COUNT ||
        op->written >= KIND_COUNT || op->wire != program_wire_type((enum kind)op->kind))
        return bad(v, "op", index, "impossible number, action or kind");
    if (!is_tag(op->tag, op->written))
        return bad(v, "op", index, "impossible tag");
    if (op->required != PROGRAM_REQUIRED_NONE && op->required >= table->required_count)
        return bad(v, "op", index, "impossible required field");
    if (op->slot != PROGRAM_SLOT_NONE && op->slot >= table->slot_count)
        return bad(v, "op", index, "no such slot");
    if (op->kind == KIND_MESSAGE ? op->table >= COUNT(v, SECTION_TABLE) : op->table != PROGRAM_NONE)
        return bad(v, "op", index, "no such table");
    if (op->convert != PROGRAM_NONE && op->convert >= COUNT(v, SECTION_CONVERT))
        return bad(v, "op", index, "no such conversion");
    if (op->kind == KIND_MESSAGE && !level_fits(v, table, op->table, op->pipe))
        return bad(v, "op", index, "too many stages");
    if (!pipe_fits(v, table, op->pipe))
        return bad(v, "op", index, "impossible pipe");
    if ((op->flags & OP_YIELDS) &&
        (op->later >= table->slot_count || (table->flags & TABLE_SHARED)))
        return bad(v, "op", index, "nothing that waits");
    return verify_op_action(v, table, op, index);
}

static int verify_emit(const struct verifier *v, const struct program_table *table, uint32_t index);

/* A node and those below it, as run.c goes through them. *budget: how many there may still be. */
static int verify_node(const struct verifier *v, const struct program_table *table, uint32_t index,
                       unsigned level, unsigned *budget)
{
    if (index >= COUNT(v, SECTION_NODE))
        return bad(v, "node", index, "there is none");
    const struct program_node *node = &v->plan->nodes[index];
    if (level == PROGRAM_PATH_MAX || *budget == 0)
        return bad(v, "node", index, "too many, or too deep");
    --*budget;
    if (!is_tag(node->tag, KIND_MESSAGE) ||
        !in_range(v, SECTION_EMIT, node->leaf_first, node->leaf_count) ||
        !in_range(v, SECTION_NODE, node->child_first, node->child_count) ||
        node->table >= COUNT(v, SECTION_TABLE))
        return bad(v, "node", index, "impossible tag, fields or table");
    const struct program_table *rest = &v->plan->tables[node->table];
    if (!(rest->flags & TABLE_SHARED) || rest->slot_count > table->slot_count || rest->level > 0)
        return bad(v, "node", index, "its table cannot share the slots");
    int r = 0;
    for (uint32_t i = 0; i < node->leaf_count && r == 0; i++) {
        /* Asked first: another kind may have nodes of its own, this one among them. */
        uint8_t kind = v->plan->emits[node->leaf_first + i].kind;
        if (kind != EMIT_MOVE && kind != EMIT_MOVED)
            return bad(v, "node", index, "a field that did not move");
        r = verify_emit(v, table, node->leaf_first + i);
    }
    for (uint32_t i = 0; i < node->child_count && r == 0; i++)
        r = verify_node(v, table, node->child_first + i, level + 1, budget);
    return r;
}

/* The value of a whole entry is a message that is translated. */
static bool is_whole(const struct verifier *v, const struct program_table *table, bool from_map)
{
    const struct program_op *ops = &v->plan->ops[table->op_first];
    bool first_is_key = (from_map ? ops[0].number : ops[0].tag >> 3) == 1;
    return ops[first_is_key ? 1 : 0].kind == KIND_MESSAGE;
}

/* What says how the values of a field that changes its shape are written: no slots, no carriers. */
static int verify_shape(const struct verifier *v, const struct program_table *around,
                        const struct program_emit *emit, uint32_t index)
{
    const struct program_table *table =
        emit->table < COUNT(v, SECTION_TABLE) ? &v->plan->tables[emit->table] : NULL;
    if (!table || !(table->flags & TABLE_SHARED) || table->op_count == 0 ||
        !in_range(v, SECTION_OP, table->op_first, table->op_count) ||
        !level_fits(v, around, emit->table, emit->pipe))
        return bad(v, "emit", index, "no such table of values");
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &v->plan->ops[table->op_first + i];
        bool unpaired = emit->kind == EMIT_ONEOF && op->action == ACTION_CARRY;
        if (op->slot != PROGRAM_SLOT_NONE ||
            (!unpaired && op->action != ACTION_VERBATIM && op->action != ACTION_RENUMBER &&
             op->action != ACTION_SCALAR && op->action != ACTION_MESSAGE))
            return bad(v, "emit", index, "its values cannot be written");
    }
    if (emit->kind == EMIT_ENTRIES &&
        (table->op_count != 2 ||
         ((emit->flags & EMIT_WHOLE) && !is_whole(v, table, emit->flags & EMIT_FROM_MAP))))
        return bad(v, "emit", index, "impossible entries");
    if (emit->kind == EMIT_ONEOF && (table->op_count > PROGRAM_MEMBER_MAX ||
                                     !in_range(v, SECTION_MEMBER, emit->node, table->op_count)))
        return bad(v, "emit", index, "impossible members");
    return 0;
}

/* The op that keeps the field for it. */
static bool is_later(const struct verifier *v, const struct program_table *table,
                     const struct program_emit *emit)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &v->plan->ops[table->op_first + i];
        if (op->number != emit->number)
            continue;
        bool plain = op->convert != PROGRAM_NONE && op->convert < COUNT(v, SECTION_CONVERT) &&
                     v->plan->converts[op->convert].mode == CONVERT_VALUE;
        return op->action == ACTION_LATER && op->slot == emit->slot &&
               op->written == emit->written && (emit->kind != EMIT_UNUSUAL || plain);
    }
    return false;
}

/* A message that both sides have, and those of that sort in it: they are made even of nothing, so
 * that there may not be endlessly many. *budget: how many there may still be. */
static int verify_within(const struct verifier *v, const struct program_table *around,
                         const struct program_emit *emit, unsigned level, unsigned *budget)
{
    uint32_t index = (uint32_t)(emit - v->plan->emits);
    const struct program_table *table =
        emit->table < COUNT(v, SECTION_TABLE) ? &v->plan->tables[emit->table] : NULL;
    if (!table || (table->flags & TABLE_SHARED) || emit->written != KIND_MESSAGE ||
        emit->pipe != 0 || !level_fits(v, around, emit->table, false) ||
        !in_range(v, SECTION_EMIT, table->emit_first, table->emit_count))
        return bad(v, "emit", index, "no such table");
    if (level == PROGRAM_PATH_MAX || *budget == 0)
        return bad(v, "emit", index, "too many messages in one another");
    --*budget;
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *nested = &v->plan->emits[table->emit_first + i];
        int r =
            nested->kind == EMIT_WITHIN ? verify_within(v, table, nested, level + 1, budget) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int verify_emit(const struct verifier *v, const struct program_table *table, uint32_t index)
{
    const struct program_emit *emit = &v->plan->emits[index];
    if (emit->kind >= EMIT_COUNT || emit->written >= KIND_COUNT || !is_number(emit->number) ||
        !is_tag(emit->tag, emit->written))
        return bad(v, "emit", index, "impossible kind, number or tag");
    if (emit->slot >= table->slot_count)
        return bad(v, "emit", index, "no such slot");
    if (emit->required != PROGRAM_REQUIRED_NONE && emit->required >= table->required_count)
        return bad(v, "emit", index, "impossible required field");
    if (!pipe_fits(v, table, emit->pipe) || emit->carry > WIRE_NUMBER_MAX)
        return bad(v, "emit", index, "impossible pipe or number in a carrier");
    unsigned budget = PROGRAM_NODE_MAX;
    bool has_template = template_fits(v, emit->template, table->slot_count);
    switch (emit->kind) {
    case EMIT_MOVE:
        return is_text(emit->written) || is_integer(emit->written) ? 0
                                                                   : bad(v, "emit", index, "kind");
    case EMIT_GATHER:
        return emit->written == KIND_MESSAGE ? verify_node(v, table, emit->node, 0, &budget)
                                             : bad(v, "emit", index, "kind");
    case EMIT_SPLIT:
        if (emit->written != KIND_MESSAGE)
            return bad(v, "emit", index, "kind");
        break;
    case EMIT_LOST:
    case EMIT_RESTORE:
        return 0;
    case EMIT_MOVED:
        if (emit->template == 0 || emit->template > PROGRAM_PATH_MAX + 1 ||
            !in_range(v, SECTION_STEP, emit->node, emit->template))
            return bad(v, "emit", index, "impossible path");
        return verify_shape(v, table, emit, index);
    case EMIT_WITHIN:
        return verify_within(v, table, emit, 0, &budget);
    case EMIT_PICK:
    case EMIT_UNPICK:
    case EMIT_WRAP:
    case EMIT_UNWRAP:
    case EMIT_WRAP_EACH:
    case EMIT_UNWRAP_EACH:
    case EMIT_ENTRIES:
    case EMIT_ONEOF:
        return verify_shape(v, table, emit, index);
    case EMIT_CONVERT:
    case EMIT_UNUSUAL:
        return is_later(v, table, emit) ? 0 : bad(v, "emit", index, "no field that waits");
    case EMIT_CONSTANT:
        return emit->node < COUNT(v, SECTION_CONVERT) &&
                       fits_kinds(&v->plan->converts[emit->node], emit->written, emit->written)
                   ? 0
                   : bad(v, "emit", index, "no such constant");
    default:
        if (emit->written != KIND_STRING)
            return bad(v, "emit", index, "kind");
    }
    return has_template ? 0 : bad(v, "emit", index, "no such text");
}

/* The table for the content of a carrier. */
static int verify_restore(const struct verifier *v, const struct program_table *table,
                          uint32_t index, uint32_t restore_index)
{
    if (restore_index >= COUNT(v, SECTION_TABLE))
        return bad(v, "table", index, "no such table of a carrier");
    const struct program_table *restore = &v->plan->tables[restore_index];
    if (!(restore->flags & TABLE_SHARED) || restore->slot_count > table->slot_count ||
        restore->required_count > table->required_count ||
        !level_fits(v, table, restore_index, 0) ||
        !in_range(v, SECTION_OP, restore->op_first, restore->op_count))
        return bad(v, "table", index, "impossible table of a carrier");
    for (uint32_t i = 0; i < restore->op_count; i++)
        if (v->plan->ops[restore->op_first + i].action == ACTION_OPEN)
            return bad(v, "table", index, "a carrier in a carrier");
    return 0;
}

static int verify_stages(const struct verifier *v, uint32_t index)
{
    const struct program_table *table = &v->plan->tables[index];
    if (table->level > PROGRAM_LEVEL_MAX)
        return bad(v, "table", index, "more stages than a path has");
    if (!in_range(v, SECTION_OWNER, table->owner_first, table->owner_count) ||
        table->owner_count > PLAN_VERSION_MAX)
        return bad(v, "table", index, "impossible carriers");
    if (table->next == 0)
        return 0;
    if (table->next > COUNT(v, SECTION_TABLE))
        return bad(v, "table", index, "no such next stage");
    const struct program_table *next = &v->plan->tables[table->next - 1];
    if ((table->flags & (TABLE_SHARED | TABLE_VERBATIM)) || (next->flags & TABLE_SHARED) ||
        next->level >= table->level)
        return bad(v, "table", index, "impossible next stage");
    return 0;
}

static int verify_table(const struct verifier *v, uint32_t index)
{
    const struct program_table *table = &v->plan->tables[index];
    if (!in_range(v, SECTION_OP, table->op_first, table->op_count) ||
        !in_range(v, SECTION_DENSE, table->dense_first, table->dense_count) ||
        !in_range(v, SECTION_EMIT, table->emit_first, table->emit_count))
        return bad(v, "table", index, "ops or emits past the end");
    if (table->slot_count > PROGRAM_SLOT_MAX || table->required_count > PROGRAM_REQUIRED_MAX ||
        table->op_count >= UINT16_MAX)
        return bad(v, "table", index, "past a limit");
    if ((table->flags & TABLE_SHARED) && table->emit_count > 0)
        return bad(v, "table", index, "emits into slots that are not its own");
    for (uint32_t i = 0; i < table->dense_count; i++) {
        uint16_t op = v->plan->dense[table->dense_first + i];
        if (op > table->op_count || (op > 0 && v->plan->ops[table->op_first + op - 1].number != i))
            return bad(v, "table", index, "impossible dense index");
    }
    int r = verify_stages(v, index);
    if (r == 0 && table->restore != PROGRAM_NONE)
        r = verify_restore(v, table, index, table->restore);
    for (uint32_t i = 0; i < table->owner_count && r == 0; i++)
        r = verify_restore(v, table, index, v->plan->owners[table->owner_first + i].table);
    for (uint32_t i = 0; i < table->op_count && r == 0; i++)
        r = verify_op(v, table, table->op_first + i);
    for (uint32_t i = 0; i < table->emit_count && r == 0; i++)
        r = verify_emit(v, table, table->emit_first + i);
    return r;
}

static int verify_template(const struct verifier *v, uint32_t index)
{
    const struct program_template *template = &v->plan->templates[index];
    if (template->part_count < 1 || template->part_count > PROGRAM_PART_MAX ||
        template->otherwise >= template->part_count ||
        !in_range(v, SECTION_PART, template->part_first, template->part_count))
        return bad(v, "text", index, "impossible parts");
    for (uint32_t i = 0; i < template->part_count; i++) {
        const struct program_part *part = &v->plan->parts[template->part_first + i];
        if (!in_range(v, SECTION_TEXT, part->text_first, part->text_bytes) ||
            part->text_bytes > PROGRAM_LITERAL_BYTES_MAX ||
            wire_check_string(v->plan->text + part->text_first, part->text_bytes) < 0)
            return bad(v, "text", index, "impossible literal");
        bool last = i + 1 == template->part_count;
        if (part->slot == PROGRAM_SLOT_NONE ? !last || template->otherwise == i
                                            : part->tag != 0 && !is_tag(part->tag, KIND_STRING))
            return bad(v, "text", index, "impossible field");
    }
    return 0;
}

static bool is_kind_of_value(uint8_t kind, uint8_t form)
{
    return kind < KIND_COUNT && form < FORM_COUNT && (kind == KIND_MESSAGE) == (form != FORM_PLAIN);
}

/* Only integers and strings stand beside a time. */
static bool is_value_pair(const struct program_convert *convert)
{
    bool time = convert->kind == KIND_MESSAGE, written_time = convert->written == KIND_MESSAGE;
    uint8_t other = time ? convert->written : convert->kind;
    return !(time || written_time) ||
           (time != written_time && (is_integer(other) || other == KIND_STRING));
}

static bool is_entry(const struct verifier *v, const struct program_convert *convert)
{
    if (convert->value >= COUNT(v, SECTION_CONVERT) || convert->key >= KIND_COUNT ||
        convert->key_written >= KIND_COUNT)
        return false;
    const struct program_convert *value = &v->plan->converts[convert->value];
    bool text = convert->key == KIND_STRING;
    return (value->mode == CONVERT_VALUE || value->mode == CONVERT_MAP) &&
           (text ? convert->key_written == KIND_STRING
                 : is_integer(convert->key) && is_integer(convert->key_written)) &&
           value->kind < KIND_MESSAGE && value->written < KIND_MESSAGE;
}

static bool is_text_of(const struct verifier *v, uint32_t first, uint32_t bytes)
{
    return in_range(v, SECTION_TEXT, first, bytes) && bytes <= PROGRAM_NAME_BYTES_MAX &&
           wire_check_string(v->plan->text + first, bytes) == 0;
}

static int verify_convert(const struct verifier *v, uint32_t index)
{
    const struct program_convert *convert = &v->plan->converts[index];
    bool factor = convert->mode == CONVERT_MULTIPLY || convert->mode == CONVERT_DIVIDE;
    if (convert->mode >= CONVERT_COUNT || convert->factor > INT64_MAX ||
        (factor && convert->factor == 0))
        return bad(v, "conversion", index, "impossible mode or factor");
    if ((convert->mode == CONVERT_MAP || convert->map != PROGRAM_NONE) && !factor &&
        convert->map >= COUNT(v, SECTION_MAP))
        return bad(v, "conversion", index, "no such map");
    if (convert->mode == CONVERT_ENTRY && !is_entry(v, convert))
        return bad(v, "conversion", index, "impossible entries");
    if (convert->mode != CONVERT_VALUE)
        return 0;
    if (!is_kind_of_value(convert->kind, convert->form) ||
        !is_kind_of_value(convert->written, convert->written_form) || !is_value_pair(convert))
        return bad(v, "conversion", index, "impossible kinds");
    if (convert->multiply == 0 || convert->divide == 0 || convert->unit > 4 ||
        convert->coding > 2 || convert->out_of_domain > 2 ||
        !is_text_of(v, convert->text_first, convert->text_bytes))
        return bad(v, "conversion", index, "impossible numbers or text");
    return 0;
}

static int verify_maps(const struct verifier *v)
{
    const struct plan *plan = v->plan;
    for (uint32_t i = 0; i < COUNT(v, SECTION_MAP); i++)
        if (!in_range(v, SECTION_PAIR, plan->maps[i].pair_first, plan->maps[i].pair_count) ||
            !in_range(v, SECTION_NAME, plan->maps[i].name_first, plan->maps[i].name_count))
            return bad(v, "map", i, "values past the end");
    for (uint32_t i = 0; i < COUNT(v, SECTION_NAME); i++)
        if (!is_text_of(v, plan->names[i].text_first, plan->names[i].text_bytes))
            return bad(v, "name", i, "impossible text");
    return 0;
}

int program_verify(const struct plan *plan, struct error_text *error)
{
    const struct verifier v = {plan, error};
    int r = verify_maps(&v);
    for (uint32_t i = 0; i < COUNT(&v, SECTION_TEMPLATE) && r == 0; i++)
        r = verify_template(&v, i);
    for (uint32_t i = 0; i < COUNT(&v, SECTION_CONVERT) && r == 0; i++)
        r = verify_convert(&v, i);
    for (uint32_t i = 0; i < COUNT(&v, SECTION_TABLE) && r == 0; i++)
        r = verify_table(&v, i);
    for (uint32_t i = 0; i < COUNT(&v, SECTION_ENTRY) && r == 0; i++) {
        uint32_t table = plan->entries[i].table;
        if (table != PROGRAM_NONE &&
            (table >= COUNT(&v, SECTION_TABLE) || (plan->tables[table].flags & TABLE_SHARED)))
            r = bad(&v, "entry", i, "no such table");
    }
    return r;
}
