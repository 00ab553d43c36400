#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/cleanup.h"
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>

#include "base/clock.h"
#include "control/nng.h"
#include "control/replier.h"
#include "support/sp.h"

#define PATIENCE_MS 20000
#define PATIENCE_NS (20 * NS_PER_S)

static char folder[64];

static void url_of(const char *name, char url[128])
{
    snprintf(url, 128, "ipc://%s/%s.ipc", folder, name);
}

/* A port that nobody listens on now; the kernel does not hand it out again at once. */
static void url_of_tcp(char url[128])
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    close(fd);
    snprintf(url, 128, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
}

static struct replier *replier_on(const char *url, size_t bytes_max)
{
    struct replier *replier;
    struct error_text error = {""};
    const struct replier_options options = {.urls = &url, .url_count = 1, .bytes_max = bytes_max};
    int r = replier_new(&options, &replier, &error);
    if (r != 0)
        fail_msg("%s", error.text);
    return replier;
}

static struct replier_request *wait_request(struct replier *replier, const uint8_t **ret_data,
                                            size_t *ret_bytes)
{
    for (;;) {
        struct replier_request *request;
        int r = replier_receive(replier, &request, ret_data, ret_bytes);
        if (r == 0)
            return request;
        assert_int_equal(r, REPLIER_E_AGAIN);
        struct pollfd ready = {.fd = replier_fd(replier), .events = POLLIN};
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    }
}

/* An asker in a thread of its own, for it blocks. */
struct asking {
    pthread_t thread;
    char url[128];
    const uint8_t *data;
    size_t bytes;
    uint64_t timeout_ns;
    int result;
    uint8_t *answer;
    size_t answer_bytes;
    struct error_text error;
};

static void *ask(void *data)
{
    struct asking *asking = data;
    struct nng_asker *asker;
    asking->result = nng_asker_new(asking->url, asking->timeout_ns, &asker, &asking->error);
    if (asking->result != 0)
        return NULL;
    asking->result = nng_asker_ask(asker, asking->data, asking->bytes, &asking->answer,
                                   &asking->answer_bytes, &asking->error);
    nng_asker_free(asker);
    return NULL;
}

static void start_asking(struct asking *asking, const char *url, const void *data, size_t bytes)
{
    *asking = (struct asking){.data = data, .bytes = bytes, .timeout_ns = PATIENCE_NS};
    strcpy(asking->url, url);
    assert_int_equal(pthread_create(&asking->thread, NULL, ask, asking), 0);
}

/* A large answer leaves piece by piece, in replier_receive(). */
static void expect_answer(struct replier *replier, struct asking *asking, const void *data,
                          size_t bytes)
{
    while (pthread_tryjoin_np(asking->thread, NULL) != 0) {
        struct replier_request *request;
        const uint8_t *more;
        size_t more_bytes;
        struct pollfd ready = {.fd = replier_fd(replier), .events = POLLIN};
        (void)poll(&ready, 1, 1);
        assert_int_equal(replier_receive(replier, &request, &more, &more_bytes), REPLIER_E_AGAIN);
    }
    if (asking->result != 0)
        fail_msg("%s", asking->error.text);
    assert_int_equal(asking->answer_bytes, bytes);
    assert_memory_equal(asking->answer, data, bytes);
    free(asking->answer);
}

static void answer_is_the_asker_s(const char *url)
{
    struct replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking;
    start_asking(&asking, url, "ping", 4);
    const uint8_t *data;
    size_t bytes;
    struct replier_request *request = wait_request(replier, &data, &bytes);
    assert_int_equal(bytes, 4);
    assert_memory_equal(data, "ping", 4);
    assert_int_equal(replier_answer(request, (const uint8_t *)"pong!", 5), 0);
    expect_answer(replier, &asking, "pong!", 5);
    replier_free(replier);
}

static void test_request_is_answered_over_ipc(void **state)
{
    (void)state;
    char url[128];
    url_of("answered", url);
    answer_is_the_asker_s(url);
}

static void test_request_is_answered_over_tcp(void **state)
{
    (void)state;
    char url[128];
    url_of_tcp(url);
    answer_is_the_asker_s(url);
}

static void test_large_answer_arrives(void **state)
{
    (void)state;
    const size_t bytes_max = 5000000;
    char url[128];
    url_of("large", url);
    struct replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking;
    start_asking(&asking, url, "x", 1);
    const uint8_t *data;
    size_t bytes;
    struct replier_request *request = wait_request(replier, &data, &bytes);
    uint8_t *answer = malloc(bytes_max);
    assert_non_null(answer);
    for (size_t i = 0; i < bytes_max; i++)
        answer[i] = (uint8_t)(i * 7);
    assert_int_equal(replier_answer(request, answer, bytes_max), 0);
    expect_answer(replier, &asking, answer, bytes_max);
    free(answer);
    replier_free(replier);
}

static void test_asker_gives_up_in_time(void **state)
{
    (void)state;
    char url[128];
    url_of("late", url);
    struct replier *replier = replier_on(url, 1000);
    struct asking hasty = {.data = (const uint8_t *)"h", .bytes = 1, .timeout_ns = NS_PER_MS};
    strcpy(hasty.url, url);
    ask(&hasty);
    assert_int_equal(hasty.result, -ETIMEDOUT);
    assert_non_null(strstr(hasty.error.text, url));
    replier_free(replier);
}

static void test_nobody_there_is_said_at_once(void **state)
{
    (void)state;
    char url[128];
    url_of("nobody", url);
    struct nng_asker *asker;
    struct error_text error = {""};
    int r = nng_asker_new(url, PATIENCE_NS, &asker, &error);
    assert_true(r == -ECONNREFUSED || r == -ENOENT);
    assert_non_null(strstr(error.text, "is parleyd running"));
    struct nng_subscriber *subscriber;
    url_of_tcp(url);
    assert_int_equal(nng_subscriber_new(url, NULL, 0, &subscriber, &error), -ECONNREFUSED);
    assert_non_null(strstr(error.text, url));
    assert_int_equal(nng_asker_new("nonsense", PATIENCE_NS, &asker, &error), -EINVAL);
    char long_url[300];
    memset(long_url, 'a', sizeof(long_url) - 1);
    long_url[sizeof(long_url) - 1] = '\0';
    assert_int_equal(nng_asker_new(long_url, PATIENCE_NS, &asker, &error), -EINVAL);
}

/* libnng would wait 10 s for its greeting. */
static void test_who_accepts_and_never_greets_has_as_long_as_the_asker_gives(void **state)
{
    (void)state;
    char urls[2][128];
    url_of("silent", urls[0]);
    url_of_tcp(urls[1]);
    for (size_t i = 0; i < 2; i++) {
        const char *url = urls[i];
        int listener = sp_listen(url);
        struct nng_asker *asker;
        struct error_text error = {""};
        assert_int_equal(nng_asker_new(url, 100 * NS_PER_MS, &asker, &error), -ETIMEDOUT);
        if (!strstr(error.text, "within 0.1 s"))
            fail_msg("%s", error.text);
        close(listener);
    }
    (void)unlink(urls[0] + strlen("ipc://"));
}

static nng_socket publisher_on(const char *url)
{
    nng_socket socket;
    assert_int_equal(nng_pub0_open(&socket), 0);
    assert_int_equal(nng_listen(socket, url, NULL, 0), 0);
    return socket;
}

static void publish(nng_socket publisher, const char *event, size_t bytes)
{
    assert_int_equal(nng_send(publisher, (void *)(uintptr_t)event, bytes, 0), 0);
}

/* A subscription travels after the connection: publish until the first event is there. */
static void hear_first(nng_socket publisher, struct nng_subscriber *subscriber, const char *event)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (clock_now_ns() < until) {
        publish(publisher, event, strlen(event));
        uint8_t *data;
        size_t bytes;
        int r = nng_subscriber_receive(subscriber, 10 * NS_PER_MS, &data, &bytes);
        if (r == -ETIMEDOUT)
            continue;
        assert_int_equal(r, 0);
        assert_int_equal(bytes, strlen(event));
        assert_memory_equal(data, event, bytes);
        free(data);
        return;
    }
    fail_msg("no event");
}

static void test_subscriber_hears_its_topics_only(void **state)
{
    (void)state;
    char url[128];
    url_of("events", url);
    struct error_text error;
    nng_socket publisher = publisher_on(url);
    /* Nobody listens: no error. */
    publish(publisher, "route\nx", 7);

    const char *topics[] = {"instance.", "route"};
    struct nng_subscriber *some;
    assert_int_equal(nng_subscriber_new(url, topics, 2, &some, &error), 0);
    hear_first(publisher, some, "route\n1");
    publish(publisher, "broker\n", 7);
    publish(publisher, "instance.up\n", 12);
    for (;;) {
        uint8_t *data;
        size_t bytes;
        assert_int_equal(nng_subscriber_receive(some, PATIENCE_NS, &data, &bytes), 0);
        bool up = bytes == 12 && memcmp(data, "instance.up\n", 12) == 0;
        assert_true(up || memcmp(data, "route\n1", 7) == 0); /* never "broker" */
        free(data);
        if (up)
            break;
    }
    uint8_t *data;
    size_t bytes;
    assert_int_equal(nng_subscriber_receive(some, 0, &data, &bytes), -ETIMEDOUT);
    nng_subscriber_free(some);

    struct nng_subscriber *all;
    assert_int_equal(nng_subscriber_new(url, NULL, 0, &all, &error), 0);
    hear_first(publisher, all, "broker\n");
    nng_subscriber_free(all);
    (void)nng_close_socket(publisher.id);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/parley-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* NNG removes its socket files: an empty folder is the proof. */
static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* Many times, for libnng would connect again nearly always. */
static void test_subscriber_hears_a_publisher_that_comes_back(void **state)
{
    (void)state;
    char text[128];
    url_of("returns", text);
    const char *url = text;
    struct error_text error;
    uint8_t *data;
    size_t bytes;
    struct nng_subscriber *subscriber;
    nng_socket publisher = publisher_on(url);
    assert_int_equal(nng_subscriber_new(url, NULL, 0, &subscriber, &error), 0);
    for (unsigned round = 0; round < 5; round++) {
        hear_first(publisher, subscriber, "here");
        (void)nng_close_socket(publisher.id);
        while (nng_subscriber_receive(subscriber, 50 * NS_PER_MS, &data, &bytes) == 0)
            free(data);
        publisher = publisher_on(url);
    }
    (void)nng_close_socket(publisher.id);
    nng_subscriber_free(subscriber);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_answered_over_ipc),
        cmocka_unit_test(test_request_is_answered_over_tcp),
        cmocka_unit_test(test_large_answer_arrives),
        cmocka_unit_test(test_asker_gives_up_in_time),
        cmocka_unit_test(test_nobody_there_is_said_at_once),
        cmocka_unit_test(test_who_accepts_and_never_greets_has_as_long_as_the_asker_gives),
        cmocka_unit_test(test_subscriber_hears_its_topics_only),
        cmocka_unit_test(test_subscriber_hears_a_publisher_that_comes_back),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
