/*
 * Leaving a CPU that we share with whom we wait for.
 *
 * Two sides of a busy channel that have come to share a CPU sleep while the other one runs, and a
 * wake-up takes ten times what the call does. The scheduler parts them at the next wake-up, if it
 * looks for an idle CPU. But it looks the less the busier it takes the CPUs of a cache to be
 * (SIS_UTIL in the kernel's select_idle_cpu()), and with two, of which one is ours and the other
 * used for a third by somebody else, not at all. What balances queues finds none longer than one.
 * So nobody parts them, though a CPU idles for most of the time.
 *
 * So the client's side leaves: it takes the CPU that it is on out of its affinity, which moves it,
 * and puts it back. Only where nobody has placed it, so that all that there is to put back is
 * "anywhere"; and not when more run than there are CPUs, for then there is none to go to. It costs
 * some tens of microseconds. If it is together with its peer again at once, the next time is later.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wait/wait.h"

#define LOADAVG_BYTES 64

void part_init(struct part *part)
{
    *part = (struct part){.pause_ns = PART_PAUSE_NS_MIN};
}

bool part_due(struct part *part, uint64_t now_ns)
{
    if (part->parted_ns) { /* the first wait together since we left */
        bool lasted = now_ns - part->parted_ns >= PART_LASTED_NS;
        uint64_t next = lasted ? PART_PAUSE_NS_MIN : 2 * part->pause_ns;
        part->pause_ns = next < PART_PAUSE_NS_MAX ? next : PART_PAUSE_NS_MAX;
        part->next_ns = part->parted_ns + part->pause_ns;
        part->parted_ns = 0;
    }
    if (part->waits == 0 || now_ns - part->since_ns > PART_WINDOW_NS) {
        part->since_ns = now_ns;
        part->waits = 0;
    }
    if (++part->waits < PART_WAITS || now_ns < part->next_ns)
        return false;
    part->waits = 0;
    return true;
}

void part_done(struct part *part, bool left, uint64_t now_ns)
{
    part->parted_ns = left ? now_ns : 0;
    if (!left)
        part->next_ns = now_ns + PART_PAUSE_NS_MIN;
}

int part_running(const char *loadavg)
{
    /* "0.20 0.18 0.12 1/80 11206": what runs or could, of all threads. */
    for (int i = 0; i < 3; i++) {
        loadavg = strchr(loadavg, ' ');
        if (!loadavg)
            return -EINVAL;
        loadavg++;
    }
    char *end;
    long running = strtol(loadavg, &end, 10);
    return end != loadavg && *end == '/' && running >= 0 && running <= INT32_MAX ? (int)running
                                                                                 : -EINVAL;
}

bool part_has_room(void)
{
    char text[LOADAVG_BYTES];
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    int running = part_running(text);
    return running >= 0 && (unsigned)running <= spin_cpu_count();
}

bool part_leave_cpu(void)
{
    cpu_set_t set;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof(set), &set) != 0 ||
        CPU_COUNT(&set) < 2 || (unsigned)CPU_COUNT(&set) < spin_cpu_count())
        return false;
    CPU_CLR(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        return false;
    /* All that can be, not what was: who is given more CPUs later has those, too. */
    memset(&set, 0xff, sizeof(set));
    (void)sched_setaffinity(0, sizeof(set), &set);
    return true;
}
