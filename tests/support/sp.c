#include "support/test.h"

#include "support/sp.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define HELLO_BYTES 8

union address {
    struct sockaddr any;
    struct sockaddr_un path;
    struct sockaddr_in v4;
};

static socklen_t parse(const char *url, union address *address)
{
    memset(address, 0, sizeof(*address));
    if (strncmp(url, "ipc://", 6) == 0) {
        address->path.sun_family = AF_UNIX;
        assert_true(strlen(url + 6) < sizeof(address->path.sun_path));
        strcpy(address->path.sun_path, url + 6);
        return sizeof(address->path);
    }
    unsigned port;
    assert_int_equal(sscanf(url, "tcp://127.0.0.1:%u", &port), 1);
    address->v4.sin_family = AF_INET;
    address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->v4.sin_port = htons((uint16_t)port);
    return sizeof(address->v4);
}

static struct sp *sp_new(int fd, bool ipc)
{
    struct sp *sp = calloc(1, sizeof(*sp));
    assert_non_null(sp);
    sp->fd = fd;
    sp->ipc = ipc;
    sp->in = malloc(SP_MESSAGE_BYTES_MAX);
    assert_non_null(sp->in);
    const int on = 1;
    if (!ipc) /* several small messages in a row are not to wait for the peer's ACK, 40 ms */
        assert_return_code(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), errno);
    return sp;
}

struct sp *sp_connect(const char *url)
{
    union address address;
    socklen_t bytes = parse(url, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_return_code(connect(fd, &address.any, bytes), errno);
    return sp_new(fd, address.any.sa_family == AF_UNIX);
}

int sp_listen(const char *url)
{
    union address address;
    socklen_t bytes = parse(url, &address);
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address.any.sa_family == AF_UNIX)
        (void)unlink(address.path.sun_path);
    assert_return_code(bind(fd, &address.any, bytes), errno);
    assert_return_code(listen(fd, 16), errno);
    return fd;
}

struct sp *sp_accept(int listener, bool ipc)
{
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return sp_new(fd, ipc);
}

struct sp *sp_free(struct sp *sp)
{
    if (sp) {
        close(sp->fd);
        free(sp->in);
        free(sp);
    }
    return NULL;
}

void sp_write(struct sp *sp, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t n = send(sp->fd, at, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        bytes -= (size_t)n;
    }
}

void sp_send_hello(struct sp *sp, uint16_t protocol)
{
    const uint8_t hello[HELLO_BYTES] = {0, 'S', 'P', 0, (uint8_t)(protocol >> 8), (uint8_t)protocol,
                                        0, 0};
    sp_write(sp, hello, sizeof(hello));
}

void sp_send(struct sp *sp, const uint32_t *words, size_t count, const void *data, size_t bytes)
{
    uint8_t head[9 + 4 * 64];
    size_t n = 0;
    assert_true(count <= 64);
    if (sp->ipc)
        head[n++] = 1;
    const uint64_t length = htobe64(4 * count + bytes);
    memcpy(head + n, &length, 8);
    n += 8;
    for (size_t i = 0; i < count; i++, n += 4) {
        const uint32_t word = htobe32(words[i]);
        memcpy(head + n, &word, 4);
    }
    sp_write(sp, head, n);
    sp_write(sp, data, bytes);
}

void sp_ask(struct sp *sp, uint32_t id, const void *data, size_t bytes)
{
    const uint32_t word = id | UINT32_C(0x80000000);
    sp_send(sp, &word, 1, data, bytes);
}

static void read_more(struct sp *sp)
{
    while (!sp->hung_up && sp->in_bytes < SP_MESSAGE_BYTES_MAX) {
        ssize_t n =
            recv(sp->fd, sp->in + sp->in_bytes, SP_MESSAGE_BYTES_MAX - sp->in_bytes, MSG_DONTWAIT);
        if (n > 0) {
            sp->in_bytes += (size_t)n;
        } else {
            sp->hung_up = n == 0 || errno != EAGAIN;
            return;
        }
    }
}

static void consume(struct sp *sp, size_t bytes)
{
    memmove(sp->in, sp->in + bytes, sp->in_bytes - bytes);
    sp->in_bytes -= bytes;
}

bool sp_has_hello(struct sp *sp)
{
    read_more(sp);
    return sp->in_bytes >= HELLO_BYTES;
}

bool sp_has_ended(struct sp *sp)
{
    read_more(sp);
    return sp->hung_up;
}

uint16_t sp_take_hello(struct sp *sp)
{
    assert_true(sp->in_bytes >= HELLO_BYTES);
    assert_memory_equal(sp->in, "\0SP\0", 4);
    uint16_t protocol = (uint16_t)(sp->in[4] << 8 | sp->in[5]);
    consume(sp, HELLO_BYTES);
    return protocol;
}

static size_t head_bytes(const struct sp *sp)
{
    return sp->ipc ? 9 : 8;
}

static uint64_t length_of(const struct sp *sp)
{
    uint64_t length;
    memcpy(&length, sp->in + head_bytes(sp) - 8, 8);
    return be64toh(length);
}

bool sp_has_message(struct sp *sp)
{
    read_more(sp);
    return sp->in_bytes >= head_bytes(sp) && sp->in_bytes - head_bytes(sp) >= length_of(sp);
}

void sp_take_message(struct sp *sp, uint8_t **ret_data, size_t *ret_bytes)
{
    size_t bytes = (size_t)length_of(sp);
    uint8_t *data = malloc(bytes + 1);
    assert_non_null(data);
    memcpy(data, sp->in + head_bytes(sp), bytes);
    consume(sp, head_bytes(sp) + bytes);
    *ret_data = data;
    *ret_bytes = bytes;
}
