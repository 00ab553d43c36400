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
#include "base/clock.h"
#include "control/nng.h"

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

static struct nng_replier *replier_on(const char *url, size_t bytes_max)
{
    struct nng_replier *replier;
    struct error_text error = {""};
    int r = nng_replier_new(&url, 1, bytes_max, &replier, &error);
    if (r != 0)
        fail_msg("%s", error.text);
    return replier;
}

static struct nng_request *wait_request(struct nng_replier *replier, const uint8_t **ret_data,
                                        size_t *ret_bytes)
{
    for (;;) {
        struct nng_request *request;
        int r = nng_replier_receive(replier, &request, ret_data, ret_bytes);
        if (r == 0)
            return request;
        assert_int_equal(r, NNG_E_AGAIN);
        struct pollfd ready = {.fd = nng_replier_fd(replier), .events = POLLIN};
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

static void expect_answer(struct asking *asking, const void *data, size_t bytes)
{
    pthread_join(asking->thread, NULL);
    if (asking->result != 0)
        fail_msg("%s", asking->error.text);
    assert_int_equal(asking->answer_bytes, bytes);
    assert_memory_equal(asking->answer, data, bytes);
    free(asking->answer);
}

static void answer_is_the_asker_s(const char *url)
{
    struct nng_replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking;
    start_asking(&asking, url, "ping", 4);
    const uint8_t *data;
    size_t bytes;
    struct nng_request *request = wait_request(replier, &data, &bytes);
    assert_int_equal(bytes, 4);
    assert_memory_equal(data, "ping", 4);
    assert_int_equal(nng_request_answer(request, (const uint8_t *)"pong!", 5), 0);
    expect_answer(&asking, "pong!", 5);
    nng_replier_free(replier);
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

static struct nng_peer peer_at(const char *url)
{
    struct nng_replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking;
    start_asking(&asking, url, "who", 3);
    const uint8_t *data;
    size_t bytes;
    struct nng_request *request = wait_request(replier, &data, &bytes);
    struct nng_peer peer;
    nng_request_peer(request, &peer);
    assert_int_equal(nng_request_answer(request, (const uint8_t *)"you", 3), 0);
    expect_answer(&asking, "you", 3);
    nng_replier_free(replier);
    return peer;
}

static void test_peer_over_ipc_is_the_user_and_process_that_the_kernel_names(void **state)
{
    (void)state;
    char url[128], text[80];
    url_of("peer", url);
    const struct nng_peer peer = peer_at(url);
    assert_true(peer.known && peer.local);
    assert_int_equal(peer.uid, geteuid());
    assert_int_equal(peer.pid, getpid());
    snprintf(text, sizeof(text), "user %u (pid %d)", (unsigned)geteuid(), (int)getpid());
    assert_string_equal(peer.text, text);
}

static void test_peer_over_tcp_is_its_address(void **state)
{
    (void)state;
    char url[128];
    url_of_tcp(url);
    const struct nng_peer peer = peer_at(url);
    assert_true(peer.known && !peer.local);
    assert_int_equal(strncmp(peer.text, "127.0.0.1:", 10), 0);
}

static void test_requests_are_answered_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 5 };
    char url[128];
    url_of("order", url);
    struct nng_replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking[COUNT];
    uint8_t names[COUNT] = {'a', 'b', 'c', 'd', 'e'};
    for (unsigned i = 0; i < COUNT; i++)
        start_asking(&asking[i], url, &names[i], 1);
    struct nng_request *requests[COUNT];
    uint8_t asked[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        const uint8_t *data;
        size_t bytes;
        requests[i] = wait_request(replier, &data, &bytes);
        assert_int_equal(bytes, 1);
        asked[i] = data[0];
    }
    for (unsigned i = COUNT; i-- > 0;) {
        uint8_t answer[2] = {asked[i], '!'};
        assert_int_equal(nng_request_answer(requests[i], answer, 2), 0);
    }
    for (unsigned i = 0; i < COUNT; i++)
        expect_answer(&asking[i], (uint8_t[]){names[i], '!'}, 2);
    nng_replier_free(replier);
}

static void test_one_replier_serves_ipc_and_tcp(void **state)
{
    (void)state;
    char ipc[128];
    char tcp[128];
    url_of("both", ipc);
    url_of_tcp(tcp);
    const char *urls[] = {ipc, tcp};
    struct nng_replier *replier;
    struct error_text error;
    assert_int_equal(nng_replier_new(urls, 2, 1000, &replier, &error), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct asking asking;
        start_asking(&asking, urls[i], "x", 1);
        const uint8_t *data;
        size_t bytes;
        struct nng_request *request = wait_request(replier, &data, &bytes);
        assert_int_equal(nng_request_answer(request, (const uint8_t *)"", 0), 0);
        expect_answer(&asking, "", 0);
    }
    nng_replier_free(replier);
}

static void test_request_at_the_limit_arrives_and_one_past_it_does_not(void **state)
{
    (void)state;
    enum { MAX = 4096 };
    char url[128];
    url_of("limit", url);
    struct nng_replier *replier = replier_on(url, MAX);
    /* NNG counts its own request id of four bytes in. */
    uint8_t *data = calloc(1, MAX + 1);
    assert_non_null(data);
    struct asking asking;
    start_asking(&asking, url, data, MAX - 4);
    const uint8_t *got;
    size_t bytes;
    struct nng_request *request = wait_request(replier, &got, &bytes);
    assert_int_equal(bytes, MAX - 4);
    assert_int_equal(nng_request_answer(request, data, 1), 0);
    expect_answer(&asking, data, 1);

    start_asking(&asking, url, data, MAX - 3);
    pthread_join(asking.thread, NULL);
    assert_true(asking.result < 0); /* NNG hung up */
    assert_int_equal(nng_replier_receive(replier, &request, &got, &bytes), NNG_E_AGAIN);
    free(data);
    nng_replier_free(replier);
}

static void test_large_answer_arrives(void **state)
{
    (void)state;
    const size_t bytes_max = 5000000;
    char url[128];
    url_of("large", url);
    struct nng_replier *replier = replier_on(url, NNG_REQUEST_BYTES_MAX);
    struct asking asking;
    start_asking(&asking, url, "x", 1);
    const uint8_t *data;
    size_t bytes;
    struct nng_request *request = wait_request(replier, &data, &bytes);
    uint8_t *answer = malloc(bytes_max);
    assert_non_null(answer);
    for (size_t i = 0; i < bytes_max; i++)
        answer[i] = (uint8_t)(i * 7);
    assert_int_equal(nng_request_answer(request, answer, bytes_max), 0);
    expect_answer(&asking, answer, bytes_max);
    free(answer);
    nng_replier_free(replier);
}

static void test_answer_to_an_asker_that_is_gone_is_no_error(void **state)
{
    (void)state;
    char url[128];
    url_of("gone", url);
    struct nng_replier *replier = replier_on(url, 1000);
    struct asking asking;
    start_asking(&asking, url, "x", 1);
    /* One that gives up at once. */
    const uint8_t *data;
    size_t bytes;
    struct nng_request *request = wait_request(replier, &data, &bytes);
    nng_request_drop(request);
    struct asking hasty = {.data = (const uint8_t *)"h", .bytes = 1, .timeout_ns = NS_PER_MS};
    strcpy(hasty.url, url);
    ask(&hasty);
    assert_int_equal(hasty.result, -ETIMEDOUT);
    assert_non_null(strstr(hasty.error.text, url));
    request = wait_request(replier, &data, &bytes);
    assert_int_equal(nng_request_answer(request, (const uint8_t *)"late", 4), 0);
    nng_replier_free(
        replier); /* ends the first asker: its request was dropped, never asked again */
    pthread_join(asking.thread, NULL);
    assert_true(asking.result < 0);
}

static void expect_replier(const char *url, int code, const char *part)
{
    struct nng_replier *replier = NULL;
    struct error_text error = {""};
    assert_int_equal(nng_replier_new(&url, 1, 1000, &replier, &error), code);
    assert_null(replier);
    if (!strstr(error.text, part) || !strstr(error.text, url))
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
}

static void test_url_in_use_is_refused(void **state)
{
    (void)state;
    char ipc[128];
    char tcp[128];
    url_of("in-use", ipc);
    url_of_tcp(tcp);
    const char *urls[] = {ipc, tcp};
    struct nng_replier *replier;
    struct error_text error;
    assert_int_equal(nng_replier_new(urls, 2, 1000, &replier, &error), 0);
    expect_replier(ipc, -EADDRINUSE, "stop the program");
    expect_replier(tcp, -EADDRINUSE, "stop the program");
    struct nng_publisher *publisher;
    assert_int_equal(nng_publisher_new(urls + 1, 1, &publisher, &error), -EADDRINUSE);
    nng_replier_free(replier);
    replier = replier_on(ipc, 1000); /* free again */
    nng_replier_free(replier);
}

static void test_socket_file_of_a_killed_broker_is_replaced(void **state)
{
    (void)state;
    char url[128];
    url_of("stale", url);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, url + strlen("ipc://"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    nng_replier_free(replier_on(url, 1000));
}

static void test_bad_urls_are_refused_with_a_sentence(void **state)
{
    (void)state;
    expect_replier("nonsense", -EINVAL, "use a URL such as");
    expect_replier("http://127.0.0.1:1", -EOPNOTSUPP, "no such transport");
    expect_replier("ipc:///nonexistent-parley/x.ipc", -ENOENT, "make the folder");
    struct nng_replier *replier;
    struct error_text error = {""};
    assert_int_equal(nng_replier_new(NULL, 0, 1000, &replier, &error), -EINVAL);
    assert_non_null(strstr(error.text, "no URL"));
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

/* A subscription travels after the connection: publish until the first event is there. */
static void hear_first(struct nng_publisher *publisher, struct nng_subscriber *subscriber,
                       const char *event)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (clock_now_ns() < until) {
        assert_int_equal(nng_publisher_send(publisher, (const uint8_t *)event, strlen(event)), 0);
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
    const char *urls[] = {url};
    struct nng_publisher *publisher;
    struct error_text error;
    assert_int_equal(nng_publisher_new(urls, 1, &publisher, &error), 0);
    /* Nobody listens: no error. */
    assert_int_equal(nng_publisher_send(publisher, (const uint8_t *)"route\nx", 7), 0);

    const char *topics[] = {"instance.", "route"};
    struct nng_subscriber *some;
    assert_int_equal(nng_subscriber_new(url, topics, 2, &some, &error), 0);
    hear_first(publisher, some, "route\n1");
    assert_int_equal(nng_publisher_send(publisher, (const uint8_t *)"broker\n", 7), 0);
    assert_int_equal(nng_publisher_send(publisher, (const uint8_t *)"instance.up\n", 12), 0);
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
    nng_publisher_free(publisher);
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
    struct nng_publisher *publisher = NULL;
    struct nng_subscriber *subscriber;
    assert_int_equal(nng_publisher_new(&url, 1, &publisher, &error), 0);
    assert_int_equal(nng_subscriber_new(url, NULL, 0, &subscriber, &error), 0);
    for (unsigned round = 0; round < 5; round++) {
        hear_first(publisher, subscriber, "here");
        publisher = nng_publisher_free(publisher);
        while (nng_subscriber_receive(subscriber, 50 * NS_PER_MS, &data, &bytes) == 0)
            free(data);
        assert_int_equal(nng_publisher_new(&url, 1, &publisher, &error), 0);
    }
    nng_publisher_free(publisher);
    nng_subscriber_free(subscriber);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_answered_over_ipc),
        cmocka_unit_test(test_request_is_answered_over_tcp),
        cmocka_unit_test(test_peer_over_ipc_is_the_user_and_process_that_the_kernel_names),
        cmocka_unit_test(test_peer_over_tcp_is_its_address),
        cmocka_unit_test(test_requests_are_answered_in_any_order),
        cmocka_unit_test(test_one_replier_serves_ipc_and_tcp),
        cmocka_unit_test(test_request_at_the_limit_arrives_and_one_past_it_does_not),
        cmocka_unit_test(test_large_answer_arrives),
        cmocka_unit_test(test_answer_to_an_asker_that_is_gone_is_no_error),
        cmocka_unit_test(test_url_in_use_is_refused),
        cmocka_unit_test(test_socket_file_of_a_killed_broker_is_replaced),
        cmocka_unit_test(test_bad_urls_are_refused_with_a_sentence),
        cmocka_unit_test(test_nobody_there_is_said_at_once),
        cmocka_unit_test(test_subscriber_hears_its_topics_only),
        cmocka_unit_test(test_subscriber_hears_a_publisher_that_comes_back),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
