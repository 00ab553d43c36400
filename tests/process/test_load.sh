#!/usr/bin/env bash
#
# The benchmark of offered load as a test: test_load.sh LOAD
#
# That it measures each subject, writes its rows and its page, and refuses what it cannot do. How fast
# anything is, is not looked at: on a busy machine a subject may be saturated at any rate.

set -u
load=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

complain() {
    printf 'test_load: %s\n' "$*" >&2
    failures=$((failures + 1))
}

refuses() { # WORDS OPTIONS...
    local words=$1 said
    shift
    said=$("$load" "$@" 2>&1 >/dev/null)
    [[ $? == 2 ]] || complain "$*: not refused with status 2"
    [[ $said == "$words"* ]] || complain "$*: it said '${said%%$'\n'*}', not '$words'"
}

measures() {
    "$load" --rounds 1 --rates 500,1000 --seed 42 --json "$folder/rows.json" --report "$folder/page" \
        >"$folder/said" 2>&1 || { complain "it failed:"; cat "$folder/said" >&2; return; }
    grep -q -- '--seed 42' "$folder/said" || complain "the seed is not printed"
    grep -q '^skipped: gRPC: libgrpc++-dev is not installed$' "$folder/said" ||
        complain "a peer that is missing is not said"
    [[ -s $folder/page/index.html && -s $folder/page/p50.gp ]] || complain "there is no page"
    python3 - "$folder/rows.json" <<'PYTHON' || complain "the rows are not right"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["bench"] == "load" and report["seed"] == 42, report
assert report["floors"]["cache_line_ns"] > 0 and "500" in report["floors"]["schedule_ns"], report
rows = {(row["peer"], row["rate"]): row for row in report["rows"]}
for peer in ("parley-default", "unix", "nng-ipc"):
    row = rows[peer, 500]
    assert (row["mode"], row["bytes"], row["clients"]) == ("open-loop", 64, 1), row
    assert 0 < row["p50_ns"] <= row["p90_ns"] <= row["p99_ns"] <= row["p999_ns"], row
    assert 0 < row["calls_per_s"], row
    # what is saturated is not tried at a higher rate
    assert row["saturated"] or (peer, 1000) in rows, rows
PYTHON
}

# No service answers a call each 20 ns.
saturates() {
    "$load" --rounds 1 --only unix --rates 20000000,50000000 >"$folder/said" 2>&1 ||
        complain "it failed: $(<"$folder/said")"
    grep -q '^  20000000/s *saturated$' "$folder/said" || complain "20 million a second: not saturated"
    grep -q '^  50000000/s *-$' "$folder/said" || complain "a rate above was tried"
}

# One rate of one subject, which is not its first.
takes_one() {
    "$load" --rounds 1 --only unix/1000 --rates 500,1000 >"$folder/said" 2>&1 ||
        complain "it failed: $(<"$folder/said")"
    grep -q '^p50 *unix socket$' "$folder/said" || complain "one rate of one subject is not shown"
}

refuses 'a rate is 100 to 50000000 calls a second, not 99: 99' --rates 99
refuses 'a rate is 100 to 50000000 calls a second, not 50000001: 50000001' --rates 50000001
refuses 'rates must ascend, 500 does not: 1000,500' --rates 1000,500
refuses 'rates are numbers with commas between them: some' --rates some
refuses 'a seed is a number of 64 bits: -1' --seed -1
refuses 'no such number of rounds: 0' --rounds 0
refuses 'no such subject: nobody' --only nobody
refuses 'no such subject: unix/1000' --only unix/1000 --rates 500
refuses 'not an option: more' more
measures
saturates
takes_one
exit $((failures > 0))
