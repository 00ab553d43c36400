/*
 * parleyd: options, signals, readiness.
 *
 * Everything that can be refused is refused before it says that it is ready, with one sentence and
 * exit code 1 (2 for the command line). Signals arrive through a descriptor like everything else;
 * they are blocked before NNG starts its threads, so that none of those takes one.
 */
#include <errno.h>
#include <getopt.h>
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
#include "base/paths.h"
#include "base/rate.h"
#include "broker/broker.h"
#include "broker/front.h"
#include "broker/subscribers.h"
#include "broker/guard.h"
#include "broker/trim.h"

#define MAIN_URL_MAX 16
#define MAIN_EXIT_FAILED 1
#define MAIN_EXIT_USAGE 2

struct settings {
    char dir[PATHS_BYTES_MAX];
    char socket[PATHS_BYTES_MAX];
    char control[PATHS_BYTES_MAX + 8];
    char events[PATHS_BYTES_MAX + 8];
    char bus[PATHS_BYTES_MAX + 8];
    const char *control_urls[MAIN_URL_MAX];
    size_t control_count;
    const char *event_urls[MAIN_URL_MAX];
    size_t event_count;
    char health[PATHS_BYTES_MAX + 8];
    const char *health_urls[MAIN_URL_MAX];
    size_t health_count;
    const char *bus_urls[MAIN_URL_MAX];
    size_t bus_count;
    unsigned mode;
    const char *dir_given, *socket_given;
    const char *schemas;  /* NULL: none */
    const char *rollouts; /* NULL: none */
    const char *state_given;
    char state[PATHS_BYTES_MAX];
    const char *http; /* NULL: none */
    bool http_insecure;
    bool allow_control;
    bool allow_calls;
    const char *otlp; /* where spans are sent; NULL: nowhere */
    bool trace;
    uint32_t trace_rate; /* per 100,000 */
    struct eject_settings eject;
    const char *audit; /* NULL: none */
    const char *policy; /* NULL: none */
    struct quota_settings quota;
    bool insecure;
    struct tls_settings tls;
};

static const char usage[] =
    "Usage: parleyd [OPTION]...\n"
    "The broker of a Parley bus.\n"
    "\n"
    "  -d, --dir DIR          folder of its sockets (default: $PARLEY_DIR, else /run/parley for\n"
    "                         root, $XDG_RUNTIME_DIR/parley, /tmp/parley-UID); made if missing\n"
    "  -s, --socket PATH      where endpoints connect (default: DIR/parleyd.sock)\n"
    "  -c, --control URL      answer the control API there, too (default: ipc://DIR/control.ipc);\n"
    "                         any NNG URL, as tcp://127.0.0.1:7400; may be repeated\n"
    "  -e, --events URL       publish events there, too (default: ipc://DIR/events.ipc)\n"
    "      --bus URL          take calls of any NNG program there, too (default: "
    "ipc://DIR/bus.ipc);\n"
    "                         may be repeated\n"
    "      --health URL       answer NNG surveys of how instances are there, too (default:\n"
    "                         ipc://DIR/health.ipc)\n"
    "  -S, --schemas DIR      know the descriptor sets in that folder, too (*.binpb, *.pb, *.set); "
    "it\n"
    "                         is watched\n"
    "      --rollouts DIR     run the rollouts in that folder (*.yaml, *.yml); it is watched\n"
    "      --state DIR        what outlives the broker: how far rollouts are (default: DIR/state)\n"
    "      --http URL         answer /metrics (Prometheus), /stats (JSON), /healthz and /readyz "
    "there:\n"
    "                         http://127.0.0.1:7480, say (default: none)\n"
    "      --insecure-http    let that URL be one that other machines reach\n"
    "      --allow-control    let who reaches that URL pause, promote and roll back rollouts\n"
    "      --allow-calls      let who reaches that URL call: POST /call/INTERFACE/METHOD, with JSON\n"
    "      --eject SETTINGS   how instances that fail or are slow are ejected: on (default), off, "
    "or\n"
    "                         KEY=VALUE with commas between\n"
    "      --audit FILE       write there who was refused what, a line of JSON each; SIGHUP opens\n"
    "                         it anew\n"
    "      --policy FILE      who may call, publish, look and control (YAML); SIGHUP reads it anew\n"
    "      --limit LIMITS     of one peer of the bus URLs: KEY=VALUE with commas between: message,\n"
    "                         bytes, connections, calls, user-calls, rate, burst, bad\n"
    "      --tls-cert FILE    our certificate and its chain (PEM), for tls+tcp:// URLs\n"
    "      --tls-key FILE     its key (default: in the same file)\n"
    "      --tls-ca FILE      whose certificates of clients are believed\n"
    "      --tls-optional     let clients come without a certificate\n"
    "      --insecure         listen without TLS even where other machines reach us\n"
    "  -m, --mode OCTAL       of the socket files (default: 660)\n"
    "      --trace RATE       trace that per cent of calls, as 1 or 0.05%, and those that are "
    "marked;\n"
    "                         0: marked ones only (default: none)\n"
    "      --otlp URL         send spans there, as http://127.0.0.1:4318/v1/traces\n"
    "  -l, --log-level LEVEL  error, warn, info or debug (default: info)\n"
    "  -h, --help             this text\n"
    "  -V, --version\n"
    "\n"
    "When it is ready it prints a line that begins with \"parleyd: ready\", and tells\n"
    "$NOTIFY_SOCKET. SIGTERM and SIGINT end it. See parleyd(1).\n";

static int complain(const char *format, const char *what)
{
    (void)fprintf(stderr, "parleyd: ");
    (void)fprintf(stderr, format, what);
    (void)fprintf(stderr, "; try 'parleyd --help'\n");
    return MAIN_EXIT_USAGE;
}

/* ---- Options ---- */

static int add_url(const char **urls, size_t *count, const char *url)
{
    if (*count >= MAIN_URL_MAX - 1) /* one place is the default's */
        return complain("one URL too many: %s", url);
    urls[(*count)++] = url;
    return 0;
}

static int parse_mode(const char *text, unsigned *ret_mode)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*text == '\0' || *end != '\0' || mode > 0777)
        return complain("'%s' is no mode of a file; one looks like 660", text);
    *ret_mode = (unsigned)mode;
    return 0;
}

static int parse_trace(struct settings *settings, const char *text)
{
    if (rate_parse(text, &settings->trace_rate) < 0)
        return complain("'%s' is no rate of calls; one looks like 1 or 0.05%, in per cent", text);
    settings->trace = true;
    return 0;
}

static int parse_eject(const char *text, struct eject_settings *ret_settings)
{
    struct error_text error = {""};
    return eject_parse(text, ret_settings, &error) < 0 ? complain("--eject: %s", error.text) : 0;
}

static int parse_limit(const char *text, struct quota_settings *ret_settings)
{
    struct error_text error = {""};
    return quota_parse(text, ret_settings, &error) < 0 ? complain("--limit: %s", error.text) : 0;
}

static int parse_level(const char *text)
{
    enum log_level level;
    if (log_level_parse(text, &level) < 0)
        return complain("'%s' is no log level: error, warn, info or debug", text);
    log_set_level(level);
    return 0;
}

/* Options that have no letter. */
enum {
    OPTION_ROLLOUTS = 256,
    OPTION_STATE,
    OPTION_HTTP,
    OPTION_INSECURE_HTTP,
    OPTION_ALLOW_CONTROL,
    OPTION_ALLOW_CALLS,
    OPTION_TRACE,
    OPTION_OTLP,
    OPTION_EJECT,
    OPTION_AUDIT,
    OPTION_BUS,
    OPTION_HEALTH,
    OPTION_POLICY,
    OPTION_LIMIT,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_CA,
    OPTION_TLS_OPTIONAL,
    OPTION_INSECURE,
};

static const struct option long_options[] = {
    {"dir", required_argument, NULL, 'd'},
    {"socket", required_argument, NULL, 's'},
    {"control", required_argument, NULL, 'c'},
    {"events", required_argument, NULL, 'e'},
    {"bus", required_argument, NULL, OPTION_BUS},
    {"health", required_argument, NULL, OPTION_HEALTH},
    {"schemas", required_argument, NULL, 'S'},
    {"rollouts", required_argument, NULL, OPTION_ROLLOUTS},
    {"state", required_argument, NULL, OPTION_STATE},
    {"http", required_argument, NULL, OPTION_HTTP},
    {"insecure-http", no_argument, NULL, OPTION_INSECURE_HTTP},
    {"allow-control", no_argument, NULL, OPTION_ALLOW_CONTROL},
    {"allow-calls", no_argument, NULL, OPTION_ALLOW_CALLS},
    {"audit", required_argument, NULL, OPTION_AUDIT},
    {"eject", required_argument, NULL, OPTION_EJECT},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
    {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
    {"tls-ca", required_argument, NULL, OPTION_TLS_CA},
    {"tls-optional", no_argument, NULL, OPTION_TLS_OPTIONAL},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"mode", required_argument, NULL, 'm'},
    {"log-level", required_argument, NULL, 'l'},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"otlp", required_argument, NULL, OPTION_OTLP},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* Those of security. Return: as below. */
static int take_guard_option(struct settings *settings, int option)
{
    switch (option) {
    case OPTION_POLICY:
        settings->policy = optarg;
        return 0;
    case OPTION_LIMIT:
        return parse_limit(optarg, &settings->quota);
    case OPTION_TLS_CERT:
        settings->tls.certificate = optarg;
        return 0;
    case OPTION_TLS_KEY:
        settings->tls.key = optarg;
        return 0;
    case OPTION_TLS_CA:
        settings->tls.ca = optarg;
        return 0;
    case OPTION_TLS_OPTIONAL:
        settings->tls.optional = true;
        return 0;
    default:
        settings->insecure = true;
        return 0;
    }
}

/* Of getopt_long(), with optarg. Return: -1: go on; else the exit code. */
static int take_option(struct settings *settings, int option)
{
    int code = 0;
    switch (option) {
    case 'd':
        settings->dir_given = optarg;
        break;
    case 's':
        settings->socket_given = optarg;
        break;
    case 'c':
        code = add_url(settings->control_urls, &settings->control_count, optarg);
        break;
    case 'e':
        code = add_url(settings->event_urls, &settings->event_count, optarg);
        break;
    case OPTION_HEALTH:
        code = add_url(settings->health_urls, &settings->health_count, optarg);
        break;
    case OPTION_BUS:
        code = add_url(settings->bus_urls, &settings->bus_count, optarg);
        break;
    case 'S':
        settings->schemas = optarg;
        break;
    case OPTION_ROLLOUTS:
        settings->rollouts = optarg;
        break;
    case OPTION_STATE:
        settings->state_given = optarg;
        break;
    case OPTION_HTTP:
        settings->http = optarg;
        break;
    case OPTION_INSECURE_HTTP:
        settings->http_insecure = true;
        break;
    case OPTION_ALLOW_CONTROL:
        settings->allow_control = true;
        break;
    case OPTION_ALLOW_CALLS:
        settings->allow_calls = true;
        break;
    case OPTION_AUDIT:
        settings->audit = optarg;
        break;
    case OPTION_POLICY:
    case OPTION_LIMIT:
    case OPTION_TLS_CERT:
    case OPTION_TLS_KEY:
    case OPTION_TLS_CA:
    case OPTION_TLS_OPTIONAL:
    case OPTION_INSECURE:
        code = take_guard_option(settings, option);
        break;
    case OPTION_EJECT:
        code = parse_eject(optarg, &settings->eject);
        break;
    case 'm':
        code = parse_mode(optarg, &settings->mode);
        break;
    case 'l':
        code = parse_level(optarg);
        break;
    case OPTION_TRACE:
        code = parse_trace(settings, optarg);
        break;
    case OPTION_OTLP:
        settings->otlp = optarg;
        break;
    case 'h':
        (void)fputs(usage, stdout);
        return 0;
    case 'V':
        (void)puts("parleyd " PARLEY_VERSION);
        return 0;
    default:
        (void)fprintf(stderr, "Try 'parleyd --help'.\n");
        return MAIN_EXIT_USAGE;
    }
    return code != 0 ? code : -1;
}

/* Return: -1: go on; else the exit code. */
static int parse_options(struct settings *settings, int argc, char **argv)
{
    int option, code = -1;
    while (code < 0 &&
           (option = getopt_long(argc, argv, "d:s:c:e:S:m:l:hV", long_options, NULL)) >= 0)
        code = take_option(settings, option);
    if (code < 0 && optind < argc)
        code = complain("'%s' is no option", argv[optind]);
    return code;
}

/* Defaults for what was not given. */
static int fill_in(struct settings *settings)
{
    const char *dir = settings->dir_given;
    int r = dir ? 0 : paths_dir(settings->dir, sizeof(settings->dir));
    if (dir &&
        (size_t)snprintf(settings->dir, sizeof(settings->dir), "%s", dir) >= sizeof(settings->dir))
        r = -ENAMETOOLONG;
    if (r == 0 && !settings->socket_given)
        r = paths_broker(dir, settings->socket, sizeof(settings->socket));
    else if (r == 0 && (size_t)snprintf(settings->socket, sizeof(settings->socket), "%s",
                                        settings->socket_given) >= sizeof(settings->socket))
        r = -ENAMETOOLONG;
    if (r == 0)
        r = paths_control_url(dir, settings->control, sizeof(settings->control));
    if (r == 0)
        r = paths_events_url(dir, settings->events, sizeof(settings->events));
    if (r == 0)
        r = paths_bus_url(dir, settings->bus, sizeof(settings->bus));
    if (r == 0)
        r = paths_health_url(dir, settings->health, sizeof(settings->health));
    size_t state = 0;
    if (r == 0 && settings->state_given)
        state =
            (size_t)snprintf(settings->state, sizeof(settings->state), "%s", settings->state_given);
    else if (r == 0)
        state = (size_t)snprintf(settings->state, sizeof(settings->state), "%s/state",
                                 dir ? dir : settings->dir);
    if (state >= sizeof(settings->state))
        r = -ENAMETOOLONG;
    if (r < 0) {
        log_error("the folder's path is too long for sockets (%d bytes at most with their names): "
                  "use a shorter --dir",
                  PATHS_BYTES_MAX - 1);
        return r;
    }
    settings->control_urls[settings->control_count++] = settings->control;
    settings->event_urls[settings->event_count++] = settings->events;
    settings->bus_urls[settings->bus_count++] = settings->bus;
    settings->health_urls[settings->health_count++] = settings->health;
    return 0;
}

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
    trim_begin();
    log_set_level(LOG_LEVEL_INFO);
    int code = parse_options(&settings, argc, argv);
    if (code >= 0)
        return code;
    if (fill_in(&settings) < 0 || make_folder(settings.dir) < 0)
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
