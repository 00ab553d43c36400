/*
 * Somebody on the broker's unix socket who says what no correct endpoint says.
 *
 * It speaks the link's messages by hand, without the library above it, so that a test can leave
 * out, twist or forge each step of the way from Hello to a channel's memory.
 */
#ifndef PARLEY_TESTS_SUPPORT_ROGUE_H
#define PARLEY_TESTS_SUPPORT_ROGUE_H

#include "control/link.h"
#include "shm/shm.h"
#include "support/bus.h"

struct rogue {
    struct link *link;
    struct region stats;
    Parley__LinkMessage *message; /* the last that came; ours */
    int fds[LINK_FD_MAX];         /* with it; ours */
    /* after rogue_open() */
    uint64_t instance_id;
    /* after rogue_attach() */
    int bell; /* our end; -1: none */
    struct segment segment;
    struct peer_segment peer;
};

/* Connects; says nothing. */
void rogue_connect(struct rogue *rogue, const struct bus *bus);
/* And says Hello as it should be said, up to the broker's Welcome. */
void rogue_join(struct rogue *rogue, const struct bus *bus);
/* And opens a contract for echo, up to the first instance. */
void rogue_open(struct rogue *rogue, const struct bus *bus);
/* And attaches to that instance, up to its BELL_ACCEPT: a channel. */
void rogue_attach(struct rogue *rogue, const struct bus *bus);
void rogue_leave(struct rogue *rogue);

/* The Hello that rogue_join() says, to be changed; the region is made if it is not there. */
Parley__Hello rogue_hello(struct rogue *rogue);
void rogue_say_hello(struct rogue *rogue, Parley__Hello *hello, const int *fds, size_t fd_count);
void rogue_send(struct rogue *rogue, const Parley__LinkMessage *message, const int *fds,
                size_t fd_count);
/* A packet as it is, with any number of descriptors up to 8. */
void rogue_send_raw(struct rogue *rogue, const void *data, size_t bytes, const int *fds,
                    size_t fd_count);
/* Offers a segment and a doorbell for the instance of rogue_open(). */
void rogue_say_connect(struct rogue *rogue, int segment_fd, int bell_fd);

/* The next message, into rogue->message: its kind, or __NOT_SET if the link has ended. Fails the
 * test if neither comes in time. */
Parley__LinkMessage__BodyCase rogue_receive(struct rogue *rogue);
/* Fails the test unless a Farewell comes with @status and a sentence that has @text, then the end.
 */
void rogue_expect_farewell(struct rogue *rogue, enum parley_status status, const char *text);

/* The next doorbell packet on @bell that is no BELL_RING; its descriptor, or -1, in @ret_fd (NULL:
 * closed). kind 0: hung up. Fails the test if neither comes in time. */
struct bell_packet rogue_bell(int bell, int *ret_fd);
/* Fails the test unless the service ends the channel for what we did, with a sentence. */
void rogue_expect_broken(struct rogue *rogue, const char *text);

/* The descriptor of a further arena, or of a further ring, on the doorbell; @fd stays the caller's. */
void rogue_send_arena(struct rogue *rogue, int fd);
void rogue_send_ring(struct rogue *rogue, int fd);

#endif
