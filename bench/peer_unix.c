/*
 * A unix socket, bare: the floor below whatever goes through the kernel. A stream, because messages
 * of a megabyte are among those that are echoed; blocking reads and writes, nothing around them.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct line {
    int ends[2];
    char *message;
};

static int transfer(int fd, char *message, size_t bytes, bool out)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = out ? send(fd, message + done, bytes - done, MSG_NOSIGNAL)
                        : recv(fd, message + done, bytes - done, 0);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static int serve(const struct bench_run *run, struct peer_place *place)
{
    struct line *line = place->data;
    close(line->ends[0]);
    peer_ready(place);
    while (transfer(line->ends[1], line->message, run->load.bytes, false) == 0 &&
           transfer(line->ends[1], line->message, run->load.bytes, true) == 0)
        continue;
    return -1;
}

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct line *line = data;
    const uint32_t bytes = run->load.bytes;
    peer_mark(line->message, bytes, i);
    if (transfer(line->ends[0], line->message, bytes, true) != 0 ||
        transfer(line->ends[0], line->message, bytes, false) != 0 ||
        !peer_is_marked(line->message, bytes, bytes, i))
        return error_set(run->error, -1, "the socket gave back something else");
    return 0;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    return peer_time(run, call, place->data);
}

static int run_line(struct bench_run *run, int (*asker)(struct bench_run *, struct peer_place *))
{
    struct line line = {.message = calloc(1, run->load.bytes)};
    if (!line.message || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line.ends) != 0)
        return error_set(run->error, -1, "no socketpair");
    int r = peer_run(run, serve, asker, &line);
    free(line.message);
    return r;
}

static int echo(struct bench_run *run)
{
    return run_line(run, ask);
}

/* ---- At a rate ---- */

/* All of the message, or nothing yet. Return: 1 or 0, -1 with the error set. */
static int transfer_now(struct bench_run *run, struct line *line, bool out)
{
    const size_t bytes = run->load.bytes;
    ssize_t n = out ? send(line->ends[0], line->message, bytes, MSG_NOSIGNAL | MSG_DONTWAIT)
                    : recv(line->ends[0], line->message, bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0 && (size_t)n < bytes && /* the rest is on its way, or there will be room for it */
        transfer(line->ends[0], line->message + n, bytes - (size_t)n, out) == 0)
        n = (ssize_t)bytes;
    return n == (ssize_t)bytes ? 1 : error_set(run->error, -1, "the socket is broken");
}

static int take_reply(struct pace *pace, struct line *line)
{
    const uint32_t bytes = pace->run->load.bytes;
    uint32_t number;
    int r = transfer_now(pace->run, line, false);
    if (r != 1)
        return r;
    memcpy(&number, line->message, sizeof(number));
    if (!peer_is_marked(line->message, bytes, bytes, number))
        return error_set(pace->run->error, -1, "the socket gave back something else");
    return pace_end(pace, number) == 0 ? 1 : -1;
}

/* A call that finds the socket full has begun no less: it is sent when there is room. */
static int ask_paced(struct bench_run *run, struct peer_place *place)
{
    struct line *line = place->data;
    struct pace pace;
    int r = pace_init(&pace, run);
    for (bool any; r >= 0 && pace_goes_on(&pace);) {
        any = false;
        if (pace_may_start(&pace)) {
            peer_mark(line->message, run->load.bytes, pace.started);
            any = (r = transfer_now(run, line, true)) == 1;
            if (any)
                (void)pace_start(&pace);
        }
        if (r >= 0)
            any |= (r = take_reply(&pace, line)) == 1;
        if (!any)
            pace_wait(&pace);
    }
    if (r >= 0)
        pace_finish(&pace);
    pace_deinit(&pace);
    return r < 0 ? -1 : 0;
}

static int paced(struct bench_run *run)
{
    return run_line(run, ask_paced);
}

const struct peer peer_unix = {
    .name = "unix",
    .about = "a unix socket, bare",
    .placements = PEER_ALL,
    .echo_count = 5000,
    .bytes_max = PEER_BYTES_MAX,
    .echo = echo,
    .asleep = echo,
    .paced = paced,
    .paced_placement = BENCH_APART,
};
