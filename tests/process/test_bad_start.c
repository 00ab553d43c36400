/*
 * Brokers that are not there, cannot start, or die at the wrong moment.
 */
#include "support/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "echo.parley.h"
#include "support/beside.h"
#include "support/folder.h"
#include "support/program.h"
#include "support/rogue.h"
#include "wire/wire.h"

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected '%s' in:\n%s", part, text);
}

/* ---- No broker ---- */

static void test_no_broker_running_says_where_and_what_to_do(void **state)
{
    (void)state;
    const struct parley_endpoint_options options = {
        .broker = "/tmp/parley-nobody-here/parleyd.sock",
        .connect_timeout_ns = 500 * NS_PER_MS,
    };
    struct parley_endpoint *endpoint = NULL;
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_UNAVAILABLE);
    assert_null(endpoint);
    assert_has(parley_error_text(), "/tmp/parley-nobody-here/parleyd.sock");
    assert_has(parley_error_text(), "parleyd");
}

static void test_a_stale_socket_is_no_broker_and_the_next_broker_takes_it(void **state)
{
    (void)state;
    struct parley_endpoint_options options = {.broker = bus.socket,
                                              .connect_timeout_ns = 500 * NS_PER_MS};
    struct parley_endpoint *endpoint = NULL;
    /* Its socket file stays behind; for a moment even connecting to it may succeed, as the kernel
     * takes an io_uring apart only after its process has been reaped. */
    bus_broker_kill(&bus);
    assert_int_equal(access(bus.socket, F_OK), 0);
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_UNAVAILABLE);
    assert_true(strstr(parley_error_text(), bus.socket) || strstr(parley_error_text(), "broker"));
    steady_check(&steady); /* channels go on without a broker */
    bus_broker_start(&bus);
    steady_check(&steady);
}

/* ---- What is in use ---- */

static int run_broker(const char *dir, const char *option, const char *value, char *output,
                      size_t bytes)
{
    const char *program = getenv("PARLEYD");
    assert_non_null(program);
    return program_run((const char *const[]){program, "--dir", dir, option, value, NULL}, output,
                       bytes);
}

static void test_a_broker_whose_socket_is_in_use_ends_and_says_so(void **state)
{
    (void)state;
    char output[4096];
    int code = run_broker(bus.dir, NULL, NULL, output, sizeof(output));
    assert_int_equal(code, 1);
    assert_has(output, bus.socket);
    assert_has(output, "another parleyd listens on");
    assert_int_equal(access(bus.socket, F_OK), 0); /* it is still the first one's */
    steady_check(&steady);
    struct rogue rogue;
    rogue_join(&rogue, &bus);
    rogue_leave(&rogue);
}

/* A second broker in a folder of its own, with one URL more. Return: its exit code. */
static int run_second_broker(const char *option, const char *url, char *output, size_t bytes)
{
    char dir[] = "/tmp/parley-second-XXXXXX", path[64];
    pid_t guard = folder_guard(dir);
    assert_true(guard > 0);
    int code = run_broker(dir, option, url, output, bytes);
    static const char *const left[] = {"parleyd.sock", "control.ipc", "events.ipc",
                                       "parleyd.sock.lock"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, left[i]);
        unlink(path);
    }
    rmdir(dir);
    folder_unguard(guard);
    return code;
}

static void assert_url_refused(const char *option, const char *url, const char *text)
{
    char output[4096];
    assert_int_equal(run_second_broker(option, url, output, sizeof(output)), 1);
    assert_has(output, url);
    assert_has(output, text);
    steady_check(&steady);
}

static void test_a_broker_whose_port_is_in_use_ends_and_says_so(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    char url[64];
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    assert_url_refused("--control", url, "in use");
    assert_url_refused("--events", url, "in use");
    close(fd);
}

static void test_a_broker_whose_control_socket_is_in_use_ends_and_says_so(void **state)
{
    (void)state;
    char url[128];
    snprintf(url, sizeof(url), "ipc://%s/control.ipc", bus.dir);
    assert_url_refused("--control", url, "in use");
    assert_int_equal(access(url + strlen("ipc://"), F_OK), 0);
}

static void test_a_broker_with_a_url_that_is_none_ends_and_says_so(void **state)
{
    (void)state;
    assert_url_refused("--control", "nonsense://nowhere", "cannot listen on");
}

static void test_a_broker_whose_folder_is_none_ends_and_says_so(void **state)
{
    (void)state;
    char output[4096];
    assert_int_equal(run_broker("/dev/null", NULL, NULL, output, sizeof(output)), 1);
    assert_has(output, "/dev/null is no folder");
}

/* A broker waits with epoll unless it is told otherwise, and then it does as it is told. */
static void test_a_broker_that_is_told_no_way_to_wait_ends_and_says_so(void **state)
{
    (void)state;
    char output[4096];
    const char *before = getenv("PARLEY_WAIT");
    char *kept = before ? strdup(before) : NULL;
    setenv("PARLEY_WAIT", "nonsense", 1);
    int code = run_second_broker(NULL, NULL, output, sizeof(output));
    if (kept)
        setenv("PARLEY_WAIT", kept, 1);
    else
        unsetenv("PARLEY_WAIT");
    free(kept);
    assert_int_equal(code, 1);
    assert_has(output, "PARLEY_WAIT is \"nonsense\"");
}

/* ---- A broker that dies in mid-handshake ---- */

/* Listens as a broker does, and each time ends after what it was told to read. */
struct fake_broker {
    struct link_listener *listener;
    int stop[2];
    bool reads_hello;
    unsigned accepted;
};

static void accept_and_die(struct fake_broker *fake)
{
    struct link *link;
    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error;
    if (link_accept(fake->listener, &link) != 0)
        return;
    fake->accepted++;
    struct pollfd fd = {.fd = link_fd(link), .events = POLLIN};
    if (fake->reads_hello && poll(&fd, 1, 10000) == 1 &&
        link_receive(link, &message, fds, &fd_count, &error) == 0) {
        wire_free(message);
        for (size_t i = 0; i < fd_count; i++)
            fd_close(fds[i]);
    }
    link_free(link);
}

static void *fake_run(void *userdata)
{
    struct fake_broker *fake = userdata;
    for (;;) {
        struct pollfd fds[] = {{.fd = fake->stop[0], .events = POLLIN},
                               {.fd = link_listener_fd(fake->listener), .events = POLLIN}};
        poll(fds, 2, -1);
        if (fds[0].revents)
            return NULL;
        accept_and_die(fake);
    }
}

static void assert_dies_in_handshake(bool reads_hello)
{
    struct fake_broker fake = {.reads_hello = reads_hello};
    struct error_text error = {.text = ""};
    struct parley_endpoint *endpoint = NULL;
    char path[128];
    pthread_t thread;
    snprintf(path, sizeof(path), "%s/fake.sock", bus.dir);
    if (link_listen(path, 0600, &fake.listener, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(pipe(fake.stop), 0);
    assert_int_equal(pthread_create(&thread, NULL, fake_run, &fake), 0);
    const struct parley_endpoint_options options = {.broker = path,
                                                    .connect_timeout_ns = 500 * NS_PER_MS};
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_UNAVAILABLE);
    assert_null(endpoint);
    assert_has(parley_error_text(), "the broker");
    close(fake.stop[1]);
    pthread_join(thread, NULL);
    close(fake.stop[0]);
    link_listener_free(fake.listener);
    assert_true(fake.accepted > 0);
}

static void test_a_broker_that_hangs_up_before_hello_is_unavailable(void **state)
{
    (void)state;
    assert_dies_in_handshake(false);
}

static void test_a_broker_that_hangs_up_after_hello_is_unavailable(void **state)
{
    (void)state;
    assert_dies_in_handshake(true);
}

static int join_and_call(struct bus *b, void *argument)
{
    (void)argument;
    const struct parley_client_options options = {.wait_ns = 10 * NS_PER_S};
    struct parley_endpoint *endpoint = bus_endpoint(b, "patient");
    struct parley_client *client;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply = NULL;
    if (parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client) != PARLEY_OK)
        return 2;
    enum parley_status status = echo__v1__echo__echo_call(client, &request, &reply, NULL);
    parley_reply_free(reply);
    parley_endpoint_free(endpoint);
    return status == PARLEY_OK ? 0 : 3;
}

static void test_a_broker_killed_in_mid_handshake_is_found_again(void **state)
{
    (void)state;
    struct rogue rogue;
    /* Stopped, it accepts nobody: whoever connects now waits in the middle of the handshake. */
    assert_true(bus.broker > 0);
    kill(bus.broker, SIGSTOP);
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    rogue_say_hello(&rogue, &hello, &rogue.stats.fd, 1);
    pid_t patient = bus_fork(&bus, join_and_call, NULL);
    steady_check(&steady);
    bus_broker_kill(&bus);
    assert_int_equal(rogue_receive(&rogue), PARLEY__LINK_MESSAGE__BODY__NOT_SET);
    rogue_leave(&rogue);
    steady_check(&steady);
    bus_broker_start(&bus);
    assert_int_equal(bus_reap(&bus, patient), 0);
    steady_check(&steady);
}

static void test_a_broker_killed_over_and_over_is_not_noticed_by_calls(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        bus_broker_kill(&bus);
        steady_check(&steady);
        bus_broker_start(&bus);
        steady_check(&steady);
    }
    /* The last one knows everything that the first knew. */
    struct rogue rogue;
    rogue_open(&rogue, &bus);
    rogue_leave(&rogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_broker_running_says_where_and_what_to_do, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_stale_socket_is_no_broker_and_the_next_broker_takes_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_whose_socket_is_in_use_ends_and_says_so,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_whose_port_is_in_use_ends_and_says_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_broker_whose_control_socket_is_in_use_ends_and_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_with_a_url_that_is_none_ends_and_says_so,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_whose_folder_is_none_ends_and_says_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_that_is_told_no_way_to_wait_ends_and_says_so,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_that_hangs_up_before_hello_is_unavailable,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_that_hangs_up_after_hello_is_unavailable,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_killed_in_mid_handshake_is_found_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_broker_killed_over_and_over_is_not_noticed_by_calls,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
