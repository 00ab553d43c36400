/*
 * Setting the quick clock by the real one.
 *
 * Each setting is a pair: the counter, and the time at it. A pair whose two readings were torn
 * apart, by an interrupt, is not taken. The rate is measured from pair to pair, if they are far
 * enough apart that the reading's own length does not count, and near enough that it fits in 64
 * bits. A counter whose rate has changed, as that of a virtual machine that moved may have, is
 * measured anew. None of it can make an error last longer than until the next setting.
 *
 * kvm-clock is the counter, too, at a rate that the host names, and is trusted where the kernel
 * lets programs read it.
 *
 * The next setting is due after a span, which doubles while the clock turns out to have been right,
 * and begins anew when it was not. So who reads it once a millisecond mostly gets by without the
 * real clock, whose code and data would be cold by then.
 */
#include "base/quick_clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/call_path.h"
#include "base/clock.h"

#define SPAN_TICKS (UINT64_C(1) << 21)     /* 0.5 to 1 ms: until the rate has proved good */
#define SPAN_TICKS_MAX (UINT64_C(1) << 25) /* 8 to 16 ms */
#define GOOD_NS 250                        /* off by less at the next setting: it has */
#define MEASURED_TICKS (UINT64_C(1) << 20) /* at least, between two pairs */
#define MEASURED_NS (UINT64_C(1) << 31)    /* at most */
#define TORN_TICKS 2000                    /* between two looks at the counter */
#define READS_MAX 2                        /* the first one finds the real clock's code cold */
#define READS_COMPARED 16                  /* of either way to read the real clock */
#define RATE_SHARE 512                     /* by how much of itself the rate may seem to change */

#if defined(__x86_64__)
static uint64_t ticks_of(long (*reader)(struct timespec *now))
{
    struct timespec now;
    uint64_t before = QUICK_CLOCK_TICKS();
    (void)reader(&now);
    return QUICK_CLOCK_TICKS() - before;
}

static long read_any(struct timespec *now)
{
    return clock_gettime(CLOCK_MONOTONIC, now);
}

static long read_kernel(struct timespec *now)
{
    return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, now);
}

/* Whether programs read the clock without a system call, as they do if the kernel finds the
 * counters of all processors in step: it shows in the time that it takes. */
static bool is_read_by_programs(void)
{
    uint64_t any = UINT64_MAX, kernel = UINT64_MAX;
    for (int i = 0; i < READS_COMPARED; i++) {
        uint64_t took = ticks_of(read_any);
        any = took < any ? took : any;
        took = ticks_of(read_kernel);
        kernel = took < kernel ? took : kernel;
    }
    return any < kernel / 2;
}
#endif

bool quick_clock_trusts(const char *source, bool (*by_programs)(void))
{
    return strcmp(source, "tsc\n") == 0 || (strcmp(source, "kvm-clock\n") == 0 && by_programs());
}

void quick_clock_init(struct quick_clock *clock)
{
    memset(clock, 0, sizeof(*clock));
#if defined(__x86_64__)
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (!file)
        return;
    const bool known = fgets(name, sizeof(name), file) != NULL;
    (void)fclose(file);
    clock->trusted = known && quick_clock_trusts(name, is_read_by_programs);
#endif
}

static uint64_t not_before_last(struct quick_clock *clock, uint64_t ns)
{
    if (ns > clock->last)
        clock->last = ns;
    return clock->last;
}

/* Whether the rate is known now. */
static bool measure(struct quick_clock *clock, uint64_t ticks, uint64_t ns)
{
    uint64_t passed = ticks - clock->ticks, passed_ns = ns - clock->ns;
    if (passed_ns >= MEASURED_NS || passed >> 40)
        return clock->rate != 0;
    uint64_t rate = (passed_ns << 32) / passed;
    uint64_t change = rate > clock->rate ? rate - clock->rate : clock->rate - rate;
    if (clock->rate != 0 && change > clock->rate / RATE_SHARE)
        rate = 0;
    clock->rate = rate;
    return rate != 0 && rate < UINT64_C(1) << 40; /* the product fits */
}

/* For how many ticks the clock is to be good from now on. */
static uint64_t span_next(const struct quick_clock *clock, uint64_t ticks, uint64_t ns)
{
    uint64_t passed = ticks - clock->ticks, passed_ns = ns - clock->ns;
    if (clock->span == 0 || passed_ns >= MEASURED_NS || passed >> 33) /* its product fits */
        return SPAN_TICKS;
    uint64_t told = passed * clock->rate >> 32;
    uint64_t off = told > passed_ns ? told - passed_ns : passed_ns - told;
    if (off >= GOOD_NS)
        return SPAN_TICKS;
    return clock->span < SPAN_TICKS_MAX ? 2 * clock->span : SPAN_TICKS_MAX;
}

CALL_PATH uint64_t quick_clock_take(struct quick_clock *clock, uint64_t before, uint64_t ns,
                                    uint64_t after)
{
    uint64_t ticks = before + (after - before) / 2;
    if (after - before > TORN_TICKS)
        return not_before_last(clock, ns);
    if (clock->ticks == 0) {
        clock->ticks = ticks;
        clock->ns = ns;
    } else if (ticks - clock->ticks >= MEASURED_TICKS) {
        uint64_t span = span_next(clock, ticks, ns);
        clock->span = measure(clock, ticks, ns) ? span : 0;
        clock->ticks = ticks;
        clock->ns = ns;
    }
    return not_before_last(clock, ns);
}

CALL_PATH uint64_t quick_clock_set(struct quick_clock *clock)
{
    /* A test's clock may leap: the counter would learn to go as fast, and be far ahead of it. */
    if (!clock->trusted || __builtin_expect(!clock_is_real(), 0)) {
        clock->span = 0;
        return not_before_last(clock, clock_now_ns());
    }
    uint64_t before, ns, after;
    int left = READS_MAX;
    do {
        before = QUICK_CLOCK_TICKS();
        ns = clock_now_ns();
        after = QUICK_CLOCK_TICKS();
    } while (after - before > TORN_TICKS && --left > 0);
    return quick_clock_take(clock, before, ns, after);
}
