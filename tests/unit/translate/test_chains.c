/*
 * Plans over whole paths of versions: what they do is what their single steps do one after another,
 * fused or in stages, both ways; so that the laws hold, and versions in between see what they
 * should.
 *
 * steps_v1..6 have all kinds of rules, some of which cannot be fused; chain_v1..6 have one kind a
 * step, and must be fused to the last op.
 */
#include "chains.h"

static struct bytes hex(const char *digits)
{
    struct bytes out = bytes_of(NULL, 0);
    for (; digits && *digits; digits += 2) {
        unsigned byte;
        assert_int_equal(sscanf(digits, "%2x", &byte), 1);
        out.data = realloc(out.data, out.bytes + 1);
        assert_non_null(out.data);
        out.data[out.bytes++] = (uint8_t)byte;
    }
    return out;
}

/* ---- Messages that are the same but for the order of what travels along ---- */

struct record {
    uint32_t number;
    uint64_t owner, guard; /* of a carrier, in which it lies */
    const uint8_t *at;
    size_t bytes, order;
};

static int compare_records(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->owner != y->owner)
        return x->owner < y->owner ? -1 : 1;
    if (x->guard != y->guard)
        return x->guard < y->guard ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

struct records {
    struct record list[4096];
    size_t count;
};

static void add_records(struct records *records, uint64_t owner, uint64_t guard,
                        const uint8_t *data, size_t bytes)
{
    struct wire_reader reader = {data, data + bytes};
    while (reader.pos < reader.end) {
        struct record record = {.owner = owner, .guard = guard, .at = reader.pos};
        enum wire_type type = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &record.number, &type), 0);
        struct wire_reader value = reader;
        assert_int_equal(wire_skip(&reader, record.number, type), 0);
        record.bytes = (size_t)(reader.pos - record.at);
        record.order = records->count;
        const uint8_t *content;
        size_t length;
        if (owner == 0 && record.number == CARRIER_NUMBER && type == WIRE_BYTES &&
            wire_read_bytes(&value, &content, &length) == 0 && length >= CARRIER_OWNER_BYTES &&
            (content[0] == CARRIER_PLAIN_TAG || content[0] == CARRIER_GUARDED_TAG)) {
            uint32_t whose;
            uint64_t hash = 0;
            size_t head = CARRIER_OWNER_BYTES;
            memcpy(&whose, content + 1, 4);
            if (content[0] == CARRIER_GUARDED_TAG) {
                memcpy(&hash, content + head + 1, 8);
                head += CARRIER_GUARD_BYTES;
            }
            add_records(records, UINT64_C(1) << 32 | whose, hash, content + head, length - head);
            continue;
        }
        assert_true(records->count < sizeof(records->list) / sizeof(records->list[0]));
        records->list[records->count++] = record;
    }
}

/* Of a canonical message: fields as they are, then what is unknown, by number, then what carriers
 * have, by owner, guard and number. */
static struct bytes sorted(const ProtobufCMessageDescriptor *type, struct bytes in)
{
    struct records *records = calloc(1, sizeof(*records));
    struct bytes out = {malloc(8 * in.bytes + 64), 0};
    assert_non_null(records);
    assert_non_null(out.data);
    add_records(records, 0, 0, in.data, in.bytes);
    qsort(records->list, records->count, sizeof(records->list[0]), compare_records);
    for (size_t i = 0; i < records->count; i++) {
        const struct record *record = &records->list[i];
        const ProtobufCFieldDescriptor *field =
            record->owner ? NULL : protobuf_c_message_descriptor_get_field(type, record->number);
        if (record->owner) {
            memcpy(out.data + out.bytes, &record->owner, 8);
            memcpy(out.data + out.bytes + 8, &record->guard, 8);
            out.bytes += 16;
        }
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE) {
            memcpy(out.data + out.bytes, record->at, record->bytes);
            out.bytes += record->bytes;
            continue;
        }
        struct wire_reader reader = {record->at, record->at + record->bytes};
        uint32_t number;
        enum wire_type wire;
        const uint8_t *data;
        size_t bytes;
        assert_int_equal(wire_read_tag(&reader, &number, &wire), 0);
        assert_int_equal(wire_read_bytes(&reader, &data, &bytes), 0);
        struct bytes content = {(uint8_t *)(uintptr_t)data, bytes};
        struct bytes nested = sorted(field->descriptor, content);
        memcpy(out.data + out.bytes, &number, 4);
        memcpy(out.data + out.bytes + 4, nested.data, nested.bytes);
        out.bytes += 4 + nested.bytes;
        free(nested.data);
    }
    free(records);
    return out;
}

static bool same_but_for_order(const ProtobufCMessageDescriptor *type, struct bytes a,
                               struct bytes b)
{
    struct bytes x = canonical(type, a), y = canonical(type, b);
    struct bytes p = sorted(type, x), q = sorted(type, y);
    bool same = p.bytes == q.bytes && memcmp(p.data, q.data, p.bytes) == 0;
    free(x.data);
    free(y.data);
    free(p.data);
    free(q.data);
    return same;
}

/* ---- Running ---- */

static int run_steps(const struct family *family, size_t from, size_t to, struct bytes in,
                     struct bytes *ret_out)
{
    struct bytes message = bytes_of(in.data, in.bytes);
    while (from != to) {
        size_t next = from < to ? from + 1 : from - 1;
        struct bytes out = {NULL, 0};
        int r = run(family->fused[from][next], family->entry[from], message, &out, NULL);
        free(message.data);
        if (r < 0)
            return r;
        message = out;
        from = next;
    }
    *ret_out = message;
    return 0;
}

/* False: not the same, and said so. */
static bool try_path(const struct family *family, const struct plan *plan, size_t from, size_t to,
                     struct bytes in, bool say)
{
    struct bytes want = {NULL, 0}, got = {NULL, 0};
    struct plan_failure failure = {0, 0, ""};
    int r = run_steps(family, from, to, in, &want);
    int q = run(plan, family->entry[from], in, &got, &failure);
    bool same = r == q && (r < 0 || same_but_for_order(family->types[to], want, got));
    if (r < 0 && failure.offset > in.bytes)
        same = false;
    if (!same && say) {
        print_bytes("message", in);
        print_message("steps: %d, path: %d (%s, field %u, byte %zu)\n", r, q, failure.what,
                      failure.number, failure.offset);
        print_bytes("steps", want);
        print_bytes("path", got);
    }
    free(want.data);
    free(got.data);
    return same;
}

/* Leaves fields out as long as it still fails. */
static struct bytes shrink(const struct family *family, const struct plan *plan, size_t from,
                           size_t to, struct bytes in)
{
    for (bool smaller = true; smaller;) {
        smaller = false;
        struct wire_reader reader = {in.data, in.data + in.bytes};
        while (reader.pos < reader.end && !smaller) {
            size_t before = (size_t)(reader.pos - in.data);
            uint32_t number = 0;
            enum wire_type type = WIRE_VARINT;
            assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
            assert_int_equal(wire_skip(&reader, number, type), 0);
            size_t after = (size_t)(reader.end - reader.pos);
            struct bytes less = bytes_of(in.data, before + after);
            memcpy(less.data + before, reader.pos, after);
            if (!try_path(family, plan, from, to, less, false)) {
                struct bytes whole = in;
                in = less;
                less = whole;
                smaller = true;
            }
            free(less.data);
        }
    }
    return in;
}

static void must_be_its_steps(const struct family *family, const struct plan *plan,
                              const char *which, size_t from, size_t to, struct bytes in,
                              uint64_t seed)
{
    if (try_path(family, plan, from, to, in, false))
        return;
    struct bytes small = shrink(family, plan, from, to, bytes_of(in.data, in.bytes));
    (void)try_path(family, plan, from, to, small, true);
    free(small.data);
    fail_msg("%s, %s, from v%zu to v%zu, seed %llu: not what its steps do", family->name, which,
             from + 1, to + 1, (unsigned long long)seed);
}

static void check_paths(unsigned wild, uint64_t count, bool back)
{
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        const struct family *family = &families[f];
        for (uint64_t seed = 1; seed <= count * VERSION_COUNT * VERSION_COUNT; seed++) {
            size_t from = seed % VERSION_COUNT, to = seed / VERSION_COUNT % VERSION_COUNT;
            if (from == to)
                continue;
            struct bytes in = generate(family->types[from], seed, wild), out = {NULL, 0};
            /* Or what has come from there: with carriers, of versions in between among them. */
            if (back && run_steps(family, from, to, in, &out) == 0) {
                free(in.data);
                in = out;
                size_t swap = from;
                from = to;
                to = swap;
            }
            must_be_its_steps(family, family->staged[from][to], "staged", from, to, in, seed);
            must_be_its_steps(family, family->fused[from][to], "fused", from, to, in, seed);
            free(in.data);
        }
    }
}

static void test_path_does_what_its_steps_do(void **state)
{
    (void)state;
    check_paths(0, 60, false);
}

static void test_path_back_does_what_its_steps_do(void **state)
{
    (void)state;
    check_paths(0, 60, true);
}

static void test_path_refuses_and_carries_extreme_values_as_its_steps_do(void **state)
{
    (void)state;
    check_paths(5, 30, false);
    check_paths(5, 30, true);
}

static void test_there_and_back_over_a_path_is_the_same(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        const struct family *family = &families[f];
        unsigned held = 0;
        for (uint64_t seed = 1; seed <= 60 * VERSION_COUNT * VERSION_COUNT; seed++) {
            size_t from = seed % VERSION_COUNT, to = seed / VERSION_COUNT % VERSION_COUNT;
            struct bytes in = generate(family->types[from], seed, 0);
            struct bytes there = {NULL, 0}, back = {NULL, 0};
            int r = run(family->fused[from][to], family->entry[from], in, &there, NULL);
            if (r == 0) {
                back = must_run(family->fused[to][from], family->entry[to], there);
                if (!same_message(family->types[from], in, back)) {
                    print_bytes("message", in);
                    print_bytes("there", there);
                    print_bytes("back", back);
                    fail_msg("%s, from v%zu to v%zu, seed %llu: not the same", family->name,
                             from + 1, to + 1, (unsigned long long)seed);
                }
                held++;
                free(there.data);
                free(back.data);
            } else {
                assert_true(r == -ERANGE || r == -EBADMSG);
            }
            free(in.data);
        }
        assert_true(held > 1000);
    }
}

/* What has been at the far end is read in the middle as if it had come from there straight. */
static void test_carriers_are_opened_by_the_versions_in_between(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        const struct family *family = &families[f];
        unsigned held = 0;
        for (uint64_t seed = 1; seed <= 600; seed++) {
            size_t from = seed & 1 ? 0 : VERSION_COUNT - 1, to = VERSION_COUNT - 1 - from;
            size_t middle = 1 + seed / 2 % (VERSION_COUNT - 2);
            struct bytes in = generate(family->types[from], seed, 0);
            struct bytes there = {NULL, 0}, back = {NULL, 0}, straight = {NULL, 0};
            if (run(family->fused[from][to], family->entry[from], in, &there, NULL) == 0) {
                back = must_run(family->fused[to][middle], family->entry[to], there);
                straight = must_run(family->fused[from][middle], family->entry[from], in);
                if (!same_but_for_order(family->types[middle], straight, back)) {
                    print_bytes("message", in);
                    print_bytes("straight", straight);
                    print_bytes("back", back);
                    fail_msg("%s, v%zu in the middle, seed %llu: not the same", family->name,
                             middle + 1, (unsigned long long)seed);
                }
                held++;
                free(there.data);
                free(back.data);
                free(straight.data);
            }
            free(in.data);
        }
        assert_true(held > 300);
    }
}

/* ---- Single cases ---- */

static void test_edit_at_the_far_end_wins_in_all_versions(void **state)
{
    (void)state;
    Steps__V6__Record record = STEPS__V6__RECORD__INIT;
    Steps__V6__Contact contact = STEPS__V6__CONTACT__INIT;
    record.name = (char *)"libc6";
    record.bits = 8 * 1024 * 7 + 3;
    record.contact = &contact;
    contact.name = (char *)"Ann";
    contact.phone = (char *)"1";
    struct bytes in = pack(&record), there = must_run(steps->fused[5][0], steps->entry[5], in);
    Steps__V1__Record *old = must_unpack(&steps__v1__record__descriptor, there);
    assert_int_equal(old->size_kib, 7);
    assert_string_equal(old->contact, "Ann");
    assert_string_equal(old->id, "libc6:");
    old->size_kib = 9;
    struct bytes edited = pack(old);
    for (size_t i = 1; i < VERSION_COUNT; i++) {
        struct bytes out = must_run(steps->fused[0][i], steps->entry[0], edited);
        if (i == 2) {
            Steps__V3__Record *middle = must_unpack(&steps__v3__record__descriptor, out);
            assert_int_equal(middle->size, 9 * 1024);
            assert_string_equal(middle->contact->phone, "1");
            wire_free(middle);
        } else if (i == 5) {
            Steps__V6__Record *newest = must_unpack(&steps__v6__record__descriptor, out);
            assert_int_equal(newest->bits, UINT64_C(9) * 8 * 1024);
            assert_string_equal(newest->contact->phone, "1");
            wire_free(newest);
        }
        free(out.data);
    }
    wire_free(old);
    free(edited.data);
    free(there.data);
    free(in.data);
}

static int compile_versions(const struct schema *const *versions, size_t count,
                            struct error_text *error)
{
    struct plan *plan = NULL;
    int r = plan_compile_path(versions, count, PLAN_REQUESTS, &plan, error);
    assert_true((r == 0) == (plan != NULL));
    plan_unref(plan);
    return r;
}

static void test_unrelated_neighbours_are_refused_by_name(void **state)
{
    (void)state;
    const struct schema *versions[] = {steps->schemas[0], steps->schemas[1], steps->schemas[3],
                                       steps->schemas[4]};
    struct error_text error = {""};
    assert_int_equal(compile_versions(versions, 4, &error), -EINVAL);
    assert_non_null(strstr(error.text, "steps.v2"));
    assert_non_null(strstr(error.text, "steps.v4"));
    assert_non_null(strstr(error.text, "no relation"));
}

static void test_longest_path_is_made_and_one_more_is_refused(void **state)
{
    (void)state;
    const struct schema *versions[PLAN_PATH_MAX + 1];
    for (size_t i = 0; i <= PLAN_PATH_MAX; i++)
        versions[i] = chain->schemas[i < VERSION_COUNT ? i : 2 * VERSION_COUNT - 2 - i];
    struct error_text error = {""};
    assert_int_equal(compile_versions(versions, PLAN_PATH_MAX, &error), 0);
    assert_int_equal(compile_versions(versions, PLAN_PATH_MAX + 1, &error), -EINVAL);
    assert_non_null(strstr(error.text, "path"));
    assert_int_equal(compile_versions(versions, 0, &error), -EINVAL);
    assert_int_equal(compile_versions(versions, 1, &error), 0);
}

static void test_path_of_two_is_the_single_step(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < VERSION_COUNT; i++) {
        struct plan *plan = compile(steps->schemas[i], steps->schemas[i + 1], PLAN_REQUESTS);
        size_t a, b;
        const uint8_t *x = plan_program(plan, &a);
        const uint8_t *y = plan_program(steps->fused[i][i + 1], &b);
        assert_int_equal(a, b);
        assert_memory_equal(x, y, a);
        plan_unref(plan);
    }
}

static void test_methods_are_followed_all_the_way(void **state)
{
    (void)state;
    const struct plan *up = steps->fused[0][5], *half = steps->fused[0][1];
    assert_int_equal(plan_entry_count(up), 5);
    assert_int_equal(plan_method(up, 0), 2); /* Get */
    assert_int_equal(plan_method(up, 1), 1); /* Put */
    assert_int_equal(plan_method(half, 2), 2);
    /* v3 and v4 do not have it. */
    assert_int_equal(plan_method(up, 2), PLAN_METHOD_NONE);
    assert_int_equal(plan_method(up, 3), 0); /* Same */
}

static void test_replies_take_the_path_backwards(void **state)
{
    (void)state;
    const struct schema *versions[VERSION_COUNT];
    size_t count = path(steps->schemas, 0, 5, versions);
    struct plan *plan = NULL;
    struct error_text error = {""};
    assert_int_equal(plan_compile_path(versions, count, PLAN_REPLIES, &plan, &error), 0);
    assert_int_equal(plan_class(plan), PLAN_CARRIED);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct bytes in = generate(&steps__v6__record__descriptor, seed, 0);
        struct bytes want = {NULL, 0}, got = {NULL, 0};
        int r = run_steps(steps, 5, 0, in, &want), q = run(plan, 0, in, &got, NULL); /* Get */
        assert_int_equal(r, q);
        assert_true(r < 0 || same_but_for_order(&steps__v1__record__descriptor, want, got));
        free(in.data);
        free(want.data);
        free(got.data);
    }
    plan_unref(plan);
}

static void test_versions_of_one_package_are_steps_as_well(void **state)
{
    (void)state;
    const struct schema *versions[] = {steps->schemas[0], steps->schemas[0], steps->schemas[1],
                                       steps->schemas[1]};
    struct plan *plan = NULL, *same = NULL;
    struct error_text error = {""};
    assert_int_equal(plan_compile_path(versions, 4, PLAN_REQUESTS, &plan, &error), 0);
    assert_int_equal(plan_compile_path(versions, 2, PLAN_REQUESTS, &same, &error), 0);
    assert_int_equal(plan_class(same), PLAN_IDENTITY);
    assert_int_equal(plan_output_bytes_max(same, 10), 10 + 64);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct bytes in = generate(&steps__v1__record__descriptor, seed, 0);
        must_be_its_steps(steps, plan, "with steps within a package", 0, 1, in, seed);
        free(in.data);
    }
    plan_unref(plan);
    plan_unref(same);
}

/* From the newest of the versions to the oldest, in single steps and by one plan: both give @want,
 * in hexadecimal digits; or both refuse, if it is NULL. */
static void must_go_down(struct schema *const *schemas, size_t count, const char *message,
                         const char *want)
{
    struct plan *plan = compile_path(schemas, count - 1, 0, false);
    struct bytes in = hex(message), now = hex(message), out = {NULL, 0}, expected = hex(want);
    int q = run(plan, 0, in, &out, NULL), r = 0;
    for (size_t at = count - 1; at > 0 && r == 0; at--) {
        struct plan *step = compile_path(schemas, at, at - 1, false);
        struct bytes next = {NULL, 0};
        r = run(step, 0, now, &next, NULL);
        free(now.data);
        now = next;
        plan_unref(step);
    }
    assert_int_equal(r, want ? 0 : -EBADMSG);
    assert_int_equal(q, r);
    if (want) {
        assert_int_equal(now.bytes, expected.bytes);
        assert_memory_equal(now.data, expected.data, expected.bytes);
        assert_int_equal(out.bytes, expected.bytes);
        assert_memory_equal(out.data, expected.data, expected.bytes);
    }
    free(in.data);
    free(now.data);
    free(out.data);
    free(expected.data);
    plan_unref(plan);
}

/* v3 and v2 have bytes where v1 has text, and v2 is where a oneof's replaced member is left out. */
static void test_what_is_left_out_in_between_need_not_be_text_at_the_end(void **state)
{
    (void)state;
    const char *sets[] = {LATE_V1_SET, LATE_V2_SET, LATE_V3_SET};
    struct schema *late[3];
    for (size_t i = 0; i < 3; i++)
        late[i] = schema_read(sets[i]);
    /* tree { leaf { text: 00 ff 80 } }, leaf {}, tree {} */
    must_go_down(late, 3, "0a082206fa010300ff8022000a00", "22000a00");
    /* It is looked at where it is not left out. */
    must_go_down(late, 3, "0a082206fa0103616263", "0a082206fa0103616263");
    must_go_down(late, 3, "0a082206fa010300ff80", NULL);
    for (size_t i = 0; i < 3; i++)
        schema_unref(late[i]);
}

/* ---- How much of it is fused ---- */

static void test_steps_of_different_fields_are_fused_to_the_last_op(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSION_COUNT; i++) {
        for (size_t j = 0; j < VERSION_COUNT; j++) {
            struct unfused count = count_unfused(chain->fused[i][j]);
            if (count.messages + count.fields > 0)
                fail_msg("from v%zu to v%zu: %u messages, %u fields", i + 1, j + 1, count.messages,
                         count.fields);
            /* So they need no more room than a single step. */
            assert_int_equal(plan_output_bytes_max(chain->fused[i][j], 1000),
                             i == j ? 1000 + 64 : 1000 + 4 * 1000 + 4096 + 64);
        }
    }
}

static void test_what_cannot_be_fused_is_piped_or_done_in_stages(void **state)
{
    (void)state;
    /* Else the tests above would not have tested these. */
    struct unfused up = count_unfused(steps->fused[0][5]), down = count_unfused(steps->fused[5][0]);
    assert_true(up.messages > 0 && up.fields > 0);
    assert_true(down.messages > 0 && down.fields > 0);
    assert_true(count_unfused(steps->staged[0][5]).messages > up.messages);
    assert_int_equal(count_unfused(steps->staged[0][5]).fields, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_does_what_its_steps_do),
        cmocka_unit_test(test_path_back_does_what_its_steps_do),
        cmocka_unit_test(test_path_refuses_and_carries_extreme_values_as_its_steps_do),
        cmocka_unit_test(test_there_and_back_over_a_path_is_the_same),
        cmocka_unit_test(test_carriers_are_opened_by_the_versions_in_between),
        cmocka_unit_test(test_edit_at_the_far_end_wins_in_all_versions),
        cmocka_unit_test(test_unrelated_neighbours_are_refused_by_name),
        cmocka_unit_test(test_longest_path_is_made_and_one_more_is_refused),
        cmocka_unit_test(test_path_of_two_is_the_single_step),
        cmocka_unit_test(test_methods_are_followed_all_the_way),
        cmocka_unit_test(test_replies_take_the_path_backwards),
        cmocka_unit_test(test_versions_of_one_package_are_steps_as_well),
        cmocka_unit_test(test_what_is_left_out_in_between_need_not_be_text_at_the_end),
        cmocka_unit_test(test_steps_of_different_fields_are_fused_to_the_last_op),
        cmocka_unit_test(test_what_cannot_be_fused_is_piped_or_done_in_stages),
    };
    return cmocka_run_group_tests(tests, chains_setup, chains_teardown);
}
