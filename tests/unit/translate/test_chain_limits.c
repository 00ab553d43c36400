/*
 * Paths of versions at their limits: of messages, of a plan, and of what a program may be that comes
 * from outside.
 */
#include "chains.h"

/* ---- Limits ---- */

/* A Plain, @depth messages deep. */
static struct bytes nested(unsigned depth)
{
    struct bytes out = bytes_of("", 0);
    for (unsigned i = 1; i < depth; i++) {
        uint8_t *more = malloc(out.bytes + 16);
        assert_non_null(more);
        uint8_t *end = wire_write_varint(wire_write_tag(more, 3, WIRE_BYTES), out.bytes);
        memcpy(end, out.data, out.bytes);
        free(out.data);
        out = (struct bytes){more, (size_t)(end - more) + out.bytes};
    }
    return out;
}

static void test_depth_of_a_path_is_limited_as_that_of_a_step(void **state)
{
    (void)state;
    size_t index = 0;
    assert_non_null(schema_method_find(steps->schemas[0], "Same", &index));
    const struct plan *plans[] = {steps->fused[0][5], steps->staged[0][5]};
    for (size_t i = 0; i < 2; i++) {
        struct bytes most = nested(WIRE_DEPTH_MAX), more = nested(WIRE_DEPTH_MAX + 1);
        struct bytes out = must_run(plans[i], (uint32_t)index, most);
        assert_int_equal(out.bytes, most.bytes);
        free(out.data);
        assert_int_equal(run(plans[i], (uint32_t)index, more, &out, NULL), -E2BIG);
        free(most.data);
        free(more.data);
    }
}

static struct bytes elements(size_t count)
{
    struct bytes out = {malloc(count + 16), 0};
    assert_non_null(out.data);
    uint8_t *end = wire_write_varint(wire_write_tag(out.data, 16, WIRE_BYTES), count);
    memset(end, 1, count);
    out.bytes = (size_t)(end - out.data) + count;
    return out;
}

static void test_elements_of_a_path_are_limited_as_those_of_a_step(void **state)
{
    (void)state;
    const struct plan *plans[] = {steps->fused[0][5], steps->staged[0][5]};
    for (size_t i = 0; i < 2; i++) {
        struct bytes most = elements(WIRE_ELEMENTS_MAX), more = elements(WIRE_ELEMENTS_MAX + 1);
        struct bytes out = must_run(plans[i], steps->entry[0], most);
        assert_true(out.bytes > WIRE_ELEMENTS_MAX);
        free(out.data);
        assert_int_equal(run(plans[i], steps->entry[0], more, &out, NULL), -E2BIG);
        free(most.data);
        free(more.data);
    }
}

static void test_output_of_a_path_is_limited_as_that_of_a_step(void **state)
{
    (void)state;
    /* A tag of two bytes instead of one, and an empty message for each two bytes: not past 4 x, but
     * with the fields of a deeper message it grows; whatever it does, it stays within. */
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct bytes in = generate(&steps__v6__record__descriptor, seed, 20), out = {NULL, 0};
        if (run(steps->staged[5][0], steps->entry[5], in, &out, NULL) == 0)
            assert_true(out.bytes <= 4 * in.bytes + 4096);
        free(out.data);
        free(in.data);
    }
}

#define COPY_COUNT 120

static Google__Protobuf__DescriptorProto *message_of(Google__Protobuf__FileDescriptorProto *file,
                                                     const char *name)
{
    for (size_t i = 0; i < file->n_message_type; i++)
        if (strcmp(file->message_type[i]->name, name) == 0)
            return file->message_type[i];
    fail_msg("no %s", name);
    return NULL;
}

/* A version with the message Package once more under many names, as fields of Answer. */
static struct schema *enlarge(const char *path)
{
    struct set set = set_read(path), larger;
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set);
    Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1], whole = *file;
    Google__Protobuf__DescriptorProto *answer = message_of(file, "Answer");
    Google__Protobuf__DescriptorProto answer_was = *answer, *list[32 + COPY_COUNT];
    Google__Protobuf__DescriptorProto copies[COPY_COUNT];
    Google__Protobuf__FieldDescriptorProto fields[COPY_COUNT], *members[8 + COPY_COUNT];
    char names[COPY_COUNT][16], types[COPY_COUNT][64];
    memcpy(list, file->message_type, file->n_message_type * sizeof(list[0]));
    memcpy(members, answer->field, answer->n_field * sizeof(members[0]));
    for (size_t i = 0; i < COPY_COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "Copy%zu", i);
        (void)snprintf(types[i], sizeof(types[i]), ".%s.%s", file->package, names[i]);
        copies[i] = *message_of(file, "Package");
        copies[i].name = names[i];
        list[file->n_message_type + i] = &copies[i];
        fields[i] = *answer->field[0];
        fields[i].name = fields[i].json_name = names[i];
        fields[i].number = 100 + (int32_t)i;
        fields[i].type_name = types[i];
        members[answer->n_field + i] = &fields[i];
    }
    file->message_type = list;
    file->n_message_type += COPY_COUNT;
    answer->field = members;
    answer->n_field += COPY_COUNT;
    larger = set_pack(files);
    *answer = answer_was;
    *file = whole;
    wire_free(files);
    free(set.data);
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(larger.data, larger.bytes, NULL, &schema, &error) < 0)
        fail_msg("%s: %s", path, error.text);
    free(larger.data);
    return schema;
}

static void test_path_of_a_large_interface_is_one_plan(void **state)
{
    (void)state;
    const struct schema *versions[VERSION_COUNT];
    struct schema *schemas[VERSION_COUNT];
    for (size_t i = 0; i < VERSION_COUNT; i++)
        versions[i] = schemas[i] = enlarge(chain->sets[i]);
    struct plan *plan = NULL;
    struct error_text error = {""};
    size_t bytes, steps_bytes = 0, step_bytes;
    for (size_t i = 0; i + 1 < VERSION_COUNT; i++) {
        struct plan *step = compile(versions[i], versions[i + 1], PLAN_REPLIES);
        (void)plan_program(step, &step_bytes);
        steps_bytes += step_bytes;
        plan_unref(step);
    }
    if (plan_compile_path(versions, VERSION_COUNT, PLAN_REPLIES, &plan, &error) < 0)
        fail_msg("%s", error.text);
    (void)plan_program(plan, &bytes);
    assert_true(bytes < PLAN_BYTES_MAX);
    /* All that it was made of would not have gone into one. */
    assert_true(steps_bytes + bytes > PLAN_BYTES_MAX);
    struct unfused count = count_unfused(plan);
    assert_int_equal(count.messages + count.fields, 0);
    plan_unref(plan);
    for (size_t i = 0; i < VERSION_COUNT; i++)
        schema_unref(schemas[i]);
}

/* ---- Programs that are corrupted ---- */

/* The tables of a copy of a program. */
static struct program_table *tables_of(struct bytes program, size_t *ret_count)
{
    const struct program_header *header = (const void *)program.data;
    size_t at = sizeof(*header) + header->count[SECTION_ENTRY] * sizeof(struct program_entry);
    *ret_count = header->count[SECTION_TABLE];
    return (struct program_table *)(void *)(program.data + ((at + 7) & ~(size_t)7));
}

static void test_stages_that_lead_back_are_refused(void **state)
{
    (void)state;
    size_t bytes, count, tried = 0;
    const uint8_t *data = plan_program(steps->staged[0][5], &bytes);
    struct bytes program = bytes_of(data, bytes);
    struct program_table *tables = tables_of(program, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (!tables[i].next)
            continue;
        struct program_table was = tables[i];
        struct plan *plan = NULL;
        struct error_text error = {""};
        tables[i].next = i + 1; /* to itself */
        assert_int_equal(plan_load(program.data, bytes, &plan, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "stage"));
        tables[i].next = (uint32_t)count + 1; /* nowhere */
        assert_int_equal(plan_load(program.data, bytes, &plan, &error), -EBADMSG);
        tables[i].next = was.next;
        tables[i].level = 0; /* a stage that says it is none */
        assert_int_equal(plan_load(program.data, bytes, &plan, &error), -EBADMSG);
        tables[i].level = PROGRAM_LEVEL_MAX + 1;
        assert_int_equal(plan_load(program.data, bytes, &plan, &error), -EBADMSG);
        tables[i] = was;
        tried++;
    }
    assert_true(tried > 0);
    struct plan *plan = NULL;
    assert_int_equal(plan_load(program.data, bytes, &plan, NULL), 0);
    plan_unref(plan);
    free(program.data);
}

static void test_pipes_that_lead_back_are_refused(void **state)
{
    (void)state;
    size_t bytes, count, tried = 0;
    const uint8_t *data = plan_program(steps->fused[0][5], &bytes);
    struct bytes program = bytes_of(data, bytes);
    struct program_table *tables = tables_of(program, &count);
    struct program_op *ops = (struct program_op *)(void *)(tables + count);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < tables[i].op_count; j++) {
            struct program_op *op = &ops[tables[i].op_first + j];
            if (!op->pipe)
                continue;
            uint32_t was = op->pipe, level = tables[was - 1].level;
            struct plan *plan = NULL;
            op->pipe = i + 1; /* to where it comes from */
            assert_int_equal(plan_load(program.data, bytes, &plan, NULL), -EBADMSG);
            op->pipe = (uint32_t)count + 1; /* nowhere */
            assert_int_equal(plan_load(program.data, bytes, &plan, NULL), -EBADMSG);
            op->pipe = was;
            tables[was - 1].level = tables[i].level; /* one that could lead back */
            assert_int_equal(plan_load(program.data, bytes, &plan, NULL), -EBADMSG);
            tables[was - 1].level = level;
            tried++;
        }
    }
    assert_true(tried > 0);
    struct plan *plan = NULL;
    assert_int_equal(plan_load(program.data, bytes, &plan, NULL), 0);
    plan_unref(plan);
    free(program.data);
}

static void test_corrupted_path_that_passes_stays_within_its_buffers(void **state)
{
    (void)state;
    uint64_t random = 3;
    unsigned loaded = 0;
    for (unsigned i = 0; i < 6000; i++) {
        const struct plan *from = i & 1 ? steps->fused[0][5] : steps->staged[0][5];
        size_t bytes;
        const uint8_t *data = plan_program(from, &bytes);
        struct bytes program = bytes_of(data, bytes);
        for (uint32_t n = 1 + random_below(&random, 3); n > 0; n--)
            program.data[random_below(&random, (uint32_t)bytes)] ^=
                (uint8_t)(1u << random_below(&random, 8));
        struct plan *plan = NULL;
        if (plan_load(program.data, bytes, &plan, NULL) == 0) {
            loaded++;
            struct bytes in = generate(&steps__v1__record__descriptor,
                                       1 + random_below(&random, 1000), 5);
            struct bytes out = {NULL, 0};
            (void)run(plan, steps->entry[0], in, &out, NULL);
            free(out.data);
            free(in.data);
            plan_unref(plan);
        }
        free(program.data);
    }
    assert_true(loaded > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_of_a_path_is_limited_as_that_of_a_step),
        cmocka_unit_test(test_elements_of_a_path_are_limited_as_those_of_a_step),
        cmocka_unit_test(test_output_of_a_path_is_limited_as_that_of_a_step),
        cmocka_unit_test(test_path_of_a_large_interface_is_one_plan),
        cmocka_unit_test(test_stages_that_lead_back_are_refused),
        cmocka_unit_test(test_pipes_that_lead_back_are_refused),
        cmocka_unit_test(test_corrupted_path_that_passes_stays_within_its_buffers),
    };
    return cmocka_run_group_tests(tests, chains_setup, chains_teardown);
}
