/*
 * One crossing into the struct, from the block that it goes into to what became of it (unpack.c
 * says how it is done).
 *
 * Most messages are small, and are only checked, or translated by machine code: these cross in one
 * function of next to no branches, which sets no more than machine code needs. The rest is set when
 * that gives up, or for what is large, staged, or of a binding that has no code.
 */
#include "translate/unpack.h"

#include <stdlib.h>

#include "base/call_path.h"
#include "base/copy.h"
#include "base/sanitized.h"

#define READ_BYTES 64 /* behind the copy: the NUL of its end, and what is read past it */
/* What is large is large by its texts and bytes, which stay in the copy. Room for twice as much
 * again would be more than malloc() keeps, and be mapped anew for each message. */
#define GUESS_BYTES_MAX (64 << 10)
#define GUESS_BYTES_MIN 256
#define TRANSLATED_BYTES_MAX 512 /* directly */

/* ---- Machine code ---- */

__attribute__((noinline, cold)) static const struct unpack_code *make_code(struct plan_binding *own)
{
    struct unpack_code *code = unpack_code_new(own);
    atomic_store_explicit(&own->code, code, memory_order_release);
    return code;
}

/* Any thread. One of them makes it, the others go on without meanwhile. */
CALL_PATH __attribute__((noinline)) static const struct unpack_code *
code_wanted(struct plan_binding *own)
{
    /* relaxed: only who makes it counts. */
    if (atomic_load_explicit(&own->code_uses, memory_order_relaxed) > UNPACK_CODE_USES_BEFORE ||
        atomic_fetch_add_explicit(&own->code_uses, 1, memory_order_relaxed) !=
            UNPACK_CODE_USES_BEFORE)
        return NULL;
    return make_code(own);
}

/* NULL: there is none yet, or never. */
static inline const struct unpack_code *code_of(const struct plan_binding *binding)
{
    /* acquire: pairs with the release above, for the code and the tables' code_at. */
    return atomic_load_explicit(&binding->code, memory_order_acquire);
}

static inline const struct unpack_code *find_code(const struct plan_binding *binding)
{
    const struct unpack_code *code = code_of(binding);
    return __builtin_expect(code != NULL, 1)
               ? code
               : code_wanted((struct plan_binding *)(uintptr_t)binding); /* made on the heap */
}

void plan_binding_use_code(struct plan_binding *binding, enum unpack_code_use use)
{
    struct unpack_code *code = atomic_load_explicit(&binding->code, memory_order_relaxed);
    int uses = use == UNPACK_CODE_NEVER ? UNPACK_CODE_USES_BEFORE + 1 : UNPACK_CODE_USES_BEFORE;
    if (use == UNPACK_CODE_NEVER)
        code = unpack_code_free(code);
    atomic_store_explicit(&binding->code, code, memory_order_relaxed);
    atomic_store_explicit(&binding->code_uses, uses, memory_order_relaxed);
}

/* ---- The whole ---- */

static inline size_t copy_room(size_t source_bytes)
{
    return (source_bytes + READ_BYTES + 7) & ~(size_t)7;
}

/* The block begins with the struct and ends with the copy; between is room for what hangs on the
 * struct. @room: of the chunk; @left: of the budget, without it. Return: where the copy goes. */
static inline __attribute__((always_inline)) uint8_t *
begin_block(struct unpack *u, const struct bound_table *table, struct wire_chunk *chunk,
            size_t room, size_t copy_bytes, size_t left)
{
    uint8_t *message = (uint8_t *)(chunk + 1), *end = message + room - copy_bytes;
    chunk->next = NULL;
    chunk->hold = NULL;
    u->bump.first = u->bump.last = chunk;
    u->bump.pos = message + table->message_bytes;
    u->bump.end = end;
    u->bump.chunk_bytes = room; /* the next one is twice that */
    u->bump.left = left;
    u->bump.error = 0;
    copy_image(message, table);
    return end;
}

/* @bytes: for what hangs on the struct; a multiple of 8. */
static int open_block(struct unpack *u, const struct bound_table *table, size_t source_bytes,
                      size_t bytes, uint8_t **ret_message, uint8_t **ret_copy)
{
    const size_t copy_bytes = copy_room(source_bytes);
    bytes += table->image_bytes + copy_bytes;
    size_t room = bytes;
    struct wire_chunk *chunk = wire_block_new(&room);
    if (!chunk) {
        u->bump.error = -ENOMEM;
        return unpack_no_memory(u);
    }
    *ret_copy = begin_block(u, table, chunk, room, copy_bytes,
                            wire_unpacked_bytes_max(source_bytes) - bytes);
    *ret_message = (uint8_t *)(chunk + 1);
    return 0;
}

static inline void end_source(struct unpack *u, uint8_t *end)
{
    memset(end, 0, READ_BYTES);
    u->run.source_end = end;
    u->run.readable = end + READ_BYTES;
}

/* The only time that the source is read. */
static inline void take_source(struct unpack *u, uint8_t *copy, const uint8_t *source, size_t bytes)
{
    if (bytes > 0)
        copy_bytes(copy, source, bytes);
    u->run.source = copy;
    end_source(u, copy + bytes);
}

/* Everything as if nothing had been done; but for the block, which open_block() begins, and the
 * source. @stack: NULL: there is nothing to translate. */
static void begin(struct unpack *u, size_t source_bytes, uint8_t *stack, bool detects)
{
    run_clear(&u->run);
    u->run.plan = u->plan = u->binding->plan;
    u->run.divert = unpack_make_directly;
    u->text = u->binding->text;
    u->fragment = u->scratch = NULL;
    u->stack = stack;
    u->source_bytes = source_bytes;
    u->finished = NULL;
    u->growing.at = NULL;
    u->copying = false;
    u->detects = detects;
    u->terminators_end = u->terminators;
    u->begun = true;
}

/* The same for a crossing that has begun without: machine code gives up, or needs C. */
CALL_PATH static void begin_late(struct unpack *u)
{
    const uint32_t elements = u->run.elements;
    begin(u, (size_t)(u->run.source_end - u->run.source), NULL, false);
    u->run.elements = elements;
}

int unpack_message_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth)
{
    if (!u->begun)
        begin_late(u);
    return unpack_message(u, table, message, pos, end, depth);
}

int unpack_at_once_late(struct unpack *u, const struct bound_table *table, uint8_t *message,
                        const uint8_t *pos, const uint8_t *end, unsigned depth,
                        const struct reading *before)
{
    if (!u->begun)
        begin_late(u);
    return unpack_at_once(u, table, message, pos, end, depth, before);
}

static inline void find_way(struct unpack *u, const struct unpack_code *code)
{
    u->enter = code ? code->enter : NULL;
    u->code = code ? code->base : NULL;
}

/* One crossing. */
static int cross(struct unpack *u, const struct bound_table *table, const uint8_t *source,
                 size_t bytes, uint8_t *stack, bool detects, ProtobufCMessage **ret_message,
                 const uint8_t **ret_copy)
{
    uint8_t *message = NULL, *copy = NULL;
    size_t guess = bytes < 512 ? bytes : 2 * bytes;
    if (guess > GUESS_BYTES_MAX)
        guess = GUESS_BYTES_MAX;
    begin(u, bytes, stack, detects);
    u->run.source = NULL;
    int r = open_block(u, table, bytes, (guess + GUESS_BYTES_MIN) & ~(size_t)7, &message, &copy);
    if (r < 0)
        return r;
    take_source(u, copy, source, bytes);
    /* Pipes lower the limit for as long as a message is open, so it must be known before. */
    if (u->plan->header->flags & PROGRAM_STAGED)
        r = unpack_need_scratch(u);
    if (r == 0 && table->translated && !detects) {
        r = run_join_pieces(&u->run, table->table, copy, &bytes, 1);
        end_source(u, copy + bytes);
    }
    if (r == 0)
        r = table->staged ? unpack_message(u, table, message, copy, copy + bytes, 1)
                          : unpack_quickly(u, table, message, copy, copy + bytes, 1);
    if (r == 0) {
        *ret_message = (ProtobufCMessage *)(void *)message;
        *ret_copy = copy;
    }
    if (u->scratch && u->scratch != u->stack)
        free(u->scratch);
    if (r < 0)
        wire_bump_free(&u->bump);
    return r;
}

/* Another crossing of a message that came in pieces, or was refused: its pieces are joined first.
 * @table: translates. */
__attribute__((noinline, cold)) static int
cross_again(const struct plan_binding *binding, const struct bound_table *table,
            const uint8_t *source, size_t source_bytes, ProtobufCMessage **ret_message,
            const uint8_t **ret_copy, struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    u.binding = binding;
    find_way(&u, find_code(binding));
    u.run.failure = (struct plan_failure){0};
    int r = cross(&u, table, source, source_bytes, stack, false, ret_message, ret_copy);
    if (r < 0 && ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* Most small messages go the way below instead. */
__attribute__((noinline)) int plan_unpack_any(const struct plan_binding *binding, uint32_t entry,
                                              const uint8_t *source, size_t source_bytes,
                                              ProtobufCMessage **ret_message,
                                              const uint8_t **ret_copy,
                                              struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    int r = -EINVAL;
    u.binding = binding;
    find_way(&u, find_code(binding));
    u.run.source = NULL;
    u.run.failure = (struct plan_failure){.what = "no such method"};
    if (entry < binding->entry_count && binding->entries[entry]) {
        const struct bound_table *table = binding->entries[entry];
        if (source_bytes > WIRE_MESSAGE_BYTES_MAX) {
            r = run_fail(&u.run, -E2BIG, NULL, 0, "a message larger than the limit");
        } else {
            bool detects = table->translated && !table->hides_pieces;
            r = cross(&u, table, source, source_bytes, stack, detects, ret_message, ret_copy);
            if (r < 0 && detects && r != -ENOMEM)
                return cross_again(binding, table, source, source_bytes, ret_message, ret_copy,
                                   ret_failure);
        }
    }
    if (r < 0 && ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* Room for what hangs on the struct of a message that crosses directly. */
static inline size_t direct_guess(size_t source_bytes)
{
    return copy_room(source_bytes) + GUESS_BYTES_MIN - READ_BYTES;
}

/* Sources that are shorter have room in a block, with their struct and what hangs on them; 0: none
 * have. */
static uint32_t direct_end(const struct bound_table *table, enum wire_block class)
{
    const size_t fixed = table->image_bytes + GUESS_BYTES_MIN - READ_BYTES; /* and twice the copy */
    const size_t room = WIRE_BLOCK_BYTES(class);
    const size_t copy = room > fixed ? (room - fixed) / 2 & ~(size_t)7 : 0;
    return copy < copy_room(0) ? 0 : (uint32_t)(copy - READ_BYTES + 1);
}

static_assert(WIRE_BLOCK_BYTES(WIRE_BLOCK_LONGEST) / 2 <= UNPACK_CODE_BYTES_MAX,
              "what goes directly is short enough for machine code");

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void bind_direct(struct bound_table *table, bool in_stages)
{
    if (table->translated && (table->hides_pieces || in_stages))
        return; /* pieces first, or with a limit that is known before */
    table->direct_end = table->translated
                            ? least(direct_end(table, WIRE_BLOCK_LONG), TRANSLATED_BYTES_MAX + 1)
                            : direct_end(table, WIRE_BLOCK_LONGEST);
    table->long_end = table->translated ? 0 : direct_end(table, WIRE_BLOCK_LONG);
    table->short_end = table->translated ? 0 : direct_end(table, WIRE_BLOCK_SHORT);
}

/* @class: of the block, a constant; WIRE_BLOCK_LONGEST: at most. NULL: no memory. */
static inline struct wire_chunk *direct_block(const struct bound_table *table, size_t source_bytes,
                                              const enum wire_block class, size_t *ret_room)
{
    *ret_room = WIRE_BLOCK_BYTES(class);
    if (!SANITIZED && class != WIRE_BLOCK_LONGEST)
        return wire_block_of(class);
    *ret_room = table->image_bytes + copy_room(source_bytes) + direct_guess(source_bytes);
    return wire_block_new(ret_room);
}

static inline void copy_source(uint8_t *copy, const uint8_t *source, size_t bytes,
                               const enum wire_block class)
{
    if (class == WIRE_BLOCK_LONGEST)
        copy_bytes(copy, source, bytes);
    else
        copy_few(copy, source, bytes);
}

/* One crossing of a small message of a table that only checks, which needs no scratch, no second
 * crossing, and nothing before: what most messages are, so it is one function of next to no
 * branches. Most of what a crossing may need is set only when machine code gives up. @class: as in
 * direct_block(). */
static inline __attribute__((always_inline)) int
cross_directly(const struct plan_binding *binding, const struct bound_table *table,
               const uint8_t *source, size_t source_bytes, const enum wire_block class,
               ProtobufCMessage **ret_message, const uint8_t **ret_copy,
               struct plan_failure *ret_failure)
{
    struct unpack u;
    size_t room;
    struct wire_chunk *chunk = direct_block(table, source_bytes, class, &room);
    const struct unpack_code *code = find_code(binding);
    u.binding = binding;
    u.begun = false;
    u.run.elements = 0;
    int r;
    if (__builtin_expect(chunk != NULL, 1)) {
        uint8_t *message = (uint8_t *)(chunk + 1);
        uint8_t *copy = begin_block(&u, table, chunk, room, copy_room(source_bytes),
                                    wire_unpacked_bytes_max(source_bytes) - room);
        if (source_bytes > 0)
            copy_source(copy, source, source_bytes, class);
        u.run.source = copy;
        end_source(&u, copy + source_bytes);
        if (__builtin_expect(code != NULL && table->code_at > 0, 1)) {
            u.enter = code->enter;
            u.code = code->base;
            r = u.enter(&u, message, copy, copy + source_bytes, 1, u.code + table->code_at);
        } else {
            find_way(&u, code);
            r = unpack_at_once_late(&u, table, message, copy, copy + source_bytes, 1, NULL);
        }
        if (__builtin_expect(r == 0, 1)) {
            *ret_message = (ProtobufCMessage *)(void *)message;
            *ret_copy = copy;
            return 0;
        }
        wire_bump_free(&u.bump);
    } else {
        u.run.source = NULL;
        u.bump.error = -ENOMEM;
        r = unpack_no_memory(&u);
    }
    if (ret_failure)
        *ret_failure = u.run.failure;
    return r;
}

/* That of which a short block would be too short. */
__attribute__((noinline)) static int
cross_long(const struct plan_binding *binding, const struct bound_table *table,
           const uint8_t *source, size_t source_bytes, ProtobufCMessage **ret_message,
           const uint8_t **ret_copy, struct plan_failure *ret_failure)
{
    return cross_directly(binding, table, source, source_bytes, WIRE_BLOCK_LONG, ret_message,
                          ret_copy, ret_failure);
}

/* That of which a long one would be. */
__attribute__((noinline)) static int
cross_longest(const struct plan_binding *binding, const struct bound_table *table,
              const uint8_t *source, size_t source_bytes, ProtobufCMessage **ret_message,
              const uint8_t **ret_copy, struct plan_failure *ret_failure)
{
    return cross_directly(binding, table, source, source_bytes, WIRE_BLOCK_LONGEST, ret_message,
                          ret_copy, ret_failure);
}

/* One crossing of a small message that machine code translates. @code: that of the binding. */
__attribute__((noinline)) static int
cross_translated(const struct plan_binding *binding, const struct bound_table *table,
                 const struct unpack_code *code, const uint8_t *source, size_t source_bytes,
                 ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                 struct plan_failure *ret_failure)
{
    uint8_t stack[SCRATCH_BYTES];
    struct unpack u;
    size_t room;
    struct wire_chunk *chunk = direct_block(table, source_bytes, WIRE_BLOCK_LONG, &room);
    if (__builtin_expect(!chunk, 0))
        return cross_again(binding, table, source, source_bytes, ret_message, ret_copy,
                           ret_failure); /* it says so, or has more luck */
    u.binding = binding;
    u.enter = code->enter;
    u.code = code->base;
    begin(&u, source_bytes, stack, true);
    uint8_t *copy = begin_block(&u, table, chunk, room, copy_room(source_bytes),
                                wire_unpacked_bytes_max(source_bytes) - room);
    take_source(&u, copy, source, source_bytes);
    int r =
        u.enter(&u, (uint8_t *)(chunk + 1), copy, copy + source_bytes, 1, u.code + table->code_at);
    if (__builtin_expect(u.scratch && u.scratch != stack, 0))
        free(u.scratch);
    if (__builtin_expect(r == 0, 1)) {
        *ret_message = (ProtobufCMessage *)(void *)(chunk + 1);
        *ret_copy = copy;
        return 0;
    }
    wire_bump_free(&u.bump);
    return cross_again(binding, table, source, source_bytes, ret_message, ret_copy, ret_failure);
}

static inline __attribute__((always_inline)) int
unpack_any(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
           size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
           struct plan_failure *ret_failure)
{
    const struct bound_table *table = entry < binding->entry_count ? binding->entries[entry] : NULL;
    if (__builtin_expect(table && source_bytes < table->short_end, 1))
        return cross_directly(binding, table, source, source_bytes, WIRE_BLOCK_SHORT, ret_message,
                              ret_copy, ret_failure);
    if (table && source_bytes < table->direct_end) {
        if (source_bytes < table->long_end)
            return cross_long(binding, table, source, source_bytes, ret_message, ret_copy,
                              ret_failure);
        if (!table->translated)
            return cross_longest(binding, table, source, source_bytes, ret_message, ret_copy,
                                 ret_failure);
        const struct unpack_code *code = code_of(binding);
        if (code && table->code_at > 0)
            return cross_translated(binding, table, code, source, source_bytes, ret_message,
                                    ret_copy, ret_failure);
    }
    return plan_unpack_any(binding, entry, source, source_bytes, ret_message, ret_copy,
                           ret_failure);
}

CALL_PATH int plan_unpack(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                          size_t source_bytes, ProtobufCMessage **ret_message,
                          struct plan_failure *ret_failure)
{
    const uint8_t *copy;
    return unpack_any(binding, entry, source, source_bytes, ret_message, &copy, ret_failure);
}

int plan_unpack_copy(const struct plan_binding *binding, uint32_t entry, const uint8_t *source,
                     size_t source_bytes, ProtobufCMessage **ret_message, const uint8_t **ret_copy,
                     struct plan_failure *ret_failure)
{
    return unpack_any(binding, entry, source, source_bytes, ret_message, ret_copy, ret_failure);
}
