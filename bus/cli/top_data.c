/*
 * What `parley top` shows: the broker's answers, and what happened between the last two.
 *
 * One NNG connection is kept and used for all questions; if it breaks, the next round makes
 * another. Counters are subtracted as in cmd_stats.c: only between two answers of one broker, and
 * of what was there in both. Behind a restart endpoints bring all they ever counted, one after the
 * other, so for some seconds nothing is said at all.
 */
#include "cli/top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/histogram.h"
#include "cli/json.h"
#include "parley/status.h"
#include "report/report.h"
#include "wire/wire.h"

#define REJOIN_NS (5 * NS_PER_S)

const char *const top_sort_names[TOP_SORT_COUNT] = {"name",   "share", "rate",
                                                    "errors", "p99",   "in-flight"};

/* ---- Between two answers ---- */

struct sum {
    uint64_t ended, errors, in_flight;
    uint64_t bucket[HISTOGRAM_BUCKET_COUNT];
};

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* The unsigned arithmetic is meant: what is subtracted later was added before. */
static void add(struct sum *sum, const Parley__MethodStats *method, uint64_t sign)
{
    for (size_t i = 0; i < method->n_by_status; i++) {
        sum->ended += sign * method->by_status[i];
        if (status_is_fault((unsigned)i))
            sum->errors += sign * method->by_status[i];
    }
    for (size_t i = 0; method->latency && i < method->latency->n_bucket; i++)
        if (i < HISTOGRAM_BUCKET_COUNT)
            sum->bucket[i] += sign * method->latency->bucket[i];
}

static bool same_row(const Parley__MethodStats *a, const Parley__MethodStats *b)
{
    return a->side == b->side && same(a->interface, b->interface) && same(a->method, b->method) &&
           same(a->asked, b->asked) && same(a->served, b->served);
}

static const Parley__MethodStats *find(const Parley__Stats *stats,
                                       const Parley__MethodStats *method)
{
    for (size_t i = 0; stats && i < stats->n_method; i++)
        if (same_row(stats->method[i], method))
            return stats->method[i];
    return NULL;
}

/* The answer to compare with; NULL: there is none. */
static const Parley__Stats *earlier(const struct top *top)
{
    const Parley__Stats *now = top->stats->stats;
    const Parley__Stats *before = top->before ? top->before->stats : NULL;
    if (!before || before->broker_id != now->broker_id || before->uptime_ns >= now->uptime_ns)
        return NULL;
    return top->restarted && before->uptime_ns < REJOIN_NS ? NULL : before;
}

/* What ended in between, of callers of @interface and @version; NULL: of all. */
static struct sum sum_of(const struct top *top, const char *interface, const char *version)
{
    struct sum sum = {0};
    const Parley__Stats *now = top->stats->stats, *before = earlier(top);
    for (size_t i = 0; i < now->n_method; i++) {
        const Parley__MethodStats *method = now->method[i];
        if (method->side != PARLEY__SIDE__CLIENT ||
            (interface && !same(method->interface, interface)) ||
            (version && !same(method->served, version)))
            continue;
        sum.in_flight += method->in_flight;
        const Parley__MethodStats *last = find(before, method);
        if (!before || (last && last->calls > method->calls))
            continue;
        add(&sum, method, 1);
        if (last)
            add(&sum, last, (uint64_t)-1);
    }
    return sum;
}

static double seconds_between(const struct top *top)
{
    const Parley__Stats *before = earlier(top);
    return before ? (double)(top->stats->stats->uptime_ns - before->uptime_ns) / (double)NS_PER_S
                  : 0;
}

static double percent_of(uint64_t part, uint64_t all)
{
    return all > 0 ? 100.0 * (double)part / (double)all : -1;
}

static void fill_row(const struct top *top, struct top_row *row)
{
    const struct sum sum = sum_of(top, row->interface, row->version);
    const struct sum all = sum_of(top, row->interface, NULL);
    double seconds = seconds_between(top);
    row->share_percent = percent_of(sum.ended, all.ended);
    row->rate = seconds > 0 ? (double)sum.ended / seconds : -1;
    row->error_percent = percent_of(sum.errors, sum.ended);
    row->p50_ns = histogram_quantile(sum.bucket, 0.5);
    row->p99_ns = histogram_quantile(sum.bucket, 0.99);
    row->in_flight = sum.in_flight;
}

static struct top_row *row_take(struct top *top, const char *interface, const char *version)
{
    for (size_t i = 0; i < top->row_count; i++)
        if (same(top->rows[i].interface, interface) && same(top->rows[i].version, version))
            return &top->rows[i];
    struct top_row *rows = text_alloc((top->row_count + 1) * sizeof(*rows));
    if (top->row_count > 0)
        memcpy(rows, top->rows, top->row_count * sizeof(*rows));
    free(top->rows);
    top->rows = rows;
    rows[top->row_count] =
        (struct top_row){.interface = interface, .version = version, .set_percent = -1};
    return &rows[top->row_count++];
}

static void add_published(struct top *top, const Parley__InterfaceInfo *interface)
{
    for (size_t v = 0; v < interface->n_version; v++) {
        const Parley__VersionInfo *version = interface->version[v];
        struct top_row *row = row_take(top, interface->name, version->version);
        row->set_percent = version->weight_per_100000 / 1000.0;
        for (size_t i = 0; i < version->n_instance; i++) {
            row->draining += version->instance[i]->draining;
            row->up += !version->instance[i]->draining;
        }
    }
}

/* What is published, and what still has calls. */
static void make_rows(struct top *top)
{
    const Parley__ListReply *list = top->list->list;
    const Parley__Stats *stats = top->stats->stats;
    top->row_count = 0;
    for (size_t i = 0; i < list->n_interface; i++)
        add_published(top, list->interface[i]);
    for (size_t i = 0; i < stats->n_method; i++) {
        const Parley__MethodStats *method = stats->method[i];
        if (method->side == PARLEY__SIDE__CLIENT && method->served && *method->served &&
            method->in_flight > 0)
            (void)row_take(top, method->interface, method->served);
    }
    for (size_t i = 0; i < top->row_count; i++)
        fill_row(top, &top->rows[i]);
    const struct sum all = sum_of(top, NULL, NULL);
    double seconds = seconds_between(top);
    top->rate = seconds > 0 ? (double)all.ended / seconds : -1;
    top->error_percent = percent_of(all.errors, all.ended);
    top->in_flight = all.in_flight;
    top_sort(top);
}

/* ---- Order ---- */

static int by_name(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    int order = strcmp(x->interface ? x->interface : "", y->interface ? y->interface : "");
    return order ? order : version_compare(x->version, y->version);
}

/* The largest first. */
static int descending(double x, double y, const void *a, const void *b)
{
    return x > y ? -1 : x < y ? 1 : by_name(a, b);
}

#define TOP_ORDER(name, member)                                                                    \
    static int name(const void *a, const void *b)                                                  \
    {                                                                                              \
        return descending((double)((const struct top_row *)a)->member,                             \
                          (double)((const struct top_row *)b)->member, a, b);                      \
    }
TOP_ORDER(by_share, share_percent)
TOP_ORDER(by_rate, rate)
TOP_ORDER(by_errors, error_percent)
TOP_ORDER(by_p99, p99_ns)
TOP_ORDER(by_flight, in_flight)

void top_sort(struct top *top)
{
    static int (*const orders[TOP_SORT_COUNT])(const void *, const void *) = {
        by_name, by_share, by_rate, by_errors, by_p99, by_flight};
    if (top->row_count > 0)
        qsort(top->rows, top->row_count, sizeof(top->rows[0]), orders[top->sort]);
}

/* ---- Asking ---- */

/* Return: 0: *ret_reply is the caller's, whatever its status; -errno: top->trouble. */
static int ask(struct top *top, const Parley__ControlRequest *request,
               Parley__ControlReply **ret_reply)
{
    uint8_t *answer, data[256];
    size_t answer_bytes;
    if (protobuf_c_message_get_packed_size(&request->base) > sizeof(data))
        return error_set(&top->trouble, -E2BIG, "a question that is too long");
    size_t bytes = protobuf_c_message_pack(&request->base, data);
    int r = nng_asker_ask(top->asker, data, bytes, &answer, &answer_bytes, &top->trouble);
    if (r < 0)
        return r;
    ProtobufCMessage *reply;
    r = wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &reply,
                    &top->trouble);
    free(answer);
    if (r < 0) {
        top->foreign = true;
        return error_prefix(&top->trouble, r, "what answers there is no Parley broker");
    }
    *ret_reply = (Parley__ControlReply *)reply;
    return 0;
}

/* The same, but only @body will do. */
static int ask_for(struct top *top, const Parley__ControlRequest *request,
                   Parley__ControlReply__BodyCase body, Parley__ControlReply **ret_reply)
{
    Parley__ControlReply *reply;
    int r = ask(top, request, &reply);
    if (r < 0)
        return r;
    if (reply->status == PARLEY_OK && reply->body_case == body) {
        *ret_reply = reply;
        return 0;
    }
    top->foreign = true;
    r = error_set(&top->trouble, -EPROTO, "the broker answered %s: %s",
                  parley_status_name((enum parley_status)reply->status),
                  reply->text && *reply->text ? reply->text : "not what was asked for");
    wire_free(reply);
    return r;
}

static int ask_list(struct top *top, Parley__ControlReply **ret)
{
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    request.list = &list;
    return ask_for(top, &request, PARLEY__CONTROL_REPLY__BODY_LIST, ret);
}

static int ask_stats(struct top *top, Parley__ControlReply **ret)
{
    Parley__StatsRequest stats = PARLEY__STATS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_STATS;
    request.stats = &stats;
    return ask_for(top, &request, PARLEY__CONTROL_REPLY__BODY_STATS, ret);
}

/* @name: NULL: all, without their gates. *ret NULL: the broker runs none, or knows of none. */
static int ask_rollout(struct top *top, char *name, Parley__ControlReply **ret)
{
    Parley__RolloutRequest rollout = PARLEY__ROLLOUT_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_ROLLOUT;
    request.rollout = &rollout;
    rollout.has_action = true;
    rollout.action =
        name ? PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW : PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST;
    rollout.name = name;
    Parley__ControlReply *reply;
    int r = ask(top, &request, &reply);
    if (r < 0)
        return r;
    if (reply->status != PARLEY_OK || reply->body_case != PARLEY__CONTROL_REPLY__BODY_ROLLOUT)
        reply = wire_free(reply);
    *ret = reply;
    return 0;
}

static void remember_event(struct top *top, Parley__Event *event)
{
    if (!event)
        return;
    if (top->event_count == TOP_EVENT_MAX) {
        wire_free(top->events[0]);
        top->event_count--;
        memmove(top->events, top->events + 1, top->event_count * sizeof(top->events[0]));
    }
    top->events[top->event_count++] = event;
}

/* A copy that is a message of its own, as the answer is freed. NULL: no memory. */
static Parley__Event *copy_event(const Parley__Event *event)
{
    size_t bytes = parley__event__get_packed_size(event);
    uint8_t *data = text_alloc(bytes);
    ProtobufCMessage *copy = NULL;
    parley__event__pack(event, data);
    if (wire_unpack(&parley__event__descriptor, data, bytes, NULL, &copy, NULL) < 0)
        copy = NULL;
    free(data);
    return (Parley__Event *)copy;
}

/* A broker that is older than this question has no events to tell. */
static int ask_events(struct top *top)
{
    Parley__EventsRequest events = PARLEY__EVENTS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ControlReply *reply;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_EVENTS;
    request.events = &events;
    events.has_since = true;
    events.since = top->event_last;
    int r = ask(top, &request, &reply);
    if (r < 0)
        return r;
    if (reply->status == PARLEY_OK && reply->body_case == PARLEY__CONTROL_REPLY__BODY_EVENTS) {
        for (size_t i = 0; i < reply->events->n_event; i++)
            remember_event(top, copy_event(reply->events->event[i]));
        top->event_last = reply->events->last;
    }
    wire_free(reply);
    return 0;
}

/* With its gates: SHOW for each of LIST. */
static int ask_rollouts(struct top *top, Parley__ControlReply **ret)
{
    int r = ask_rollout(top, NULL, ret);
    if (r < 0 || !*ret)
        return r;
    const Parley__RolloutReply *list = (*ret)->rollout;
    for (size_t i = 0; i < list->n_rollout && i < TOP_ROLLOUT_MAX; i++) {
        Parley__ControlReply *one;
        if (list->rollout[i]->json || !list->rollout[i]->name)
            continue;
        r = ask_rollout(top, list->rollout[i]->name, &one);
        if (r < 0)
            return r;
        if (one && one->rollout->n_rollout == 1 && one->rollout->rollout[0]->json)
            json_object_set_new(top->documents, list->rollout[i]->name,
                                json_loads(one->rollout->rollout[0]->json, 0, NULL));
        wire_free(one);
    }
    return 0;
}

/* Into places of its own, so that nothing of an answer is shown beside another one's. */
static int ask_all(struct top *top, Parley__ControlReply *ret[3])
{
    int r = ask_list(top, &ret[0]);
    if (r == 0)
        r = ask_stats(top, &ret[1]);
    if (r < 0)
        return r;
    if (top->broker_id != 0 && top->broker_id != ret[1]->stats->broker_id) {
        top->restarted = true;
        top->event_last = 0; /* another one counts from the beginning */
    }
    top->broker_id = ret[1]->stats->broker_id;
    json_object_clear(top->documents);
    r = ask_rollouts(top, &ret[2]);
    return r < 0 ? r : ask_events(top);
}

static void take(struct top *top, Parley__ControlReply *replies[3])
{
    wire_free(top->before);
    wire_free(top->list);
    wire_free(top->rollouts);
    top->before = top->stats;
    top->list = replies[0];
    top->stats = replies[1];
    top->rollouts = replies[2];
}

bool top_ask(struct top *top, uint64_t timeout_ns)
{
    Parley__ControlReply *replies[3] = {NULL};
    const char *url = control_url(top->cli);
    if (!url)
        return false;
    if (!top->documents)
        top->documents = json_object();
    top->trouble.text[0] = '\0';
    top->foreign = false;
    int r =
        top->asker ? 0 : control_asker_new(top->cli, url, timeout_ns, &top->asker, &top->trouble);
    if (r == 0)
        r = ask_all(top, replies);
    if (r == 0) {
        take(top, replies);
        make_rows(top);
        return true;
    }
    top->failed = r;
    if (top->trouble.text[0] == '\0')
        error_set(&top->trouble, r, "%s", strerror(-r));
    top->asker = nng_asker_free(top->asker);
    for (size_t i = 0; i < 3; i++)
        wire_free(replies[i]);
    return false;
}

void top_deinit(struct top *top)
{
    top->asker = nng_asker_free(top->asker);
    wire_free(top->before);
    wire_free(top->stats);
    wire_free(top->list);
    wire_free(top->rollouts);
    for (size_t i = 0; i < top->event_count; i++)
        wire_free(top->events[i]);
    json_decref(top->documents);
    free(top->rows);
}

/* ---- JSON ---- */

static void set_known(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, value >= 0 ? json_real(value) : json_null());
}

static void set_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *row_json(const struct top_row *row)
{
    json_t *object = json_object();
    json_set_text(object, "interface", row->interface);
    json_set_text(object, "version", row->version);
    set_known(object, "set_percent", row->set_percent);
    set_known(object, "share_percent", row->share_percent);
    set_known(object, "calls_per_s", row->rate);
    set_known(object, "error_percent", row->error_percent);
    set_known(object, "p50_ns", row->p50_ns ? (double)row->p50_ns : -1);
    set_known(object, "p99_ns", row->p99_ns ? (double)row->p99_ns : -1);
    set_count(object, "in_flight", row->in_flight);
    set_count(object, "instances", row->up);
    set_count(object, "draining", row->draining);
    return object;
}

json_t *top_json(const struct top *top)
{
    const Parley__Stats *stats = top->stats->stats;
    json_t *object = json_object(), *versions = json_array(), *rollouts = json_array(),
           *events = json_array();
    for (size_t i = 0; i < top->row_count; i++)
        json_array_append_new(versions, row_json(&top->rows[i]));
    const char *name;
    json_t *document;
    json_object_foreach(top->documents, name, document) json_array_append(rollouts, document);
    for (size_t i = 0; i < top->event_count; i++)
        json_array_append_new(events, report_event(top->events[i]));
    json_set_id(object, "broker", stats->broker_id);
    set_count(object, "time_unix_ns", stats->time_unix_ns);
    set_count(object, "uptime_ns", stats->uptime_ns);
    set_count(object, "endpoints", top->list->list->n_endpoint);
    set_known(object, "calls_per_s", top->rate);
    set_known(object, "error_percent", top->error_percent);
    set_count(object, "in_flight", top->in_flight);
    json_object_set_new(object, "versions", versions);
    json_object_set_new(object, "rollouts", rollouts);
    json_object_set_new(object, "events", events);
    return object;
}
