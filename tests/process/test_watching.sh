#!/usr/bin/env bash
#
# What watches the bus, with the real programs:
# test_watching.sh PARLEY PARLEYD CATALOG-V1 SOURCE UNIT
#
# A broker with --http, a version of the catalogue, a few calls. Then: promtool finds nothing to
# complain of in /metrics, a real Prometheus scrapes it and is asked for the series, the shipped rules
# pass their tests, and every metric that the dashboard and the rules name is there. What needs
# Prometheus is skipped, by name, where it is not installed.
set -u

parley=$1 parleyd=$2 catalog=$3 source_dir=$4 unit=$5
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
ship=$source_dir/bus/broker/ship
status_file=$source_dir/tests/unit/catalog/status

# until_true COMMAND...: tries for 30 seconds at most.
until_true() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

# http PATH [HEADER]: prints the whole answer.
http() {
    local answer
    exec 9<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n' "$1" "${2:+$2$'\r\n'}" >&9
    answer=$(timeout 20 cat <&9)
    exec 9>&-
    printf '%s\n' "$answer"
}

body() {
    http "$@" | sed '1,/^\r$/d'
}

# ---- A bus with a few calls ----

"$parleyd" --http http://127.0.0.1:0 >"$PARLEY_DIR/parleyd.out" 2>"$PARLEY_DIR/parleyd.err" &
pids+=($!)
until_true grep -q "ready.* http=" "$PARLEY_DIR/parleyd.out" || { cat "$PARLEY_DIR"/parleyd.*; exit 1; }
url=$(sed -n 's/.* http=\([^ ]*\).*/\1/p' "$PARLEY_DIR/parleyd.out")
port=${url##*:}
begin "$PARLEY_DIR/catalog.out" "$catalog" --status-file "$status_file"
until_true "$parley" call catalog@1.0.0/Get '{"name": "base-files"}' || fail "no call was answered: $(cat "$PARLEY_DIR/catalog.out")"
"$parley" call catalog@1.0.0/Get '{"name": "no-such-package"}' >/dev/null 2>&1

[[ $(http /healthz) == *" 200 "*ok* ]] || fail "/healthz"
[[ $(http /readyz) == *" 200 "*ok* ]] || fail "/readyz"
[[ $(http /nothing) == *" 404 "* ]] || fail "/nothing"
stats=$(body /stats)
for part in '"methods":[{"side":"client","interface":"catalog","method":"Get"' '"private_bytes":' '"routes":[{'; do
    [[ $stats == *"$part"* ]] || fail "/stats has no $part: $stats"
done

# A second broker on that port says so.
if "$parleyd" --dir "$PARLEY_DIR/other" --http "$url" >"$PARLEY_DIR/other.out" 2>&1; then
    fail "two brokers on one port"
fi
grep -q "cannot listen on $url" "$PARLEY_DIR/other.out" || fail "$(cat "$PARLEY_DIR/other.out")"

cat >"$PARLEY_DIR/rollout.yaml" <<EOF
apiVersion: parley.dev/v1alpha1
kind: Rollout
metadata: {name: watched}
spec:
  interface: catalog
  stable: ~1.0
  canary: ~2.0
  steps: [{weight: 10}, {weight: 100}]
EOF
"$parley" rollout apply "$PARLEY_DIR/rollout.yaml" >"$PARLEY_DIR/rollout.out" 2>&1 ||
    fail "rollout apply: $(cat "$PARLEY_DIR/rollout.out")"

body /metrics >"$PARLEY_DIR/metrics"
for line in 'parley_rollout_phase{parley_rollout="watched",parley_interface="catalog",parley_phase="Waiting"} 1' \
    'parley_rollout_canary_ratio{parley_rollout="watched",parley_interface="catalog"} 0' \
    'parley_rollout_steps{parley_rollout="watched",parley_interface="catalog"} 2'; do
    grep -qxF "$line" "$PARLEY_DIR/metrics" || fail "no $line in /metrics: $(grep rollout "$PARLEY_DIR/metrics")"
done
grep -q '^rpc_client_call_duration_seconds_count{.*rpc_method="catalog/Get"' "$PARLEY_DIR/metrics" ||
    fail "no calls in /metrics"
[[ $(http /metrics "Accept: application/openmetrics-text; version=1.0.0") == *"# EOF" ]] ||
    fail "OpenMetrics has no end"

# ---- What is shipped names what is there ----

labels='parley_(interface|version_[a-z]+|translation|side|state|spin|phase|gate|rollout)|rpc_(method|system_name|response_status_code)'
for file in "$ship/parley.rules.yml" "$ship/parley-dashboard.json"; do
    for name in $(grep -oE '\b(parley|rpc|process)_[a-z0-9_]+' "$file" | grep -vxE "$labels" | sort -u); do
        grep -qE "^# TYPE (${name}|${name%_bucket}) " "$PARLEY_DIR/metrics" ||
            fail "$(basename "$file") names $name, which is not in /metrics"
    done
done

python3 -m json.tool "$ship/parley-dashboard.json" >/dev/null || fail "the dashboard is no JSON"

# ---- systemd ----

if command -v systemd-analyze >/dev/null; then
    sed "s|^ExecStart=[^ ]*|ExecStart=$(realpath "$parleyd")|" "$unit" >"$PARLEY_DIR/parleyd.service"
    complaints=$(systemd-analyze verify --man=no "$PARLEY_DIR/parleyd.service" 2>&1) || fail "systemd-analyze verify: $complaints"
    # 2.0 of 10, in tenths: what it calls OK.
    complaints=$(systemd-analyze security --offline=true --threshold=20 --no-pager "$PARLEY_DIR/parleyd.service" 2>&1) ||
        fail "systemd-analyze security: $complaints"
else
    echo "SKIPPED: the part with systemd-analyze: package systemd is not installed"
fi

# ---- Prometheus ----

if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    ((failures)) && exit 1
    echo "SKIPPED: the part with Prometheus: package prometheus is not installed"
    exit 77
fi

complaints=$(promtool check metrics <"$PARLEY_DIR/metrics" 2>&1) || fail "promtool check metrics: $complaints"
[[ -z $complaints ]] || fail "promtool check metrics: $complaints"
promtool check rules "$ship/parley.rules.yml" >"$PARLEY_DIR/rules" 2>&1 || fail "$(cat "$PARLEY_DIR/rules")"
promtool test rules "$ship/parley.rules.test.yml" >"$PARLEY_DIR/rules" 2>&1 || fail "$(cat "$PARLEY_DIR/rules")"

cat >"$PARLEY_DIR/prometheus.yml" <<EOF
global: {scrape_interval: 200ms}
rule_files: [$ship/parley.rules.yml]
scrape_configs:
  - job_name: parley
    static_configs: [{targets: ["127.0.0.1:$port"]}]
EOF

# Port 0 would not be told: a free one is tried until it is ours.
prometheus_up() {
    prometheus_port=$((20000 + RANDOM % 10000))
    begin "$PARLEY_DIR/prometheus.out" prometheus --config.file="$PARLEY_DIR/prometheus.yml" \
        --storage.tsdb.path="$PARLEY_DIR/tsdb" --web.listen-address="127.0.0.1:$prometheus_port"
    prometheus_pid=$begun
    until_true eval "grep -q 'ready to receive web requests' '$PARLEY_DIR/prometheus.out' || ! kill -0 $prometheus_pid"
    kill -0 "$prometheus_pid" 2>/dev/null
}
prometheus_up || prometheus_up || prometheus_up || { fail "$(cat "$PARLEY_DIR/prometheus.out")"; exit 1; }

# ask QUERY TEXT: until Prometheus' answer has it.
ask() {
    promtool query instant "http://127.0.0.1:$prometheus_port" "$1" 2>&1 | grep -qF -- "$2"
}
asked() {
    until_true ask "$@" || fail "Prometheus, asked for $1: $(promtool query instant "http://127.0.0.1:$prometheus_port" "$1" 2>&1)"
}
asked 'up{job="parley"}' '=> 1 @'
asked 'parley_build_info' 'version='
asked 'sum by (rpc_method) (rpc_client_call_duration_seconds_count)' 'rpc_method="catalog/Get"} => '
asked 'histogram_quantile(0.5, sum by (le) (rpc_server_call_duration_seconds_bucket)) > 0' '=> '
asked 'parley_route_share_ratio{parley_interface="catalog"}' '=> 1 @'
asked 'parley_calls_total{rpc_response_status_code="OK",parley_side="client"} > 0' 'parley_version_served='
asked 'process_resident_memory_bytes > 0' '=> '

((failures == 0)) || exit 1
echo "ok"
