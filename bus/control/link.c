/*
 * The link, over SOCK_SEQPACKET: the kernel keeps packet boundaries and order, tells who the peer
 * is, carries descriptors, and hangs up when the peer dies.
 *
 * A packet is a packed LinkMessage. One that would be longer than LINK_INLINE_BYTES_MAX is written
 * to a memfd, sealed, and goes as the last descriptor of a packet of nine bytes: LINK_MEMFD_MARK,
 * which no protobuf message begins with (it would be field number 0), and the length. So a packet
 * always fits a socket's buffer, and a peer cannot make us allocate more than
 * LINK_MESSAGE_BYTES_MAX. The seals are verified before a byte is read, and what is parsed is a
 * private copy.
 *
 * Descriptors have one owner at any time. The kernel's become ours the moment recvmsg() returns,
 * whatever else it says, so they are collected before anything is judged, and every path that
 * refuses the packet closes them all. A message that has to wait for the socket keeps duplicates,
 * so that the sender may close its own at once in either case.
 *
 * The queue is bounded in messages, bytes and descriptors; a peer that does not read is the caller's to drop.
 */
#include "control/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/paths.h"
#include "wire/wire.h"

#define LINK_MEMFD_MARK 0x00
#define LINK_MEMFD_PACKET_BYTES 9
#define LINK_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
/* Room for more than is allowed, so that "one too many" is told from "the kernel cut it". */
#define LINK_FD_ROOM (LINK_FD_MAX + 2)

struct packet {
    STAILQ_ENTRY(packet) next;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    size_t cost_bytes; /* towards LINK_QUEUE_BYTES_MAX, with what is in a memfd */
    size_t bytes;
    uint8_t data[];
};

struct link {
    int fd;
    struct ucred peer;
    STAILQ_HEAD(, packet) queue;
    size_t queue_count;
    size_t queue_bytes;
    size_t queue_fds;
    uint8_t buffer[LINK_INLINE_BYTES_MAX];
};

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fds[i] = fd_close(fds[i]);
}

/* ---- Making and freeing ---- */

static int check_socket(int fd)
{
    int domain = 0;
    int type = 0;
    socklen_t length = sizeof(domain);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
        return -errno;
    length = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return -errno;
    return domain == AF_UNIX && type == SOCK_SEQPACKET ? 0 : -EPROTOTYPE;
}

int link_new(int fd, struct link **ret_link)
{
    int r = check_socket(fd);
    if (r < 0)
        return r;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    struct ucred peer;
    socklen_t length = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;

    struct link *link = malloc(sizeof(*link));
    if (!link)
        return -ENOMEM;
    link->fd = fd;
    link->peer = peer;
    STAILQ_INIT(&link->queue);
    link->queue_count = 0;
    link->queue_bytes = 0;
    link->queue_fds = 0;
    *ret_link = link;
    return 0;
}

static void packet_drop_first(struct link *link)
{
    struct packet *packet = STAILQ_FIRST(&link->queue);
    STAILQ_REMOVE_HEAD(&link->queue, next);
    link->queue_count--;
    link->queue_bytes -= packet->cost_bytes;
    link->queue_fds -= packet->fd_count;
    close_all(packet->fds, packet->fd_count);
    free(packet);
}

struct link *link_free(struct link *link)
{
    if (!link)
        return NULL;
    while (!STAILQ_EMPTY(&link->queue))
        packet_drop_first(link);
    fd_close(link->fd);
    free(link);
    return NULL;
}

static int connect_failed(int code, const char *path, struct error_text *error)
{
    char hint[PATHS_HINT_BYTES];
    switch (code) {
    case -ENOENT:
        return error_set(error, code, "no broker at %s: start parleyd, or set PARLEY_BROKER%s",
                         path, paths_hint(path, PATHS_HOST_DIR, hint, sizeof(hint)));
    case -ECONNREFUSED:
        return error_set(error, code, "nobody listens on %s any more: start parleyd again%s", path,
                         paths_hint(path, PATHS_HOST_DIR, hint, sizeof(hint)));
    case -EACCES:
    case -EPERM:
        return error_set(error, code, "not allowed to connect to %s: ask for access to that socket",
                         path);
    case -EAGAIN:
        return error_set(error, code, "the broker at %s is too busy to accept: try again", path);
    case -EPROTOTYPE:
        return error_set(error, code, "%s is another program's socket, not parleyd's", path);
    default:
        return error_set(error, code, "cannot connect to %s: %s", path, strerror(-code));
    }
}

static int make_address(const char *path, struct sockaddr_un *ret_address, struct error_text *error)
{
    size_t bytes = strlen(path);
    if (bytes == 0)
        return error_set(error, -EINVAL, "the path of a socket is empty");
    if (bytes >= sizeof(ret_address->sun_path))
        return error_set(error, -ENAMETOOLONG,
                         "%s is too long for a socket: at most %zu bytes, use a shorter folder",
                         path, sizeof(ret_address->sun_path) - 1);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, bytes + 1);
    return 0;
}

int link_connect(const char *path, struct link **ret_link, struct error_text *error)
{
    struct sockaddr_un address;
    int r = make_address(path, &address, error);
    if (r < 0)
        return r;
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return connect_failed(-errno, path, error);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return connect_failed(-errno, path, error);
    r = link_new(fd, ret_link);
    if (r < 0)
        return connect_failed(r, path, error);
    steal_fd(&fd);
    return 0;
}

int link_fd(const struct link *link)
{
    return link->fd;
}

void link_peer(const struct link *link, struct ucred *ret_peer)
{
    *ret_peer = link->peer;
}

/* ---- Sending ---- */

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int memfd_of(const uint8_t *data, size_t bytes, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = memfd_create("parley-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, data, bytes);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, LINK_SEALS | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* Return: 0; -EAGAIN: the socket is full; -EPIPE; -errno. */
static int send_packet(int fd, const uint8_t *data, size_t bytes, const int *fds, size_t fd_count)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(LINK_FD_MAX * sizeof(int))];
    } control;
    if (fd_count > 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, fd_count * sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno == ECONNRESET || errno == ENOTCONN)
            return -EPIPE;
        return -errno;
    }
}

static int packet_new(const uint8_t *data, size_t bytes, size_t cost_bytes, const int *fds,
                      size_t fd_count, struct packet **ret_packet)
{
    struct packet *packet = malloc(sizeof(*packet) + bytes);
    if (!packet)
        return -ENOMEM;
    packet->bytes = bytes;
    packet->cost_bytes = cost_bytes;
    packet->fd_count = 0;
    memcpy(packet->data, data, bytes);
    for (size_t i = 0; i < fd_count; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            int r = -errno;
            close_all(packet->fds, packet->fd_count);
            free(packet);
            return r;
        }
        packet->fds[packet->fd_count++] = copy;
    }
    *ret_packet = packet;
    return 0;
}

static int enqueue(struct link *link, const uint8_t *data, size_t bytes, size_t cost_bytes,
                   const int *fds, size_t fd_count)
{
    if (link->queue_count >= LINK_QUEUE_MAX ||
        cost_bytes > LINK_QUEUE_BYTES_MAX - link->queue_bytes)
        return -ENOBUFS;
    if (fd_count > LINK_QUEUE_FD_MAX - link->queue_fds)
        return -ETOOMANYREFS;
    struct packet *packet = NULL; /* gcc 14 does not see that it is set */
    int r = packet_new(data, bytes, cost_bytes, fds, fd_count, &packet);
    if (r < 0)
        return r;
    STAILQ_INSERT_TAIL(&link->queue, packet, next);
    link->queue_count++;
    link->queue_bytes += cost_bytes;
    link->queue_fds += fd_count;
    return 0;
}

/* In order: behind what waits already. */
static int send_or_enqueue(struct link *link, const uint8_t *data, size_t bytes, size_t cost_bytes,
                           const int *fds, size_t fd_count)
{
    int r = link_flush(link);
    if (r < 0)
        return r;
    if (!link_queued(link)) {
        r = send_packet(link->fd, data, bytes, fds, fd_count);
        if (r != -EAGAIN)
            return r;
    }
    return enqueue(link, data, bytes, cost_bytes, fds, fd_count);
}

static int send_in_memfd(struct link *link, const uint8_t *data, size_t bytes, const int *fds,
                         size_t fd_count)
{
    if (fd_count >= LINK_FD_MAX)
        return -EMSGSIZE;
    _cleanup_(fd_closep) int memfd = -1;
    int r = memfd_of(data, bytes, &memfd);
    if (r < 0)
        return r;
    int all[LINK_FD_MAX];
    for (size_t i = 0; i < fd_count; i++)
        all[i] = fds[i];
    all[fd_count] = memfd;

    uint8_t packet[LINK_MEMFD_PACKET_BYTES] = {LINK_MEMFD_MARK};
    for (unsigned i = 0; i < 8; i++)
        packet[1 + i] = (uint8_t)((uint64_t)bytes >> (8 * i));
    return send_or_enqueue(link, packet, sizeof(packet), bytes, all, fd_count + 1);
}

int link_send(struct link *link, const Parley__LinkMessage *message, const int *fds,
              size_t fd_count)
{
    if (fd_count > LINK_FD_MAX)
        return -EMSGSIZE;
    size_t bytes = parley__link_message__get_packed_size(message);
    if (bytes == 0)
        return -EINVAL; /* an empty packet would read as a hang-up */
    if (bytes > LINK_MESSAGE_BYTES_MAX)
        return -EMSGSIZE;
    _cleanup_(freep) uint8_t *data = malloc(bytes);
    if (!data)
        return -ENOMEM;
    parley__link_message__pack(message, data);
    if (bytes > LINK_INLINE_BYTES_MAX)
        return send_in_memfd(link, data, bytes, fds, fd_count);
    return send_or_enqueue(link, data, bytes, bytes, fds, fd_count);
}

bool link_queued(const struct link *link)
{
    return !STAILQ_EMPTY(&link->queue);
}

int link_flush(struct link *link)
{
    struct packet *packet;
    while ((packet = STAILQ_FIRST(&link->queue)) != NULL) {
        int r = send_packet(link->fd, packet->data, packet->bytes, packet->fds, packet->fd_count);
        if (r == -EAGAIN)
            return 0;
        if (r < 0)
            return r;
        packet_drop_first(link);
    }
    return 0;
}

/* ---- Receiving ---- */

/* Takes ownership of every descriptor that came. Return: how many, at most LINK_FD_ROOM. */
static size_t collect_fds(struct msghdr *message, int fds[LINK_FD_ROOM])
{
    size_t count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (count < LINK_FD_ROOM)
                fds[count++] = fd;
            else
                fd_close(fd);
        }
    }
    return count;
}

static int read_memfd(int fd, uint64_t bytes, uint8_t **ret_data, struct error_text *error)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & LINK_SEALS) != LINK_SEALS)
        return error_set(error, -EBADMSG, "a large message came in a file that is not sealed");
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || (uint64_t)status.st_size != bytes)
        return error_set(error, -EBADMSG,
                         "a large message of %llu bytes came in a file of %lld bytes",
                         (unsigned long long)bytes, (long long)status.st_size);
    _cleanup_(freep) uint8_t *data = malloc(bytes);
    if (!data)
        return -ENOMEM;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, data + done, bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(error, -EBADMSG, "a large message cannot be read from its file");
        done += (size_t)n;
    }
    *ret_data = steal_ptr(&data);
    return 0;
}

/* The packet that says that the message is in the last descriptor. Closes that one. */
static int open_memfd_packet(const uint8_t *packet, size_t packet_bytes, int *fds, size_t *fd_count,
                             uint8_t **ret_data, size_t *ret_bytes, struct error_text *error)
{
    if (packet_bytes != LINK_MEMFD_PACKET_BYTES || *fd_count == 0)
        return error_set(error, -EBADMSG, "a packet that is no message");
    uint64_t bytes = 0;
    for (unsigned i = 0; i < 8; i++)
        bytes |= (uint64_t)packet[1 + i] << (8 * i);
    if (bytes == 0 || bytes > LINK_MESSAGE_BYTES_MAX)
        return error_set(error, -EBADMSG, "a message of %llu bytes: at most %u are allowed",
                         (unsigned long long)bytes, LINK_MESSAGE_BYTES_MAX);
    size_t last = *fd_count - 1;
    int r = read_memfd(fds[last], bytes, ret_data, error);
    if (r < 0)
        return r;
    fds[last] = fd_close(fds[last]);
    *fd_count = last;
    *ret_bytes = (size_t)bytes;
    return 0;
}

static int unpack(const uint8_t *data, size_t bytes, Parley__LinkMessage **ret_message,
                  struct error_text *error)
{
    const struct wire_limits limits = {
        .bytes_max = LINK_MESSAGE_BYTES_MAX,
        .depth_max = WIRE_DEPTH_MAX,
        .fields_max = WIRE_FIELDS_MAX,
        .elements_max = WIRE_FIELDS_MAX,
    };
    ProtobufCMessage *base;
    int r = wire_unpack(&parley__link_message__descriptor, data, bytes, &limits, &base, error);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return error_prefix(error, -EBADMSG, "a packet that is no message");
    Parley__LinkMessage *message = (Parley__LinkMessage *)base;
    if (message->body_case == PARLEY__LINK_MESSAGE__BODY__NOT_SET) {
        wire_free(message);
        return error_set(error, -EBADMSG,
                         "a message without a body, or of a kind that protocol %d does not have",
                         LINK_PROTOCOL);
    }
    *ret_message = message;
    return 0;
}

/* Judges a packet whose descriptors are in @fds; consumes the one of a large body. */
static int judge(struct link *link, size_t bytes, int flags, int *fds, size_t *fd_count,
                 Parley__LinkMessage **ret_message, struct error_text *error)
{
    if (flags & MSG_TRUNC)
        return error_set(error, -EBADMSG, "a packet longer than %d bytes", LINK_INLINE_BYTES_MAX);
    if ((flags & MSG_CTRUNC) || *fd_count > LINK_FD_MAX)
        return error_set(error, -EBADMSG,
                         "more than %d descriptors with a message, or no room left for them",
                         LINK_FD_MAX);
    if (bytes == 0)
        return error_set(error, -EBADMSG, "descriptors without a message");
    if (link->buffer[0] != LINK_MEMFD_MARK)
        return unpack(link->buffer, bytes, ret_message, error);

    _cleanup_(freep) uint8_t *data = NULL;
    size_t data_bytes = 0;
    int r = open_memfd_packet(link->buffer, bytes, fds, fd_count, &data, &data_bytes, error);
    if (r < 0)
        return r;
    return unpack(data, data_bytes, ret_message, error);
}

/* The peer that closes with our bytes unread leaves ECONNRESET in front of its last words: read
 * past it, once. */
static ssize_t receive_packet(int fd, struct msghdr *message)
{
    bool reset = false;
    size_t control_bytes = message->msg_controllen;
    for (;;) {
        message->msg_controllen = control_bytes;
        ssize_t n = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (errno == ECONNRESET && !reset) {
            reset = true;
            continue;
        }
        return errno == ECONNRESET ? -EPIPE : -errno;
    }
}

int link_receive(struct link *link, Parley__LinkMessage **ret_message, int ret_fds[LINK_FD_MAX],
                 size_t *ret_fd_count, struct error_text *error)
{
    struct iovec vector = {.iov_base = link->buffer, .iov_len = sizeof(link->buffer)};
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(LINK_FD_ROOM * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n = receive_packet(link->fd, &message);
    if (n == -EAGAIN)
        return LINK_E_AGAIN;
    if (n < 0)
        return (int)n;

    int fds[LINK_FD_ROOM];
    size_t fd_count = collect_fds(&message, fds);
    size_t taken = fd_count;
    if (n == 0 && fd_count == 0 && !(message.msg_flags & MSG_CTRUNC))
        return -EPIPE;
    int r = judge(link, (size_t)n, message.msg_flags, fds, &fd_count, ret_message, error);
    if (r < 0) {
        close_all(fds, taken);
        return r;
    }
    for (size_t i = 0; i < LINK_FD_MAX; i++)
        ret_fds[i] = i < fd_count ? fds[i] : -1;
    *ret_fd_count = fd_count;
    return 0;
}
