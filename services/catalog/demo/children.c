/*
 * The demo's processes.
 *
 * Each child is its own process group, so that a Ctrl-C in the terminal reaches the demo alone,
 * which then ends them in order; and each dies with the demo (PR_SET_PDEATHSIG), should that be
 * killed. What a child prints on stdout is lines of JSON for us; its stderr goes to a file in the
 * demo's folder, whose end is shown if something goes wrong. (parleyd says "ready" in plain words.)
 *
 * There is one poll(), in demo_turn(): pipes and signals. Everything that waits, waits there, so
 * that the display moves, Ctrl-C works, and a child that dies unasked ends the demo at once. Two
 * things bound every wait: the alarm, and the watchdog, which barks if the clients' totals stop
 * growing: a call that hangs.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define STALL_NS (15 * SECOND)
#define ANSWER_NS (15 * SECOND)

/* ---- Starting ---- */

static void run_child(const struct demo *demo, const char *name, const char *const *argv, int in,
                      int out, pid_t parent)
{
    char path[128];
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    /* The display is drawn by the demo, which is seldom ready and must not wait for a turn. */
    setpriority(PRIO_PROCESS, 0, 5);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    snprintf(path, sizeof(path), "%s/%s.log", demo->folder, name);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    if (log >= 0)
        dup2(log, STDERR_FILENO);
    execv(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "%s cannot be run: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static struct child *child_slot(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (child->kind == CHILD_TOOL && !child->pid)
            return child;
    }
    return demo->child_count < CHILD_MAX ? &demo->children[demo->child_count++] : NULL;
}

struct child *child_start(struct demo *demo, enum child_kind kind, const char *name,
                          const char *const *argv)
{
    struct child *child = child_slot(demo);
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (!child) {
        demo_fail(demo, "%s cannot be started: there are %d children.", name, CHILD_MAX);
        return NULL;
    }
    free(child->line);
    *child = (struct child){.kind = kind, .in = -1, .out = -1, .asked = -1, .mark = -1};
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        demo_fail(demo, "%s cannot be started: %s.", name, strerror(errno));
        if (in[0] >= 0) {
            close(in[0]);
            close(in[1]);
        }
        return NULL;
    }
    child->in = in[1];
    child->out = out[0];
    snprintf(child->name, sizeof(child->name), "%s", name);
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0)
        run_child(demo, name, argv, in[0], out[1], parent);
    if (child->pid > 0)
        setpgid(child->pid, child->pid); /* as the child does: whoever comes first */
    close(in[0]);
    close(out[1]);
    fcntl(child->out, F_SETFL, O_NONBLOCK);
    if (child->pid < 0) {
        child->pid = 0;
        demo_fail(demo, "%s cannot be started: %s.", name, strerror(errno));
        return NULL;
    }
    return child;
}

void child_signal(struct child *child, int number)
{
    child->expected = true;
    if (child->pid > 0)
        kill(child->pid, number);
}

bool child_succeeded(const struct child *child)
{
    return !child->pid && WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
}

const char *child_end(const struct child *child)
{
    static char text[64];
    if (WIFSIGNALED(child->status))
        snprintf(text, sizeof(text), "was ended by signal %d (%s)", WTERMSIG(child->status),
                 strsignal(WTERMSIG(child->status)));
    else
        snprintf(text, sizeof(text), "ended with status %d", WEXITSTATUS(child->status));
    return text;
}

/* ---- Listening ---- */

static void take_line(struct demo *demo, struct child *child, const char *line)
{
    struct tally tally;
    if (child->kind == CHILD_BROKER) {
        child->ready |= strncmp(line, "parleyd: ready", 14) == 0;
        return;
    }
    json_t *json = json_loads(line, 0, NULL);
    if (!json) {
        demo_fail(demo, "%s printed what is no JSON: %.200s", child->name, line);
        return;
    }
    if (json_is_true(json_object_get(json, "ready")) ||
        json_is_true(json_object_get(json, "attached")))
        child->ready = true;
    if (child->kind == CHILD_CLIENT && tally_from_json(json, &tally) == 0)
        child->tally = tally;
    if (json_is_integer(json_object_get(json, "mark")))
        child->mark = json_integer_value(json_object_get(json, "mark"));
    if (json_is_true(json_object_get(json, "final")))
        child->final = true;
    json_decref(json);
}

/* Takes the lines that are complete out of child->line. */
static void take_lines(struct demo *demo, struct child *child)
{
    char *start = child->line, *end = start + child->line_bytes, *newline;
    while ((newline = memchr(start, '\n', (size_t)(end - start))) != NULL) {
        *newline = '\0';
        take_line(demo, child, start);
        start = newline + 1;
    }
    child->line_bytes = (size_t)(end - start);
    memmove(child->line, start, child->line_bytes);
}

static void child_read(struct demo *demo, struct child *child)
{
    if (!child->line)
        child->line = calloc(1, LINE_BYTES_MAX + 1);
    if (!child->line) {
        demo_fail(demo, "No memory for what %s prints.", child->name);
        return;
    }
    ssize_t bytes =
        read(child->out, child->line + child->line_bytes, LINE_BYTES_MAX - child->line_bytes);
    if (bytes > 0) {
        child->line_bytes += (size_t)bytes;
        if (child->kind != CHILD_TOOL)
            take_lines(demo, child);
        child->line[child->line_bytes] = '\0';
    }
    bool full = child->line_bytes == LINE_BYTES_MAX;
    if (full)
        demo_fail(demo, "%s printed more than %d bytes.", child->name, LINE_BYTES_MAX);
    if (bytes == 0 || full || (bytes < 0 && errno != EAGAIN && errno != EINTR)) {
        close(child->out);
        child->out = -1;
    }
}

static void child_ended(struct demo *demo, struct child *child, int status)
{
    while (child->out >= 0) {
        size_t before = child->line_bytes;
        struct pollfd out = {.fd = child->out, .events = POLLIN};
        if (poll(&out, 1, 0) <= 0)
            break;
        child_read(demo, child);
        if (child->kind == CHILD_TOOL && child->line_bytes == before)
            break;
    }
    if (child->out >= 0)
        close(child->out);
    if (child->in >= 0)
        close(child->in);
    child->in = child->out = -1;
    child->pid = 0;
    child->status = status;
    if (child->expected || child->kind == CHILD_TOOL)
        return;
    if (WIFSIGNALED(status))
        demo_fail(demo, "%s was ended by signal %d (%s).", child->name, WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    else
        demo_fail(demo, "%s ended by itself, with status %d.", child->name, WEXITSTATUS(status));
}

/* By pid, and nobody else's children. */
static void reap(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        int status;
        if (child->pid > 0 && waitpid(child->pid, &status, WNOHANG) == child->pid)
            child_ended(demo, child, status);
    }
}

static void take_signal(struct demo *demo)
{
    struct signalfd_siginfo info;
    while (read(demo->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(demo);
        else
            demo_fail(demo, "Interrupted.");
    }
}

/* ---- The loop ---- */

static int watch(struct demo *demo)
{
    struct tally total;
    uint64_t now = now_ns();
    demo_last_totals(demo, &total);
    bool calling = false;
    for (unsigned i = 0; i < demo->child_count; i++)
        calling |= demo->children[i].kind == CHILD_CLIENT && demo->children[i].ready &&
                   !demo->children[i].final;
    if (!calling || total.calls != demo->progress_calls) {
        demo->progress_calls = total.calls;
        demo->progress_ns = now;
    }
    if (now - demo->progress_ns > STALL_NS)
        return demo_fail(demo, "No call has ended for %d seconds: they hang.",
                         (int)(STALL_NS / SECOND));
    if (now > demo->alarm_ns)
        return demo_fail(demo, "The demo has taken too long.");
    return 0;
}

int demo_turn(struct demo *demo, uint64_t timeout_ns)
{
    struct pollfd fds[CHILD_MAX + 1];
    struct child *owners[CHILD_MAX + 1];
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = demo->signal_fd, .events = POLLIN};
    for (unsigned i = 0; i < demo->child_count; i++) {
        if (demo->children[i].out < 0 || demo->children[i].pid <= 0)
            continue;
        owners[count] = &demo->children[i];
        fds[count++] = (struct pollfd){.fd = demo->children[i].out, .events = POLLIN};
    }
    if (timeout_ns > 50 * MILLISECOND)
        timeout_ns = 50 * MILLISECOND;
    int ready = poll(fds, count, (int)((timeout_ns + MILLISECOND - 1) / MILLISECOND));
    for (nfds_t i = 1; ready > 0 && i < count; i++)
        if (fds[i].revents && owners[i]->out == fds[i].fd)
            child_read(demo, owners[i]);
    take_signal(demo);
    display_tick(demo);
    return demo->problem[0] ? -1 : watch(demo);
}

int demo_run_for(struct demo *demo, uint64_t ns)
{
    uint64_t end = now_ns() + ns;
    for (uint64_t now = now_ns(); now < end; now = now_ns())
        if (demo_turn(demo, end - now) < 0)
            return -1;
    return 0;
}

int child_wait(struct demo *demo, struct child *child, uint64_t timeout_ns)
{
    uint64_t end = now_ns() + timeout_ns;
    while (child->pid > 0) {
        if (now_ns() > end)
            return demo_fail(demo, "%s has not ended within %d seconds.", child->name,
                             (int)(timeout_ns / SECOND));
        if (demo_turn(demo, 50 * MILLISECOND) < 0)
            return -1;
    }
    return 0;
}

int demo_wait_ready(struct demo *demo, enum child_kind kind)
{
    uint64_t end = now_ns() + ANSWER_NS;
    for (unsigned i = 0; i < demo->child_count; i++) {
        const struct child *child = &demo->children[i];
        while (child->kind == kind && child->pid && !child->ready) {
            if (now_ns() > end)
                return demo_fail(demo, "%s is not ready after %d seconds.", child->name,
                                 (int)(ANSWER_NS / SECOND));
            if (demo_turn(demo, 50 * MILLISECOND) < 0)
                return -1;
        }
    }
    return 0;
}

/* ---- The clients' totals ---- */

void demo_last_totals(const struct demo *demo, struct tally *ret_total)
{
    *ret_total = (struct tally){0};
    for (unsigned i = 0; i < demo->child_count; i++)
        if (demo->children[i].kind == CHILD_CLIENT)
            tally_add(ret_total, &demo->children[i].tally);
}

static bool answers(const struct child *child)
{
    return child->kind == CHILD_CLIENT && child->pid > 0 && child->ready && !child->final;
}

int demo_totals(struct demo *demo, struct tally *ret_total)
{
    uint64_t end = now_ns() + ANSWER_NS;
    long long mark = ++demo->mark;
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (!answers(child))
            continue;
        child->asked = mark;
        dprintf(child->in, "mark %lld\n", mark);
    }
    /* One that attaches meanwhile was not asked: nothing is to be waited for. */
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        while (answers(child) && child->mark < child->asked) {
            if (now_ns() > end)
                return demo_fail(demo, "%s has not answered for %d seconds: a call hangs.",
                                 child->name, (int)(ANSWER_NS / SECOND));
            if (demo_turn(demo, 50 * MILLISECOND) < 0)
                return -1;
        }
    }
    demo_last_totals(demo, ret_total);
    return 0;
}

/* ---- Ending ---- */

static int end_kind(struct demo *demo, enum child_kind kind, int number)
{
    for (unsigned i = 0; i < demo->child_count; i++)
        if (demo->children[i].kind == kind && demo->children[i].pid > 0)
            child_signal(&demo->children[i], number);
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (child->kind != kind || !child->pid)
            continue;
        if (child_wait(demo, child, ANSWER_NS) < 0)
            return -1;
        if (kind != CHILD_CLIENT && !child_succeeded(child))
            return demo_fail(demo, "%s %s when it was asked to end.", child->name,
                             child_end(child));
    }
    return 0;
}

int demo_end_clients(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (!answers(child))
            continue;
        child->expected = true;
        dprintf(child->in, "quit\n");
    }
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (child->kind != CHILD_CLIENT)
            continue;
        if (child_wait(demo, child, ANSWER_NS) < 0)
            return -1;
        if (!child->final)
            return demo_fail(demo, "%s ended without its last totals.", child->name);
        if (!child_succeeded(child) && !child->tally.failed && !child->tally.wrong)
            return demo_fail(demo, "%s %s when it was asked to end.", child->name,
                             child_end(child));
    }
    demo->end_ns = now_ns();
    return 0;
}

int demo_end_services(struct demo *demo)
{
    if (end_kind(demo, CHILD_SERVICE_V1, SIGTERM) < 0 ||
        end_kind(demo, CHILD_SERVICE_V2, SIGTERM) < 0)
        return -1;
    return end_kind(demo, CHILD_BROKER, SIGTERM);
}

/* The child and what it started, which becomes ours when it is gone (main() is a subreaper). */
static void kill_group(pid_t group)
{
    int status;
    kill(-group, SIGKILL);
    while (waitpid(-group, &status, 0) > 0 || errno == EINTR)
        continue;
}

void demo_kill_all(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (child->pid > 0)
            kill_group(child->pid);
        child->pid = 0;
        if (child->in >= 0)
            close(child->in);
        if (child->out >= 0)
            close(child->out);
        child->in = child->out = -1;
        free(child->line);
        child->line = NULL;
    }
}
