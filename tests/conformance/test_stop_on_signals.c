/* parley_stop_on_signals(): what the signals do, and that the handlers before are there again. */
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/caller.h"

static struct bus bus;
static volatile sig_atomic_t own_signals;

static void own_handler(int number)
{
    (void)number;
    own_signals++;
}

static int set_up(void **state)
{
    (void)state;
    bus_start(&bus);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bus_stop(&bus);
    return 0;
}

static struct parley_endpoint *stoppable(void)
{
    struct parley_endpoint *endpoint = bus_endpoint(&bus, "stoppable");
    assert_int_equal(parley_stop_on_signals(endpoint), PARLEY_OK);
    return endpoint;
}

static void test_a_signal_ends_parley_run(void **state)
{
    (void)state;
    const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct parley_endpoint *endpoint = stoppable();
        raise(numbers[i]);
        assert_int_equal(parley_run(endpoint), PARLEY_OK);
        assert_int_equal(parley_dispatch(endpoint, 0), PARLEY_CANCELLED);
        parley_endpoint_free(endpoint);
    }
}

static void test_all_endpoints_that_asked_are_stopped(void **state)
{
    (void)state;
    struct parley_endpoint *one = stoppable(), *other = stoppable();
    struct parley_endpoint *bystander = bus_endpoint(&bus, "bystander");
    assert_int_equal(parley_stop_on_signals(one), PARLEY_OK); /* once more */
    raise(SIGTERM);
    assert_int_equal(parley_run(one), PARLEY_OK);
    assert_int_equal(parley_run(other), PARLEY_OK);
    assert_int_equal(parley_dispatch(bystander, 0), PARLEY_OK);
    parley_endpoint_free(one);
    parley_endpoint_free(other);
    parley_endpoint_free(bystander);
}

static void test_handlers_before_are_there_again_after_the_last_endpoint(void **state)
{
    (void)state;
    const struct sigaction own = {.sa_handler = own_handler};
    struct sigaction now;
    sigaction(SIGTERM, &own, NULL);
    struct parley_endpoint *one = stoppable(), *other = stoppable();
    parley_endpoint_free(one);
    sigaction(SIGTERM, NULL, &now);
    assert_true(now.sa_handler != own_handler);
    parley_endpoint_free(other);
    raise(SIGTERM);
    assert_int_equal(own_signals, 1);
    signal(SIGTERM, SIG_DFL);
}

static void test_what_is_ignored_stays_ignored(void **state)
{
    (void)state;
    signal(SIGINT, SIG_IGN);
    struct parley_endpoint *endpoint = stoppable();
    raise(SIGINT);
    assert_int_equal(parley_dispatch(endpoint, 0), PARLEY_OK);
    parley_endpoint_free(endpoint);
    signal(SIGINT, SIG_DFL);
}

static void test_a_handler_that_came_later_is_left(void **state)
{
    (void)state;
    struct sigaction now;
    struct parley_endpoint *endpoint = stoppable();
    signal(SIGTERM, own_handler);
    parley_endpoint_free(endpoint);
    sigaction(SIGTERM, NULL, &now);
    assert_true(now.sa_handler == own_handler);
    signal(SIGTERM, SIG_DFL);
}

/* Return: as waitpid() tells. */
static int child_of(void (*run)(struct parley_endpoint *), struct parley_endpoint *endpoint)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(10);
        run(endpoint);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void interrupt_twice(struct parley_endpoint *endpoint)
{
    (void)endpoint;
    (void)stoppable();
    raise(SIGINT);
    raise(SIGINT);
}

static void terminate_twice(struct parley_endpoint *endpoint)
{
    (void)endpoint;
    (void)stoppable();
    raise(SIGTERM);
    raise(SIGTERM);
}

static void terminate_once(struct parley_endpoint *endpoint)
{
    (void)endpoint;
    raise(SIGTERM);
}

static void stop_own(struct parley_endpoint *endpoint)
{
    struct parley_endpoint *own = stoppable();
    raise(SIGTERM);
    if (parley_run(own) != PARLEY_OK)
        _exit(1);
    parley_endpoint_free(endpoint);
    parley_endpoint_free(own);
}

static void test_a_second_interrupt_ends_the_process_and_a_second_sigterm_does_not(void **state)
{
    (void)state;
    int status = child_of(interrupt_twice, NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_int_equal(child_of(terminate_twice, NULL), 0);
}

static void test_in_a_child_the_signal_does_what_it_did_before(void **state)
{
    (void)state;
    struct parley_endpoint *endpoint = stoppable();
    int status = child_of(terminate_once, endpoint);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(child_of(stop_own, endpoint), 0);
    assert_int_equal(parley_dispatch(endpoint, 0), PARLEY_OK);
    parley_endpoint_free(endpoint);
}

#define signal_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    /* A shell's `&` and nohup leave them ignored, and then they stop nothing. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    const struct CMUnitTest tests[] = {
        signal_test(test_a_signal_ends_parley_run),
        signal_test(test_all_endpoints_that_asked_are_stopped),
        signal_test(test_handlers_before_are_there_again_after_the_last_endpoint),
        signal_test(test_what_is_ignored_stays_ignored),
        signal_test(test_a_handler_that_came_later_is_left),
        signal_test(test_a_second_interrupt_ends_the_process_and_a_second_sigterm_does_not),
        signal_test(test_in_a_child_the_signal_does_what_it_did_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
