/* Everything that a descriptor set can be large in: at its limit, and one past it. */
#include "changes.h"

#include <errno.h>

/* A file of its own in which things can be multiplied. */
struct big {
    Google__Protobuf__FileDescriptorSet set;
    Google__Protobuf__FileDescriptorProto files[SCHEMA_FILE_MAX + 2];
    Google__Protobuf__FileDescriptorProto *file_list[SCHEMA_FILE_MAX + 2];
    char names[8200][24];
};

enum many { FILES_MANY, MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHODS };

#define LIST(type, init)                                                                           \
    type *items = calloc(count, sizeof(*items));                                                   \
    type **list = calloc(count, sizeof(*list));                                                    \
    assert_true(items &&list);                                                                     \
    for (size_t i = 0; i < count; i++) {                                                           \
        items[i] = (type)init;                                                                     \
        items[i].name = big->names[i];                                                             \
        list[i] = &items[i];                                                                       \
    }

static void add_many(struct big *big, enum many what, size_t count)
{
    Google__Protobuf__FileDescriptorProto *file = &big->files[0];
    if (what == FILES_MANY) {
        for (size_t i = 1; i < count; i++)
            big->files[i].name = big->names[i];
        big->set.n_file = count;
    } else if (what == MESSAGES || what == FIELDS) {
        LIST(Google__Protobuf__DescriptorProto, GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT)
        file->message_type = list;
        file->n_message_type = what == MESSAGES ? count : 1;
    } else if (what == ENUMS || what == VALUES) {
        LIST(Google__Protobuf__EnumDescriptorProto, GOOGLE__PROTOBUF__ENUM_DESCRIPTOR_PROTO__INIT)
        file->enum_type = list;
        file->n_enum_type = what == ENUMS ? count : 1;
    } else {
        LIST(Google__Protobuf__ServiceDescriptorProto,
             GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT)
        file->service = list;
        file->n_service = what == SERVICES ? count : 1;
    }
}

static void add_fields(struct big *big, size_t count)
{
    LIST(Google__Protobuf__FieldDescriptorProto, GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__INIT)
    for (size_t i = 0; i < count; i++) {
        items[i].has_number = items[i].has_type = 1;
        items[i].number = (int32_t)(count - i);
        items[i].type = TYPE(BOOL);
    }
    big->files[0].message_type[0]->field = list;
    big->files[0].message_type[0]->n_field = count;
}

static void add_values(struct big *big, size_t count, bool each)
{
    LIST(Google__Protobuf__EnumValueDescriptorProto,
         GOOGLE__PROTOBUF__ENUM_VALUE_DESCRIPTOR_PROTO__INIT)
    for (size_t i = 0; i < count; i++) {
        items[i].has_number = 1;
        items[i].number = (int32_t)i;
    }
    for (size_t i = 0; i < big->files[0].n_enum_type; i++) {
        big->files[0].enum_type[i]->value = list;
        big->files[0].enum_type[i]->n_value = each ? 1 : count;
    }
}

static void add_methods(struct big *big, size_t count)
{
    static Google__Protobuf__DescriptorProto message = GOOGLE__PROTOBUF__DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__DescriptorProto *messages[] = {&message};
    message.name = (char *)"M";
    big->files[0].message_type = messages;
    big->files[0].n_message_type = 1;
    LIST(Google__Protobuf__MethodDescriptorProto, GOOGLE__PROTOBUF__METHOD_DESCRIPTOR_PROTO__INIT)
    for (size_t i = 0; i < count; i++)
        items[i].input_type = items[i].output_type = (char *)".p.M";
    big->files[0].service[0]->method = list;
    big->files[0].service[0]->n_method = count;
}

/* What schema_new() says of a set with @count of @what. Leaks no schema; the parts of the set go
 * with the arena that the caller made of big. */
static int big_schema(enum many what, size_t count, struct error_text *error)
{
    struct set kinds = set_read(KINDS_SET);
    FILES *files = set_unpack(&kinds);
    struct big *big = calloc(1, sizeof(*big));
    assert_non_null(big);
    big->set = (FILES)GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    for (size_t i = 0; i < sizeof(big->names) / sizeof(big->names[0]); i++)
        (void)snprintf(big->names[i], sizeof(big->names[i]), "n%zu", i);
    for (size_t i = 0; i < SCHEMA_FILE_MAX + 2; i++) {
        big->files[i] =
            (Google__Protobuf__FileDescriptorProto)GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
        big->file_list[i] = &big->files[i];
    }
    big->files[0].name = (char *)"big.proto";
    big->files[0].package = (char *)"p";
    big->files[0].options = own_file(files)->options;
    big->set.file = big->file_list;
    big->set.n_file = 1;
    add_many(big, what, count);
    if (what == FIELDS)
        add_fields(big, count);
    if (what == VALUES || what == ENUMS)
        add_values(big, count, what == ENUMS);
    if (what == METHODS)
        add_methods(big, count);

    struct set set = set_pack(&big->set);
    char service[] = "p.n0";
    struct schema *schema = NULL;
    error->text[0] = '\0';
    int r = schema_new(set.data, set.bytes, service, &schema, error);
    schema_unref(schema);
    free(set.data);

    Google__Protobuf__FileDescriptorProto *file = &big->files[0];
    if (what == FIELDS) {
        free(file->message_type[0]->field[0]);
        free(file->message_type[0]->field);
    }
    if (what == VALUES || what == ENUMS) {
        free(file->enum_type[0]->value[0]);
        free(file->enum_type[0]->value);
    }
    if (what == METHODS) {
        free(file->service[0]->method[0]);
        free(file->service[0]->method);
    } else if (file->message_type) {
        free(file->message_type[0]);
        free(file->message_type);
    }
    if (file->enum_type) {
        free(file->enum_type[0]);
        free(file->enum_type);
    }
    if (file->service) {
        free(file->service[0]);
        free(file->service);
    }
    free(big);
    wire_free(files);
    free(kinds.data);
    return r;
}

/* With only one part filled in there may be no service to choose: that comes after all limits. */
static void expect_limit(enum many what, size_t max, const char *sentence)
{
    struct error_text error;
    int r = big_schema(what, max, &error);
    if (r != 0 && !(r == -EINVAL && strstr(error.text, "has no service p.n0")))
        fail_msg("at the limit: %s", error.text);
    r = big_schema(what, max + 1, &error);
    if (r != -E2BIG || !strstr(error.text, sentence))
        fail_msg("past the limit: %d, %s", r, error.text);
}

static void test_limits_hold_and_one_more_is_refused(void **state)
{
    (void)state;
    expect_limit(FILES_MANY, SCHEMA_FILE_MAX, "the descriptor set has 257 files");
    expect_limit(MESSAGES, SCHEMA_MESSAGE_MAX, "the descriptor set has 4097 messages");
    expect_limit(ENUMS, SCHEMA_ENUM_MAX, "the descriptor set has 4097 enums");
    expect_limit(SERVICES, SCHEMA_SERVICE_MAX, "the descriptor set has 513 services");
    expect_limit(FIELDS, SCHEMA_FIELD_MAX, "message p.n0 has 4097 fields");
    expect_limit(VALUES, SCHEMA_VALUE_MAX, "enum p.n0 has 8193 values");
    expect_limit(METHODS, SCHEMA_METHOD_MAX, "service p.n0 has 513 methods");
}

/* Rules: @rule_count values of an enum each get one; the first one's is of @rule_bytes bytes. The
 * file has two more, its interface's and that of field `low`, of 19 and 8 bytes. */
static size_t rule_count, rule_bytes;

struct ruled_value {
    Google__Protobuf__EnumValueDescriptorProto value;
    Google__Protobuf__EnumValueOptions options;
    ProtobufCMessageUnknownField rule;
    char name[24];
};
static struct ruled_value ruled_values[SCHEMA_VALUE_MAX];
static Google__Protobuf__EnumValueDescriptorProto *ruled_list[SCHEMA_VALUE_MAX];
static uint8_t long_rule[SCHEMA_RULE_BYTES_MAX + 16];

static void change_rules(FILES *files)
{
    /* A rule of which all is one unknown field, 15. */
    uint8_t *pos = wire_write_varint(long_rule, rule_bytes);
    if (rule_bytes > 0) {
        uint8_t *content = wire_write_tag(pos, 15, WIRE_BYTES);
        size_t length = rule_bytes - 1 - wire_varint_size(rule_bytes);
        content = wire_write_varint(content, length);
        memset(content, 0, length);
        assert_ptr_equal(content + length, pos + rule_bytes);
        pos = content + length;
    }
    for (size_t i = 0; i < rule_count; i++) {
        struct ruled_value *ruled = &ruled_values[i];
        google__protobuf__enum_value_descriptor_proto__init(&ruled->value);
        google__protobuf__enum_value_options__init(&ruled->options);
        (void)snprintf(ruled->name, sizeof(ruled->name), "N%zu", i);
        ruled->value.name = ruled->name;
        ruled->value.has_number = 1;
        ruled->value.number = (int32_t)i;
        ruled->value.options = &ruled->options;
        ruled->options.base.n_unknown_fields = 1;
        ruled->options.base.unknown_fields = &ruled->rule;
        ruled->rule = (ProtobufCMessageUnknownField){
            .tag = 51030,
            .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
            .len = i == 0 ? (size_t)(pos - long_rule) : 1,
            .data = i == 0 ? long_rule : (uint8_t *)"",
        };
        ruled_list[i] = &ruled->value;
    }
    own_file(files)->enum_type[0]->value = ruled_list;
    own_file(files)->enum_type[0]->n_value = rule_count;
}

static void test_most_rules_are_read_and_one_more_is_refused(void **state)
{
    (void)state;
    struct error_text error;
    rule_bytes = 0;
    rule_count = SCHEMA_RULE_MAX - 2;
    if (changed(KINDS_SET, change_rules, NULL, &error) != 0)
        fail_msg("%s", error.text);
    rule_count++;
    assert_int_equal(changed(KINDS_SET, change_rules, NULL, &error), -E2BIG);
    assert_non_null(strstr(error.text, "more than 8192 Parley options"));
}

static void test_largest_rules_are_read_and_one_more_byte_is_refused(void **state)
{
    (void)state;
    struct error_text error;
    rule_count = 1;
    rule_bytes = SCHEMA_RULE_BYTES_MAX - 19 - 8;
    if (changed(KINDS_SET, change_rules, NULL, &error) != 0)
        fail_msg("%s", error.text);
    rule_bytes++;
    assert_int_equal(changed(KINDS_SET, change_rules, NULL, &error), -E2BIG);
    assert_non_null(strstr(error.text, "have more than 524288 bytes"));
}

static char long_name[SCHEMA_NAME_BYTES_MAX + 2];

static void change_long_message_name(FILES *files)
{
    own_file(files)->enum_type[0]->name = long_name;
    proto_of(files, "colour")->type_name = proto_of(files, "size")->type_name;
    proto_of(files, "colours")->type_name = proto_of(files, "size")->type_name;
}
CHANGE(long_field_name, proto_of(files, "bool_value")->name = long_name)
CHANGE(long_json_name, proto_of(files, "bool_value")->json_name = long_name)
CHANGE(long_method_name, own_file(files)->service[0]->method[0]->name = long_name)
CHANGE(long_value_name, own_file(files)->enum_type[0]->value[0]->name = long_name)
CHANGE(long_file_name, own_file(files)->name = long_name)

static void test_longest_names_are_accepted_and_one_more_byte_is_refused(void **state)
{
    (void)state;
    static void (*const changes[])(FILES * files) = {
        change_long_field_name, change_long_json_name, change_long_method_name,
        change_long_value_name, change_long_file_name,
    };
    struct error_text error;
    memset(long_name, 'n', sizeof(long_name) - 1);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        long_name[SCHEMA_NAME_BYTES_MAX] = '\0';
        if (changed(KINDS_SET, changes[i], NULL, &error) != 0)
            fail_msg("%zu: %s", i, error.text);
        long_name[SCHEMA_NAME_BYTES_MAX] = 'n';
        assert_int_equal(changed(KINDS_SET, changes[i], NULL, &error), -EINVAL);
    }
    long_name[SCHEMA_NAME_BYTES_MAX - strlen("kinds.v1.")] = '\0';
    assert_int_equal(changed(KINDS_SET, change_long_message_name, NULL, &error), 0);
    long_name[SCHEMA_NAME_BYTES_MAX - strlen("kinds.v1.")] = 'n';
    long_name[SCHEMA_NAME_BYTES_MAX - strlen("kinds.v1.") + 1] = '\0';
    assert_int_equal(changed(KINDS_SET, change_long_message_name, NULL, &error), -E2BIG);
}

static void test_largest_set_is_read_and_one_more_byte_is_refused(void **state)
{
    (void)state;
    struct set set = set_read(KINDS_SET);
    uint8_t *data = malloc(SCHEMA_SET_BYTES_MAX + 1);
    assert_non_null(data);
    memcpy(data, set.data, set.bytes);
    /* Padding: an unknown field of the set, 15: LENGTH, that fills it up exactly. */
    size_t left = SCHEMA_SET_BYTES_MAX - set.bytes;
    uint8_t *pos = wire_write_tag(data + set.bytes, 15, WIRE_BYTES);
    size_t content = left - 1 - wire_varint_size(left);
    pos = wire_write_varint(pos, content);
    memset(pos, 0, (size_t)(data + SCHEMA_SET_BYTES_MAX + 1 - pos));
    assert_ptr_equal(pos + content, data + SCHEMA_SET_BYTES_MAX);
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(data, SCHEMA_SET_BYTES_MAX, NULL, &schema, &error) < 0)
        fail_msg("%s", error.text);
    schema_unref(schema);
    assert_int_equal(schema_new(data, SCHEMA_SET_BYTES_MAX + 1, NULL, &schema, &error), -E2BIG);
    free(data);
    free(set.data);
}

static void test_most_list_elements_are_read_and_one_more_is_refused(void **state)
{
    (void)state;
    /* Empty files, two bytes each: few bytes, much memory. */
    size_t bytes = 2 * ((size_t)SCHEMA_ELEMENT_MAX + 1);
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i += 2) {
        data[i] = 0x0a;
        data[i + 1] = 0;
    }
    struct schema *schema = NULL;
    struct error_text error = {""};
    assert_int_equal(schema_new(data, bytes - 2, NULL, &schema, &error), -E2BIG);
    assert_non_null(strstr(error.text, "has 131072 files"));
    assert_int_equal(schema_new(data, bytes, NULL, &schema, &error), -E2BIG);
    assert_non_null(strstr(error.text, "the descriptor set cannot be read"));
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_hold_and_one_more_is_refused),
        cmocka_unit_test(test_most_rules_are_read_and_one_more_is_refused),
        cmocka_unit_test(test_largest_rules_are_read_and_one_more_byte_is_refused),
        cmocka_unit_test(test_longest_names_are_accepted_and_one_more_byte_is_refused),
        cmocka_unit_test(test_largest_set_is_read_and_one_more_byte_is_refused),
        cmocka_unit_test(test_most_list_elements_are_read_and_one_more_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
