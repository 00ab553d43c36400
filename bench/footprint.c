/*
 * What does the broker take, while nothing happens?
 *
 * A broker is started alone: with and without --http, and with --http after it has answered 20
 * scrapes. When it has come to rest its private memory is read (Private_Clean and Private_Dirty of
 * smaps_rollup: with nobody else who runs the same files their pages count as its own, too), and
 * for some seconds how often its threads wake up (voluntary context switches) and how much CPU time
 * it takes. Then a hundred endpoints connect, and open a client each; what the broker grows by is
 * what a peer costs it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "parley_call.h"
#include "proc.h"

#define PEERS 100
#define SCRAPES 20
#define REST_MS 300
#define IDLE_S_DEFAULT 5
#define GOAL_BYTES (1.8 * (1 << 20))

struct seen {
    double private_bytes;
    double wakeups; /* while it was idle */
    double cpu_ms;  /* meanwhile */
};

struct footprint {
    struct seen plain, http, scraped;
    double endpoint_bytes, client_bytes;
};

struct broker {
    pid_t pid;
    unsigned port; /* 0: no HTTP */
};

/* ---- A broker of our own ---- */

static int broker_start(const char *folder, bool http, struct broker *ret)
{
    const char *program = getenv("PARLEYD") ? getenv("PARLEYD") : BENCH_PARLEYD;
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(program, "parleyd", "--dir", folder, "--log-level", "warn", http ? "--http" : NULL,
              "http://127.0.0.1:0", NULL);
        fprintf(stderr, "cannot run %s: %s\n", program, strerror(errno));
        _exit(1);
    }
    close(ends[1]);
    char line[1024] = "";
    FILE *said = fdopen(ends[0], "r");
    bool ready = said && fgets(line, sizeof(line), said) && strstr(line, "ready");
    if (said)
        (void)fclose(said);
    const char *url = strstr(line, " http=http://127.0.0.1:");
    *ret = (struct broker){.pid = pid};
    if (url)
        ret->port = (unsigned)strtoul(url + strlen(" http=http://127.0.0.1:"), NULL, 10);
    return ready ? 0 : -ENOENT;
}

static void broker_end(const struct broker *broker)
{
    (void)kill(broker->pid, SIGTERM);
    while (waitpid(broker->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int scrape(const struct broker *broker)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)broker->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char buffer[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
              send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == sizeof(request) - 1;
    ssize_t n = ok ? recv(fd, buffer, sizeof(buffer), 0) : -1;
    ok = n > 12 && strncmp(buffer, "HTTP/1.1 200", 12) == 0;
    while (n > 0)
        n = recv(fd, buffer, sizeof(buffer), 0);
    if (fd >= 0)
        close(fd);
    return ok ? 0 : -EIO;
}

/* ---- Looking ---- */

static void rest(unsigned ms)
{
    (void)poll(NULL, 0, (int)ms);
}

/* Sums of what smaps_rollup says; -1: it cannot be told. */
static double private_bytes(pid_t pid)
{
    char path[64], line[256];
    double kib, sum = 0;
    bool any = false;
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Private_Clean: %lf", &kib) == 1 ||
            sscanf(line, "Private_Dirty: %lf", &kib) == 1) {
            sum += kib * 1024;
            any = true;
        }
    }
    if (file)
        (void)fclose(file);
    return any ? sum : -1;
}

static double cpu_ms(pid_t pid)
{
    char path[64], line[1024] = "";
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file) {
        (void)fgets(line, sizeof(line), file);
        (void)fclose(file);
    }
    const char *end = strrchr(line, ')');
    if (end)
        (void)sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                     &system);
    return (double)(user + system) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

static struct seen look(const struct broker *broker, unsigned idle_s)
{
    rest(REST_MS);
    struct seen seen = {.private_bytes = private_bytes(broker->pid)};
    double wakeups = proc_sleeps(broker->pid), cpu = cpu_ms(broker->pid);
    rest(idle_s * 1000);
    seen.wakeups = proc_sleeps(broker->pid) - wakeups;
    seen.cpu_ms = cpu_ms(broker->pid) - cpu;
    return seen;
}

/* ---- Peers ---- */

static void answer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *input,
                        Bench__V1__EchoMessage_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

/* In a process of its own. */
static pid_t serve(const char *folder)
{
    static Bench__V1__Echo_Service implementation = BENCH__V1__ECHO__INIT(answer_);
    struct parley_endpoint *endpoint;
    struct parley_service *service;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (parley_call_join(folder, "footprint-service", 1, &endpoint) == PARLEY_OK &&
        bench__v1__echo__serve(endpoint, &implementation, NULL, &service) == PARLEY_OK)
        (void)parley_run(endpoint);
    _exit(1);
}

static int join_all(const char *folder, struct parley_endpoint *endpoints[PEERS])
{
    for (size_t i = 0; i < PEERS; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "peer-%zu", i);
        if (parley_call_join(folder, name, 1, &endpoints[i]) != PARLEY_OK)
            return -1;
    }
    return 0;
}

static int ask_all(struct parley_endpoint *const endpoints[PEERS])
{
    for (size_t i = 0; i < PEERS; i++) {
        struct parley_client *client;
        if (parley_client_new(endpoints[i], &bench__v1__echo__interface, NULL, &client) !=
            PARLEY_OK)
            return -1;
    }
    return 0;
}

/* What the broker grows by: by PEERS endpoints, then by a client of each. */
static int count_peers(const struct broker *broker, const char *folder, struct footprint *ret)
{
    struct parley_endpoint *endpoints[PEERS] = {NULL}, *first[PEERS] = {NULL};
    pid_t service = serve(folder);
    /* Once for all: what the broker needs for its first peers it keeps. */
    int r = service > 0 && join_all(folder, first) == 0 ? ask_all(first) : -1;
    rest(REST_MS);
    double before = private_bytes(broker->pid);
    r = r == 0 ? join_all(folder, endpoints) : r;
    rest(REST_MS);
    double connected = private_bytes(broker->pid);
    r = r == 0 ? ask_all(endpoints) : r;
    rest(REST_MS);
    ret->endpoint_bytes = (connected - before) / PEERS;
    ret->client_bytes = (private_bytes(broker->pid) - connected) / PEERS;
    if (r < 0)
        fprintf(stderr, "%s\n", parley_error_text());
    for (size_t i = 0; i < PEERS; i++) {
        parley_endpoint_free(first[i]);
        parley_endpoint_free(endpoints[i]);
    }
    if (service > 0) {
        (void)kill(service, SIGKILL);
        (void)waitpid(service, NULL, 0);
    }
    return r;
}

/* ---- Rounds ---- */

static int one_broker(const char *folder, bool http, unsigned idle_s, struct footprint *ret)
{
    struct broker broker;
    int r = broker_start(folder, http, &broker);
    if (r == 0)
        *(http ? &ret->http : &ret->plain) = look(&broker, idle_s);
    for (unsigned i = 0; http && r == 0 && i < SCRAPES; i++)
        r = scrape(&broker);
    if (r == 0 && http)
        ret->scraped = look(&broker, idle_s);
    if (r == 0 && !http)
        r = count_peers(&broker, folder, ret);
    broker_end(&broker);
    return r;
}

static void print_seen(FILE *out, const char *about, const struct seen *seen)
{
    fprintf(out, "  %-46s %9.0f %9.0f %9.0f\n", about, seen->private_bytes / 1024, seen->wakeups,
            seen->cpu_ms);
}

static void print(const struct footprint *footprint, unsigned idle_s)
{
    printf("\n  %-46s %9s %9s %9s\n", "the broker, idle", "KiB", "wake-ups", "CPU ms");
    print_seen(stdout, "alone", &footprint->plain);
    print_seen(stdout, "alone, with --http", &footprint->http);
    print_seen(stdout, "alone, with --http, after 20 scrapes", &footprint->scraped);
    printf("\n  %-46s %9.1f KiB\n", "an endpoint costs it", footprint->endpoint_bytes / 1024);
    printf("  %-46s %9.1f KiB\n", "a client costs it", footprint->client_bytes / 1024);
    printf("\nMemory: Private_Clean and Private_Dirty of /proc/PID/smaps_rollup. Wake-ups of all "
           "threads and CPU time: in %u s.\n",
           idle_s);
}

static void put_seen(FILE *out, const char *name, const struct seen *seen)
{
    fprintf(out, "\"%s\":{\"private_bytes\":%.0f,\"wakeups\":%.0f,\"cpu_ms\":%.0f},", name,
            seen->private_bytes, seen->wakeups, seen->cpu_ms);
}

static int write_json(const char *path, const struct footprint *footprint)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    if (!out)
        return -errno;
    fputc('{', out);
    put_seen(out, "alone", &footprint->plain);
    put_seen(out, "http", &footprint->http);
    put_seen(out, "http_scraped", &footprint->scraped);
    fprintf(out, "\"endpoint_bytes\":%.0f,\"client_bytes\":%.0f}\n", footprint->endpoint_bytes,
            footprint->client_bytes);
    return out != stdout && fclose(out) != 0 ? -errno : 0;
}

/* Return: 0; 1: a goal is missed. */
static int judge(const struct footprint *footprint)
{
    const struct seen *all[] = {&footprint->plain, &footprint->http, &footprint->scraped};
    int missed = 0;
    for (size_t i = 0; i < 3; i++)
        missed |= all[i]->private_bytes > GOAL_BYTES || all[i]->wakeups > 0 || all[i]->cpu_ms > 0;
    printf("Goals (at most 1.8 MiB, no wake-up, no CPU time): %s\n", missed ? "MISSED" : "met");
    return missed;
}

/* ---- The program ---- */

static int run(const char *json, unsigned rounds, unsigned idle_s)
{
    int missed = 0;
    for (unsigned i = 0; i < rounds; i++) {
        char folder[] = "/tmp/parley-foot-XXXXXX", command[64];
        struct footprint footprint = {0};
        if (!mkdtemp(folder))
            return 1;
        int r = one_broker(folder, false, idle_s, &footprint);
        if (r == 0)
            r = one_broker(folder, true, idle_s, &footprint);
        (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
        (void)!system(command);
        if (r < 0) {
            fprintf(stderr, "the broker could not be watched\n");
            return 1;
        }
        print(&footprint, idle_s);
        missed |= judge(&footprint);
        if (json && write_json(json, &footprint) < 0) {
            fprintf(stderr, "cannot write %s: %s\n", json, strerror(errno));
            return 1;
        }
    }
    return missed;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
                                            {"json", required_argument, NULL, 'j'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    unsigned long rounds = 1, idle_s = IDLE_S_DEFAULT;
    const char *json = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (option == 'r')
            rounds = strtoul(optarg, NULL, 10);
        else if (option == 's')
            idle_s = strtoul(optarg, NULL, 10);
        else if (option == 'j')
            json = optarg;
        else {
            fprintf(option == 'h' ? stdout : stderr,
                    "Usage: bench_footprint [--rounds N] [--seconds S] [--json FILE]\n\n"
                    "What does the broker take, while nothing happens?\n");
            return option == 'h' ? 0 : 2;
        }
    }
    if (rounds == 0 || rounds > 100 || idle_s == 0 || idle_s > 3600 || optind < argc) {
        fprintf(stderr, "rounds: 1 to 100; seconds: 1 to 3600\n");
        return 2;
    }
    return run(json, (unsigned)rounds, (unsigned)idle_s);
}
