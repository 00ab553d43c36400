/*
 * The same change, until the last of twelve endpoints (four instances, eight clients) has verified
 * its new plan and been told to use it. They are links that do what libparley does with such
 * messages, one after the other in one process: each verification counts.
 *
 * A service that was killed before, by another subject, may be listed for some time yet: the kernel
 * hangs its link up only when it has taken its io_uring apart. Nothing is timed until it is gone,
 * for a swap waits for every instance that there is.
 */
#include "swap_twelve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "control/link.h"
#include "parley_call.h"
#include "shm/shm.h"
#include "translate/plan.h"
#include "wire/wire.h"

#define SERVICES 4
#define CLIENTS 8
#define PEERS (SERVICES + CLIENTS)
#define PATIENCE_MS 20000

struct set {
    uint8_t *data;
    size_t bytes;
};

static int set_read(const char *name, struct set *ret_set, struct error_text *error)
{
    char path[512];
    struct stat status;
    (void)snprintf(path, sizeof(path), "%s/large_%s.set", LARGE_DIR, name);
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(error, -errno, "%s: %s", path, strerror(errno));
    ret_set->bytes = (size_t)status.st_size;
    ret_set->data = malloc(ret_set->bytes);
    if (!ret_set->data || read(fd, ret_set->data, ret_set->bytes) != (ssize_t)ret_set->bytes)
        return error_set(error, -EIO, "%s cannot be read", path);
    return 0;
}

/* ---- Endpoints ---- */

struct peer {
    struct link *link;
    struct region stats;
    bool is_client;
    bool done; /* in this swap */
    uint64_t plan_id;
    unsigned instances; /* client's: told of, and asked to connect to */
    unsigned others;    /* client's: told of, and not ours */
};

struct bus {
    struct peer peers[PEERS];
    uint64_t instance_ids[SERVICES];
    struct set v1, v2, changed;
    char schemas[128];
    struct error_text *error;
};

static int say(struct peer *peer, int body_case, void *body, const int *fds, size_t fd_count)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = (Parley__LinkMessage__BodyCase)body_case;
    message.hello = body; /* a union of pointers */
    return link_send(peer->link, &message, fds, fd_count);
}

static int join(struct bus *bus, struct peer *peer, const char *socket)
{
    int r = link_connect(socket, &peer->link, bus->error);
    if (r == 0)
        r = region_create(&peer->stats, "bench-stats",
                          STATS_REGION_BYTES,
                          bus->error);
    if (r < 0)
        return r;
    Parley__Hello hello = PARLEY__HELLO__INIT;
    hello.has_protocol = hello.has_endpoint_id = true;
    hello.protocol = LINK_PROTOCOL;
    hello.endpoint_id = random_id();
    hello.name = (char *)(uintptr_t) "bench";
    *(struct stats_header *)peer->stats.base = (struct stats_header){
        .magic = STATS_MAGIC,
        .version = LAYOUT_VERSION,
        .cell_bytes = sizeof(struct stats_cell),
        .cell_max = STATS_CELL_MAX,
        .endpoint_id = hello.endpoint_id,
    };
    return say(peer, PARLEY__LINK_MESSAGE__BODY_HELLO, &hello, &peer->stats.fd, 1);
}

static int publish(struct bus *bus, struct peer *peer, uint64_t instance_id)
{
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = body.has_descriptor_set = true;
    body.instance_id = instance_id;
    body.interface = (char *)(uintptr_t) "bench-large";
    body.version = (char *)(uintptr_t) "2.0.0";
    body.service = (char *)(uintptr_t) "large.v2.Large";
    body.descriptor_set.data = bus->v2.data;
    body.descriptor_set.len = bus->v2.bytes;
    return say(peer, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
}

static int open_contract(struct bus *bus, struct peer *peer)
{
    Parley__Open body = PARLEY__OPEN__INIT;
    peer->is_client = true;
    body.has_contract_id = body.has_descriptor_set = true;
    body.contract_id = 1;
    body.interface = (char *)(uintptr_t) "bench-large";
    body.version = (char *)(uintptr_t) "1.0.0";
    body.service = (char *)(uintptr_t) "large.v1.Large";
    body.descriptor_set.data = bus->v1.data;
    body.descriptor_set.len = bus->v1.bytes;
    return say(peer, PARLEY__LINK_MESSAGE__BODY_OPEN, &body, NULL, 0);
}

/* The instance is told of us, and sent the plan for our requests; neither looks at the memory. */
static int connect_to(struct peer *peer, uint64_t instance_id)
{
    Parley__Connect body = PARLEY__CONNECT__INIT;
    body.has_contract_id = body.has_instance_id = body.has_plan_id = true;
    body.contract_id = 1;
    body.instance_id = instance_id;
    body.plan_id = peer->plan_id;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    const int fds[] = {peer->stats.fd, pair[1]};
    int r = say(peer, PARLEY__LINK_MESSAGE__BODY_CONNECT, &body, fds, 2);
    fd_close(pair[0]);
    fd_close(pair[1]);
    return r;
}

/* ---- What they hear ---- */

static int on_plan(struct peer *peer, const Parley__Plan *body, struct error_text *error)
{
    struct plan *plan;
    int r = plan_load(body->program.data, body->program.len, &plan, error);
    if (r < 0)
        return r;
    plan_unref(plan);
    peer->plan_id = body->plan_id;
    Parley__PlanTaken taken = PARLEY__PLAN_TAKEN__INIT;
    taken.has_plan_id = true;
    taken.plan_id = body->plan_id;
    if (!peer->is_client)
        peer->done = true;
    return say(peer, PARLEY__LINK_MESSAGE__BODY_PLAN_TAKEN, &taken, NULL, 0);
}

static bool is_ours(const struct bus *bus, uint64_t instance_id)
{
    for (size_t i = 0; i < SERVICES; i++)
        if (bus->instance_ids[i] == instance_id)
            return true;
    return false;
}

static int on_instances(const struct bus *bus, struct peer *peer, const Parley__Instances *body)
{
    peer->done = peer->done || body->n_offers > 0;
    for (size_t i = 0; i < body->n_gone; i++)
        peer->others -= !is_ours(bus, body->gone[i]);
    for (size_t i = 0; i < body->n_up; i++) {
        if (!is_ours(bus, body->up[i]->instance_id)) {
            peer->others++;
            continue;
        }
        int r = connect_to(peer, body->up[i]->instance_id);
        if (r < 0)
            return r;
        peer->instances++;
    }
    return 0;
}

static int hear(const struct bus *bus, struct peer *peer)
{
    struct error_text *error = bus->error;
    for (;;) {
        Parley__LinkMessage *message;
        int fds[LINK_FD_MAX];
        size_t fd_count;
        int r = link_receive(peer->link, &message, fds, &fd_count, error);
        if (r == LINK_E_AGAIN)
            return 0;
        if (r < 0)
            return r;
        if (message->body_case == PARLEY__LINK_MESSAGE__BODY_PLAN)
            r = on_plan(peer, message->plan, error);
        else if (message->body_case == PARLEY__LINK_MESSAGE__BODY_INSTANCES)
            r = on_instances(bus, peer, message->instances);
        else if (message->body_case == PARLEY__LINK_MESSAGE__BODY_FAREWELL)
            r = error_set(error, -EPROTO, "%s", message->farewell->text);
        else if (message->body_case == PARLEY__LINK_MESSAGE__BODY_PUBLISHED &&
                 message->published->status != 0)
            r = error_set(error, -EPROTO, "%s", message->published->text);
        for (size_t i = 0; i < fd_count; i++)
            fd_close(fds[i]);
        wire_free(message);
        if (r < 0)
            return r;
    }
}

static bool all(const struct bus *bus, bool (*is)(const struct peer *peer))
{
    for (size_t i = 0; i < PEERS; i++)
        if (!is(&bus->peers[i]))
            return false;
    return true;
}

static int until(struct bus *bus, bool (*is)(const struct peer *peer))
{
    struct pollfd fds[PEERS];
    for (size_t i = 0; i < PEERS; i++)
        fds[i] = (struct pollfd){.fd = link_fd(bus->peers[i].link), .events = POLLIN};
    while (!all(bus, is)) {
        if (poll(fds, PEERS, PATIENCE_MS) <= 0)
            return error_set(bus->error, -ETIMEDOUT, "the broker said nothing for %d s",
                             PATIENCE_MS / 1000);
        for (size_t i = 0; i < PEERS; i++) {
            int r = fds[i].revents ? hear(bus, &bus->peers[i]) : 0;
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static bool is_done(const struct peer *peer)
{
    return peer->done;
}

static bool is_connected(const struct peer *peer)
{
    return peer->is_client ? peer->instances == SERVICES && peer->others == 0 : peer->plan_id != 0;
}

/* ---- The whole ---- */

static int put(struct bus *bus, const struct set *set, uint64_t *ret_ns)
{
    char beside[160];
    char path[160];
    (void)snprintf(beside, sizeof(beside), "%s/.new", bus->schemas);
    (void)snprintf(path, sizeof(path), "%s/large.set", bus->schemas);
    _cleanup_(fd_closep) int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, set->data, set->bytes) != (ssize_t)set->bytes)
        return error_set(bus->error, -EIO, "%s cannot be written", beside);
    *ret_ns = clock_now_ns();
    return rename(beside, path) < 0 ? -errno : 0;
}

static int set_up(struct bus *bus, struct bench_run *run)
{
    char socket[BENCH_PATH_BYTES + 16];
    bus->error = run->error;
    (void)snprintf(socket, sizeof(socket), "%s/parleyd.sock", run->folder);
    (void)snprintf(bus->schemas, sizeof(bus->schemas), "%s/" PARLEY_CALL_SCHEMAS, run->folder);
    for (size_t i = 0; i < SERVICES; i++)
        bus->instance_ids[i] = random_id();
    int r = set_read("v1", &bus->v1, run->error);
    if (r == 0)
        r = set_read("v2", &bus->v2, run->error);
    if (r == 0)
        r = set_read("v2_mended", &bus->changed, run->error);
    for (size_t i = 0; i < PEERS && r == 0; i++) {
        for (int waited = 0; waited < 5000; waited += 5) { /* the broker may be about to start */
            r = join(bus, &bus->peers[i], socket);
            if (r != -ENOENT && r != -ECONNREFUSED)
                break;
            (void)poll(NULL, 0, 5);
        }
        if (r == 0 && i < SERVICES)
            r = publish(bus, &bus->peers[i], bus->instance_ids[i]);
        else if (r == 0)
            r = open_contract(bus, &bus->peers[i]);
    }
    return r == 0 ? until(bus, is_connected) : r;
}

int swap_twelve(struct bench_run *run)
{
    static struct bus bus;
    uint64_t from_ns;
    int r = set_up(&bus, run);
    /* Each run of this benchmark leaves the folder with the first content, or empty. */
    for (uint32_t i = 0; r == 0 && i < run->sample_count; i++) {
        for (size_t p = 0; p < PEERS; p++)
            bus.peers[p].done = false;
        r = put(&bus, (i % 2 == 0) ? &bus.changed : &bus.v2, &from_ns);
        if (r == 0)
            r = until(&bus, is_done);
        run->samples_ns[i] = bench_sample(from_ns, clock_now_ns());
    }
    uint64_t ignored;
    if (r == 0 && run->sample_count % 2 == 1)
        r = put(&bus, &bus.v2, &ignored);
    return r;
}
