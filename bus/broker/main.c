/*
 * parleyd: signals, readiness. What it is told to be is in settings.c.
 *
 * Everything that can be refused is refused before it says that it is ready, with one sentence and
 * exit code 1 (2 for the command line). Signals arrive through a descriptor like everything else;
 * they are blocked before NNG starts its threads, so that none of those takes one.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/front.h"
#include "broker/subscribers.h"
#include "broker/guard.h"
#include "broker/settings.h"
#include "broker/trim.h"

/* ---- Surroundings ---- */

/* A folder that another user could have put in our way, in /tmp, is not used. */
static int make_folder(const char *dir)
{
    if (mkdir(dir, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST) {
        int r = -errno;
        log_error("cannot make %s: %s: use another --dir", dir, strerror(-r));
        return r;
    }
    struct stat status;
    if (stat(dir, &status) < 0 || !S_ISDIR(status.st_mode)) {
        log_error("%s is no folder: use another --dir", dir);
        return -ENOTDIR;
    }
    if (status.st_uid != geteuid() && status.st_uid != 0) {
        log_error("%s belongs to user %u: use another --dir", dir, (unsigned)status.st_uid);
        return -EPERM;
    }
    return 0;
}

/* Each endpoint is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* sd_notify(3)'s protocol: one datagram to the socket that the supervisor named. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = path ? strlen(path) : 0;
    if (bytes < 2 || bytes >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, bytes);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
    if (fd < 0 ||
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0)
        log_warn("cannot notify %s: %s", path, strerror(errno));
}

static void say_ready(const struct broker *broker, const struct settings *settings)
{
    (void)printf("parleyd: ready socket=%s", settings->socket);
    for (size_t i = 0; i < settings->control_count; i++)
        (void)printf(" control=%s", settings->control_urls[i]);
    for (size_t i = 0; i < settings->event_count; i++)
        (void)printf(" events=%s", subscribers_url(broker, i));
    for (size_t i = 0; i < settings->bus_count; i++)
        (void)printf(" bus=%s", front_url(broker, i));
    if (broker->http)
        (void)printf(" http=%s", http_server_url(broker->http));
    (void)printf(" wait=%s pid=%d\n", wait_name(broker->wait), (int)getpid());
    (void)fflush(stdout);
    notify("READY=1\n");
}

/* ---- Signals ---- */

struct signals {
    struct source source;
    int fd;
    int stop;              /* the signal that ends us; 0: none yet */
    struct broker *broker; /* NULL: not yet */
};

/* What an operator has changed on disk. */
static void on_hangup(struct broker *broker)
{
    audit_reopen(&broker->audit);
    guard_reload(broker);
}

static void on_signal(struct source *source, uint32_t events)
{
    (void)events;
    struct signals *signals = (struct signals *)source; /* its first member */
    struct signalfd_siginfo info;
    while (read(signals->fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo == SIGHUP)
            on_hangup(signals->broker);
        else
            signals->stop = (int)info.ssi_signo;
}

static int open_signals(struct signals *signals)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP); /* the audit trail's file is opened anew */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    (void)signal(SIGPIPE, SIG_IGN);
    signals->source.ready = on_signal;
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return signals->fd < 0 ? -errno : 0;
}

/* ---- The whole ---- */

/* How often the supervisor wants to hear from us: twice as often as it must; CLOCK_NEVER: not at
 * all. */
static uint64_t watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end;
    if (!usec || (pid && strtoul(pid, NULL, 10) != (unsigned long)getpid()))
        return CLOCK_NEVER;
    unsigned long long us = strtoull(usec, &end, 10);
    if (us == 0 || *end != '\0' || us > CLOCK_NEVER / NS_PER_US)
        return CLOCK_NEVER;
    return us * NS_PER_US / 2;
}

static int serve(struct broker *broker, struct signals *signals)
{
    uint64_t every_ns = watchdog_ns();
    uint64_t ping_ns = every_ns == CLOCK_NEVER ? CLOCK_NEVER : clock_now_ns();
    while (!signals->stop) {
        uint64_t left_ns = clock_left(ping_ns, clock_now_ns());
        if (left_ns == 0) {
            notify("WATCHDOG=1\n");
            left_ns = every_ns;
            ping_ns = clock_add(clock_now_ns(), every_ns);
        }
        int r = broker_turn(broker, left_ns == CLOCK_NEVER ? WAIT_FOREVER : left_ns);
        if (r < 0) {
            log_error("waiting failed: %s", strerror(-r));
            return r;
        }
    }
    log_info("%s: the broker ends; endpoints go on and wait for the next",
             signals->stop == SIGTERM ? "SIGTERM" : "SIGINT");
    return 0;
}

/* epoll unless PARLEY_WAIT says otherwise. A broker sleeps, and then has many descriptors that are
 * ready: epoll takes less for each, and no ring's memory. And it dies at once: what a ring's polls
 * hold open stays so for milliseconds after a kill, and endpoints would take the broker for alive.
 */
static enum wait_backend choose_backend(void)
{
    const char *asked = getenv("PARLEY_WAIT");
    return asked && *asked ? WAIT_BACKEND_AUTO : WAIT_BACKEND_EPOLL;
}

static int begin_tracing(struct broker *broker, const struct settings *settings)
{
    struct error_text error = {""};
    int r = settings->otlp ? trace_export(broker, settings->otlp, &error) : 0;
    if (r == 0 && (settings->trace || settings->otlp))
        r = trace_set(broker, true, settings->trace_rate);
    if (r < 0)
        log_error("%s", error.text[0] ? error.text : strerror(-r));
    return r;
}

static int run(const struct settings *settings, struct signals *signals)
{
    const struct broker_options options = {
        .backend = choose_backend(),
        .socket = settings->socket,
        .socket_mode = settings->mode,
        .control_urls = settings->control_urls,
        .control_url_count = settings->control_count,
        .event_urls = settings->event_urls,
        .event_url_count = settings->event_count,
        .health_urls = settings->health_urls,
        .health_url_count = settings->health_count,
        .bus_urls = settings->bus_urls,
        .bus_url_count = settings->bus_count,
        .schemas = settings->schemas,
        .rollouts = settings->rollouts,
        .state = settings->state,
        .http_url = settings->http,
        .http_insecure = settings->http_insecure,
        .allow_control = settings->allow_control,
        .allow_calls = settings->allow_calls,
        .eject = &settings->eject,
        .audit = settings->audit,
        .serve = {.dir = settings->dir},
        .policy = settings->policy,
        .quota = settings->quota,
        .insecure = settings->insecure,
        .tls = settings->tls,
    };
    struct broker *broker;
    struct error_text error = {""};
    int r = broker_new(&options, &broker, &error);
    if (r < 0) {
        log_error("%s", error.text[0] ? error.text : strerror(-r));
        return r;
    }
    r = begin_tracing(broker, settings);
    signals->broker = broker;
    if (r == 0)
        r = broker_watch(broker, signals->fd, WAIT_IN, &signals->source);
    if (r == 0) {
        const struct event begins = {.topic = "broker", .pid = getpid()};
        event_publish(broker, &begins, "broker %016llx is ready", (unsigned long long)broker->id);
        say_ready(broker, settings);
        trim_end();
        r = serve(broker, signals);
        notify("STOPPING=1\n");
        const struct event ends = {.topic = "broker", .pid = getpid()};
        event_publish(broker, &ends, "broker %016llx ends", (unsigned long long)broker->id);
        broker_unwatch(broker, signals->fd, &signals->source);
    }
    broker_free(broker);
    return r;
}

int main(int argc, char **argv)
{
    struct settings settings = {.mode = 0660, .eject = EJECT_DEFAULTS};
    struct signals signals = {.fd = -1};
    fd_hold_standard();
    trim_begin();
    log_set_level(LOG_LEVEL_INFO);
    int code = settings_parse(&settings, argc, argv);
    if (code >= 0)
        return fflush(stdout) == 0 ? code : MAIN_EXIT_FAILED;
    if (settings_fill_in(&settings) < 0 || make_folder(settings.dir) < 0)
        return MAIN_EXIT_FAILED;
    raise_descriptor_limit();
    (void)umask(~settings.mode & 0777); /* for the sockets that NNG makes */
    if (open_signals(&signals) < 0) {
        log_error("cannot take signals: %s", strerror(errno));
        return MAIN_EXIT_FAILED;
    }
    int r = run(&settings, &signals);
    fd_close(signals.fd);
    return r < 0 ? MAIN_EXIT_FAILED : 0;
}
