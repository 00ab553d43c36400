/*
 * Rounds, processes and options of a study; study_report.c makes figures and words of them.
 *
 * The process that reads the command line measures nothing. It starts a broker, and for each round
 * a process, which starts what it needs in turn. All of them die with the one that started them,
 * so that a round that is killed, because it takes too long or for Ctrl-C, takes everything along;
 * what is orphaned so is reaped here (PR_SET_CHILD_SUBREAPER), before the broker's folder goes.
 */
#include "study.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cores.h"
#include "parley_call.h"
#include "study_report.h"

#define MINUTES_MAX 1440

/* What a round's process leaves behind. */
struct shared {
    struct error_text error;
    struct study_value values[STUDY_ROW_MAX];
    uint32_t samples_ns[STUDY_SAMPLE_MAX];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- For rounds ---- */

void study_put(struct study_round *round, size_t row, double value)
{
    assert(row < STUDY_ROW_MAX);
    round->values[row] = (struct study_value){value, NAN};
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void study_put_samples(struct study_round *round, size_t row, uint32_t count)
{
    assert(row < STUDY_ROW_MAX && count > 0 && count <= STUDY_SAMPLE_MAX);
    uint32_t *samples = round->samples_ns;
    qsort(samples, count, sizeof(*samples), compare_samples);
    round->values[row] = (struct study_value){
        .p50 = samples[(uint32_t)(0.5 * (count - 1))],
        .p99 = samples[(uint32_t)(0.99 * (count - 1))],
    };
}

/* ---- Processes ---- */

static void begin_child(pid_t parent, int cpu)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    cores_pin(cpu);
}

pid_t study_start(const struct study_round *round, int cpu,
                  int (*side)(const struct study_round *round, void *userdata), void *userdata)
{
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid > 0)
        return pid;
    begin_child(parent, cpu);
    _exit(side(round, userdata) == 0 ? 0 : 1);
}

static int reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

void study_stop(pid_t pid)
{
    if (pid <= 0)
        return;
    (void)kill(pid, SIGKILL);
    (void)reap(pid);
}

/* Return: the exit status, or -ETIMEDOUT. The process is gone either way. */
static int await(pid_t pid, uint32_t seconds)
{
    _cleanup_(fd_closep) int fd = pidfd_open(pid, 0);
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    int ready = fd < 0 ? 1 : poll(&waited, 1, (int)seconds * 1000);
    if (ready <= 0)
        (void)kill(pid, SIGKILL); /* too long, or Ctrl-C */
    int r = reap(pid);
    return ready == 0 ? -ETIMEDOUT : r;
}

static void reap_orphans(int flags)
{
    pid_t pid;
    do
        pid = waitpid(-1, NULL, flags);
    while (pid > 0 || (pid < 0 && errno == EINTR));
}

/* ---- Rounds ---- */

static void show_progress(const struct study_session *session)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kround %u of %u", session->rounds_done + 1, session->round_count);
    else
        fprintf(stderr, "round %u of %u\n", session->rounds_done + 1, session->round_count);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static int run_in_child(const struct study_session *session, struct shared *shared)
{
    struct study_round round = {
        .folder = session->folder,
        .cpus = {session->cpus[0], session->cpus[1]},
        .number = session->rounds_done,
        .minutes = session->minutes,
        .error = &shared->error,
        .values = shared->values,
        .samples_ns = shared->samples_ns,
    };
    return session->study->run(&round) == 0 ? 0 : 1;
}

static int run_round(struct study_session *session, struct shared *shared)
{
    const struct study *study = session->study;
    pid_t parent = getpid();
    show_progress(session);
    shared->error.text[0] = '\0';
    for (size_t i = 0; i < study->row_count; i++)
        shared->values[i] = (struct study_value){NAN, NAN};
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        begin_child(parent, session->cpus[0]);
        _exit(run_in_child(session, shared));
    }
    int r = await(pid, study->seconds_max + session->minutes * 60);
    reap_orphans(WNOHANG);
    if (interrupted)
        return -EINTR;
    if (r != 0) {
        end_progress();
        fprintf(stderr, "%s: %s\n", study->name,
                r == -ETIMEDOUT         ? "the round took too long"
                : shared->error.text[0] ? shared->error.text
                                        : "the round failed without saying why");
        return -EIO;
    }
    memcpy(session->values[session->rounds_done++], shared->values, sizeof(shared->values));
    return 0;
}

static int run_rounds(struct study_session *session)
{
    struct error_text error = {""};
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return -ENOMEM;
    }
    int r = parley_call_begin(session->folder, &error);
    if (r != 0)
        fprintf(stderr, "%s\n", error.text);
    while (r == 0 && session->rounds_done < session->round_count)
        r = run_round(session, shared);
    parley_call_end();
    reap_orphans(0);
    end_progress();
    (void)munmap(shared, sizeof(*shared));
    return r;
}

/* ---- The program ---- */

static void print_usage(FILE *file, const struct study *study)
{
    fprintf(file,
            "usage: %s [--rounds N]%s [--json FILE]\n\n%s\n\n"
            "  --rounds N   1 to %d; %u by default\n",
            program_invocation_short_name, study->minutes_about ? " [--minutes N]" : "",
            study->question, STUDY_ROUND_MAX, study->rounds);
    if (study->minutes_about)
        fprintf(file, "  --minutes N  %s\n", study->minutes_about);
    fprintf(file, "  --json FILE  write one object with the rows to FILE as well\n"
                  "  --help       this\n\n"
                  "All rows are of one story, and are measured together: there is no --only.\n");
}

static bool parse_number(const char *text, long most, uint32_t *ret_number)
{
    char *end = NULL;
    long number = strtol(text, &end, 10);
    if (*end != '\0' || end == text || number < 1 || number > most) {
        fprintf(stderr, "'%s' is no number from 1 to %ld\n", text, most);
        return false;
    }
    *ret_number = (uint32_t)number;
    return true;
}

/* Return: -1 to go on, else the program's exit status. */
static int parse_options(struct study_session *session, int argc, char **argv)
{
    static const struct option options[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"minutes", required_argument, NULL, 'm'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        bool good = option != '?';
        if (option == 'h') {
            print_usage(stdout, session->study);
            return 0;
        }
        if (option == 'j')
            session->json_path = optarg;
        else if (option == 'r')
            good = parse_number(optarg, STUDY_ROUND_MAX, &session->round_count);
        else if (option == 'm')
            good = session->study->minutes_about &&
                   parse_number(optarg, MINUTES_MAX, &session->minutes);
        if (!good) {
            print_usage(stderr, session->study);
            return 2;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "not an option: %s\n", argv[optind]);
    print_usage(stderr, session->study);
    return 2;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* As far as it goes without being asked: a thousand channels in a process are thousands. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int prepare(struct study_session *session)
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
    const struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* who stops reading our words does not end us halfway */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    raise_descriptor_limit();
    session->one_core = cores_choose(session->cpus);
    return 0;
}

int study_main(int argc, char **argv, const struct study *study)
{
    static struct study_session session;
    assert(study->row_count <= STUDY_ROW_MAX && study->goal_count <= STUDY_GOAL_MAX);
    session = (struct study_session){.study = study, .round_count = study->rounds};
    int r = parse_options(&session, argc, argv);
    if (r >= 0)
        return r;
    if (prepare(&session) != 0)
        return 1;
    r = run_rounds(&session);
    (void)nftw(session.folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return r == 0 ? study_report(&session) : 1;
}
