/*
 * Which backend serves which URL, and one face for all of them.
 *
 * A replier has at most one part for each backend. With one part, everything here is a call through
 * its table; with two, their descriptors are in an epoll set, and they are asked in turns, so that
 * one that always has something does not silence the other.
 *
 * PARLEY_REPLIER names the backend for every URL that it can serve, for measuring and for
 * when one of them misbehaves; what a caller asks for by name goes first.
 */
#include "control/replier.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/replier_ops.h"
#include "control/stream.h"

#define REPLIER_URL_MAX 64
#define REPLIER_CONNECTIONS_MAX 4096
#define REPLIER_UNANSWERED_MAX 4096
#define REPLIER_REQUESTS_MAX 32768
#define REPLIER_UNREAD_NS (30 * NS_PER_S)

static const struct replier_ops *const backends[] = {&replier_nng_ops, &replier_stream_ops};
#define BACKENDS (sizeof(backends) / sizeof(backends[0]))

/* Where the caller's index-th URL went. */
struct place {
    struct replier_part *part;
    size_t index;
};

struct replier {
    struct replier_part *parts[BACKENDS];
    size_t part_count;
    size_t turn;
    int set; /* an epoll set of the parts' descriptors; -1: there is one part */
    size_t url_count;
    struct place places[REPLIER_URL_MAX];
};

DEFINE_CLEANUP(struct replier *, replier_free);

/* ---- Peers ---- */

uint64_t replier_connection_number(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static bool is_loopback_v6(const struct in6_addr *address)
{
    return IN6_IS_ADDR_LOOPBACK(address) ||
           (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

void replier_peer_address(struct replier_peer *peer, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    peer->off_host = true;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        peer->off_host = ntohl(v4->sin_addr.s_addr) >> 24 != 127;
        if (inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)))
            (void)snprintf(peer->text, sizeof(peer->text), "%s:%u", text,
                           (unsigned)ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        peer->off_host = !is_loopback_v6(&v6->sin6_addr);
        if (inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text)))
            (void)snprintf(peer->text, sizeof(peer->text), "[%s]:%u", text,
                           (unsigned)ntohs(v6->sin6_port));
    }
}

void replier_peer_local(struct replier_peer *peer)
{
    peer->local = true;
    peer->off_host = false;
    (void)snprintf(peer->text, sizeof(peer->text), "user %u (pid %d)", (unsigned)peer->uid,
                   (int)peer->pid);
}

/* ---- Choosing ---- */

static int backend_named(const char *name, size_t *ret_index, struct error_text *error)
{
    for (size_t i = 0; i < BACKENDS; i++) {
        if (strcmp(backends[i]->name, name) == 0) {
            *ret_index = i;
            return 0;
        }
    }
    return error_set(error, -EINVAL, "there is no transport named \"%s\": use nng or stream", name);
}

static int backend_for(const struct replier_options *options, const char *url, size_t *ret_index,
                       struct error_text *error)
{
    const char *wish = getenv("PARLEY_REPLIER");
    if (options->backend && options->protocol == REPLIER_REP)
        return backend_named(options->backend, ret_index, error);
    if (!stream_url_is(url) && options->protocol != REPLIER_REP)
        return error_set(error, -EINVAL, "%s: only requests come by that; use ipc, tcp or tls+tcp",
                         url);
    if (!stream_url_is(url))
        return backend_named("nng", ret_index, error);
    if (options->protocol != REPLIER_REP)
        return backend_named("stream", ret_index, error);
    return backend_named(wish && wish[0] ? wish : "stream", ret_index, error);
}

/* ---- Life ---- */

/* @urls: of the caller's, those that @backend serves; @wanted: their indexes there. */
static int add_part(struct replier *replier, const struct replier_options *options, size_t backend,
                    const size_t *chosen, struct error_text *error)
{
    const char *urls[REPLIER_URL_MAX];
    size_t count = 0;
    for (size_t i = 0; i < options->url_count; i++)
        if (chosen[i] == backend)
            urls[count++] = options->urls[i];
    if (count == 0)
        return 0;
    struct replier_options own = *options;
    own.urls = urls;
    own.url_count = count;
    if (own.connections_max == 0)
        own.connections_max = REPLIER_CONNECTIONS_MAX;
    if (own.unanswered_max == 0)
        own.unanswered_max = REPLIER_UNANSWERED_MAX;
    if (own.requests_max == 0)
        own.requests_max = REPLIER_REQUESTS_MAX;
    if (own.unread_ns == 0)
        own.unread_ns = REPLIER_UNREAD_NS;
    struct replier_part *part;
    int r = backends[backend]->new (&own, &part, error);
    if (r < 0)
        return r;
    part->ops = backends[backend];
    replier->parts[replier->part_count++] = part;
    size_t index = 0;
    for (size_t i = 0; i < options->url_count; i++)
        if (chosen[i] == backend)
            replier->places[i] = (struct place){.part = part, .index = index++};
    return 0;
}

static int watch_parts(struct replier *replier, struct error_text *error)
{
    if (replier->part_count == 1)
        return 0;
    replier->set = epoll_create1(EPOLL_CLOEXEC);
    int r = replier->set < 0 ? -errno : 0;
    for (size_t i = 0; r == 0 && i < replier->part_count; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        if (epoll_ctl(replier->set, EPOLL_CTL_ADD, replier->parts[i]->ops->fd(replier->parts[i]),
                      &event) < 0)
            r = -errno;
    }
    return r < 0 ? error_set(error, r, "cannot wait for requests: %s", strerror(-r)) : 0;
}

int replier_new(const struct replier_options *options, struct replier **ret_replier,
                struct error_text *error)
{
    if (options->url_count == 0 || options->url_count > REPLIER_URL_MAX)
        return error_set(error, -EINVAL, "%zu URLs: give 1 to %d", options->url_count,
                         REPLIER_URL_MAX);
    _cleanup_(replier_freep) struct replier *replier = calloc(1, sizeof(*replier));
    if (!replier)
        return error_set(error, -ENOMEM, "out of memory");
    replier->set = -1;
    replier->url_count = options->url_count;
    size_t chosen[REPLIER_URL_MAX];
    for (size_t i = 0; i < options->url_count; i++) {
        int r = backend_for(options, options->urls[i], &chosen[i], error);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < BACKENDS; i++) {
        int r = add_part(replier, options, i, chosen, error);
        if (r < 0)
            return r;
    }
    int r = watch_parts(replier, error);
    if (r < 0)
        return r;
    *ret_replier = steal_ptr(&replier);
    return 0;
}

struct replier *replier_free(struct replier *replier)
{
    if (!replier)
        return NULL;
    for (size_t i = 0; i < replier->part_count; i++)
        replier->parts[i]->ops->free(replier->parts[i]);
    fd_close(replier->set);
    free(replier);
    return NULL;
}

int replier_fd(const struct replier *replier)
{
    return replier->set >= 0 ? replier->set : replier->parts[0]->ops->fd(replier->parts[0]);
}

uint64_t replier_next_deadline_ns(const struct replier *replier)
{
    uint64_t deadline = CLOCK_NEVER;
    for (size_t i = 0; i < replier->part_count; i++) {
        uint64_t own = replier->parts[i]->ops->next_deadline_ns(replier->parts[i]);
        deadline = own < deadline ? own : deadline;
    }
    return deadline;
}

const char *replier_url(const struct replier *replier, size_t index)
{
    if (index >= replier->url_count)
        return NULL;
    const struct place *place = &replier->places[index];
    return place->part->ops->url(place->part, place->index);
}

/* ---- Requests ---- */

int replier_receive(struct replier *replier, struct replier_request **ret_request,
                    const uint8_t **ret_data, size_t *ret_bytes)
{
    for (size_t i = 0; i < replier->part_count; i++) {
        struct replier_part *part = replier->parts[replier->turn];
        replier->turn = replier->turn + 1 == replier->part_count ? 0 : replier->turn + 1;
        int r = part->ops->receive(part, ret_request, ret_data, ret_bytes);
        if (r != REPLIER_E_AGAIN)
            return r;
    }
    return REPLIER_E_AGAIN;
}

const struct replier_peer *replier_request_peer(const struct replier_request *request)
{
    return request->peer;
}

int replier_answer_begin(struct replier_request *request, size_t bytes, uint8_t **ret_data)
{
    return request->ops->answer_begin(request, bytes, ret_data);
}

bool replier_has_room(const struct replier_request *request, size_t bytes)
{
    return request->ops->has_room(request, bytes);
}

int replier_answer_end(struct replier_request *request, size_t bytes)
{
    return request->ops->answer_end(request, bytes);
}

int replier_answer(struct replier_request *request, const uint8_t *data, size_t bytes)
{
    uint8_t *out;
    int r = replier_answer_begin(request, bytes, &out);
    if (r < 0) {
        replier_drop(request);
        return r;
    }
    if (bytes > 0)
        memcpy(out, data, bytes);
    return replier_answer_end(request, bytes);
}

void replier_flush(struct replier *replier)
{
    for (size_t i = 0; i < replier->part_count; i++)
        if (replier->parts[i]->ops->flush)
            replier->parts[i]->ops->flush(replier->parts[i]);
}

int replier_answer_also(struct replier_request *request, const uint8_t *data, size_t bytes)
{
    uint8_t *out;
    if (!request->ops->answer_also)
        return -ENOSYS;
    int r = replier_answer_begin(request, bytes, &out);
    if (r < 0)
        return r;
    if (bytes > 0)
        memcpy(out, data, bytes);
    return request->ops->answer_also(request, bytes);
}

struct replier_request *replier_drop(struct replier_request *request)
{
    if (request)
        request->ops->drop(request);
    return NULL;
}

void replier_hang_up(struct replier *replier, uint64_t connection)
{
    for (size_t i = 0; i < replier->part_count; i++)
        replier->parts[i]->ops->hang_up(replier->parts[i], connection);
}

void replier_hold(struct replier *replier, uint64_t connection, uint64_t until_ns)
{
    for (size_t i = 0; i < replier->part_count; i++) {
        struct replier_part *part = replier->parts[i];
        if (part->ops->hold)
            part->ops->hold(part, connection, until_ns);
        else
            part->ops->hang_up(part, connection);
    }
}

void replier_counts(const struct replier *replier, struct replier_counts *ret_counts)
{
    *ret_counts = (struct replier_counts){0};
    for (size_t i = 0; i < replier->part_count; i++)
        replier->parts[i]->ops->counts(replier->parts[i], ret_counts);
}
