#!/usr/bin/env bash
#
# The demo as a test: test_demo.sh rollout|chaos|interrupt|arguments PARLEY-DEMO
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
    local file
    for file in /proc/[0-9]*/environ; do
        if tr '\0' '\n' 2>/dev/null <"$file" | grep -q "^PARLEY_DIR=$TMPDIR/"; then
            file=${file%/environ}
            echo "${file#/proc/}"
        fi
    done
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

# check EXPRESSION: a Python expression over the result, r.
check() {
    python3 -c "
import json, sys
r = json.loads(sys.argv[1])
sys.exit(not ($1))" "$result" || complain "this does not hold: $1"
}

# run OPTION...: the last line of stdout in $result.
run() {
    local output status=0
    output=$("$demo" --short --json "$@") || status=$?
    result=$(tail -n 1 <<<"$output")
    printf '%s\n' "$result"
    ((status == 0)) || complain "exit status $status"
    check 'r["calls"] > 100'
    check 'r["failed"] == 0 and r["wrong"] == 0 and "problem" not in r'
    check 'r["served"]["1.0.0"] > 0 and r["served"]["2.0.0"] > 0'
    check 'sum(r["served"].values()) <= r["calls"]'
    check '0 < r["translated"] <= r["calls"]'
    check '0 < r["latency_ns"]["p50"] <= r["latency_ns"]["p99"]'
    check '[s["weight"] for s in r["steps"]] == [5, 30, 100]'
    check 'all(abs(s["share"] - s["weight"]) < 10 for s in r["steps"])'
    check '0 < r["duration_s"] < 60'
    check_left
}

rollout() {
    run
    check 'sum(r["served"].values()) == r["calls"]'
    check '"chaos" not in r'
}

chaos() {
    run --chaos
    check 'r["chaos"]["broker_kills"] == 5 and r["chaos"]["instances_killed"] == 1'
    check 'r["chaos"]["failed_while_broker_away"] == 0'
    check 'r["chaos"]["calls_while_broker_away"] > 0'
    check '[s["weight"] for s in r["chaos"]["shares_after_restart"]] == [5, 30, 100]'
    check 'r["chaos"]["calls_retried"] + sum(r["chaos"]["ended_unavailable"].values()) > 0'
    # What was not answered is not counted as served, and nothing else is missing.
    check 'r["calls"] - sum(r["served"].values()) <= sum(r["chaos"]["ended_unavailable"].values())'
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
    for wrong in --nonsense operand; do
        status=0
        output=$("$demo" "$wrong" 2>&1) || status=$?
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
    rollout | chaos | interrupt | arguments) "$part" ;;
    *) complain "no part is called $part" ;;
esac
exit $((failures > 0))
