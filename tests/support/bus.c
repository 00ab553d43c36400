#include "support/bus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "support/folder.h"
#include "wait/wait.h"

#define WATCHDOG_MS 60000

static void die(const char *what)
{
    fprintf(stderr, "test bus: %s: %s\n", what, strerror(errno));
    abort();
}

static void pause_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};
    nanosleep(&ts, NULL);
}

static void print_log(const struct bus *bus)
{
    char data[4096];
    ssize_t n;
    int fd = open(bus->log, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, data, sizeof(data))) > 0)
        fwrite(data, 1, (size_t)n, stderr);
    close(fd);
}

/* ---- NNG ---- */

static bool nng_used; /* by this process, or one that it was forked from */

/* A port of TCP that is the broker's, also while none runs: a socket of ours is bound to it, which
 * does not listen, so that nobody else is given it, and the broker, which asks for SO_REUSEADDR as
 * we do, may listen there all the same. */
static unsigned take_port(struct bus *bus)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, bytes) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) < 0)
        die("no port");
    bus->port = fd;
    return ntohs(address.sin_port);
}

/* Of a file of tests/support/certificates.sh. @path: of CERTIFICATE_BYTES */
#define CERTIFICATE_BYTES 512
static const char *certificate(const char *file, char *path)
{
    const char *folder = getenv("CERTIFICATES");
    if (!folder || snprintf(path, CERTIFICATE_BYTES, "%s/%s", folder, file) >= CERTIFICATE_BYTES)
        die("CERTIFICATES is not set");
    if (access(path, R_OK) < 0) {
        fprintf(stderr,
                "test bus: %s: %s; make the certificates with `ninja -C BUILD "
                "tests/ca.pem` (`meson test` without --no-rebuild does), or with "
                "tests/support/certificates.sh FOLDER, and say where in $CERTIFICATES\n",
                path, strerror(errno));
        abort();
    }
    return path;
}

static bool by_tls(const struct bus *bus)
{
    return strncmp(bus->url, "tls", 3) == 0;
}

/* Endpoints are made by many hands, and all read these. */
static void set_certificates(void)
{
    char path[CERTIFICATE_BYTES];
    setenv("PARLEY_TLS_CA", certificate("ca.pem", path), 1);
    setenv("PARLEY_TLS_CERT", certificate("orders.pem", path), 1);
    (void)certificate("server.pem", path); /* the broker's: to fail here, and not there */
}

static void choose_url(struct bus *bus)
{
    const char *transport = getenv("BUS_TRANSPORT");
    if (!transport)
        return;
    if (strcmp(transport, "ipc") == 0)
        snprintf(bus->url, sizeof(bus->url), "ipc://%s/bus.ipc", bus->dir);
    else
        snprintf(bus->url, sizeof(bus->url), "%s://%s:%u%s", transport,
                 strncmp(transport, "tls", 3) == 0 ? "localhost" : "127.0.0.1", take_port(bus),
                 strcmp(transport, "ws") == 0 ? "/bus" : "");
    if (by_tls(bus))
        set_certificates();
}

const char *bus_broker(const struct bus *bus)
{
    static pid_t user; /* of libnng */
    if (!bus->url[0] || (nng_used && user != getpid()))
        return bus->socket;
    if (strncmp(bus->url, "ws", 2) == 0) {
        user = getpid();
        nng_used = true;
    }
    return bus->url;
}

bool bus_is_remote(const char *why)
{
    if (!getenv("BUS_TRANSPORT"))
        return false;
    printf("skipped over NNG: %s\n", why);
    return true;
}

bool bus_must_skip(void)
{
    struct wait *wait;
    struct error_text error = {.text = ""};
    if (wait_new(WAIT_BACKEND_AUTO, &wait, &error) == -ENOSYS) {
        printf("skipped: %s\n", error.text);
        return true;
    }
    wait_free(wait);
    const char *transport = getenv("BUS_TRANSPORT");
    if (transport && strncmp(transport, "tls", 3) == 0 && !getenv("CERTIFICATES")) {
        printf("skipped over %s: no certificates, for there is no openssl command\n", transport);
        return true;
    }
    return false;
}

void bus_broker_start(struct bus *bus)
{
    const char *program = getenv("PARLEYD");
    if (!program)
        die("PARLEYD is not set");
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        int log = open(bus->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        char server[CERTIFICATE_BYTES], authority[CERTIFICATE_BYTES];
        const char *argv[16] = {"parleyd", "--dir", bus->dir};
        size_t count = 3;
        if (bus->schemas[0]) {
            argv[count++] = "--schemas";
            argv[count++] = bus->schemas;
        }
        if (bus->url[0] && strncmp(bus->url, "ipc:", 4) != 0) {
            argv[count++] = "--bus";
            argv[count++] = bus->url;
        }
        if (by_tls(bus)) {
            argv[count++] = "--tls-cert";
            argv[count++] = certificate("server.pem", server);
            argv[count++] = "--tls-ca";
            argv[count++] = certificate("ca.pem", authority);
        }
        for (const char *const *more = bus->more; *more; more++)
            argv[count++] = *more;
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    bus->broker = pid;
    struct parley_endpoint_options options = {
        .broker = bus->socket, .name = "test-probe", .connect_timeout_ns = 60000000000};
    struct parley_endpoint *endpoint;
    if (parley_endpoint_new(&options, &endpoint) != PARLEY_OK) {
        fprintf(stderr, "test bus: %s; the log of its brokers:\n", parley_error_text());
        print_log(bus);
        abort();
    }
    parley_endpoint_free(endpoint);
}

static void start(struct bus *bus, bool with_schemas, const char *const *more)
{
    memset(bus, 0, sizeof(*bus));
    bus->port = -1;
    for (size_t i = 0; more && more[i] && i < 3; i++)
        bus->more[i] = more[i];
    strcpy(bus->dir, "/tmp/parley-test-XXXXXX");
    bus->guard = folder_guard(bus->dir);
    if (bus->guard < 0)
        die("folder_guard");
    snprintf(bus->socket, sizeof(bus->socket), "%s/parleyd.sock", bus->dir);
    snprintf(bus->log, sizeof(bus->log), "%s/log", bus->dir);
    choose_url(bus);
    if (with_schemas) {
        snprintf(bus->schemas, sizeof(bus->schemas), "%s/schemas", bus->dir);
        if (mkdir(bus->schemas, 0700) < 0)
            die("mkdir");
    }
    bus_broker_start(bus);
}

void bus_start(struct bus *bus)
{
    start(bus, false, NULL);
}

void bus_start_with(struct bus *bus, const char *const *more)
{
    start(bus, false, more);
}

void bus_start_with_schemas(struct bus *bus)
{
    start(bus, true, NULL);
}

void bus_schema_put(struct bus *bus, const char *from, const char *name)
{
    char path[256], beside[256], data[65536];
    snprintf(path, sizeof(path), "%s/%s", bus->schemas, name);
    snprintf(beside, sizeof(beside), "%s/.new", bus->schemas);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n = in < 0 ? -1 : read(in, data, sizeof(data));
    int out = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (n <= 0 || n == (ssize_t)sizeof(data) || out < 0 || write(out, data, (size_t)n) != n)
        die(from);
    close(in);
    close(out);
    if (rename(beside, path) < 0)
        die(path);
}

static int reap(pid_t pid)
{
    for (int waited = 0; waited < WATCHDOG_MS; waited += 5) {
        int status;
        pid_t r = waitpid(pid, &status, WNOHANG);
        if (r == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        if (r < 0)
            die("waitpid");
        pause_ms(5);
    }
    fprintf(stderr, "test bus: process %d did not end in %d s\n", (int)pid, WATCHDOG_MS / 1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    abort();
}

void bus_broker_kill(struct bus *bus)
{
    if (bus->broker <= 0)
        die("no broker is running"); /* kill(0) would be ourselves */
    kill(bus->broker, SIGKILL);
    reap(bus->broker);
    bus->broker = 0;
}

static void forget(struct bus *bus, pid_t pid)
{
    for (size_t i = 0; i < bus->child_count; i++) {
        if (bus->children[i] == pid)
            bus->children[i] = bus->children[--bus->child_count];
    }
}

bool bus_has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

int bus_reap(struct bus *bus, pid_t pid)
{
    forget(bus, pid);
    return reap(pid);
}

/* Removes a folder with the files in it. */
static void empty(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        unlinkat(dirfd(dir), entry->d_name, 0); /* "." and ".." stay */
    if (dir)
        closedir(dir);
    rmdir(folder);
}

void bus_stop(struct bus *bus)
{
    while (bus->child_count) {
        pid_t pid = bus->children[0];
        kill(pid, SIGKILL);
        bus_reap(bus, pid);
    }
    if (bus->broker) {
        kill(bus->broker, SIGTERM);
        reap(bus->broker);
    }
    static const char *const names[] = {"log",         "parleyd.sock", "parleyd.sock.lock",
                                        "control.ipc", "events.ipc",   "parleyd.lock",
                                        "bus.ipc",     "health.ipc"};
    char path[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", bus->dir, names[i]);
        unlink(path);
    }
    if (bus->port >= 0)
        close(bus->port);
    if (bus->schemas[0])
        empty(bus->schemas);
    if (rmdir(bus->dir) < 0)
        fprintf(stderr, "test bus: %s is left behind: %s\n", bus->dir, strerror(errno));
    folder_unguard(bus->guard);
}

pid_t bus_fork(struct bus *bus, int (*serve)(struct bus *bus, void *argument), void *argument)
{
    if (bus->child_count == BUS_CHILD_MAX)
        die("too many children");
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        _exit(serve(bus, argument));
    }
    bus->children[bus->child_count++] = pid;
    return pid;
}

static struct parley_endpoint *serving;

static void stop_serving(int signal)
{
    (void)signal;
    parley_stop(serving);
}

int bus_serve(struct parley_endpoint *endpoint, const struct parley_service *service)
{
    serving = endpoint;
    signal(SIGTERM, stop_serving);
    enum parley_status status = parley_run(endpoint);
    int r = status == PARLEY_OK && (!service || parley_service_drained(service)) ? 0 : 3;
    parley_endpoint_free(endpoint);
    return r;
}

struct parley_endpoint *bus_endpoint(struct bus *bus, const char *name)
{
    struct parley_endpoint_options options = {
        .broker = bus_broker(bus), .name = name, .connect_timeout_ns = 10000000000};
    struct parley_endpoint *endpoint;
    if (parley_endpoint_new(&options, &endpoint) != PARLEY_OK) {
        fprintf(stderr, "test bus: %s\n", parley_error_text());
        abort();
    }
    return endpoint;
}

static size_t channels(struct parley_endpoint *endpoint, struct parley_client *client,
                       size_t wanted)
{
    for (int i = 0; i < 5000 && parley_client_channel_count(client) != wanted; i++)
        (void)parley_dispatch(endpoint, 2000000);
    return parley_client_channel_count(client);
}

size_t bus_instances(struct bus *bus, struct parley_endpoint *endpoint,
                     struct parley_client *client, const struct parley_interface *interface,
                     size_t wanted)
{
    if (!bus->url[0])
        return channels(endpoint, client, wanted);
    struct parley_endpoint_options options = {.broker = bus->socket, .name = "counts"};
    struct parley_endpoint *probe;
    struct parley_client *counted;
    size_t count = 0;
    if (parley_endpoint_new(&options, &probe) != PARLEY_OK)
        return 0;
    if (parley_client_new(probe, interface, NULL, &counted) == PARLEY_OK)
        count = channels(probe, counted, wanted);
    parley_endpoint_free(probe);
    return count;
}

bool bus_log_has(struct bus *bus, const char *text)
{
    for (int waited = 0; waited < WATCHDOG_MS / 2; waited += 10) {
        FILE *file = fopen(bus->log, "r");
        char line[2048];
        bool found = false;
        while (file && !found && fgets(line, sizeof(line), file))
            found = strstr(line, text) != NULL;
        if (file)
            fclose(file);
        if (found)
            return true;
        pause_ms(10);
    }
    return false;
}

bool bus_wait(struct parley_endpoint *endpoint, bool (*ready)(void *argument), void *argument)
{
    for (int waited = 0; waited < WATCHDOG_MS; waited += 2) {
        if (ready(argument))
            return true;
        if (endpoint)
            (void)parley_dispatch(endpoint, 2000000);
        else
            pause_ms(2);
    }
    return ready(argument);
}
