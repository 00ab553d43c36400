/*
 * How a REP socket that serves comes onto the bus: somebody dials, is found to be who has
 * published, and is published as an instance by an endpoint of the broker's own.
 *
 * Who dials is admitted by what the kernel or a certificate says of it or, where nobody can say,
 * by its token (guest_proof.c). Until then the publication stays for who has made it: a stranger is
 * turned away, and told about in the audit, but ends nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "broker/guest.h"
#include "rpc/rpc.h"

/* It counts as its publisher's, as far as the kernel has told who that is. */
static int take_identity(struct broker *broker, struct endpoint *session,
                         const struct replier_peer *peer, struct error_text *error)
{
    session->peer = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (!peer->local)
        return 0;
    session->peer = (struct ucred){.pid = peer->pid, .uid = peer->uid, .gid = peer->gid};
    struct account *account = admit_account(&broker->admit, peer->uid, clock_now_ns());
    if (!account)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    int r = admit_endpoint(&broker->admit, account, error);
    if (r == 0)
        session->account = account;
    return r;
}

static int make_endpoint(struct guest *guest, struct error_text *error)
{
    struct broker *broker = guest->serve->broker;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(error, -errno, "cannot make a socket: %s", strerror(errno));
    struct link *link;
    struct endpoint *session;
    int r = link_new(pair[0], &link);
    if (r < 0)
        fd_close(pair[0]);
    else
        r = session_new(broker, link, true, &session);
    if (r < 0) {
        fd_close(pair[1]);
        return error_set(error, r, "cannot make a link: %s", strerror(-r));
    }
    r = take_identity(broker, session, &guest->peer, error);
    if (r < 0) {
        fd_close(pair[1]);
        session_doom(session);
        return r;
    }
    /* The endpoint takes the descriptor, on failure too; the session then hangs up by itself. */
    if (rpc_endpoint_attach(pair[1], guest->name, &guest->endpoint) != PARLEY_OK)
        return error_set(error, -EIO, "%s", parley_error_text());
    return broker_watch(broker, parley_fd(guest->endpoint), WAIT_IN, &guest->endpoint_source);
}

static int join(struct guest *guest, struct error_text *error)
{
    int r = make_endpoint(guest, error);
    if (r < 0)
        return r;
    const struct rpc_service_spec spec = {
        .schema = guest->schema->schema,
        .instance_id = guest->instance_id,
        .calls_max = guest->calls_max + SERVE_WAITING_MAX + 1, /* we count ourselves */
        .weights = &guest->weights,
        .ops = &guest_ops,
        .userdata = guest,
    };
    if (rpc_service_open(guest->endpoint, &spec, &guest->service) != PARLEY_OK)
        return error_set(error, -EIO, "%s", parley_error_text());
    guest->due = true;
    return 0;
}

/* Nobody else may come in the publisher's place; who can be anybody may be another. */
bool guest_peers_alike(const struct replier_peer *a, const struct replier_peer *b)
{
    if (a->local || b->local)
        return a->local && b->local && a->uid == b->uid;
    return strcmp(a->identity, b->identity) == 0;
}

/* A publisher that was nobody in particular may come back with a certificate, or not. */
static bool may_dial(const struct guest *guest, const struct replier_peer *peer)
{
    const struct replier_peer *publisher = &guest->peer;
    if (!publisher->local && !publisher->identity[0])
        return !peer->local;
    return guest_peers_alike(peer, publisher);
}

/* The publication stays, for who has made it. */
static void refuse_peer(const struct guest *guest, const struct replier_peer *peer)
{
    const Parley__Interface *interface = schema_service(guest->schema->schema)->interface;
    const struct replier_peer *publisher = &guest->peer;
    const struct refusal refusal = {
        .topic = "audit.publish",
        .known = peer->local,
        .who = {.pid = peer->pid, .uid = peer->uid, .gid = peer->gid},
        .from = peer->identity[0] ? peer->identity : peer->text,
        .asked = "to serve",
        .interface = interface->name,
        .version = interface->version,
        .status = PARLEY_PERMISSION_DENIED,
    };
    audit_refused(guest->serve->broker, &refusal, "%s dialled in place of %s",
                  peer->identity[0] ? peer->identity : peer->text,
                  publisher->identity[0] ? publisher->identity : publisher->text);
}

/* It is the one that has published. */
static void let_come(struct guest *guest)
{
    struct error_text error = {""};
    requester_replaceable(guest->line, false);
    guest->state = GUEST_JOINING;
    guest->came = true;
    guest->serve->counts.expected--;
    guest->serve->counts.instances++;
    if (join(guest, &error) < 0)
        guest_end(guest, "is refused: %s", error.text);
}

/* Another may come, as long as the publisher is waited for. */
void guest_turn_away(struct guest *guest)
{
    guest->state = GUEST_EXPECTED;
    refuse_peer(guest, &guest->proof.peer);
    requester_hang_up(guest->line);
}

void guest_proof_answered(struct guest *guest, uint32_t number, const uint8_t *data, size_t bytes)
{
    enum guest_proven proven = guest_proof_check(&guest->proof, number, data, bytes);
    if (proven == GUEST_PROVEN)
        let_come(guest);
    else if (proven == GUEST_WRONG)
        guest_turn_away(guest);
}

bool guest_dialled(const struct replier_peer *peer, void *data)
{
    struct guest *guest = data;
    if (guest->state != GUEST_EXPECTED && guest->state != GUEST_PROVING)
        return false;
    if (!may_dial(guest, peer)) {
        refuse_peer(guest, peer);
        return false;
    }
    if (!guest->proof.asked) {
        let_come(guest);
        return true;
    }
    guest->state = GUEST_PROVING;
    guest_proof_begin(&guest->proof, peer);
    requester_replaceable(guest->line, true);
    guest_mark_due(guest);
    return true;
}

void guest_hung_up(void *data)
{
    struct guest *guest = data;
    if (guest->state == GUEST_PROVING)
        guest->state = GUEST_EXPECTED;
    else if (guest->state != GUEST_EXPECTED)
        guest_end(guest, "is gone: it hung up");
}
