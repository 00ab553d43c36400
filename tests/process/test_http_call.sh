#!/usr/bin/env bash
#
# POST /call/INTERFACE/METHOD by curl, with the real programs:
# test_http_call.sh PARLEY PARLEYD CATALOG-V1 CATALOG-V2 SOURCE
#
# Both versions of the catalogue serve, and all calls go to version 2: who speaks version 1 is translated.
set -u

parley=$1 parleyd=$2 catalog_v1=$3 catalog_v2=$4 source_dir=$5
if ! command -v curl >/dev/null; then
    echo "SKIPPED: curl is not installed"
    exit 77
fi
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
status_file=$source_dir/tests/unit/catalog/status

start_broker() {
    begin "$log" "$parleyd" --http http://127.0.0.1:0 "$@"
    wait_for "$log" "parleyd: ready"
    url=$(sed -n 's/.* http=\([^ ]*\).*/\1/p' "$log")
}

# post CODE PATH BODY [CURL-ARGUMENT...]: the answer in $out, its head in $err.
post() {
    local wanted=$1 path=$2 body=$3 code
    shift 3
    code=$(curl -sS --max-time 20 -o "$out" -D "$err" -w '%{http_code}' -H 'Content-Type: application/json' \
        -d "$body" "$@" "$url/call/$path")
    [[ $code == "$wanted" ]] || fail "POST $path $body $*: $code instead of $wanted"
}

start_broker --allow-calls
begin "$PARLEY_DIR/v1.out" "$catalog_v1" --status-file "$status_file"
begin "$PARLEY_DIR/v2.out" "$catalog_v2" --status-file "$status_file"
for ((tries = 0; tries < 1000; tries++)); do
    "$parley" ls 2>/dev/null | grep -q '2\.0\.0' && "$parley" ls | grep -q '1\.0\.0' && break
    sleep 0.01
done
run 0 route catalog 2.0.0=100

# ---- What users of grpc-gateway expect ----

post 200 catalog/Get '{"name": "base-files"}' -H 'Accept-Version: 1.0.0'
has "$out" '"name": "base-files"' '"architecture"'
has "$err" 'Content-Type: application/json' 'Parley-Version: 1.0.0' 'Parley-Served-By: 2.' 'Parley-Translation: ' \
    'Parley-Status: OK' 'Parley-Executed: yes' 'Vary: Accept-Version'
python3 -m json.tool "$out" >/dev/null || fail "the reply is no JSON"
post 200 catalog/Get '{"package": "base-files"}' -H 'Accept-Version: ~3, ^2'
has "$err" 'Parley-Version: 2.' 'Parley-Translation: identity'
post 200 catalog/Get '{"name": "base-files"}' -H 'Accept-Version: 1.x' -H 'Parley-Accept: 1.x'
has "$err" 'Parley-Served-By: 1.0.0' 'Parley-Translation: identity'
post 200 catalog/List '' -H 'Accept-Version: 1.x'
has "$out" '"total":'

post 404 catalog/Get '{"name": "no-such-package"}' -H 'Accept-Version: 1.x'
has "$out" '"code":5' '"status":"NOT_FOUND"' '"message":"' '"details":[]' '"executed":"yes"'
post 404 nothing/Get '{}'
has "$out" 'no interface \"nothing\" is published' '"executed":"no"'
post 404 catalog/Got '{}'
has "$out" 'Got'
post 404 catalog/Get '{}' -H 'Accept-Version: ~9'
has "$out" 'no version of catalog is in the range'
post 400 catalog/Get '{"nam": "x"}' -H 'Accept-Version: 1.x'
has "$out" '"code":3' 'the body is no catalog.v1.GetRequest' 'nam'
post 400 catalog/Get '{"name":' -H 'Accept-Version: 1.x'
has "$out" 'the body, line 1'
post 400 catalog/Get '[]' -H 'Accept-Version: 1.x'
post 400 catalog '{}'
has "$out" 'the path is /call/INTERFACE/METHOD'
post 400 catalog/Get/more '{}'
post 400 catalog/Get '{}' -H 'Accept-Version: ~~'
post 400 catalog/Get '{"name": "base-files"}' -H 'Parley-Accept: ~9' -H 'Accept-Version: 1.x'
has "$out" '"status":"FAILED_PRECONDITION"'
post 415 catalog/Get '{}' -H 'Content-Type: text/plain'
post 403 catalog/Get '{}' -H 'Origin: http://elsewhere.example'

# ---- Headers ----

post 200 catalog/Get '{"name": "base-files"}' -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \
    -H 'X-Gray-Version: 2' -H 'Parley-Metadata: tenant=blue, gray.mark=a%20b' -H 'Accept-Version: 1.x'
post 400 catalog/Get '{}' -H 'Parley-Metadata: Tenant=blue'
has "$out" 'a key is 1 to 64 bytes'
post 400 catalog/Get '{}' -H 'Parley-Metadata: parley.peer.uid=0'
post 400 catalog/Get '{}' -H 'Parley-Metadata: tenant'
post 400 catalog/Get '{}' -H 'Parley-Metadata: tenant=%4'
post 400 catalog/Get '{}' -H 'Grpc-Timeout: 5'
post 400 catalog/Get '{}' -H 'Grpc-Timeout: 123456789m'
post 200 catalog/Get '{"name": "base-files"}' -H 'Grpc-Timeout: 5S' -H 'Accept-Version: 1.x'
post 200 catalog/Visit '{"name": "base-files"}' -H 'Parley-One-Way: 1' -H 'Accept-Version: 1.x'
has "$err" 'Parley-Executed: unknown'
[[ $(<"$out") == '{}' ]] || fail "a one-way call has a reply"
post 400 catalog/Visit '{"name": "base-files"}' -H 'Parley-One-Way: yes'

# A match rule sees them: all users go to version 2, those with the mark to 1.
cat >"$PARLEY_DIR/rollout.yaml" <<END
apiVersion: parley.dev/v1alpha1
kind: Rollout
metadata: {name: marked}
spec:
  interface: catalog
  stable: ^2
  canary: ^1
  match:
  - headers: [{name: gray.version, exact: "1"}]
  steps: [{weight: 1, approval: true}, {weight: 100}]
END
run 0 rollout apply "$PARLEY_DIR/rollout.yaml"
for ((tries = 0; tries < 500; tries++)); do
    post 200 catalog/Get '{"package": "base-files"}' -H 'X-Gray-Version: 1'
    grep -q 'Parley-Served-By: 1' "$err" && break
done
has "$err" 'Parley-Served-By: 1'
post 200 catalog/Get '{"package": "base-files"}'
has "$err" 'Parley-Served-By: 2'
run 0 rollout delete marked
has "$out" "marked: deleted"

# ---- Limits ----

printf '{"name": "%*s"}' 4194400 "" >"$PARLEY_DIR/large"
post 400 catalog/Get "@$PARLEY_DIR/large"
for ((i = 0; i < 40; i++)); do printf '{"a":'; done >"$PARLEY_DIR/deep"
post 400 catalog/Get "@$PARLEY_DIR/deep"
code=$(curl -sS --max-time 20 -o "$out" -w '%{http_code}' -H 'Transfer-Encoding: chunked' -H 'Content-Type: application/json' \
    -d '{}' "$url/call/catalog/Get")
[[ $code == 411 ]] || fail "a body in chunks: $code"
code=$(curl -sS --max-time 20 -o "$out" -D "$err" -w '%{http_code}' "$url/call/catalog/Get")
[[ $code == 405 ]] || fail "GET of a call: $code"
has "$err" 'Allow: POST'

# Many at once, each with its own answer; and one that nobody serves in time.
curl -sS --max-time 30 --no-progress-meter --parallel --parallel-max 20 -H 'Content-Type: application/json' \
    -H 'Accept-Version: 1.x' -d '{"name": "base-files"}' -w '%{http_code}\n' -o /dev/null \
    "$url/call/catalog/Get?[1-60]" >"$PARLEY_DIR/many" 2>&1
[[ $(grep -cx 200 "$PARLEY_DIR/many") == 60 ]] || fail "not all of 60 calls at once: $(sort "$PARLEY_DIR/many" | uniq -c)"
for pid in "${pids[@]:1}"; do kill -STOP "$pid"; done
post 504 catalog/Get '{"name": "base-files"}' -H 'Grpc-Timeout: 100m' -H 'Accept-Version: 1.x'
has "$out" '"status":"DEADLINE_EXCEEDED"' '"executed":"unknown"'
for pid in "${pids[@]:1}"; do kill -CONT "$pid"; done
post 200 catalog/Get '{"name": "base-files"}' -H 'Accept-Version: 1.x'

# ---- Without --allow-calls there are none ----

for pid in "${pids[@]}"; do end "$pid"; done
pids=()
start_broker
post 404 catalog/Get '{}'

((failures == 0)) || exit 1
echo "all calls by HTTP ended as they should"
