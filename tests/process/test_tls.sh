#!/usr/bin/env bash
#
# TLS on the bus URL, with the real programs: test_tls.sh PARLEY PARLEYD SOURCE
#
# An unmodified nngcat with a certificate is who the certificate says, and may what the policy lets it;
# who has none, an expired one or one of another authority is not let in; a server that is not who it
# should be is not believed. Skipped, by name, without openssl or nngcat.
set -u

parley=$1 parleyd=$2 source_dir=$3
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
unset PARLEY_TLS_CA PARLEY_TLS_CERT PARLEY_TLS_KEY PARLEY_TLS_NAME
for tool in openssl nngcat; do
    type "$tool" >/dev/null 2>&1 || { echo "skipped: no $tool here"; exit 77; }
done
certs=$PARLEY_DIR/certs
sh "$source_dir/tests/support/certificates.sh" "$certs" || { echo "certificates were not made"; exit 1; }

# ---- A frame: parley.bus/List ----

# number BYTES VALUE: little-endian.
number() {
    local i
    for ((i = 0; i < $1; i++)); do printf "\\x$(printf %02x $(($2 >> 8 * i & 255)))"; done
}

pair() { number 1 ${#1}; number 2 ${#2}; printf '%s%s' "$1" "$2"; }

metadata() { pair parley.interface parley.bus; pair parley.method List; }

{
    number 8 7                                        # call_id
    number 4 0; number 4 0                            # payload_bytes, time_left_us
    number 2 "$(metadata | wc -c)"; number 2 65535    # metadata_bytes, method: by name
    number 2 1; number 1 1; number 1 0                # version_tag, kind: request, flags
    number 8 0
    metadata
} >"$PARLEY_DIR/frame"

# ---- A broker ----

policy=$PARLEY_DIR/policy.yaml
cat >"$policy" <<END
apiVersion: parley.dev/v1alpha1
kind: Policy
rules:
- {who: ["certificate:ord*"], allow: [look]}
END

# serve CERTIFICATE [OPTION...]: a broker with that one; sets port.
serve() {
    local certificate=$1
    shift
    "$parleyd" --dir "$PARLEY_DIR/$certificate" --bus tls+tcp://127.0.0.1:0 --tls-cert "$certs/$certificate.pem" \
        --tls-ca "$certs/ca.pem" --policy "$policy" --audit "$PARLEY_DIR/audit" "$@" >"$PARLEY_DIR/$certificate.out" 2>>"$log" &
    pids+=($!)
    wait_for "$PARLEY_DIR/$certificate.out" "ready"
    port=$(sed -n 's/.*tls+tcp:..127.0.0.1:\([0-9]*\).*/\1/p' "$PARLEY_DIR/$certificate.out" | head -n 1)
}

# call CERTIFICATE: the answer's status and text, in $status and $out.
call() {
    timeout 20 nngcat --req --dial "tls+tcp://localhost:$port" --cacert "$certs/ca.pem" ${1:+--cert "$certs/$1.pem"} \
        --file "$PARLEY_DIR/frame" --raw --recv-timeout 10 >"$out" 2>"$err"
    status=$(od -An -tu1 -j24 -N1 "$out" 2>/dev/null | tr -d ' ')
}

# shake TEXT CERTIFICATE [OPTION...]: a handshake by openssl, until one side has said that, in $out.
# -quiet: it goes on at the end of its input, for only after the handshake a server says what is wrong
# with a certificate (an alert); to whom it takes it says "SP".
shake() {
    local text=$1 certificate=$2
    shift 2
    begin "$out" openssl s_client -quiet -connect "localhost:$port" -CAfile "$certs/ca.pem" -verify_return_error \
        ${certificate:+-cert "$certs/$certificate.pem"} "$@"
    wait_for "$out" "$text"
    end "$begun"
}

serve server --events tls+tcp://127.0.0.1:0
broker=${pids[-1]}
[[ -n $port ]] || fail "the broker does not say its port: $(cat "$PARLEY_DIR/server.out")"

call orders
[[ $status == 0 ]] || fail "orders may look, and got ${status:-nothing}"
call billing
[[ $status == 7 ]] || fail "billing may not look, and got ${status:-nothing}"
has "$out" "billing may not look: no rule of the broker's policy allows it"
has "$PARLEY_DIR/audit" '"topic":"audit.look"' '"from":"billing"' '"status":"PERMISSION_DENIED"'

shake SP orders
lacks "$out" "alert"
shake alert ""
shake alert late
shake alert stranger
call orders
[[ $status == 0 ]] || fail "orders may look still, and got ${status:-nothing}"

# ---- The command line ----

url=tls+tcp://localhost:$port
orders=(--tls-ca "$certs/ca.pem" --tls-cert "$certs/orders.pem")
run 0 "${orders[@]}" -u "$url" ls
run 1 "${orders[@]}" -u "$url" describe nothing
has "$err" "nothing"
run 1 call "${orders[@]}" -u "$url" nothing/Method '{}'
run 1 "${orders[@]}" -u "$url" health # there is nobody who could serve
PARLEY_TLS_CA=$certs/ca.pem PARLEY_TLS_CERT=$certs/orders.pem PARLEY_TLS_KEY=$certs/orders.pem run 0 -u "$url" ls
PARLEY_TLS_CERT=$certs/billing.pem run 0 "${orders[@]}" -u "$url" ls # the option counts
PARLEY_TLS_NAME=localhost run 0 "${orders[@]}" -u "tls+tcp://127.0.0.1:$port" ls
PARLEY_TLS_NAME=elsewhere.invalid run 3 "${orders[@]}" -u "$url" ls
run 1 --tls-ca "$certs/ca.pem" --tls-cert "$certs/billing.pem" -u "$url" ls
has "$err" "PERMISSION_DENIED"
run 3 --tls-ca "$certs/ca.pem" -u "$url" ls # nobody
run 3 --tls-ca "$certs/other-ca.pem" --tls-cert "$certs/orders.pem" -u "$url" ls
has "$err" "certificate"
run 2 --tls-ca /nowhere -u "$url" ls
has "$err" "/nowhere"

# ---- Events ----

events_port=$(sed -n 's/.* events=tls+tcp:..127.0.0.1:\([0-9]*\).*/\1/p' "$PARLEY_DIR/server.out")
events_url=tls+tcp://localhost:$events_port

# hears WANTED OPTION...: parley events ends so, while the policy is read again and again.
hears() {
    local wanted=$1 listener code
    shift
    timeout 30 "$parley" events --events "$events_url" --count 1 "$@" >"$out" 2>"$err" </dev/null &
    listener=$!
    pids+=("$listener")
    while kill -0 "$listener" 2>/dev/null; do
        kill -HUP "$broker"
        sleep 0.05
    done
    wait "$listener"
    code=$?
    [[ $code == "$wanted" ]] || fail "parley events $*: exit code $code instead of $wanted"
}
hears 0 "${orders[@]}" --timeout 20s
has "$out" "policy"
hears 3 --tls-ca "$certs/ca.pem" --tls-cert "$certs/billing.pem" --timeout 500ms # may not look
hears 3 --tls-ca "$certs/other-ca.pem" --tls-cert "$certs/orders.pem" --timeout 500ms
has "$PARLEY_DIR/audit" '"topic":"audit.look"' '"from":"billing"'

# Who need not have a certificate is nobody then, and one that is wrong is still wrong.
cp "$certs/server.pem" "$certs/optional.pem"
serve optional --tls-optional
call ""
[[ $status == 7 ]] || fail "nobody in particular may not look, and got ${status:-nothing}"
shake alert stranger

# ---- Servers that are not who they should be ----

serve elsewhere
shake "ostname mismatch" orders -verify_hostname localhost
serve late-server
shake "certificate has expired" orders

# ---- What cannot be ----

refused() {
    local wanted=$1
    shift
    if timeout 20 "$parleyd" --dir "$PARLEY_DIR/other" "$@" >"$out" 2>&1; then fail "parleyd $* started"; fi
    grep -qiF -- "$wanted" "$out" || fail "parleyd $*: expected '$wanted'"
}
refused "certificate" --bus tls+tcp://127.0.0.1:0
refused "/nowhere" --bus tls+tcp://127.0.0.1:0 --tls-cert /nowhere
refused "is not encrypted" --bus tcp://0.0.0.0:0

# ---- Certificates that no URL uses ----

begin "$PARLEY_DIR/plain.out" "$parleyd" --dir "$PARLEY_DIR/plain" --bus tcp://127.0.0.1:0 --tls-ca "$certs/ca.pem"
wait_for "$PARLEY_DIR/plain.out" "parleyd: ready"
has "$PARLEY_DIR/plain.out" "the certificates are not used"
end "$begun"
lacks "$log" "the certificates are not used"

exit $((failures > 0))
