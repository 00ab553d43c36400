#!/usr/bin/env bash
#
# Rollouts with the real programs: test_rollout.sh PARLEY PARLEYD CATALOG-V1 CATALOG-V2 SOURCE
#
# A broker with --rollouts and --state, two versions of the catalogue. It is killed in the middle of a
# rollout and started again; documents and states are damaged; an operator acts. No calls are made:
# what figures do to a rollout is in tests/unit/broker/test_rollouts.c and the demo.
set -u

parley=$1 parleyd=$2 catalog_v1=$3 catalog_v2=$4 source_dir=$5
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
status_file=$source_dir/tests/unit/catalog/status

folder=$PARLEY_DIR/rollouts state=$PARLEY_DIR/kept
mkdir "$folder"

# wait_share PER_CENT: until version 2 gets so much.
wait_share() {
    local tries
    for ((tries = 0; tries < 400; tries++)); do
        "$parley" route catalog >"$out" 2>"$err"
        grep -qE "2\.0\.0 +$1 %" "$out" && return
        sleep 0.05
    done
    fail "version 2 never got $1 %"
}

start_broker() {
    begin "$log" "$parleyd" --rollouts "$folder" --state "$state"
    broker=$begun
    wait_for "$log" "parleyd: ready"
}

start_service() {
    begin "$PARLEY_DIR/${1##*/}.log" "$1" --status-file "$status_file"
    wait_for "$PARLEY_DIR/${1##*/}.log" '"ready":true'
}

# document WEIGHT: puts one in the folder, as a careful program does.
document() {
    cat >"$PARLEY_DIR/new" <<DOCUMENT
apiVersion: parley.dev/v1alpha1
kind: Rollout
metadata:
  name: shop
spec:
  interface: catalog
  stable: "^1.0"
  canary: "^2.0"
  steps:
  - {weight: $1, hold: 1h}
  - {weight: 30, hold: 1h, approval: true}
DOCUMENT
    mv "$PARLEY_DIR/new" "$folder/shop.yaml"
}

# ---- A document in the folder runs ----
start_broker
start_service "$catalog_v1"
start_service "$catalog_v2"
begin "$PARLEY_DIR/events" "$parley" events rollout. refused
# A subscription takes a moment; until it is heard, something that is refused.
for ((tries = 0; tries < 400; tries++)); do
    echo "kind: nonsense" >"$folder/odd.yaml"
    grep -q refused "$PARLEY_DIR/events" && break
    sleep 0.05
done
rm "$folder/odd.yaml"
document 5
wait_share 5
run 0 rollout
has "$out" shop catalog Progressing 1/2 "5 %" 1.0.0 2.0.0
run 0 rollout promote shop --reason "all is well"
has "$out" "shop: Progressing, step 2 of 2"
wait_share 30
wait_for "$PARLEY_DIR/events" rollout.promote
has "$PARLEY_DIR/events" rollout.begin
run 0 rollout history shop
has "$out" "user $(id -u) (pid" promote "all is well" "file shop.yaml"

# ---- A broker that is killed ----
end "$broker" KILL
start_broker
run 0 rollout show --json shop
python3 - "$out" <<'PYTHON' || fail "it is not in the step where it was"
import json, sys
status = json.load(open(sys.argv[1]))["status"]
sys.exit(not (status["phase"] == "Progressing" and status["step"] == 2 and status["weight"] == 30
              and status["file"] == "shop.yaml"))
PYTHON
wait_share 30
run 0 rollout promote shop # and it goes on
has "$out" "shop: Completed"
run 0 rollout undo shop
wait_share 0

# ---- Names of rollouts are completed ----
PATH="$(dirname "$parley"):$PATH" bash -c '
    source "$1"; COMP_WORDS=(parley rollout show sh); COMP_CWORD=3
    _parley; printf "%s\n" "${COMPREPLY[@]}"' bash \
    "$source_dir/bus/cli/completion/parley.bash" >"$out" 2>"$err"
[[ $(cat "$out") == shop ]] || fail "completion of a rollout"

# ---- Documents that are none ----
document 500
wait_for "$log" "shop.yaml:10:"
has "$log" "expected" "what it said before stays in force"
# Who listens has to find the new broker first; a document that comes again is refused again.
for ((tries = 0; tries < 100; tries++)); do
    grep -qF "shop.yaml:10:" "$PARLEY_DIR/events" && break
    document 500
    sleep 0.1
done
wait_for "$PARLEY_DIR/events" "shop.yaml:10:"
run 0 rollout show shop
document 7
wait_share 7
cp "$folder/shop.yaml" "$PARLEY_DIR/other.yaml"
run 1 rollout apply "$PARLEY_DIR/other.yaml"
has "$err" ALREADY_EXISTS "shop.yaml: change it there"
echo "kind: [" >"$PARLEY_DIR/other.yaml"
run 1 rollout apply "$PARLEY_DIR/other.yaml"
has "$err" INVALID_ARGUMENT "other.yaml:"
run 1 rollout pause nothing
has "$err" NOT_FOUND

# ---- Weights by hand ----
run 1 route catalog 1.0.0=1 2.0.0=1
has "$err" FAILED_PRECONDITION "rollout shop" "--force"
run 0 route --force catalog 1.0.0=1 2.0.0=1
wait_share 50
run 0 rollout
has "$out" Paused
run 0 rollout resume shop
wait_share 7

# ---- A state that is damaged ----
end "$broker" KILL
printf '{"format":' >"$state/rollout-shop.json"
start_broker
has "$log" "is no state of a rollout, and is not used"
[[ -e $state/rollout-shop.json.damaged ]] || fail "the damaged state is not kept aside"
run 0 rollout # the document is there, so it has begun anew
has "$out" shop

# ---- The document goes ----
wait_share 7
rm "$folder/shop.yaml"
wait_share 0
wait_for "$log" "its document is not in the folder any more"
run 0 rollout
has "$out" "The broker runs no rollout."

# ---- The documents that README.md and docs/ROLLOUT.md print ----
for page in "$source_dir/README.md" "$source_dir/docs/ROLLOUT.md"; do
    awk '/^ *```yaml$/ { on = 1; text = ""; margin = index($0, "`"); next }
        /^ *```/ { if (on && text ~ /kind: Rollout/) printf "%s", text; on = 0 }
        on { text = text substr($0, margin) "\n" }' "$page" >"$PARLEY_DIR/printed.yaml"
    grep -q "kind: Rollout" "$PARLEY_DIR/printed.yaml" || fail "no document in $page"
    run 0 rollout apply "$PARLEY_DIR/printed.yaml"
done
end "$broker"
exit $((failures > 0))
