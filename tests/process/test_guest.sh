#!/usr/bin/env bash
#
# Services without a Parley library: an unmodified nngcat, and a program on libnng alone:
# test_guest.sh PARLEY PARLEYD GUEST-HELLO HELLO.PROTO HELLO.BINPB
set -u

parley=$1 parleyd=$2 hello=$3 proto=$4 set=$5
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"

# frame PAYLOAD [STATUS]: a response, as docs/PROTOCOL.md has it; with a payload below 256 bytes.
frame() {
    printf '\0\0\0\0\0\0\0\0'                     # call_id: not looked at
    printf "\\x$(printf %02x ${#1})\\0\\0\\0"     # payload_bytes
    printf '\0\0\0\0\0\0\0\0\2\0\2\0'             # time_left_us .. flags: version_tag 2, kind 2
    printf "\\x$(printf %02x "${2:-0}")\\1\\0\\0" # status, executed: yes, plan_tag
    printf '\0\0\0\0%s' "$1"
}

# instances N: until parley ls shows so many of hello.
instances() {
    local tries
    for ((tries = 0; tries < 1000; tries++)); do
        "$parley" ls --json >"$out" 2>"$err"
        [[ $(grep -c '"instance":' "$out") == "$1" ]] && return
        sleep 0.01
    done
    fail "there never were $1 instances"
}

# policy RULE...: writes the file.
policy=$PARLEY_DIR/policy.yaml
policy() {
    printf 'apiVersion: parley.dev/v1alpha1\nkind: Policy\nrules:\n' >"$policy"
    printf -- '- {%s}\n' "$@" >>"$policy"
}

policy 'who: [anybody], allow: [everything]'
begin "$log" "$parleyd" --policy "$policy"
broker=$begun
wait_for "$log" "ready"

# ---- The program on libnng alone ----

begin "$PARLEY_DIR/hello" "$hello" "ipc://$PARLEY_DIR/control.ipc" "$set"
guest=$begun
instances 1
run 0 call hello/Greet '{"text": "Ada"}'
has "$out" "Hello, Ada"
run 0 call hello/Greet '{}'
has "$out" "Hello, "
end "$guest" KILL
instances 0
wait_for "$log" "is gone: it hung up"

# A schema that is none is refused, and the program is told why.
"$hello" "ipc://$PARLEY_DIR/control.ipc" "$proto" >"$out" 2>&1 && fail "a .proto file was published"
has "$out" "descriptor set"

run 2 publish
run 2 publish --calls 0 "$proto"
run 2 publish --calls 1025 "$proto"
run 2 publish "$PARLEY_DIR/nothing.proto"
run 1 publish --service hello.v1.Nothing "$set"
has "$err" "hello.v1.Nothing"
run 2 withdraw 12
run 1 withdraw 0123456789abcdef
has "$err" "NOT_FOUND"

# ---- nngcat ----

if ! command -v nngcat >/dev/null; then
    echo "skipped: nngcat (nng-utils) is not installed"
    exit $((failures > 0 ? 1 : 77))
fi

# serve FILE: nngcat answers everything with it; sets $guest and $id.
serve() {
    local url
    run 0 publish --json --name shell "$proto"
    url=$(sed -n 's/.*"url": "\(.*\)".*/\1/p' "$out")
    id=$(sed -n 's/.*"instance": "\(.*\)".*/\1/p' "$out")
    begin "$PARLEY_DIR/heard" nngcat --rep0 --dial "$url" --quoted --file "$1"
    guest=$begun
}

frame $'\n\vHello shell' >"$PARLEY_DIR/answer" # field 1, 11 bytes
serve "$PARLEY_DIR/answer"
instances 1
has "$out" '"endpoint": "shell"'
for ((i = 0; i < 3; i++)); do
    run 0 call hello/Greet '{"text": "Ada"}'
    has "$out" "Hello shell"
done
has "$PARLEY_DIR/heard" "parley.interface" "parley.method" "Greet" "Ada"
run 0 withdraw "$id"
instances 0
wait_for "$log" "is gone: it has drained"
end "$guest"

frame "out of words" 9 >"$PARLEY_DIR/answer" # FAILED_PRECONDITION
serve "$PARLEY_DIR/answer"
instances 1
run 1 call hello/Greet '{"text": "Ada"}'
has "$err" "FAILED_PRECONDITION" "out of words"
end "$guest"
instances 0

echo "no frame" >"$PARLEY_DIR/answer"
serve "$PARLEY_DIR/answer"
instances 1
run 1 call hello/Greet '{"text": "Ada"}'
has "$err" "INTERNAL" "the service's answer is no response"
has "$log" "shell: the service's answer is no response: 9 bytes are no frame"
end "$guest"
instances 0

frame "no protobuf" >"$PARLEY_DIR/answer"
serve "$PARLEY_DIR/answer"
instances 1
run 1 call hello/Greet '{"text": "Ada"}'
has "$err" "DATA_LOSS"
end "$guest"
instances 0

# ---- docs/GUESTS.md, as printed ----

guide=$(cd "${proto%/*}/../.." && pwd)/docs/GUESTS.md
sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$guide" >"$PARLEY_DIR/guide.sh"
cp "$proto" "$PARLEY_DIR/hello.proto"
PATH=$(realpath "${parley%/*}"):$PATH timeout 60 bash -c 'cd "$PARLEY_DIR" && . ./guide.sh; kill $!' \
    >"$out" 2>"$err"
has "$out" "Hello shell"
instances 0

# ---- A policy that does not let it serve any more ----

frame $'\n\vHello shell' >"$PARLEY_DIR/answer"
serve "$PARLEY_DIR/answer"
instances 1
policy 'who: [anybody], deny: [publish]' 'who: [anybody], allow: [everything]'
kill -HUP "$broker"
instances 0
wait_for "$log" "the policy ends 0 contracts and 1 publications"
end "$guest"
exit $((failures > 0))
