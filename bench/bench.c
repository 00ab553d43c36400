/*
 * The frame: options, rounds and processes. report.c makes figures and words of what was measured.
 *
 * A round measures the floor, then every subject, in an order that rotates from round to round,
 * then the floor again. If the two floors differ by more than FLOOR_RATIO_MAX, something else ran
 * on the machine meanwhile: the round is repeated, up to a bound; if that is used up, the rounds
 * that there are count, and the table says so.
 *
 * Subjects see a warm-up of a tenth of their samples, which they take and the frame drops.
 */
#include "cores.h"
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
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

#define ROUND_COUNT_DEFAULT 5
#define REPEAT_FACTOR 3 /* rounds tried for each one that is wanted */
#define SUBJECT_TIMEOUT_MS 60000
#define WARM_UP_SHARE 10

/* What a subject's process leaves behind. */
struct shared {
    struct error_text error;
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

static int run_in_child(struct session *session, const struct bench_subject *subject, int round)
{
    struct bench_run run = {
        .samples_ns = session->shared->samples_ns,
        .sample_count = subject->sample_count + subject->sample_count / WARM_UP_SHARE,
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

static int measure(struct session *session, size_t index, int round, struct figures *ret_figures)
{
    const struct bench_subject *subject = &session->bench->subjects[index];
    pid_t parent = getpid();
    show_progress(session, subject->name);
    session->shared->error.text[0] = '\0';
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        die_with(parent);
        _exit(run_in_child(session, subject, round));
    }
    int r = await_process(pid);
    if (interrupted)
        return -EINTR;
    if (r != 0) {
        end_progress();
        fprintf(stderr, "%s: %s\n", subject->name,
                r == -ETIMEDOUT                  ? "took longer than a minute"
                : session->shared->error.text[0] ? session->shared->error.text
                                                 : "failed without saying why");
        return -EIO;
    }
    figures_compute(session->shared->samples_ns + subject->sample_count / WARM_UP_SHARE,
                    subject->sample_count, ret_figures);
    return 0;
}

static bool is_disturbed(const struct figures *before, const struct figures *after)
{
    double a = before->ns[BENCH_P50], b = after->ns[BENCH_P50];
    return a > b * FLOOR_RATIO_MAX || b > a * FLOOR_RATIO_MAX;
}

/* One round into figures[][rounds_done]. Return: 0, 1 if it was disturbed, -errno. */
static int run_round(struct session *session, int attempt)
{
    const size_t count = session->bench->subject_count;
    const uint32_t round = session->rounds_done;
    struct figures after;
    int r = measure(session, 0, attempt, &session->figures[0][round]);
    for (size_t i = 1; r == 0 && i < count; i++) {
        size_t subject = 1 + (i - 1 + (size_t)attempt) % (count - 1);
        if (session_wants(session, subject))
            r = measure(session, subject, attempt, &session->figures[subject][round]);
    }
    if (r == 0)
        r = measure(session, 0, attempt, &after);
    if (r < 0)
        return r;
    return is_disturbed(&session->figures[0][round], &after);
}

static int run_rounds(struct session *session)
{
    const int attempts = (int)(session->round_count * REPEAT_FACTOR);
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

static void print_usage(FILE *file, const struct bench *bench)
{
    fprintf(file,
            "usage: %s [--rounds N] [--only NAME] [--json FILE]\n\n%s\n\n"
            "  --rounds N   1 to %d; %d by default\n"
            "  --only NAME  measure one subject, and the floor:",
            program_invocation_short_name, bench->question, ROUND_COUNT_MAX, ROUND_COUNT_DEFAULT);
    for (size_t i = 0; i < bench->subject_count; i++)
        fprintf(file, " %s", bench->subjects[i].name);
    fprintf(file, "\n  --json FILE  write the rows to FILE as well, in nanoseconds\n"
                  "  --help       this\n");
}

static bool names_a_subject(const struct bench *bench, const char *name)
{
    for (size_t i = 0; i < bench->subject_count; i++) {
        if (strcmp(bench->subjects[i].name, name) == 0)
            return true;
    }
    return false;
}

static int bad_option(const struct bench *bench, const char *what, const char *value)
{
    fprintf(stderr, "%s: %s\n", what, value);
    print_usage(stderr, bench);
    return 2;
}

/* Return: -1 to go on, else the program's exit status. */
static int parse_options(struct session *session, int argc, char **argv)
{
    static const struct option options[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"only", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    char *end = NULL;
    long rounds;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            rounds = strtol(optarg, &end, 10);
            if (*end != '\0' || end == optarg || rounds < 1 || rounds > ROUND_COUNT_MAX)
                return bad_option(session->bench, "no such number of rounds", optarg);
            session->round_count = (uint32_t)rounds;
            break;
        case 'o':
            if (!names_a_subject(session->bench, optarg))
                return bad_option(session->bench, "no such subject", optarg);
            session->only = optarg;
            break;
        case 'j':
            session->json_path = optarg;
            break;
        case 'h':
            print_usage(stdout, session->bench);
            return 0;
        default:
            print_usage(stderr, session->bench);
            return 2;
        }
    }
    if (optind < argc)
        return bad_option(session->bench, "not an option", argv[optind]);
    return -1;
}

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

int bench_main(int argc, char **argv, const struct bench *bench)
{
    static struct session session;
    assert(bench->subject_count <= BENCH_SUBJECT_MAX);
    session = (struct session){.bench = bench, .round_count = ROUND_COUNT_DEFAULT};
    int r = parse_options(&session, argc, argv);
    if (r >= 0)
        return r;
    if (prepare(&session) != 0)
        return 1;
    r = run_session(&session);
    (void)nftw(session.folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    (void)munmap(session.shared, sizeof(*session.shared));
    return r;
}
