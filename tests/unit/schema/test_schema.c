#include "changes.h"

#include <errno.h>

static const struct schema_message *message_of(const struct schema *schema, const char *name)
{
    const struct schema_message *message = schema_message_find(schema, name);
    if (!message)
        fail_msg("no message %s", name);
    return message;
}

static const struct schema_field *field_of(const struct schema_message *message, const char *name)
{
    const struct schema_field *field = schema_field_find(message, name);
    if (!field)
        fail_msg("no field %s in %s", name, message->name);
    return field;
}

/* ---- What a schema says of the protos it was made from ---- */

static void test_service_is_found_with_its_interface_and_methods(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_service *service = schema_service(schema);
    assert_string_equal(service->name, "kinds.v1.Echo");
    assert_string_equal(service->package, "kinds.v1");
    assert_string_equal(service->interface->name, "kinds");
    assert_string_equal(service->interface->version, "1.2.3-rc.1");
    assert_null(service->interface->previous);
    assert_int_equal(service->method_count, 3);
    assert_string_equal(service->methods[0].name, "Echo");
    assert_int_equal(service->methods[0].idempotency, 0);
    assert_int_equal(service->methods[1].idempotency, 2);
    assert_false(service->methods[1].server_streaming);
    assert_true(service->methods[2].server_streaming);
    assert_false(service->methods[2].client_streaming);
    assert_string_equal(service->methods[2].output->name, "kinds.v1.Kinds.Inner");
    size_t index = 99;
    assert_ptr_equal(schema_method_find(schema, "Again", &index), &service->methods[1]);
    assert_int_equal(index, 1);
    assert_null(schema_method_find(schema, "again", NULL));
    schema_unref(schema);
}

static void test_nested_messages_have_local_names(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = message_of(schema, "kinds.v1.Kinds.Inner.Innermost");
    assert_string_equal(message->local, "Kinds.Inner.Innermost");
    assert_string_equal(message->package, "kinds.v1");
    const struct schema_enum *enumeration = schema_enum_find(schema, "kinds.v1.Kinds.Size");
    assert_non_null(enumeration);
    assert_string_equal(enumeration->local, "Kinds.Size");
    assert_false(enumeration->closed);
    assert_int_equal(enumeration->value_count, 3);
    assert_string_equal(enumeration->values[2].name, "SIZE_LARGE");
    assert_int_equal(enumeration->values[2].number, 1);
    assert_null(schema_enum_find(schema, "kinds.v1.Kinds"));
    assert_null(schema_message_find(schema, "kinds.v1.Kinds.Size"));
    schema_unref(schema);
}

static void test_messages_are_listed_by_index(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    size_t count;
    const struct schema_message *const *messages = schema_messages(schema, &count);
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(messages[i]->index, i);
        assert_ptr_equal(schema_message_find(schema, messages[i]->name), messages[i]);
        found = found || strcmp(messages[i]->name, "kinds.v1.Kinds") == 0;
    }
    assert_true(found);
    schema_unref(schema);
}

static void test_fields_ascend_and_are_found_by_number(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = message_of(schema, "kinds.v1.Kinds");
    assert_int_equal(message->field_count, 34);
    for (size_t i = 0; i < message->field_count; i++) {
        assert_true(i == 0 || message->fields[i - 1].number < message->fields[i].number);
        assert_ptr_equal(schema_field_number(message, message->fields[i].number),
                         &message->fields[i]);
    }
    assert_null(schema_field_number(message, 0));
    assert_null(schema_field_number(message, 34));
    assert_null(schema_field_number(message, 1001));
    assert_string_equal(field_of(message, "low")->json_name, "low");
    assert_string_equal(field_of(message, "int64_value")->json_name, "int64Value");
    assert_string_equal(field_of(message, "odd_name_")->json_name, "@odd");
    schema_unref(schema);
}

static void test_presence_is_proto3s(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = message_of(schema, "kinds.v1.Kinds");
    assert_false(field_of(message, "int32_value")->presence);
    assert_false(field_of(message, "texts")->presence);
    assert_true(field_of(message, "inner")->presence);
    assert_false(field_of(message, "inners")->presence);
    assert_true(field_of(message, "maybe")->presence);
    assert_true(field_of(message, "word")->presence);
    schema_unref(schema);
}

/* An entry without a key is one with the key 0 or "": a carrier that tells them apart says nothing.
 */
static void test_entries_of_maps_have_no_presence_in_proto2(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS2_SET);
    const struct schema_message *message = message_of(schema, "kinds.v2.Old");
    const struct schema_message *entry = field_of(message, "shape_of")->message;
    assert_true(entry->map_entry);
    assert_false(field_of(entry, "key")->presence);
    assert_false(field_of(entry, "value")->presence);
    assert_true(field_of(message, "number")->presence);
    schema_unref(schema);
}

static void test_optional_is_no_oneof(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = message_of(schema, "kinds.v1.Kinds");
    assert_int_equal(message->oneof_count, 1);
    assert_string_equal(message->oneofs[0], "choice");
    assert_int_equal(field_of(message, "word")->oneof, 0);
    assert_int_equal(field_of(message, "thing")->oneof, 0);
    assert_int_equal(field_of(message, "maybe")->oneof, -1);
    assert_int_equal(field_of(message, "maybe_text")->oneof, -1);
    assert_int_equal(field_of(message, "int32_value")->oneof, -1);
    schema_unref(schema);
}

static void test_packed_defaults_differ_by_syntax(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = message_of(schema, "kinds.v1.Kinds");
    assert_true(field_of(message, "numbers")->packed);
    assert_true(field_of(message, "colours")->packed);
    assert_false(field_of(message, "loose")->packed);
    assert_false(field_of(message, "texts")->packed);
    assert_false(field_of(message, "int32_value")->packed);
    schema_unref(schema);
    schema = schema_read(KINDS2_SET);
    message = message_of(schema, "kinds.v2.Old");
    assert_false(field_of(message, "loose")->packed);
    assert_true(field_of(message, "tight")->packed);
    schema_unref(schema);
}

static void test_maps_are_repeated_entries(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_field *field = field_of(message_of(schema, "kinds.v1.Kinds"), "by_number");
    assert_true(field->repeated);
    assert_true(field->message->map_entry);
    assert_int_equal(field->message->fields[0].type, TYPE(INT64));
    assert_string_equal(field->message->fields[1].message->name, "kinds.v1.Kinds.Inner");
    assert_false(message_of(schema, "kinds.v1.Kinds")->map_entry);
    schema_unref(schema);
}

static void test_proto2_has_closed_enums_required_fields_and_defaults(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS2_SET);
    const struct schema_message *message = message_of(schema, "kinds.v2.Old");
    assert_true(field_of(message, "name")->required);
    assert_true(field_of(message, "number")->presence);
    assert_string_equal(field_of(message, "number")->default_value, "-7");
    assert_string_equal(field_of(message, "shape")->default_value, "SHAPE_SQUARE");
    assert_true(field_of(message, "shape")->enumeration->closed);
    assert_string_equal(schema_service(schema)->interface->previous, "kinds.v1");
    schema_unref(schema);
}

static void test_rules_of_the_demo_are_read(void **state)
{
    (void)state;
    struct schema *schema = schema_read(CATALOG_V2_SET);
    const struct schema_message *package = message_of(schema, "catalog.v2.Package");
    assert_non_null(package->rule);
    assert_true(package->rule->n_drop >= 1);
    assert_string_equal(package->rule->drop[0]->from, "id");
    assert_string_equal(package->rule->move[0]->to, "links.homepage");
    const struct schema_field *bytes = field_of(package, "installed_bytes");
    assert_string_equal(bytes->rule->from, "installed_kib");
    assert_int_equal(bytes->rule->multiply, 1024);
    assert_string_equal(field_of(package, "maintainer")->rule->split->otherwise, "name");
    assert_null(field_of(package, "name")->rule);
    const struct schema_enum *priority = schema_enum_find(schema, "catalog.v2.Priority");
    assert_string_equal(priority->values[1].rule->to, "PRIORITY_OPTIONAL");
    assert_null(priority->values[0].rule);
    schema_unref(schema);
}

static void test_options_in_several_statements_are_one(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_field *low = field_of(message_of(schema, "kinds.v1.Kinds"), "low");
    assert_non_null(low->rule);
    assert_string_equal(low->rule->from, "high");
    assert_int_equal(low->rule->multiply, 7);
    schema_unref(schema);
}

static void test_set_is_kept_as_given(void **state)
{
    (void)state;
    struct set set = set_read(CATALOG_V1_SET);
    struct schema *schema = NULL;
    assert_int_equal(schema_new(set.data, set.bytes, "catalog.v1.Catalog", &schema, NULL), 0);
    size_t bytes;
    const uint8_t *data = schema_set(schema, &bytes);
    assert_int_equal(bytes, set.bytes);
    assert_memory_equal(data, set.data, bytes);
    assert_ptr_not_equal(data, set.data);
    free(set.data);
    struct schema *second = schema_ref(schema);
    assert_null(schema_unref(schema));
    assert_string_equal(schema_service(second)->name, "catalog.v1.Catalog");
    assert_null(schema_unref(second));
    assert_null(schema_unref(NULL));
}

static void test_interface_names_are_checked(void **state)
{
    (void)state;
    assert_int_equal(schema_check_interface_name("a"), 0);
    assert_int_equal(schema_check_interface_name("catalog.eu-1_x"), 0);
    const char *const bad[] = {"", "1a", "A", "aB", ".a", "a b", "a/b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(schema_check_interface_name(bad[i]), -EINVAL);
    char name[SCHEMA_INTERFACE_BYTES_MAX + 2];
    memset(name, 'a', sizeof(name));
    name[SCHEMA_INTERFACE_BYTES_MAX + 1] = '\0';
    assert_int_equal(schema_check_interface_name(name), -EINVAL);
    name[SCHEMA_INTERFACE_BYTES_MAX] = '\0';
    assert_int_equal(schema_check_interface_name(name), 0);
}

/* ---- What is refused ---- */

static void change_nothing(FILES *files)
{
    (void)files;
}
CHANGE(number_zero, proto_of(files, "bool_value")->number = 0)
CHANGE(number_negative, proto_of(files, "bool_value")->number = -1)
CHANGE(number_past_the_end, proto_of(files, "bool_value")->number = (int32_t)WIRE_NUMBER_MAX + 1)
CHANGE(number_last, proto_of(files, "bool_value")->number = (int32_t)WIRE_NUMBER_MAX)
CHANGE(number_reserved, proto_of(files, "bool_value")->number = 19500)
CHANGE(number_twice, proto_of(files, "bool_value")->number = 9)
CHANGE(name_twice, proto_of(files, "bool_value")->name = (char *)"string_value")
CHANGE(name_odd, proto_of(files, "bool_value")->name = (char *)"bool value\n")
CHANGE(name_missing, proto_of(files, "bool_value")->name = NULL)
CHANGE(json_name_twice, proto_of(files, "bool_value")->json_name = (char *)"@odd")
CHANGE(type_unknown, proto_of(files, "bool_value")->type = 19)
CHANGE(type_missing, proto_of(files, "bool_value")->has_type = 0)
CHANGE(type_not_there, proto_of(files, "inner")->type_name = (char *)".kinds.v1.Nobody")
CHANGE(type_relative, proto_of(files, "inner")->type_name = (char *)"kinds.v1.Kinds")
CHANGE(type_is_enum, proto_of(files, "inner")->type_name = (char *)".kinds.v1.Colour")
CHANGE(type_group, proto_of(files, "inner")->type = TYPE(GROUP))
CHANGE(label_unknown, proto_of(files, "bool_value")->label = 4)
CHANGE(label_required, proto_of(files, "bool_value")->label = 2)
CHANGE(label_repeated_in_oneof, proto_of(files, "word")->label = 3)
CHANGE(oneof_past_the_end, proto_of(files, "word")->oneof_index = 3)
CHANGE(oneof_negative, proto_of(files, "word")->oneof_index = -1)
CHANGE(oneof_of_optional_shared, proto_of(files, "word")->oneof_index = 1)
CHANGE(optional_without_oneof, proto_of(files, "maybe")->has_oneof_index = 0)
CHANGE(default_in_proto3, proto_of(files, "int32_value")->default_value = (char *)"1")
CHANGE(map_not_repeated, proto_of(files, "counts")->label = 1)
CHANGE(packed_text, {
    proto_of(files, "texts")->options = proto_of(files, "loose")->options;
    proto_of(files, "loose")->options->packed = 1;
})
CHANGE(extension_in_message, proto_of(files, "bool_value")->extendee = (char *)".kinds.v1.Kinds")
CHANGE(map_key_double,
       own_file(files)->message_type[0]->nested_type[1]->field[0]->type = TYPE(DOUBLE))
CHANGE(map_key_only, own_file(files)->message_type[0]->nested_type[1]->n_field = 1)
CHANGE(message_twice, own_file(files)->message_type[0]->nested_type[0]->name = (char *)"Size")
CHANGE(message_name_odd, own_file(files)->message_type[0]->name = (char *)"1Kinds")
CHANGE(syntax_unknown, own_file(files)->syntax = (char *)"editions")
CHANGE(file_twice, own_file(files)->name = files->file[0]->name)
CHANGE(file_without_name, own_file(files)->name = NULL)
CHANGE(package_odd, own_file(files)->package = (char *)"kinds..v1")
CHANGE(value_twice, own_file(files)->enum_type[0]->value[1]->number = 0)
CHANGE(value_name_twice, own_file(files)->enum_type[0]->value[1]->name = (char *)"COLOUR_BLUE")
CHANGE(value_first_not_zero, own_file(files)->enum_type[0]->value[0]->number = 5)
CHANGE(enum_empty, own_file(files)->enum_type[0]->n_value = 0)
CHANGE(method_twice, own_file(files)->service[0]->method[1]->name = (char *)"Echo")
CHANGE(method_takes_nobody,
       own_file(files)->service[0]->method[1]->input_type = (char *)".kinds.v1.Nobody")
CHANGE(method_returns_entry,
       own_file(files)->service[0]->method[1]->output_type = (char *)".kinds.v1.Kinds.CountsEntry")
CHANGE(method_idempotency, own_file(files)->service[0]->method[1]->options->idempotency_level = 3)
CHANGE(no_options, own_file(files)->options = NULL)
CHANGE(no_service, own_file(files)->n_service = 0)
CHANGE(no_imports, {
    files->file[0] = own_file(files);
    files->n_file = 1;
})

static void test_what_no_protoc_writes_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        void (*change)(FILES *files);
        const char *sentence;
    } rows[] = {
        {change_number_zero, "kinds.proto: message kinds.v1.Kinds: field bool_value has number 0"},
        {change_number_negative, "field bool_value has number -1"},
        {change_number_past_the_end, "field bool_value has number 536870912"},
        {change_number_reserved, "field bool_value has number 19500; protobuf reserves"},
        {change_number_twice, "both have number 9"},
        {change_name_twice, "two fields are named string_value"},
        {change_name_odd, "field bool value? has a name that is no identifier"},
        {change_name_missing, "has a name that is no identifier"},
        {change_json_name_twice, "two fields are \"@odd\" in JSON"},
        {change_type_unknown, "field bool_value has no known type"},
        {change_type_missing, "field bool_value has no known type"},
        {change_type_not_there, "field inner is of message \".kinds.v1.Nobody\", which is not"},
        {change_type_relative, "field inner is of message \"kinds.v1.Kinds\", which is not"},
        {change_type_is_enum, "field inner is of message \".kinds.v1.Colour\", which is not"},
        {change_type_group, "field inner is a group"},
        {change_label_unknown, "field bool_value has label 4"},
        {change_label_required, "field bool_value is required"},
        {change_label_repeated_in_oneof, "field word is in a oneof"},
        {change_oneof_past_the_end, "field word is in oneof 3"},
        {change_oneof_negative, "field word is in oneof -1"},
        {change_oneof_of_optional_shared, "oneof _maybe has 2 members"},
        {change_optional_without_oneof, "oneof _maybe has 0 members"},
        {change_default_in_proto3, "field int32_value has a default value"},
        {change_map_not_repeated, "field counts is of a map's entry, but not repeated"},
        {change_packed_text, "field texts is packed"},
        {change_extension_in_message, "field bool_value is an extension"},
        {change_map_key_double, "message kinds.v1.Kinds.CountsEntry is marked as a map's entry"},
        {change_map_key_only, "message kinds.v1.Kinds.CountsEntry is marked as a map's entry"},
        {change_message_twice, "kinds.v1.Kinds.Size is declared twice"},
        {change_message_name_odd, "kinds.proto: \"1Kinds\" in \"kinds.v1\" is no name"},
        {change_syntax_unknown, "kinds.proto: syntax \"editions\" is not supported"},
        {change_file_twice, "is in the descriptor set twice"},
        {change_file_without_name, "has no name"},
        {change_package_odd, "\"kinds..v1\" is no name for a package"},
        {change_value_twice, "enum kinds.v1.Colour: two values are 0"},
        {change_value_name_twice, "enum kinds.v1.Colour: two values are named COLOUR_BLUE"},
        {change_value_first_not_zero, "enum kinds.v1.Colour: the first value must be 0"},
        {change_enum_empty, "enum kinds.v1.Colour has 0 values"},
        {change_method_twice, "service kinds.v1.Echo: two methods are named Echo"},
        {change_method_takes_nobody, "method Again takes \".kinds.v1.Nobody\""},
        {change_method_returns_entry, "method Again takes or returns a map's entry"},
        {change_method_idempotency, "method Again has idempotency_level 3"},
        {change_no_options, "no service in a file with option (parley.interface)"},
        {change_no_service, "no service in a file with option (parley.interface)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_refusal(KINDS_SET, rows[i].change, -EINVAL, rows[i].sentence);
}

static void test_unchanged_and_last_number_are_accepted(void **state)
{
    (void)state;
    struct error_text error;
    assert_int_equal(changed(KINDS_SET, change_nothing, NULL, &error), 0);
    assert_int_equal(changed(KINDS_SET, change_number_last, NULL, &error), 0);
}

static void test_imports_for_options_alone_need_not_be_there(void **state)
{
    (void)state;
    struct error_text error;
    assert_int_equal(changed(KINDS_SET, change_no_imports, NULL, &error), 0);
}

CHANGE(default_out_of_range, proto_of(files, "number")->default_value = (char *)"2147483648")
CHANGE(default_last, proto_of(files, "number")->default_value = (char *)"-2147483648")
CHANGE(default_no_number, proto_of(files, "number")->default_value = (char *)"7x")
CHANGE(default_no_value, proto_of(files, "shape")->default_value = (char *)"SHAPE_FLAT")
CHANGE(default_of_message, proto_of(files, "shape_of")->default_value = (char *)"")
CHANGE(default_no_real, proto_of(files, "real")->default_value = (char *)"1.5.5")
CHANGE(optional_in_proto2, {
    static Google__Protobuf__OneofDescriptorProto oneof =
        GOOGLE__PROTOBUF__ONEOF_DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__OneofDescriptorProto *oneofs[] = {&oneof};
    oneof.name = (char *)"_number";
    own_file(files)->message_type[0]->oneof_decl = oneofs;
    own_file(files)->message_type[0]->n_oneof_decl = 1;
    proto_of(files, "number")->has_oneof_index = 1;
    proto_of(files, "number")->has_proto3_optional = 1;
    proto_of(files, "number")->proto3_optional = 1;
})

static void test_bad_proto2_is_refused_by_name(void **state)
{
    (void)state;
    expect_refusal(KINDS2_SET, change_default_out_of_range, -EINVAL,
                   "field number has the default \"2147483648\"");
    expect_refusal(KINDS2_SET, change_default_no_number, -EINVAL,
                   "field number has the default \"7x\"");
    expect_refusal(KINDS2_SET, change_default_no_value, -EINVAL,
                   "field shape has the default \"SHAPE_FLAT\"");
    expect_refusal(KINDS2_SET, change_default_of_message, -EINVAL,
                   "field shape_of has a default value");
    expect_refusal(KINDS2_SET, change_default_no_real, -EINVAL,
                   "field real has the default \"1.5.5\"");
    expect_refusal(KINDS2_SET, change_optional_in_proto2, -EINVAL,
                   "field number is marked as proto3's `optional`");
    struct error_text error;
    assert_int_equal(changed(KINDS2_SET, change_default_last, NULL, &error), 0);
}

/* ---- The interface option ---- */

/* Replaces the content of the file's (parley.interface). */
static void set_interface(FILES *files, const char *text, size_t bytes)
{
    ProtobufCMessage *options = &own_file(files)->options->base;
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        if (options->unknown_fields[i].tag != 51030)
            continue;
        static uint8_t data[256];
        assert_true(bytes < 128);
        data[0] = (uint8_t)bytes;
        memcpy(data + 1, text, bytes);
        options->unknown_fields[i].data = data;
        options->unknown_fields[i].len = bytes + 1;
        return;
    }
    fail_msg("no interface option");
}
#define INTERFACE(text) set_interface(files, text, sizeof(text) - 1)
CHANGE(interface_empty, INTERFACE(""))
CHANGE(interface_without_version, INTERFACE("\x0a\x01"
                                            "a"))
CHANGE(interface_bad_name, INTERFACE("\x0a\x01"
                                     "A"
                                     "\x12\x05"
                                     "1.0.0"))
CHANGE(interface_bad_version, INTERFACE("\x0a\x01"
                                        "a"
                                        "\x12\x03"
                                        "1.0"))
CHANGE(interface_bad_previous, INTERFACE("\x0a\x01"
                                         "a"
                                         "\x12\x05"
                                         "1.0.0"
                                         "\x1a\x01"
                                         "."))
CHANGE(interface_truncated, INTERFACE("\x0a\x05"
                                      "a"))
CHANGE(interface_not_utf8, INTERFACE("\x0a\x01"
                                     "\xff"
                                     "\x12\x05"
                                     "1.0.0"))
CHANGE(interface_good, INTERFACE("\x0a\x01"
                                 "a"
                                 "\x12\x05"
                                 "1.0.0"
                                 "\x1a\x03"
                                 "a.b"))

static void test_interface_option_is_checked(void **state)
{
    (void)state;
    expect_refusal(KINDS_SET, change_interface_empty, -EINVAL,
                   "kinds.proto: option (parley.interface): the name \"\" is not");
    expect_refusal(KINDS_SET, change_interface_without_version, -EINVAL, "the version \"\" is not");
    expect_refusal(KINDS_SET, change_interface_bad_name, -EINVAL, "the name \"A\" is not");
    expect_refusal(KINDS_SET, change_interface_bad_version, -EINVAL, "the version \"1.0\" is not");
    expect_refusal(KINDS_SET, change_interface_bad_previous, -EINVAL, "previous: \".\" is not");
    expect_refusal(KINDS_SET, change_interface_truncated, -EBADMSG,
                   "kinds.proto: option (parley.interface): its Parley option cannot be read");
    expect_refusal(KINDS_SET, change_interface_not_utf8, -EBADMSG, "cannot be read");
    struct error_text error;
    assert_int_equal(changed(KINDS_SET, change_interface_good, NULL, &error), 0);
}

CHANGE(second_service, {
    Google__Protobuf__FileDescriptorProto *file = own_file(files);
    static Google__Protobuf__ServiceDescriptorProto other =
        GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT;
    static Google__Protobuf__ServiceDescriptorProto *services[2];
    other.name = (char *)"Other";
    services[0] = file->service[0];
    services[1] = &other;
    file->service = services;
    file->n_service = 2;
})

static void test_one_of_several_services_must_be_named(void **state)
{
    (void)state;
    expect_refusal(KINDS_SET, change_second_service, -EINVAL, "kinds.v1.Echo and kinds.v1.Other");
    struct error_text error;
    assert_int_equal(changed(KINDS_SET, change_second_service, "kinds.v1.Other", &error), 0);
    assert_int_equal(changed(KINDS_SET, change_second_service, "kinds.v1.Nobody", &error), -EINVAL);
    assert_non_null(strstr(error.text, "no service kinds.v1.Nobody"));
    assert_int_equal(changed(KINDS_SET, change_nothing, "kinds.v1.Kinds", &error), -EINVAL);
    assert_int_equal(changed(KINDS_SET, change_no_options, "kinds.v1.Echo", &error), -EINVAL);
    assert_non_null(
        strstr(error.text, "kinds.proto: service kinds.v1.Echo: its file has no option"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_service_is_found_with_its_interface_and_methods),
        cmocka_unit_test(test_nested_messages_have_local_names),
        cmocka_unit_test(test_messages_are_listed_by_index),
        cmocka_unit_test(test_fields_ascend_and_are_found_by_number),
        cmocka_unit_test(test_presence_is_proto3s),
        cmocka_unit_test(test_entries_of_maps_have_no_presence_in_proto2),
        cmocka_unit_test(test_optional_is_no_oneof),
        cmocka_unit_test(test_packed_defaults_differ_by_syntax),
        cmocka_unit_test(test_maps_are_repeated_entries),
        cmocka_unit_test(test_proto2_has_closed_enums_required_fields_and_defaults),
        cmocka_unit_test(test_rules_of_the_demo_are_read),
        cmocka_unit_test(test_options_in_several_statements_are_one),
        cmocka_unit_test(test_set_is_kept_as_given),
        cmocka_unit_test(test_interface_names_are_checked),
        cmocka_unit_test(test_what_no_protoc_writes_is_refused_by_name),
        cmocka_unit_test(test_unchanged_and_last_number_are_accepted),
        cmocka_unit_test(test_imports_for_options_alone_need_not_be_there),
        cmocka_unit_test(test_bad_proto2_is_refused_by_name),
        cmocka_unit_test(test_interface_option_is_checked),
        cmocka_unit_test(test_one_of_several_services_must_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
