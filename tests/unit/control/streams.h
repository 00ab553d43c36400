/*
 * What the tests of the stream backend share: a replier of it on ipc, who asks it, and a clock that
 * goes on when it is told to.
 */
#ifndef PARLEY_TESTS_UNIT_CONTROL_STREAMS_H
#define PARLEY_TESTS_UNIT_CONTROL_STREAMS_H

#include "support/test.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/stream.h"
#include "support/folder.h"
#include "support/sp.h"
#include "support/until.h"

#define HELD_MAX 64

extern char streams_folder[]; /* of the program: for folder_run() */

struct fixture {
    char url[128];
    struct replier *replier;
    struct replier_request *held[HELD_MAX]; /* not answered yet, as they came */
    size_t held_count;
    unsigned came, gone;
};

/* The test's clock: it goes on by pass() only. */
uint64_t test_now_ns(void);
/* A deadline may be due to what has not come; then it is known to who waits for it. */
void pass(struct fixture *f, uint64_t ns);

/* What is 0 in the options is as the fixture has it. It listens at f->url, or dials that. */
void start(struct fixture *f, struct replier_options options);
/* One request, if there is one. */
void take(struct fixture *f);
/* Everything that there is to do now. */
void settle(struct fixture *f);
/* The first of those that are held. */
void answer(struct fixture *f, const void *data, size_t bytes);

/* Connected, greeted and to be freed. */
struct sp *peer_of(struct fixture *f);
/* After all that there is to do now. */
bool hung_up(struct fixture *f, struct sp *sp);

/* cmocka's. */
int streams_set_up(void **state);
int streams_tear_down(void **state);
#define stream_test(f) cmocka_unit_test_setup_teardown(f, streams_set_up, streams_tear_down)

#endif
