/*
 * The bus and the broker as they are when somebody asks: counted then, from what there is, so that
 * nothing has to be kept up to date meanwhile. Only the time of each turn of the loop is noted as
 * it goes, in the same buckets as the latency of calls.
 *
 * What the kernel knows of this process is read from /proc/self. A hardened unit may hide some of
 * it; that is left out then.
 */
#include "broker/broker.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "broker/folder.h"
#include "broker/serve.h"
#include "broker/subscribers.h"

struct block {
    struct self self;
    Parley__RouteStats *pointers[ROUTE_SLOT_MAX * ROUTE_VERSION_MAX];
    Parley__RouteStats routes[];
};

void self_count_turn(struct broker *broker, uint64_t ns)
{
    broker->turn_bucket[histogram_bucket(ns)]++;
    broker->turn_sum_ns += ns;
}

/* ---- The bus ---- */

static void count_contracts(const struct interface *interface, Parley__BusStats *bus)
{
    const struct contract *contract;
    LIST_FOREACH (contract, &interface->contracts, interface_entry) {
        bus->contracts++;
        bus->contracts_waiting += contract->state == CONTRACT_WAITING;
        bus->contracts_refused += contract->state == CONTRACT_REFUSED;
    }
}

static void count_version(struct block *block, const struct version *version, uint32_t share)
{
    Parley__BusStats *bus = &block->self.bus;
    bus->versions += version->instance_count > 0;
    bus->instances += version->instance_count;
    bus->draining += version->draining_count;
    if (share == 0 && version->instance_count == 0)
        return;
    Parley__RouteStats *route = &block->routes[bus->n_route];
    parley__route_stats__init(route);
    route->interface = (char *)(uintptr_t)version->interface->name;
    route->version = (char *)(uintptr_t)version->name;
    route->has_share_per_100000 = route->has_instances = route->has_draining = true;
    route->share_per_100000 = share;
    route->instances = version->instance_count;
    route->draining = version->draining_count;
    block->pointers[bus->n_route++] = route;
}

static void count_interfaces(struct block *block, const struct broker *broker)
{
    for (const struct interface *i = broker->directory.interfaces; i; i = i->hh.next) {
        count_contracts(i, &block->self.bus);
        if (i->slot < 0)
            continue; /* asked for, never published */
        block->self.bus.interfaces++;
        uint32_t shares[ROUTE_VERSION_MAX];
        weights_effective(i, shares);
        for (uint32_t v = 0; v < ROUTE_VERSION_MAX; v++)
            if (i->versions[v])
                count_version(block, i->versions[v], shares[v]);
    }
}

static size_t most_routes(const struct broker *broker)
{
    size_t count = 0;
    for (const struct interface *i = broker->directory.interfaces; i; i = i->hh.next)
        count += i->slot >= 0 ? ROUTE_VERSION_MAX : 0;
    return count;
}

static void count_plans(const struct broker *broker, Parley__BusStats *bus)
{
    const struct bridge *bridge;
    LIST_FOREACH (bridge, &broker->negotiator.bridges, entry) {
        bus->plans++;
        bus->plans_refused += bridge->result < 0;
        bus->plan_compile_ns += bridge->compile_ns;
    }
}

static void fill_bus(struct block *block, const struct broker *broker)
{
    Parley__BusStats *bus = &block->self.bus;
    parley__bus_stats__init(bus);
    bus->has_endpoints = bus->has_interfaces = bus->has_versions = bus->has_instances = true;
    bus->has_draining = bus->has_contracts = bus->has_contracts_waiting = true;
    bus->has_contracts_refused = bus->has_schemas = bus->has_schemas_idle = true;
    bus->has_plans = bus->has_plans_refused = bus->has_plan_compile_ns = true;
    bus->endpoints = broker->endpoint_count;
    bus->schemas = broker->negotiator.schema_count;
    bus->schemas_idle = broker->negotiator.idle_count;
    bus->route = block->pointers;
    count_interfaces(block, broker);
    count_plans(broker, bus);
}

/* ---- The process ---- */

static bool read_memory(Parley__BrokerStats *broker)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    if (!file)
        return false;
    char line[128];
    uint64_t kib, private_kib = 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Rss: %lu kB", &kib) == 1)
            broker->resident_bytes = kib << 10;
        else if (sscanf(line, "Private_Clean: %lu kB", &kib) == 1 ||
                 sscanf(line, "Private_Dirty: %lu kB", &kib) == 1)
            private_kib += kib;
    }
    (void)fclose(file);
    broker->private_bytes = private_kib << 10;
    return broker->resident_bytes > 0;
}

static bool read_virtual(Parley__BrokerStats *broker)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    bool ok = file && fscanf(file, "%lu", &pages) == 1;
    if (file)
        (void)fclose(file);
    broker->virtual_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return ok;
}

static uint32_t count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count > 0 ? count - 1 : 0; /* the folder's own */
}

static void fill_process(const struct broker *broker, Parley__BrokerStats *ret)
{
    struct timespec cpu, now;
    struct rlimit limit;
    ret->has_resident_bytes = ret->has_private_bytes = read_memory(ret);
    ret->has_virtual_bytes = read_virtual(ret);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
        ret->has_cpu_ns = true;
        ret->cpu_ns = (uint64_t)cpu.tv_sec * NS_PER_S + (uint64_t)cpu.tv_nsec;
    }
    ret->descriptors = count_descriptors();
    ret->has_descriptors = ret->descriptors > 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        ret->has_descriptors_max = true;
        ret->descriptors_max = limit.rlim_cur < UINT32_MAX ? (uint32_t)limit.rlim_cur : UINT32_MAX;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    ret->has_start_unix_ns = true;
    ret->start_unix_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec -
                         (clock_now_ns() - broker->started_ns);
}

static void fill_broker(struct self *self, const struct broker *broker)
{
    Parley__BrokerStats *ret = &self->broker;
    parley__broker_stats__init(ret);
    fill_process(broker, ret);
    stats_latency(broker->turn_bucket, &self->turn);
    ret->turn = &self->turn;
    ret->has_turn_sum_ns = true;
    ret->turn_sum_ns = broker->turn_sum_ns;
    ret->version = (char *)(uintptr_t)PARLEY_VERSION;
    struct publisher_counts events;
    subscribers_counts(broker, &events);
    ret->has_subscribers = ret->has_events_sent = ret->has_events_lost = true;
    ret->has_folders_lost = true;
    ret->folders_lost = folders_lost(broker);
    ret->subscribers = events.connections_now;
    ret->events_sent = events.sent;
    ret->events_lost = events.lost;
}

static void fill_serve(struct self *self, const struct broker *broker)
{
    Parley__ServeStats *ret = &self->serve;
    struct serve_counts counts;
    serve_counts(broker, &counts);
    parley__serve_stats__init(ret);
    ret->has_expected = ret->has_instances = ret->has_calls = ret->has_waiting = true;
    ret->has_waiting_bytes = ret->has_answered = ret->has_malformed = ret->has_late = true;
    ret->has_stray = ret->has_abandoned = ret->has_full = ret->has_held = true;
    ret->expected = counts.expected;
    ret->instances = counts.instances;
    ret->calls = counts.calls;
    ret->waiting = counts.waiting;
    ret->waiting_bytes = counts.waiting_bytes;
    ret->answered = counts.answered;
    ret->malformed = counts.malformed;
    ret->late = counts.late;
    ret->stray = counts.stray;
    ret->abandoned = counts.abandoned;
    ret->full = counts.full;
    ret->held = counts.held;
}

struct self *self_new(struct broker *broker)
{
    struct block *block =
        calloc(1, sizeof(*block) + most_routes(broker) * sizeof(block->routes[0]));
    if (!block)
        return NULL;
    fill_bus(block, broker);
    fill_broker(&block->self, broker);
    fill_serve(&block->self, broker);
    return &block->self;
}

struct self *self_free(struct self *self)
{
    free(self); /* the block's first member */
    return NULL;
}
