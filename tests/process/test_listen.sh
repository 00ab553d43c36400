#!/usr/bin/env bash
#
# Any NNG program, by an unmodified nngcat: calls in JSON, events for SUB sockets, health for SURVEYOR ones;
# and the command line at a bus URL: test_listen.sh PARLEY PARLEYD CATALOG-V1 SOURCE
set -u

parley=$1 parleyd=$2 catalog=$3 source_dir=$4
if ! command -v nngcat >/dev/null; then
    echo "SKIPPED: nngcat is not installed (nng-utils)"
    exit 77
fi
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
bus=ipc://$PARLEY_DIR/bus.ipc

begin "$log" "$parleyd" --bus tcp://127.0.0.1:0
wait_for "$log" "parleyd: ready"

# ---- Events ----

begin "$PARLEY_DIR/events" nngcat --sub --dial "ipc://$PARLEY_DIR/events.ipc" --subscribe json.instance. --raw
begin "$PARLEY_DIR/routes" nngcat --sub --dial "ipc://$PARLEY_DIR/events.ipc" --subscribe json.route --raw
# What happened before a subscription stands is lost to it.
for ((tries = 0; tries < 1000; tries++)); do
    "$parley" stats --json >"$out" 2>"$err" && grep -q '"subscribers": 2' "$out" && break
done
begin "$PARLEY_DIR/catalog.out" "$catalog" --status-file "$source_dir/tests/unit/catalog/status"
service=$begun
wait_for "$log" "(pid $service) is up"
run 0 route catalog 1.0.0=100
wait_for "$PARLEY_DIR/routes" 'json.route'
has "$PARLEY_DIR/routes" '"topic":"route"' '"interface":"catalog"' '"sequence":' '"text":"'
lacks "$PARLEY_DIR/routes" 'instance.up'
begin "$PARLEY_DIR/second.out" "$catalog" --status-file "$source_dir/tests/unit/catalog/status" --name second
second=$begun
wait_for "$log" "of second (pid $second) is up"
end "$second"
wait_for "$PARLEY_DIR/events" 'json.instance.gone'
has "$PARLEY_DIR/events" 'json.instance.up'
has "$PARLEY_DIR/events" '"version":"1.0.0"' '"instance":"' '"pid":'

# ---- Calls in JSON ----

# ask TEXT: what nngcat gets for it.
ask() {
    timeout 20 nngcat --req --dial "$bus" --data "$1" --raw >"$out" 2>"$err"
}
ask '{"interface": "catalog", "method": "Get", "version": "~1", "body": {"name": "base-files"}}'
has "$out" '"status":"OK"' '"executed":"yes"' '"served_by":"1.0.0"' '"reply":{' '"name": "base-files"'
printf '{"interface": "catalog", "method": "Get", "body": {"name": "none"}, "metadata": {"tenant": "blue"}}' >"$PARLEY_DIR/call"
timeout 20 nngcat --req --dial "$bus" --file "$PARLEY_DIR/call" --raw >"$out" 2>"$err"
has "$out" '"status":"NOT_FOUND"' '"text":"' '"executed":"yes"'
ask '{"interface": "catalog", "method": "Got"}'
has "$out" '"status":"NOT_FOUND"' '"executed":"no"'
ask '{"interface": "catalog"'
has "$out" '"status":"INVALID_ARGUMENT"' 'neither a frame nor JSON'
ask '{"interface": "parley.bus", "method": "List"}'
has "$out" '"name": "catalog"'
ask '{"interface": "parley.bus", "method": "Health"}'
has "$out" '"state": "SERVING"'

# ---- Health ----

# survey TEXT [INTERFACE]: until that is in the answer, in $out; nngcat would wait for more.
survey() {
    begin "$out" nngcat --surv --dial "ipc://$PARLEY_DIR/health.ipc" --data "${2-}" --raw --recv-timeout 20
    wait_for "$out" "$1"
    end "$begun"
}
survey '"answered_ns":'
has "$out" '"interface":"catalog"' '"state":"SERVING"'
survey '"state":"SERVING"' catalog
survey '{"instances":0}' nothing
survey 'a survey names an interface, or is empty' 'no interface!'
run 0 health
has "$out" catalog 1.0.0 SERVING
run 0 health catalog --json
has "$out" '"state": "SERVING"' '"answered_ns"'
run 1 health nothing
has "$err" "no instance of nothing"
lacks "$out" INTERFACE
run 2 health 'no interface!'
kill -STOP "$service"
run 1 health -t 100ms
has "$out" NO_ANSWER
survey '"state":"NO_ANSWER"'
kill -CONT "$service"
run 0 health -t 10s

# ---- The command line at a bus URL ----

tcp=$(sed -n 's/.* bus=\(tcp:[^ ]*\).*/\1/p' "$log")
for url in "$bus" "$tcp"; do
    run 0 -u "$url" ls
    has "$out" catalog 1.0.0
    run 0 -u "$url" describe catalog/Get
    has "$out" 'rpc Get'
    run 0 -u "$url" call -v -m tenant=blue catalog@1.0.0/Get '{"name": "base-files"}'
    has "$out" '"name": "base-files"'
    has "$err" 'served by 1.0.0 (identity)' 'executed: yes'
    run 1 -u "$url" call catalog/Get '{"name": "none"}'
    has "$err" NOT_FOUND
    run 1 -u "$url" call --accept '~9' catalog/Get '{"name": "base-files"}'
    has "$err" FAILED_PRECONDITION
    run 0 -u "$url" call --one-way catalog/Visit '{"name": "base-files"}'
    run 1 -u "$url" describe nothing
    has "$err" NOT_FOUND 'there is: catalog'
    run 0 -u "$url" health
    run 1 -u "$url" stats
    has "$err" "$url is a bus URL" 'control.ipc'
done

((failures == 0)) || exit 1
echo "nngcat is heard, and hears"
