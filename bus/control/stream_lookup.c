/*
 * A host's name that is looked up without anybody's waiting for it: getaddrinfo() may take as long
 * as the slowest name server has, and cannot be called off. So it runs in a thread of its own,
 * which does nothing else and takes no signals, and rings when it is done.
 *
 * What is looked up belongs to both, the thread and who wants it; the last of them frees it. Who
 * does not want it any more leaves the thread to its end, which the resolver's own time-outs
 * bound. How many there are at once is bounded here.
 *
 * fork(2): the thread is the parent's; in the child it is never done.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "control/stream.h"

struct stream_lookup {
    atomic_uint references; /* the thread's, and that of who wants it */
    int fd;                 /* rung when it is done */
    atomic_bool done;       /* release, by the thread: then the rest is for who wants it */
    int found;              /* as getaddrinfo() */
    struct stream_url url;
};

static atomic_uint under_way;

static void unref(struct stream_lookup *lookup)
{
    /* acq_rel: what the other has done with it is over when it is freed */
    if (atomic_fetch_sub_explicit(&lookup->references, 1, memory_order_acq_rel) != 1)
        return;
    fd_close(lookup->fd);
    free(lookup);
}

static void *run(void *argument)
{
    struct stream_lookup *lookup = argument;
    lookup->found = stream_url_find(&lookup->url, 0);
    /* release: pairs with the acquire in stream_lookup_take() */
    atomic_store_explicit(&lookup->done, true, memory_order_release);
    (void)eventfd_write(lookup->fd, 1);
    unref(lookup);
    atomic_fetch_sub(&under_way, 1);
    return NULL;
}

/* Signals are for the program's own threads. */
static int start(struct stream_lookup *lookup)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&thread, NULL, run, lookup);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_detach(thread);
    return -r;
}

int stream_lookup_new(const struct stream_url *url, struct stream_lookup **ret_lookup)
{
    struct stream_lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return -ENOMEM;
    lookup->url = *url;
    atomic_init(&lookup->references, 2);
    lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = lookup->fd < 0 ? -errno : 0;
    if (atomic_fetch_add(&under_way, 1) >= STREAM_LOOKUPS_MAX)
        r = -EAGAIN;
    if (r == 0)
        r = start(lookup);
    if (r < 0) {
        atomic_fetch_sub(&under_way, 1);
        fd_close(lookup->fd);
        free(lookup);
        return r;
    }
    *ret_lookup = lookup;
    return 0;
}

int stream_lookup_fd(const struct stream_lookup *lookup)
{
    return lookup->fd;
}

bool stream_lookup_take(const struct stream_lookup *lookup, struct stream_url *url, int *ret_found)
{
    /* acquire: pairs with the release in run() */
    if (!atomic_load_explicit(&lookup->done, memory_order_acquire))
        return false;
    *ret_found = lookup->found;
    if (lookup->found == 0) {
        url->address = lookup->url.address;
        url->address_bytes = lookup->url.address_bytes;
    }
    return true;
}

struct stream_lookup *stream_lookup_free(struct stream_lookup *lookup)
{
    if (lookup)
        unref(lookup);
    return NULL;
}
