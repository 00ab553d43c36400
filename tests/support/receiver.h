/*
 * What OTLP is sent to, in a thread of the test: an HTTP server that takes one POST a connection,
 * answers as it is told, and keeps what it got.
 */
#ifndef PARLEY_TESTS_SUPPORT_RECEIVER_H
#define PARLEY_TESTS_SUPPORT_RECEIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RECEIVER_POST_MAX 16

struct receiver_answer {
    const char *status;  /* "200 OK"; NULL: hangs up without a word */
    const char *headers; /* full lines; NULL: none */
    const uint8_t *body;
    size_t body_bytes;
};

struct receiver_post {
    char head[2048];
    uint8_t *body;
    size_t bytes;
};

struct receiver {
    int listener;
    pthread_t thread;
    char url[64];
    const struct receiver_answer *answers; /* one a post; the last for all further ones */
    size_t answer_count;
    struct receiver_post posts[RECEIVER_POST_MAX];
    _Atomic size_t post_count; /* release: the post is whole */
    _Atomic int stop;
};

void receiver_start(struct receiver *receiver, const struct receiver_answer *answers, size_t count);
void receiver_stop(struct receiver *receiver); /* frees the posts, too */

#endif
