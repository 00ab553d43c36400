/*
 * The fixture of the stream backend's tests. The clock is the test's, so that nobody waits.
 */
#include "streams.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support/until.h"

char streams_folder[] = "/tmp/parley-stream-XXXXXX";
static uint64_t ahead_ns; /* of where the clock stands: it goes on by pass() only */

uint64_t test_now_ns(void)
{
    static uint64_t begun_ns;
    if (begun_ns == 0)
        begun_ns = until_now_ns();
    return begun_ns + ahead_ns;
}

static void on_came(const struct replier_peer *peer, void *data)
{
    (void)peer;
    ((struct fixture *)data)->came++;
}

static void on_gone(uint64_t connection, void *data)
{
    (void)connection;
    ((struct fixture *)data)->gone++;
}

void start(struct fixture *f, struct replier_options options)
{
    static unsigned number;
    if (!options.dial) /* else it is of who listens */
        snprintf(f->url, sizeof(f->url), "ipc://%s/%u.ipc", streams_folder, number++);
    const char *urls[] = {f->url};
    struct error_text error = {""};
    options.urls = urls;
    options.url_count = 1;
    options.bytes_max = options.bytes_max ? options.bytes_max : 1u << 20;
    options.backend = "stream";
    options.came = on_came;
    options.gone = on_gone;
    options.data = f;
    if (replier_new(&options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
}

void take(struct fixture *f)
{
    const uint8_t *data;
    size_t bytes;
    struct replier_request *request;
    int r = replier_receive(f->replier, &request, &data, &bytes);
    if (r == REPLIER_E_AGAIN)
        return;
    assert_int_equal(r, 0);
    assert_true(f->held_count < HELD_MAX);
    f->held[f->held_count++] = request;
}

void settle(struct fixture *f)
{
    size_t before;
    struct pollfd ready = {.fd = replier_fd(f->replier), .events = POLLIN};
    do {
        before = f->held_count;
        take(f);
    } while (f->held_count > before || poll(&ready, 1, 0) > 0);
}

struct sp *peer_of(struct fixture *f)
{
    struct sp *sp = sp_connect(f->url);
    sp_send_hello(sp, SP_REQ);
    UNTIL(take(f), sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return sp;
}

bool hung_up(struct fixture *f, struct sp *sp)
{
    settle(f);
    (void)sp_has_message(sp);
    return sp->hung_up;
}

void pass(struct fixture *f, uint64_t ns)
{
    ahead_ns += ns;
    if (replier_next_deadline_ns(f->replier) <= test_now_ns())
        take(f);
}

void answer(struct fixture *f, const void *data, size_t bytes)
{
    assert_true(f->held_count > 0);
    assert_int_equal(replier_answer(f->held[0], data, bytes), 0);
    memmove(f->held, f->held + 1, --f->held_count * sizeof(f->held[0]));
}

int streams_set_up(void **state)
{
    clock_set(test_now_ns);
    *state = calloc(1, sizeof(struct fixture));
    return *state ? 0 : -1;
}

int streams_tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->held_count; i++)
        replier_drop(f->held[i]);
    replier_free(f->replier);
    free(f);
    clock_set(NULL);
    return 0;
}
