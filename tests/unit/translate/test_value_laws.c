/*
 * The laws for rules on values, on random messages of every type in convert_v1.proto and its
 * successor: there and back is the same, also through a program that has read and written it; and
 * what such a program has edited is what it reads again when its edit has been there and back.
 *
 * Values are drawn from what is near the edges of the rules: texts that are numbers, almost
 * numbers, names, dates; reals that are integers, halves, out of range. A message that has no place
 * in the other version is refused, and counted.
 *
 * A failure prints its seed; PARLEY_LAWS_SEED repeats it alone, PARLEY_LAWS_COUNT says how many.
 */
#include "rows.h"

static struct versions versions, closed;
/* From the first version to the third, and back; the steps of that. */
static struct schema *v3;
static struct plan *path_up, *path_down, *step_up, *step_down;

static int setup(void **state)
{
    (void)state;
    versions_init(&versions, CONVERT_V1_SET, CONVERT_V2_SET);
    versions_init(&closed, CLOSED_V1_SET, CLOSED_V2_SET);
    v3 = schema_read(CONVERT_V3_SET);
    const struct schema *list[] = {versions.v1, versions.v2, v3};
    struct error_text error = {""};
    if (plan_compile_path(list, 3, PLAN_REQUESTS, &path_up, &error) < 0 ||
        plan_compile_path(list, 3, PLAN_REPLIES, &path_down, &error) < 0)
        fail_msg("%s", error.text);
    step_up = compile(versions.v2, v3, PLAN_REQUESTS);
    step_down = compile(versions.v2, v3, PLAN_REPLIES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    plan_unref(path_up);
    plan_unref(path_down);
    plan_unref(step_up);
    plan_unref(step_down);
    schema_unref(v3);
    versions_deinit(&closed);
    versions_deinit(&versions);
    return 0;
}

/* ---- Random messages of a schema ---- */

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

static const char *const texts[] = {
    "",
    "0",
    "-0",
    "7",
    "007",
    "+1",
    "-12",
    "x",
    "1 ",
    "2147483648",
    "true",
    "false",
    "high",
    "low",
    "none",
    "LEVEL_LOW",
    "LEVEL_PEAK",
    "LEVEL_NONE",
    "1.5s",
    "-2s",
    "0s",
    "1.500s",
    "1e5",
    "0.1",
    "0.10",
    "NaN",
    "nan",
    "Infinity",
    "-inf",
    "1e999",
    "ab",
    "AB",
    "AA==",
    "AA",
    "AB==",
    "00ff",
    "unknown",
    "strange",
    "Gr\xc3\xbcn",
    "12345678901234567890",
    "2026-11-22T18:00:00Z",
    "2026-11-22T19:00:00.5+01:00",
    "1969-12-31T23:59:59.123Z",
    "stable",
    "a_b",
};

static const double reals[] = {0,    -0.0,  1,    -1,    0.5,    1.5,    2.5, -0.75, 0.1,  32,
                               1e10, -1e10, 1e19, 1e300, 1e-300, 3.4e38, 7,   12,    4113, 0.015};

static uint8_t *put_number(uint8_t *out, uint64_t *random, const struct schema_field *field)
{
    static const int64_t numbers[] = {0,  1,  2,    3,  4,         7,         9,         -1,
                                      12, 77, 1024, -5, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    int64_t number = numbers[random_below(random, 16)];
    uint64_t bits = (uint64_t)number;
    if (random_below(random, 3) == 0)
        bits = (uint64_t)(number = (int64_t)random_below(random, 6000) - 3000);
    /* JSON does not read an unknown value of a closed enum, protobuf-c does: where it would hide
     * another value, the two differ in what the message is. */
    const struct schema_enum *kinds = field->enumeration;
    if (kinds && kinds->closed && !field->repeated)
        number = kinds->values[random_below(random, (uint32_t)kinds->value_count)].number;
    switch (field->type) {
    case TYPE(BOOL):
        return wire_write_varint(out, bits & 1);
    case TYPE(INT32):
    case TYPE(ENUM):
        return wire_write_varint(out, (uint64_t)(int64_t)(int32_t)number);
    case TYPE(UINT32):
        return wire_write_varint(out, (uint32_t)bits);
    case TYPE(SINT32):
        number = (int32_t)number;
        return wire_write_varint(out, (uint32_t)((uint32_t)number << 1) ^ (uint32_t)(number >> 63));
    case TYPE(SINT64):
        return wire_write_varint(out, (uint64_t)number << 1 ^ (uint64_t)(number >> 63));
    case TYPE(DOUBLE):
    case TYPE(FLOAT): {
        double real = reals[random_below(random, sizeof(reals) / sizeof(reals[0]))];
        float single = (float)real;
        size_t bytes = field->type == TYPE(DOUBLE) ? 8 : 4;
        memcpy(out, bytes == 8 ? (const void *)&real : (const void *)&single, bytes);
        return out + bytes;
    }
    default:
        return wire_write_varint(out, bits);
    }
}

static uint8_t *put_field(uint8_t *out, uint64_t *random, const struct schema_field *field);

static uint8_t *put_message(uint8_t *out, uint64_t *random, const struct schema_message *type)
{
    for (size_t i = 0; i < type->field_count; i++)
        /* Of an entry both: without a value, of proto2, it is not in the JSON to compare. */
        if (type->map_entry || random_below(random, 4) != 0)
            out = put_field(out, random, &type->fields[i]);
    return out;
}

static uint8_t *put_value(uint8_t *out, uint64_t *random, const struct schema_field *field)
{
    uint8_t inner[512], *end = inner;
    if (field->message) {
        end = put_message(inner, random, field->message);
    } else if (field->type == TYPE(STRING) || field->type == TYPE(BYTES)) {
        const char *text = texts[random_below(random, sizeof(texts) / sizeof(texts[0]))];
        memcpy(inner, text, strlen(text));
        end = inner + strlen(text);
        if (field->type == TYPE(BYTES) && random_below(random, 3) == 0)
            *end++ = 0xff;
    } else {
        return put_number(out, random, field);
    }
    out = wire_write_varint(out, (uint64_t)(end - inner));
    memcpy(out, inner, (size_t)(end - inner));
    return out + (end - inner);
}

static bool is_bytes(const struct schema_field *field)
{
    return field->message || field->type == TYPE(STRING) || field->type == TYPE(BYTES);
}

static enum wire_type wire_of_field(const struct schema_field *field)
{
    return is_bytes(field)               ? WIRE_BYTES
           : field->type == TYPE(DOUBLE) ? WIRE_64BIT
           : field->type == TYPE(FLOAT)  ? WIRE_32BIT
                                         : WIRE_VARINT;
}

static uint8_t *put_field(uint8_t *out, uint64_t *random, const struct schema_field *field)
{
    if (field->repeated && !is_bytes(field) && random_below(random, 2)) {
        uint8_t packed[256], *end = packed;
        for (uint32_t n = random_below(random, 5); n > 0; n--)
            end = put_number(end, random, field);
        out = wire_write_tag(out, field->number, WIRE_BYTES);
        out = wire_write_varint(out, (uint64_t)(end - packed));
        memcpy(out, packed, (size_t)(end - packed));
        return out + (end - packed);
    }
    for (uint32_t n = field->repeated ? random_below(random, 4) : 1; n > 0; n--) {
        out = wire_write_tag(out, field->number, wire_of_field(field));
        out = put_value(out, random, field);
    }
    return out;
}

/* A few fields, in any order, some of them more than once. */
static struct bytes message_of(const struct schema_message *type, uint64_t *random)
{
    uint8_t *data = malloc(1 << 16), *end = data;
    assert_non_null(data);
    for (uint32_t n = random_below(random, 4); n > 0; n--)
        end = put_field(end, random,
                        &type->fields[random_below(random, (uint32_t)type->field_count)]);
    struct bytes out = bytes_of(data, (size_t)(end - data));
    free(data);
    return out;
}

/* ---- The laws ---- */

struct road {
    const struct schema_message *here, *there;
    const struct plan *out, *home;
    uint32_t entry;
};

/* As a program writes it that has read it: its fields, then what it does not know. */
static struct bytes rewritten(const struct schema_message *type, struct bytes in)
{
    char *json = json_of(type, in);
    struct bytes plain = wire_of(type, json), whole = with_carriers(plain, in);
    free(json);
    free(plain.data);
    return whole;
}

static bool same(const struct schema_message *type, struct bytes a, struct bytes b)
{
    char *x = json_of(type, a), *y = json_of(type, b);
    bool equal = strcmp(x, y) == 0;
    free(x);
    free(y);
    return equal;
}

static void broken(const struct road *road, uint64_t seed, const char *law, struct bytes in,
                   struct bytes there, struct bytes back)
{
    print_bytes("message", in);
    print_bytes("there", there);
    print_bytes("back", back);
    print_message("%s\n", json_of(road->here, in));
    if (there.data)
        print_message("%s\n", json_of(road->there, there));
    if (back.data)
        print_message("%s\n", json_of(road->here, back));
    fail_msg("%s, seed %llu: %s", road->here->name, (unsigned long long)seed, law);
}

/* Without the fields of the edited one, and with one of its kind instead. */
static struct bytes edited(const struct schema_message *type, struct bytes in, uint64_t *random)
{
    const struct schema_field *field =
        &type->fields[random_below(random, (uint32_t)type->field_count)];
    struct bytes out = {malloc(in.bytes + (1 << 12)), 0};
    struct wire_reader reader = {in.data, in.data + in.bytes};
    assert_non_null(out.data);
    while (reader.pos < reader.end) {
        const uint8_t *at = reader.pos;
        uint32_t number = 0;
        enum wire_type wire = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &wire), 0);
        assert_int_equal(wire_skip(&reader, number, wire), 0);
        if (number == field->number)
            continue;
        memcpy(out.data + out.bytes, at, (size_t)(reader.pos - at));
        out.bytes += (size_t)(reader.pos - at);
    }
    if (random_below(random, 3))
        out.bytes = (size_t)(put_field(out.data + out.bytes, random, field) - out.data);
    return out;
}

static void check_edit(const struct road *road, uint64_t seed, struct bytes there, uint64_t *random)
{
    struct bytes edit = edited(road->there, there, random), back = {NULL, 0}, again = {NULL, 0};
    if (run(road->home, road->entry, edit, &back, NULL) == 0) {
        if (run(road->out, road->entry, back, &again, NULL) < 0 ||
            !same(road->there, edit, again)) {
            const struct road other = {road->there, road->here, road->home, road->out, 0};
            broken(&other, seed, "the edit does not survive", edit, back, again);
        }
        free(back.data);
        free(again.data);
    }
    free(edit.data);
}

/* Whether it has a place there. */
static bool check_one(const struct road *road, uint64_t seed)
{
    uint64_t random = seed;
    struct bytes in = message_of(road->here, &random), there = {NULL, 0}, back = {NULL, 0};
    int r = run(road->out, road->entry, in, &there, NULL);
    if (r < 0) {
        if (r != -ERANGE && r != -EBADMSG)
            broken(road, seed, "refused with another error", in, there, back);
        free(in.data);
        return false;
    }
    for (int through = 0; through < 2; through++) {
        struct bytes whole =
            through ? rewritten(road->there, there) : bytes_of(there.data, there.bytes);
        if (run(road->home, road->entry, whole, &back, NULL) < 0)
            broken(road, seed, "the way back is refused", in, whole, back);
        if (!same(road->here, in, back))
            broken(road, seed, through ? "not the same, through a program" : "not the same", in,
                   whole, back);
        if (through)
            check_edit(road, seed, whole, &random);
        free(whole.data);
        free(back.data);
        back.data = NULL;
    }
    free(in.data);
    free(there.data);
    return true;
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 0) : otherwise;
}

static void check_roads(const struct road *roads, size_t road_count)
{
    uint64_t count = from_env("PARLEY_LAWS_COUNT", 4000), only = from_env("PARLEY_LAWS_SEED", 0);
    for (size_t i = 0; i < road_count; i++) {
        uint64_t held = 0;
        for (uint64_t seed = 1; seed <= count; seed++)
            held += check_one(&roads[i], only ? only : seed);
        /* Refusing everything would hold, too. */
        if (!only && held < count / 10)
            fail_msg("%s: only %llu of %llu have a place", roads[i].here->name,
                     (unsigned long long)held, (unsigned long long)count);
    }
}

/* Between the first two versions, the last two, and over all three. */
static void check_type(const char *name, const char *method)
{
    char v1[64], v2[64], last[64];
    (void)snprintf(v1, sizeof(v1), "convert.v1.%s", name);
    (void)snprintf(v2, sizeof(v2), "convert.v2.%s", name);
    (void)snprintf(last, sizeof(last), "convert.v3.%s", name);
    const struct pairs pairs = pairs_of(&versions, v1, v2, method);
    const struct schema_message *third = schema_message_find(v3, last);
    assert_non_null(third);
    const struct road roads[] = {
        {pairs.v1, pairs.v2, pairs.up, pairs.down, pairs.entry},
        {pairs.v2, pairs.v1, pairs.down, pairs.up, pairs.entry},
        {pairs.v2, third, step_up, step_down, pairs.entry},
        {third, pairs.v2, step_down, step_up, pairs.entry},
        {pairs.v1, third, path_up, path_down, pairs.entry},
        {third, pairs.v1, path_down, path_up, pairs.entry},
    };
    check_roads(roads, sizeof(roads) / sizeof(roads[0]));
}

static void test_laws_hold_for_closed_enums(void **state)
{
    (void)state;
    const struct pairs pairs = pairs_of(&closed, "closed.v1.Kinds", "closed.v2.Kinds", "Get");
    const struct road roads[] = {
        {pairs.v1, pairs.v2, pairs.up, pairs.down, pairs.entry},
        {pairs.v2, pairs.v1, pairs.down, pairs.up, pairs.entry},
    };
    check_roads(roads, 2);
}

static void test_laws_hold_for_enums(void **state)
{
    (void)state;
    check_type("Enums", "Enum");
}

static void test_laws_hold_for_texts(void **state)
{
    (void)state;
    check_type("Texts", "Text");
}

static void test_laws_hold_for_numbers(void **state)
{
    (void)state;
    check_type("Numbers", "Number");
    check_type("Offsets", "Offset");
}

static void test_laws_hold_for_bytes(void **state)
{
    (void)state;
    check_type("Blobs", "Blob");
}

static void test_laws_hold_for_times(void **state)
{
    (void)state;
    check_type("Times", "Time");
}

static void test_laws_hold_for_fields_that_one_version_lacks(void **state)
{
    (void)state;
    check_type("News", "New");
}

/* ---- Bad input ---- */

static const char *const methods[][2] = {
    {"Enums", "Enum"}, {"Texts", "Text"}, {"Numbers", "Number"}, {"Offsets", "Offset"},
    {"Blobs", "Blob"}, {"Times", "Time"}, {"News", "New"}};

static void damage(struct bytes in, uint64_t *random)
{
    for (uint32_t n = 1 + random_below(random, 3); n > 0 && in.bytes > 0; n--)
        in.data[random_below(random, (uint32_t)in.bytes)] ^=
            (uint8_t)(1u << random_below(random, 8));
}

/* A message of a random type. */
static struct bytes any_message(uint64_t *random, bool newer, uint32_t *ret_entry)
{
    uint32_t i = random_below(random, sizeof(methods) / sizeof(methods[0]));
    char name[64];
    size_t index;
    (void)snprintf(name, sizeof(name), "convert.v%d.%s", newer ? 2 : 1, methods[i][0]);
    assert_non_null(schema_method_find(versions.v1, methods[i][1], &index));
    *ret_entry = (uint32_t)index;
    return message_of(schema_message_find(newer ? versions.v2 : versions.v1, name), random);
}

/* run() gives the plan exactly the memory that it was promised, and the sanitizers watch. */
static void test_damaged_messages_are_refused_or_harmless(void **state)
{
    (void)state;
    uint64_t random = 5, count = from_env("PARLEY_LAWS_COUNT", 4000), refused = 0, passed = 0;
    for (uint64_t i = 0; i < 5 * count; i++) {
        bool newer = i & 1;
        uint32_t entry;
        struct bytes in = any_message(&random, newer, &entry), out = {NULL, 0};
        struct bytes back = {NULL, 0};
        const struct plan *there = newer ? versions.down_requests : versions.up_requests;
        const struct plan *home = newer ? versions.up_requests : versions.down_requests;
        /* With carriers, half of them. */
        if ((i & 2) && run(there, entry, in, &out, NULL) == 0) {
            const struct plan *swap = there;
            there = home;
            home = swap;
            free(in.data);
            in = out;
            out = (struct bytes){NULL, 0};
        }
        damage(in, &random);
        int r = run(there, entry, in, &out, NULL);
        refused += r < 0;
        /* What came out is well-formed: the way back takes it, but for values. */
        if (r == 0) {
            passed++;
            r = run(home, entry, out, &back, NULL);
            if (r < 0 && r != -ERANGE) {
                print_bytes("message", in);
                fail_msg("case %llu: comes out malformed: %d", (unsigned long long)i, r);
            }
        }
        free(in.data);
        free(out.data);
        free(back.data);
    }
    assert_true(refused > 0 && passed > count);
}

static void test_corrupted_programs_are_refused_or_harmless(void **state)
{
    (void)state;
    uint64_t random = 6, count = from_env("PARLEY_LAWS_COUNT", 4000), loaded = 0;
    for (uint64_t i = 0; i < 5 * count; i++) {
        bool newer = i & 1;
        size_t bytes;
        const uint8_t *program =
            plan_program(newer ? versions.down_requests : versions.up_requests, &bytes);
        struct bytes copy = bytes_of(program, bytes);
        struct plan *plan = NULL;
        for (uint32_t n = 1 + random_below(&random, 3); n > 0; n--) {
            uint32_t at = random_below(&random, (uint32_t)bytes);
            if (random_below(&random, 2))
                copy.data[at] ^= (uint8_t)(1u << random_below(&random, 8));
            else
                copy.data[at] = (uint8_t)random_below(&random, 32);
        }
        if (plan_load(copy.data, bytes, &plan, NULL) == 0) {
            loaded++;
            for (int j = 0; j < 3; j++) {
                uint32_t entry;
                struct bytes in = any_message(&random, newer, &entry), out = {NULL, 0};
                if (j == 2)
                    damage(in, &random);
                (void)run(plan, entry, in, &out, NULL);
                free(in.data);
                free(out.data);
            }
            plan_unref(plan);
        }
        free(copy.data);
    }
    assert_true(loaded > count / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laws_hold_for_closed_enums),
        cmocka_unit_test(test_damaged_messages_are_refused_or_harmless),
        cmocka_unit_test(test_corrupted_programs_are_refused_or_harmless),
        cmocka_unit_test(test_laws_hold_for_enums),
        cmocka_unit_test(test_laws_hold_for_texts),
        cmocka_unit_test(test_laws_hold_for_numbers),
        cmocka_unit_test(test_laws_hold_for_bytes),
        cmocka_unit_test(test_laws_hold_for_times),
        cmocka_unit_test(test_laws_hold_for_fields_that_one_version_lacks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
