/*
 * The flood: SP over a unix socket by hand, for a library would not send such things.
 *
 * Writing blocks, so that a broker that reads no further makes it sleep, as it would a program that
 * is merely wrong. What comes back is read without waiting, or not at all.
 */
#include "garbage.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/random.h"
#include "control/bus_frame.h"

#define BATCH 64
#define BODY_BYTES_MAX 256
#define HEAD_BYTES 13 /* mark, length, way back */

static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

static uint64_t next_random(uint64_t *state) /* xorshift64*, Marsaglia and Vigna */
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Mark, length and a way back of one word. */
static size_t put_head(uint8_t *out, uint64_t bytes, uint32_t id)
{
    const uint64_t length = htobe64(bytes + 4);
    const uint32_t way = htobe32(id | UINT32_C(1) << 31);
    out[0] = 1;
    memcpy(out + 1, &length, sizeof(length));
    memcpy(out + 9, &way, sizeof(way));
    return HEAD_BYTES;
}

static size_t put_frame(uint8_t *out, uint32_t id)
{
    struct bus_frame frame = {
        .header = {.call_id = id, .kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
        .interface = {"nowhere", 7},
        .method = {"Get", 3},
    };
    size_t bytes = bus_frame_head_bytes(&frame);
    (void)bus_frame_write(&frame, out, bytes);
    return bytes;
}

/* One message. Return: its bytes. */
static size_t put_message(uint8_t *out, uint64_t *random)
{
    uint8_t body[BODY_BYTES_MAX];
    uint64_t dice = next_random(random);
    size_t bytes = put_frame(body, (uint32_t)dice);
    switch (dice >> 32 & 3) {
    case 0: /* noise */
        bytes = dice >> 40 & 0xff;
        for (size_t i = 0; i < bytes; i++)
            body[i] = (uint8_t)next_random(random);
        break;
    case 1: /* half of a frame */
        bytes = (dice >> 40) % bytes;
        break;
    case 2: /* a length that cannot be */
        memset(body + offsetof(struct frame_header, payload_bytes), 0xff, 4);
        break;
    default: /* to nowhere */
        break;
    }
    size_t head = put_head(out, bytes, (uint32_t)dice);
    memcpy(out + head, body, bytes);
    return head + bytes;
}

/* What ends a connection, behind a greeting or instead of one. */
static size_t put_end(uint8_t *out, uint64_t *random)
{
    uint64_t dice = next_random(random);
    if ((dice & 3) == 0) { /* no greeting */
        memset(out, (int)(dice >> 8 | 1), sizeof(hello));
        return sizeof(hello);
    }
    memcpy(out, hello, sizeof(hello));
    uint8_t *at = out + sizeof(hello);
    size_t head = put_head(at,
                           (dice & 3) == 1   ? 8
                           : (dice & 3) == 2 ? UINT64_C(1) << 62
                                             : UINT64_C(64) << 20,
                           (uint32_t)dice);
    memset(at + head, 0, 8);
    if ((dice & 3) == 1)
        at[9] = 0; /* no way back */
    return sizeof(hello) + head + 8;
}

static bool write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

static void read_all(int fd)
{
    uint8_t data[16384];
    while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
        ;
}

/* Until the broker has enough. */
static void send_messages(int fd, bool reads, uint64_t *random,
                          volatile struct garbage_counts *counts)
{
    static uint8_t data[BATCH * (HEAD_BYTES + BODY_BYTES_MAX)];
    if (!write_all(fd, hello, sizeof(hello)))
        return;
    for (;;) {
        size_t bytes = 0;
        for (int i = 0; i < BATCH; i++)
            bytes += put_message(data + bytes, random);
        if (!write_all(fd, data, bytes))
            return;
        counts->messages += BATCH;
        counts->bytes += bytes;
        if (reads)
            read_all(fd);
    }
}

int garbage_send(const char *path, enum garbage_kind kind, volatile struct garbage_counts *counts)
{
    uint64_t random = random_id() | 1;
    for (bool reads = true;; reads = !reads) {
        int fd = dial(path);
        if (fd < 0)
            return -1;
        counts->connections++;
        if (kind == GARBAGE_MESSAGES) {
            send_messages(fd, reads, &random, counts);
        } else {
            uint8_t data[64];
            (void)write_all(fd, data, put_end(data, &random));
            counts->messages++;
        }
        close(fd);
    }
}
