#!/usr/bin/env bash
#
# The bus from a shell: test_bus.sh PARLEYD CATALOG-V1 CATALOG-V2 SOURCE
#
# The catalogue is called with an unmodified nngcat: by frames that are built by what docs/PROTOCOL.md
# shows, and by JSON. Skipped without nngcat.
set -u

parleyd=$(realpath "$1") catalog_v1=$(realpath "$2") catalog_v2=$(realpath "$3") source_dir=$4 parley=unused
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
command -v nngcat >/dev/null || { echo "skipped: no nngcat (apt-get install nng-utils)"; exit 77; }
status_file=$source_dir/tests/unit/catalog/status
cd "$PARLEY_DIR" || exit 1

# number(), pair(), frame(), payload(): as docs/PROTOCOL.md has them.
functions=$(sed -n '/^    number() {/,/^$/p' "$source_dir/docs/PROTOCOL.md")
[[ $functions == *frame\(\)* ]] || { echo "PROTOCOL.md has no functions any more"; exit 1; }
eval "$functions"

# ask FRAME-FILE [URL]: the answer is in $out; its status is returned.
ask() {
    timeout 30 nngcat --req --dial "${2:-ipc://$PARLEY_DIR/bus.ipc}" --file "$1" --raw \
        >"$out" 2>"$err" </dev/null || fail "nngcat: exit code $?"
    (($(stat -c %s "$out") >= 32)) || fail "an answer of $(stat -c %s "$out") bytes"
    return "$(od -An -tu1 -j24 -N1 "$out")"
}

# same TEXT: what $out has as payload.
same() {
    payload "$out" | grep -qaF -- "$1" || fail "expected '$1' in the answer"
}

start() { # PROGRAM NAME VERSION
    begin "$PARLEY_DIR/$2.log" "$1" --status-file "$status_file"
    wait_for "$log" "catalog $3 of $2 (pid $begun) is up"
}

begin "$log" "$parleyd" --bus tcp://127.0.0.1:0
broker=$begun
wait_for "$log" "parleyd: ready"
[[ $failures == 0 ]] || exit 1
tcp=$(sed -n 's/.* bus=\(tcp:[^ ]*\).*/\1/p' "$log")

echo "-- a frame from a file"
: >nothing
frame catalog Get nothing >asked
ask asked
[[ $? == 5 ]] || fail "nothing is published, and that is no NOT_FOUND"
same 'no interface "catalog" is published'
start "$catalog_v1" catalog-v1 1.0.0
v1=$begun
printf '\x0a\x0abase-files' >request # GetRequest: field 1, a string of 10 bytes
frame catalog Get request >asked
ask asked || fail "Get: status $?"
same "base-files"
has "$out" "parley.version1.0.0" "parley.translationidentity"
[[ $(od -An -tu8 -N8 "$out") -eq 1 ]] || fail "another call_id"

echo "-- over tcp, and from a pipe"
ask asked "$tcp" || fail "Get over tcp: status $?"
same "base-files"
frame catalog Get request tenant blue parley.version 1.0.0 |
    timeout 30 nngcat --req --dial "$tcp" --file - --raw >"$out" 2>"$err" || fail "nngcat: $?"
same "base-files"

echo "-- another version serves, and is translated"
start "$catalog_v2" catalog-v2 2.0.0
end "$v1"
wait_for "$log" "catalog 1.0.0 of catalog-v1 (pid $v1) is gone"
printf '\x1a\x0abase-files' >request2 # version 2 has it as field 3
frame catalog Get request2 >asked
ask asked || fail "Get of version 2: status $?"
same "base-files"
has "$out" "parley.version2.0.0"

echo "-- on the command line"
timeout 30 nngcat --req --dial "ipc://$PARLEY_DIR/bus.ipc" --raw \
    --data '{"interface": "catalog", "method": "Get", "body": {"package": "base-files"}}' \
    >"$out" 2>"$err" || fail "nngcat: exit code $?"
has "$out" '"base-files"' '"OK"'

echo "-- what is wrong is said"
frame catalog Nix request >asked
ask asked
[[ $? == 5 ]] || fail "no method is no NOT_FOUND"
same 'there is: Get, List'
head -c 40 asked >cut
ask cut
[[ $? == 3 ]] || fail "a frame that was cut is no INVALID_ARGUMENT"
same "the message has 40 bytes"

echo "-- what there is"
frame parley.bus List nothing >asked
ask asked || fail "List: status $?"
same "catalog"
frame parley.bus Ping nothing >asked
ask asked || fail "Ping: status $?"
printf '\x0a\x07catalog' >request
frame parley.bus Describe request >asked
ask asked || fail "Describe: status $?"
same "catalog.v2.Catalog"

end "$broker"
[[ ! -e $PARLEY_DIR/bus.ipc ]] || fail "bus.ipc is still there"
[[ $failures == 0 ]]
