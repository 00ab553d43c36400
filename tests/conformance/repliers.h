/*
 * What the two programs of the replier's suite share: a replier of one backend on one transport,
 * who asks it, and the running of each test with each of them.
 */
#ifndef PARLEY_TESTS_CONFORMANCE_REPLIERS_H
#define PARLEY_TESTS_CONFORMANCE_REPLIERS_H

#include "support/test.h"

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "conformance/cases.h"
#include "control/replier.h"
#include "support/sp.h"

#define PATIENCE_MS 20000 /* which a right program never uses */
#define BYTES_MAX (2u << 20)
#define HELD_MAX 64

struct held {
    struct replier_request *request;
    const uint8_t *data;
    size_t bytes;
};

struct fixture {
    const char *backend;
    const char *scheme;
    struct replier_options options;
    char url[128];
    const char *urls[1];
    struct replier *replier;
    struct held held[HELD_MAX]; /* requests that are not answered yet, as they came */
    size_t held_count;
    struct replier_peer came[HELD_MAX];
    size_t came_count;
    uint64_t gone[HELD_MAX];
    size_t gone_count;
};

bool is_ipc(const struct fixture *f);

/* A peer that hangs up as it is accepted ends the listening of libnng 1.5.2 on ipc; its own look
 * whether an address is taken is such a peer. */
void skip_if_hang_ups_harm(const struct fixture *f);

/* A URL to listen at that nobody has. */
void url_for(const struct fixture *f, const char *name, char url[128]);

/* With what is in f->options, at f->url, or at one of its own. */
void start(struct fixture *f);
void stop(struct fixture *f);

/* Takes one request, if there is one. */
bool take(struct fixture *f);

/* Waits for the replier, or @fd. */
void rest(struct fixture *f, int fd);

#define UNTIL(f, fd, condition)                                                                    \
    do {                                                                                           \
        uint64_t until_ns_ = clock_now_ns() + PATIENCE_MS * NS_PER_MS;                             \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_ns_);                                               \
            if (!take(f) && !(condition))                                                          \
                rest(f, fd);                                                                       \
        }                                                                                          \
    } while (0)

/* The replier's half of the greeting, and no other. */
void expect_hello(struct fixture *f, struct sp *sp);

/* Connected, greeted and to be freed. */
struct sp *peer_of(struct fixture *f);

void ask(struct sp *sp, uint32_t id, const char *text);

/* @index: of f->held, from which what is answered is taken. */
void expect_request(struct fixture *f, size_t index, const char *text);
void answer(struct fixture *f, size_t index, const char *text);

/* The next answer is to @id, and says @text. */
void expect_answer(struct fixture *f, struct sp *sp, uint32_t id, const char *text);

/* @request is asked, comes, and is answered with @text. */
void converse(struct fixture *f, struct sp *sp, uint32_t id, const char *request, const char *text);

void expect_hung_up(struct fixture *f, struct sp *sp);

/* Somebody else is served. */
void expect_alive(struct fixture *f);

/* ---- Running ---- */

/* Each of @cases with each backend on each of its transports: what main() returns. */
int run_cases(const struct test_case *cases, size_t case_count);

#endif
