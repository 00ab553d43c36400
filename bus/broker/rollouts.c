/*
 * Rollouts: from documents and figures to the route page.
 *
 * bus/rollout judges and decides, and knows of nothing; here it is told which versions are up and
 * what clients counted of each, and what it decides is put into the interface's route, told as
 * events, and kept on disk. An interface has one rollout at most.
 *
 * It is done from the loop, behind each turn: a rollout is looked at when it wants to be, and when
 * instances came or went. With none, and with none that waits for a time, the broker sleeps as
 * ever.
 *
 * An operator may set weights by hand beside a rollout. They count as long as the rollout stays in
 * the phase in which that was done; once it goes on, its own shares do again.
 *
 * After a start, a rollout is in the step where it was, but its instances come back one by one. So
 * it is told of versions only when both are there again, or some seconds later; until then the
 * weights that instances remember count.
 */
#include "broker/rollouts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/folder.h"

struct rollout_time rollouts_now(void)
{
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    return (struct rollout_time){
        .ns = clock_now_ns(),
        .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / (int64_t)NS_PER_MS,
    };
}

bool rollout_running(enum rollout_phase phase)
{
    return phase != ROLLOUT_COMPLETED && phase != ROLLOUT_ROLLED_BACK;
}

static struct rollout_view view_of(const struct rollouts_item *item)
{
    struct rollout_view view;
    rollout_view(item->rollout, &view);
    return view;
}

struct rollouts_item *rollouts_find(const struct broker *broker, const char *name)
{
    struct rollouts_item *item = NULL;
    if (broker->rollouts && name)
        HASH_FIND_STR(broker->rollouts->items, name, item);
    return item;
}

/* The one that has the interface; NULL: none. */
static struct rollouts_item *rollouts_of(const struct broker *broker, const char *interface)
{
    if (!broker->rollouts)
        return NULL;
    for (struct rollouts_item *item = broker->rollouts->items; item; item = item->hh.next)
        if (strcmp(view_of(item).spec->interface, interface) == 0)
            return item;
    return NULL;
}

/* ---- The route ---- */

static struct version *find_version(const struct interface *interface, const char *name)
{
    struct semver semver;
    return semver_parse(name, &semver) == 0 ? interface_version(interface, &semver) : NULL;
}

/* Calls that fit a match go to the canary. @rules, @conditions: as large as a spec's can be.
 * Return: how many rules. */
static size_t rules_of(const struct rollout_spec *spec, struct route_rule *rules,
                       struct route_condition_text *conditions)
{
    static const enum route_match_kind kinds[] = {ROUTE_MATCH_EXACT, ROUTE_MATCH_PREFIX,
                                                  ROUTE_MATCH_REGEX, ROUTE_MATCH_PRESENT};
    static_assert(ROLLOUT_MATCH_EXACT == 0 && ROLLOUT_MATCH_PRESENT == 3, "their order");
    for (uint32_t i = 0; i < spec->header_count; i++)
        conditions[i] = (struct route_condition_text){.kind = kinds[spec->headers[i].kind],
                                                      .key = spec->headers[i].key,
                                                      .value = spec->headers[i].value};
    for (uint32_t i = 0; i < spec->match_count; i++)
        rules[i] = (struct route_rule){.conditions = &conditions[spec->matches[i].first_header],
                                       .condition_count = spec->matches[i].header_count};
    return spec->match_count;
}

/* What cannot be published is said once, and tried again at the next look. */
static void route_trouble(struct rollouts_item *item, const char *what)
{
    if (strcmp(item->trouble, what) == 0)
        return;
    (void)snprintf(item->trouble, sizeof(item->trouble), "%s", what);
    const struct event event = {.topic = "refused", .interface = view_of(item).spec->interface};
    if (what[0] != '\0')
        event_publish(item->broker, &event, "rollout %s: its route is not published: %s",
                      item->name, what);
}

static void route_publish(struct rollouts_item *item, struct interface *interface,
                          const struct rollout_decision *decision)
{
    struct route_rule rules[ROLLOUT_MATCH_MAX];
    struct route_condition_text conditions[ROLLOUT_HEADER_MAX];
    const struct rollout_spec *spec = view_of(item).spec;
    bool has_stable = find_version(interface, decision->stable) != NULL;
    bool has_canary = find_version(interface, decision->canary) != NULL;
    if ((!has_stable && decision->canary_buckets < ROUTE_BUCKETS) ||
        (!has_canary && decision->canary_buckets > 0))
        return; /* it is not back yet, or gone since: there will be another decision */
    const struct route_rollout route = {
        .name = item->name,
        .stable = has_stable ? decision->stable : decision->canary,
        .canary = has_canary ? decision->canary : decision->stable,
        .canary_buckets = decision->canary_buckets,
        .salt = spec->salt,
        .sticky_key = spec->sticky_key,
        .rules = rules,
        .rule_count = decision->match ? rules_of(spec, rules, conditions) : 0,
        .mirror_buckets = decision->mirror_buckets,
    };
    struct error_text error = {""};
    int r = routes_set_rollout(item->broker, interface, &route, &error);
    route_trouble(item, r < 0 ? error.text[0] ? error.text : strerror(-r) : "");
}

static void item_route(struct rollouts_item *item, const struct rollout_decision *decision)
{
    const struct rollout_view view = view_of(item);
    if (item->overridden && view.phase == item->overridden_in)
        return;
    item->overridden = false;
    struct interface *interface = directory_find(&item->broker->directory, view.spec->interface);
    if (interface && interface->slot >= 0 && decision->versions_known)
        route_publish(item, interface, decision);
}

/* ---- Telling, and looking ---- */

static void tell(const struct rollouts_item *item, const struct rollout_entry *entry)
{
    const struct rollout_view view = view_of(item);
    char topic[sizeof("rollout.") + ROLLOUT_WHAT_BYTES_MAX];
    (void)snprintf(topic, sizeof(topic), "rollout.%s", entry->what);
    for (char *space = topic; (space = strchr(space, ' ')) != NULL;)
        *space = '-';
    const struct event event = {
        .topic = topic, .interface = view.spec->interface, .version = view.canary};
    char where[64] = "";
    if (entry->phase == ROLLOUT_PROGRESSING || entry->phase == ROLLOUT_APPROVAL)
        (void)snprintf(where, sizeof(where), " step %u of %u,", entry->stage + 1,
                       view.spec->stage_count);
    event_publish(item->broker, &event, "rollout %s of %s: %s by %s:%s the canary gets %g %%: %s",
                  item->name, view.spec->interface, entry->what, entry->who, where,
                  entry->canary_buckets * 100.0 / ROLLOUT_BUCKETS, entry->why);
}

static void tell_news(struct rollouts_item *item)
{
    const struct rollout_entry *entry;
    for (uint32_t i = 0; (entry = rollout_history(item->rollout, i)) != NULL; i++) {
        if (entry->serial <= item->told)
            continue;
        item->told = entry->serial;
        tell(item, entry);
    }
}

static size_t versions_up(const struct rollouts_item *item, const char *names[ROUTE_VERSION_MAX])
{
    const struct interface *interface =
        directory_find(&item->broker->directory, view_of(item).spec->interface);
    size_t count = 0;
    for (uint32_t i = 0; interface && i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i] && version_up(interface->versions[i]))
            names[count++] = interface->versions[i]->name;
    return count;
}

static void item_step(struct rollouts_item *item, struct rollout_time now)
{
    const struct rollout_view view = view_of(item);
    struct rollout_figures figures[2] = {0};
    const char *versions[2] = {view.stable, view.canary};
    stats_figures(item->broker, view.spec->interface, versions, figures);
    struct rollout_decision decision;
    rollout_step(item->rollout, now, view.stable[0] ? &figures[0] : NULL,
                 view.canary[0] ? &figures[1] : NULL, &decision);
    /* Never at once again, whatever it says: the loop has others, too. */
    item->next_ns = decision.next_ns > now.ns ? decision.next_ns : now.ns + NS_PER_MS;
    item_route(item, &decision);
    tell_news(item);
    bool due = rollout_running(view_of(item).phase) && decision.next_ns != CLOCK_NEVER &&
               now.ns - item->kept_ns >= ROLLOUTS_KEEP_NS;
    if (decision.changed || due)
        rollouts_keep(item);
}

static void item_look(struct rollouts_item *item)
{
    const char *names[ROUTE_VERSION_MAX];
    struct rollout_time now = rollouts_now();
    size_t count = versions_up(item, names);
    rollout_offer(item->rollout, names, count, now);
    item_step(item, now);
}

/* ---- Coming and going ---- */

static int item_new(struct rollouts *rollouts, struct rollout *rollout,
                    struct rollouts_item **ret_item)
{
    struct rollouts_item *item = calloc(1, sizeof(*item));
    if (!item)
        return -ENOMEM;
    item->broker = rollouts->broker;
    item->rollout = rollout;
    item->gone_at_ns = CLOCK_NEVER;
    (void)snprintf(item->name, sizeof(item->name), "%s", view_of(item).spec->name);
    HASH_ADD_STR(rollouts->items, name, item);
    *ret_item = item;
    return 0;
}

static struct rollouts_item *item_free(struct rollouts_item *item)
{
    HASH_DEL(item->broker->rollouts->items, item);
    rollout_free(item->rollout);
    free(item);
    return NULL;
}

static int may_come(const struct broker *broker, const struct rollout_spec *spec,
                    struct error_text *error)
{
    const struct rollouts_item *other = rollouts_of(broker, spec->interface);
    if (other)
        return error_set(error, -EEXIST,
                         "rollout %s has interface %s already, and an interface has one at most: "
                         "delete that first, or give this the same name",
                         other->name, spec->interface);
    if (HASH_COUNT(broker->rollouts->items) >= ROLLOUTS_MAX)
        return error_set(error, -E2BIG, "there are %d rollouts already, and no more may be",
                         ROLLOUTS_MAX);
    return 0;
}

static int come(struct broker *broker, struct rollout_spec *spec, const char *who,
                struct rollouts_item **ret_item, struct error_text *error)
{
    struct rollout *rollout;
    int r = may_come(broker, spec, error);
    if (r < 0) {
        rollout_spec_free(spec);
        return r;
    }
    r = rollout_new(spec, who, rollouts_now(), &rollout);
    if (r == 0) {
        r = item_new(broker->rollouts, rollout, ret_item);
        if (r < 0)
            rollout_free(rollout);
    }
    return r < 0 ? error_set(error, r, "the broker is out of memory") : 0;
}

/* Whether a document from there may change it. */
static int may_change(const struct rollouts_item *item, const char *source,
                      struct error_text *error)
{
    bool there = item->gone_at_ns == CLOCK_NEVER;
    if (item->file[0] == '\0' || (source && (strcmp(item->file, source) == 0 || !there)))
        return 0;
    return error_set(error, -EEXIST, "rollout %s is the one of %s/%s: change it there", item->name,
                     item->broker->rollouts->path, item->file);
}

int rollouts_apply(struct broker *broker, const char *text, size_t bytes, const char *file,
                   const char *source, const char *who, struct rollouts_item **ret_item,
                   struct error_text *error)
{
    struct rollout_spec *spec;
    struct rollouts_item *item;
    int r = rollout_spec_parse(text, bytes, file, &spec, error);
    if (r < 0)
        return r;
    item = rollouts_find(broker, spec->name);
    if (item) {
        r = may_change(item, source, error);
        if (r < 0)
            rollout_spec_free(spec);
        else
            r = rollout_apply(item->rollout, spec, who, rollouts_now(), error);
    } else {
        r = come(broker, spec, who, &item, error);
    }
    if (r < 0)
        return error_prefix(error, r, "%s", file);
    item->gone_at_ns = CLOCK_NEVER;
    bool moved = source && strcmp(item->file, source) != 0;
    if (source)
        (void)snprintf(item->file, sizeof(item->file), "%s", source);
    if (r != ROLLOUT_E_SAME)
        item_look(item);
    if (r != ROLLOUT_E_SAME || moved)
        rollouts_keep(item);
    tell_news(item);
    *ret_item = item;
    return 0;
}

/* The interface is nobody's again; all goes to the stable version, or stays as it is. */
static void item_leave_route(struct rollouts_item *item)
{
    const struct rollout_view view = view_of(item);
    struct interface *interface = directory_find(&item->broker->directory, view.spec->interface);
    const struct rollout_decision back = {
        .versions_known = true, .stable = view.stable, .canary = view.canary};
    if (!interface || interface->slot < 0)
        return;
    if (view.phase != ROLLOUT_COMPLETED && !item->overridden && view.stable[0])
        route_publish(item, interface, &back);
    routes_end_rollout(item->broker, interface);
}

void rollouts_end(struct rollouts_item *item, const char *who, const char *why)
{
    const struct rollout_view view = view_of(item);
    const struct event event = {
        .topic = "rollout.delete", .interface = view.spec->interface, .version = view.canary};
    event_publish(item->broker, &event, "rollout %s of %s: delete by %s: it was %s: %s", item->name,
                  view.spec->interface, who, rollout_phase_name(view.phase), why);
    item_leave_route(item);
    rollouts_forget(item);
    item->broker->rollouts->ended = true;
    item_free(item);
}

int rollouts_restore(struct rollouts *rollouts, struct rollout *rollout, const char *file,
                     bool overridden, struct error_text *error)
{
    struct rollouts_item *item;
    struct rollout_view view;
    rollout_view(rollout, &view);
    int r = may_come(rollouts->broker, view.spec, error);
    if (r == 0 && item_new(rollouts, rollout, &item) < 0)
        r = error_set(error, -ENOMEM, "the broker is out of memory");
    if (r < 0)
        return r;
    const struct rollout_entry *last =
        view.history_count ? rollout_history(rollout, view.history_count - 1) : NULL;
    (void)snprintf(item->file, sizeof(item->file), "%s", file);
    item->told = last ? last->serial : 0;
    item->overridden = overridden;
    item->overridden_in = view.phase;
    log_info("rollout %s of %s goes on: %s, step %u of %u, the canary gets %g %%", item->name,
             view.spec->interface, rollout_phase_name(view.phase), view.stage + 1,
             view.spec->stage_count, view.canary_buckets * 100.0 / ROLLOUT_BUCKETS);
    return 0;
}

/* ---- Operators ---- */

enum parley_status rollouts_order(struct broker *broker, const char *name, enum rollout_verb verb,
                                  const char *who, const char *why, struct error_text *error)
{
    struct rollouts_item *item = rollouts_find(broker, name);
    if (!item) {
        (void)error_set(error, 0, "there is no rollout \"%.80s\"; parley rollout ls lists them",
                        name ? name : "");
        return PARLEY_NOT_FOUND;
    }
    int r = rollout_order(item->rollout, verb, who, why, rollouts_now(), error);
    if (r < 0)
        return r == -EINVAL ? PARLEY_FAILED_PRECONDITION : PARLEY_RESOURCE_EXHAUSTED;
    item_look(item);
    rollouts_keep(item);
    tell_news(item);
    return PARLEY_OK;
}

enum parley_status rollouts_allow_route(const struct broker *broker,
                                        const struct interface *interface, bool force,
                                        struct error_text *error)
{
    const struct rollouts_item *item = rollouts_of(broker, interface->name);
    if (!item || force || !rollout_running(view_of(item).phase))
        return PARLEY_OK;
    (void)error_set(error, 0,
                    "rollout %s sets the shares of %s (it is %s): use --force, which pauses it, or "
                    "delete it",
                    item->name, interface->name, rollout_phase_name(view_of(item).phase));
    return PARLEY_FAILED_PRECONDITION;
}

void rollouts_route_set(struct broker *broker, struct interface *interface, const char *who)
{
    struct rollouts_item *item = rollouts_of(broker, interface->name);
    struct error_text error = {""};
    if (!item)
        return;
    enum rollout_phase phase = view_of(item).phase;
    item->overridden = true;
    item->overridden_in = rollout_running(phase) ? ROLLOUT_PAUSED : phase;
    if (rollout_running(phase) && phase != ROLLOUT_PAUSED &&
        rollouts_order(broker, item->name, ROLLOUT_PAUSE, who, "weights were set by hand",
                       &error) != PARLEY_OK)
        item->overridden_in = phase;
    routes_end_rollout(broker, interface);
    rollouts_keep(item);
}

enum parley_status rollouts_who(const struct replier_request *asker,
                                char who[ROLLOUT_WHO_BYTES_MAX + 1], struct error_text *error)
{
    const struct replier_peer *peer = asker ? replier_request_peer(asker) : NULL;
    (void)snprintf(who, ROLLOUT_WHO_BYTES_MAX + 1, "%.*s", ROLLOUT_WHO_BYTES_MAX,
                   peer ? peer->text : "the broker");
    if (!peer || peer->connection != 0)
        return PARLEY_OK;
    (void)error_set(error, 0, "who asks cannot be told: stay connected until the answer has come");
    return PARLEY_UNAUTHENTICATED;
}

/* ---- The loop ---- */

uint64_t rollouts_next_ns(const struct broker *broker)
{
    uint64_t next = CLOCK_NEVER;
    if (!broker->rollouts)
        return next;
    const struct rollouts_item *item = broker->rollouts->items;
    if (broker->rollouts->ended)
        return 0;
    if (item && broker->rollouts->offered_at != broker->directory.changes)
        return 0;
    for (; item; item = item->hh.next) {
        next = item->next_ns < next ? item->next_ns : next;
        next = item->gone_at_ns < next ? item->gone_at_ns : next;
    }
    return next;
}

void rollouts_turn(struct broker *broker)
{
    struct rollouts *rollouts = broker->rollouts;
    if (!rollouts)
        return;
    if (rollouts->ended) {
        rollouts->ended = false;
        rollouts_watch_again(rollouts);
    }
    if (!rollouts->items)
        return;
    bool changed = rollouts->offered_at != broker->directory.changes;
    rollouts->offered_at = broker->directory.changes;
    uint64_t now_ns = clock_now_ns();
    struct rollouts_item *item;
    struct rollouts_item *next;
    HASH_ITER (hh, rollouts->items, item, next) {
        if (item->gone_at_ns <= now_ns)
            rollouts_end(item, "a file that is gone", "its document is not in the folder any more");
        else if (changed || item->next_ns <= now_ns)
            item_look(item);
    }
}

int rollouts_new(struct broker *broker, const char *folder, const char *state,
                 struct rollouts **ret_rollouts, struct error_text *error)
{
    struct rollouts *rollouts = calloc(1, sizeof(*rollouts));
    if (!rollouts)
        return error_set(error, -ENOMEM, "out of memory");
    rollouts->broker = broker;
    *ret_rollouts = rollouts; /* broker->rollouts: what is read below looks there */
    (void)snprintf(rollouts->path, sizeof(rollouts->path), "%s", folder ? folder : "");
    (void)snprintf(rollouts->state, sizeof(rollouts->state), "%s", state ? state : "");
    int r = rollouts_state_read(rollouts, error);
    if (r == 0 && folder)
        r = rollouts_watch(rollouts, error);
    if (r < 0)
        *ret_rollouts = rollouts_free(rollouts);
    return r;
}

struct rollouts *rollouts_free(struct rollouts *rollouts)
{
    if (!rollouts)
        return NULL;
    folder_free(rollouts->folder);
    struct rollouts_item *item;
    struct rollouts_item *next;
    HASH_ITER (hh, rollouts->items, item, next) {
        rollouts_keep(item);
        item_free(item);
    }
    free(rollouts);
    return NULL;
}
