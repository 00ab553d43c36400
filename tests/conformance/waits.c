/* The wait suite's fixture, and how it runs. */
#include "conformance/waits.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void socket_pair(int *ret_a, int *ret_b)
{
    int fds[2];
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                       errno);
    *ret_a = fds[0];
    *ret_b = fds[1];
}

void send_byte(int fd)
{
    assert_int_equal(write(fd, "x", 1), 1);
}

void drain(int fd)
{
    char buffer[4096];
    ssize_t n;
    do {
        n = read(fd, buffer, sizeof(buffer));
    } while (n > 0);
    assert_true(n == 0 || errno == EAGAIN);
}

void fill(int fd)
{
    static const char zeros[4096];
    ssize_t n;
    do {
        n = write(fd, zeros, sizeof(zeros));
    } while (n > 0);
    assert_int_equal(errno, EAGAIN);
}

void add(struct fixture *f, uint32_t events)
{
    assert_int_equal(wait_add(f->wait, f->ours, events, &f->tag), 0);
}

uint32_t expect(struct fixture *f, const void *tag)
{
    struct wait_event event = {0};
    assert_int_equal(wait_poll(f->wait, &event, 1, PATIENCE_NS), 1);
    assert_ptr_equal(event.tag, tag);
    return event.events;
}

void expect_nothing(struct fixture *f)
{
    struct wait_event event;
    assert_int_equal(wait_poll(f->wait, &event, 1, 0), 0);
}

bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

/* ---- Running ---- */

static const enum wait_backend backends[] = {WAIT_BACKEND_URING, WAIT_BACKEND_EPOLL};
static const char *const backend_names[] = {"io_uring", "epoll"};

static void run_case(size_t kind, const struct test_case *test_case)
{
    struct fixture f = {.ours = -1, .peers = -1};
    struct error_text error;
    if (wait_new(backends[kind], &f.wait, &error) == -ENOSYS) {
        print_message("not on this machine: %s\n", error.text);
        skip();
    }
    assert_non_null(f.wait);
    socket_pair(&f.ours, &f.peers);
    test_case->run(&f);
    wait_free(f.wait);
    if (f.ours >= 0)
        close(f.ours);
    if (f.peers >= 0)
        close(f.peers);
}

int run_cases(const struct test_case *cases, size_t case_count)
{
    return cases_run("wait", backend_names, sizeof(backends) / sizeof(backends[0]), cases,
                     case_count, run_case);
}
