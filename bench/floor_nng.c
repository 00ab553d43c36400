/*
 * NNG as it comes: REQ and REP over ipc://, both sides synchronous, each reusing the message that
 * it received, so that nothing is allocated or copied that NNG does not itself.
 *
 * NNG moves messages with threads of its own, and where it does best differs from machine to
 * machine (where waking another core is slow, it is with both sides on one): it is measured in
 * three places, and what is compared with is the fastest. libnng must not be used across a fork:
 * each side calls it after its own.
 */
#include "floors.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#define NNG_TIMEOUT_MS 10000

struct nng_place {
    char url[BENCH_PATH_BYTES + 32];
    int ready[2]; /* a pipe: the replier listens */
};

static int reply_forever(const struct bench_run *run, void *userdata)
{
    struct nng_place *place = userdata;
    nng_socket socket;
    nng_msg *message = NULL;
    (void)run;
    if (nng_rep0_open(&socket) != 0 || nng_listen(socket, place->url, NULL, 0) != 0 ||
        write(place->ready[1], "r", 1) != 1)
        return -1;
    while (nng_recvmsg(socket, &message, 0) == 0) {
        if (nng_sendmsg(socket, message, 0) != 0)
            return -1;
    }
    return -1;
}

static int time_requests(struct bench_run *run, nng_socket socket)
{
    nng_msg *message = NULL;
    int r = nng_msg_alloc(&message, FLOOR_MESSAGE_BYTES);
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; r == 0 && i < run->sample_count; i++) {
        memcpy(nng_msg_body(message), &i, sizeof(i));
        r = nng_sendmsg(socket, message, 0);
        if (r == 0)
            r = nng_recvmsg(socket, &message, 0);
        if (r == 0 && (nng_msg_len(message) != FLOOR_MESSAGE_BYTES ||
                       memcmp(nng_msg_body(message), &i, sizeof(i)) != 0))
            return error_set(run->error, -1, "NNG gave back another message");
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return r == 0 ? 0 : error_set(run->error, -1, "NNG: %s", nng_strerror(r));
}

static int ask(struct bench_run *run, struct nng_place *place)
{
    nng_socket socket;
    char byte;
    if (read(place->ready[0], &byte, 1) != 1)
        return error_set(run->error, -1, "the replier could not listen on %s", place->url);
    int r = nng_req0_open(&socket);
    if (r == 0)
        r = nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, NNG_TIMEOUT_MS);
    if (r == 0)
        r = nng_dial(socket, place->url, NULL, 0);
    if (r != 0)
        return error_set(run->error, -1, "NNG, %s: %s", place->url, nng_strerror(r));
    return time_requests(run, socket);
}

int floor_nng(struct bench_run *run)
{
    struct nng_place place;
    (void)snprintf(place.url, sizeof(place.url), "ipc://%s/%s-%d.ipc", run->folder, run->name,
                   run->round);
    if (pipe(place.ready) != 0)
        return error_set(run->error, -1, "pipe failed");
    pid_t pid = bench_peer_start(run, reply_forever, &place);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    close(place.ready[1]);
    int r = ask(run, &place);
    bench_peer_stop(pid);
    return r;
}
