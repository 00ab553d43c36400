/*
 * The endpoint: one thread's place on the bus, its making and its end.
 *
 * loop.c runs it, uplink.c talks to the broker, calls.c keeps its calls.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/call_path.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/random.h"
#include "rpc/offers.h"

static enum parley_status endpoint_make(const struct parley_endpoint_options *options,
                                        struct parley_endpoint **ret_endpoint)
{
    struct parley_endpoint *endpoint = calloc(1, sizeof(*endpoint));
    if (!endpoint)
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for an endpoint");
    endpoint->link_source.ready = uplink_ready;
    endpoint->uplink = &link_uplink;
    endpoint->generation = fork_generation();
    endpoint->endpoint_id = random_id();
    endpoint->random = random_id();
    endpoint->route = REGION_NONE;
    spans_init(&endpoint->spans);
    endpoint->reconnect_at_ns = CLOCK_NEVER;
    endpoint->attach_at_ns = CLOCK_NEVER;
    endpoint->hang_up_at_ns = CLOCK_NEVER;
    TAILQ_INIT(&endpoint->clients);
    TAILQ_INIT(&endpoint->services);
    TAILQ_INIT(&endpoint->cold);
    TAILQ_INIT(&endpoint->dead);
    TAILQ_INIT(&endpoint->dead_clients);
    TAILQ_INIT(&endpoint->dead_services);
    TAILQ_INIT(&endpoint->deadlines);
    TAILQ_INIT(&endpoint->accepted);
    (void)snprintf(endpoint->name, sizeof(endpoint->name), "%s",
                   options->name ? options->name : program_invocation_short_name);
    endpoint->spin_ns_max = options->spin_ns_max ? options->spin_ns_max : RPC_SPIN_NS_MAX;
    uint64_t budget = endpoint->spin_ns_max > 1 ? endpoint->spin_ns_max : 0;
    spin_init(&endpoint->spin[false], budget, CLOCK_NEVER);
    spin_init(&endpoint->spin[true], budget, 0);
    part_init(&endpoint->part);
    yield_init(&endpoint->yield);
    endpoint->doze_max = WAIT_WORDS_MAX;
    endpoint->grow_after = RPC_RING_GROW_AFTER;
    endpoint->sees = true;
    endpoint->watches = true;
    endpoint->cpu = spin_cpu();

    quick_clock_init(&endpoint->clock);
    struct error_text error = {0};
    int r = wait_new(WAIT_BACKEND_AUTO, &endpoint->wait, &error);
    if (r == 0)
        r = stats_init(&endpoint->stats, endpoint->endpoint_id, &error);
    if (r == 0 && wire_packing_new(&endpoint->packing) < 0)
        r = error_set(&error, -ENOMEM, "out of memory for an endpoint");
    if (r < 0) {
        parley_endpoint_free(endpoint);
        return status_fail(status_from_errno(r), "%s", error.text);
    }
    *ret_endpoint = endpoint;
    return PARLEY_OK;
}

/* Waits for the broker's Welcome. */
static enum parley_status endpoint_greet(struct parley_endpoint *endpoint, uint64_t timeout)
{
    uint64_t deadline = clock_add(clock_now_ns(), timeout);
    while (!endpoint->welcomed) {
        if (endpoint->farewell_status != PARLEY_OK)
            return status_fail(endpoint->farewell_status, "the broker at %s refused: %s",
                               endpoint->broker, endpoint->farewell_text);
        if (clock_now_ns() >= deadline)
            return endpoint->uplink_error.text[0]
                       ? status_fail(PARLEY_UNAVAILABLE, "%s", endpoint->uplink_error.text)
                       : status_fail(PARLEY_UNAVAILABLE,
                                     "the broker at %s did not answer within %llu ms: is parleyd "
                                     "running there?",
                                     endpoint->broker, (unsigned long long)(timeout / NS_PER_MS));
        if (!endpoint->link && endpoint->reconnect_at_ns <= clock_now_ns())
            (void)endpoint->uplink->turn(endpoint);
        int r = endpoint_turn(endpoint, deadline);
        if (r < 0)
            return status_fail(status_from_errno(r), "waiting for the broker failed: %s",
                               strerror(-r));
    }
    return PARLEY_OK;
}

enum parley_status parley_endpoint_new(const struct parley_endpoint_options *options,
                                       struct parley_endpoint **ret_endpoint)
{
    static const struct parley_endpoint_options defaults;
    options = options ? options : &defaults;
    struct parley_endpoint *endpoint;
    enum parley_status status = endpoint_make(options, &endpoint);
    if (status != PARLEY_OK)
        return status;
    endpoint->reconnects = true;
    int r = 0;
    if (options->broker) {
        int n = snprintf(endpoint->broker, sizeof(endpoint->broker), "%s", options->broker);
        r = n < 0 || (size_t)n >= sizeof(endpoint->broker) ? -ENAMETOOLONG : 0;
    } else {
        r = paths_broker(NULL, endpoint->broker, sizeof(endpoint->broker));
    }
    if (r < 0) {
        parley_endpoint_free(endpoint);
        return status_fail(PARLEY_INVALID_ARGUMENT,
                           "the path or URL of the broker is longer than %zu bytes",
                           sizeof(endpoint->broker) - 1);
    }
    uint64_t timeout =
        options->connect_timeout_ns ? options->connect_timeout_ns : RPC_CONNECT_TIMEOUT_NS;
    endpoint->reconnect_at_ns = 0;
    struct error_text error = {0};
    if (strstr(endpoint->broker, "://") && (r = remote_begin(endpoint, options, &error)) < 0) {
        parley_endpoint_free(endpoint);
        return status_fail(status_from_errno(r), "%s", error.text);
    }
    status = endpoint_greet(endpoint, timeout);
    if (status != PARLEY_OK) {
        parley_endpoint_free(endpoint);
        return status;
    }
    *ret_endpoint = endpoint;
    return PARLEY_OK;
}

enum parley_status rpc_endpoint_attach(int fd, const char *name,
                                       struct parley_endpoint **ret_endpoint)
{
    struct parley_endpoint_options options = {.name = name, .spin_ns_max = 1};
    struct parley_endpoint *endpoint;
    enum parley_status status = endpoint_make(&options, &endpoint);
    if (status != PARLEY_OK) {
        fd_close(fd);
        return status;
    }
    (void)snprintf(endpoint->broker, sizeof(endpoint->broker), "(this process)");
    struct link *link;
    int r = link_new(fd, &link);
    if (r < 0)
        fd_close(fd);
    else
        r = uplink_begin(endpoint, link);
    if (r < 0) {
        parley_endpoint_free(endpoint);
        return status_fail(status_from_errno(r), "cannot make a link: %s", strerror(-r));
    }
    *ret_endpoint = endpoint;
    return PARLEY_OK;
}

void rpc_endpoint_trace_by(struct parley_endpoint *endpoint, const struct region *route)
{
    spans_routed(&endpoint->spans, route);
}

struct parley_client *endpoint_client(struct parley_endpoint *endpoint, uint64_t contract_id)
{
    struct parley_client *client;
    TAILQ_FOREACH (client, &endpoint->clients, entry) {
        if (client->contract_id == contract_id)
            return client;
    }
    return NULL;
}

struct parley_service *endpoint_service(struct parley_endpoint *endpoint, uint64_t instance_id)
{
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        if (service->instance_id == instance_id)
            return service;
    }
    return NULL;
}

/* Ends everything, and tells everybody. */
static void endpoint_end(struct parley_endpoint *endpoint)
{
    while (!TAILQ_EMPTY(&endpoint->clients))
        parley_client_free(TAILQ_FIRST(&endpoint->clients));
    while (!TAILQ_EMPTY(&endpoint->services))
        parley_service_free(TAILQ_FIRST(&endpoint->services));
    endpoint->reconnects = false;
    endpoint->uplink->end(endpoint);
    endpoint_bury(endpoint);
}

static void channel_forget(struct channel *channel)
{
    contexts_forget(channel);
    channel_destroy(channel);
}

static void channels_forget(struct channels *channels)
{
    struct channel *channel;
    while ((channel = TAILQ_FIRST(channels))) {
        TAILQ_REMOVE(channels, channel, entry);
        channel_forget(channel);
    }
}

void endpoint_link_up(struct parley_endpoint *endpoint)
{
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        service_link_up(service);
    }
    struct parley_client *client;
    TAILQ_FOREACH (client, &endpoint->clients, entry) {
        client_link_up(client);
    }
}

void endpoint_link_down(struct parley_endpoint *endpoint)
{
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        service_link_down(service);
    }
    struct parley_client *client;
    TAILQ_FOREACH (client, &endpoint->clients, entry) {
        client_link_down(client);
    }
}

/* In a child of fork(2): memory and descriptors go, and nobody is told, here or elsewhere. */
static void endpoint_forget(struct parley_endpoint *endpoint)
{
    for (uint32_t i = 0; i < endpoint->call_count; i++) {
        struct call *call = endpoint->calls[i];
        if (!call->client)
            continue;
        call->reply = wire_free(call->reply);
        endpoint_call_free(endpoint, call);
    }
    for (uint32_t i = 0; i < endpoint->hot.count; i++)
        channel_forget(endpoint->hot.channels[i]);
    endpoint->hot.count = 0;
    channels_forget(&endpoint->cold);
    channels_forget(&endpoint->dead);
    TAILQ_CONCAT(&endpoint->dead_clients, &endpoint->clients, entry);
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        contexts_disown(service);
    }
    TAILQ_CONCAT(&endpoint->dead_services, &endpoint->services, entry);
    endpoint_bury(endpoint);
}

/* Who was told to stop may get here before the one who told it is out of parley_stop(). */
static void await_stoppers(const struct parley_endpoint *endpoint)
{
    if (endpoint_forked(endpoint))
        return; /* they are the parent's */
    /* acquire: pairs with the release in parley_stop(), so that who has set the flag is counted */
    (void)atomic_load_explicit(&endpoint->stop, memory_order_acquire);
    /* acquire: pairs with the release at the end of parley_stop() */
    while (atomic_load_explicit(&endpoint->stoppers, memory_order_acquire) > 0)
        sched_yield();
}

struct parley_endpoint *parley_endpoint_free(struct parley_endpoint *endpoint)
{
    if (!endpoint)
        return NULL;
    signals_forget(endpoint);
    await_stoppers(endpoint);
    if (endpoint_forked(endpoint))
        endpoint_forget(endpoint);
    else
        endpoint_end(endpoint);
    endpoint->uplink->free(endpoint);
    plans_drop(endpoint);
    free(endpoint->plans);
    for (uint32_t i = 0; i < endpoint->call_count; i++) {
        free(endpoint->calls[i]->packed);
        free(endpoint->calls[i]->metadata);
        free(endpoint->calls[i]);
    }
    free(endpoint->calls);
    free(endpoint->call_free);
    contexts_drop_kept(endpoint);
    hot_free(&endpoint->hot);
    free(endpoint->scratch);
    wire_packing_free(endpoint->packing);
    ranges_free(endpoint->ranges_kept);
    region_deinit(&endpoint->route);
    stats_deinit(&endpoint->stats);
    spans_deinit(&endpoint->spans);
    wait_free(endpoint->wait);
    free(endpoint);
    return NULL;
}

int parley_fd(struct parley_endpoint *endpoint)
{
    if (endpoint_forked(endpoint))
        return -1;
    endpoint->foreign = true;
    endpoint_leave(endpoint);
    return wait_fd(endpoint->wait);
}

uint64_t parley_next_deadline_ns(const struct parley_endpoint *endpoint)
{
    return endpoint_forked(endpoint) ? PARLEY_FOREVER : endpoint_timer_next(endpoint);
}

static enum parley_status waiting_failed(const struct parley_endpoint *endpoint, int r)
{
    if (endpoint_forked(endpoint))
        return status_forked();
    return status_fail(status_from_errno(r), "waiting failed: %s", strerror(-r));
}

enum parley_status parley_dispatch(struct parley_endpoint *endpoint, uint64_t timeout_ns)
{
    if (endpoint_forked(endpoint))
        return status_forked();
    if (atomic_load_explicit(&endpoint->stop, memory_order_relaxed))
        return status_fail(PARLEY_CANCELLED, "the endpoint was told to stop");
    uint64_t deadline =
        timeout_ns == PARLEY_FOREVER ? CLOCK_NEVER : clock_add(clock_now_ns(), timeout_ns);
    int r = timeout_ns == 0 ? endpoint_dispatch(endpoint) : endpoint_turn(endpoint, deadline);
    endpoint_leave(endpoint);
    return r < 0 ? waiting_failed(endpoint, r) : PARLEY_OK;
}

static bool all_drained(const struct parley_endpoint *endpoint)
{
    const struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        if (!parley_service_drained(service))
            return false;
    }
    return true;
}

static enum parley_status drain(struct parley_endpoint *endpoint)
{
    uint64_t timeout = 0;
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        parley_service_close(service);
        if (service->drain_timeout_ns > timeout)
            timeout = service->drain_timeout_ns;
    }
    uint64_t deadline = clock_add(clock_now_ns(), timeout);
    uint64_t now = clock_now_ns();
    while (!all_drained(endpoint) && now < deadline) {
        uint64_t until = clock_add(now, RPC_BYE_GRACE_NS);
        int r = endpoint_turn(endpoint, until < deadline ? until : deadline);
        if (r < 0)
            return waiting_failed(endpoint, r);
        TAILQ_FOREACH (service, &endpoint->services, entry) {
            service_hang_up_silent(service);
        }
        now = clock_now_ns();
    }
    return PARLEY_OK;
}

CALL_PATH enum parley_status parley_run(struct parley_endpoint *endpoint)
{
    /* relaxed: the flag alone matters, and parley_stop() wakes the wait that follows */
    while (!atomic_load_explicit(&endpoint->stop, memory_order_relaxed)) {
        int r = endpoint_turn(endpoint, CLOCK_NEVER);
        if (r < 0)
            return waiting_failed(endpoint, r);
    }
    return endpoint_forked(endpoint) ? status_forked() : drain(endpoint);
}

void parley_stop(struct parley_endpoint *endpoint)
{
    if (endpoint_forked(endpoint))
        return; /* the eventfd is the parent's too */
    atomic_fetch_add_explicit(&endpoint->stoppers, 1, memory_order_relaxed);
    /* release: pairs with the acquire in await_stoppers() */
    atomic_store_explicit(&endpoint->stop, 1, memory_order_release);
    wait_wake(endpoint->wait);
    /* release: pairs with the acquire in await_stoppers(); the endpoint may be gone after it */
    atomic_fetch_sub_explicit(&endpoint->stoppers, 1, memory_order_release);
}

const char *parley_wait_backend(const struct parley_endpoint *endpoint)
{
    return wait_name(endpoint->wait);
}

bool parley_connected(const struct parley_endpoint *endpoint)
{
    return !endpoint_forked(endpoint) && endpoint->welcomed;
}
