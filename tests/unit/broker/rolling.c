/* The fixture of the rollouts' tests. */
#include "rolling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/histogram.h"

struct world world;

static uint64_t now_ns;

static uint64_t test_clock(void)
{
    return now_ns;
}

void start(bool with_folder)
{
    struct broker_options options = {.state = world.state,
                                     .rollouts = with_folder ? world.folder : NULL};
    struct error_text error = {""};
    if (broker_new(&options, &world.broker, &error) < 0)
        fail_msg("%s", error.text);
    peer_join(&world.service, world.broker, "service");
    peer_join(&world.client, world.broker, "client");
}

void stop(void)
{
    peer_leave(&world.service);
    peer_leave(&world.client);
    world.broker = broker_free(world.broker);
}

int world_begin(void **state)
{
    (void)state;
    now_ns = 1000 * NS_PER_S;
    clock_set(test_clock);
    set_make(&world.v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&world.v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    strcpy(world.folder, "/tmp/parley-rollouts-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    (void)snprintf(world.state, sizeof(world.state), "%.40s/state", world.folder);
    start(false);
    return 0;
}

int world_end(void **state)
{
    (void)state;
    char command[128];
    if (world.broker)
        stop();
    clock_set(NULL);
    set_free(&world.v1);
    set_free(&world.v2);
    world.reply = wire_free(world.reply);
    (void)snprintf(command, sizeof(command), "rm -r %s", world.folder);
    return system(command);
}

void start_again(bool with_folder)
{
    stop();
    start(with_folder);
}

void both_publish(void)
{
    publish(&world.service, 1, &world.v1);
    publish(&world.service, 2, &world.v2);
    broker_settle(world.broker);
}

void go_on(uint64_t ns)
{
    now_ns += ns;
    broker_settle(world.broker);
}

/* ---- Asking ---- */

void ask(int body_case, void *body)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = (Parley__ControlRequest__BodyCase)body_case;
    request.list = body; /* a union of pointers */
    size_t bytes = parley__control_request__get_packed_size(&request);
    uint8_t *data = malloc(bytes), *answer;
    size_t answer_bytes;
    (void)parley__control_request__pack(&request, data);
    assert_int_equal(control_handle(world.broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    free(data);
    wire_free(world.reply);
    ProtobufCMessage *message;
    struct error_text error = {""};
    if (wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &message,
                    &error) < 0)
        fail_msg("%s", error.text);
    world.reply = (Parley__ControlReply *)message;
    free(answer);
}

void order(Parley__RolloutAction action, const char *name)
{
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    request.has_action = true;
    request.action = action;
    request.name = (char *)(uintptr_t)name;
    request.reason = (char *)(uintptr_t) "because";
    ask(PARLEY__CONTROL_REQUEST__BODY_ROLLOUT, &request);
}

void apply(const char *document)
{
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    request.has_action = true;
    request.action = PARLEY__ROLLOUT_ACTION__ROLLOUT_APPLY;
    request.document = (char *)(uintptr_t)document;
    request.file = (char *)(uintptr_t) "shop.yaml";
    ask(PARLEY__CONTROL_REQUEST__BODY_ROLLOUT, &request);
}

void succeeds(void)
{
    if (world.reply->status != PARLEY_OK)
        fail_msg("%s", world.reply->text);
}

void is_refused(enum parley_status status, const char *words)
{
    assert_int_equal(world.reply->status, status);
    assert_words(world.reply->text, words);
}

void route(double v1, double v2, bool force)
{
    Parley__RouteWeight weights[2] = {PARLEY__ROUTE_WEIGHT__INIT, PARLEY__ROUTE_WEIGHT__INIT};
    Parley__RouteWeight *pointers[] = {&weights[0], &weights[1]};
    weights[0].version = (char *)(uintptr_t) "1.0.0";
    weights[1].version = (char *)(uintptr_t) "2.0.0";
    weights[0].has_weight = weights[1].has_weight = true;
    weights[0].weight = v1;
    weights[1].weight = v2;
    Parley__RouteRequest request = PARLEY__ROUTE_REQUEST__INIT;
    request.interface = (char *)(uintptr_t) "things";
    request.n_weight = 2;
    request.weight = pointers;
    request.has_force = force;
    request.force = force;
    ask(PARLEY__CONTROL_REQUEST__BODY_ROUTE, &request);
}

uint32_t canary_share(void)
{
    const struct interface *interface = directory_find(&world.broker->directory, "things");
    assert_non_null(interface);
    struct semver semver;
    assert_int_equal(semver_parse("2.0.0", &semver), 0);
    const struct version *version = interface_version(interface, &semver);
    return version ? version->weight : 0;
}

const char *phase(void)
{
    ORDER(SHOW, "shop");
    succeeds();
    return world.reply->rollout->rollout[0]->phase;
}

unsigned step(void)
{
    ORDER(SHOW, "shop");
    succeeds();
    return world.reply->rollout->rollout[0]->step;
}

void count(const char *served, uint64_t calls, uint64_t errors)
{
    unsigned index = served[0] == '1' ? 0 : 1;
    struct stats_header *header = world.client.stats.base;
    struct stats_cell *cell = (struct stats_cell *)((uint8_t *)header + STATS_CELLS_OFFSET) + index;
    strcpy(cell->interface_name, "things");
    strcpy(cell->method, "Get");
    strcpy(cell->asked, "1.0.0");
    strcpy(cell->served, served);
    cell->side = 0;
    cell->started += calls;
    cell->by_status[PARLEY_OK] += calls - errors;
    cell->by_status[PARLEY_INTERNAL] += errors;
    cell->bucket[histogram_bucket(1000)] += calls;
    header->cell_count = 2;
}

void traffic(uint64_t canary_errors)
{
    for (unsigned i = 0; i < 12; i++) {
        count("1.0.0", 9000, 0);
        count("2.0.0", 1000, canary_errors);
        go_on(NS_PER_S);
    }
}

void count_copies(uint64_t copies)
{
    uint8_t *base = world.client.stats.base;
    struct stats_mirror *mirror = (struct stats_mirror *)(base + STATS_MIRRORS_OFFSET) + 1;
    mirror->sent += copies;
    mirror->differ += copies / 10;
    mirror->failed += copies / 100;
    mirror->skipped += 3;
}
