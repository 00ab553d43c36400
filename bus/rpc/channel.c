/*
 * A channel: two segments, and a doorbell socket between one client endpoint and one instance.
 *
 * Sending is in send.c. Receiving hands the owner (client.c, service.c) a private copy of the
 * header and pointers into the peer's live memory, which the owner's plan reads once;
 * channel_consume() then gives ring and arena space back.
 *
 * A channel is hot (we poll its ring; our asleep flag is clear, so the peer rings no bell) or cold
 * (asleep flag set; the peer's first publication rings the doorbell, which makes it hot). A loop
 * that goes to sleep makes channels cold, and one that is busy those that are not, so a busy pair
 * never makes a system call.
 *
 * Frames that find no room wait (queue.c), and who waits looks for room while it is awake; a peer
 * that consumes rings if it sleeps. Whatever a peer does
 * wrong ends this channel, with a sentence to it and a line in our log, and touches nothing else.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/call_path.h"
#include "base/log.h"
#include "rpc/refs.h"

#define BELL_PACKETS_MAX 512 /* read in one go; more than a socket holds by default */

/* ---- Life ---- */

static void bell_ready(struct source *source, uint32_t events);

int channel_new(struct parley_endpoint *endpoint, const struct channel_ops *ops, int bell,
                struct channel **ret_channel, struct error_text *error)
{
    _cleanup_(freep) struct channel *channel = calloc(1, sizeof(*channel));
    if (!channel)
        return error_set(error, -ENOMEM, "out of memory for a channel");
    channel->endpoint = endpoint;
    channel->ops = ops;
    channel->bell = bell;
    channel->source.ready = bell_ready;
    TAILQ_INIT(&channel->calls);
    LIST_INIT(&channel->buffers);
    for (size_t i = 0; i < ARENA_SEGMENT_MAX; i++)
        channel->peer.more[i] = REGION_NONE;
    int r = hot_reserve(&endpoint->hot);
    if (r < 0)
        return error_set(error, r, "out of memory for a channel");
    r = segment_create(&channel->ours, NULL, error);
    if (r == 0 && (r = wait_add(endpoint->wait, bell, WAIT_IN, &channel->source)) < 0) {
        segment_deinit(&channel->ours);
        (void)error_set(error, r, "cannot watch a channel's doorbell: %s", strerror(-r));
    }
    if (r < 0) {
        hot_unreserve(&endpoint->hot);
        return r;
    }
    cpu_publish(&channel->ours, endpoint->cpu);
    asleep_set(&channel->ours, &channel->peer, ASLEEP_BELL);
    TAILQ_INSERT_TAIL(&endpoint->cold, channel, entry);
    stats_bump(&endpoint->stats.header->channels);
    *ret_channel = steal_ptr(&channel);
    return 0;
}

int channel_bind(struct channel *channel, struct held_plan *held,
                 const ProtobufCServiceDescriptor *descriptor, struct error_text *error)
{
    if (__builtin_expect(held->binding != NULL, 1))
        return 0;
    struct channel *other = channel->service_side ? LIST_FIRST(&channel->service->channels)
                                                  : LIST_FIRST(&channel->client->channels);
    for (; other; other = LIST_NEXT(other, owner_entry)) {
        if (other->held && other->held->binding && other->held->plan == held->plan) {
            held->binding = plan_binding_ref(other->held->binding);
            return 0;
        }
    }
    return plan_bind(held->plan, descriptor, channel->service_side ? PLAN_REQUESTS : PLAN_REPLIES,
                     &held->binding, error);
}

static void memory_free(struct channel *channel)
{
    refs_memory_gone(channel);
    peer_segment_deinit(&channel->peer);
    segment_deinit(&channel->ours);
    free(channel);
}

void channel_destroy(struct channel *channel)
{
    channel_queue_free(channel);
    fd_close(channel->bell);
    held_drop(channel->held);
    free(channel->cells);
    free(channel->contexts);
    channel->destroyed = true;
    if (channel->keepers == 0)
        memory_free(channel);
}

struct channel *channel_keep(struct channel *channel)
{
    channel->keepers++;
    return channel;
}

void channel_let_go(struct channel *channel)
{
    if (--channel->keepers == 0 && channel->destroyed)
        memory_free(channel);
}

void channel_kill(struct channel *channel, enum parley_status status, const char *format, ...)
{
    if (channel->state == CHANNEL_DEAD)
        return;
    char text[RPC_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    struct parley_endpoint *endpoint = channel->endpoint;
    channel->state = CHANNEL_DEAD;
    channel->source.ready = NULL;
    wait_remove(endpoint->wait, channel->bell);
    if (channel->awake)
        hot_remove(&endpoint->hot, channel);
    else
        TAILQ_REMOVE(&endpoint->cold, channel, entry);
    channel->awake = false; /* its place among the hot ones is another one's now */
    hot_unreserve(&endpoint->hot);
    TAILQ_INSERT_TAIL(&endpoint->dead, channel, entry);
    rings_forget(&endpoint->rings, channel);
    stats_grow(&endpoint->stats.header->channels, (uint64_t)-1);
    endpoint->turns++; /* a closure that waits must not bury what is dead, for we are still here */
    channel->ops->dead(channel, status, text);
    endpoint->turns--;
    /* Our end closes now, so that the peer learns of it at once; the memory goes when the turn
     * ends, for somebody up the stack may be reading it. */
    shutdown(channel->bell, SHUT_RDWR);
    channel->bell = fd_close(channel->bell);
}

void channel_break(struct channel *channel, const char *text)
{
    if (channel->state == CHANNEL_DEAD)
        return;
    log_warn("channel with %s ended: the peer broke the protocol: %s",
             channel->service_side ? "a client" : "a service", text);
    struct bell_packet packet = {.kind = BELL_BROKEN, .status = PARLEY_INTERNAL};
    (void)snprintf(packet.text, sizeof(packet.text), "%.239s", text);
    (void)channel_bell_send(channel, &packet, sizeof(packet), -1);
    channel_kill(channel, PARLEY_INTERNAL, "the peer broke the protocol: %.200s", text);
}

int channel_attach_peer(struct channel *channel, int fd, struct error_text *error)
{
    int r = peer_segment_map(&channel->peer, fd, error);
    if (r < 0)
        return r;
    channel->state = CHANNEL_UP;
    return 0;
}

/* ---- The doorbell ---- */

int channel_bell_send(struct channel *channel, const struct bell_packet *packet, size_t bytes,
                      int fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)packet, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(sizeof(int))];
    } control = {0};
    if (fd >= 0) {
        message.msg_control = control.buffer;
        message.msg_controllen = sizeof(control.buffer);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(channel->bell, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

CALL_PATH static void ring_word_at(struct channel *channel, uint64_t position)
{
    const struct segment *ours = &channel->ours;
    wait_words_wake(ring_our_word(ours, position));
    stats_bump(&channel->endpoint->stats.header->doorbells);
}

/* Of a remote endpoint the peer is one of its own channels, and needs no bell. */
static bool wake_twin(const struct channel *channel)
{
    struct channel *twin;
    TAILQ_FOREACH (twin, &channel->endpoint->cold, entry) {
        if (twin->instance_id == channel->instance_id && twin != channel &&
            twin->state == CHANNEL_UP) {
            channel_wake(twin);
            channel->endpoint->woke = true;
            return true;
        }
    }
    return false;
}

static void ring_bell(struct channel *channel)
{
    static const uint8_t kind = BELL_RING;
    if (channel->endpoint->remote && wake_twin(channel))
        return;
    /* A full socket holds many rings already; a hung-up one shows when we read it. */
    while (send(channel->bell, &kind, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
    stats_bump(&channel->endpoint->stats.header->doorbells);
}

void channel_ring(struct channel *channel)
{
    if (peer_asleep(&channel->peer) == ASLEEP_WORD)
        ring_word_at(channel, peer_consumed(&channel->ours, &channel->peer));
    else
        ring_bell(channel);
}

/* A sleeper that was rung for what it has not consumed yet will look at the ring again before it
 * sleeps: the record that we rang for is before those that follow. So one ring is enough, however
 * long it takes to wake up. peer_asleep_quick() fenced between our publication and this look at its
 * position, as asleep_set() does between its last position and its last look at our ring. */
CALL_PATH void channel_ring_if_asleep(struct channel *channel)
{
    if (!channel->peer.region.base)
        return;
    enum asleep how = peer_asleep_quick(&channel->ours, &channel->peer);
    if (how == ASLEEP_NOT)
        return;
    uint64_t consumed = peer_consumed(&channel->ours, &channel->peer);
    if (consumed < channel->rung || consumed == channel->ours.head)
        return; /* rung, or there is nothing to take */
    struct rings *rings = &channel->endpoint->rings;
    if (rings->held && rings_hold(rings, channel))
        return;
    channel->rung = channel->ours.head;
    if (how == ASLEEP_WORD)
        ring_word_at(channel, consumed); /* where its last look was */
    else
        ring_bell(channel);
}

/* A peer that waits for room looks for it itself while it is awake. One that sleeps is rung once
 * for each ring full of records, or when nothing is left to take: not for each record. */
static void ring_if_blocked(struct channel *channel)
{
    struct peer_segment *peer = &channel->peer;
    if (peer->tail - channel->room_told < peer->ring_lines && ring_pending(peer))
        return;
    if (!peer_blocked(peer) || peer_asleep(peer) == ASLEEP_NOT)
        return;
    channel->room_told = peer->tail;
    channel_ring(channel);
}

static void packet_received(struct channel *channel, const struct bell_packet *packet, int fd)
{
    struct error_text error = {0};
    int r = 0;
    switch (packet->kind) {
    case BELL_RING:
        return;
    case BELL_ACCEPT:
        if (channel->state != CHANNEL_CONNECTING || packet->instance_id != channel->instance_id) {
            r = error_set(&error, -EPROTO, "an accept that was not asked for");
            break;
        }
        r = channel_attach_peer(channel, fd, &error);
        if (r == 0)
            channel->ops->attached(channel);
        break;
    case BELL_REJECT:
        channel_kill(channel, (enum parley_status)packet->status, "%s", packet->text);
        return;
    case BELL_BROKEN:
        log_warn("channel with %s ended by it: %s",
                 channel->service_side ? "a client" : "a service", packet->text);
        channel_kill(channel, PARLEY_INTERNAL, "%s", packet->text);
        return;
    case BELL_GROW:
        if (channel->state != CHANNEL_UP)
            r = error_set(&error, -EPROTO, "a further arena before the first");
        else
            r = arena_add(&channel->peer, fd, &error);
        break;
    case BELL_GROW_RING:
        if (channel->state != CHANNEL_UP)
            r = error_set(&error, -EPROTO, "a further ring before the first");
        else
            r = ring_add(&channel->peer, fd, &error);
        break;
    default:
        r = error_set(&error, -EPROTO, "a doorbell packet of unknown kind %u", packet->kind);
    }
    if (r < 0)
        channel_break(channel, error.text);
}

/* Takes one packet off the socket. Return: 1; 0: none there; -EPIPE: hung up. */
static int bell_receive(struct channel *channel)
{
    struct bell_packet packet = {0};
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.buffer,
                             .msg_controllen = sizeof(control.buffer)};
    ssize_t n = recvmsg(channel->bell, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        /* ECONNRESET: the peer closed with our rings unread. It is told once, before the packets
         * that the peer sent last, which say why. */
        return errno == EAGAIN ? 0 : errno == EINTR || errno == ECONNRESET ? 1 : -EPIPE;
    int fds[4];
    size_t fd_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (fd_count < 4)
                fds[fd_count++] = fd;
            else
                fd_close(fd);
        }
    }
    packet.text[sizeof(packet.text) - 1] = '\0';
    bool wants_fd =
        packet.kind == BELL_ACCEPT || packet.kind == BELL_GROW || packet.kind == BELL_GROW_RING;
    int r = 1;
    if (n == 0 && fd_count == 0)
        r = -EPIPE;
    else if ((message.msg_flags & MSG_TRUNC) || (n != 1 && (size_t)n != sizeof(packet)) ||
             fd_count != (wants_fd ? 1u : 0u))
        channel_break(channel, "a doorbell packet of the wrong form");
    else
        packet_received(channel, &packet, fd_count ? fds[0] : -1);
    for (size_t i = 0; i < fd_count; i++)
        fd_close(fds[i]);
    return r;
}

/* Reads the doorbell until it is empty. */
static void bell_drain(struct channel *channel)
{
    for (unsigned i = 0; i < BELL_PACKETS_MAX && channel->state != CHANNEL_DEAD; i++) {
        int r = bell_receive(channel);
        if (r == 0)
            return;
        if (r < 0) {
            channel->hung_up = true;
            return;
        }
    }
    /* More may be there, and an edge-triggered backend would not say so again. */
    if (channel->state != CHANNEL_DEAD)
        wait_modify(channel->endpoint->wait, channel->bell, WAIT_IN);
}

static void bell_ready(struct source *source, uint32_t events)
{
    struct channel *channel = (struct channel *)source;
    stats_bump(&channel->endpoint->stats.header->wakeups);
    if (events != WAIT_WORD)
        bell_drain(channel);
    if (channel->state == CHANNEL_DEAD)
        return;
    channel->rang = true;
    if (channel->state == CHANNEL_UP)
        channel_wake(channel);
    else if (channel->hung_up)
        channel_kill(channel, PARLEY_UNAVAILABLE, "the service went away while connecting");
}

/* ---- Giving back ---- */

static void names_push(struct channel *channel, const uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        release_push(&channel->ours, blocks[i]);
    if (peer_blocked(&channel->peer))
        channel_ring(channel);
}

bool channel_give_back_with_next(struct channel *channel, const uint32_t *blocks, uint32_t count)
{
    if (count > FRAME_RETURNS_MAX - channel->return_count || channel->queue.count > 0)
        return false; /* a frame that waits would take them, before ours is written */
    for (uint32_t i = 0; i < count; i++)
        channel->returns[channel->return_count++] = blocks[i];
    return true;
}

void channel_give_back(struct channel *channel, const uint32_t *blocks, uint32_t count)
{
    if (channel->state != CHANNEL_UP || endpoint_forked(channel->endpoint))
        return; /* nobody waits for them, or not for us */
    bool idle = !channel->service_side && channel->in_flight == 0;
    if (!idle || !channel_give_back_with_next(channel, blocks, count))
        names_push(channel, blocks, count);
}

/* ---- Hot and cold ---- */

void channel_wake(struct channel *channel)
{
    if (channel->state != CHANNEL_UP)
        return;
    if (channel->awake) {
        hot_update(&channel->endpoint->hot, channel);
        return;
    }
    channel->awake = true;
    channel->pass = channel->endpoint->pass;
    asleep_clear(&channel->ours);
    cpu_publish(&channel->ours, channel->endpoint->cpu);
    TAILQ_REMOVE(&channel->endpoint->cold, channel, entry);
    hot_add(&channel->endpoint->hot, channel);
}

void channel_return_names(struct channel *channel)
{
    uint32_t count = channel->return_count;
    channel->return_count = 0;
    names_push(channel, channel->returns, count);
}

/* False: something is there after all. */
static bool fall_asleep(struct channel *channel, enum asleep how)
{
    asleep_set(&channel->ours, &channel->peer, how);
    /* asleep_set() fenced: a publication that did not see our flag is seen here. */
    if (ring_pending(&channel->peer) || channel->hung_up)
        return false;
    if (how == ASLEEP_BELL)
        return true;
    const struct peer_segment *peer = &channel->peer;
    const void *word = ring_word(peer->ring, peer->ring_lines, peer->tail);
    if (wait_watch(channel->endpoint->wait, channel->bell, word) == 0)
        return true;
    channel->endpoint->watches = false;
    return fall_asleep(channel, ASLEEP_BELL);
}

bool channel_sleep(struct channel *channel)
{
    channel_return_now(channel);
    /* A foreign loop would not submit the watch. */
    const struct parley_endpoint *endpoint = channel->endpoint;
    bool word = endpoint->watches && !endpoint->foreign && channel_may_doze(channel);
    if (!fall_asleep(channel, word ? ASLEEP_WORD : ASLEEP_BELL)) {
        asleep_clear(&channel->ours);
        return false;
    }
    if (channel->queue.count > 0 && channel_flush(channel) > 0) {
        asleep_clear(&channel->ours);
        return false;
    }
    channel->awake = false;
    hot_remove(&channel->endpoint->hot, channel);
    TAILQ_INSERT_TAIL(&channel->endpoint->cold, channel, entry);
    return true;
}

bool channel_may_doze(const struct channel *channel)
{
    return channel->queue.count == 0 && !channel->hung_up && channel->deaf < CHANNEL_DEAF_MAX;
}

const void *channel_doze(struct channel *channel)
{
    channel_return_now(channel);
    const struct peer_segment *peer = &channel->peer;
    asleep_set(&channel->ours, peer, ASLEEP_WORD);
    return ring_word(peer->ring, peer->ring_lines, peer->tail);
}

void channel_doze_end(struct channel *channel, bool in_time)
{
    asleep_clear(&channel->ours);
    if (ring_pending(&channel->peer))
        channel->deaf = in_time ? 0 : channel->deaf + 1;
}

void channel_doze_woken(struct channel *channel)
{
    asleep_clear(&channel->ours);
    channel->deaf = 0;
}

bool channel_wants_cpu(const struct channel *channel)
{
    /* Published for it, and it has not been there: it cannot run. If it has, and an answer is due
     * or it is not asleep, it was interrupted. */
    return channel->in_flight > 0 || peer_asleep(&channel->peer) == ASLEEP_NOT ||
           peer_consumed(&channel->ours, &channel->peer) < channel->ours.head;
}

/* ---- Receiving ---- */

int channel_resolve(struct channel *channel, const struct frame_ref *ref, uint64_t bytes,
                    const uint8_t **ret_data, struct error_text *error)
{
    int r = arena_resolve(&channel->peer, ref, bytes, ret_data);
    if (r == ARENA_E_UNKNOWN) {
        bell_drain(channel); /* it was sent before the frame */
        if (channel->state == CHANNEL_DEAD)
            return -EPIPE;
        r = arena_resolve(&channel->peer, ref, bytes, ret_data);
    }
    return r == 0 ? 0
                  : error_set(error, -EPROTO, "a frame that refers to memory outside of the arena");
}

/* Takes back what a record's last words name. A record that was not consumed comes again, and has
 * given its names back already. */
RING_INLINE int returns_read(struct channel *channel, const uint8_t *names, uint32_t count,
                             struct error_text *error)
{
    if (channel->returned_at == channel->peer.tail + 1)
        return 0;
    channel->returned_at = channel->peer.tail + 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block;
        memcpy(&block, names + i * sizeof(block), sizeof(block));
        if (release_named(&channel->ours, block) < 0)
            return error_set(error, -EPROTO, "a frame that gives back what it was not lent");
    }
    return 0;
}

/* Most frames have neither shares nor returns: one question about both. */
static inline bool has_more(const struct frame_header *header)
{
    return __builtin_expect((header->share_count | header->return_count) != 0, 0);
}

static inline bool is_too_large(const struct frame_header *header)
{
    return header->payload_bytes > WIRE_MESSAGE_BYTES_MAX ||
           header->metadata_bytes > RPC_METADATA_BLOCK_BYTES_MAX + sizeof(struct frame_trace) ||
           (has_more(header) &&
            (header->share_count > FRAME_SHARES_MAX || header->return_count > FRAME_RETURNS_MAX));
}

/* What is behind a frame's payload. @names: at the record's end. */
RING_INLINE int more_read(struct channel *channel, const struct frame *frame, const uint8_t *names,
                          struct error_text *error)
{
    int r = 0;
    if (frame->header.return_count > 0)
        r = returns_read(channel, names, frame->header.return_count, error);
    if (r == 0 && frame->header.share_count > 0)
        r = frame_read_refs(channel, frame, error);
    return r;
}

/* frame_read() of a header that has been read. */
__attribute__((noinline, cold)) static int frame_read_any(struct channel *channel,
                                                          const uint8_t *record, uint32_t bytes,
                                                          struct frame *frame,
                                                          struct error_text *error)
{
    const struct frame_header *header = &frame->header;
    if (bytes < sizeof(*header))
        return error_set(error, -EPROTO, "a record of %u bytes is no frame", bytes);
    uint64_t content = (uint64_t)header->metadata_bytes + header->payload_bytes;
    if (is_too_large(header))
        return error_set(
            error, -EPROTO,
            "a frame of %u bytes, %u of metadata, %u shares and %u returns is too large",
            header->payload_bytes, header->metadata_bytes, header->share_count,
            header->return_count);
    if (has_more(header)) {
        content += frame_places_bytes(header->payload_bytes, header->share_count);
        bytes -= header->return_count * (uint32_t)sizeof(uint32_t); /* at most the header's */
    }
    uint16_t tag = channel->service_side ? FRAME_TAG_CLIENT : FRAME_TAG_SERVICE;
    if (header->version_tag != tag)
        return error_set(error, -EPROTO, "a frame with the unknown version tag %u",
                         header->version_tag);
    frame->in_arena = header->flags & FRAME_IN_ARENA;
    if (!frame->in_arena) {
        if (sizeof(*header) + content > bytes)
            return error_set(error, -EPROTO, "a frame whose lengths do not fit its record");
    } else {
        struct frame_ref ref;
        if (bytes < sizeof(*header) + sizeof(ref))
            return error_set(error, -EPROTO, "a frame without the reference that its flag tells");
        memcpy(&ref, record + sizeof(*header), sizeof(ref));
        int r = channel_resolve(channel, &ref, content, &frame->metadata, error);
        if (r < 0)
            return r;
        frame->block = ref.block;
    }
    frame->payload = frame->metadata + header->metadata_bytes;
    return has_more(header) ? more_read(channel, frame, record + bytes, error) : 0;
}

/* The word of a header that begins with metadata_bytes. */
RING_INLINE uint64_t bits_of(const struct frame_header *header)
{
    uint64_t word;
    memcpy(&word, (const uint8_t *)header + offsetof(struct frame_header, metadata_bytes),
           sizeof(word));
    return word;
}

/* Of that: all that says that a frame is one of the many (@all: all bits of it), as the other side
 * of a channel writes it. */
static uint64_t usual_word(bool service_side, bool all)
{
    const struct frame_header usual = {
        .metadata_bytes = all ? UINT16_MAX : 0,
        .version_tag = all            ? UINT16_MAX
                       : service_side ? FRAME_TAG_CLIENT
                                      : FRAME_TAG_SERVICE,
        .flags = all ? FRAME_IN_ARENA : 0,
    };
    return bits_of(&usual);
}

/* frame_read() of one that has shares or names behind its payload, and is like most otherwise. */
__attribute__((noinline)) static int frame_read_more(struct channel *channel, const uint8_t *record,
                                                     uint32_t bytes, struct frame *frame,
                                                     struct error_text *error)
{
    const struct frame_header *header = &frame->header;
    const uint32_t names_bytes = header->return_count * (uint32_t)sizeof(uint32_t);
    const uint64_t content = (uint64_t)header->payload_bytes + sizeof(*header) +
                             frame_places_bytes(header->payload_bytes, header->share_count) +
                             names_bytes;
    if (__builtin_expect(content > bytes || header->share_count > FRAME_SHARES_MAX ||
                             header->return_count > FRAME_RETURNS_MAX,
                         0))
        return frame_read_any(channel, record, bytes, frame, error); /* it says why */
    return more_read(channel, frame, record + bytes - names_bytes, error);
}

/* frame_read() of one with metadata, which is like most otherwise. */
__attribute__((noinline)) static int frame_read_metadata(struct channel *channel,
                                                         const uint8_t *record, uint32_t bytes,
                                                         uint64_t usual, struct frame *frame,
                                                         struct error_text *error)
{
    const struct frame_header *header = &frame->header;
    const uint64_t content =
        (uint64_t)header->metadata_bytes + header->payload_bytes + sizeof(*header);
    const uint64_t bare =
        bits_of(header) & ~bits_of(&(const struct frame_header){.metadata_bytes = UINT16_MAX});
    if (__builtin_expect((bare & usual_word(false, true)) != usual || content > bytes ||
                             has_more(header) || is_too_large(header),
                         0))
        return frame_read_any(channel, record, bytes, frame, error);
    frame->payload += header->metadata_bytes;
    return 0;
}

/* Makes a frame of a record: the header private and bounded, the rest located. @usual: usual_word()
 * of the channel. */
RING_INLINE int frame_read(struct channel *channel, const uint8_t *record, uint32_t bytes,
                           uint64_t usual, struct frame *frame, struct error_text *error)
{
    const struct frame_header *header = &frame->header;
    memcpy(&frame->header, record, sizeof(frame->header)); /* a record has a line, at least */
    frame->refs->count = 0;
    frame->in_arena = false;
    frame->metadata = frame->payload = record + sizeof(*header);
    /* All that is to be checked of nearly every frame: what fits a record is not too large. */
    if (__builtin_expect((bits_of(header) & usual_word(false, true)) != usual ||
                             (uint64_t)header->payload_bytes + sizeof(*header) > bytes,
                         0))
        return frame_read_metadata(channel, record, bytes, usual, frame, error);
    return has_more(header) ? frame_read_more(channel, record, bytes, frame, error) : 0;
}

void frame_release(struct channel *channel, const struct frame *frame)
{
    if (frame->in_arena)
        release_push(&channel->ours, frame->block);
    for (uint32_t i = 0; i < frame->refs->count; i++)
        release_push(&channel->ours, frame->refs->blocks[i]);
    frame->refs->count = 0;
}

/* To the peer's further ring. False: the channel has ended. */
RING_RARE static bool follow(struct channel *channel)
{
    if (ring_follow(&channel->peer, &channel->ours))
        return true;
    bell_drain(channel); /* it was sent before the ring was left */
    if (channel->state == CHANNEL_UP && !ring_follow(&channel->peer, &channel->ours))
        channel_break(channel, "its ring goes on in one that it did not send");
    return channel->state == CHANNEL_UP;
}

CALL_PATH static inline int drain(struct channel *channel, unsigned batch)
{
    int taken = 0;
    struct parley_endpoint *endpoint = channel->endpoint;
    const uint64_t usual = /* two constants */
        channel->service_side ? usual_word(true, false) : usual_word(false, false);
    while (taken < (int)batch && channel->state == CHANNEL_UP && !endpoint_forked(endpoint)) {
        const void *record;
        uint32_t bytes;
        int r = ring_next(&channel->peer, &record, &bytes);
        if (__builtin_expect(r > 0, 0)) {
            if (r == RING_E_EMPTY)
                break;
            if (!follow(channel))
                return taken + 1;
            continue;
        }
        if (taken > 0)
            ring_ask_for_next(&channel->peer);
        struct frame_refs refs;
        struct frame frame;
        frame.refs = &refs;
        struct error_text error; /* a kilobyte: not cleared for each record */
        error.text[0] = '\0';
        if (r < 0)
            (void)error_set(&error, r, "an impossible record");
        else if ((r = frame_read(channel, record, bytes, usual, &frame, &error)) == 0)
            r = channel->ops->frame(channel, &frame, &error);
        if (r > 0)
            break;
        if (r < 0) {
            channel_break(channel, error.text); /* nothing if it is dead already */
            return taken + 1;
        }
        taken++;
    }
    if (channel->state != CHANNEL_UP || endpoint_forked(endpoint))
        return taken;
    if (taken)
        ring_if_blocked(channel);
    if (channel->queue.count > 0) {
        int sent = channel_flush(channel);
        taken += sent > 0 ? sent : 0;
    }
    if (channel->hung_up && taken == 0 && channel->state == CHANNEL_UP &&
        !channel_pending(channel)) { /* what it left comes first, also if there is no room now */
        channel_kill(channel, PARLEY_UNAVAILABLE, "the %s went away",
                     channel->service_side ? "client" : "service");
        taken = 1;
    }
    return taken;
}

CALL_PATH int channel_drain(struct channel *channel, unsigned batch)
{
    struct hot *hot = &channel->endpoint->hot;
    int taken = drain(channel, batch);
    if (__builtin_expect(hot->count > 1, 0) && channel->awake)
        hot_update(hot, channel);
    return taken;
}
