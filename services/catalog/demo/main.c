/*
 * parley-demo: version 2 of an interface rolls out under load, and clients of version 1 do not
 * notice.
 *
 * This program calls nobody and serves nothing: it starts the broker, services and clients as
 * programs of their own, in a folder of its own, types what an operator would type, and adds up
 * what the clients report.
 */
#include "demo.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

int demo_fail(struct demo *demo, const char *format, ...)
{
    va_list arguments;
    if (demo->problem[0])
        return -1;
    va_start(arguments, format);
    vsnprintf(demo->problem, sizeof(demo->problem), format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- Options ---- */

static void usage(void)
{
    printf("Usage: parley-demo [OPTION]...\n"
           "Shows a rollout: clients of version 1 of a package catalogue call without pause and\n"
           "compare every reply with what dpkg says, while version 2 joins, takes over in steps,\n"
           "and version 1 stops. Takes less than a minute, needs no broker, leaves nothing.\n"
           "\n"
           "  --json          print one JSON object, last on stdout; progress goes to stderr\n"
           "  --chaos         meanwhile kill the broker several times, and one instance\n"
           "  --rollback      version 2 starts to fail at 30 %%; everything goes back\n"
           "  --short         about eight seconds\n"
           "  --admindir DIR  dpkg's database (/var/lib/dpkg)\n"
           "  --parleyd FILE  the broker, --parley FILE the command line, --programs DIR the\n"
           "                  services and clients; else those this program was built or\n"
           "                  installed with\n"
           "  --keep          leave the folder with the programs' logs, and say where it is\n"
           "  --help          this\n"
           "\n"
           "Exit status: 0 if no call failed, no reply was wrong and both versions served; else\n"
           "1; 2 for a wrong option.\n");
}

enum { JSON = 256, CHAOS, ROLLBACK, SHORT, ADMINDIR, PARLEYD, PARLEY, PROGRAMS, KEEP, HELP };

static void parse(struct demo *demo, int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, JSON},
        {"chaos", no_argument, NULL, CHAOS},
        {"rollback", no_argument, NULL, ROLLBACK},
        {"short", no_argument, NULL, SHORT},
        {"admindir", required_argument, NULL, ADMINDIR},
        {"parleyd", required_argument, NULL, PARLEYD},
        {"parley", required_argument, NULL, PARLEY},
        {"programs", required_argument, NULL, PROGRAMS},
        {"keep", no_argument, NULL, KEEP},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (option) {
        case JSON:
            demo->json = true;
            break;
        case CHAOS:
            demo->chaos = true;
            break;
        case ROLLBACK:
            demo->rollback = true;
            break;
        case SHORT:
            demo->shortened = true;
            break;
        case ADMINDIR:
            demo->admindir = optarg;
            break;
        case PARLEYD:
            demo->parleyd = optarg;
            break;
        case PARLEY:
            demo->parley = optarg;
            break;
        case PROGRAMS:
            demo->programs = optarg;
            break;
        case KEEP:
            demo->keep = true;
            break;
        case HELP:
            usage();
            exit(0);
        default:
            fprintf(stderr, "parley-demo: try --help\n");
            exit(2);
        }
    }
    if (demo->chaos && demo->rollback) {
        fprintf(stderr, "parley-demo: --chaos or --rollback, not both; try --help\n");
        exit(2);
    }
    if (optind < argc) {
        fprintf(stderr, "parley-demo: \"%s\" is no option; try --help\n", argv[optind]);
        exit(2);
    }
}

/* The first of @places, which are relative to this program's folder, that holds @file. The caller
 * frees it; exits if there is none. */
static char *locate(const char *const *places, const char *file, bool folder, const char *option)
{
    char self[256];
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[bytes > 0 ? bytes : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    for (; *places; places++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s/%s", self, *places, file) < 0)
            abort();
        bool found = access(path, X_OK) == 0;
        if (found && folder)
            *strrchr(path, '/') = '\0';
        if (found)
            return path;
        free(path);
    }
    fprintf(stderr, "parley-demo: %s is not where it should be, beside %s; say where with %s\n",
            file, self, option);
    exit(1);
}

static void locate_programs(struct demo *demo)
{
    /* Installed; in the build folder. */
    static const char *const broker_places[] = {".", "../../bus/broker", NULL};
    static const char *const tool_places[] = {".", "../../bus/cli", NULL};
    static const char *const program_places[] = {".", "../libexec/parley", NULL};
    if (!demo->parleyd)
        demo->parleyd = locate(broker_places, "parleyd", false, "--parleyd");
    if (!demo->parley)
        demo->parley = locate(tool_places, "parley", false, "--parley");
    if (!demo->programs)
        demo->programs = locate(program_places, "catalog-v1", true, "--programs");
}

/* ---- The folder ---- */

static int make_folder(struct demo *demo)
{
    const char *base = getenv("TMPDIR");
    if (!base || !*base || strlen(base) > 40)
        base = "/tmp";
    snprintf(demo->folder, sizeof(demo->folder), "%s/parley-demo-XXXXXX", base);
    if (!mkdtemp(demo->folder)) {
        fprintf(stderr, "parley-demo: no folder can be made in %s: %s. Set TMPDIR.\n", base,
                strerror(errno));
        demo->folder[0] = '\0';
        return -1;
    }
    setenv("PARLEY_DIR", demo->folder, 1);
    unsetenv("PARLEY_BROKER");
    unsetenv("PARLEY_CONTROL");
    unsetenv("PARLEY_EVENTS");
    unsetenv("PARLEY_BUS");
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

static void remove_folder(const struct demo *demo)
{
    if (!demo->folder[0])
        return;
    if (demo->keep)
        fprintf(stderr, "parley-demo: logs are in %s\n", demo->folder);
    else
        nftw(demo->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Blocks what the loop reads from a descriptor instead. */
static int take_signals(struct demo *demo)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    demo->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return demo->signal_fd < 0 ? -1 : 0;
}

/* The lines that are drawn over must not be wrapped. */
static bool can_draw(FILE *out)
{
    const char *term = getenv("TERM");
    struct winsize size = {0};
    if (!isatty(fileno(out)) || !term || strcmp(term, "dumb") == 0)
        return false;
    return ioctl(fileno(out), TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_col >= 80;
}

int main(int argc, char **argv)
{
    static struct demo demo;
    demo.admindir = "/var/lib/dpkg";
    demo.signal_fd = -1;
    parse(&demo, argc, argv);
    locate_programs(&demo);
    demo.out = demo.json ? stderr : stdout;
    demo.live = can_draw(demo.out);
    const char *no_color = getenv("NO_COLOR");
    demo.color = demo.live && (!no_color || !*no_color);
    demo.part_ns = (demo.shortened ? 9 : 32) * SECOND / 10;
    demo.start_ns = demo.progress_ns = now_ns();
    demo.alarm_ns = demo.start_ns + 58 * SECOND;
    int exit_status = 1;
    if (take_signals(&demo) == 0 && make_folder(&demo) == 0) {
        if (demo.rollback)
            run_rollback(&demo);
        else
            run_script(&demo);
        exit_status = report(&demo);
    }
    demo_kill_all(&demo);
    remove_folder(&demo);
    return exit_status;
}
