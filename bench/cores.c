/*
 * Placement matters more than anything else that is measured here, so it is chosen once, in one
 * way, for all benchmarks.
 */
#include "cores.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static bool are_siblings(int a, int b)
{
    char path[96], list[256] = "";
    (void)snprintf(path, sizeof(path),
                   "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", a);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *line = fgets(list, sizeof(list), file);
    (void)fclose(file);
    for (char *rest = line; rest && *rest;) {
        long first = strtol(rest, &rest, 10);
        long last = *rest == '-' ? strtol(rest + 1, &rest, 10) : first;
        if (b >= first && b <= last)
            return true;
        rest = *rest == ',' ? rest + 1 : NULL;
    }
    return false;
}

bool cores_choose(int ret_cpus[2])
{
    cpu_set_t set;
    int first = -1, second = -1, sibling = -1;
    ret_cpus[0] = ret_cpus[1] = -1;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return false;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        if (first < 0)
            first = cpu;
        else if (!are_siblings(first, cpu) && second < 0)
            second = cpu;
        else if (sibling < 0)
            sibling = cpu;
    }
    ret_cpus[0] = first;
    ret_cpus[1] = second >= 0 ? second : sibling;
    bool one_core = ret_cpus[1] < 0;
    if (one_core)
        ret_cpus[1] = first;
    return one_core;
}

void cores_pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* unpinned figures are better than none */
}
