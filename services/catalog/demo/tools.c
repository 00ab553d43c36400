/*
 * What an operator would type, run as an operator would run it: the program `parley`, which talks
 * to the broker's control socket.
 */
#include "demo.h"

#include <string.h>

#define TOOL_NS (15 * SECOND)

/* Runs it to its end. What it printed is in the child's line. Return: the child, or NULL after
 * demo_fail(). */
static struct child *tool_run(struct demo *demo, const char *const *argv)
{
    struct child *child = child_start(demo, CHILD_TOOL, "parley", argv);
    if (!child || child_wait(demo, child, TOOL_NS) < 0)
        return NULL;
    return child;
}

int tool_rollout(struct demo *demo, const char *verb)
{
    const char *const argv[] = {demo->parley, "rollout", verb, "catalog", NULL};
    struct child *child = tool_run(demo, argv);
    if (!child)
        return -1;
    if (!child_succeeded(child))
        return demo_fail(demo, "`parley rollout %s catalog` failed.", verb);
    return 0;
}

int tool_rollout_apply(struct demo *demo, const char *document)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/catalog.yaml", demo->folder);
    FILE *file = fopen(path, "we");
    bool written = file && fputs(document, file) >= 0;
    if (!file || fclose(file) != 0 || !written)
        return demo_fail(demo, "%s cannot be written.", path);
    const char *const argv[] = {demo->parley, "rollout", "apply", path, NULL};
    struct child *child = tool_run(demo, argv);
    if (!child)
        return -1;
    if (!child_succeeded(child))
        return demo_fail(demo, "`parley rollout apply` of this failed:\n%s", document);
    return 0;
}

int tool_rollout_status(struct demo *demo, struct rollout_status *ret_status)
{
    const char *const argv[] = {demo->parley, "rollout", "show", "--json", "catalog", NULL};
    struct child *child = tool_run(demo, argv);
    if (!child)
        return -1;
    const char *phase = "", *reason = "";
    json_t *json = child_succeeded(child) ? json_loads(child->line, 0, NULL) : NULL;
    int step = 0;
    double weight = 0;
    int r = json_unpack(json, "{s:{s:s, s:s, s:i, s:F}}", "status", "phase", &phase, "reason",
                        &reason, "step", &step, "weight", &weight);
    *ret_status = (struct rollout_status){.step = (unsigned)step, .weight = weight};
    snprintf(ret_status->phase, sizeof(ret_status->phase), "%s", phase);
    snprintf(ret_status->reason, sizeof(ret_status->reason), "%s", reason);
    json_decref(json);
    return r < 0 ? demo_fail(demo, "`parley rollout show --json catalog` failed.") : 0;
}

/* How many of @kind are alive, and of those how many `parley ls` knows as @what. */
static unsigned alive(const struct demo *demo, enum child_kind kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < demo->child_count; i++)
        count += demo->children[i].kind == kind && demo->children[i].pid > 0 &&
                 !demo->children[i].expected;
    return count;
}

static unsigned instances_listed(const json_t *list)
{
    unsigned count = 0;
    size_t i, j;
    json_t *interface, *version;
    json_t *interfaces = json_object_get(list, "interfaces");
    json_array_foreach(interfaces, i, interface)
    {
        json_t *versions = json_object_get(interface, "versions");
        json_array_foreach(versions, j, version)
            count += (unsigned)json_array_size(json_object_get(version, "instances"));
    }
    return count;
}

static unsigned clients_listed(const json_t *list)
{
    unsigned count = 0;
    size_t i;
    json_t *endpoint;
    json_t *endpoints = json_object_get(list, "endpoints");
    json_array_foreach(endpoints, i, endpoint)
        count += (unsigned)json_integer_value(json_object_get(endpoint, "clients"));
    return count;
}

int tool_wait_for_all(struct demo *demo)
{
    const char *const argv[] = {demo->parley, "ls", "--json", NULL};
    uint64_t end = now_ns() + TOOL_NS;
    unsigned instances = alive(demo, CHILD_SERVICE_V1) + alive(demo, CHILD_SERVICE_V2);
    unsigned clients = alive(demo, CHILD_CLIENT);
    unsigned instances_seen = 0, clients_seen = 0;
    while (instances_seen < instances || clients_seen < clients) {
        if (now_ns() > end)
            return demo_fail(demo,
                             "The broker knows %u of %u instances and %u of %u clients %d seconds "
                             "after it was started.",
                             instances_seen, instances, clients_seen, clients,
                             (int)(TOOL_NS / SECOND));
        struct child *child = tool_run(demo, argv);
        if (!child)
            return -1;
        json_t *list = child_succeeded(child) ? json_loads(child->line, 0, NULL) : NULL;
        instances_seen = instances_listed(list);
        clients_seen = clients_listed(list);
        json_decref(list);
        if (demo_run_for(demo, 50 * MILLISECOND) < 0)
            return -1;
    }
    return 0;
}

/* The calls of one side that ended for good, as `parley stats --json` has them. */
static uint64_t calls_counted(const json_t *stats, const char *side)
{
    uint64_t count = 0;
    size_t i;
    json_t *method;
    json_t *methods = json_object_get(stats, "methods");
    json_array_foreach(methods, i, method)
    {
        const char *of = json_string_value(json_object_get(method, "side"));
        if (of && strcmp(of, side) == 0)
            count += (uint64_t)json_integer_value(json_object_get(method, "calls")) -
                     (uint64_t)json_integer_value(json_object_get(method, "retried"));
    }
    return count;
}

int tool_compare_stats(struct demo *demo, uint64_t calls)
{
    const char *const argv[] = {demo->parley, "stats", "--json", NULL};
    uint64_t end = now_ns() + TOOL_NS, clients = 0, services = 0;
    while (clients != calls || services != calls) {
        if (now_ns() > end)
            return demo_fail(demo,
                             "The clients counted %llu calls; the broker's statistics have %llu "
                             "of clients and %llu of services.",
                             (unsigned long long)calls, (unsigned long long)clients,
                             (unsigned long long)services);
        struct child *child = tool_run(demo, argv);
        if (!child)
            return -1;
        json_t *stats = child_succeeded(child) ? json_loads(child->line, 0, NULL) : NULL;
        clients = calls_counted(stats, "client");
        services = calls_counted(stats, "service");
        json_decref(stats);
        if (demo_run_for(demo, 20 * MILLISECOND) < 0)
            return -1;
    }
    return 0;
}
