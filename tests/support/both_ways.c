/*
 * One message, unpacked three times and compared: by the loop, by machine code, and by what goes
 * around both for messages that are large or translated.
 *
 * The source ends at a page that may not be touched, and so does every block of the struct: its end
 * is the end of the private copy and what may be read behind it, so that a byte too many is a
 * segmentation fault. For that, the linker gives wire_block_new() and wire_block_free() to the
 * functions here (--wrap), which have blocks of their own while `guarding` says so.
 */
#include "both_ways.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/same_structs.h"
#include "translate/bind.h"
#include "translate/unpack_code.h"
#include "wire/bump.h"
#include "wire/wire.h"

#define GUARDED_BLOCK UINT32_MAX /* no class of blocks.c */

/* Before guarded memory. */
struct mark {
    alignas(16) uint8_t *base;
    size_t mapped_bytes;
};

static bool guarding;

/* Mappings that were given back, to be used again: the system calls for a new one take longer than
 * the test itself. The page behind each stays closed. */
static struct mark kept[8];

struct wire_chunk *__real_wire_block_new(size_t *bytes);
struct wire_chunk *__wrap_wire_block_new(size_t *bytes);
void *__real_wire_block_free(struct wire_chunk *chunk);
void *__wrap_wire_block_free(struct wire_chunk *chunk);

static struct mark *find_kept(size_t mapped_bytes)
{
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (kept[i].mapped_bytes == mapped_bytes)
            return &kept[i];
    return NULL;
}

/* @room bytes, and behind them a page that may not be touched. */
static struct mark guard_map(size_t room, size_t page)
{
    struct mark *again = find_kept(room + page), mark;
    if (again) {
        mark = *again;
        *again = (struct mark){0};
        return mark;
    }
    void *base =
        mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect((uint8_t *)base + room, page, PROT_NONE) < 0)
        abort();
    return (struct mark){base, room + page};
}

/* What ends at the page; of a multiple of 16 bytes, it is aligned so. */
static uint8_t *guard_alloc(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t room = (sizeof(struct mark) + 16 + bytes + page - 1) / page * page;
    const struct mark mark = guard_map(room, page);
    memset(mark.base, 0xdb, room); /* as full of something as what is used again */
    uint8_t *at = mark.base + room - bytes;
    memcpy(at - sizeof(mark), &mark, sizeof(mark));
    return at;
}

static void guard_free(const void *memory)
{
    struct mark mark;
    memcpy(&mark, (const uint8_t *)memory - sizeof(mark), sizeof(mark));
    struct mark *free_place = find_kept(0);
    if (free_place)
        *free_place = mark;
    else
        (void)munmap(mark.base, mark.mapped_bytes);
}

struct wire_chunk *__wrap_wire_block_new(size_t *bytes)
{
    if (!guarding)
        return __real_wire_block_new(bytes);
    const size_t whole = (sizeof(struct wire_chunk) + *bytes + 15) & ~(size_t)15;
    struct wire_chunk *chunk = (struct wire_chunk *)(void *)guard_alloc(whole);
    chunk->kept_as = GUARDED_BLOCK;
    *bytes = whole - sizeof(*chunk);
    return chunk;
}

void *__wrap_wire_block_free(struct wire_chunk *chunk)
{
    if (chunk->kept_as != GUARDED_BLOCK)
        return __real_wire_block_free(chunk);
    guard_free(chunk);
    return NULL;
}

static const char *compare(int r, const struct plan_failure *failure, int by_code,
                           const struct plan_failure *code_failure)
{
    if (r == -E2BIG || by_code == -E2BIG) /* of memory, which is asked for in other portions */
        return NULL;
    if (r != by_code)
        return "two ways to unpack return other values";
    if (r < 0 &&
        (failure->offset != code_failure->offset || failure->number != code_failure->number ||
         strcmp(failure->what, code_failure->what) != 0))
        return "two ways to unpack say another error";
    return NULL;
}

int unpack_both_ways(struct plan_binding *binding, uint32_t entry, const uint8_t *data,
                     size_t bytes, ProtobufCMessage **ret_message, struct plan_failure *ret_failure,
                     const char **ret_difference)
{
    uint8_t *source = guard_alloc(bytes);
    ProtobufCMessage *message = NULL, *by_code = NULL, *at_length = NULL;
    struct plan_failure failure = {0, 0, ""}, code_failure = {0, 0, ""}, any_failure = {0, 0, ""};
    const uint8_t *copy;
    if (bytes > 0)
        memcpy(source, data, bytes);
    guarding = true;
    /* Code that is there is put aside meanwhile: to make it takes longer than to use it. */
    struct unpack_code *aside = atomic_exchange(&binding->code, NULL);
    plan_binding_use_code(binding, UNPACK_CODE_NEVER);
    int r = plan_unpack(binding, entry, source, bytes, &message, &failure);
    atomic_store(&binding->code, aside);
    plan_binding_use_code(binding, UNPACK_CODE_AT_ONCE);
    int code = plan_unpack(binding, entry, source, bytes, &by_code, &code_failure);
    int any = plan_unpack_any(binding, entry, source, bytes, &at_length, &copy, &any_failure);
    guarding = false;
    *ret_difference = compare(r, &failure, code, &code_failure);
    if (!*ret_difference)
        *ret_difference = compare(r, &failure, any, &any_failure);
    if (r == 0 && code == 0 && !same_structs(message, by_code))
        *ret_difference = "the loop and the machine code give other structs";
    if (r == 0 && any == 0 && !same_structs(message, at_length))
        *ret_difference = "the short way and the one for any message give other structs";
    wire_free(by_code);
    wire_free(at_length);
    guard_free(source);
    if (r == 0)
        *ret_message = message;
    else if (ret_failure)
        *ret_failure = failure;
    return r;
}
