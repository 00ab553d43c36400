/*
 * How long does it take from a refused attempt to its event?
 *
 * Each kind of refusal is caused on purpose, one after the other, and timed from just before the
 * attempt is sent to when a subscriber of "audit." has its event: the broker's turn, NNG's threads
 * on both sides, a socket. One user's trail takes 100 at once and then one a second
 * (bus/broker/audit.c), so there are few of each, and p99 is the longest.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "control/link.h"
#include "control/nng.h"
#include "parley/control.pb-c.h"
#include "shm/shm.h"
#include "study.h"

#define TIMES 24 /* of each kind: 96 of 100 */
#define PATIENCE_NS (5 * NS_PER_S)
#define GOAL_NS 200e6

enum { LINK, PUBLISH, CONTRACT, CONTROL };

struct attempts {
    struct study_round *round;
    struct link *link;
    struct region stats;
    struct nng_asker *asker;
    struct nng_subscriber *subscriber;
    char socket[128];
};

static int say(struct link *link, int body_case, void *body, const int *fds, size_t fd_count)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = (Parley__LinkMessage__BodyCase)body_case;
    message.hello = body; /* a union of pointers */
    return link_send(link, &message, fds, fd_count);
}

/* ---- Attempts, each refused ---- */

static int attempt_link(struct attempts *a)
{
    struct link *link;
    Parley__Publish body = PARLEY__PUBLISH__INIT; /* before Hello */
    int r = link_connect(a->socket, &link, a->round->error);
    if (r < 0)
        return r;
    r = say(link, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
    link_free(link); /* what was sent is read all the same */
    return r;
}

static int attempt_publish(struct attempts *a)
{
    Parley__Publish body = PARLEY__PUBLISH__INIT; /* without an id */
    return say(a->link, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
}

static int attempt_contract(struct attempts *a)
{
    Parley__Open body = PARLEY__OPEN__INIT;
    body.has_contract_id = true;
    body.contract_id = 1;
    body.interface = (char *)(uintptr_t) "No Name";
    return say(a->link, PARLEY__LINK_MESSAGE__BODY_OPEN, &body, NULL, 0);
}

static int attempt_control(struct attempts *a)
{
    uint8_t *reply;
    size_t bytes;
    int r = nng_asker_ask(a->asker, (const uint8_t *)"", 0, &reply, &bytes, a->round->error);
    if (r == 0)
        free(reply);
    return r;
}

/* ---- A round ---- */

static int join(struct attempts *a)
{
    char control[160], events[160];
    const char *const topics[] = {"audit."};
    struct error_text *error = a->round->error;
    (void)snprintf(a->socket, sizeof(a->socket), "%s/parleyd.sock", a->round->folder);
    (void)snprintf(control, sizeof(control), "ipc://%s/control.ipc", a->round->folder);
    (void)snprintf(events, sizeof(events), "ipc://%s/events.ipc", a->round->folder);
    int r = -1;
    /* The broker listens for endpoints first, and that is what was waited for. */
    for (int tries = 0; r < 0 && tries < 200; tries++) {
        r = nng_subscriber_new(events, topics, 1, &a->subscriber, error);
        if (r < 0)
            (void)poll(NULL, 0, 10);
    }
    if (r == 0)
        r = nng_asker_new(control, PATIENCE_NS, &a->asker, error);
    if (r == 0)
        r = link_connect(a->socket, &a->link, error);
    if (r == 0)
        r = region_create(&a->stats, "bench-stats", STATS_REGION_BYTES, error);
    if (r < 0)
        return r;
    Parley__Hello hello = PARLEY__HELLO__INIT;
    hello.has_protocol = hello.has_endpoint_id = true;
    hello.protocol = LINK_PROTOCOL;
    hello.endpoint_id = random_id();
    hello.name = (char *)(uintptr_t) "bench-audit";
    *(struct stats_header *)a->stats.base = (struct stats_header){
        .magic = STATS_MAGIC,
        .version = LAYOUT_VERSION,
        .cell_bytes = sizeof(struct stats_cell),
        .cell_max = STATS_CELL_MAX,
        .endpoint_id = hello.endpoint_id,
    };
    return say(a->link, PARLEY__LINK_MESSAGE__BODY_HELLO, &hello, &a->stats.fd, 1);
}

/* Of that topic; others may be late ones of before. */
static int await_event(struct attempts *a, const char *topic)
{
    for (;;) {
        uint8_t *data;
        size_t bytes;
        int r = nng_subscriber_receive(a->subscriber, PATIENCE_NS, &data, &bytes);
        if (r < 0)
            return error_set(a->round->error, r, "no event of %s: %s", topic, strerror(-r));
        bool found = bytes > strlen(topic) && memcmp(data, topic, strlen(topic)) == 0 &&
                     data[strlen(topic)] == '\n';
        free(data);
        if (found)
            return 0;
    }
}

static int time_kind(struct attempts *a, size_t row, const char *topic,
                     int (*attempt)(struct attempts *a))
{
    for (uint32_t i = 0; i < TIMES; i++) {
        uint64_t start = clock_now_ns();
        int r = attempt(a);
        if (r == 0)
            r = await_event(a, topic);
        if (r < 0)
            return r;
        a->round->samples_ns[i] = study_sample(start, clock_now_ns());
    }
    study_put_samples(a->round, row, TIMES);
    return 0;
}

/* A subscription is known to the publisher some time after it was made: the first that are heard
 * end the wait. */
static int warm_up(struct attempts *a)
{
    uint8_t *data;
    size_t bytes;
    for (int i = 0; i < 4; i++) {
        int r = attempt_control(a);
        if (r < 0)
            return r;
        if (nng_subscriber_receive(a->subscriber, NS_PER_S, &data, &bytes) == 0) {
            free(data);
            return 0;
        }
    }
    return error_set(a->round->error, -ETIMEDOUT, "no event arrives");
}

static int run(struct study_round *round)
{
    static struct attempts attempts;
    attempts = (struct attempts){.round = round, .stats = REGION_NONE};
    int r = join(&attempts);
    if (r == 0)
        r = warm_up(&attempts);
    if (r == 0)
        r = time_kind(&attempts, LINK, "audit.link", attempt_link);
    if (r == 0)
        r = time_kind(&attempts, PUBLISH, "audit.publish", attempt_publish);
    if (r == 0)
        r = time_kind(&attempts, CONTRACT, "audit.contract", attempt_contract);
    if (r == 0)
        r = time_kind(&attempts, CONTROL, "audit.control", attempt_control);
    return r < 0 ? -1 : 0;
}

static const struct study_row rows[] = {
    [LINK] = {.name = "link", .about = "a link that is refused, to its event"},
    [PUBLISH] = {.name = "publish", .about = "a publication"},
    [CONTRACT] = {.name = "contract", .about = "a contract"},
    [CONTROL] = {.name = "control", .about = "a control request"},
};

static const struct study_goal goals[] = {
    {LINK, STUDY_ALONE, true, GOAL_NS, 0, "p99 of a link's event"},
    {PUBLISH, STUDY_ALONE, true, GOAL_NS, 0, "p99 of a publication's event"},
    {CONTRACT, STUDY_ALONE, true, GOAL_NS, 0, "p99 of a contract's event"},
    {CONTROL, STUDY_ALONE, true, GOAL_NS, 0, "p99 of a control request's event"},
};

static const struct study study = {
    .name = "audit",
    .question = "How long does it take from a refused attempt to its event?",
    .method = "From before the attempt is sent until a subscriber has the event, 24 of each kind;"
              " p99 is the longest.\nOne round: a user's trail takes 100 at once.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 1,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
