#!/usr/bin/env bash
#
# Tracing with the real programs: test_traced.sh PARLEY PARLEYD CATALOG-V1 SOURCE
#
# What parleyd takes and refuses of --trace and --otlp; a marked call, from the relay to the service,
# as a tree; the rate, at run time; and a receiver that is not there harms nobody.
set -u

parley=$1 parleyd=$2 catalog_v1=$3 source_dir=$4
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
refused=1 # NOT_FOUND: a call all the same

# run CODE PROGRAM ARGUMENT...: wants that exit code.
run() {
    local wanted=$1
    shift
    timeout 30 "$@" >"$out" 2>&1 </dev/null
    local code=$?
    [[ $code == "$wanted" ]] || fail "$*: exit code $code instead of $wanted"
}

has() {
    local text
    for text in "$@"; do
        grep -qF -- "$text" "$out" || fail "expected '$text'"
    done
}

# until_has TEXT ARGUMENT...: runs parley until it says that; 20 seconds at most.
until_has() {
    local text=$1 tries
    shift
    for ((tries = 0; tries < 200; tries++)); do
        "$parley" "$@" >"$out" 2>&1 </dev/null && grep -qF -- "$text" "$out" && return
        sleep 0.1
    done
    fail "parley $*: '$text' never came"
}

run 2 "$parleyd" --trace 101
has "'101' is no rate of calls"
run 2 "$parleyd" --trace many
run 1 "$parleyd" --otlp nonsense
has "'nonsense' is no URL to post to"

# Nobody listens on port 1.
begin "$PARLEY_DIR/log" "$parleyd" --trace 0 --otlp http://127.0.0.1:1/v1/traces
until_has "Nothing is published" ls
begin "$PARLEY_DIR/service" "$catalog_v1" --status-file "$source_dir/tests/unit/catalog/status"
until_has "catalog" ls --names

run 0 "$parley" trace --rate show
has "calls that are marked are traced"
run "$refused" "$parley" call -m gray.trace=1 catalog/Get '{}' # the first one that the broker relays
run "$refused" "$parley" call catalog/Get '{}'
until_has "service catalog/Get" trace --last
[[ $(wc -l <"$out") == 2 ]] || fail "one call was marked, and not two spans are there"
id=$(sed -n '1s/.*trace \([0-9a-f]\{32\}\) .*/\1/p' "$out")
run 0 "$parley" trace "$id"
has "client catalog/Get" "  service catalog/Get" "1.0.0>1.0.0" "identity"
run 0 "$parley" trace --json "$id"
has '"side": "service"' "\"trace_id\": \"$id\""
run 1 "$parley" trace 00000000000000000000000000000001
until_has "Connection refused" trace --rate show # tried, and the broker goes on
has "0 spans were exported, 2 wait"

run 0 "$parley" trace --rate 100
has "100 % of calls are traced"
run "$refused" "$parley" call catalog/Get '{}'
run 0 "$parley" trace --last --count 9
[[ $(grep -c catalog/Get "$out") == 4 ]] || fail "two traced calls are four spans"
run 0 "$parley" trace --rate off
has "no call is traced"

[[ $failures == 0 ]] || exit 1
echo "traced: all as it should be"
