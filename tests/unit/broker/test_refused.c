/* What peers get wrong: who hears of it, and who does not. */
#include "peers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static struct broker *broker;
static struct peer witness; /* goes on, whatever the others do */
static struct set things;
static unsigned fds_before;

static int begin_with(const struct admit_limits *limits)
{
    fds_before = open_fd_count();
    broker = broker_start(limits);
    set_make(&things, "things", "1.0.0", "things.v1", NULL, 2);
    peer_join(&witness, broker, "witness");
    publish(&witness, 1, &things);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    return begin_with(NULL);
}

static int end(void **state)
{
    (void)state;
    peer_hears_nothing(&witness);
    peer_leave(&witness);
    broker_free(broker);
    set_free(&things);
    assert_int_equal(open_fd_count(), fds_before);
    return 0;
}

/* ---- Hello ---- */

static void test_garbage_ends_that_link_only(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "liar");
    publish(&peer, 2, &things);
    assert_int_equal(send(link_fd(peer.link), "\x0a\xff\xff garbage", 11, 0), 11);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "no message");
    peer_leave(&peer);
    broker_settle(broker);
    assert_null(directory_instance(&broker->directory, 2)); /* it left with its link */
}

static void test_other_protocols_are_refused_by_number(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    peer_make_stats(&peer);
    peer_say_hello(&peer, LINK_PROTOCOL + 1, "newer", &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_FAILED_PRECONDITION, "protocol 2, this broker 1");
    peer_leave(&peer);
}

static void hello_named(const char *name, bool fine)
{
    struct peer peer;
    peer_connect(&peer, broker);
    peer_make_stats(&peer);
    peer_say_hello(&peer, LINK_PROTOCOL, name, &peer.stats.fd, 1);
    if (fine)
        (void)peer_hear(&peer, PARLEY__LINK_MESSAGE__BODY_WELCOME);
    else
        peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "name of 1 to 63");
    peer_leave(&peer);
}

static void test_names_of_endpoints_are_bounded(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'n', sizeof(name));
    name[63] = '\0';
    hello_named(name, true);
    name[63] = 'n';
    name[64] = '\0';
    hello_named(name, false);
    hello_named("", false);
    hello_named("two\nlines", false);
    hello_named("\x1b[31mred", false);
}

static void test_endpoint_without_an_id_is_refused(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    peer.id = 0;
    peer_make_stats(&peer);
    peer_say_hello(&peer, LINK_PROTOCOL, "nobody", &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "needs an id");
    peer_leave(&peer);
}

static void test_missing_and_extra_descriptors_are_refused(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    peer_say_hello(&peer, LINK_PROTOCOL, "poor", NULL, 0);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "0 descriptors");
    peer_leave(&peer);

    peer_connect(&peer, broker);
    peer_make_stats(&peer);
    int two[2] = {peer.stats.fd, peer.stats.fd};
    peer_say_hello(&peer, LINK_PROTOCOL, "rich", two, 2);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "2 descriptors");
    peer_leave(&peer);

    peer_join(&peer, broker, "poor");
    say_open(&peer, 1, &things, NULL);
    (void)hear_opened(&peer, 1, PARLEY_OK);
    (void)hear_instances(&peer, 1, 0, 0);
    Parley__Connect body = PARLEY__CONNECT__INIT;
    body.has_contract_id = body.has_instance_id = true;
    body.contract_id = body.instance_id = 1;
    peer_say(&peer, PARLEY__LINK_MESSAGE__BODY_CONNECT, &body, &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "1 descriptors");
    peer_leave(&peer);
}

static void refuse_stats(struct peer *peer, int fd)
{
    peer_say_hello(peer, LINK_PROTOCOL, "odd", &fd, 1);
    peer_is_refused(peer, PARLEY_INVALID_ARGUMENT, "statistics region");
    peer_leave(peer);
}

static void test_statistics_that_are_not_sealed_or_not_ours_are_refused(void **state)
{
    (void)state;
    size_t bytes = STATS_REGION_BYTES;
    bytes = (bytes + 4095) & ~(size_t)4095;
    struct peer peer;
    peer_connect(&peer, broker);
    int unsealed = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(unsealed, (off_t)bytes), 0);
    refuse_stats(&peer, unsealed);
    close(unsealed);

    peer_connect(&peer, broker);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    refuse_stats(&peer, null);
    close(null);

    struct region region;
    struct error_text error;
    peer_connect(&peer, broker);
    assert_int_equal(region_create(&region, "test", 4096, &error), 0); /* too small */
    refuse_stats(&peer, region.fd);
    region_deinit(&region);

    peer_connect(&peer, broker);
    assert_int_equal(region_create(&region, "test", bytes, &error), 0); /* no header */
    refuse_stats(&peer, region.fd);
    region_deinit(&region);

    peer_connect(&peer, broker);
    peer_make_stats(&peer);
    ((struct stats_header *)peer.stats.base)->endpoint_id = 12345; /* another's */
    int fd = peer.stats.fd;
    refuse_stats(&peer, fd);
}

static void test_messages_out_of_turn_are_refused(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    say_withdraw(&peer, 1, true);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "before Hello");
    peer_leave(&peer);

    peer_join(&peer, broker, "twice");
    peer_say_hello(&peer, LINK_PROTOCOL, "twice", &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "second Hello");
    peer_leave(&peer);

    peer_join(&peer, broker, "king");
    Parley__Farewell farewell = PARLEY__FAREWELL__INIT;
    peer_say(&peer, PARLEY__LINK_MESSAGE__BODY_FAREWELL, &farewell, NULL, 0);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "the broker's to send");
    peer_leave(&peer);
}

static uint64_t late_ns;

static uint64_t late_clock(void)
{
    return late_ns;
}

static void test_stranger_that_says_nothing_is_sent_away(void **state)
{
    (void)state;
    struct peer peer;
    late_ns = clock_now_ns();
    clock_set(late_clock);
    peer_connect(&peer, broker);
    late_ns += BROKER_HELLO_TIMEOUT_NS - 1;
    broker_settle(broker);
    assert_int_equal(TAILQ_EMPTY(&broker->strangers), 0);
    late_ns++;
    peer_is_refused(&peer, PARLEY_DEADLINE_EXCEEDED, "no Hello");
    clock_set(NULL);
    peer_leave(&peer);
}

static void test_id_of_another_process_is_not_taken_over(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    struct endpoint *theirs;
    HASH_FIND(hh, broker->endpoints_by_id, &witness.id, sizeof(witness.id), theirs);
    assert_non_null(theirs);
    theirs->peer.pid++; /* as if another process had it */
    peer.id = witness.id;
    peer_make_stats(&peer);
    peer_say_hello(&peer, LINK_PROTOCOL, "thief", &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_ALREADY_EXISTS, "connected already");
    theirs->peer.pid--;
    peer_leave(&peer);
}

/* ---- Publications ---- */

static void test_publications_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "service");
    publish_refused(&peer, 0, &things, PARLEY_INVALID_ARGUMENT, "needs an id");
    publish_refused(&peer, 1, &things, PARLEY_ALREADY_EXISTS, "published already"); /* witness's */

    struct set odd = things;
    strcpy(odd.interface, "No Name");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "name of an interface");
    strcpy(odd.interface, "parley.bus");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "the broker itself serves");
    odd = things;
    strcpy(odd.version, "one");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "semantic version");
    odd = things;
    odd.service[0] = '\0';
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "protobuf service");
    odd = things;
    strcpy(odd.service, "things.v1.Absent");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "Absent");
    odd = things;
    strcpy(odd.version, "1.0.1");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "is of things 1.0.0");
    odd = things;
    strcpy(odd.interface, "thongs");
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "not of thongs");
    odd = things;
    odd.bytes /= 2;
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "");
    odd.bytes = 0;
    publish_refused(&peer, 2, &odd, PARLEY_INVALID_ARGUMENT, "");
    publish(&peer, 2, &things); /* the link has survived it all */
    assert_null(directory_find(&broker->directory, "thongs"));
    peer_leave(&peer);
}

static void test_long_names_are_refused_at_one_past_the_limit(void **state)
{
    (void)state;
    struct peer peer;
    struct set set;
    char name[65];
    memset(name, 'n', sizeof(name));
    name[63] = '\0';
    peer_join(&peer, broker, "service");
    set_make(&set, name, "1.0.0", "p", NULL, 1);
    publish(&peer, 2, &set);
    set_free(&set);

    name[62] = '\0';
    set_make(&set, name, "1.0.0", "p", NULL, 1);
    struct peer other;
    peer_join(&other, broker, "other");
    Parley__Open open = PARLEY__OPEN__INIT;
    name[62] = 'n';
    name[63] = 'n';
    name[64] = '\0';
    open.has_contract_id = true;
    open.contract_id = 3;
    open.interface = name;
    open.version = set.version;
    open.service = set.service;
    peer_say(&other, PARLEY__LINK_MESSAGE__BODY_OPEN, &open, NULL, 0);
    assert_words(hear_opened(&other, 3, PARLEY_INVALID_ARGUMENT)->text, "name of an interface");
    set_free(&set);

    /* 31 bytes of version. */
    set_make(&set, "long", "1.0.0-abcdefghijklmnopqrstuvwxy", "p", NULL, 1);
    assert_int_equal(strlen(set.version), 31);
    publish(&peer, 3, &set);
    open.interface = set.interface;
    char version[33] = "1.0.0-abcdefghijklmnopqrstuvwxyz";
    open.version = version;
    open.contract_id = 4;
    peer_say(&other, PARLEY__LINK_MESSAGE__BODY_OPEN, &open, NULL, 0);
    assert_words(hear_opened(&other, 4, PARLEY_INVALID_ARGUMENT)->text, "at most 31 bytes");
    set_free(&set);
    peer_leave(&peer);
    peer_leave(&other);
}

static void test_version_with_another_schema_is_refused_while_it_is_served(void **state)
{
    (void)state;
    struct peer peer;
    struct set other;
    set_make(&other, "things", "1.0.0", "things.v1", NULL, 3);
    set_rename(&other);
    peer_join(&peer, broker, "service");
    publish_refused(&peer, 2, &other, PARLEY_FAILED_PRECONDITION, "another descriptor set");
    publish(&peer, 3, &things); /* the same one: one more instance */

    /* A client of the old schema is there when the last instance leaves. */
    struct peer client;
    peer_join(&client, broker, "client");
    say_open(&client, 1, &things, NULL);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 2, 0, 0);
    say_withdraw(&peer, 3, true);
    say_withdraw(&witness, 1, true);
    (void)hear_instances(&client, 0, 1, 0);
    (void)hear_instances(&client, 0, 1, 0);
    publish(&peer, 2, &other);   /* nobody serves the old one: a developer at work */
    peer_hears_nothing(&client); /* it is not the client's 1.0.0 any more */
    set_free(&other);
    peer_leave(&peer);
    peer_leave(&client);
}

static void test_instances_of_an_interface_are_bounded(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "service");
    for (unsigned i = 1; i < ROUTE_INSTANCE_MAX; i++) /* the witness has one */
        publish(&peer, 100 + i, &things);
    publish_refused(&peer, 1000, &things, PARLEY_RESOURCE_EXHAUSTED, "at most 64");
    say_withdraw(&peer, 101, true);
    publish(&peer, 1000, &things);
    struct peer client;
    peer_join(&client, broker, "client");
    say_open(&client, 1, &things, NULL);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, ROUTE_INSTANCE_MAX, 0, 0);
    peer_leave(&client);
    peer_leave(&peer);
}

static void test_versions_of_an_interface_are_bounded(void **state)
{
    (void)state;
    struct peer peer;
    struct set set;
    char version[16];
    char package[16];
    peer_join(&peer, broker, "service");
    for (unsigned i = 2; i <= ROUTE_VERSION_MAX + 1; i++) {
        (void)snprintf(version, sizeof(version), "%u.0.0", i);
        (void)snprintf(package, sizeof(package), "things.v%u", i);
        set_make(&set, "things", version, package, NULL, 1);
        if (i <= ROUTE_VERSION_MAX)
            publish(&peer, 100 + i, &set);
        else
            publish_refused(&peer, 100 + i, &set, PARLEY_RESOURCE_EXHAUSTED, "at most 8 versions");
        if (i <= ROUTE_VERSION_MAX)
            set_free(&set);
    }
    /* The place of one that nobody serves, and that has no weight, is free. */
    say_withdraw(&peer, 105, true);
    publish(&peer, 200, &set);
    set_free(&set);
    peer_leave(&peer);
}

static void test_interfaces_are_bounded_and_unused_ones_make_room(void **state)
{
    (void)state;
    struct peer peer;
    struct set set;
    char name[32];
    peer_join(&peer, broker, "service");
    for (unsigned i = 1; i <= ROUTE_SLOT_MAX; i++) { /* the witness has one */
        (void)snprintf(name, sizeof(name), "thing%u", i);
        set_make(&set, name, "1.0.0", "p.v1", NULL, 1);
        if (i < ROUTE_SLOT_MAX) {
            publish(&peer, 1000 + i, &set);
            set_free(&set);
        } else {
            publish_refused(&peer, 1000 + i, &set, PARLEY_RESOURCE_EXHAUSTED, "all in use");
        }
    }
    say_withdraw(&peer, 1001, true);
    publish(&peer, 2000, &set);
    assert_null(directory_find(&broker->directory, "thing1"));
    set_free(&set);
    peer_leave(&peer);
}

/* ---- Contracts ---- */

static void test_contracts_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "client");
    say_open(&peer, 1, &things, "~~nonsense");
    assert_words(hear_opened(&peer, 1, PARLEY_INVALID_ARGUMENT)->text, "~~nonsense");
    struct set odd = things;
    odd.bytes--;
    say_open(&peer, 2, &odd, NULL);
    assert_words(hear_opened(&peer, 2, PARLEY_INVALID_ARGUMENT)->text, "");
    say_open(&peer, 3, &things, NULL);
    (void)hear_opened(&peer, 3, PARLEY_OK);
    (void)hear_instances(&peer, 1, 0, 0);
    say_open(&peer, 3, &things, NULL); /* an id twice is no request, but nonsense */
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "open already");
    peer_leave(&peer);
}

static void test_endpoint_that_does_not_read_is_dropped_alone(void **state)
{
    (void)state;
    struct peer deaf;
    peer_join(&deaf, broker, "deaf");
    unsigned count = broker->endpoint_count;
    /* Answers pile up in the socket, then in the queue, then it is over. */
    Parley__Open open = PARLEY__OPEN__INIT;
    open.has_contract_id = true;
    open.interface = (char *)(uintptr_t) "No Name";
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPEN;
    message.open = &open;
    for (unsigned i = 0; i < 100000 && broker->endpoint_count == count; i++) {
        if (link_send(deaf.link, &message, NULL, 0) < 0)
            break;
        if (i % 64 == 0)
            assert_int_equal(broker_turn(broker, 0), 0);
    }
    broker_settle(broker);
    assert_int_equal(broker->endpoint_count, count - 1);
    peer_leave(&deaf);
}

/* ---- Quotas ---- */

static int begin_small(void **state)
{
    (void)state;
    const struct admit_limits limits = {
        .endpoints_max = 3,
        .instances_max = 2,
        .contracts_max = 2,
        .registrations_per_s = 1,
        .registrations_burst = 12,
    };
    late_ns = NS_PER_S;
    clock_set(late_clock);
    return begin_with(&limits);
}

static int end_small(void **state)
{
    clock_set(NULL);
    return end(state);
}

static void test_endpoints_of_a_user_are_bounded(void **state)
{
    (void)state;
    struct peer second;
    struct peer third;
    struct peer fourth;
    peer_join(&second, broker, "second");
    peer_join(&third, broker, "third");
    clock_set(NULL); /* hears wait by the clock */
    peer_connect(&fourth, broker);
    peer_is_refused(&fourth, PARLEY_RESOURCE_EXHAUSTED, "endpoints already: at most 3");
    peer_leave(&fourth);
    peer_leave(&third);
    broker_settle(broker);
    peer_join(&third, broker, "third");
    peer_leave(&second);
    peer_leave(&third);
}

static void test_instances_and_contracts_of_a_user_are_bounded(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "greedy");
    publish(&peer, 2, &things);
    publish_refused(&peer, 3, &things, PARLEY_RESOURCE_EXHAUSTED, "instances already: at most 2");
    say_withdraw(&peer, 2, true);
    publish(&peer, 3, &things);

    say_open(&peer, 1, &things, NULL);
    (void)hear_opened(&peer, 1, PARLEY_OK);
    (void)hear_instances(&peer, 2, 0, 0);
    say_open(&peer, 2, &things, NULL);
    (void)hear_opened(&peer, 2, PARLEY_OK);
    (void)hear_instances(&peer, 2, 0, 0);
    say_open(&peer, 3, &things, NULL);
    assert_words(hear_opened(&peer, 3, PARLEY_RESOURCE_EXHAUSTED)->text,
                 "contracts already: at most 2");
    peer_leave(&peer);
}

static void test_registrations_of_a_user_are_bounded_in_rate(void **state)
{
    (void)state;
    struct peer peer;
    peer_join(&peer, broker, "busy"); /* with the witness: 3 of 12 */
    for (unsigned i = 0; i < 9; i++) {
        publish(&peer, 2, &things);
        say_withdraw(&peer, 2, true);
    }
    publish_refused(&peer, 2, &things, PARLEY_RESOURCE_EXHAUSTED, "too fast");
    late_ns += NS_PER_S - 1;
    publish_refused(&peer, 2, &things, PARLEY_RESOURCE_EXHAUSTED, "too fast");
    late_ns += NS_PER_MS;
    publish(&peer, 2, &things);
    say_withdraw(&peer, 2, true);
    publish_refused(&peer, 2, &things, PARLEY_RESOURCE_EXHAUSTED, "too fast");
    peer_leave(&peer);
    late_ns += 60 * NS_PER_S;
}

#define REFUSED(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define QUOTA(name) cmocka_unit_test_setup_teardown(name, begin_small, end_small)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSED(test_garbage_ends_that_link_only),
        REFUSED(test_other_protocols_are_refused_by_number),
        REFUSED(test_names_of_endpoints_are_bounded),
        REFUSED(test_endpoint_without_an_id_is_refused),
        REFUSED(test_missing_and_extra_descriptors_are_refused),
        REFUSED(test_statistics_that_are_not_sealed_or_not_ours_are_refused),
        REFUSED(test_messages_out_of_turn_are_refused),
        REFUSED(test_stranger_that_says_nothing_is_sent_away),
        REFUSED(test_id_of_another_process_is_not_taken_over),
        REFUSED(test_publications_that_make_no_sense_are_refused_with_a_reason),
        REFUSED(test_long_names_are_refused_at_one_past_the_limit),
        REFUSED(test_version_with_another_schema_is_refused_while_it_is_served),
        REFUSED(test_instances_of_an_interface_are_bounded),
        REFUSED(test_versions_of_an_interface_are_bounded),
        REFUSED(test_interfaces_are_bounded_and_unused_ones_make_room),
        REFUSED(test_contracts_that_make_no_sense_are_refused_with_a_reason),
        REFUSED(test_endpoint_that_does_not_read_is_dropped_alone),
        QUOTA(test_endpoints_of_a_user_are_bounded),
        QUOTA(test_instances_and_contracts_of_a_user_are_bounded),
        QUOTA(test_registrations_of_a_user_are_bounded_in_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
