/*
 * Inside the plan runner: its state, and the small readers that its loops share.
 */
#ifndef PARLEY_TRANSLATE_RUN_H
#define PARLEY_TRANSLATE_RUN_H

#include <errno.h>
#include <string.h>

#include "translate/program.h"
#include "wire/text.h"

/* Behind the private copy, so that the short way may read on there. */
#define RUN_BEHIND_BYTES 64
#define RUN_SLOT_MAX 128 /* open at once, in all messages around the current one */

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

struct span {
    const uint8_t *data;
    size_t bytes;
};

/* What an op keeps for the end of its message. Last occurrence wins. */
struct slot {
    const uint8_t *data; /* text; of an op that may lose something: the whole record */
    uint32_t bytes;
    bool seen;       /* in the source */
    bool lost;       /* going back from `mapped` would not give `value` */
    bool marked;     /* JOIN: had more than the text can hold */
    bool has_guard;  /* cached below */
    bool restored;   /* from a carrier: the emit has nothing to do */
    bool overridden; /* by another member of its oneof; with has_guard */
    int64_t value;   /* as the source has it */
    int64_t mapped;  /* as the target gets it */
    uint64_t guard;
};

static inline void run_keep(struct slot *slot, const uint8_t *data, uint32_t bytes)
{
    slot->seen = true;
    slot->data = data;
    slot->bytes = bytes;
}

struct frame;

/* What machine code is told and what it says; see machine.h. */
struct machine {
    const uint8_t *pos; /* in: where to begin; out: where it has stopped */
    const uint8_t *stop, *end;
    uint8_t *out;   /* the same of what is written */
    uint8_t *limit; /* FAST_WRITE_BYTES before the run's */
    struct frame *frame;
    const uint8_t *at; /* the outermost message's field that is being done, with what is counted */
    uint8_t *at_out;
    void *stack;
    uint8_t *end_out; /* where the end of a message began to be written */
    uint8_t *open;    /* and the message or the text that is put together there */
    size_t moved_in;
    struct {
        uint32_t at, bytes;
    } pieces[PROGRAM_PART_MAX]; /* of a text that is taken apart */
    uint64_t seen;
    uint32_t fields, elements, at_elements;
    int32_t depth_left;
    bool watched, may_end;
    bool ended; /* out: what waits for the message's end is done */
};

struct run {
    const struct plan *plan;
    /* NULL, or asked before emit @index of a frame's table. 1: it has done it; 0: not; or an error.
     */
    int (*divert)(struct run *run, struct frame *frame, uint32_t index);
    const uint8_t *source; /* private */
    const uint8_t *source_end;
    const uint8_t *readable; /* the end of what may be read behind a field: its buffer's */
    const uint8_t *pos;      /* where the short way has stopped */
    /* From here to `machine`: cleared by run_clear(). */
    uint32_t elements;
    uint32_t slots_used;
    const uint8_t *stuck;     /* a field in a nested message that does not go the short way */
    const uint8_t *budget;    /* the end of what the short way has asked the room for */
    const uint8_t *origin;    /* where in it a stage's input comes from; NULL: it is the source's */
    uint8_t *out;             /* the next byte to write */
    uint8_t *limit;           /* the first that must not be */
    const struct frame *root; /* of messages that values move into or out of; NULL: none */
    struct plan_failure failure;
    bool watches;  /* for messages in pieces: run_watch_piece() */
    bool moves_in; /* into `root`: the last piece of such a message */
    int over;      /* the error for coming to the limit */
    struct machine machine;
    struct slot slots[RUN_SLOT_MAX]; /* of the messages that are open, outer ones first */
};

/* One message of the source, while it is translated. */
struct frame {
    const struct program_table *table;
    struct slot *slots;
    const uint8_t *start, *end;
    unsigned depth;       /* 1: the outermost */
    uint32_t fields;      /* read and added */
    uint64_t diverted;    /* slots that got a value other than the default */
    uint64_t touched;     /* slots that got one */
    uint64_t required;    /* seen */
    uint64_t seen;        /* messages that have to be one: fast_message_bit()s */
    uint8_t *carrier;     /* the length of a carrier that can still grow; NULL: none */
    uint8_t *carrier_end; /* it can if nothing was written behind it */
    uint32_t carrier_owner;
    uint32_t owner;  /* of what is carried now */
    uint32_t opens;  /* of the carriers that the emit looks into */
    uint32_t carry;  /* the number under which the emit carries records; 0: their own */
    bool guarded;    /* has guarded carriers, to be looked at at the end */
    bool gathers;    /* has carriers with OP_GATHERED fields */
    bool marked;     /* ACTION_MARK, or an unknown field under TABLE_MARK */
    size_t moved_in; /* bytes written that have moved into it from outside */
    unsigned near;   /* the most that an emit's `near` was, of those that wrote, and 1 */
};

/* Everything but the source as if nothing had been done. In pieces of up to 64 bytes, for which
 * compilers take vectors; for more they may take "rep stos", which is slow to begin. */
static inline void run_clear(struct run *run)
{
    static_assert(offsetof(struct run, machine) - offsetof(struct run, elements) == 88,
                  "two pieces");
    uint8_t *first = (uint8_t *)run + offsetof(struct run, elements);
    memset(first, 0, 64);
    memset(first + 64, 0, 24);
}

/* Records what went wrong. Returns @code. */
int run_fail(struct run *run, int code, const uint8_t *at, uint32_t number, const char *what);

/* ---- check.c: reading and checking ---- */

int run_check_message(struct run *run, const struct program_table *table, const uint8_t *pos,
                      const uint8_t *end, unsigned depth);

/* Checks the value of a field at @pos, whose tag (of @type, at @at) has been read. Returns 0 and
 * the end of the value. */
int run_check_value(struct run *run, const struct program_op *op, enum wire_type type,
                    const uint8_t *at, const uint8_t *pos, const uint8_t *end, unsigned depth,
                    const uint8_t **ret_pos);
/* The same for a field that the table does not know. */
int run_skip_unknown(struct run *run, uint32_t tag, const uint8_t *at, const uint8_t *pos,
                     const uint8_t *end, const uint8_t **ret_pos);
int run_count_element(struct run *run, const struct program_op *op, const uint8_t *at);
int run_count_field(struct run *run, struct frame *frame, const uint8_t *at, uint32_t number);

/* ---- frame.c: translating ---- */

/* @slots: those of the caller for a SHARED table, else NULL. @ret_frame: what became of it. */
int run_translate(struct run *run, const struct program_table *table, struct slot *slots,
                  const uint8_t *start, const uint8_t *end, unsigned depth,
                  struct frame *ret_frame);

/* A field that does not stay where it is: it begins at @at, its value at @pos. */
int run_field(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
              const uint8_t **ret_pos);
/* The parts of it, for a message whose fields go elsewhere (unpack.c). One field from @at on.
 * *copied: up to where the source has been dealt with; what lies between it and the field that
 * follows goes over as it is. */
int run_translate_field(struct run *run, struct frame *frame, const struct program_table *table,
                        const uint8_t *at, const uint8_t *end, const uint8_t **copied,
                        const uint8_t **ret_pos);
/* What waited for the message's end. */
int run_close_frame(struct run *run, struct frame *frame);
/* All fields from @pos to @end, by another table than the frame's. */
int run_translate_fields(struct run *run, struct frame *frame, const struct program_table *table,
                         const uint8_t *pos, const uint8_t *end);

/* Room for a length of a value of about @guess bytes, to be set when the value has been written. */
struct open_length {
    uint8_t *at;
    unsigned bytes;
};
int run_open_length(struct run *run, size_t guess, struct open_length *ret_open);
int run_close_length(struct run *run, const struct open_length *open);
int run_no_room(struct run *run);

/* ---- carrier.c ---- */

/* Adds whole records of the source's type. @guard NULL: restored whatever happens to the rest. */
int run_carry(struct run *run, struct frame *frame, const uint8_t *data, size_t bytes,
              const uint64_t *guard);
/* For records that are still to be written, to be closed with run_carry_end(). */
int run_carry_begin(struct run *run, struct frame *frame, const uint64_t *guard, size_t guess,
                    struct open_length *ret_open);
int run_carry_end(struct run *run, struct frame *frame, const struct open_length *open,
                  const uint64_t *guard);
struct run_record {
    uint32_t tag;
    const uint8_t *at, *value, *end;
};
/* The record at *pos, whose framing is checked; moves *pos behind it. */
int run_next_record(struct run *run, const uint8_t **pos, const uint8_t *end,
                    struct run_record *ret_record);
/* Takes the content of a carrier apart. False: it is not the target's, nor of a version between. */
struct carried {
    const uint8_t *records, *end;
    uint32_t owner, table; /* the type whose fields they are, and what is to be done with them */
    bool has_guard;
    uint64_t guard;
};
bool run_carried(const struct run *run, const struct frame *frame, const uint8_t *data,
                 size_t bytes, struct carried *ret_carried);
/* Restores from guarded carriers what nobody has edited. At the end of a message. @owner: of one
 * version's; 0: of all. */
int run_restore_guarded(struct run *run, struct frame *frame, uint32_t owner);
/* What carriers of @owner have of the message at the end of @numbers, through @table, wherever it
 * is in them. *ret_any: there was something, and be it empty. */
int run_restore_gathered(struct run *run, struct frame *frame, uint32_t owner,
                         const uint32_t *numbers, unsigned count, const struct program_table *table,
                         bool *ret_any);
/* The table for what carriers of that type have; PROGRAM_NONE: they go on untouched. */
uint32_t run_restore_of(const struct run *run, const struct frame *frame, uint32_t owner);
/* The records of one number that carriers of the target have, one after the other: of those without
 * a guard, or of those with this one. Begin with {.pos = frame->start}. */
struct run_held {
    const uint8_t *pos;
    const uint8_t *in, *in_end;
    const uint64_t *guard;
};
/* @number 0: of all numbers. Return: 1: there is one; 0: no more; or an error. */
int run_held_next(struct run *run, const struct frame *frame, struct run_held *held,
                  uint32_t number, struct run_record *ret_record);
/* Carries all records of a field as they are. */
int run_carry_records(struct run *run, struct frame *frame, uint32_t number, uint64_t guard);
/* Carries one record under another number. */
int run_carry_as(struct run *run, struct frame *frame, const uint8_t *data, size_t bytes,
                 uint32_t number, const uint64_t *guard);

/* ---- pieces.c ---- */

/* Moves the pieces of messages together where they have to be one, in the private copy of a message
 * at @depth. *bytes: its length, which may shrink. Return: 0, -E2BIG. */
int run_join_pieces(struct run *run, const struct program_table *table, uint8_t *start,
                    size_t *bytes, unsigned depth);

/* A message is met at @data, up to @end. RUN_PIECES: it is the second of what has to be one, or has
 * such in it where nobody will look. Then all has to be joined, and begun again. Only if
 * run->watches.
 */
int run_watch_piece(struct run *run, struct frame *frame, const struct program_table *table,
                    const struct program_op *op, const uint8_t *data, const uint8_t *end);
/* Whether there may be any, in a whole message, if run->watches. */
bool run_has_pieces(const struct run *run, const struct program_table *table, const uint8_t *start,
                    size_t bytes);
#define RUN_PIECES (-EAGAIN) /* for the caller of the outermost run_translate() */

/* ---- stage.c ---- */

/* Translates once more, by @table, the message that lies from @begin to run->out. It came from
 * @start. @elements: those counted before it. */
int run_next(struct run *run, const struct program_table *table, uint8_t *begin,
             const uint8_t *start, uint32_t elements, unsigned depth);

/* Translates once more, by table @pipe - 1, the records that lie from @begin to run->out, into the
 * same frame. They came from @at; @before: the frame's fields and the elements without them. */
struct counted {
    uint32_t fields, elements;
};
int run_pipe(struct run *run, struct frame *frame, uint32_t pipe, uint8_t *begin, const uint8_t *at,
             struct counted before);

/* ---- value.c ---- */

/* ACTION_SCALAR and the integers of ACTION_SLOT. */
int run_decode(struct run *run, const struct program_op *op, const uint8_t *at, const uint8_t *pos,
               struct slot *ret_value);
/* The bits of an encoded value that has been checked, and the integer that they are. */
uint64_t run_bits(enum wire_type wire, const uint8_t *pos, const uint8_t **ret_pos);
int128 run_number(enum kind kind, uint64_t bits);
uint8_t *run_encode(uint8_t *out, enum kind kind, int64_t value); /* 10 bytes at most */
int run_scalar(struct run *run, struct frame *frame, const struct program_op *op,
               enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end);

/* ---- emit.c ---- */

int run_emit(struct run *run, struct frame *frame, const struct program_emit *emit);
/* What a carrier was guarded by. @template: its text; PROGRAM_NONE: the slot, of that kind. */
uint64_t run_guard_template(const struct run *run, const struct slot *slots, uint32_t template);
uint64_t run_guard_text(const uint8_t *data, size_t bytes);
uint64_t run_guard_value(int64_t value);
uint64_t run_guard_more(uint64_t guard, const void *data, size_t bytes);
#define RUN_GUARD_ABSENT UINT64_C(0) /* the other version got nothing, where it can tell */

/* Fills fields[i] for each part that has a field; false: it does not fit. */
bool run_take_apart(const struct plan *plan, const struct program_template *template,
                    struct span text, struct span fields[PROGRAM_PART_MAX]);
/* What is in the slot, a text or a number. */
int run_write_slot(struct run *run, uint32_t tag, enum kind written, const struct slot *slot);
/* Counts a field that is added. */
int run_add_field(struct run *run, struct frame *frame, const struct program_emit *emit);

/* ---- moved.c ---- */

/* EMIT_MOVED, into a message at @depth. */
int run_emit_moved(struct run *run, struct frame *frame, const struct program_emit *emit,
                   unsigned depth);
int run_emit_within(struct run *run, struct frame *frame, const struct program_emit *emit);
/* ACTION_AWAY, of a value that is checked. @elements: before it was. */
void run_away(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *value, const uint8_t *end, uint32_t elements);

/* ---- shape.c ---- */

/* ACTION_DEFER. */
int run_defer(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
              const uint8_t **ret_pos);
/* EMIT_PICK and what follows it. */
int run_emit_shape(struct run *run, struct frame *frame, const struct program_emit *emit);

/* Whether EMIT_MOVE, EMIT_SPLIT have anything to do. */
static inline bool run_moves(const struct program_emit *emit, const struct slot *slot)
{
    bool text = (emit->tag & 7) == WIRE_BYTES;
    bool given = text ? slot->bytes > 0 : slot->mapped != 0;
    given |= slot->seen && (emit->flags & EMIT_SOURCE_PRESENCE);
    given |= emit->required != PROGRAM_REQUIRED_NONE; /* the default, then */
    return given && !slot->restored;
}

static inline bool run_splits(const struct program_emit *emit, const struct slot *slot)
{
    bool given = slot->bytes > 0 || (emit->flags & EMIT_SOURCE_PRESENCE);
    return !slot->restored && slot->seen && given;
}

/* One by one, for compilers make a loop of the whole. */
static inline void run_init_frame(struct frame *frame, const struct program_table *table,
                                  struct slot *slots, const uint8_t *start, const uint8_t *end,
                                  unsigned depth)
{
    frame->table = table;
    frame->slots = slots;
    frame->start = start;
    frame->end = end;
    frame->depth = depth;
    frame->fields = 0;
    frame->diverted = frame->touched = frame->required = frame->seen = 0;
    frame->carrier = frame->carrier_end = NULL;
    frame->carrier_owner = 0;
    frame->owner = table->source_id;
    frame->opens = frame->carry = 0;
    frame->guarded = frame->gathers = frame->marked = false;
    frame->moved_in = 0;
    frame->near = 0;
}

/* The same for a slot. */
static inline void run_init_slot(struct slot *slot)
{
    slot->data = NULL;
    slot->bytes = 0;
    slot->seen = slot->lost = slot->marked = slot->has_guard = false;
    slot->restored = slot->overridden = false;
    slot->value = slot->mapped = 0;
    slot->guard = 0;
}

static inline void run_note_given(struct frame *frame, const struct program_op *op, bool given)
{
    uint64_t bit = UINT64_C(1) << op->slot;      /* PROGRAM_SLOT_MAX of them */
    given |= (op->flags & OP_OWN_PRESENCE) != 0; /* then it is something that it is there */
    frame->touched |= bit;
    frame->diverted = given ? frame->diverted | bit : frame->diverted & ~bit;
}

/* The text of a field that goes to a slot. */
static inline void run_note_text(struct frame *frame, const struct program_op *op,
                                 const uint8_t *data, uint32_t bytes)
{
    run_keep(&frame->slots[op->slot], data, bytes);
    run_note_given(frame, op, bytes > 0);
}

/* ---- Writing, all inline ---- */

/* @data is in the private copy, or does not overlap. */
static inline int run_write_bytes(struct run *run, const void *data, size_t bytes)
{
    size_t room = (size_t)(run->limit - run->out);
    if (__builtin_expect(bytes > room, 0))
        return run_no_room(run);
    if (bytes > 0)
        memcpy(run->out, data, bytes);
    run->out += bytes;
    return 0;
}

/* The same for what the loops read: @data is where fields are, up to run->readable. Most of it is
 * short, and then more than that is copied, if there is room for more on both sides. */
static inline int run_write_read(struct run *run, const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
#if defined(__SSE2__)
    if (bytes <= 32 && run->limit - run->out >= 32 && run->readable - data >= 32) {
        const __m128i *from = (const __m128i *)(const void *)data;
        __m128i first = _mm_loadu_si128(from), second = _mm_loadu_si128(from + 1);
        __m128i *to = (__m128i *)(void *)run->out;
        _mm_storeu_si128(to, first);
        _mm_storeu_si128(to + 1, second);
        run->out += bytes;
        return 0;
    }
#endif
    return run_write_bytes(run, data, bytes);
}

static inline int run_write_tag(struct run *run, uint32_t tag)
{
    if (__builtin_expect(run->limit - run->out < 5, 0) &&
        run->limit - run->out < (ptrdiff_t)wire_varint_size(tag))
        return run_no_room(run);
    if (tag < 0x80)
        *run->out++ = (uint8_t)tag;
    else
        run->out = wire_write_varint(run->out, tag);
    return 0;
}

static inline int run_write_length(struct run *run, size_t bytes)
{
    return run_write_tag(run, (uint32_t)bytes); /* a varint of 32 bits, both */
}

/* ---- Reading, all inline: nothing passes @end; NULL if malformed ---- */

const uint8_t *run_read_slow(const uint8_t *pos, const uint8_t *end, uint64_t *ret_value);

static inline const uint8_t *run_read_varint(const uint8_t *pos, const uint8_t *end,
                                             uint64_t *ret_value)
{
    if (__builtin_expect(pos < end && *pos < 0x80, 1)) {
        *ret_value = *pos;
        return pos + 1;
    }
    if (end - pos >= 2 && pos[1] < 0x80) {
        *ret_value = (uint64_t)(pos[0] & 0x7f) | (uint64_t)pos[1] << 7;
        return pos + 2;
    }
    return run_read_slow(pos, end, ret_value);
}

/* A tag or a length: five bytes and 32 bits at most. */
static inline const uint8_t *run_read_u32(const uint8_t *pos, const uint8_t *end,
                                          uint32_t *ret_value)
{
    if (__builtin_expect(pos < end && *pos < 0x80, 1)) {
        *ret_value = *pos;
        return pos + 1;
    }
    uint64_t value;
    const uint8_t *after = run_read_slow(pos, end, &value);
    if (!after || after - pos > 5 || value > UINT32_MAX)
        return NULL;
    *ret_value = (uint32_t)value;
    return after;
}

static inline const uint8_t *run_read_length(const uint8_t *pos, const uint8_t *end,
                                             uint32_t *ret_bytes)
{
    pos = run_read_u32(pos, end, ret_bytes);
    return pos && *ret_bytes <= (size_t)(end - pos) ? pos : NULL;
}

static inline const struct program_op *run_find(const struct plan *plan,
                                                const struct program_table *table, uint32_t number)
{
    const struct program_op *ops = plan->ops + table->op_first;
    if (number < table->dense_count) {
        uint16_t index = plan->dense[table->dense_first + number];
        return index ? &ops[index - 1] : NULL;
    }
    uint32_t low = 0, high = table->op_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ops[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < table->op_count && ops[low].number == number ? &ops[low] : NULL;
}

#endif
