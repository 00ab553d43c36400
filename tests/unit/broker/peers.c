#include "peers.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "google/protobuf/descriptor.pb-c.h"

#define PATIENCE_NS (20 * NS_PER_S)
#define QUESTION_ID UINT64_C(0xfedcba9876543210)

void assert_words(const char *text, const char *words)
{
    if (!text || !strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text ? text : "(null)", words);
}

struct broker *broker_start(const struct admit_limits *limits)
{
    struct broker_options options = {0};
    if (limits)
        options.limits = *limits;
    struct broker *broker;
    struct error_text error = {""};
    if (broker_new(&options, &broker, &error) < 0)
        fail_msg("%s", error.text);
    return broker;
}

void broker_settle(struct broker *broker)
{
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(broker_turn(broker, NS_PER_MS), 0);
}

/* ---- Peers ---- */

void peer_connect(struct peer *peer, struct broker *broker)
{
    static uint64_t last_id = 1000;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    *peer = (struct peer){.broker = broker, .id = ++last_id};
    peer->stats = peer->route = REGION_NONE;
    struct link *theirs;
    struct endpoint *endpoint;
    assert_int_equal(link_new(fds[0], &theirs), 0);
    assert_int_equal(session_new(broker, theirs, false, &endpoint), 0);
    assert_int_equal(link_new(fds[1], &peer->link), 0);
}

void peer_make_stats(struct peer *peer)
{
    struct error_text error;
    assert_int_equal(region_create(&peer->stats, "test-stats",
                                   STATS_REGION_BYTES,
                                   &error),
                     0);
    *(struct stats_header *)peer->stats.base = (struct stats_header){
        .magic = STATS_MAGIC,
        .version = LAYOUT_VERSION,
        .cell_bytes = sizeof(struct stats_cell),
        .cell_max = STATS_CELL_MAX,
        .endpoint_id = peer->id,
    };
}

static void forget(struct peer *peer)
{
    for (size_t i = 0; i < peer->fd_count; i++)
        fd_close(peer->fds[i]);
    peer->fd_count = 0;
    peer->heard = wire_free(peer->heard);
}

void peer_leave(struct peer *peer)
{
    forget(peer);
    peer->link = link_free(peer->link);
    region_deinit(&peer->stats);
    region_deinit(&peer->route);
}

void peer_say(struct peer *peer, int body_case, void *body, const int *fds, size_t fd_count)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = (Parley__LinkMessage__BodyCase)body_case;
    message.hello = body; /* a union of pointers */
    assert_int_equal(link_send(peer->link, &message, fds, fd_count), 0);
}

void peer_say_hello(struct peer *peer, uint32_t protocol, const char *name, const int *fds,
                    size_t fd_count)
{
    Parley__Hello hello = PARLEY__HELLO__INIT;
    hello.has_protocol = true;
    hello.protocol = protocol;
    hello.has_endpoint_id = true;
    hello.endpoint_id = peer->id;
    hello.name = (char *)(uintptr_t)name;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_HELLO, &hello, fds, fd_count);
}

/* Return: 0 with a message, or -EPIPE. */
static int hear_any(struct peer *peer)
{
    forget(peer);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (;;) {
        struct error_text error = {""};
        int r = link_receive(peer->link, &peer->heard, peer->fds, &peer->fd_count, &error);
        if (r != LINK_E_AGAIN) {
            if (r != 0 && r != -EPIPE)
                fail_msg("%s", error.text);
            if (r != 0)
                peer->heard = NULL;
            return r;
        }
        if (clock_now_ns() > until)
            fail_msg("nothing was said");
        assert_int_equal(broker_turn(peer->broker, NS_PER_MS), 0);
    }
}

void *peer_hear(struct peer *peer, int body_case)
{
    if (hear_any(peer) < 0)
        fail_msg("the broker hung up");
    if ((int)peer->heard->body_case != body_case) {
        const char *text = peer->heard->body_case == PARLEY__LINK_MESSAGE__BODY_FAREWELL
                               ? peer->heard->farewell->text
                               : "";
        fail_msg("message %d instead of %d: %s", (int)peer->heard->body_case, body_case, text);
    }
    return peer->heard->hello;
}

void peer_join(struct peer *peer, struct broker *broker, const char *name)
{
    peer_connect(peer, broker);
    peer_make_stats(peer);
    peer_say_hello(peer, LINK_PROTOCOL, name, &peer->stats.fd, 1);
    const Parley__Welcome *welcome = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_WELCOME);
    assert_int_equal(welcome->protocol, LINK_PROTOCOL);
    assert_true(welcome->broker_id == broker->id);
    assert_int_equal(peer->fd_count, 1);
    struct error_text error = {""};
    size_t bytes = ROUTE_PAGE_BYTES;
    if (region_map(&peer->route, peer->fds[0], bytes, bytes + LAYOUT_PAGE_BYTES, &error) < 0)
        fail_msg("%s", error.text);
}

void peer_hears_nothing(struct peer *peer)
{
    Parley__Open open = PARLEY__OPEN__INIT;
    open.has_contract_id = true;
    open.contract_id = QUESTION_ID;
    open.interface = (char *)(uintptr_t) "No Name";
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_OPEN, &open, NULL, 0);
    const Parley__Opened *opened = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_OPENED);
    assert_true(opened->contract_id == QUESTION_ID);
}

void peer_is_refused(struct peer *peer, enum parley_status status, const char *words)
{
    const Parley__Farewell *farewell = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_FAREWELL);
    assert_int_equal(farewell->status, status);
    assert_words(farewell->text, words);
    assert_int_equal(hear_any(peer), -EPIPE);
}

void peer_hangs_up(struct peer *peer)
{
    while (hear_any(peer) == 0)
        ;
}

/* ---- Sets ---- */

static void make_thing(Google__Protobuf__DescriptorProto *thing, unsigned fields)
{
    google__protobuf__descriptor_proto__init(thing);
    thing->name = (char *)(uintptr_t) "Thing";
    thing->n_field = fields;
    thing->field = calloc(fields, sizeof(*thing->field));
    for (unsigned i = 0; i < fields; i++) {
        Google__Protobuf__FieldDescriptorProto *field = calloc(1, sizeof(*field));
        google__protobuf__field_descriptor_proto__init(field);
        field->name = malloc(16);
        (void)snprintf(field->name, 16, "text%u", i + 1);
        field->has_number = field->has_label = field->has_type = true;
        field->number = (int32_t)i + 1;
        field->label = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL;
        field->type = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING;
        thing->field[i] = field;
    }
}

static void free_thing(Google__Protobuf__DescriptorProto *thing)
{
    for (size_t i = 0; i < thing->n_field; i++) {
        free(thing->field[i]->name);
        free(thing->field[i]);
    }
    free(thing->field);
}

static const char *accepted_rules[2]; /* for set_make() */
static unsigned oddity_made;          /* enum set_oddity; 0: none */

/* (parley.interface): an extension, so an unknown field to this generated code. */
static size_t pack_option(const char *interface, const char *version, const char *previous,
                          uint8_t *out)
{
    Parley__Interface option = PARLEY__INTERFACE__INIT;
    option.name = (char *)(uintptr_t)interface;
    option.version = (char *)(uintptr_t)version;
    option.previous = (char *)(uintptr_t)previous;
    Parley__Accept accepts[2];
    Parley__Accept *pointers[2];
    option.accept = pointers;
    for (size_t i = 0; i < 2 && accepted_rules[i]; i++) {
        parley__accept__init(&accepts[i]);
        accepts[i].rule = (char *)(uintptr_t)accepted_rules[i];
        accepts[i].reason = (char *)(uintptr_t) "a test";
        pointers[option.n_accept++] = &accepts[i];
    }
    size_t bytes = parley__interface__get_packed_size(&option);
    uint8_t *end = wire_write_varint(out, bytes);
    parley__interface__pack(&option, end);
    return (size_t)(end - out) + bytes;
}

void set_make(struct set *set, const char *interface, const char *version, const char *package,
              const char *previous, unsigned fields)
{
    (void)snprintf(set->interface, sizeof(set->interface), "%s", interface);
    (void)snprintf(set->version, sizeof(set->version), "%s", version);
    (void)snprintf(set->service, sizeof(set->service), "%s.Things", package);

    Google__Protobuf__DescriptorProto thing;
    make_thing(&thing, fields);
    char type[80];
    (void)snprintf(type, sizeof(type), ".%s.Thing", package);
    Google__Protobuf__MethodDescriptorProto method =
        GOOGLE__PROTOBUF__METHOD_DESCRIPTOR_PROTO__INIT;
    method.name = (char *)(uintptr_t) "Get";
    method.input_type = method.output_type = type;
    method.has_server_streaming = method.server_streaming = oddity_made == SET_STREAMS;
    if (oddity_made == SET_REQUIRES)
        thing.field[fields - 1]->label =
            GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED;
    Google__Protobuf__ServiceDescriptorProto service =
        GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT;
    service.name = (char *)(uintptr_t) "Things";
    service.n_method = 1;
    service.method = &(Google__Protobuf__MethodDescriptorProto *){&method};

    uint8_t option[256];
    ProtobufCMessageUnknownField unknown = {
        .tag = 51030, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .data = option};
    unknown.len = pack_option(interface, version, previous, option);
    Google__Protobuf__FileOptions options;
    google__protobuf__file_options__init(&options); /* the macro names deprecated fields */
    options.base.n_unknown_fields = 1;
    options.base.unknown_fields = &unknown;

    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    char name[96];
    (void)snprintf(name, sizeof(name), "%s.proto", package);
    file.name = name;
    file.package = (char *)(uintptr_t)package;
    file.syntax = (char *)(uintptr_t)(oddity_made == SET_REQUIRES ? "proto2" : "proto3");
    file.options = &options;
    file.n_message_type = 1;
    file.message_type = &(Google__Protobuf__DescriptorProto *){&thing};
    file.n_service = 1;
    file.service = &(Google__Protobuf__ServiceDescriptorProto *){&service};
    Google__Protobuf__FileDescriptorSet all = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    all.n_file = 1;
    all.file = &(Google__Protobuf__FileDescriptorProto *){&file};

    set->bytes = google__protobuf__file_descriptor_set__get_packed_size(&all);
    set->data = malloc(set->bytes);
    assert_non_null(set->data);
    google__protobuf__file_descriptor_set__pack(&all, set->data);
    free_thing(&thing);
}

void set_make_accepting(struct set *set, const char *interface, const char *version,
                        const char *package, const char *previous, unsigned fields,
                        const char *rule, const char *other_rule)
{
    accepted_rules[0] = rule;
    accepted_rules[1] = other_rule;
    set_make(set, interface, version, package, previous, fields);
    accepted_rules[0] = NULL;
}

void set_make_odd(struct set *set, const char *interface, const char *version, const char *package,
                  const char *previous, unsigned fields, enum set_oddity oddity)
{
    oddity_made = oddity;
    set_make(set, interface, version, package, previous, fields);
    oddity_made = 0;
}

void set_rename(struct set *set)
{
    for (uint8_t *at = set->data; (at = memmem(at, (size_t)(set->data + set->bytes - at), "text", 4));)
        memcpy(at, "word", 4);
}

void set_free(struct set *set)
{
    free(set->data);
    set->data = NULL;
}

/* ---- What peers say ---- */

static void fill_publish(Parley__Publish *body, uint64_t instance_id, const struct set *set)
{
    parley__publish__init(body);
    body->has_instance_id = true;
    body->instance_id = instance_id;
    body->interface = (char *)(uintptr_t)set->interface;
    body->version = (char *)(uintptr_t)set->version;
    body->service = (char *)(uintptr_t)set->service;
    body->has_descriptor_set = true;
    body->descriptor_set.data = set->data;
    body->descriptor_set.len = set->bytes;
}

void say_publish(struct peer *peer, uint64_t instance_id, const struct set *set)
{
    Parley__Publish body;
    fill_publish(&body, instance_id, set);
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
}

void publish(struct peer *peer, uint64_t instance_id, const struct set *set)
{
    say_publish(peer, instance_id, set);
    const Parley__Published *published = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    if (published->status != PARLEY_OK)
        fail_msg("%s", published->text);
    assert_true(published->instance_id == instance_id);
    assert_true(published->has_route_slot);
}

void publish_refused(struct peer *peer, uint64_t instance_id, const struct set *set,
                     enum parley_status status, const char *words)
{
    say_publish(peer, instance_id, set);
    const Parley__Published *published = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    assert_int_equal(published->status, status);
    assert_true(published->instance_id == instance_id);
    assert_words(published->text, words);
}

void say_withdraw(struct peer *peer, uint64_t instance_id, bool gone)
{
    Parley__Withdraw body = PARLEY__WITHDRAW__INIT;
    body.has_instance_id = true;
    body.instance_id = instance_id;
    body.has_gone = gone;
    body.gone = gone;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_WITHDRAW, &body, NULL, 0);
}

void say_open(struct peer *peer, uint64_t contract_id, const struct set *set, const char *accept)
{
    Parley__Open body = PARLEY__OPEN__INIT;
    body.has_contract_id = true;
    body.contract_id = contract_id;
    body.interface = (char *)(uintptr_t)set->interface;
    body.version = (char *)(uintptr_t)set->version;
    body.service = (char *)(uintptr_t)set->service;
    body.accept = (char *)(uintptr_t)accept;
    body.has_descriptor_set = true;
    body.descriptor_set.data = set->data;
    body.descriptor_set.len = set->bytes;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_OPEN, &body, NULL, 0);
}

const Parley__Opened *hear_opened(struct peer *peer, uint64_t contract_id,
                                  enum parley_status status)
{
    const Parley__Opened *opened = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_OPENED);
    assert_true(opened->contract_id == contract_id);
    if (opened->status != (uint32_t)status)
        fail_msg("status %u instead of %d: %s", opened->status, (int)status,
                 opened->text ? opened->text : "");
    return opened;
}

const Parley__Instances *hear_instances(struct peer *peer, size_t up, size_t gone, size_t offers)
{
    const Parley__Instances *instances = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_INSTANCES);
    assert_int_equal(instances->n_up, up);
    assert_int_equal(instances->n_gone, gone);
    assert_int_equal(instances->n_offers, offers);
    return instances;
}

const struct route_slot *route_slot(const struct peer *peer, uint32_t slot)
{
    return (const struct route_slot *)((const uint8_t *)peer->route.base + ROUTE_SLOTS_OFFSET) +
           slot;
}
