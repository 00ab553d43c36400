/* What a URL of the stream transports says, and what is none. */
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/replier.h"
#include "control/stream.h"

static void test_urls_are_read_as_libnng_does(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool any;
        int result;
        int family;
        unsigned port;
        bool tls;
    } cases[] = {
        {"ipc:///run/x", true, 0, AF_UNIX, 0, false},
        {"ipc://x", false, 0, AF_UNIX, 0, false},
        {"tcp://127.0.0.1:7433", false, 0, AF_INET, 7433, false},
        {"tcp://[::1]:7433", false, 0, AF_INET6, 7433, false},
        {"tcp://[::1]:65535/", true, 0, AF_INET6, 65535, false},
        {"tls+tcp://127.0.0.1:0", true, 0, AF_INET, 0, true},
        {"tcp://:80", true, 0, AF_INET, 80, false},
        {"tcp://*:80", true, 0, AF_INET, 80, false},
        {"tcp6://*:80", true, 0, AF_INET6, 80, false},
        {"tcp://*:80", false, -EINVAL, 0, 0, false},
        {"tcp://localhost:80", false, 0, AF_UNSPEC, 0, false}, /* only kept */
        {"tls+tcp6://localhost:80", true, 0, AF_UNSPEC, 0, true},
        {"tcp4://[::1]:80", false, -EHOSTUNREACH, 0, 0, false},
        {"tcp://127.0.0.1", true, -EINVAL, 0, 0, false},
        {"tcp://127.0.0.1:", true, -EINVAL, 0, 0, false},
        {"tcp://127.0.0.1:65536", true, -EINVAL, 0, 0, false},
        {"tcp://127.0.0.1:http", true, -EINVAL, 0, 0, false},
        {"tcp://::1:80", true, -EINVAL, 0, 0, false},
        {"udp://127.0.0.1:80", true, -EINVAL, 0, 0, false},
        {"ipc://", true, -EINVAL, 0, 0, false},
        {"", true, -EINVAL, 0, 0, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stream_url url;
        struct error_text error = {""};
        int r = stream_url_parse(cases[i].url, cases[i].any, &url, &error);
        if (r != cases[i].result)
            fail_msg("%s: %d %s", cases[i].url, r, error.text);
        if (r < 0) {
            assert_true(error.text[0] != '\0');
            continue;
        }
        assert_int_equal(url.named, cases[i].family == AF_UNSPEC);
        assert_int_equal(url.address_bytes == 0, url.named);
        assert_int_equal(url.address.any.sa_family, cases[i].family);
        assert_int_equal(url.tls, cases[i].tls);
        if (cases[i].family == AF_INET)
            assert_int_equal(ntohs(url.address.v4.sin_port), cases[i].port);
        if (cases[i].family == AF_INET6)
            assert_int_equal(ntohs(url.address.v6.sin6_port), cases[i].port);
    }
}

static void test_a_path_has_room_for_what_the_kernel_takes(void **state)
{
    (void)state;
    char text[200] = "ipc://";
    struct stream_url url;
    struct error_text error;
    memset(text + 6, 'p', 107);
    assert_int_equal(stream_url_parse(text, true, &url, &error), 0);
    text[6 + 107] = 'p';
    assert_int_equal(stream_url_parse(text, true, &url, &error), -EINVAL);
}

static void test_a_host_that_means_all_is_the_one_that_was_dialled(void **state)
{
    (void)state;
    static const struct {
        const char *told, *by, *wanted;
    } cases[] = {
        {"tcp://*:44177", "tcp://10.0.0.7:7433", "tcp://10.0.0.7:44177"},
        {"tls+tcp://0.0.0.0:44177", "tls+tcp://broker.example:7433",
         "tls+tcp://broker.example:44177"},
        {"tcp6://[::]:1", "tcp6://[fe80::1]:7433", "tcp6://[fe80::1]:1"},
        {"tcp://:1", "ws://[::1]:80/bus", "tcp://[::1]:1"},
        {"tcp://10.0.0.7:1", "tcp://broker.example:2", "tcp://10.0.0.7:1"},
        {"tcp://*.example:1", "tcp://broker.example:2", "tcp://*.example:1"},
        {"ipc:///run/*:1", "tcp://10.0.0.7:2", "ipc:///run/*:1"},
        {"tcp://*:1", "ipc:///run/bus.ipc", "tcp://*:1"},
        {"tcp://*", "tcp://10.0.0.7:2", "tcp://*"},
        {"", "tcp://10.0.0.7:2", ""},
        {"nonsense", "", "nonsense"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *url = replier_url_by(cases[i].told, cases[i].by);
        assert_non_null(url);
        assert_string_equal(url, cases[i].wanted);
        free(url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_read_as_libnng_does),
        cmocka_unit_test(test_a_path_has_room_for_what_the_kernel_takes),
        cmocka_unit_test(test_a_host_that_means_all_is_the_one_that_was_dialled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
