/* What a supervisor hears from parleyd: sd_notify(3)'s protocol, with the watchdog's pings. */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000

struct supervisor {
    char folder[64];
    int fd;
    pid_t broker;
};

static void begin(struct supervisor *supervisor)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *supervisor = (struct supervisor){.folder = "/tmp/parley-notify-XXXXXX"};
    assert_non_null(mkdtemp(supervisor->folder));
    supervisor->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(supervisor->fd >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", supervisor->folder);
    assert_int_equal(bind(supervisor->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
}

static void start(struct supervisor *supervisor)
{
    pid_t parent = getpid();
    supervisor->broker = fork();
    assert_true(supervisor->broker >= 0);
    if (supervisor->broker > 0)
        return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        execl(getenv("PARLEYD"), "parleyd", "--dir", supervisor->folder, NULL);
    _exit(99);
}

/* The next thing that it says, without the line's end. */
static const char *hear(const struct supervisor *supervisor)
{
    static char text[128];
    struct pollfd ready = {.fd = supervisor->fd, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1)
        fail_msg("parleyd says nothing");
    ssize_t n = recv(supervisor->fd, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void end(struct supervisor *supervisor)
{
    int status;
    assert_int_equal(waitpid(supervisor->broker, &status, 0), supervisor->broker);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(supervisor->fd);
    char path[96];
    snprintf(path, sizeof(path), "%s/notify", supervisor->folder);
    (void)unlink(path);
    assert_int_equal(rmdir(supervisor->folder), 0); /* it has removed its own */
}

static void test_readiness_and_the_end_are_told(void **state)
{
    (void)state;
    struct supervisor s;
    begin(&s);
    unsetenv("WATCHDOG_USEC");
    start(&s);
    assert_string_equal(hear(&s), "READY=1");
    kill(s.broker, SIGTERM);
    assert_string_equal(hear(&s), "STOPPING=1"); /* no ping in between */
    end(&s);
}

static void test_watchdog_is_pinged_again_and_again(void **state)
{
    (void)state;
    struct supervisor s;
    begin(&s);
    setenv("WATCHDOG_USEC", "20000", 1);
    unsetenv("WATCHDOG_PID");
    start(&s);
    assert_string_equal(hear(&s), "READY=1");
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(hear(&s), "WATCHDOG=1");
    kill(s.broker, SIGTERM);
    const char *said = hear(&s);
    while (strcmp(said, "WATCHDOG=1") == 0)
        said = hear(&s);
    assert_string_equal(said, "STOPPING=1");
    end(&s);
}

static void without_pings(const char *usec, const char *pid)
{
    struct supervisor s;
    begin(&s);
    setenv("WATCHDOG_USEC", usec, 1);
    pid ? setenv("WATCHDOG_PID", pid, 1) : unsetenv("WATCHDOG_PID");
    start(&s);
    assert_string_equal(hear(&s), "READY=1");
    kill(s.broker, SIGTERM);
    assert_string_equal(hear(&s), "STOPPING=1");
    end(&s);
}

/* A ping comes before anything is waited for: had there been one, it would be heard first. */
static void test_watchdog_of_another_is_left_alone(void **state)
{
    (void)state;
    without_pings("20000", "1");
}

static void test_watchdog_without_a_time_is_none(void **state)
{
    (void)state;
    without_pings("0", NULL);
    without_pings("", NULL);
    without_pings("20000x", NULL);
    without_pings("99999999999999999999999", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readiness_and_the_end_are_told),
        cmocka_unit_test(test_watchdog_is_pinged_again_and_again),
        cmocka_unit_test(test_watchdog_of_another_is_left_alone),
        cmocka_unit_test(test_watchdog_without_a_time_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
