/*
 * Names of hosts, and a resolver that does as the test says: it hangs until it is let go, or fails.
 * Who dials a name waits for nothing meanwhile.
 */
#include "support/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "control/caller.h"
#include "control/requester.h"
#include "control/stream.h"
#include "support/fds.h"
#include "support/sp.h"
#include "support/until.h"

/* ---- The resolver ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hangs, fails;
    unsigned begun, ended; /* of names, not of addresses */
    bool took_signals;     /* a thread that looks up would */
} resolver = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void resolve(bool hangs, bool fails)
{
    pthread_mutex_lock(&resolver.lock);
    resolver.hangs = hangs;
    resolver.fails = fails;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.lock);
}

static unsigned begun(void)
{
    pthread_mutex_lock(&resolver.lock);
    unsigned n = resolver.begun;
    pthread_mutex_unlock(&resolver.lock);
    return n;
}

static bool is_idle(void)
{
    pthread_mutex_lock(&resolver.lock);
    bool is = resolver.begun == resolver.ended;
    pthread_mutex_unlock(&resolver.lock);
    return is;
}

/* In the place of the C library's: every name is this host. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!node || !strstr(node, ".test") || (hints && hints->ai_flags & AI_NUMERICHOST))
        return real(node, service, hints, found);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    pthread_mutex_lock(&resolver.lock);
    resolver.begun++;
    resolver.took_signals |= !sigismember(&blocked, SIGTERM);
    while (resolver.hangs)
        pthread_cond_wait(&resolver.changed, &resolver.lock);
    bool fails = resolver.fails;
    pthread_mutex_unlock(&resolver.lock);
    int r = fails ? EAI_NONAME : real("127.0.0.1", service, hints, found);
    pthread_mutex_lock(&resolver.lock);
    resolver.ended++;
    pthread_mutex_unlock(&resolver.lock);
    return r;
}

static int set_up(void **state)
{
    (void)state;
    resolve(false, false);
    return 0;
}

/* What was left to hang ends, so that a sanitizer sees whether it touches what is freed. */
static int tear_down(void **state)
{
    (void)state;
    resolve(false, false);
    UNTIL((void)0, is_idle());
    return 0;
}

/* ---- Callers ---- */

static unsigned came;

static void on_came(const struct replier_peer *peer, void *data)
{
    (void)peer;
    (void)data;
    came++;
}

static struct caller *caller_at(const char *url)
{
    const struct caller_options options = {.url = url, .bytes_max = 4096, .came = on_came};
    struct caller *caller;
    struct error_text error = {""};
    came = 0;
    if (caller_new(&options, &caller, &error) != 0)
        fail_msg("%s: %s", url, error.text);
    return caller;
}

static void step(struct caller *caller)
{
    uint64_t left = clock_left(caller_next_deadline_ns(caller), clock_now_ns());
    int timeout = left > 100 * NS_PER_MS ? 100 : (int)(left / NS_PER_MS) + 1;
    struct pollfd ready = {.fd = caller_fd(caller), .events = POLLIN};
    assert_true(poll(&ready, 1, timeout) >= 0);
    caller_turn(caller);
}

static bool has_problem(const struct caller *caller, const char *text)
{
    return strstr(caller_problem(caller), text) != NULL;
}

/* Listens on this host; @url: the same port of a name. */
static int listen_as(const char *name, char url[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&address, bytes), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&address, &bytes), errno);
    assert_return_code(listen(fd, 8), errno);
    snprintf(url, 64, "tcp://%s:%u", name, ntohs(address.sin_port));
    return fd;
}

/* ---- Tests ---- */

static void test_a_name_that_hangs_holds_nobody_up_and_is_dialled_when_found(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_as("hangs.test", url);
    resolve(true, false);
    struct caller *caller = caller_at(url);
    UNTIL(step(caller), begun() > 0);
    assert_true(has_problem(caller, "hangs.test is still being looked up"));
    assert_false(resolver.took_signals);
    resolve(false, false);
    UNTIL(step(caller), caller_next_deadline_ns(caller) != CLOCK_NEVER);
    struct sp *sp = sp_accept(listener, false);
    sp_send_hello(sp, SP_REP);
    UNTIL(step(caller), came == 1);
    assert_string_equal(caller_problem(caller), "");
    caller_free(caller);
    sp_free(sp);
    close(listener);
}

static void test_a_caller_can_be_freed_while_its_name_hangs(void **state)
{
    (void)state;
    resolve(true, false);
    unsigned before = begun();
    struct caller *caller = caller_at("tcp://hangs.test:7433");
    UNTIL(step(caller), begun() > before);
    caller_free(caller);
}

static void test_a_name_that_fails_is_told_and_looked_up_again(void **state)
{
    (void)state;
    resolve(false, true);
    unsigned before = begun();
    struct caller *caller = caller_at("tcp4://nowhere.test:7433");
    UNTIL(step(caller), has_problem(caller, "cannot find nowhere.test") &&
                            has_problem(caller, "check the host's name"));
    UNTIL(step(caller), begun() >= before + 3);
    assert_true(caller_next_deadline_ns(caller) != CLOCK_NEVER || !is_idle());
    caller_free(caller);
}

static void test_what_a_name_was_is_dialled_while_it_hangs(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_as("once.test", url);
    struct caller *caller = caller_at(url);
    UNTIL(step(caller), caller_next_deadline_ns(caller) != CLOCK_NEVER);
    struct sp *sp = sp_accept(listener, false);
    unsigned before = begun();
    resolve(true, false);
    for (unsigned i = 0; i < 3; i++) { /* who hangs up before a greeting is a failure */
        sp_free(sp);
        UNTIL(step(caller),
              (sp = poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0) == 1
                        ? sp_accept(listener, false)
                        : NULL));
    }
    UNTIL(step(caller), begun() > before);
    assert_int_equal(begun(), before + 1); /* one at a time */
    sp_send_hello(sp, SP_REP);
    UNTIL(step(caller), came == 1);
    caller_free(caller);
    sp_free(sp);
    close(listener);
}

static void test_so_many_names_are_looked_up_at_once_and_no_more(void **state)
{
    (void)state;
    static struct caller *callers[STREAM_LOOKUPS_MAX + 1];
    char url[64];
    int listener = listen_as("many.test", url);
    resolve(true, false);
    unsigned before = begun();
    for (size_t i = 0; i < STREAM_LOOKUPS_MAX; i++) {
        callers[i] = caller_at(url);
        assert_true(has_problem(callers[i], "many.test is still being looked up"));
    }
    struct caller *last = callers[STREAM_LOOKUPS_MAX] = caller_at(url);
    assert_true(has_problem(last, "cannot look up many.test"));
    UNTIL((void)0, begun() == before + STREAM_LOOKUPS_MAX);
    resolve(false, false); /* it is tried again, and then there is room */
    UNTIL(step(last), begun() == before + STREAM_LOOKUPS_MAX + 1);
    for (size_t i = 0; i <= STREAM_LOOKUPS_MAX; i++)
        caller_free(callers[i]);
    close(listener);
}

static void test_a_child_of_fork_frees_what_hangs_in_its_parent(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_as("forks.test", url);
    resolve(true, false);
    struct caller *caller = caller_at(url);
    unsigned open = open_fd_count();
    pid_t pid = fork();
    assert_return_code(pid, errno);
    if (pid == 0) {
        caller_free(caller);
        _exit(open_fd_count() == open - 2 ? 0 : 1); /* its set, and the bell */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    resolve(false, false);
    UNTIL(step(caller), caller_next_deadline_ns(caller) != CLOCK_NEVER); /* the parent's goes on */
    caller_free(caller);
    close(listener);
}

static void test_an_address_is_not_looked_up(void **state)
{
    (void)state;
    char url[64];
    int listener = listen_as("127.0.0.1", url);
    resolve(true, false);
    struct caller *caller = caller_at(url);
    struct sp *sp = sp_accept(listener, false); /* it is dialled before anybody has a turn */
    sp_free(sp);
    caller_free(caller);
    close(listener);
}

static bool let_in(const struct replier_peer *peer, void *data)
{
    (void)peer;
    (void)data;
    return true;
}

/* A broker makes one for each program that serves from elsewhere, in its loop. */
static void test_a_name_is_looked_up_once_to_listen_on(void **state)
{
    (void)state;
    struct error_text error = {""};
    const char *url = "tcp://own.test:0";
    const struct replier_options options = {.urls = &url, .url_count = 1, .bytes_max = 4096};
    struct replier *replier;
    if (replier_new(&options, &replier, &error) != 0)
        fail_msg("%s", error.text);
    resolve(true, false);
    const struct requester_options one = {.url = url, .bytes_max = 4096, .came = let_in};
    struct requester *requester;
    assert_int_equal(requester_new(&one, &requester, &error), 0);
    assert_non_null(strstr(requester_url(requester), "tcp://own.test:"));
    assert_string_not_equal(requester_url(requester), replier_url(replier, 0));
    requester_free(requester);
    char other[64]; /* and with the port that is asked for */
    close(listen_as("own.test", other));
    const struct requester_options two = {.url = other, .bytes_max = 4096, .came = let_in};
    assert_int_equal(requester_new(&two, &requester, &error), 0);
    assert_string_equal(requester_url(requester), other);
    requester_free(requester);
    replier_free(replier);
}

static void test_an_endpoint_waits_for_a_name_no_longer_than_it_may(void **state)
{
    (void)state;
    resolve(true, false);
    struct parley_endpoint *endpoint = NULL;
    const struct parley_endpoint_options options = {
        .broker = "tcp://hangs.test:7433", .name = "test", .connect_timeout_ns = 50 * NS_PER_MS};
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_UNAVAILABLE);
    assert_non_null(strstr(parley_error_text(), "hangs.test is still being looked up"));
}

/* By libnng, behind the others: its threads make a fork difficult. */
static void test_a_name_of_ws_holds_nobody_up_either(void **state)
{
    (void)state;
    resolve(true, false);
    unsigned before = begun();
    struct caller *caller = caller_at("ws://hangs.test:7433/bus");
    UNTIL(step(caller), begun() > before);
    caller_free(caller);
}

#define lookup_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        lookup_test(test_a_name_that_hangs_holds_nobody_up_and_is_dialled_when_found),
        lookup_test(test_a_caller_can_be_freed_while_its_name_hangs),
        lookup_test(test_a_name_that_fails_is_told_and_looked_up_again),
        lookup_test(test_what_a_name_was_is_dialled_while_it_hangs),
        lookup_test(test_so_many_names_are_looked_up_at_once_and_no_more),
        lookup_test(test_a_child_of_fork_frees_what_hangs_in_its_parent),
        lookup_test(test_an_address_is_not_looked_up),
        lookup_test(test_a_name_is_looked_up_once_to_listen_on),
        lookup_test(test_an_endpoint_waits_for_a_name_no_longer_than_it_may),
        lookup_test(test_a_name_of_ws_holds_nobody_up_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
