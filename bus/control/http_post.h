/*
 * POST, over NNG's HTTP client: one at a time, without waiting. NNG's threads do the work; a
 * descriptor for an event loop says when it is done.
 */
#ifndef PARLEY_CONTROL_HTTP_POST_H
#define PARLEY_CONTROL_HTTP_POST_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HTTP_POST_URL_BYTES_MAX 1024
#define HTTP_POST_ANSWER_BYTES_MAX 65536 /* of its body; what is longer is not read */
#define HTTP_POST_E_AGAIN 1

struct http_post;

struct http_answer {
    int error;              /* 0: there is an answer; -ETIMEDOUT, -ECONNREFUSED, ... */
    unsigned status;        /* 200 */
    unsigned retry_after_s; /* 0: not told */
    const uint8_t *body;    /* until the next post; NULL: none, or too long */
    size_t body_bytes;
};

/* @content_type: borrowed. @url: "http://127.0.0.1:4318/v1/traces"; https where libnng has TLS.
 * -EINVAL, ... with a sentence. */
int http_post_new(const char *url, const char *content_type, struct http_post **ret_post,
                  struct error_text *error);
struct http_post *http_post_free(struct http_post *post); /* ends what is under way */
int http_post_fd(const struct http_post *post);           /* readable: http_post_take() */
/* Begins; nothing may be under way. @data is copied. Return: 0, -ENOMEM, -EBUSY. */
int http_post_send(struct http_post *post, const uint8_t *data, size_t bytes, uint64_t timeout_ns);
/* What has become of it. Return: 0, or HTTP_POST_E_AGAIN: it is still under way. */
int http_post_take(struct http_post *post, struct http_answer *ret_answer);

#endif
