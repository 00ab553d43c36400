/*
 * What plan_passes() says of a field, held against what the plan does: other bytes in the same
 * place must come out in one place of the target and change nothing else, carriers and their guards
 * included. And it must not be too careful to be of use.
 *
 * PARLEY_LAWS_COUNT says how many messages.
 */
#include "plans.h"

#include "blob_v1.parley.h"
#include "blob_v2.parley.h"
#include "forms_v1.pb-c.h"
#include "forms_v2.pb-c.h"
#include "support/random_struct.h"
#include "wire/wire.h"

static struct versions blobs, shapes, forms, converts;

static struct schema *schema_of(const struct parley_interface *interface)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(interface->descriptor_set, interface->descriptor_set_bytes, NULL, &schema,
                   &error) < 0)
        fail_msg("%s", error.text);
    return schema;
}

static int setup(void **state)
{
    (void)state;
    blobs.v1 = schema_of(&blob__v1__store__interface);
    blobs.v2 = schema_of(&blob__v2__store__interface);
    blobs.up_requests = compile(blobs.v1, blobs.v2, PLAN_REQUESTS);
    blobs.down_replies = compile(blobs.v1, blobs.v2, PLAN_REPLIES);
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    versions_init(&forms, FORMS_V1_SET, FORMS_V2_SET);
    versions_init(&converts, CONVERT_V1_SET, CONVERT_V2_SET);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&blobs);
    versions_deinit(&shapes);
    versions_deinit(&forms);
    versions_deinit(&converts);
    return 0;
}

struct law {
    const struct plan *plan;
    uint32_t entry;
    uint8_t *source;
    size_t bytes;
    unsigned long passed;
};

static bool run_law(const struct law *law, struct bytes *ret_out)
{
    size_t room = plan_output_bytes_max(law->plan, law->bytes);
    *ret_out = (struct bytes){malloc(room + 1), 0};
    return plan_run(law->plan, law->entry, law->source, law->bytes, ret_out->data, room,
                    &ret_out->bytes, NULL) == 0;
}

/* The two differ in one place alone, as the source does. */
static void check_change(const struct bytes *before, const struct bytes *after, size_t bytes,
                         uint8_t mask)
{
    size_t first = 0;
    assert_int_equal(before->bytes, after->bytes);
    while (first < before->bytes && before->data[first] == after->data[first])
        first++;
    assert_true(bytes <= before->bytes - first);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(before->data[first + i] ^ after->data[first + i], mask);
    assert_memory_equal(before->data + first + bytes, after->data + first + bytes,
                        before->bytes - first - bytes);
}

static void check_field(struct law *law, size_t place, size_t bytes)
{
    struct bytes before, after;
    if (bytes == 0 || !plan_passes(law->plan, law->entry, law->source, law->bytes, place, bytes))
        return;
    if (run_law(law, &before)) {
        for (size_t i = 0; i < bytes; i++)
            law->source[place + i] ^= 0x5a;
        if (!run_law(law, &after))
            fail_msg("the plan looks at the bytes at %zu", place);
        check_change(&before, &after, bytes, 0x5a);
        for (size_t i = 0; i < bytes; i++)
            law->source[place + i] ^= 0x5a;
        free(after.data);
        law->passed++;
    }
    free(before.data);
}

/* All fields with a length, and what is in them if it could be a message. */
static void check_fields(struct law *law, struct wire_reader reader, unsigned depth)
{
    while (reader.pos < reader.end && depth < WIRE_DEPTH_MAX) {
        uint32_t number;
        enum wire_type type;
        const uint8_t *data;
        size_t bytes;
        if (wire_read_tag(&reader, &number, &type) < 0)
            return;
        if (type != WIRE_BYTES) {
            if (wire_skip(&reader, number, type) < 0)
                return;
            continue;
        }
        if (wire_read_bytes(&reader, &data, &bytes) < 0)
            return;
        check_field(law, (size_t)(data - law->source), bytes);
        check_fields(law, (struct wire_reader){data, data + bytes}, depth + 1);
    }
}

/* Return: how many fields passed. */
static unsigned long check_random(const struct plan *plan, uint32_t entry,
                                  const ProtobufCMessageDescriptor *type)
{
    const char *count = getenv("PARLEY_LAWS_COUNT");
    struct random_structs structs = {.random = 7 + entry};
    struct law law = {.plan = plan, .entry = entry};
    for (unsigned long i = count ? strtoul(count, NULL, 10) : 300; i > 0; i--) {
        structs.used = 0;
        struct bytes packed = pack(random_struct(&structs, type, 1));
        law.source = packed.data;
        law.bytes = packed.bytes;
        check_fields(&law, (struct wire_reader){packed.data, packed.data + packed.bytes}, 1);
        free(packed.data);
    }
    return law.passed;
}

/* Both ways. Return: as check_random(). */
static unsigned long check_service(const struct versions *versions,
                                   const ProtobufCServiceDescriptor *v1,
                                   const ProtobufCServiceDescriptor *v2)
{
    unsigned long passed = 0;
    for (unsigned i = 0; i < v1->n_methods; i++) {
        uint32_t method = plan_method(versions->up_requests, i);
        if (method >= v2->n_methods)
            continue;
        passed += check_random(versions->up_requests, i, v1->methods[i].input);
        passed += check_random(versions->down_replies, i, v2->methods[method].output);
    }
    return passed;
}

static void test_nothing_depends_on_what_passes(void **state)
{
    (void)state;
    assert_true(check_service(&blobs, &blob__v1__store__descriptor, &blob__v2__store__descriptor) >
                100);
    (void)check_service(&shapes, &shapes__v1__shapes__descriptor, &shapes__v2__shapes__descriptor);
    (void)check_service(&forms, &forms__v1__forms__descriptor, &forms__v2__forms__descriptor);
}

static void test_what_is_converted_does_not_pass(void **state)
{
    (void)state;
    static const uint8_t tags[] = {0x0a, 0x1a, 0x2a}; /* hex, base64, utf8 */
    for (size_t i = 0; i < sizeof(tags); i++) {
        const uint8_t message[] = {tags[i], 4, 'a', 'b', 'c', 'd'};
        assert_false(plan_passes(converts.up_requests, 4, message, sizeof(message), 2, 4));
    }
}

static void test_what_is_no_field_of_bytes_does_not_pass(void **state)
{
    (void)state;
    struct plan *plan = NULL;
    Shapes__V1__Shape shape = SHAPES__V1__SHAPE__INIT;
    uint8_t raw[300] = {1};
    shape.name = (char *)(uintptr_t) "name";
    shape.raw = (ProtobufCBinaryData){sizeof(raw), raw};
    struct bytes packed = pack(&shape);
    size_t raw_at = packed.bytes - sizeof(raw);
    assert_int_equal(plan_identity(&shapes__v1__shapes__descriptor, PLAN_REQUESTS, &plan, NULL), 0);
    for (size_t place = 0; place < packed.bytes + 2; place++) {
        for (size_t bytes = 0; bytes < packed.bytes + 2; bytes++)
            assert_int_equal(plan_passes(plan, 0, packed.data, packed.bytes, place, bytes),
                             place == raw_at && bytes == sizeof(raw));
    }
    assert_false(
        plan_passes(plan, plan_entry_count(plan), packed.data, packed.bytes, raw_at, sizeof(raw)));
    assert_false(plan_passes(plan, 0, packed.data, packed.bytes, SIZE_MAX, sizeof(raw)));
    assert_false(plan_passes(plan, 0, packed.data, packed.bytes, raw_at, SIZE_MAX));
    free(packed.data);
    plan_unref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_depends_on_what_passes),
        cmocka_unit_test(test_what_is_converted_does_not_pass),
        cmocka_unit_test(test_what_is_no_field_of_bytes_does_not_pass),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
