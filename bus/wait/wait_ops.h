/*
 * Inside the wait room: what wait.c and a backend have in common.
 *
 * wait.c owns the table of registrations; a backend owns the kernel's side of them. A backend
 * passes a registration's key to the kernel and gets it back with every event: the descriptor and
 * the generation of its slot. A slot's generation moves on with every add, modify and remove, so
 * that an event of what was registered before names a key that no longer fits, and is dropped.
 */
#ifndef PARLEY_WAIT_WAIT_OPS_H
#define PARLEY_WAIT_WAIT_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "wait/wait.h"

struct wait_slot {
    void *tag;
    uint64_t batch;      /* the wait_poll() that reported it last, ... */
    uint32_t index;      /* ... and where in its array */
    uint32_t generation; /* of the registration that is, or was, here */
    uint32_t events;     /* what is waited for */
    const void *word;    /* that is watched; NULL: none */
    uint8_t turn;        /* io_uring: of the word that is watched; tells it from those before */
    bool used;
    bool unarmed; /* io_uring: the kernel does not watch it at the moment */
};

struct wait_ops {
    const char *name;
    /* The struct begins with a struct wait, zeroed but for ops. */
    int (*new)(struct wait **ret_wait, struct error_text *error);
    void (*free)(struct wait *wait);
    /* In a child of fork(2), instead: frees and closes, and leaves alone what the kernel shares
     * between the two processes, or did not let the child inherit. */
    void (*forget)(struct wait *wait);
    int (*fd)(const struct wait *wait);
    /* The kernel begins, or ends, to watch @fd. When disarm returns it holds no reference to the
     * file: a close by the caller is seen by the peer at once. */
    int (*arm)(struct wait *wait, int fd, uint32_t events, uint64_t key);
    void (*disarm)(struct wait *wait, int fd, uint64_t key);
    /* Watches @word instead of slot->word, from the next collect on. NULL: it cannot. */
    int (*watch)(struct wait *wait, int fd, struct wait_slot *slot, const void *word);
    /* A word of this process that is not *ret_value any more once there is something to collect.
     * Returns 0; 1: there is something now; -ENOSYS: for this thread there is no such word; -errno.
     * NULL: it has none. */
    int (*tail)(struct wait *wait, const void **ret_word, uint32_t *ret_value);
    /* wait_quiet(). NULL: it cannot tell. */
    bool (*quiet)(const struct wait *wait);
    /* Returns 0 once wait_done(), at the timeout, or on EINTR; or -errno. */
    int (*collect)(struct wait *wait, int max, uint64_t timeout_ns);
};

struct wait {
    const struct wait_ops *ops;
    struct wait_slot *slots; /* index: the descriptor */
    uint32_t slot_count;
    uint32_t generation; /* of the process: base/fork.h */
    int wake_fd;         /* an eventfd; in the table like any other */

    /* The wait_poll() that is under way. */
    uint64_t batch;
    struct wait_event *out;
    int out_max;
    int out_count;
    bool woken;
};

extern const struct wait_ops wait_uring_ops;
extern const struct wait_ops wait_epoll_ops;

static inline uint64_t wait_key(int fd, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint32_t)fd;
}

/* The registration that a key names, or NULL if there is none any more. */
struct wait_slot *wait_slot_of(struct wait *wait, uint64_t key);

/* Adds what poll(2) says of a registration to the events that wait_poll() will return. Returns
 * false if there is no room: the event is to be kept. */
bool wait_report(struct wait *wait, struct wait_slot *slot, uint32_t poll_mask);
/* The same of the word that it watches, which it does no more. */
bool wait_report_word(struct wait *wait, struct wait_slot *slot);

static inline bool wait_is_wake(const struct wait *wait, const struct wait_slot *slot)
{
    return slot == wait->slots + wait->wake_fd;
}

/* True once wait_poll() has something to return for. */
static inline bool wait_done(const struct wait *wait)
{
    return wait->out_count > 0 || wait->woken;
}

uint32_t wait_poll_mask(uint32_t events);

#endif
