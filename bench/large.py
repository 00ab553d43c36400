#!/usr/bin/env python3
"""large.py 1.0.0|1.1.0|2.0.0|mended: an interface of 200 messages, as a .proto on standard output.

What a registry has to cope with, not what anybody should write. 25 methods, each with a tree of
eight messages, one in the other, so that a plan reaches every message; nine fields in each. 1.1.0
has a field, a value and a method more and breaks nothing. The rules of 2.0.0 are those of an
ordinary change: renumbered, renamed, another unit, an enum with other numbers and a value more, a
string split, a field dropped, a field added. `mended` is 2.0.0 with another unit in every message.
"""
import sys

MESSAGES, TREE, VALUES = 200, 8, 12


def kind(newer, more):
    values = [f"  KIND_{chr(65 + i)} = {VALUES + 1 - i if newer and i else i};" for i in range(VALUES)]
    if newer:
        values.append('  KIND_MORE = 1 [(parley.value).to = "KIND_B"];')
    elif more:
        values.append(f"  KIND_MORE = {VALUES};")
    return ["enum Kind {", *values, "}"]


def message(index, newer, more, unit):
    def number(n):
        return n + 20 if newer else n

    fields = []
    if newer:
        fields += [
            '  option (parley.message).drop = { from: "note" reason: "nobody read it" };',
            f'  string title = {number(1)} [(parley.field).from = "name"];',
            f'  uint64 size_units = {number(2)} [(parley.field) = {{ from: "size" multiply: {unit} }}];',
            f"  Contact contact = {number(6)} [(parley.field).split =",
            '    { pattern: "{name} <{email}>" otherwise: "name" }];',
        ]
    else:
        fields += [
            f"  string name = {number(1)};",
            f"  uint32 size = {number(2)};",
            f"  string contact = {number(6)};",
            f"  string note = {number(8)};",
        ]
    if newer or more:
        fields.append(f"  string extra = {number(10)};")
    if index % TREE != TREE - 1:
        fields.append(f"  Message{index + 1:03} child = {number(3)};")
    fields += [
        f"  repeated string tags = {number(4)};",
        f"  Kind kind = {number(5)};",
        f"  fixed64 created = {number(7)};",
        f"  bool active = {number(9)};",
    ]
    return [f"message Message{index:03} {{", *fields, "}"]


def main():
    version = sys.argv[1]
    newer, more = version in ("2.0.0", "mended"), version == "1.1.0"
    unit = 1000 if version == "2.0.0" else 1024
    package = "large.v2" if newer else "large.v1"
    option = f'name: "bench-large" version: "{"2.0.0" if newer else version}"'
    if newer:
        option += ' previous: "large.v1"'
    lines = [
        f"// Made by bench/large.py {version}.",
        'syntax = "proto3";',
        f"package {package};",
        'import "parley/options.proto";',
        f"option (parley.interface) = {{ {option} }};",
    ]
    lines += kind(newer, more)
    if newer:
        lines += ["message Contact {", "  string name = 1;", "  string email = 2;", "}"]
    for index in range(MESSAGES):
        lines += message(index, newer, more, unit)
    lines.append("service Large {")
    for method in range(MESSAGES // TREE + more):
        name = f"Message{method * TREE % MESSAGES:03}"
        lines.append(f"  rpc Put{method:02}({name}) returns ({name});")
    lines.append("}")
    print("\n".join(lines))


main()
