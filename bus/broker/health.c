/*
 * Asking instances how they are.
 *
 * A round asks each endpoint that has an instance of its interface, once, by a Ping on its link; an
 * endpoint answers in parley_dispatch(), so that an answer says that its program turns its loop. If
 * one is asked already it is not asked again: its answer, when it comes, is an answer to both. A
 * round ends when all have answered, or when its time is over, and tells what it sees then: an
 * instance that has left meanwhile is not told of, one that came meanwhile is.
 *
 * A guest (serve.c) is no endpoint's loop but a REP socket, which says nothing unasked: that its
 * connection stands is all that is known, and the broker's own endpoint answers for it.
 *
 * A SURVEYOR's message names an interface, or is empty. Every instance is one answer, a line of
 * JSON, so that each of them can be counted by who reads nothing in it.
 */
#include "broker/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/guard.h"
#include "schema/schema.h"

struct health_round {
    LIST_ENTRY(health_round) entry;
    struct broker *broker;
    char interface[BROKER_NAME_BYTES];
    uint64_t began_ns, until_ns;
    health_done *done;
    void *data;
};

struct health {
    struct source source; /* first: surveys */
    struct broker *broker;
    struct replier *respondent; /* NULL: none */
    uint64_t ping_last;
    uint32_t round_count;
    bool due; /* an answer has come */
    LIST_HEAD(, health_round) rounds;
};

static struct health *health_of(struct broker *broker)
{
    if (!broker->health) {
        broker->health = calloc(1, sizeof(*broker->health));
        if (broker->health) {
            broker->health->broker = broker;
            LIST_INIT(&broker->health->rounds);
        }
    }
    return broker->health;
}

/* ---- Asking ---- */

/* Not of who has hung up, and is buried at the end of this turn. */
static bool concerns(const struct health_round *round, const struct instance *instance)
{
    return !instance->endpoint->doomed &&
           (!round->interface[0] ||
            strcmp(instance->version->interface->name, round->interface) == 0);
}

static bool endpoint_concerns(const struct health_round *round, const struct endpoint *endpoint)
{
    const struct instance *instance;
    LIST_FOREACH (instance, &endpoint->instances, endpoint_entry) {
        if (concerns(round, instance))
            return true;
    }
    return false;
}

static void ping(struct health *health, struct endpoint *endpoint, uint64_t now_ns)
{
    Parley__Ping body = PARLEY__PING__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    body.has_number = true;
    body.number = ++health->ping_last;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PING;
    message.ping = &body;
    endpoint->ping_number = body.number;
    endpoint->ping_sent_ns = now_ns;
    (void)session_send(endpoint, &message, NULL, 0); /* who cannot be told is doomed */
}

struct health_round *health_ask(struct broker *broker, const char *interface, uint64_t timeout_ns,
                                health_done *done, void *data, struct error_text *error)
{
    struct health *health = health_of(broker);
    uint64_t now_ns = clock_now_ns();
    if (health && health->round_count == HEALTH_ROUND_MAX) {
        error_set(error, 0, "%d ask already how instances are: try again later", HEALTH_ROUND_MAX);
        return NULL;
    }
    struct health_round *round = health ? malloc(sizeof(*round)) : NULL;
    if (!round) {
        error_set(error, 0, "the broker is out of memory");
        return NULL;
    }
    timeout_ns = timeout_ns == 0 ? HEALTH_TIMEOUT_NS : timeout_ns;
    if (timeout_ns > HEALTH_TIMEOUT_NS_MAX)
        timeout_ns = HEALTH_TIMEOUT_NS_MAX;
    *round = (struct health_round){.broker = broker,
                                   .began_ns = now_ns,
                                   .until_ns = now_ns + timeout_ns,
                                   .done = done,
                                   .data = data};
    (void)snprintf(round->interface, sizeof(round->interface), "%s", interface ? interface : "");
    LIST_INSERT_HEAD(&health->rounds, round, entry);
    health->round_count++;
    health->due = true; /* there may be nobody to wait for */
    struct endpoint *endpoint = TAILQ_FIRST(&broker->endpoints);
    while (endpoint) {
        struct endpoint *next = TAILQ_NEXT(endpoint, entry); /* it may be doomed meanwhile */
        if (endpoint->ping_number == 0 && endpoint_concerns(round, endpoint))
            ping(health, endpoint, now_ns);
        endpoint = next;
    }
    return round;
}

void health_drop(struct health_round *round)
{
    LIST_REMOVE(round, entry);
    round->broker->health->round_count--;
    free(round);
}

void health_on_pong(struct endpoint *endpoint, const Parley__Pong *message)
{
    if (endpoint->ping_number == 0 || message->number != endpoint->ping_number)
        return; /* an old one, or one that nobody asked for */
    endpoint->ping_number = 0;
    endpoint->pong_at_ns = clock_now_ns();
    endpoint->pong_took_ns = endpoint->pong_at_ns - endpoint->ping_sent_ns;
    endpoint->broker->health->due = true;
}

void health_on_gone(struct broker *broker)
{
    if (broker->health)
        broker->health->due = true;
}

/* ---- Telling ---- */

/* Since it began. */
static bool has_answered(const struct health_round *round, const struct endpoint *endpoint)
{
    return endpoint->pong_at_ns >= round->began_ns;
}

static bool is_over(const struct health_round *round, uint64_t now_ns)
{
    const struct endpoint *endpoint;
    if (round->until_ns <= now_ns)
        return true;
    TAILQ_FOREACH (endpoint, &round->broker->endpoints, entry) {
        if (!has_answered(round, endpoint) && endpoint_concerns(round, endpoint))
            return false;
    }
    return true;
}

static Parley__Bus__V1__HealthState state_of(const struct health_round *round,
                                             const struct instance *instance)
{
    if (!has_answered(round, instance->endpoint))
        return PARLEY__BUS__V1__HEALTH_STATE__NO_ANSWER;
    if (instance->draining)
        return PARLEY__BUS__V1__HEALTH_STATE__DRAINING;
    if (instance->eject.ejected)
        return PARLEY__BUS__V1__HEALTH_STATE__EJECTED;
    return PARLEY__BUS__V1__HEALTH_STATE__SERVING;
}

static void describe(const struct health_round *round, const struct instance *instance,
                     Parley__Bus__V1__InstanceHealth *out)
{
    const struct endpoint *endpoint = instance->endpoint;
    parley__bus__v1__instance_health__init(out);
    out->has_instance_id = true;
    out->instance_id = instance->id;
    out->interface = instance->version->interface->name;
    out->version = (char *)(uintptr_t)instance->version->name;
    out->endpoint = (char *)(uintptr_t)endpoint->name;
    out->has_pid = endpoint->peer.pid > 0; /* not of who came by tcp:// */
    out->pid = out->has_pid ? (uint32_t)endpoint->peer.pid : 0;
    out->has_state = true;
    out->state = state_of(round, instance);
    out->has_answered_ns = has_answered(round, endpoint);
    out->answered_ns = endpoint->pong_took_ns;
}

static uint32_t count_instances(const struct health_round *round)
{
    uint32_t count = 0;
    const struct instance *instance, *next;
    HASH_ITER (hh, round->broker->directory.instances, instance, next)
        count += concerns(round, instance);
    return count;
}

static void tell(struct health_round *round)
{
    uint32_t count = count_instances(round), used = 0;
    Parley__Bus__V1__InstanceHealth *items = calloc(count + 1, sizeof(*items));
    Parley__Bus__V1__InstanceHealth **pointers = calloc(count + 1, sizeof(*pointers));
    Parley__Bus__V1__HealthReply reply = PARLEY__BUS__V1__HEALTH_REPLY__INIT;
    const struct instance *instance, *next;
    if (items && pointers) {
        HASH_ITER (hh, round->broker->directory.instances, instance, next) {
            if (!concerns(round, instance))
                continue;
            describe(round, instance, &items[used]);
            pointers[used] = &items[used];
            used++;
        }
    }
    reply.n_instance = used;
    reply.instance = pointers;
    health_done *done = round->done;
    void *data = round->data;
    health_drop(round);
    done(&reply, data);
    free(items);
    free(pointers);
}

uint64_t health_next_ns(const struct broker *broker)
{
    const struct health *health = broker->health;
    uint64_t at = CLOCK_NEVER;
    const struct health_round *round;
    if (!health)
        return at;
    if (health->respondent)
        at = replier_next_deadline_ns(health->respondent);
    LIST_FOREACH (round, &health->rounds, entry) {
        at = round->until_ns < at ? round->until_ns : at;
    }
    return health->due && health->round_count > 0 ? 0 : at;
}

/* ---- Surveys ---- */

static void respond(struct replier_request *survey, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (text)
        (void)replier_answer_also(survey, (const uint8_t *)text, strlen(text));
    free(text);
}

static const char *state_name(int state)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&parley__bus__v1__health_state__descriptor, state);
    return value ? value->name : "";
}

static void on_surveyed(const Parley__Bus__V1__HealthReply *reply, void *data)
{
    struct replier_request *survey = data;
    for (size_t i = 0; i < reply->n_instance; i++) {
        const Parley__Bus__V1__InstanceHealth *instance = reply->instance[i];
        json_t *object = json_pack(
            "{s:o, s:s, s:s, s:s, s:I, s:s}", "instance",
            json_sprintf("%016llx", (unsigned long long)instance->instance_id), "interface",
            instance->interface, "version", instance->version, "endpoint", instance->endpoint,
            "pid", (json_int_t)instance->pid, "state", state_name((int)instance->state));
        if (object && instance->has_answered_ns)
            json_object_set_new(object, "answered_ns",
                                json_integer((json_int_t)instance->answered_ns));
        respond(survey, object);
    }
    if (reply->n_instance == 0)
        respond(survey, json_pack("{s:i}", "instances", 0));
    replier_drop(survey);
}

static void refuse(struct replier_request *survey, const char *text)
{
    respond(survey, json_pack("{s:s}", "text", text));
    replier_drop(survey);
}

static void on_survey(struct health *health, struct replier_request *survey, const uint8_t *data,
                      size_t bytes)
{
    char interface[BROKER_NAME_BYTES] = "";
    struct error_text error = {""};
    if (bytes >= sizeof(interface)) {
        refuse(survey, "a survey names an interface, or is empty");
        return;
    }
    memcpy(interface, data, bytes);
    if (bytes > 0 && (strlen(interface) != bytes || schema_check_interface_name(interface) < 0)) {
        refuse(survey, "a survey names an interface, or is empty");
        return;
    }
    if (!guard_allows(health->broker, replier_request_peer(survey), POLICY_LOOK,
                      interface[0] ? interface : NULL, NULL, &error) ||
        !health_ask(health->broker, interface, 0, on_surveyed, survey, &error))
        refuse(survey, error.text);
}

static void on_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct health *health = (struct health *)source; /* its first member */
    for (unsigned i = 0; i < BROKER_BATCH_MAX; i++) {
        struct replier_request *survey;
        const uint8_t *data;
        size_t bytes;
        int r = replier_receive(health->respondent, &survey, &data, &bytes);
        if (r == REPLIER_E_AGAIN)
            return;
        if (r < 0) {
            log_error("the health socket: %s", strerror(-r));
            return;
        }
        on_survey(health, survey, data, bytes);
    }
    broker_again(health->broker, source);
}

void health_turn(struct broker *broker, uint64_t now_ns)
{
    struct health *health = broker->health;
    if (!health || health_next_ns(broker) > now_ns)
        return;
    if (health->respondent && replier_next_deadline_ns(health->respondent) <= now_ns)
        on_ready(&health->source, WAIT_IN);
    health->due = false;
    struct health_round *round = LIST_FIRST(&health->rounds);
    while (round) {
        struct health_round *next = LIST_NEXT(round, entry);
        if (is_over(round, now_ns))
            tell(round);
        round = next;
    }
}

int health_open(struct broker *broker, const struct broker_options *options,
                struct error_text *error)
{
    struct health *health = health_of(broker);
    if (!health)
        return error_set(error, -ENOMEM, "out of memory");
    const struct replier_options respondent = {
        .protocol = REPLIER_RESPONDENT,
        .urls = options->health_urls,
        .url_count = options->health_url_count,
        .bytes_max = HEALTH_SURVEY_BYTES_MAX,
        .tls = options->tls.certificate ? &options->tls : NULL,
        .mode = options->socket_mode,
    };
    int r = replier_new(&respondent, &health->respondent, error);
    if (r < 0)
        return r;
    health->source.ready = on_ready;
    r = broker_watch(broker, replier_fd(health->respondent), WAIT_IN, &health->source);
    return r < 0 ? error_set(error, r, "cannot wait for surveys: %s", strerror(-r)) : 0;
}

void health_free(struct broker *broker)
{
    struct health *health = broker->health;
    if (!health)
        return;
    struct health_round *round;
    while ((round = LIST_FIRST(&health->rounds)) != NULL) {
        const Parley__Bus__V1__HealthReply nobody = PARLEY__BUS__V1__HEALTH_REPLY__INIT;
        health_done *done = round->done;
        void *data = round->data;
        health_drop(round);
        done(&nobody, data);
    }
    if (health->respondent)
        broker_unwatch(broker, replier_fd(health->respondent), &health->source);
    replier_free(health->respondent);
    free(health);
    broker->health = NULL;
}
