/*
 * POST, over NNG's HTTP client.
 *
 * One request is a row of steps, each of which NNG does in its own threads and ends with a call of
 * on_step(): connect, write, read the answer's head, read its body if it is short enough to be of
 * interest, hang up. Only that row touches the struct until `done` is stored (release); then an
 * eventfd wakes the loop, which takes the answer (acquire). So nothing here waits, but for
 * http_post_free(), which lets NNG end the step that it is in.
 *
 * nng_http_client_transact() would do all of it, but reads a body of whatever length the other side
 * announces. The limit for the whole row is set on each of its steps, as what is left of it.
 */
#include "control/http_post.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/supplemental/http/http.h>

#include "base/cleanup.h"
#include "base/clock.h"

enum step { STEP_CONNECT, STEP_WRITE, STEP_HEAD, STEP_BODY };

struct http_post {
    nng_url *url;
    nng_http_client *client;
    nng_aio *aio;
    const char *content_type;
    int event;
    bool busy; /* the loop's */
    _Atomic bool done;
    /* of the request that is under way: NNG's threads' until `done` */
    enum step step;
    uint64_t deadline_ns;
    nng_http_conn *conn;
    nng_http_req *request;
    nng_http_res *response;
    int result; /* NNG's number */
    uint8_t *body;
    size_t body_bytes;
};

static int to_errno(int code)
{
    switch (code) {
    case 0:
        return 0;
    case NNG_ENOMEM:
        return -ENOMEM;
    case NNG_ETIMEDOUT:
        return -ETIMEDOUT;
    case NNG_ECONNREFUSED:
        return -ECONNREFUSED;
    case NNG_ECONNRESET:
    case NNG_ECONNSHUT:
    case NNG_ECLOSED:
        return -ECONNRESET;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
        return -EINVAL;
    case NNG_EUNREACHABLE:
        return -EHOSTUNREACH;
    case NNG_ENOTSUP:
        return -EPROTONOSUPPORT;
    case NNG_EPROTO:
        return -EPROTO;
    default:
        return code & NNG_ESYSERR ? -(code & ~NNG_ESYSERR) : -EIO;
    }
}

/* ---- A request's steps, in NNG's threads ---- */

static void end_row(struct http_post *post, int result)
{
    post->result = result;
    if (post->conn)
        nng_http_conn_close(post->conn);
    post->conn = NULL;
    /* release: pairs with the acquire in http_post_take() */
    atomic_store_explicit(&post->done, true, memory_order_release);
    static const uint64_t one = 1;
    if (write(post->event, &one, sizeof(one)) < 0) {
        /* It counts to 2^64 - 2: never full. */
    }
}

/* False: there is no time left. */
static bool set_limit(struct http_post *post)
{
    uint64_t left_ms = clock_left(post->deadline_ns, clock_now_ns()) / NS_PER_MS;
    nng_aio_set_timeout(post->aio, (nng_duration)left_ms);
    return left_ms > 0;
}

/* False: there is no body, or not one that we want. */
static bool wants_body(struct http_post *post)
{
    const char *text = nng_http_res_get_header(post->response, "Content-Length");
    unsigned long long bytes = text ? strtoull(text, NULL, 10) : 0;
    if (bytes == 0 || bytes > HTTP_POST_ANSWER_BYTES_MAX)
        return false;
    post->body = malloc((size_t)bytes);
    post->body_bytes = post->body ? (size_t)bytes : 0;
    return post->body != NULL;
}

static void on_step(void *arg)
{
    struct http_post *post = arg;
    int code = nng_aio_result(post->aio);
    if (code == 0 && post->step == STEP_CONNECT)
        post->conn = nng_aio_get_output(post->aio, 0);
    if (code == 0 && post->step != STEP_BODY && !set_limit(post))
        code = NNG_ETIMEDOUT;
    if (code != 0) {
        end_row(post, code);
        return;
    }
    switch (post->step) {
    case STEP_CONNECT:
        post->step = STEP_WRITE;
        nng_http_conn_write_req(post->conn, post->request, post->aio);
        return;
    case STEP_WRITE:
        post->step = STEP_HEAD;
        nng_http_conn_read_res(post->conn, post->response, post->aio);
        return;
    case STEP_HEAD:
        if (!wants_body(post)) {
            end_row(post, 0);
            return;
        }
        post->step = STEP_BODY;
        nng_iov iov = {.iov_buf = post->body, .iov_len = post->body_bytes};
        (void)nng_aio_set_iov(post->aio, 1, &iov);
        nng_http_conn_read_all(post->conn, post->aio);
        return;
    case STEP_BODY:
        end_row(post, 0);
        return;
    }
}

/* ---- The loop's side ---- */

static int prepare(struct http_post *post, const char *url)
{
    int code = nng_url_parse(&post->url, url);
    if (code == 0)
        code = nng_http_client_alloc(&post->client, post->url);
    if (code == 0)
        code = nng_aio_alloc(&post->aio, on_step, post);
    return code;
}

/* A new one for each post: libnng 1.5 keeps the Content-Length of the first in one that is used
 * again. */
static int make_request(struct http_post *post, const uint8_t *data, size_t bytes)
{
    int code = nng_http_res_alloc(&post->response);
    if (code == 0)
        code = nng_http_req_alloc(&post->request, post->url);
    if (code == 0)
        code = nng_http_req_set_method(post->request, "POST");
    if (code == 0)
        code = nng_http_req_set_header(post->request, "Content-Type", post->content_type);
    if (code == 0)
        code = nng_http_req_set_header(post->request, "User-Agent", "parleyd/" PARLEY_VERSION);
    if (code == 0)
        code = nng_http_req_set_header(post->request, "Connection", "close");
    if (code == 0)
        code = nng_http_req_copy_data(post->request, data, bytes);
    return code == 0 ? 0 : -ENOMEM;
}

int http_post_new(const char *url, const char *content_type, struct http_post **ret_post,
                  struct error_text *error)
{
    if (strlen(url) > HTTP_POST_URL_BYTES_MAX ||
        (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
        return error_set(error, -EINVAL,
                         "'%.80s' is no URL to post to; one looks like "
                         "http://127.0.0.1:4318/v1/traces, with %d bytes at most",
                         url, HTTP_POST_URL_BYTES_MAX);
    struct http_post *post = calloc(1, sizeof(*post));
    if (!post)
        return error_set(error, -ENOMEM, "out of memory");
    post->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (post->event < 0) {
        int r = -errno;
        free(post);
        return error_set(error, r, "no descriptor is left for %.80s", url);
    }
    post->content_type = content_type;
    int code = prepare(post, url);
    if (code != 0) {
        http_post_free(post);
        return error_set(error, to_errno(code), "cannot post to %.200s: %s", url,
                         nng_strerror(code));
    }
    *ret_post = post;
    return 0;
}

static void forget(struct http_post *post)
{
    if (post->response)
        nng_http_res_free(post->response);
    post->response = NULL;
    if (post->request)
        nng_http_req_free(post->request);
    post->request = NULL;
    free(post->body);
    post->body = NULL;
    post->body_bytes = 0;
}

struct http_post *http_post_free(struct http_post *post)
{
    if (!post)
        return NULL;
    if (post->aio) {
        nng_aio_stop(post->aio); /* the step ends, and its call of on_step() */
        nng_aio_free(post->aio);
    }
    if (post->conn)
        nng_http_conn_close(post->conn);
    forget(post);
    if (post->client)
        nng_http_client_free(post->client);
    if (post->url)
        nng_url_free(post->url);
    fd_close(post->event);
    free(post);
    return NULL;
}

int http_post_fd(const struct http_post *post)
{
    return post->event;
}

int http_post_send(struct http_post *post, const uint8_t *data, size_t bytes, uint64_t timeout_ns)
{
    if (post->busy)
        return -EBUSY;
    forget(post);
    if (make_request(post, data, bytes) < 0)
        return -ENOMEM;
    post->busy = true;
    post->step = STEP_CONNECT;
    post->deadline_ns = clock_add(clock_now_ns(), timeout_ns);
    atomic_store_explicit(&post->done, false, memory_order_relaxed); /* nobody else has it yet */
    (void)set_limit(post);
    nng_http_client_connect(post->client, post->aio);
    return 0;
}

int http_post_take(struct http_post *post, struct http_answer *ret_answer)
{
    uint64_t count;
    if (read(post->event, &count, sizeof(count)) < 0) {
        /* Not rung, or by what was there already. */
    }
    if (!post->busy || !atomic_load_explicit(&post->done, memory_order_acquire))
        return HTTP_POST_E_AGAIN;
    post->busy = false;
    *ret_answer = (struct http_answer){.error = to_errno(post->result)};
    if (ret_answer->error < 0)
        return 0;
    const char *retry = nng_http_res_get_header(post->response, "Retry-After");
    unsigned long seconds = retry ? strtoul(retry, NULL, 10) : 0; /* a date is 0, too */
    ret_answer->status = nng_http_res_get_status(post->response);
    ret_answer->retry_after_s = seconds < 3600 ? (unsigned)seconds : 3600;
    ret_answer->body = post->body;
    ret_answer->body_bytes = post->body_bytes;
    return 0;
}
