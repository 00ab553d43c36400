#!/usr/bin/env python3
"""What ./run test says at the end, counted from meson's logs.

A log has one JSON object a line for each test program. cmocka's programs say of each test how it
went, also when they are cut short; any other program counts as one. A program that failed although
none of its tests did (a crash, a leak, a time-out) counts as one failure more.

    summary.py --failures LOG        the output, in full, of the programs that failed
    summary.py --count N LOG...      the names of the programs that failed, and the count, the last
                                     line; N stages failed as a whole
"""
import json
import re
import sys

# The list at the end names the failed and skipped ones again.
CMOCKA = {
    "passed": re.compile(r"^\[       OK \] (.+)$", re.M),
    "failed": re.compile(r"^\[  FAILED  \] (?!\d+ test)(.+)$", re.M),
    "skipped": re.compile(r"^\[  SKIPPED \] (?!\d+ test)(.+)$", re.M),
}
GOOD = {"OK", "EXPECTEDFAIL"}


def programs(log):
    with open(log, encoding="utf-8", errors="replace") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def output(program):
    return "".join(program.get(stream) or "" for stream in ("stdout", "stderr"))


def count(program):
    text, result = output(program), program["result"]
    counts = {what: len(set(regex.findall(text))) for what, regex in CMOCKA.items()}
    if sum(counts.values()) == 0:
        kind = "passed" if result in GOOD else "skipped" if result == "SKIP" else "failed"
        counts[kind] = 1
    elif result not in GOOD and result != "SKIP" and counts["failed"] == 0:
        counts["failed"] = 1
    return counts


def print_failures(log):
    for program in programs(log):
        if program["result"] in GOOD or program["result"] == "SKIP":
            continue
        print(f"---- {program['name']}: {program['result']}")
        print(output(program).rstrip())
        print(f"---- end of {program['name']}")


def print_count(stages_failed, logs):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for log in logs:
        for program in programs(log):
            counts = count(program)
            for kind, number in counts.items():
                total[kind] += number
            if counts["failed"]:
                print(f"parley: {program['name']}: {program['result']} (its output is above, in {log})")
    if total["failed"] == 0:
        total["failed"] = stages_failed  # one that could not even be built leaves no log
    print("parley: {passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return 1 if total["failed"] or total["passed"] == 0 else 0


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--failures":
        print_failures(arguments[1])
        return 0
    if len(arguments) >= 2 and arguments[0] == "--count":
        return print_count(int(arguments[1]), arguments[2:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
