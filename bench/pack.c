/*
 * What does it cost to pack a message for sending, and what does protobuf-c take for it?
 *
 * A sender must know the length before it can reserve room: with protobuf-c that is
 * protobuf_c_message_get_packed_size(), then protobuf_c_message_pack(); the second alone is shown,
 * too, for who has room enough in any case. Ours is wire_pack(), then wire_pack_write() to where
 * the message goes. The structs are what protobuf-c unpacks, each string a block of its own.
 *
 * The order and the record (messages.h) are one pass, and so is a list of a hundred records. A
 * thousand do not fit the packer's window and are gone over again, to measure and to write. Of a
 * file of a mebibyte only the copy counts.
 *
 * All of it is hot: the same message again and again, in the first-level cache, every branch
 * foreseen.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_v1.pb-c.h"
#include "catalog_v2.pb-c.h"
#include "compare.h"
#include "echo.pb-c.h"
#include "messages.h"
#include "order_v1.pb-c.h"
#include "order_v2.pb-c.h"
#include "wire/wire.h"

#define OUT_BYTES ((1 << 20) + 64)
#define LIST_COUNT 100
#define CATALOGUE_COUNT 1000
#define FILE_BYTES (1 << 20)
#define GOAL_FASTER_THAN_PROTOBUF_C 3

static uint8_t out[OUT_BYTES];

struct work {
    ProtobufCMessage *message;
    uint8_t *expected; /* as protobuf-c packs it */
    size_t bytes;
    struct wire_packer *packer;
};

static struct wire_packing *packing;
static struct compare_case cases[COMPARE_CASE_MAX];
static struct work works[8];
static size_t case_count, work_count;
static char *names[2 * COMPARE_CASE_MAX];
static size_t name_count;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* ---- What is measured ---- */

static void run_ours(void *data, uint32_t count)
{
    const struct work *work = data;
    size_t bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (wire_pack(packing, work->packer, 0, work->message, &bytes) < 0 ||
            wire_pack_write(packing, out) < 0)
            abort();
        compare_use(out);
    }
}

static void run_size_and_pack(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        if (protobuf_c_message_get_packed_size(work->message) != work->bytes)
            abort();
        protobuf_c_message_pack(work->message, out);
        compare_use(out);
    }
}

static void run_pack(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        protobuf_c_message_pack(work->message, out);
        compare_use(out);
    }
}

static void run_copy(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        compare_use(work->expected);
        memcpy(out, work->expected, work->bytes);
        compare_use(out);
    }
}

static const char *check_ours(void *data)
{
    const struct work *work = data;
    size_t bytes = 0;
    memset(out, 0, sizeof(out));
    if (wire_pack(packing, work->packer, 0, work->message, &bytes) < 0 ||
        wire_pack_write(packing, out) < 0)
        return "it is refused";
    return bytes == work->bytes && memcmp(out, work->expected, bytes) == 0
               ? NULL
               : "protobuf-c packs it to other bytes";
}

/* ---- Cases ---- */

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (name_count == 2 * COMPARE_CASE_MAX || vasprintf(&names[name_count], format, args) < 0)
        die("pack", "no memory");
    va_end(args);
    return names[name_count++];
}

static struct compare_case *add(const char *name, const char *way, const char *about,
                                struct work *work, void (*run)(void *data, uint32_t count))
{
    if (case_count == COMPARE_CASE_MAX)
        die(name, "one case too many");
    cases[case_count] = (struct compare_case){
        .name = text("%s/%s", name, way),
        .about = text("%s: %s", name, about),
        .bytes = work->bytes,
        .data = work,
        .run = run,
    };
    return &cases[case_count++];
}

/* @message is packed and read again, so that it lies in memory as an unpacked one does. */
static void add_message(const char *name, const ProtobufCMessage *message, double goal)
{
    if (work_count == sizeof(works) / sizeof(works[0]))
        die(name, "one message too many");
    struct work *work = &works[work_count++];
    work->bytes = protobuf_c_message_get_packed_size(message);
    work->expected = malloc(work->bytes);
    if (!work->expected || work->bytes > OUT_BYTES ||
        wire_packer_new(&message->descriptor, 1, &work->packer) < 0)
        die(name, "no memory");
    protobuf_c_message_pack(message, work->expected);
    work->message =
        protobuf_c_message_unpack(message->descriptor, NULL, work->bytes, work->expected);
    if (!work->message)
        die(name, "it cannot be unpacked");
    struct compare_case *ours = add(name, "parley", "packed by Parley", work, run_ours);
    ours->check = check_ours;
    ours->against[0] = (struct compare_against){text("%s/protobuf-c", name), .goal_faster = goal};
    ours->against[1] = (struct compare_against){.name = text("%s/protobuf-c-pack", name)};
    ours->against[2] = (struct compare_against){.name = text("%s/memcpy", name)};
    add(name, "protobuf-c", "protobuf-c, get_packed_size and pack", work, run_size_and_pack);
    add(name, "protobuf-c-pack", "protobuf-c, pack alone", work, run_pack);
    add(name, "memcpy", "memcpy of the bytes", work, run_copy);
}

static void add_packed(const char *name, const ProtobufCMessageDescriptor *type,
                       void (*make)(struct packed *ret_packed))
{
    static struct packed packed;
    make(&packed);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, packed.bytes, packed.data);
    if (!message)
        die(name, "it cannot be unpacked");
    add_message(name, message, GOAL_FASTER_THAN_PROTOBUF_C);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void add_list(const char *name, size_t count)
{
    static struct packed packed;
    record_v1(&packed);
    Catalog__V1__Package *package = catalog__v1__package__unpack(NULL, packed.bytes, packed.data);
    if (!package)
        die(name, "it cannot be unpacked");
    static Catalog__V1__Package *packages[CATALOGUE_COUNT];
    for (size_t i = 0; i < count; i++)
        packages[i] = package;
    Catalog__V1__ListReply list = CATALOG__V1__LIST_REPLY__INIT;
    list.n_package = count;
    list.package = packages;
    add_message(name, &list.base, 0);
    catalog__v1__package__free_unpacked(package, NULL);
}

static void add_file(void)
{
    Bench__V1__EchoMessage message = BENCH__V1__ECHO_MESSAGE__INIT;
    message.payload.len = FILE_BYTES;
    message.payload.data = calloc(1, FILE_BYTES);
    if (!message.payload.data)
        die("file", "no memory");
    add_message("file", &message.base, 0);
    free(message.payload.data);
}

static void free_all(void)
{
    for (size_t i = 0; i < work_count; i++) {
        protobuf_c_message_free_unpacked(works[i].message, NULL);
        free(works[i].expected);
        wire_packer_free(works[i].packer);
    }
    for (size_t i = 0; i < name_count; i++)
        free(names[i]);
    wire_packing_free(packing);
}

int main(int argc, char **argv)
{
    if (wire_packing_new(&packing) < 0)
        die("pack", "no memory");
    add_packed("order-v1", &order__v1__order__descriptor, order_v1);
    add_packed("order-v2", &order__v2__order__descriptor, order_v2);
    add_packed("record-v1", &catalog__v1__package__descriptor, record_v1);
    add_packed("record-v2", &catalog__v2__package__descriptor, record_v2);
    add_list("list", LIST_COUNT);
    add_list("catalogue", CATALOGUE_COUNT);
    add_file();
    const struct compare compare = {
        .name = "pack",
        .question = "What does it cost to pack a message for sending?",
        .cases = cases,
        .case_count = case_count,
    };
    int r = compare_main(argc, argv, &compare);
    free_all();
    return r;
}
