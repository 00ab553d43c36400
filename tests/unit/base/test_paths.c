#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"

static int clear(void **state)
{
    (void)state;
    unsetenv("PARLEY_DIR");
    unsetenv("PARLEY_BROKER");
    unsetenv("PARLEY_CONTROL");
    unsetenv("PARLEY_EVENTS");
    unsetenv("PARLEY_BUS");
    unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

static void test_folder_follows_the_user(void **state)
{
    (void)state;
    char path[PATHS_BYTES_MAX], expected[PATHS_BYTES_MAX];
    assert_int_equal(paths_dir(path, sizeof(path)), 0);
    if (geteuid() == 0) {
        assert_string_equal(path, "/run/parley");
        return;
    }
    snprintf(expected, sizeof(expected), "/tmp/parley-%u", (unsigned)geteuid());
    assert_string_equal(path, expected);
    setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    assert_int_equal(paths_dir(path, sizeof(path)), 0);
    assert_string_equal(path, "/run/user/1/parley");
}

static void test_parley_dir_is_for_everything(void **state)
{
    (void)state;
    char path[PATHS_BYTES_MAX];
    setenv("PARLEY_DIR", "/x", 1);
    assert_int_equal(paths_dir(path, sizeof(path)), 0);
    assert_string_equal(path, "/x");
    assert_int_equal(paths_broker(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "/x/parleyd.sock");
    assert_int_equal(paths_control_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "ipc:///x/control.ipc");
    assert_int_equal(paths_events_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "ipc:///x/events.ipc");
    assert_int_equal(paths_bus_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "ipc:///x/bus.ipc");
}

static void test_each_address_has_its_own_variable(void **state)
{
    (void)state;
    char path[PATHS_BYTES_MAX];
    setenv("PARLEY_DIR", "/x", 1);
    setenv("PARLEY_BROKER", "/b", 1);
    setenv("PARLEY_CONTROL", "tcp://127.0.0.1:1", 1);
    setenv("PARLEY_EVENTS", "tcp://127.0.0.1:2", 1);
    setenv("PARLEY_BUS", "tcp://127.0.0.1:3", 1);
    assert_int_equal(paths_broker(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "/b");
    assert_int_equal(paths_control_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "tcp://127.0.0.1:1");
    assert_int_equal(paths_events_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "tcp://127.0.0.1:2");
    assert_int_equal(paths_bus_url(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "tcp://127.0.0.1:3");
}

static void test_folder_that_is_given_beats_the_variables(void **state)
{
    (void)state;
    char path[PATHS_BYTES_MAX];
    setenv("PARLEY_DIR", "/x", 1);
    setenv("PARLEY_BROKER", "/b", 1);
    assert_int_equal(paths_broker("/given", path, sizeof(path)), 0);
    assert_string_equal(path, "/given/parleyd.sock");
}

static void test_empty_variables_count_as_unset(void **state)
{
    (void)state;
    char path[PATHS_BYTES_MAX];
    setenv("PARLEY_DIR", "/x", 1);
    setenv("PARLEY_BROKER", "", 1);
    assert_int_equal(paths_broker(NULL, path, sizeof(path)), 0);
    assert_string_equal(path, "/x/parleyd.sock");
}

static void test_path_that_fits_no_socket_is_refused(void **state)
{
    (void)state;
    char dir[PATHS_BYTES_MAX + 10], path[PATHS_BYTES_MAX];
    memset(dir, 'd', sizeof(dir));
    size_t longest = PATHS_BYTES_MAX - 1 - strlen("/parleyd.sock");
    dir[longest] = '\0';
    assert_int_equal(paths_broker(dir, path, sizeof(path)), 0);
    assert_int_equal(strlen(path), PATHS_BYTES_MAX - 1);
    dir[longest] = 'd';
    dir[longest + 1] = '\0';
    assert_int_equal(paths_broker(dir, path, sizeof(path)), -ENAMETOOLONG);
    setenv("PARLEY_DIR", dir, 1);
    assert_int_equal(paths_broker(NULL, path, sizeof(path)), -ENAMETOOLONG);
}

static void test_hosts_broker_is_hinted_at_if_it_is_there_and_was_not_asked(void **state)
{
    (void)state;
    char host[] = "/tmp/parley-host.XXXXXX", text[PATHS_HINT_BYTES], socket[PATHS_BYTES_MAX];
    assert_non_null(mkdtemp(host));
    assert_string_equal(paths_hint("/x/parleyd.sock", host, text, sizeof(text)), "");
    (void)snprintf(socket, sizeof(socket), "%s/parleyd.sock", host);
    int fd = open(socket, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    char expected[PATHS_HINT_BYTES];
    (void)snprintf(expected, sizeof(expected), "; there is one in %s: PARLEY_DIR=%s", host, host);
    assert_string_equal(paths_hint("/x/parleyd.sock", host, text, sizeof(text)), expected);
    assert_string_equal(paths_hint(socket, host, text, sizeof(text)), "");
    unlink(socket);
    rmdir(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_folder_follows_the_user, clear),
        cmocka_unit_test_setup(test_parley_dir_is_for_everything, clear),
        cmocka_unit_test_setup(test_each_address_has_its_own_variable, clear),
        cmocka_unit_test_setup(test_folder_that_is_given_beats_the_variables, clear),
        cmocka_unit_test_setup(test_empty_variables_count_as_unset, clear),
        cmocka_unit_test_setup(test_path_that_fits_no_socket_is_refused, clear),
        cmocka_unit_test(test_hosts_broker_is_hinted_at_if_it_is_there_and_was_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
