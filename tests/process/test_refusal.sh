#!/usr/bin/env bash
#
# What a broker says of a schema that breaks its own minor version is what `parley diff` says of the
# two, to the line and column: test_refusal.sh PARLEY PARLEYD RELEASED BROKEN SOURCE
set -u

parley=$1 parleyd=$2 released=$3 broken=$4 source_dir=$5
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"

begin "$PARLEY_DIR/broker.log" "$parleyd"
wait_for "$PARLEY_DIR/broker.log" "ready"
begin "$PARLEY_DIR/released" "$released"
wait_for "$PARLEY_DIR/released" "published"

timeout 30 "$broken" >"$PARLEY_DIR/refusal" 2>&1
code=$?
[[ $code == 1 ]] || fail "the broken one ended with $code"
timeout 30 "$parley" diff "$source_dir/kit_released.proto" "$source_dir/kit_broken.proto" >"$PARLEY_DIR/diff"
code=$?
[[ $code == 1 ]] || fail "diff ended with $code"

# The refusal has all breaks in one sentence.
breaks=$(grep -v ' breaks\?$' "$PARLEY_DIR/diff" | sed ':a;N;$!ba;s/\n/; /g')
expected="kit 1.1.0 breaks 1.0.0: $breaks"
[[ $breaks == *"kit_broken.proto:11:14: FIELD_"* ]] || fail "diff does not tell the column of the type"
grep -qF -- "$expected" "$PARLEY_DIR/refusal" || fail "the broker's words differ"
grep -qF -- "${expected:0:400}" "$PARLEY_DIR/broker.log" || fail "the event's words differ"
if ((failures > 0)); then
    echo "expected: $expected"
    echo "refusal:  $(cat "$PARLEY_DIR/refusal")"
    echo "log:      $(cat "$PARLEY_DIR/broker.log")"
fi
exit $((failures > 0))
