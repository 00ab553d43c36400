#!/usr/bin/env bash
#
# The demo as a test: test_demo.sh rollout|rollback|chaos|interrupt|arguments PARLEY-DEMO
#
# Each runs with a TMPDIR of its own, which must be empty afterwards, and no process may be left
# that was started in it.

set -u
part=$1 demo=$2

TMPDIR=$(mktemp -d)
export TMPDIR
failures=0
demo_pid=''

complain() {
    printf 'test_demo: %s\n' "$*" >&2
    failures=$((failures + 1))
}

# The pids of all processes whose PARLEY_DIR is in our TMPDIR.
relatives() {
    grep -lsz "^PARLEY_DIR=$TMPDIR/" /proc/[0-9]*/environ | tr -dc '0-9\n'
}

check_left() {
    local left
    left=$(relatives)
    [[ -z $left ]] || complain "processes were left: $left"
    left=$(ls -A "$TMPDIR")
    [[ -z $left ]] || complain "files were left in TMPDIR: $left"
}

clean_up() {
    local pid
    [[ -z $demo_pid ]] || kill -KILL "$demo_pid" 2>/dev/null
    for pid in $(relatives); do
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$TMPDIR"
}
trap clean_up EXIT

# run OPTION...: runs the demo; the last line of its stdout in $result, which must hold for stdin:
# Python expressions over the result, r, one a line.
run() {
    local output status=0
    output=$("$demo" --short --json "$@" </dev/null) || status=$?
    result=$(tail -n 1 <<<"$output")
    printf '%s\n' "$result"
    ((status == 0)) || complain "exit status $status"
    check_left
    python3 -c '
import json, sys
r = json.loads(sys.argv[1])
false = [line for line in sys.stdin if not eval(line.strip())]
sys.stderr.writelines("test_demo: this does not hold: " + line for line in false)
sys.exit(bool(false))' "$result" || complain "the result is not as it has to be"
}

always='r["calls"] > 100
r["failed"] == 0 and r["wrong"] == 0 and "problem" not in r
r["served"]["1.0.0"] > 0 and r["served"]["2.0.0"] > 0
0 < r["translated"] <= r["calls"]
0 < r["latency_ns"]["p50"] <= r["latency_ns"]["p99"]
[s["weight"] for s in r["steps"]] == [5, 30, 100]
all(abs(s["share"] - s["weight"]) < 10 for s in r["steps"])
0 < r["duration_s"] < 60'

rollout() {
    run <<EXPRESSIONS
$always
sum(r["served"].values()) == r["calls"]
"chaos" not in r
EXPRESSIONS
}

# What fails on purpose is no failed call; none meets version 2 once it is rolled back, or the demo
# itself would fail.
rollback() {
    run --rollback <<EXPRESSIONS
r["calls"] > 100
r["failed"] == 0 and r["wrong"] == 0 and "problem" not in r
r["rolled_back"] is True
0 < r["ill_calls"] <= r["exposed_calls"] < r["calls"]
"calls of 2.0.0 failed" in r["reason"]
[s["weight"] for s in r["steps"]] == [30]
EXPRESSIONS
}

# The last one: what was not answered is not counted as served, and nothing else is missing.
chaos() {
    run --chaos <<EXPRESSIONS
$always
r["chaos"]["broker_kills"] == 5 and r["chaos"]["instances_killed"] == 1
r["chaos"]["failed_while_broker_away"] == 0
r["chaos"]["calls_while_broker_away"] > 0
[s["weight"] for s in r["chaos"]["shares_after_restart"]] == [5, 30, 100]
r["chaos"]["calls_retried"] + sum(r["chaos"]["ended_unavailable"].values()) > 0
r["calls"] - sum(r["served"].values()) <= sum(r["chaos"]["ended_unavailable"].values())
EXPRESSIONS
}

# Waits until the clients are there.
wait_for_clients() {
    local i
    for ((i = 0; i < 1200; i++)); do
        [[ $(relatives | wc -l) -ge 7 ]] && return
        kill -0 "$demo_pid" 2>/dev/null || break
        sleep 0.05
    done
    complain "the clients were not started"
}

interrupt() {
    local status signal expected
    for signal in INT TERM KILL; do
        set -m # a process group of its own, where SIGINT is not ignored
        "$demo" --short >/dev/null 2>&1 &
        demo_pid=$!
        set +m
        wait_for_clients
        kill -"$signal" "$demo_pid"
        status=0
        wait "$demo_pid" || status=$?
        demo_pid=''
        expected=1
        if [[ $signal == KILL ]]; then
            # Nobody could remove the folder, but the children die with their parent.
            expected=137
            for ((i = 0; i < 200; i++)); do
                [[ -z $(relatives) ]] && break
                sleep 0.05
            done
            rm -rf "$TMPDIR"/parley-demo-*
        fi
        ((status == expected)) || complain "exit status $status after SIG$signal, not $expected"
        check_left
    done
}

arguments() {
    local output status=0
    output=$("$demo" --help) || complain "--help failed"
    [[ $output == Usage:* ]] || complain "--help does not say how to use it"
    for wrong in --nonsense operand "--chaos --rollback"; do
        status=0
        # shellcheck disable=SC2086 # one of them is two words
        output=$("$demo" $wrong 2>&1) || status=$?
        ((status == 2)) || complain "exit status $status for $wrong, not 2"
        [[ $output == *--help* ]] || complain "$wrong is answered without a hint"
    done
    # A broker that cannot be run, and one that ends at once: an error that names it, no result.
    for wrong in /nonexistent /bin/false; do
        status=0
        output=$("$demo" --json --parleyd "$wrong" 2>&1 >/dev/null) || status=$?
        ((status == 1)) || complain "exit status $status with $wrong for a broker, not 1"
        [[ $output == *parleyd* ]] || complain "$wrong for a broker: the error does not name it"
        check_left
    done
    # Packages that dpkg does not have are noticed: clients and services must read the same.
    status=0
    output=$("$demo" --json --admindir /nonexistent 2>&1 >/dev/null) || status=$?
    ((status == 1)) || complain "exit status $status without a database, not 1"
    [[ $output == */nonexistent/status* ]] || complain "the missing database is not named"
    check_left
}

case $part in
    rollout | rollback | chaos | interrupt | arguments) "$part" ;;
    *) complain "no part is called $part" ;;
esac
exit $((failures > 0))
