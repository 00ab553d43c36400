#include "unit/cli/bus.h"

#define INSTANCE(id, name, process, drains)                                                        \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__instance_info__descriptor), .has_instance_id = 1, \
        .instance_id = (id), .endpoint = (name), .has_pid = 1, .pid = (process), .has_uid = 1,     \
        .uid = 1000, .has_draining = (drains), .draining = (drains),                               \
    }

static Parley__InstanceInfo instances[] = {
    INSTANCE(0x00ab12cd34ef5678, (char *)"catalog-v1", 811, 0),
    INSTANCE(0xf123456789abcdef, (char *)"catalog-v1 \033[31mred", 4194304, 1),
    INSTANCE(0x1, (char *)"cat2", 9, 0),
};
static Parley__InstanceInfo *first_instances[] = {&instances[0], &instances[1]};
static Parley__InstanceInfo *second_instances[] = {&instances[2]};

static char *methods[] = {(char *)"Get", (char *)"List"};
static char *more_methods[] = {(char *)"Get", (char *)"List", (char *)"Search"};

static Parley__VersionInfo versions[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__version_info__descriptor),
        .version = (char *)"1.0.0",
        .service = (char *)"catalog.v1.Catalog",
        .has_weight_per_100000 = 1,
        .weight_per_100000 = 94500,
        .n_instance = 2,
        .instance = first_instances,
        .n_method = 2,
        .method = methods,
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__version_info__descriptor),
        .version = (char *)"2.0.0",
        .service = (char *)"catalog.v2.Catalog",
        .has_weight_per_100000 = 1,
        .weight_per_100000 = 5500,
        .n_instance = 1,
        .instance = second_instances,
        .n_method = 3,
        .method = more_methods,
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__version_info__descriptor),
        .version = (char *)"3.0.0-rc.1",
        .service = (char *)"orders.v3.Orders",
    },
};
static Parley__VersionInfo *catalog_versions[] = {&versions[1], &versions[0]};
static Parley__VersionInfo *orders_versions[] = {&versions[2]};

static char *over[] = {(char *)"1.4.0", (char *)"2.0.0"};
#define OFFER(mine, theirs, class, count)                                                          \
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__offer_info__descriptor), .client_version = (mine),    \
    .version = (theirs), .has_translation = 1, .translation = (class), .has_clients = 1,           \
    .clients = (count)
static Parley__OfferInfo offers[] = {
    {OFFER((char *)"2.0.0", (char *)"1.0.0", 3, 1)},
    {OFFER((char *)"1.0.0", (char *)"3.0.0", 2, 4), .n_over = 2, .over = over},
    {OFFER((char *)"1.0.0", (char *)"1.0.0", 0, 11)},
};
static Parley__OfferInfo *offer_pointers[] = {&offers[0], &offers[1], &offers[2]};

static Parley__InterfaceInfo interfaces[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__interface_info__descriptor),
        .name = (char *)"catalog",
        .n_version = 2,
        .version = catalog_versions,
        .has_clients = 1,
        .clients = 12,
        .has_route_generation = 1,
        .route_generation = 7,
        .n_offer = 3,
        .offer = offer_pointers,
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__interface_info__descriptor),
        .name = (char *)"orders",
        .n_version = 1,
        .version = orders_versions,
    },
};
static Parley__InterfaceInfo *interface_pointers[] = {&interfaces[1], &interfaces[0]};

static Parley__EndpointInfo endpoints[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__endpoint_info__descriptor),
        .has_endpoint_id = 1,
        .endpoint_id = 0xabc,
        .name = (char *)"catalog-v1",
        .has_pid = 1,
        .pid = 811,
        .has_uid = 1,
        .uid = 1000,
        .has_instances = 1,
        .instances = 1,
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__endpoint_info__descriptor),
        .has_endpoint_id = 1,
        .endpoint_id = 0xdef,
        .name = (char *)"shop",
        .has_pid = 1,
        .pid = 77777,
        .has_uid = 1,
        .uid = 0,
        .has_contracts = 1,
        .contracts = 12,
    },
    {
        /* A REP socket of another machine: nobody knows whose process that is. */
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__endpoint_info__descriptor),
        .has_endpoint_id = 1,
        .endpoint_id = 0xfed,
        .name = (char *)"far",
        .has_instances = 1,
        .instances = 1,
    },
};
static Parley__EndpointInfo *endpoint_pointers[] = {&endpoints[0], &endpoints[1], &endpoints[2]};

static Parley__ListReply list = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__list_reply__descriptor),
    .has_broker_id = 1,
    .broker_id = 0x0123456789abcdef,
    .n_interface = 2,
    .interface = interface_pointers,
    .n_endpoint = 3,
    .endpoint = endpoint_pointers,
};

const Parley__ControlReply *bus_list(void)
{
    static Parley__ControlReply reply = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
        .body_case = PARLEY__CONTROL_REPLY__BODY_LIST,
        .list = &list,
    };
    return &reply;
}

const Parley__ControlReply *bus_list_empty(void)
{
    static Parley__ListReply empty = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__list_reply__descriptor),
    };
    static Parley__ControlReply reply = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
        .body_case = PARLEY__CONTROL_REPLY__BODY_LIST,
        .list = &empty,
    };
    return &reply;
}

static uint64_t client_ends[17] = {[0] = 123456, [5] = 3, [14] = 1};
static uint64_t service_ends[17] = {[0] = 9};

static Parley__Latency latencies[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__latency__descriptor),
        .has_count = 1,
        .count = 123460,
        .has_p50_ns = 1,
        .p50_ns = 850,
        .has_p90_ns = 1,
        .p90_ns = 12345,
        .has_p99_ns = 1,
        .p99_ns = 6789012,
        .has_p999_ns = 1,
        .p999_ns = 7000000,
    },
    {.base = PROTOBUF_C_MESSAGE_INIT(&parley__latency__descriptor), .has_count = 1, .count = 0},
};

static Parley__MethodStats rows[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__method_stats__descriptor),
        .has_side = 1,
        .side = PARLEY__SIDE__CLIENT,
        .interface = (char *)"catalog",
        .method = (char *)"Get",
        .asked = (char *)"1.0.0",
        .served = (char *)"2.0.0",
        .has_calls = 1,
        .calls = 123460,
        .n_by_status = 17,
        .by_status = client_ends,
        .has_translated = 1,
        .translated = 123459,
        .has_retried = 1,
        .retried = 2,
        .has_in_flight = 1,
        .in_flight = 4,
        .latency = &latencies[0],
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__method_stats__descriptor),
        .has_side = 1,
        .side = PARLEY__SIDE__SERVICE,
        .interface = (char *)"orders",
        .method = (char *)"Place",
        .asked = (char *)"3.0.0",
        .served = (char *)"3.0.0",
        .has_calls = 1,
        .calls = 9,
        .n_by_status = 17,
        .by_status = service_ends,
        .latency = &latencies[1],
    },
};
static Parley__MethodStats *row_pointers[] = {&rows[0], &rows[1]};

const Parley__ControlReply *bus_stats(void)
{
    static Parley__Stats stats = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__stats__descriptor),
        .has_broker_id = 1,
        .broker_id = 0x0123456789abcdef,
        .has_uptime_ns = 1,
        .uptime_ns = 60000000000,
        .has_time_unix_ns = 1,
        .time_unix_ns = 1700000000000000000,
        .has_ring_full = 1,
        .ring_full = 12,
        .has_late_replies = 1,
        .late_replies = 3,
        .n_method = 2,
        .method = row_pointers,
    };
    static Parley__ControlReply reply = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
        .body_case = PARLEY__CONTROL_REPLY__BODY_STATS,
        .stats = &stats,
    };
    return &reply;
}

const Parley__ControlReply *bus_refusal(void)
{
    static Parley__ControlReply reply = {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
        .has_status = 1,
        .status = 5,
        .text = (char *)"no interface 'nothing' is published; parley ls shows what is",
    };
    return &reply;
}
