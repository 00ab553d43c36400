/*
 * The frame: rounds and processes. options.c reads the command line, report.c makes figures and
 * words of what was measured.
 *
 * A round measures the floor, then every subject, in an order that rotates from round to round,
 * then the floor again. If the two floors differ by more than FLOOR_RATIO_MAX, something else ran
 * on the machine meanwhile: the round is repeated, up to a bound; if that is used up, the rounds
 * that there are count, and the table says so. What is short, and so sees but a moment of the
 * machine, can be measured in several passes: later ones have only those, and are close together.
 *
 * Subjects see a warm-up of a tenth of their samples, which they take and the frame drops.
 */
#include "cores.h"
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES_DEFAULT 3 /* rounds tried for each one that is wanted */
#define SUBJECT_TIMEOUT_MS 60000
#define WARM_UP_SHARE 10

/* What a subject's process leaves behind. */
struct shared {
    struct error_text error;
    double per_s;
    bool behind;
    uint32_t samples_ns[BENCH_SAMPLE_MAX];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- Cores ---- */

static void choose_cpus(struct session *session)
{
    session->one_core = cores_choose(session->cpus);
}

/* ---- Processes ---- */

static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

pid_t bench_peer_start(const struct bench_run *run,
                       int (*side)(const struct bench_run *run, void *), void *userdata)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid > 0)
        return pid;
    die_with(parent);
    cores_pin(run->peer_cpu);
    _exit(side(run, userdata) == 0 ? 0 : 1);
}

void bench_peer_stop(pid_t pid)
{
    if (pid <= 0)
        return;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* Return: the exit status, or -ETIMEDOUT. The process is gone either way. */
static int await_process(pid_t pid)
{
    int status = 0;
    int fd = pidfd_open(pid, 0);
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    int ready = fd < 0 ? 1 : poll(&waited, 1, SUBJECT_TIMEOUT_MS);
    if (fd >= 0)
        close(fd);
    if (ready <= 0)
        (void)kill(pid, SIGKILL); /* too long, or Ctrl-C */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (ready == 0)
        return -ETIMEDOUT;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* The other side of a subject that was killed dies with it and comes to us, for we are its
 * subreaper. It is in the subject's process group; other children, as the broker, are not. */
static void reap_group(pid_t group)
{
    pid_t pid;
    do
        pid = waitpid(-group, NULL, 0);
    while (pid > 0 || (pid < 0 && errno == EINTR));
}

static int run_in_child(struct session *session, const struct bench_subject *subject, int round)
{
    struct bench_run run = {
        .samples_ns = session->shared->samples_ns,
        .sample_count = subject->sample_count + subject->sample_count / WARM_UP_SHARE,
        .ret_per_s = &session->shared->per_s,
        .ret_behind = &session->shared->behind,
        .load = subject->load,
        .one_core = session->one_core,
        .folder = session->folder,
        .round = round,
        .name = subject->name,
        .error = &session->shared->error,
        .peer_cpu = session->cpus[subject->placement == BENCH_TOGETHER ? 0 : 1],
    };
    assert(run.sample_count <= BENCH_SAMPLE_MAX);
    if (subject->placement == BENCH_ANYWHERE)
        run.peer_cpu = -1;
    else
        cores_pin(session->cpus[0]);
    return subject->run(&run) == 0 ? 0 : 1;
}

/* ---- Rounds ---- */

static void show_progress(const struct session *session, const char *what)
{
    static char last[64];
    char line[64];
    (void)snprintf(line, sizeof(line), "round %u of %u", session->rounds_done + 1,
                   session->round_count);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s: %s", line, what);
    else if (strcmp(line, last) != 0)
        fprintf(stderr, "%s\n", line);
    memcpy(last, line, sizeof(last));
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

/* Return: 0 if the session goes on without it, else -EIO. */
static int say_failed(struct session *session, size_t index, int r)
{
    end_progress();
    fprintf(stderr, "%s: %s\n", session->bench->subjects[index].name,
            r == -ETIMEDOUT                  ? "took longer than a minute"
            : session->shared->error.text[0] ? session->shared->error.text
                                             : "failed without saying why");
    if (!session->bench->partial || index == 0)
        return -EIO;
    session->failed[index] = session->any_failed = true;
    return 0;
}

static int measure(struct session *session, size_t index, int round, struct figures *ret_figures)
{
    const struct bench_subject *subject = &session->bench->subjects[index];
    pid_t parent = getpid();
    show_progress(session, subject->name);
    session->shared->error.text[0] = '\0';
    session->shared->per_s = 0;
    session->shared->behind = false;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        die_with(parent);
        (void)setpgid(0, 0);
        _exit(run_in_child(session, subject, round));
    }
    int r = await_process(pid);
    reap_group(pid);
    if (interrupted)
        return -EINTR;
    if (r != 0)
        return say_failed(session, index, r);
    figures_compute(session->shared->samples_ns + subject->sample_count / WARM_UP_SHARE,
                    subject->sample_count, ret_figures);
    ret_figures->per_s = session->shared->per_s;
    ret_figures->behind = session->shared->behind;
    ret_figures->measured = true;
    return 0;
}

static bool is_disturbed(const struct figures *before, const struct figures *after)
{
    double a = before->ns[BENCH_P50], b = after->ns[BENCH_P50];
    return a > b * FLOOR_RATIO_MAX || b > a * FLOOR_RATIO_MAX;
}

static int pass_count(const struct bench_subject *subject)
{
    return subject->passes > 1 ? subject->passes : 1;
}

static int run_subject(struct session *session, size_t subject, int attempt, int pass)
{
    struct figures *figures = &session->passes[subject][pass];
    figures->measured = false;
    session->behind[subject] =
        session->bench->subjects[subject].higher && session->behind[subject - 1];
    if (session->behind[subject] || !session_wants(session, subject))
        return 0;
    int r = measure(session, subject, attempt * BENCH_PASSES_MAX + pass, figures);
    session->behind[subject] = !figures->measured || figures->behind;
    return r;
}

/* All subjects but the first that have as many passes, in an order that rotates. */
static int run_pass(struct session *session, int attempt, int pass)
{
    const struct bench_subject *subjects = session->bench->subjects;
    const size_t others = session->bench->subject_count - 1;
    size_t first = (size_t)attempt % others;
    int r = 0;
    while (subjects[1 + first].higher)
        first = (first + 1) % others;
    for (size_t i = 0; r == 0 && i < others; i++) {
        size_t subject = 1 + (first + i) % others;
        if (pass < pass_count(&subjects[subject]))
            r = run_subject(session, subject, attempt, pass);
    }
    return r;
}

static int compare_p50(const void *a, const void *b)
{
    double x = ((const struct figures *)a)->ns[BENCH_P50];
    double y = ((const struct figures *)b)->ns[BENCH_P50];
    return (x > y) - (x < y);
}

/* Of each subject the pass that is the median, by p50. */
static void keep_medians(struct session *session)
{
    for (size_t i = 1; i < session->bench->subject_count; i++) {
        int count = pass_count(&session->bench->subjects[i]);
        qsort(session->passes[i], (size_t)count, sizeof(session->passes[i][0]), compare_p50);
        session->figures[i][session->rounds_done] = session->passes[i][count / 2];
    }
}

/* One round into figures[][rounds_done]. Return: 0, 1 if it was disturbed, -errno. */
static int run_round(struct session *session, int attempt)
{
    struct figures after, *before = &session->figures[0][session->rounds_done];
    int r = measure(session, 0, attempt, before);
    for (int pass = 0; r == 0 && pass < BENCH_PASSES_MAX; pass++)
        r = run_pass(session, attempt, pass);
    if (r == 0)
        r = measure(session, 0, attempt, &after);
    if (r < 0)
        return r;
    keep_medians(session);
    return is_disturbed(before, &after);
}

static int run_rounds(struct session *session)
{
    const uint32_t tries = session->bench->tries ? session->bench->tries : TRIES_DEFAULT;
    const int attempts = (int)(session->round_count * tries);
    for (int attempt = 0; session->rounds_done < session->round_count; attempt++) {
        int r = run_round(session, attempt);
        if (r < 0)
            return r;
        /* Once as many attempts are left as rounds are wanted, take what comes. */
        if (r > 0 && attempts - attempt > (int)(session->round_count - session->rounds_done)) {
            session->repeated++;
            continue;
        }
        session->disturbed = session->disturbed || r > 0;
        session->rounds_done++;
    }
    return 0;
}

/* ---- The program ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int prepare(struct session *session)
{
    const char *parent = getenv("TMPDIR");
    /* Short, for it will hold sockets. */
    if (!parent || strlen(parent) > 32)
        parent = "/tmp";
    (void)snprintf(session->folder, sizeof(session->folder), "%s/parley-bench-XXXXXX", parent);
    if (!mkdtemp(session->folder)) {
        fprintf(stderr, "cannot make the folder %s: %s\n", session->folder, strerror(errno));
        return 1;
    }
    session->shared = mmap(NULL, sizeof(*session->shared), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (session->shared == MAP_FAILED) {
        perror("mmap");
        (void)rmdir(session->folder);
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    choose_cpus(session);
    return 0;
}

static int run_session(struct session *session)
{
    struct error_text error = {""};
    const struct bench *bench = session->bench;
    int r = bench->begin ? bench->begin(session->folder, &error) : 0;
    if (r != 0)
        fprintf(stderr, "%s\n", error.text);
    else
        r = run_rounds(session);
    if (bench->end)
        bench->end();
    end_progress();
    return r == 0 ? session_report(session) : 1;
}

static struct session session;

bool bench_wants(const struct bench_subject *subject)
{
    return session_wants(&session, (size_t)(subject - session.bench->subjects));
}

int bench_main(int argc, char **argv, const struct bench *bench)
{
    assert(bench->subject_count <= BENCH_SUBJECT_MAX);
    memset(&session, 0, sizeof(session));
    session.bench = bench;
    int r = session_parse_options(&session, argc, argv);
    if (r >= 0)
        return r;
    if (prepare(&session) != 0)
        return 1;
    r = run_session(&session);
    (void)nftw(session.folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    (void)munmap(session.shared, sizeof(*session.shared));
    return r;
}
