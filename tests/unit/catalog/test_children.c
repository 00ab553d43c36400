#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "demo/demo.h"
#include "support/folder.h"

/* ---- What children.c takes from the demo's other files ---- */

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

int demo_fail(struct demo *demo, const char *format, ...)
{
    if (!demo->problem[0])
        snprintf(demo->problem, sizeof(demo->problem), "%s", format);
    return -1;
}

void display_tick(struct demo *demo)
{
    (void)demo;
}

/* ---- A demo of clients that are shell scripts ---- */

/* A client's line for @mark, as load.c prints it. */
#define TALLY(mark, calls)                                                                         \
    "echo '{\"mark\":" #mark ",\"calls\":" #calls ",\"failed\":0,\"wrong\":0,\"translated\":0,"    \
    "\"retried\":0,\"visits\":0,\"unavailable_no\":0,\"unavailable_unknown\":0,"                   \
    "\"unavailable_ns_max\":0,\"ill\":0}'\n"
#define ATTACHED "echo '{\"attached\":true}'\n"
#define WAIT_FOR(file) "until [ -e " file " ]; do sleep 0.01; done\n"

struct scene {
    struct demo demo;
    sigset_t before;
    char folder[64], cwd[256];
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    assert_non_null(getcwd(scene->cwd, sizeof(scene->cwd)));
    snprintf(scene->folder, sizeof(scene->folder), "/tmp/parley-children-XXXXXX");
    assert_true(folder_guard(scene->folder) > 0); /* it goes when this process does */
    assert_int_equal(chdir(scene->folder), 0); /* the scripts' files */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, &scene->before), 0);
    scene->demo.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    assert_true(scene->demo.signal_fd >= 0);
    snprintf(scene->demo.folder, sizeof(scene->demo.folder), "%s", scene->folder);
    scene->demo.progress_ns = now_ns();
    scene->demo.alarm_ns = now_ns() + 60 * SECOND;
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    demo_kill_all(&scene->demo);
    close(scene->demo.signal_fd);
    sigprocmask(SIG_SETMASK, &scene->before, NULL);
    assert_int_equal(chdir(scene->cwd), 0);
    free(scene);
    return 0;
}

static void start(struct demo *demo, const char *name, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    assert_non_null(child_start(demo, CHILD_CLIENT, name, argv));
}

static void test_totals_wait_for_every_client_that_has_attached(void **state)
{
    struct demo *demo = &((struct scene *)*state)->demo;
    struct tally total;
    start(demo, "a", ATTACHED "read mark\n" TALLY(1, 20) "read end\n");
    start(demo, "b", ATTACHED "read mark\n sleep 0.1\n" TALLY(1, 3) "read end\n");
    assert_int_equal(demo_wait_ready(demo, CHILD_CLIENT), 0);
    assert_int_equal(demo_totals(demo, &total), 0);
    assert_int_equal(total.calls, 23);
}

/* It was not asked, so it does not answer: the demo said, 15 s later, that a call hangs. */
static void test_a_client_that_attaches_meanwhile_is_not_waited_for(void **state)
{
    struct demo *demo = &((struct scene *)*state)->demo;
    struct tally total;
    start(demo, "a",
          ATTACHED "read mark\n echo >asked\n" WAIT_FOR("attached")
              TALLY(1, 20) "read mark\n" TALLY(2, 21) "read end\n");
    assert_int_equal(demo_wait_ready(demo, CHILD_CLIENT), 0);
    start(demo, "late",
          WAIT_FOR("asked") ATTACHED "echo >attached\n"
                                     "read mark\n" TALLY(2, 3) "read end\n");
    assert_int_equal(demo_totals(demo, &total), 0);
    assert_string_equal(demo->problem, "");
    assert_int_equal(total.calls, 20);
    /* From then on it is. */
    assert_int_equal(demo_wait_ready(demo, CHILD_CLIENT), 0);
    assert_int_equal(demo_totals(demo, &total), 0);
    assert_int_equal(total.calls, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_totals_wait_for_every_client_that_has_attached, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_client_that_attaches_meanwhile_is_not_waited_for,
                                        set_up, tear_down),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
