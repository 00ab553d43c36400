#include "support/receiver.h"

#include "support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVER_PATIENCE_MS 10000

/* Reads up to @bytes more. False: the peer is gone. */
static int read_some(int fd, uint8_t *out, size_t bytes)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (poll(&readable, 1, RECEIVER_PATIENCE_MS) != 1)
        return -1;
    return (int)recv(fd, out, bytes, 0);
}

/* The head with its empty line, then as many bytes as it announces. */
static int read_post(int fd, struct receiver_post *post)
{
    size_t used = 0;
    char *end = NULL;
    while (!end && used < sizeof(post->head) - 1) {
        int n = read_some(fd, (uint8_t *)post->head + used, 1); /* not a byte of the body */
        if (n <= 0)
            return -1;
        used += (size_t)n;
        post->head[used] = '\0';
        end = strstr(post->head, "\r\n\r\n");
    }
    const char *length = strcasestr(post->head, "\r\nContent-Length:");
    post->bytes = length ? strtoul(length + 17, NULL, 10) : 0;
    post->body = malloc(post->bytes + 1);
    for (size_t got = 0; got < post->bytes;) {
        int n = read_some(fd, post->body + got, post->bytes - got);
        if (n <= 0)
            return -1;
        got += (size_t)n;
    }
    return 0;
}

static void answer(int fd, const struct receiver_answer *how)
{
    char head[512];
    if (!how->status)
        return;
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n",
                     how->status, how->body_bytes, how->headers ? how->headers : "");
    (void)send(fd, head, (size_t)n, MSG_NOSIGNAL);
    if (how->body_bytes)
        (void)send(fd, how->body, how->body_bytes, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    char rest[64];
    while (read_some(fd, (uint8_t *)rest, sizeof(rest)) > 0) /* what would reset the connection */
        ;
}

static void *receive(void *argument)
{
    struct receiver *receiver = argument;
    for (;;) {
        int fd = accept4(receiver->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || atomic_load(&receiver->stop)) {
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        size_t count = receiver->post_count;
        if (count < RECEIVER_POST_MAX && read_post(fd, &receiver->posts[count]) == 0) {
            size_t how = count < receiver->answer_count ? count : receiver->answer_count - 1;
            atomic_store(&receiver->post_count, count + 1);
            answer(fd, &receiver->answers[how]);
        }
        close(fd);
    }
}

void receiver_start(struct receiver *receiver, const struct receiver_answer *answers, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    memset(receiver, 0, sizeof(*receiver));
    receiver->answers = answers;
    receiver->answer_count = count;
    receiver->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(receiver->listener >= 0);
    assert_int_equal(bind(receiver->listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(receiver->listener, 16), 0);
    assert_int_equal(getsockname(receiver->listener, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(receiver->url, sizeof(receiver->url), "http://127.0.0.1:%u/v1/traces",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_create(&receiver->thread, NULL, receive, receiver), 0);
}

void receiver_stop(struct receiver *receiver)
{
    atomic_store(&receiver->stop, 1);
    (void)shutdown(receiver->listener, SHUT_RDWR); /* ends accept() */
    assert_int_equal(pthread_join(receiver->thread, NULL), 0);
    close(receiver->listener);
    for (size_t i = 0; i < receiver->post_count; i++)
        free(receiver->posts[i].body);
}
