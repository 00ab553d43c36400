/*
 * A unix socket, bare: the floor below whatever goes through the kernel. A stream, because messages
 * of a megabyte are among those that are echoed; blocking reads and writes, nothing around them.
 */
#include "peer.h"

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

static int echo(struct bench_run *run)
{
    struct line line = {.message = calloc(1, run->load.bytes)};
    if (!line.message || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line.ends) != 0)
        return error_set(run->error, -1, "no socketpair");
    int r = peer_run(run, serve, ask, &line);
    free(line.message);
    return r;
}

const struct peer peer_unix = {
    .name = "unix",
    .about = "a unix socket, bare",
    .placements = PEER_ALL,
    .echo_count = 5000,
    .bytes_max = PEER_BYTES_MAX,
    .echo = echo,
    .asleep = echo,
};
