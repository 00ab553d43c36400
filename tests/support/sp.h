/*
 * A peer that speaks SP (nanomsg's and NNG's protocol) on a plain socket: any number of requests
 * under way, and everything that a right one does not do.
 */
#ifndef PARLEY_TESTS_SUPPORT_SP_H
#define PARLEY_TESTS_SUPPORT_SP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_REQ 0x30
#define SP_REP 0x31
#define SP_MESSAGE_BYTES_MAX (4u << 20)

struct sp {
    int fd;
    bool ipc;
    bool hung_up; /* by the other side, or an error */
    uint8_t *in;
    size_t in_bytes;
};

/* ipc:// or tcp://; fails the test if it cannot. */
struct sp *sp_connect(const char *url);
/* A socket that listens; then one of who connects. sp_accept() waits, under a watchdog. */
int sp_listen(const char *url);
struct sp *sp_accept(int listener, bool ipc);
struct sp *sp_free(struct sp *sp);

void sp_write(struct sp *sp, const void *data, size_t bytes); /* what is not taken is lost */
void sp_send_hello(struct sp *sp, uint16_t protocol);
/* With words in front (the last of which should have its top bit set). */
void sp_send(struct sp *sp, const uint32_t *words, size_t count, const void *data, size_t bytes);
void sp_ask(struct sp *sp, uint32_t id, const void *data, size_t bytes); /* one word */

/* Reads what is there without waiting; true if the peer's greeting (8 bytes), a whole message, is
 * at the beginning of `in`. */
bool sp_has_hello(struct sp *sp);
bool sp_has_message(struct sp *sp);
bool sp_has_ended(struct sp *sp);      /* the other side has hung up */
uint16_t sp_take_hello(struct sp *sp); /* its protocol; fails the test if it is no greeting */
/* @ret_data: the caller's; free(). Words of the backtrace are in it. */
void sp_take_message(struct sp *sp, uint8_t **ret_data, size_t *ret_bytes);

#endif
