/*
 * The replier's tests: their fixture, and how they run.
 *
 * Who waits here turns the replier meanwhile, so that all of it is in one thread.
 */
#include "conformance/repliers.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/folder.h"

static char folder[] = "/tmp/parley-replier-XXXXXX";

bool is_ipc(const struct fixture *f)
{
    return strcmp(f->scheme, "ipc") == 0;
}

void skip_if_hang_ups_harm(const struct fixture *f)
{
    if (is_ipc(f) && strcmp(f->backend, "nng") == 0) {
        print_message("libnng's ipc does not bear this\n");
        skip();
    }
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct fixture *f = data;
    assert_true(f->came_count < HELD_MAX);
    f->came[f->came_count++] = *peer;
}

static void on_gone(uint64_t connection, void *data)
{
    struct fixture *f = data;
    assert_true(f->gone_count < HELD_MAX);
    f->gone[f->gone_count++] = connection;
}

void url_for(const struct fixture *f, const char *name, char url[128])
{
    static unsigned number; /* what a failed test leaves behind is in nobody's way */
    if (is_ipc(f))
        snprintf(url, 128, "ipc://%s/%s-%u.ipc", folder, name, number++);
    else
        snprintf(url, 128, "%s://127.0.0.1:0", f->scheme);
}

void start(struct fixture *f)
{
    struct error_text error = {""};
    if (!f->url[0])
        url_for(f, "bus", f->url);
    f->urls[0] = f->url;
    f->options.urls = f->urls;
    f->options.url_count = 1;
    f->options.backend = f->backend;
    f->options.came = on_came;
    f->options.gone = on_gone;
    f->options.data = f;
    if (f->options.bytes_max == 0)
        f->options.bytes_max = BYTES_MAX;
    if (replier_new(&f->options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
    snprintf(f->url, sizeof(f->url), "%s", replier_url(f->replier, 0));
}

void stop(struct fixture *f)
{
    for (size_t i = 0; i < f->held_count; i++)
        replier_drop(f->held[i].request);
    f->held_count = 0;
    f->replier = replier_free(f->replier);
}

/* ---- Turning ---- */

bool take(struct fixture *f)
{
    struct held next;
    int r = replier_receive(f->replier, &next.request, &next.data, &next.bytes);
    if (r == REPLIER_E_AGAIN)
        return false;
    assert_int_equal(r, 0);
    assert_true(f->held_count < HELD_MAX);
    f->held[f->held_count++] = next;
    return true;
}

void rest(struct fixture *f, int fd)
{
    struct pollfd ready[] = {{.fd = replier_fd(f->replier), .events = POLLIN},
                             {.fd = fd, .events = POLLIN}};
    uint64_t left = clock_left(replier_next_deadline_ns(f->replier), clock_now_ns());
    int ms = left < PATIENCE_MS * NS_PER_MS ? (int)(left / NS_PER_MS) + 1 : PATIENCE_MS;
    int n = poll(ready, fd >= 0 ? 2 : 1, ms);
    if (n == 0 && ms == PATIENCE_MS)
        fail_msg("nothing happens");
}

void expect_hello(struct fixture *f, struct sp *sp)
{
    UNTIL(f, sp->fd, sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
}

struct sp *peer_of(struct fixture *f)
{
    struct sp *sp = sp_connect(f->url);
    sp_send_hello(sp, SP_REQ);
    expect_hello(f, sp);
    return sp;
}

void expect_answer(struct fixture *f, struct sp *sp, uint32_t id, const char *text)
{
    uint8_t *data;
    size_t bytes;
    UNTIL(f, sp->fd, sp_has_message(sp));
    sp_take_message(sp, &data, &bytes);
    assert_int_equal(bytes, 4 + strlen(text));
    const uint8_t word[4] = {(uint8_t)(0x80 | id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
                             (uint8_t)id};
    assert_memory_equal(data, word, 4);
    assert_memory_equal(data + 4, text, strlen(text));
    free(data);
}

void ask(struct sp *sp, uint32_t id, const char *text)
{
    sp_ask(sp, id, text, strlen(text));
}

void answer(struct fixture *f, size_t index, const char *text)
{
    assert_true(index < f->held_count);
    assert_int_equal(replier_answer(f->held[index].request, (const uint8_t *)text, strlen(text)),
                     0);
    f->held_count--;
    memmove(&f->held[index], &f->held[index + 1], (f->held_count - index) * sizeof(f->held[0]));
}

void expect_request(struct fixture *f, size_t index, const char *text)
{
    UNTIL(f, -1, f->held_count > index);
    assert_int_equal(f->held[index].bytes, strlen(text));
    assert_memory_equal(f->held[index].data, text, strlen(text));
}

void expect_hung_up(struct fixture *f, struct sp *sp)
{
    UNTIL(f, sp->fd, (sp_has_message(sp), sp->hung_up));
}

void converse(struct fixture *f, struct sp *sp, uint32_t id, const char *request, const char *text)
{
    size_t index = f->held_count;
    ask(sp, id, request);
    expect_request(f, index, request);
    answer(f, index, text);
    expect_answer(f, sp, id, text);
}

void expect_alive(struct fixture *f)
{
    struct sp *sp = peer_of(f);
    converse(f, sp, 7, "alive?", "yes");
    sp_free(sp);
}

/* ---- Running ---- */

static const struct kind {
    const char *backend;
    const char *scheme;
} kinds[] = {{"nng", "ipc"}, {"nng", "tcp"}, {"stream", "ipc"}, {"stream", "tcp"}};
static const char *const kind_names[] = {"nng, ipc", "nng, tcp", "stream, ipc", "stream, tcp"};

static void run_case(size_t kind, const struct test_case *test_case)
{
    struct fixture f = {.backend = kinds[kind].backend, .scheme = kinds[kind].scheme};
    test_case->run(&f);
    stop(&f);
}

static const struct test_case *all_cases;
static size_t all_count;

static int run_all(void)
{
    return cases_run("replier", kind_names, sizeof(kinds) / sizeof(kinds[0]), all_cases, all_count,
                     run_case);
}

int run_cases(const struct test_case *cases, size_t case_count)
{
    all_cases = cases;
    all_count = case_count;
    return folder_run(folder, run_all);
}
