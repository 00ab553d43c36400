/*
 * Scope-bound cleanup, and hand-over of what a scope owns.
 *
 * `_cleanup_(f)` runs f(&variable) when the variable goes out of scope, on every path. A function
 * that can fail halfway owns what it builds in such variables and hands it over at the end:
 * `*ret = steal_ptr(&x);`.
 */
#ifndef PARLEY_BASE_CLEANUP_H
#define PARLEY_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines NAMEp(), the cleanup function for a variable of type TYPE that FREE() takes. */
#define DEFINE_CLEANUP(type, name)                                                                 \
    static inline void name##p(type *p)                                                            \
    {                                                                                              \
        if (*p)                                                                                    \
            name(*p);                                                                              \
    }                                                                                              \
    struct base_swallow_semicolon_

static inline void freep(void *p)
{
    free(*(void **)p);
}

/* Closes a descriptor unless it is negative; keeps errno. Returns -1, to be stored in its place. */
int fd_close(int fd);

/*
 * For a program that was started with standard streams closed: puts /dev/null there, so that no
 * socket or file gets the number 0, 1 or 2 and then what is printed. To read only: writing fails.
 */
void fd_hold_standard(void);

static inline void fd_closep(int *fd)
{
    fd_close(*fd);
}

static inline int steal_fd(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

#define steal_ptr(p)                                                                               \
    __extension__({                                                                                \
        __auto_type steal_value_ = *(p);                                                           \
        *(p) = NULL;                                                                               \
        steal_value_;                                                                              \
    })

#endif
