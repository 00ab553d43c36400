/*
 * Waiting for descriptors: one interface, two implementations (io_uring, epoll) that pass one
 * conformance suite (tests/conformance/test_wait.c).
 *
 * Contract. Readiness, not completion: an event says that the descriptor may be read (written); the
 * caller then reads until -EAGAIN. After that, new data makes a new event. Between an event and the
 * -EAGAIN an implementation may or may not report it again (io_uring's multishot poll is
 * edge-triggered); an event may be spurious. Data that is there when a descriptor is added makes an
 * event. Hang-up and error make WAIT_HUP, with WAIT_IN if there is something left to read.
 *
 * One call of wait_poll() names a registration at most once, so that a caller that frees what a tag
 * points to, while it walks the events, does not meet it again; events of OTHER registrations that
 * it removes during the walk are in its array already, and its own to skip.
 *
 * While an io_uring waiter has descriptors, epoll_wait() and the like in the same thread may return
 * EINTR without a signal: the kernel interrupts them to fill the ring.
 *
 * One thread, but for wait_wake().
 */
#ifndef PARLEY_WAIT_WAIT_H
#define PARLEY_WAIT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define WAIT_IN (1u << 0)
#define WAIT_OUT (1u << 1)
#define WAIT_HUP (1u << 2)  /* always reported, never asked for */
#define WAIT_WORD (1u << 3) /* what wait_watch() asked for */

#define WAIT_FOREVER UINT64_MAX
#define WAIT_FD_MAX 65536

enum wait_backend {
    WAIT_BACKEND_AUTO = 0, /* PARLEY_WAIT if set, else io_uring if it works here, else epoll */
    WAIT_BACKEND_URING,
    WAIT_BACKEND_EPOLL,
};

struct wait;

struct wait_event {
    void *tag;       /* as given to wait_add() */
    uint32_t events; /* WAIT_IN | WAIT_OUT | WAIT_HUP | WAIT_WORD */
};

/**
 * wait_new() - probe and make a waiter
 * Return: 0; -EINVAL if PARLEY_WAIT names none (the sentence lists them); -ENOSYS if the one asked
 * for does not work here (the sentence says what the kernel said); or -errno.
 */
int wait_new(enum wait_backend backend, struct wait **ret_wait, struct error_text *error);
/* In a child of fork(2) too, where it is all that may be done with a waiter that it inherited: the
 * kernel's side of it is the parent's, and goes on. NULL is fine; returns NULL. */
struct wait *wait_free(struct wait *wait);

const char *wait_name(const struct wait *wait); /* "io_uring" or "epoll" */

/* Readable when wait_poll() would return an event (now and then also when it would return none):
 * for a foreign event loop. Borrowed. */
int wait_fd(const struct wait *wait);

/* @fd: borrowed, 0..WAIT_FD_MAX-1, must stay open until wait_remove(); sockets, pipes, eventfds and
 * the like, not files. Return: 0, -EBADF, -EEXIST, -ENOSPC, -errno. */
int wait_add(struct wait *wait, int fd, uint32_t events, void *tag);
/* Changes what is waited for; what is ready by now makes an event again. Return: 0, -ENOENT, or
 * -errno: the registration is gone. */
int wait_modify(struct wait *wait, int fd, uint32_t events);
/* Afterwards no event with this registration's tag is returned, not even one that was pending.
 * Return: 0, -ENOENT. */
int wait_remove(struct wait *wait, int fd);

/**
 * wait_watch() - a word in shared memory, besides what a descriptor is waited for
 * @fd:   of a registration, which reports it
 * @word: as for wait_words(); must stay mapped until the event, or wait_remove()
 *
 * Makes one WAIT_WORD when the word is woken, or is not 0 by the time of the wait_poll() that comes
 * next; that one submits it, so that it costs no system call of its own. Asked for again, it
 * watches the word that was named last.
 * Return: 0; -ENOSYS: this implementation, or the kernel, cannot; -ENOENT; -errno.
 */
int wait_watch(struct wait *wait, int fd, const void *word);

/**
 * wait_poll() - collect events
 * @timeout_ns: 0 does not wait, and with io_uring makes no system call unless one is due;
 *              WAIT_FOREVER
 *
 * Return: number of events, 0 on timeout, wait_wake() or a signal (EINTR); or -errno.
 */
int wait_poll(struct wait *wait, struct wait_event *ret_events, int max, uint64_t timeout_ns);

/* Makes the wait_poll() that is under way, or the next one, return. Any thread, signal handlers. */
void wait_wake(struct wait *wait);

/* ---- Words in shared memory ---- */

#define WAIT_WORDS_MAX 4                         /* each takes a leg about 0.3 us longer */
#define WAIT_DOZE_WORDS_MAX (WAIT_WORDS_MAX - 1) /* beside one of the waiter's own */

/**
 * wait_words() - sleep while all of these words are 0, until one is woken
 * @words:      1..WAIT_WORDS_MAX; of shared mappings of files, which may be read-only
 * @timeout_ns: short, for nothing else is seen meanwhile, not even wait_wake()
 *
 * Return: 1 if one was woken, or is not 0, for whatever reason; 0 at the timeout or on EINTR;
 * -errno if it cannot be done here (-ENOSYS: several, before Linux 5.16).
 */
int wait_words(const void *const *words, unsigned count, uint64_t timeout_ns);
/**
 * wait_doze() - the same, and see the descriptors of @wait meanwhile
 * @words:      1..WAIT_DOZE_WORDS_MAX
 * @timeout_ns: any, or WAIT_FOREVER
 *
 * Return: 1 as wait_words(), and also if wait_poll() may have something to return for; 0 as
 * wait_words(); -ENOSYS: this implementation, or the kernel, cannot; -errno.
 */
int wait_doze(struct wait *wait, const void *const *words, unsigned count, uint64_t timeout_ns);

/* Whether wait_poll() without a timeout would find nothing to return for, and nothing to do. Much
 * less than finding it out by that; false, too, if it cannot be told without a system call. */
bool wait_quiet(const struct wait *wait);
/* Wakes who waits on this word, up to sixteen times at once; it may be mapped read-only. */
void wait_words_wake(const void *word);

/* ---- How long to spin before sleeping, and how to sleep then ---- */

/*
 * The budget is all or nothing, by what spinning has brought: while it brings something, spin the
 * most; after SPIN_MISSES_MAX waits in a row that it did not shorten, sleep at once. From then on
 * the waits that were slept through say whether spinning would have met what came: one that was
 * shorter than the budget starts it again; one that was not many times longer lets it be tried
 * every SPIN_PROBE_WAITS waits. On one CPU the budget is zero.
 *
 * A wait that is expected to be short, for the last one was, is slept on words, and not for long.
 * But for longer than to the next tick: a timer that is the first to run out has to be set in the
 * hardware, which takes a virtual machine microseconds.
 */
#define SPIN_MISSES_MAX 3
#define SPIN_PROBE_WAITS 16
#define SPIN_FAR 4 /* budgets: what takes longer is not worth a probe */
#define SPIN_SHORT_NS UINT64_C(5000000)
#define SPIN_DOZE_NS UINT64_C(20000000)

struct spin {
    uint64_t budget_ns_max;
    uint64_t last_ns; /* what the last wait took, if it was slept through; 0: it was not */
    uint32_t misses;  /* in a row; SPIN_MISSES_MAX: asleep at once */
    uint32_t waits;   /* since the last probe */
};

/* @first_ns: what the first wait may be expected to take. */
void spin_init(struct spin *spin, uint64_t budget_ns_max, uint64_t first_ns);
/* How long to spin in the wait that begins now, in ns; follow it with one of the two below, unless
 * it was 0. */
uint64_t spin_begin(struct spin *spin);
void spin_hit(struct spin *spin);  /* something came meanwhile */
void spin_miss(struct spin *spin); /* it was spent in vain */
/* How long to doze in this wait, in ns; 0: not at all. */
uint64_t spin_doze(const struct spin *spin);
/* Something came after a sleep: what the whole wait took. */
void spin_slept(struct spin *spin, uint64_t wait_ns);
/* CPUs of the machine that are online. */
unsigned spin_cpu_count(void);
/* The one that this thread runs on, plus 1; 0: not known. No system call. */
uint32_t spin_cpu(void);

/* ---- Leaving a CPU that is shared with whom we wait for ---- */

#define PART_WAITS 32                          /* so many waits together ... */
#define PART_WINDOW_NS UINT64_C(2000000)       /* ... in this time are worth it */
#define PART_LASTED_NS UINT64_C(1000000)       /* apart for so long: it was worth it */
#define PART_PAUSE_NS_MIN UINT64_C(2000000)    /* from one time to the next, if it is; */
#define PART_PAUSE_NS_MAX UINT64_C(1000000000) /* doubled up to this, if not */

struct part {
    uint64_t since_ns; /* the first of the waits */
    uint64_t next_ns;  /* not before */
    uint64_t pause_ns;
    uint64_t parted_ns; /* when we left, and have not been together since; 0: not so */
    uint32_t waits;
};

void part_init(struct part *part);
/* A wait begins on the CPU that its peer needs. Return: whether to leave it now; then follow it
 * with part_done(). */
bool part_due(struct part *part, uint64_t now_ns);
/* @left: whether we did; if not, it is tried again soon. */
void part_done(struct part *part, bool left, uint64_t now_ns);
/* Whether a CPU may be idle, if we leave ours to who waits for it: no more run than there are. */
bool part_has_room(void);
/* What runs, of /proc/loadavg's text. -EINVAL: it is none. */
int part_running(const char *loadavg);
/* Moves this thread to another CPU, if it may run on all that there are. False: it was not done. */
bool part_leave_cpu(void);

/* ---- Yielding a CPU that is shared with whom we wait for ---- */

#define YIELD_LONG_NS UINT64_C(200000)           /* somebody else had it: not again ... */
#define YIELD_PAUSE_NS_MIN UINT64_C(100000000)   /* ... for so long; */
#define YIELD_PAUSE_NS_MAX UINT64_C(10000000000) /* doubled up to this, ... */
#define YIELD_PAUSE_WAITS 8 /* ... nor in so many waits for each shortest pause in it; */
#define YIELD_LASTED 4 /* ... doubled if it comes again before so many pauses have gone well, ...  \
                        */
#define YIELD_WELL 64  /* ... or so many yields */

struct yield {
    uint64_t next_ns; /* not before */
    uint64_t pause_ns;
    uint32_t waits; /* to be slept through, besides */
    uint32_t well;  /* yields that were short, since one was not */
};

void yield_init(struct yield *yield);
static inline bool yield_may(const struct yield *yield, uint64_t now_ns)
{
    return now_ns >= yield->next_ns && yield->waits == 0;
}
/* The same, asked once for each wait. */
static inline bool yield_may_wait(struct yield *yield, uint64_t now_ns)
{
    if (__builtin_expect(yield_may(yield, now_ns), 1))
        return true;
    if (now_ns >= yield->next_ns)
        yield->waits--;
    return false;
}
/* Lets everybody else run who waits for this CPU, once. */
void yield_cpu(void);
/* One that began at @start_ns is over. */
void yield_took(struct yield *yield, uint64_t start_ns, uint64_t now_ns);

static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
