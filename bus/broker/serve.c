/*
 * Services of programs that have no Parley library.
 *
 * Such a program publishes (parley.bus/Publish on a bus URL, or the control API): a descriptor set
 * and who it is. What could be refused is refused now, while it can still be told. Then it gets a
 * URL of its own, on which a socket waits for one peer, and dials it with a REP socket: from that
 * moment it is an instance (guest.c). Nothing of it is on the bus before, so that a publisher that
 * dies in between leaves nothing behind but a few descriptors, for ten seconds.
 *
 * The URL is in the broker's folder for a publisher on this host, and a port of the bus URL's host
 * for others. Who publishes is who the kernel or a certificate says, and nobody else may dial there
 * or withdraw it. A peer has at most SERVE_PEER_MAX of them.
 *
 * Publications are not remembered: a broker that starts anew knows none, as with native services,
 * and publishers come again.
 */
#include "broker/serve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "broker/front.h"
#include "broker/guard.h"
#include "broker/guest.h"
#include "broker/routes.h"

/* ---- Life ---- */

/* Sockets of a broker that was killed. */
static void sweep(const char *dir)
{
    DIR *folder = dir ? opendir(dir) : NULL;
    if (!folder)
        return;
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        if (strncmp(name, "serve-", 6) == 0 && strspn(name + 6, "0123456789abcdef") == 16 &&
            strcmp(name + 22, ".ipc") == 0)
            (void)unlinkat(dirfd(folder), name, 0);
    }
    closedir(folder);
}

static struct serve *serve_get(struct broker *broker)
{
    if (broker->serve)
        return broker->serve;
    struct serve *serve = calloc(1, sizeof(*serve));
    if (!serve)
        return NULL;
    serve->broker = broker;
    serve->next_ns = CLOCK_NEVER;
    TAILQ_INIT(&serve->guests);
    sweep(broker->serve_options.dir);
    broker->serve = serve;
    return serve;
}

struct serve *serve_free(struct serve *serve)
{
    struct guest *guest;
    while (serve && (guest = TAILQ_FIRST(&serve->guests)) != NULL)
        guest_free(guest);
    free(serve);
    return NULL;
}

uint64_t serve_next_ns(const struct broker *broker)
{
    return broker->serve ? broker->serve->next_ns : CLOCK_NEVER;
}

void serve_turn(struct broker *broker, uint64_t now_ns)
{
    struct serve *serve = broker->serve;
    if (!serve || serve->next_ns > now_ns)
        return;
    uint64_t next_ns = CLOCK_NEVER;
    struct guest *guest, *next;
    serve->next_ns = CLOCK_NEVER; /* a guest's turn may make another due */
    for (guest = TAILQ_FIRST(&serve->guests); guest; guest = next) {
        next = TAILQ_NEXT(guest, entry);
        if (guest->due || guest->next_ns <= now_ns)
            guest_turn(guest, now_ns);
        if (guest->state == GUEST_ENDED)
            guest_free(guest);
        else if (guest->next_ns < next_ns)
            next_ns = guest->next_ns;
    }
    serve->next_ns = next_ns < serve->next_ns ? next_ns : serve->next_ns;
}

void serve_counts(const struct broker *broker, struct serve_counts *ret)
{
    *ret = broker->serve ? broker->serve->counts : (struct serve_counts){0};
}

/* ---- Where it is to dial ---- */

/* The scheme and host of the bus URL that such a peer may have come by. */
static int host_of(const struct broker *broker, const struct replier_peer *peer, char *url,
                   size_t bytes)
{
    static const char *const schemes[2][5] = {
        {"tcp://", "tcp4://", "tcp6://", "ws://", NULL},
        {"tls+tcp://", "tls+tcp4://", "tls+tcp6://", "wss://", NULL},
    };
    for (size_t i = 0; i < broker->bus_url_count; i++) {
        const char *from = front_url(broker, i);
        for (const char *const *scheme = schemes[peer->encrypted]; *scheme; scheme++) {
            size_t n = strlen(*scheme);
            if (strncmp(from, *scheme, n) != 0)
                continue;
            const char *host = from + n;
            size_t end = strcspn(host, "/");
            while (end > 0 && host[end - 1] != ':')
                end--;
            if (end == 0)
                continue; /* no port: no URL of ours */
            bool web = strncmp(*scheme, "ws", 2) == 0;
            int r = snprintf(url, bytes, "%s%.*s0",
                             !web              ? *scheme
                             : peer->encrypted ? "tls+tcp://"
                                               : "tcp://",
                             (int)end, host);
            return r > 0 && (size_t)r < bytes ? 0 : -ENAMETOOLONG;
        }
    }
    return -ENOENT;
}

static int choose_url(struct broker *broker, const struct replier_peer *peer, uint64_t id,
                      char *url, size_t bytes, struct error_text *error)
{
    const struct serve_options *options = &broker->serve_options;
    if (!peer->local) {
        int r = host_of(broker, peer, url, bytes);
        return r == 0 ? 0
                      : error_set(error, r,
                                  "%s can reach no socket of this broker: give parleyd a --bus URL "
                                  "of that transport, as tcp://HOST:PORT",
                                  peer->text);
    }
    if (!options->dir)
        return error_set(error, -ENOENT, "this broker has no folder for sockets");
    int r =
        snprintf(url, bytes, "ipc://%s/serve-%016llx.ipc", options->dir, (unsigned long long)id);
    return r > 0 && (size_t)r < bytes
               ? 0
               : error_set(error, -ENAMETOOLONG, "the path of the broker's folder is too long");
}

/* ---- Publishing ---- */

/* What one peer's publications are counted by: what is certain of it. */
static bool same_peer(const struct replier_peer *a, const struct replier_peer *b)
{
    if (!guest_peers_alike(a, b))
        return false;
    if (a->local || a->identity[0])
        return true;
    size_t n = strcspn(a->text, ":"), m = strcspn(b->text, ":");
    if (a->text[0] == '[')
        n = strcspn(a->text, "]"), m = strcspn(b->text, "]");
    return n == m && strncmp(a->text, b->text, n) == 0;
}

static int check_room(struct serve *serve, const struct replier_peer *peer,
                      struct error_text *error)
{
    unsigned all = 0, of_peer = 0;
    const struct guest *guest;
    TAILQ_FOREACH (guest, &serve->guests, entry) {
        all++;
        of_peer += same_peer(&guest->peer, peer);
    }
    if (of_peer >= SERVE_PEER_MAX)
        return error_set(error, -EDQUOT, "%s serves by %u sockets already: at most %d are allowed",
                         peer->text, of_peer, SERVE_PEER_MAX);
    if (all >= SERVE_INSTANCE_MAX)
        return error_set(error, -EDQUOT, "the broker has %u such services already: at most %d", all,
                         SERVE_INSTANCE_MAX);
    if (!peer->local)
        return 0;
    struct account *account = admit_account(&serve->broker->admit, peer->uid, clock_now_ns());
    return account ? admit_registration(&serve->broker->admit, account, clock_now_ns(), error)
                   : error_set(error, -ENOMEM, "the broker is out of memory");
}

/* Published by nobody in particular, and not dialled yet: who publishes it again, perhaps because
 * somebody else dialled meanwhile, does so instead. */
static bool may_replace(const struct guest *guest, const struct replier_peer *peer)
{
    return (guest->state == GUEST_EXPECTED || guest->state == GUEST_PROVING) && !peer->local &&
           guest_peers_alike(peer, &guest->peer);
}

static enum parley_status check_request(struct serve *serve, const Parley__PublishRequest *request,
                                        const struct replier_peer *peer, struct error_text *error)
{
    const struct guest *guest;
    if (request->has_calls_max &&
        (request->calls_max == 0 || request->calls_max > SERVE_CALLS_MAX)) {
        error_set(error, 0, "calls_max is %u: 1 to %d", request->calls_max, SERVE_CALLS_MAX);
        return PARLEY_INVALID_ARGUMENT;
    }
    if (request->name && !session_name_is_fine(request->name)) {
        error_set(error, 0, "a name has 1 to %d printable bytes", BROKER_NAME_BYTES - 1);
        return PARLEY_INVALID_ARGUMENT;
    }
    uint32_t shares[ROUTE_VERSION_MAX];
    if (weights_check(request->route_generation, request->weights, request->n_weights, shares,
                      error) < 0)
        return PARLEY_INVALID_ARGUMENT;
    if (!request->has_instance_id)
        return PARLEY_OK;
    if (request->instance_id == 0) {
        error_set(error, 0, "an instance's id is not 0");
        return PARLEY_INVALID_ARGUMENT;
    }
    bool taken = directory_instance(&serve->broker->directory, request->instance_id) != NULL;
    TAILQ_FOREACH (guest, &serve->guests, entry)
        taken = taken || (guest->instance_id == request->instance_id && !may_replace(guest, peer));
    if (!taken)
        return PARLEY_OK;
    error_set(error, 0, "instance %016llx is published already",
              (unsigned long long)request->instance_id);
    return PARLEY_ALREADY_EXISTS;
}

/* Also for who left the interface's name to the set, which is read only now. */
static enum parley_status take_schema(struct broker *broker, const struct replier_peer *peer,
                                      const Parley__PublishRequest *request,
                                      struct schema_entry **ret_schema, struct error_text *error)
{
    Parley__Publish publish = PARLEY__PUBLISH__INIT;
    publish.interface = request->interface;
    publish.version = request->version;
    publish.service = request->service;
    publish.has_descriptor_set = request->has_descriptor_set;
    publish.descriptor_set = request->descriptor_set;
    enum parley_status status = publish_check(broker, &publish, ret_schema, error);
    if (status != PARLEY_OK)
        return status;
    const Parley__Interface *interface = schema_service((*ret_schema)->schema)->interface;
    if (guard_allows(broker, peer, POLICY_PUBLISH, interface->name, interface->version, error))
        return PARLEY_OK;
    schema_entry_drop(&broker->negotiator, *ret_schema);
    return PARLEY_PERMISSION_DENIED;
}

/* As shares, which sum to what a page may have. They were checked. */
static struct rpc_weights weights_seen(const Parley__PublishRequest *request)
{
    struct rpc_weights seen = {.generation = request->route_generation};
    uint32_t shares[ROUTE_VERSION_MAX];
    if (weights_check(request->route_generation, request->weights, request->n_weights, shares,
                      NULL) <= 0)
        return seen;
    seen.count = (uint32_t)request->n_weights;
    for (uint32_t i = 0; i < seen.count; i++) {
        seen.of[i].per_100000 = shares[i];
        (void)snprintf(seen.of[i].version, sizeof(seen.of[i].version), "%s",
                       request->weights[i]->version);
    }
    return seen;
}

static enum parley_status expect(struct serve *serve, const Parley__PublishRequest *request,
                                 const struct replier_peer *peer, struct schema_entry *schema,
                                 struct serve_published *ret, struct error_text *error)
{
    struct broker *broker = serve->broker;
    uint64_t id = request->has_instance_id ? request->instance_id : random_id();
    struct guest *before;
    TAILQ_FOREACH (before, &serve->guests, entry)
        if (before->instance_id == id && may_replace(before, peer))
            guest_withdraw(before, false);
    char url[SERVE_URL_BYTES], name[BROKER_NAME_BYTES];
    (void)snprintf(name, sizeof(name), "%.63s", request->name ? request->name : peer->text);
    int r = choose_url(broker, peer, id, url, sizeof(url), error);
    if (r < 0) {
        schema_entry_drop(&broker->negotiator, schema);
        return PARLEY_FAILED_PRECONDITION;
    }
    const struct requester_options line = {.url = url,
                                           .tls = broker->tls.certificate ? &broker->tls : NULL,
                                           .mode = broker->serve_options.mode};
    const struct serve_options *options = &broker->serve_options;
    uint64_t dial_ns = options->dial_ns ? options->dial_ns : SERVE_DIAL_NS;
    const struct rpc_weights weights = weights_seen(request);
    const struct guest_spec spec = {
        .schema = schema,
        .dial_ns = dial_ns,
        .silent_ns = options->silent_ns ? options->silent_ns : SERVE_SILENT_NS,
        .instance_id = id,
        .calls_max = request->has_calls_max ? request->calls_max : SERVE_CALLS,
        .cancels = request->cancels,
        .proves = request->proves && !peer->local && !peer->identity[0],
        .name = name,
        .peer = peer,
        .weights = &weights,
        .line = &line,
    };
    struct guest *guest;
    r = guest_new(serve, &spec, &guest, error);
    if (r < 0)
        return session_status(r);
    ret->instance_id = id;
    ret->proves = guest->proof.asked;
    memcpy(ret->token, guest->proof.token, sizeof(ret->token));
    ret->dial_within_ms = (uint32_t)(dial_ns / NS_PER_MS);
    (void)snprintf(ret->url, sizeof(ret->url), "%s", requester_url(guest->line));
    log_debug("%s is expected at %s", name, ret->url);
    return PARLEY_OK;
}

enum parley_status serve_publish(struct broker *broker, const Parley__PublishRequest *request,
                                 const struct replier_peer *peer, struct serve_published *ret,
                                 struct error_text *error)
{
    struct serve *serve = serve_get(broker);
    if (!serve) {
        error_set(error, 0, "the broker is out of memory");
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    enum parley_status status = check_request(serve, request, peer, error);
    if (status == PARLEY_OK && check_room(serve, peer, error) < 0)
        status = PARLEY_RESOURCE_EXHAUSTED;
    struct schema_entry *schema;
    if (status == PARLEY_OK)
        status = take_schema(broker, peer, request, &schema, error);
    if (status == PARLEY_OK)
        status = expect(serve, request, peer, schema, ret, error);
    return status;
}

Parley__PublishReply serve_reply(struct serve_published *published)
{
    Parley__PublishReply reply = PARLEY__PUBLISH_REPLY__INIT;
    reply.has_instance_id = reply.has_dial_within_ms = true;
    reply.instance_id = published->instance_id;
    reply.dial_within_ms = published->dial_within_ms;
    reply.url = published->url;
    reply.has_token = published->proves;
    reply.token = (ProtobufCBinaryData){.len = sizeof(published->token), .data = published->token};
    return reply;
}

void serve_refused(struct broker *broker, const Parley__PublishRequest *request,
                   const struct replier_peer *peer, enum parley_status status, const char *why)
{
    const struct refusal refusal = {
        .topic = "audit.publish",
        .known = peer->local,
        .who = {.pid = peer->pid, .uid = peer->uid, .gid = peer->gid},
        .from = peer->identity[0] ? peer->identity : peer->text,
        .asked = "a publication",
        .interface = request->interface,
        .version = request->version,
        .status = status,
    };
    log_debug("%s may not publish: %s", peer->text, why);
    audit_refused(broker, &refusal, "%s", why);
}

enum parley_status serve_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                                  const struct replier_peer *peer, struct error_text *error)
{
    struct guest *guest = NULL;
    if (broker->serve)
        TAILQ_FOREACH (guest, &broker->serve->guests, entry)
            if (guest->instance_id == request->instance_id && guest->state != GUEST_ENDED)
                break;
    if (!guest) {
        error_set(error, 0, "no instance %016llx was published by a REP socket",
                  (unsigned long long)request->instance_id);
        return PARLEY_NOT_FOUND;
    }
    bool master = peer->local && (peer->uid == 0 || peer->uid == geteuid());
    if (!master && !guest_peers_alike(peer, &guest->peer)) {
        error_set(error, 0, "%s did not publish instance %016llx, and may not withdraw it",
                  peer->text, (unsigned long long)request->instance_id);
        return PARLEY_PERMISSION_DENIED;
    }
    guest_withdraw(guest, request->drain);
    return PARLEY_OK;
}

unsigned serve_review(struct broker *broker)
{
    struct guest *guest, *next;
    unsigned count = 0;
    for (guest = broker->serve ? TAILQ_FIRST(&broker->serve->guests) : NULL; guest; guest = next) {
        const Parley__Interface *interface = schema_service(guest->schema->schema)->interface;
        struct error_text why = {""};
        next = TAILQ_NEXT(guest, entry);
        if (guest->state == GUEST_ENDED || guard_allows(broker, &guest->peer, POLICY_PUBLISH,
                                                        interface->name, interface->version, &why))
            continue;
        guest_withdraw(guest, false);
        count++;
    }
    return count;
}
