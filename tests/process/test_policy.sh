#!/usr/bin/env bash
#
# A policy at work, with the real programs: test_policy.sh PARLEY PARLEYD CATALOG-V1 SOURCE
#
# Who may not is told so, natively, over the control API and over HTTP; the audit trail has it; SIGHUP
# reads the file anew, and a wrong one leaves what there was; what cannot be is refused at the start.
set -u

parley=$1 parleyd=$2 catalog=$3 source_dir=$4
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
status_file=$source_dir/tests/unit/catalog/status
policy=$PARLEY_DIR/policy.yaml audit=$PARLEY_DIR/audit
me=$(id -u)

# policy RULE...: writes the file.
policy() {
    printf 'apiVersion: parley.dev/v1alpha1\nkind: Policy\nrules:\n' >"$policy"
    printf -- '- {%s}\n' "$@" >>"$policy"
}

# reload TEXT: SIGHUP, until the log says that.
reload() {
    : >"$log"
    kill -HUP "$broker"
    wait_for "$log" "$1"
}

# refused TEXT ARGUMENT...: parleyd does not start, and says why.
refused() {
    local wanted=$1
    shift
    if timeout 20 "$parleyd" --dir "$PARLEY_DIR/other" "$@" >"$out" 2>&1; then fail "parleyd $* started"; fi
    has "$out" "$wanted"
}

# ---- What cannot be ----

refused "cannot read the policy /nowhere: No such file" --policy /nowhere
policy 'who: [nobody-like-that], allow: [look]'
refused "policy.yaml:4:10: rules[0].who[0] is \"nobody-like-that\"" --policy "$policy"
refused "'call=5' is no limit" --limit call=5
refused "tcp://0.0.0.0:0 can be reached by other machines, and is not encrypted" --control tcp://0.0.0.0:0
refused "tcp://*:0 can be reached by other machines" --events 'tcp://*:0'

# ---- A bus on which everybody may look, and nothing else ----

policy 'who: [anybody], allow: [look]'
"$parleyd" --policy "$policy" --audit "$audit" --http http://127.0.0.1:0 >"$PARLEY_DIR/ready" 2>>"$log" &
broker=$!
pids+=("$broker")
wait_for "$PARLEY_DIR/ready" "ready"
port=$(sed -n 's/.* http=http:..127.0.0.1:\([0-9]*\).*/\1/p' "$PARLEY_DIR/ready")

# http PATH: the whole answer.
http() {
    exec 9<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" >&9
    timeout 20 cat <&9
    exec 9>&-
}

run 0 ls
timeout 30 "$catalog" --status-file "$status_file" >"$PARLEY_DIR/cuckoo" 2>&1 && fail "the catalogue may be published"
has "$PARLEY_DIR/cuckoo" "user $me (pid " "may not publish catalog: no rule of the broker's policy allows it"
has "$audit" '"topic":"audit.publish"' "\"uid\":$me" '"status":"PERMISSION_DENIED"'
stats=$(http /stats)
[[ $stats == *" 200 "*'"denied":1,'* ]] || fail "/stats: $stats"

# ---- Read anew ----

policy "who: [\"user:$me\"], allow: [publish, look], interfaces: [\"cat*\"]" 'who: [local], allow: [look]'
reload "the policy was read from $policy"
begin "$PARLEY_DIR/catalog" "$catalog" --status-file "$status_file"
wait_for "$log" "catalog 1.0.0 of catalog-v1"
run 0 ls
has "$out" catalog
run 0 describe catalog
run 1 call catalog@1.0.0/Get '{"name": "base-files"}'
has "$err" "user $me (pid " "may not call catalog"
run 1 drain catalog-v1
has "$err" "may not control"
run 1 route catalog 1.0.0=1
has "$err" "may not control"
has "$audit" '"topic":"audit.control"' '"asked":"call"' '"asked":"drain"' '"asked":"route"'
[[ $(http /stats) == *" 403 "* ]] || fail "/stats is for nobody"
[[ $(http /healthz) == *" 200 "* ]] || fail "/healthz is for everybody"

# A wrong one changes nothing.
policy 'who: [local], alow: [look]'
reload "rules[0] has no key \"alow\": was \"allow\" meant?; the policy stays as it was"
run 0 ls

policy 'who: [local], allow: [everything]'
reload "the policy was read from $policy"
run 0 call catalog@1.0.0/Get '{"name": "base-files"}'
run 0 route catalog 1.0.0=1

exit $((failures > 0))
