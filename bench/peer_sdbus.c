/*
 * sd-bus, from one process to another without a bus daemon between them: both ends of a socketpair,
 * one as D-Bus server, the other as client; a method that takes and gives an array of bytes. That
 * is the least that D-Bus costs; through dbus-daemon it is two to three times as much.
 *
 * D-Bus has calls in flight, too (sd_bus_call_async()), which is what the flow does.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#define PATH "/org/example/echo"
#define INTERFACE "org.example.Echo"
#define METHOD "Echo"

static int fail(struct bench_run *run, int r)
{
    return error_set(run->error, -1, "sd-bus: %s", strerror(-r));
}

/* ---- The service ---- */

static int answer(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    const void *bytes;
    size_t size;
    sd_bus_message *reply = NULL;
    (void)userdata;
    (void)error;
    int r = sd_bus_message_read_array(message, 'y', &bytes, &size);
    if (r >= 0)
        r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', bytes, size);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static const sd_bus_vtable methods[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD(METHOD, "ay", "ay", answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static int open_bus(sd_bus **ret_bus, int fd, bool server)
{
    sd_id128_t id;
    int r = sd_bus_new(ret_bus);
    if (r >= 0)
        r = sd_bus_set_fd(*ret_bus, fd, fd);
    if (r >= 0 && server)
        r = sd_id128_randomize(&id);
    if (r >= 0 && server)
        r = sd_bus_set_server(*ret_bus, 1, id);
    return r >= 0 ? sd_bus_start(*ret_bus) : r;
}

static int serve(const struct bench_run *run, struct peer_place *place)
{
    const int *ends = place->data;
    sd_bus *bus = NULL;
    (void)run;
    close(ends[0]);
    int r = open_bus(&bus, ends[1], true);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, methods, NULL);
    if (r >= 0)
        peer_ready(place);
    while (r >= 0) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    return -1;
}

/* ---- One after the other ---- */

struct caller {
    sd_bus *bus;
    char *content;
};

static int new_request(struct bench_run *run, struct caller *caller, uint32_t i,
                       sd_bus_message **ret_request)
{
    peer_mark(caller->content, run->load.bytes, i);
    int r = sd_bus_message_new_method_call(caller->bus, ret_request, NULL, PATH, INTERFACE, METHOD);
    return r < 0 ? r
                 : sd_bus_message_append_array(*ret_request, 'y', caller->content, run->load.bytes);
}

static bool is_echo(const struct bench_run *run, sd_bus_message *reply, uint32_t i)
{
    const void *bytes = NULL;
    size_t size = 0;
    return sd_bus_message_read_array(reply, 'y', &bytes, &size) >= 0 &&
           peer_is_marked(bytes, size, run->load.bytes, i);
}

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct caller *caller = data;
    sd_bus_message *request = NULL, *reply = NULL;
    int r = new_request(run, caller, i, &request);
    if (r >= 0)
        r = sd_bus_call(caller->bus, request, 0, NULL, &reply);
    bool same = r >= 0 && is_echo(run, reply, i);
    sd_bus_message_unref(request);
    sd_bus_message_unref(reply);
    if (r < 0)
        return fail(run, r);
    return same ? 0 : error_set(run->error, -1, "sd-bus gave back another message");
}

static int open_caller(struct bench_run *run, struct peer_place *place, struct caller *ret_caller)
{
    const int *ends = place->data;
    ret_caller->content = calloc(1, run->load.bytes);
    return ret_caller->content ? open_bus(&ret_caller->bus, ends[0], false) : -ENOMEM;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    struct caller caller = {0};
    int r = open_caller(run, place, &caller);
    r = r < 0 ? fail(run, r) : peer_time(run, call, &caller);
    sd_bus_flush_close_unref(caller.bus);
    free(caller.content);
    return r;
}

/* ---- Many at once ---- */

static struct flow stream;

static int take_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    uint32_t number = (uint32_t)(uintptr_t)userdata;
    (void)error;
    if (sd_bus_message_is_method_error(reply, NULL) || !is_echo(stream.run, reply, number))
        return error_set(stream.run->error, -EIO, "sd-bus gave back another message");
    return flow_end(&stream, number) == 0 ? 0 : -EIO;
}

static int start_call(struct bench_run *run, struct caller *caller)
{
    uint32_t number = flow_start(&stream);
    sd_bus_message *request = NULL;
    int r = new_request(run, caller, number, &request);
    if (r >= 0)
        r = sd_bus_call_async(caller->bus, NULL, request, take_reply, (void *)(uintptr_t)number, 0);
    sd_bus_message_unref(request);
    return r;
}

static int ask_flow(struct bench_run *run, struct peer_place *place)
{
    struct caller caller = {0};
    int r = open_caller(run, place, &caller);
    flow_init(&stream, run);
    while (r >= 0 && !run->error->text[0] && !flow_done(&stream)) {
        while (r >= 0 && flow_may_start(&stream))
            r = start_call(run, &caller);
        if (r >= 0)
            r = sd_bus_process(caller.bus, NULL);
        if (r == 0)
            r = sd_bus_wait(caller.bus, PEER_TIMEOUT_MS * 1000);
    }
    bool wrong = run->error->text[0];
    sd_bus_flush_close_unref(caller.bus);
    free(caller.content);
    return wrong ? -1 : r < 0 ? fail(run, r) : 0;
}

/* ---- The peer ---- */

static int run_pair(struct bench_run *run, int (*asking)(struct bench_run *, struct peer_place *))
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(run->error, -1, "no socketpair");
    return peer_run(run, serve, asking, ends);
}

static int echo(struct bench_run *run)
{
    return run_pair(run, ask);
}

static int flow(struct bench_run *run)
{
    return run_pair(run, ask_flow);
}

const struct peer peer_sdbus = {
    .name = "sd-bus",
    .about = "sd-bus, peer to peer",
    .placements = PEER_ALL,
    .echo_count = 2000,
    .flow_count = 1300,
    .bytes_max = 64,
    .echo = echo,
    .asleep = echo,
    .flow = flow,
};
