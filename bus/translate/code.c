/*
 * Pages for machine code: mapped writable, filled, then made executable and read-only.
 *
 * One piece of code has a mapping of its own, so that it can go when its plan goes. A child of
 * fork() has the pages as they are, read-only, and frees its own view of them.
 *
 * The refusal of a system is remembered for the process: it is a matter of its policy, not of the
 * moment, and asking again would cost a mapping for each plan. It is said once in the log.
 */
#include "translate/code.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

struct code {
    uint8_t *pages;
    size_t mapped_bytes, bytes;
};

/* An enum code_switch. relaxed everywhere: it orders nothing, and all that set it agree. */
static atomic_int state = CODE_AS_SET;

static int look(void)
{
    const char *set = getenv("PARLEY_MACHINE_CODE");
    int found = CODE_HAVE && !(set && strcmp(set, "0") == 0) ? CODE_ON : CODE_OFF;
    int before = CODE_AS_SET;
    if (!atomic_compare_exchange_strong_explicit(&state, &before, found, memory_order_relaxed,
                                                 memory_order_relaxed))
        return before;
    return found;
}

static int current(void)
{
    int now = atomic_load_explicit(&state, memory_order_relaxed);
    return now == CODE_AS_SET ? look() : now;
}

bool code_allowed(void)
{
    return current() == CODE_ON;
}

void code_set_switch(enum code_switch to)
{
    atomic_store_explicit(&state, CODE_HAVE || to != CODE_ON ? (int)to : CODE_OFF,
                          memory_order_relaxed);
}

static int refused(int error)
{
    int before = CODE_ON;
    if (atomic_compare_exchange_strong_explicit(&state, &before, CODE_REFUSED, memory_order_relaxed,
                                                memory_order_relaxed))
        log_debug("no machine code for translation plans: the system refuses executable memory "
                  "(%s); they run without it, only slower",
                  strerror(error));
    return -EACCES;
}

static struct code *release(struct code *code)
{
    int before = errno;
    if (code && code->pages)
        (void)munmap(code->pages, code->mapped_bytes);
    free(code);
    errno = before;
    return NULL;
}

int code_new(const uint8_t *bytes, size_t count, struct code **ret_code)
{
    int now = current();
    if (now != CODE_ON)
        return now == CODE_REFUSED ? -EACCES : -ENOTSUP;
    if (count == 0 || count > CODE_BYTES_MAX)
        return -E2BIG;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct code *code = calloc(1, sizeof(*code));
    if (!code)
        return -ENOMEM;
    code->bytes = count;
    code->mapped_bytes = (count + page - 1) / page * page;
    void *pages =
        mmap(NULL, code->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        release(code);
        return -ENOMEM;
    }
    code->pages = pages;
    memset(code->pages, 0xcc, code->mapped_bytes); /* INT3 behind the end */
    memcpy(code->pages, bytes, count);
    if (mprotect(pages, code->mapped_bytes, PROT_READ | PROT_EXEC) < 0) {
        int error = errno;
        release(code);
        return error == ENOMEM ? -ENOMEM : refused(error);
    }
    *ret_code = code;
    return 0;
}

struct code *code_free(struct code *code)
{
    return release(code);
}

void (*code_function(const struct code *code, size_t offset))(void)
{
    return (void (*)(void))(uintptr_t)(code->pages + offset);
}

size_t code_bytes(const struct code *code)
{
    return code->bytes;
}
