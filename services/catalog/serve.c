/*
 * The frame of a service as a program.
 *
 * A service may start before its broker, or while the broker restarts: it waits, says what for, and
 * tries again for as long as the answer is UNAVAILABLE and JOIN_NS have not passed. Every other
 * answer is final. Once published it needs the broker no more than its clients do; the library
 * finds a restarted one by itself.
 *
 * SIGTERM means "no new calls, finish what you have": parley_stop_on_signals() makes parley_run()
 * drain then, and the exit status is 0.
 *
 * Answers that are held back wait in a queue, in the order of their time, for all wait equally
 * long. While there may be any, the loop is our own: parley_dispatch() until the next is due.
 */
#include "serve.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "join.h"

struct held {
    STAILQ_ENTRY(held) entry;
    uint64_t due_ns;
    void (*answer)(void *data);
    void *data;
};
static STAILQ_HEAD(, held) held_answers = STAILQ_HEAD_INITIALIZER(held_answers);
static uint64_t hold_ns;

static volatile sig_atomic_t ill;
static unsigned ill_per_cent;

static void on_illness(int number)
{
    (void)number;
    ill = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void usage(FILE *out, const char *program, const char *version)
{
    fprintf(out,
            "Usage: %s [OPTION]...\n"
            "Serves version %s of the interface \"catalog\": the packages that are installed\n"
            "on this machine. SIGTERM ends it; calls in flight are answered first.\n"
            "\n"
            "  --status-file FILE  dpkg's status file (" DPKG_STATUS_FILE ")\n"
            "  --name NAME         what `parley ls` shows (%s)\n"
            "  --hold-us N         keep a Visit for so long before it is answered (0), up to a\n"
            "                      second: so that one can be killed holding calls\n"
            "  --ill PER_CENT      of the calls end as INTERNAL once SIGUSR1 has come\n"
            "  --help              this\n"
            "\n"
            "The broker is found as by every program: $PARLEY_BROKER, else parleyd.sock in\n"
            "$PARLEY_DIR.\n",
            program, version, program);
}

static uint64_t number(const char *program, const char *option, const char *text, uint64_t max)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long value = digits && digits <= 7 ? strtoul(text, NULL, 10) : max + 1;
    if (text[digits] || value > max) {
        fprintf(stderr, "%s: --%s takes a number from 0 to %" PRIu64 ", not \"%s\"\n", program,
                option, max, text);
        exit(2);
    }
    return value;
}

static void parse(int argc, char **argv, const char *program, const char *version,
                  struct serve_options *options)
{
    static const struct option longs[] = {
        {"status-file", required_argument, NULL, 's'},
        {"name", required_argument, NULL, 'n'},
        {"hold-us", required_argument, NULL, 'u'},
        {"ill", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (option) {
        case 's':
            options->status_file = optarg;
            break;
        case 'n':
            options->name = optarg;
            break;
        case 'u':
            options->hold_ns = number(program, "hold-us", optarg, 1000000) * 1000;
            break;
        case 'i':
            options->ill_per_cent = (unsigned)number(program, "ill", optarg, 100);
            break;
        case 'h':
            usage(stdout, program, version);
            exit(0);
        default:
            fprintf(stderr, "%s: try --help\n", program);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: \"%s\" is no option; try --help\n", program, argv[optind]);
        exit(2);
    }
}

struct dpkg_db *serve_begin(int argc, char **argv, const char *program, const char *version,
                            struct serve_options *ret_options)
{
    struct serve_options options = {.status_file = DPKG_STATUS_FILE, .name = program};
    parse(argc, argv, program, version, &options);
    struct dpkg_db *db = NULL;
    struct dpkg_error error;
    if (dpkg_load(options.status_file, NULL, &db, &error) < 0) {
        fprintf(stderr, "%s: %s Give another file with --status-file.\n", program, error.text);
        exit(1);
    }
    if (dpkg_skipped(db))
        fprintf(stderr, "%s: %zu entries of %s were left out; the first: %s\n", program,
                dpkg_skipped(db), options.status_file, dpkg_skipped_text(db));
    *ret_options = options;
    return db;
}

static void pause_ns(long ns)
{
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* Connects and publishes. Return: PARLEY_OK, or the last answer. */
static enum parley_status start(const struct serve_options *options,
                                const struct parley_interface *interface,
                                ProtobufCService *implementation,
                                struct parley_endpoint **ret_endpoint,
                                struct parley_service **ret_service)
{
    enum parley_status status = join(options->name, ret_endpoint);
    if (status != PARLEY_OK)
        return status;
    uint64_t deadline_ns = now_ns() + JOIN_NS;
    for (bool said = false;; said = true) {
        status = parley_service_new(*ret_endpoint, interface, implementation, NULL, ret_service);
        if (status != PARLEY_UNAVAILABLE || now_ns() >= deadline_ns)
            return status;
        if (!said)
            join_say(options->name);
        parley_dispatch(*ret_endpoint, 10000000);
        pause_ns(1000000);
    }
}

/* ---- Answers that wait ---- */

bool serve_later(void (*answer)(void *data), void *data)
{
    struct held *held = hold_ns ? malloc(sizeof(*held)) : NULL;
    if (!held)
        return false;
    *held = (struct held){.due_ns = now_ns() + hold_ns, .answer = answer, .data = data};
    STAILQ_INSERT_TAIL(&held_answers, held, entry);
    return true;
}

/* Answers what is due at @now. Returns how long until the next is; @idle_ns if there is none. */
static uint64_t answer_due(uint64_t now, uint64_t idle_ns)
{
    struct held *held;
    while ((held = STAILQ_FIRST(&held_answers)) != NULL) {
        if (held->due_ns > now)
            return held->due_ns - now;
        STAILQ_REMOVE_HEAD(&held_answers, entry);
        held->answer(held->data);
        free(held);
    }
    return idle_ns;
}

/* As parley_run(), with answers that wait. */
static enum parley_status run_holding(struct parley_endpoint *endpoint, uint64_t ns)
{
    enum parley_status status = PARLEY_OK;
    hold_ns = ns;
    while (status == PARLEY_OK)
        status = parley_dispatch(endpoint, answer_due(now_ns(), 100000000));
    hold_ns = 0;
    answer_due(UINT64_MAX, 0);
    return status == PARLEY_CANCELLED ? parley_run(endpoint) : status;
}

static void say_ready(const struct serve_options *options,
                      const struct parley_interface *interface, bool ready)
{
    printf("{\"ready\":%s,\"name\":\"%s\",\"version\":\"%s\"}\n", ready ? "true" : "false",
           options->name, interface->version);
    fflush(stdout);
}

int serve_run(const struct serve_options *options, const struct parley_interface *interface,
              ProtobufCService *implementation)
{
    signal(SIGPIPE, SIG_IGN);
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    enum parley_status status = start(options, interface, implementation, &endpoint, &service);
    if (status != PARLEY_OK) {
        fprintf(stderr, "%s: %s\n", options->name, parley_error_text());
        parley_endpoint_free(endpoint);
        return 1;
    }
    ill_per_cent = options->ill_per_cent;
    if (ill_per_cent)
        sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_illness}, NULL);
    status = parley_stop_on_signals(endpoint);
    if (status == PARLEY_OK) {
        say_ready(options, interface, true);
        status = options->hold_ns ? run_holding(endpoint, options->hold_ns) : parley_run(endpoint);
    }
    if (status != PARLEY_OK)
        fprintf(stderr, "%s: %s\n", options->name, parley_error_text());
    signal(SIGTERM, SIG_IGN); /* it is ending; the library leaves what it finds */
    signal(SIGINT, SIG_IGN);
    parley_service_free(service);
    parley_endpoint_free(endpoint);
    say_ready(options, interface, false);
    return status == PARLEY_OK ? 0 : 1;
}

void serve_fail(enum parley_status status, const char *text)
{
    parley_context_fail(parley_context_current(), status, text);
}

/* Evenly spread, so that how many there are is no matter of luck. */
bool serve_ill(void)
{
    static unsigned due;
    if (!ill)
        return false;
    due += ill_per_cent;
    if (due < 100)
        return false;
    due -= 100;
    serve_fail(PARLEY_INTERNAL, "This service is ill, on purpose.");
    return true;
}

bool serve_find(const struct dpkg_db *db, const char *name, size_t *ret_index)
{
    char text[256];
    int r = *name ? dpkg_find(db, name, ret_index) : DPKG_E_NONE;
    if (!*name) {
        serve_fail(PARLEY_INVALID_ARGUMENT, "The name is empty: give a package's name or id.");
    } else if (r == DPKG_E_NONE) {
        snprintf(text, sizeof(text), "No package \"%.128s\" is installed.", name);
        serve_fail(PARLEY_NOT_FOUND, text);
    } else if (r == DPKG_E_AMBIGUOUS) {
        snprintf(text, sizeof(text),
                 "\"%.128s\" is installed for several architectures: give an id, NAME:ARCH.", name);
        serve_fail(PARLEY_INVALID_ARGUMENT, text);
    }
    return r == 0;
}
