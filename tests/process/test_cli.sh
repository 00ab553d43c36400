#!/usr/bin/env bash
#
# The command line against a real bus: test_cli.sh PARLEY PARLEYD CATALOG-V1 CATALOG-V2 SOURCE
#
# A broker in a folder of its own, two versions of the catalogue over a status file of the tests'.
# Nothing waits by the clock: each step waits for a line, and everything that waits is bounded.
set -u

parley=$1 parleyd=$2 catalog_v1=$3 catalog_v2=$4 source_dir=$5
# shellcheck source=tests/process/bus.sh
source "${BASH_SOURCE[0]%/*}/bus.sh"
status_file=$source_dir/tests/unit/catalog/status

start_broker() {
    begin "$PARLEY_DIR/broker.log" "$parleyd"
    broker=$begun
    wait_for "$PARLEY_DIR/broker.log" "parleyd: ready"
    wait_for "$PARLEY_DIR/broker.log" " wait=${PARLEY_WAIT:-epoll} "
}

echo "-- no broker"
run 3 ls
has "$err" "parley: cannot connect to ipc://$PARLEY_DIR/control.ipc" "Start parleyd"
run 3 call catalog/Get
run 3 events --count 1
has "$err" "events.ipc"

echo "-- a program that waits for the broker says so while it waits"
PARLEY_BROKER=tcp://127.0.0.1:1 begin "$PARLEY_DIR/v1.log" "$catalog_v1" --status-file "$status_file"
wait_for "$PARLEY_DIR/v1.log" "cannot connect to tcp://127.0.0.1:1: "
wait_for "$PARLEY_DIR/v1.log" " (trying for 15 s)"
kill -0 "$begun" 2>/dev/null || fail "it has not waited"
end "$begun"

echo "-- paths that are too long for a broker say which option it is"
long=$(printf '/x%.0s' {1..54}) # 108 bytes
for option in --dir --socket --state; do
    "$parleyd" "$option" "$long" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code == 1 ]] || fail "parleyd $option with 108 bytes: exit code $code"
    has "$err" "$option is longer than the 107 bytes"
done
"$parleyd" --dir "${long:0:100}" >"$out" 2>"$err" </dev/null && fail "a folder without room for names"
has "$err" "too long for sockets" "a shorter --dir"

echo "-- closed standard streams are not taken by sockets"
"$parleyd" <&- >&- 2>&- &
broker=$!
pids+=("$broker")
for ((tries = 0; tries < 1000; tries++)); do
    "$parley" ls >"$out" 2>"$err" && break
done
for number in 0 1 2; do
    [[ $(readlink "/proc/$broker/fd/$number") == /dev/null ]] || fail "descriptor $number is something else"
done
"$parley" ls 2>"$err" >&-
[[ $? == 5 ]] || fail "nothing was printed, and that is no trouble"
has "$err" "could not be written: Bad file descriptor"
end "$broker"

echo "-- what is no file, or none that can be read, is said at once"
mkfifo "$PARLEY_DIR/fifo"
timeout -k 1 30 "$parleyd" --audit "$PARLEY_DIR/fifo" >"$out" 2>"$err" </dev/null
[[ $? == 1 ]] || fail "parleyd --audit waits for a FIFO's reader"
has "$err" "cannot open $PARLEY_DIR/fifo for the audit trail"
"$parleyd" --help >/dev/full
[[ $? == 1 ]] || fail "parleyd --help could not be printed"
run 5 rollout apply "$PARLEY_DIR"
has "$err" "$PARLEY_DIR cannot be read: Is a directory"
run 2 --tls-ca "$PARLEY_DIR/fifo" -u tls+tcp://127.0.0.1:1 ls
run 2 --tls-ca "$PARLEY_DIR/none" -u tls+tcp://127.0.0.1:1 ls
lacks "$err" "Start parleyd"
run 2 -u bogus top --once
run 2 -u bogus ls

echo "-- an empty bus"
start_broker
run 0 ls
has "$out" "Nothing is published."
run 0 stats
has "$out" "No calls yet."
run 1 describe catalog
has "$err" "NOT_FOUND" "catalog"
run 1 route catalog 1.0.0=1
has "$err" "NOT_FOUND"
run 1 call catalog/Get
has "$err" "NOT_FOUND"

echo "-- services come up, and events say so"
"$parley" events >"$PARLEY_DIR/events" 2>"$PARLEY_DIR/events.err" &
events=$!
pids+=("$events")
begin "$PARLEY_DIR/v1.log" "$catalog_v1" --status-file "$status_file"
v1=$begun
wait_for "$PARLEY_DIR/broker.log" "catalog 1.0.0 of catalog-v1 (pid $v1) is up"
begin "$PARLEY_DIR/v2.log" "$catalog_v2" --status-file "$status_file"
v2=$begun
wait_for "$PARLEY_DIR/broker.log" "catalog 2.0.0 of catalog-v2 (pid $v2) is up"
# Nobody knows when a subscriber is there, so something happens until it has seen it: routes that are
# as they were already are no event.
for ((tries = 0; tries < 200; tries++)); do
    run 0 route catalog 1.0.0=1 "2.0.0=$((tries % 2))"
    grep -q " route catalog" "$PARLEY_DIR/events" && break
    sleep 0.05
done
wait_for "$PARLEY_DIR/events" " route catalog"
run 0 route catalog 1.0.0=1 2.0.0=0
end "$v2"
wait_for "$PARLEY_DIR/events" "instance.gone catalog 2.0.0 instance"
begin "$PARLEY_DIR/v2.log" "$catalog_v2" --status-file "$status_file"
v2=$begun
wait_for "$PARLEY_DIR/broker.log" "catalog 2.0.0 of catalog-v2 (pid $v2) is up"
wait_for "$PARLEY_DIR/events" "catalog 2.0.0 of catalog-v2 (pid $v2) is up"

echo "-- a socket that is not for us is no broker that is away"
unprivileged=()
((EUID)) || unprivileged=(setpriv '--bounding-set=-dac_override,-dac_read_search')
chmod 0 "$PARLEY_DIR/control.ipc"
"${unprivileged[@]}" "$parley" ls >"$out" 2>"$err" </dev/null
code=$?
chmod 660 "$PARLEY_DIR/control.ipc"
[[ $code == 3 ]] || fail "a socket without access: exit code $code"
has "$err" "Permission denied: ask for access"
lacks "$err" "Start parleyd"

echo "-- a URL that leads nowhere is a mistake, not a broker that is away"
run 2 --url nothing://here ls
has "$err" "no such transport"
lacks "$err" "Start parleyd"

echo "-- ls"
run 0 ls
has "$out" "INTERFACE" "catalog    1.0.0    100 %" "catalog-v1" "$v1" "catalog-v2" "$v2"
[[ -s $err ]] && fail "ls complains"
run 0 ls --names
[[ $(cat "$out") == catalog ]] || fail "ls --names"
run 0 ls --names --json
[[ $(tr -d ' \n' <"$out") == '["catalog"]' ]] || fail "ls --names --json"
run 0 ls --methods --json
[[ $(tr -d ' \n' <"$out") == '["catalog/Get","catalog/List",'* ]] || fail "ls --methods --json"
run 0 ls --methods
has "$out" catalog/Get catalog/List catalog/Search catalog/Visit
run 0 ls --json
has "$out" "\"pid\": $v1" '"version": "1.0.0"' '"share_percent": 100.0'

echo "-- describe"
run 0 describe catalog@1.0.0
has "$out" "// catalog 1.0.0" "rpc Get(GetRequest) returns (Package);" "uint32 installed_kib = "
run 0 describe catalog@2.0.0/Get
has "$out" "uint64 installed_bytes = 6; // was installed_kib, times 1024"
lacks "$out" "rpc Search"
run 0 call catalog@2.0.0 --list --json
has "$out" '"method": "Search"' '"version": "2.0.0"'
run 0 call catalog@2.0.0 --list
has "$out" "rpc Search(SearchRequest) returns (SearchReply);"
run 1 describe catalog@7.0.0
has "$err" "NOT_FOUND" "7.0.0"
run 2 describe catalog/Gett
has "$err" "did you mean 'Get'?"

echo "-- call, in both versions, served by either"
for share in "1.0.0=1" "2.0.0=1"; do
    run 0 route catalog "$share"
    run 0 call -v catalog@1.0.0/Get '{"name": "base-files"}'
    has "$out" '"id": "base-files:amd64"' '"installedKib": 341' \
        '"maintainer": "Santiago Vila <sanvila@debian.org>"'
    class=identity
    [[ $share == 2.0.0=1 ]] && class=carried
    has "$err" "parley: OK, served by ${share%=1} ($class), executed: yes"
    run 0 call -v catalog@2.0.0/Get '{"package": "base-files"}'
    has "$out" '"installedBytes": "349184"' '"email": "sanvila@debian.org"'
    has "$err" "served by ${share%=1}"
done
timeout 30 "$parley" call catalog@2.0.0/Get - <<<'{"package": "base-files"}' >"$out" 2>"$err" ||
    fail "a request from the standard input"
has "$out" '"name": "base-files"'
echo '{"package": "base-files"}' >"$PARLEY_DIR/request"
run 0 call catalog@2.0.0/Get "@$PARLEY_DIR/request"
has "$out" '"name": "base-files"'
run 0 call --json catalog@1.0.0/Get '{"name": "base-files"}'
has "$out" '{"status": "OK", "executed": "yes", "served_by": "2.0.0", "translation": "carried", '\
'"reply": {'
run 0 call -v --one-way catalog@1.0.0/Get '{"name": "no-such-package"}' # nobody learns that
[[ -s $out ]] && fail "a one-way call prints a reply"
has "$err" "parley: OK, served by " "executed: unknown"
run 1 call catalog@1.0.0/Get '{"name": "no-such-package"}'
has "$err" "parley: NOT_FOUND: " "no-such-package"
[[ -s $out ]] && fail "a failed call prints a reply"
run 1 call --json nothing/Get
has "$out" '{"status": "NOT_FOUND"' '"executed": "no"}'
has "$err" NOT_FOUND
run 1 call --json catalog@1.0.0/Get '{"name": "no-such-package"}'
has "$out" '{"status": "NOT_FOUND"' '"executed": "yes"'
run 2 call catalog@1.0.0/Get '{"nmae": "base-files"}'
has "$err" "the request is no catalog.v1.GetRequest" "nmae"
run 2 call catalog@1.0.0/Get '{"name": '
run 2 call catalog/Frobnicate
run 5 call catalog/Get @/nonexistent/file

echo "-- route"
run 0 route catalog 1.0.0=3 2.0.0=1
has "$out" "catalog    1.0.0     75 %" "catalog    2.0.0     25 %"
run 0 route catalog
has "$out" "catalog    1.0.0     75 %"
run 0 route --json catalog
has "$out" '"share_percent": 25.0'
run 2 route catalog 1.0.0=0 2.0.0=0
has "$err" "all weights are 0"
run 2 route catalog 1.0.0=-1
run 2 route catalog 1.0.0=many
run 1 route catalog 9.0.0=1
has "$err" "9.0.0"
run 0 route catalog
has "$out" "catalog    1.0.0     75 %" # nothing that was refused has changed it
wait_for "$PARLEY_DIR/events" "1.0.0 75 %, 2.0.0 25 %"

echo "-- stats"
run 0 stats catalog
has "$out" "service" "1.0.0>2.0.0" "2.0.0>1.0.0" "Get"
run 0 stats --json catalog
has "$out" '"by_status": {' '"NOT_FOUND": ' '"latency_ns": {'
run 0 stats --watch --interval 1ms --count 2 catalog
[[ $(grep -c CALLS/S "$out") == 2 ]] || fail "two rounds of stats --watch"
run 0 stats nothing
has "$out" "No calls of nothing yet."

echo "-- from another host, over TCP"
end "$broker"
# Two that are free now; somebody else may be quicker, so try again.
for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    begin "$PARLEY_DIR/broker.log" "$parleyd" --control "tcp://127.0.0.1:$port" --events "tcp://127.0.0.1:$((port + 1))"
    broker=$begun
    while ! grep -qe "parleyd: ready" -e "parleyd: error" "$PARLEY_DIR/broker.log"; do
        sleep 0.01 # it says one of the two; the test's own timeout is behind it
    done
    grep -q "parleyd: ready" "$PARLEY_DIR/broker.log" && break
    wait "$broker"
    echo "   port $port is taken (attempt $attempt)"
done
wait_for "$PARLEY_DIR/broker.log" "catalog 1.0.0 of catalog-v1 (pid $v1) is up"
wait_for "$PARLEY_DIR/broker.log" "catalog 2.0.0 of catalog-v2 (pid $v2) is up"
PARLEY_DIR=/nonexistent run 0 --url "tcp://127.0.0.1:$port" route catalog
has "$out" "catalog    1.0.0     75 %" # learned from the services by the new broker
PARLEY_DIR=/nonexistent run 0 call --url "tcp://127.0.0.1:$port" catalog@1.0.0/Get \
    '{"name": "base-files"}'
has "$out" '"id": "base-files:amd64"'
PARLEY_DIR=/nonexistent run 3 events --events "tcp://127.0.0.1:$((port + 1))" --timeout 50ms
has "$err" "no event came from tcp://"
run 3 --url tcp://127.0.0.1:1 ls

echo "-- Ctrl-C ends what goes on, cleanly"
# A background job of a script ignores SIGINT, unless it asks for it as parley does.
kill -INT "$events"
wait "$events"
code=$?
[[ $code == 0 ]] || fail "events: exit code $code after Ctrl-C"
[[ -s $PARLEY_DIR/events.err ]] && cat "$PARLEY_DIR/events.err"
grep -qE '^[0-9:.]{12} instance\.up catalog 2\.0\.0 instance [0-9a-f]{16} pid '"$v2" \
    "$PARLEY_DIR/events" || fail "the line of an event"
begin "$PARLEY_DIR/watch" "$parley" stats --watch --interval 1h
watch=$begun
wait_for "$PARLEY_DIR/watch" "SIDE"
kill -INT "$watch"
wait "$watch"
code=$?
[[ $code == 0 ]] || fail "stats --watch: exit code $code after Ctrl-C"

echo "-- a watch goes on when the broker comes back"
: >"$PARLEY_DIR/watch" # or the last one's output could be taken for this one's
"$parley" stats --watch --interval 20ms >"$PARLEY_DIR/watch" 2>"$PARLEY_DIR/watch.err" &
watch=$!
pids+=("$watch")
wait_for "$PARLEY_DIR/watch" "SIDE"
end "$broker" KILL
wait_for "$PARLEY_DIR/watch.err" "Start parleyd"
: >"$PARLEY_DIR/watch"
start_broker
wait_for "$PARLEY_DIR/watch" "SIDE"
kill -INT "$watch"
wait "$watch"
code=$?
[[ $code == 0 ]] || fail "stats --watch: exit code $code"

echo "-- a service that leaves is gone from the list"
wait_for "$PARLEY_DIR/broker.log" "catalog 2.0.0 of catalog-v2 (pid $v2) is up"
end "$v2" KILL
wait_for "$PARLEY_DIR/broker.log" "catalog 2.0.0 of catalog-v2 (pid $v2) is gone"
run 0 ls
lacks "$out" "catalog-v2"

echo "-- completion"
if command -v bash >/dev/null; then
    complete_words() {
        PATH="${programs:-$(dirname "$parley")}:$PATH" bash -c '
            source "$1"; shift
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _parley; printf "%s\n" "${COMPREPLY[@]}"' bash \
            "$source_dir/bus/cli/completion/parley.bash" "$@" >"$out" 2>"$err"
    }
    complete_words parley st
    [[ $(cat "$out") == stats ]] || fail "completion of a command"
    complete_words parley call catalog/G
    [[ $(cat "$out") == catalog/Get ]] || fail "completion of a method"
    complete_words parley route catalog 1
    [[ $(cat "$out") == 1.0.0= ]] || fail "completion of a version"
    complete_words parley call --ver
    has "$out" --verbose
    complete_words parley diff --format g
    [[ $(cat "$out") == github ]] || fail "completion of a format"
    complete_words parley --tls-ca "$out" route -f cat
    [[ $(cat "$out") == catalog ]] || fail "completion behind an option with a value and one without"
    complete_words parley drain "$(run 0 health; awk 'NR == 2 { print substr($3, 1, 12) }' "$out")"
    grep -xE '[0-9a-f]{16}' "$out" >"$err" || fail "completion of an instance"
    complete_words parley ''
    sort "$out" >"$PARLEY_DIR/offered"
    "$parley" --help | sed -nE '/^Commands:/,/^$/s/^  (\w+) .*/\1/p' | sort - <(echo help) |
        diff - "$PARLEY_DIR/offered" || fail "completion of commands: above is what differs"
    for command in $(cat "$PARLEY_DIR/offered"); do
        complete_words parley "$command" --
        for option in $("$parley" "$command" --help | grep -oE '^  +(-., )?--[a-z-]+' | grep -oE -- '--.*'); do
            grep -qxe "$option" "$out" || fail "completion of parley $command has no $option"
        done
    done
    complete_words parley rollout prom
    [[ $(cat "$out") == promote ]] || fail "completion of what to do with a rollout"
    # Whatever names a bus has, none of them is run.
    mkdir "$PARLEY_DIR/hostile"
    cat >"$PARLEY_DIR/hostile/parley" <<END
#!/bin/sh
case "\$*" in
*--names) echo 'catalog \$(: >"$PARLEY_DIR/bitten")' '\`:>$PARLEY_DIR/bitten\`' '*' ;;
*) exec "$parley" "\$@" ;;
esac
END
    chmod +x "$PARLEY_DIR/hostile/parley"
    programs=$PARLEY_DIR/hostile complete_words parley stats ''
    head -1 "$out" | grep -qx catalog || fail "completion among hostile names"
    [[ ! -e $PARLEY_DIR/bitten ]] || fail "completion ran a name"
fi

end "$v1"
end "$broker"

echo "-- diff, which needs no broker"
run 0 diff "$source_dir/schemas" "$source_dir/schemas"
has "$out" "nothing breaks"
run 0 diff "$source_dir/schemas/demo/catalog_v1.proto" "$source_dir/schemas/demo/catalog_v2.proto"
mkdir -p "$PARLEY_DIR/new" "$PARLEY_DIR/tmp"
sed 's/uint32 total = 2;/string total = 2;/' "$source_dir/schemas/demo/catalog_v1.proto" \
    >"$PARLEY_DIR/new/catalog_v1.proto"
run 1 diff --format github "$source_dir/schemas/demo/catalog_v1.proto" "$PARLEY_DIR/new"
has "$out" "::error file=catalog_v1.proto,line=" ",title=FIELD_WIRE_JSON_COMPATIBLE_TYPE::catalog.v1.ListReply.total: "
run 2 diff "$PARLEY_DIR/new" "$PARLEY_DIR/nothing"
printf '#!/bin/sh\n: >"%s"\nexec sleep 60\n' "$PARLEY_DIR/compiling" >"$PARLEY_DIR/slow"
chmod +x "$PARLEY_DIR/slow"
# A process group of its own, as a terminal's foreground job has, so that both get the signal; a shell's
# background jobs ignore it.
TMPDIR=$PARLEY_DIR/tmp PROTOC=$PARLEY_DIR/slow env --default-signal=INT setsid "$parley" diff "$PARLEY_DIR/new" \
    "$PARLEY_DIR/new" >"$out" 2>"$err" &
diff=$!
pids+=("$diff")
for ((tries = 0; tries < 2000; tries++)); do
    [[ -e $PARLEY_DIR/compiling ]] && break
    sleep 0.01
done
kill -INT -- "-$diff"
wait "$diff"
code=$?
[[ $code == 130 ]] || fail "Ctrl-C: exit code $code instead of 130"
[[ -z $(ls -A "$PARLEY_DIR/tmp") ]] || fail "Ctrl-C left files behind: $(ls -A "$PARLEY_DIR/tmp")"

if ((failures > 0)); then
    echo "$failures failed"
    exit 1
fi
echo "all good"
