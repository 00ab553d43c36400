/*
 * The rules: their names, which category asks for them, and what they say.
 *
 * The names and the two categories are those of buf (https://buf.build/docs/breaking/rules, the
 * rules of configuration version v2, and MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT, which it has in no
 * category any more), so that whoever knows one tool reads the other, and an
 * exception that a review has accepted for one needs no new name for the other. Deletions of whole
 * packages, messages, services and methods are rules of buf's PACKAGE category; on a bus they break
 * callers, so they belong to both categories here. What begins with PARLEY_ is ours.
 */
#include "schema/diff.h"

#include <string.h>

#define W 1u
#define J 2u

static const struct {
    const char *name;
    unsigned categories;
    const char *meaning;
} rules[DIFF_RULE_COUNT] = {
    [DIFF_ENUM_SAME_JSON_FORMAT] = {"ENUM_SAME_JSON_FORMAT", J,
                                    "an enum keeps its support of JSON (proto3 to proto2 loses "
                                    "it)"},
    [DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED] =
        {"ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED", J,
         "the name of a deleted enum value is reserved"},
    [DIFF_ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED] =
        {"ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED", W | J,
         "the number of a deleted enum value is reserved"},
    [DIFF_ENUM_VALUE_SAME_NAME] = {"ENUM_VALUE_SAME_NAME", J,
                                   "the value of a number keeps its name, or names"},
    [DIFF_FIELD_NO_DELETE_UNLESS_NAME_RESERVED] = {"FIELD_NO_DELETE_UNLESS_NAME_RESERVED", J,
                                                   "the name of a deleted field is reserved"},
    [DIFF_FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED] = {"FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED",
                                                     W | J,
                                                     "the number of a deleted field is reserved"},
    [DIFF_FIELD_SAME_DEFAULT] = {"FIELD_SAME_DEFAULT", W | J, "a field keeps its default value"},
    [DIFF_FIELD_SAME_JSON_NAME] = {"FIELD_SAME_JSON_NAME", J, "a field keeps its name in JSON"},
    [DIFF_FIELD_SAME_NAME] = {"FIELD_SAME_NAME", J, "the field of a number keeps its name"},
    [DIFF_FIELD_SAME_ONEOF] = {"FIELD_SAME_ONEOF", W | J,
                               "a field stays in its oneof, or outside of all"},
    [DIFF_FIELD_WIRE_COMPATIBLE_CARDINALITY] = {"FIELD_WIRE_COMPATIBLE_CARDINALITY", W,
                                                "a field stays singular, required, or repeated"},
    [DIFF_FIELD_WIRE_COMPATIBLE_TYPE] = {"FIELD_WIRE_COMPATIBLE_TYPE", W,
                                         "a field's new type reads what the old one wrote"},
    [DIFF_FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY] = {"FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY", J,
                                                     "a field stays singular, required, repeated, "
                                                     "or a map"},
    [DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE] = {"FIELD_WIRE_JSON_COMPATIBLE_TYPE", J,
                                              "a field's new type reads what the old one wrote, in "
                                              "JSON too"},
    [DIFF_FILE_SAME_PACKAGE] = {"FILE_SAME_PACKAGE", W | J, "a file stays in its package"},
    [DIFF_MESSAGE_SAME_JSON_FORMAT] = {"MESSAGE_SAME_JSON_FORMAT", J,
                                       "a message keeps its support of JSON (proto3 to proto2 "
                                       "loses it)"},
    [DIFF_MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT] =
        {"MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT", W | J,
         "a message stays in, or out of, the message set format"},
    [DIFF_MESSAGE_SAME_REQUIRED_FIELDS] = {"MESSAGE_SAME_REQUIRED_FIELDS", W | J,
                                           "no required field comes or goes"},
    [DIFF_RESERVED_ENUM_NO_DELETE] = {"RESERVED_ENUM_NO_DELETE", W | J,
                                      "what an enum reserves stays reserved"},
    [DIFF_RESERVED_MESSAGE_NO_DELETE] = {"RESERVED_MESSAGE_NO_DELETE", W | J,
                                         "what a message reserves stays reserved"},
    [DIFF_RPC_SAME_CLIENT_STREAMING] = {"RPC_SAME_CLIENT_STREAMING", W | J,
                                        "a method takes one request, or a stream, as before"},
    [DIFF_RPC_SAME_IDEMPOTENCY_LEVEL] = {"RPC_SAME_IDEMPOTENCY_LEVEL", W | J,
                                         "a method keeps its idempotency_level"},
    [DIFF_RPC_SAME_REQUEST_TYPE] = {"RPC_SAME_REQUEST_TYPE", W | J,
                                    "a method takes the message that it took"},
    [DIFF_RPC_SAME_RESPONSE_TYPE] = {"RPC_SAME_RESPONSE_TYPE", W | J,
                                     "a method returns the message that it returned"},
    [DIFF_RPC_SAME_SERVER_STREAMING] = {"RPC_SAME_SERVER_STREAMING", W | J,
                                        "a method returns one reply, or a stream, as before"},
    [DIFF_PACKAGE_NO_DELETE] = {"PACKAGE_NO_DELETE", W | J,
                                "a package stays, or is the `previous` of one"},
    [DIFF_PACKAGE_MESSAGE_NO_DELETE] = {"PACKAGE_MESSAGE_NO_DELETE", W | J,
                                        "a message stays in its package"},
    [DIFF_PACKAGE_SERVICE_NO_DELETE] = {"PACKAGE_SERVICE_NO_DELETE", W | J,
                                        "a service stays in its package"},
    [DIFF_RPC_NO_DELETE] = {"RPC_NO_DELETE", W | J, "a method stays in its service"},
    [DIFF_PARLEY_INTERFACE_SAME_NAME] = {"PARLEY_INTERFACE_SAME_NAME", W | J,
                                         "an interface keeps the name that clients ask for"},
    [DIFF_PARLEY_FIELD_NEEDS_RULE] = {"PARLEY_FIELD_NEEDS_RULE", W | J,
                                      "nothing says how a field came from the version before"},
    [DIFF_PARLEY_VALUE_NEEDS_RULE] = {"PARLEY_VALUE_NEEDS_RULE", W | J,
                                      "an enum's value cannot be told apart in the version before"},
    [DIFF_PARLEY_MESSAGE_NEEDS_RULE] = {"PARLEY_MESSAGE_NEEDS_RULE", W | J,
                                        "a message cannot be translated from or to the version "
                                        "before"},
    [DIFF_PARLEY_METHOD_NEEDS_RULE] = {"PARLEY_METHOD_NEEDS_RULE", W | J,
                                       "a method of the version before is gone, or cannot be "
                                       "bridged"},
    [DIFF_PARLEY_VERSION_NEEDS_RULE] = {"PARLEY_VERSION_NEEDS_RULE", W | J,
                                        "two versions cannot be bridged as a whole"},
    [DIFF_PARLEY_ACCEPT_INVALID] = {"PARLEY_ACCEPT_INVALID", W | J,
                                    "an exception has a reason, and names a rule that exists"},
    [DIFF_PARLEY_ACCEPT_UNUSED] = {"PARLEY_ACCEPT_UNUSED", W | J,
                                   "an exception that nothing needs any more (a note)"},
};

const char *diff_rule_name(enum diff_rule rule)
{
    return rules[rule].name;
}

const char *diff_rule_meaning(enum diff_rule rule)
{
    return rules[rule].meaning;
}

bool diff_rule_applies(enum diff_rule rule, enum diff_category category)
{
    return rules[rule].categories & (category == DIFF_WIRE ? W : J);
}

enum diff_rule diff_rule_find(const char *name)
{
    int rule = 0;
    while (rule < DIFF_RULE_COUNT && strcmp(rules[rule].name, name) != 0)
        rule++;
    return (enum diff_rule)rule;
}
