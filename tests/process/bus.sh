# For tests that run the real programs of a bus: sourced, by bash.
#
# A folder of the test's own that is its bus's, programs that are ended and reaped by their pids, and
# a count of what failed. Nothing waits by the clock: each step waits for a line, and everything that
# waits is bounded. `parley` is the command line, as the test was given it.

export NO_COLOR=1 TZ=UTC
unset PARLEY_CONTROL PARLEY_EVENTS PARLEY_BUS PARLEY_BROKER NOTIFY_SOCKET WATCHDOG_USEC
PARLEY_DIR=$(mktemp -d /tmp/parley-test.XXXXXX) # short: sockets are in it
export PARLEY_DIR
out=$PARLEY_DIR/out err=$PARLEY_DIR/err log=$PARLEY_DIR/broker.log
failures=0
pids=()

# Ends a process that we started, and reaps it.
end() {
    kill "-${2:-TERM}" "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# begin FILE COMMAND...: starts a program that says all into that file; its pid is in $begun. The file is
# emptied here and now: were it left to the child, what a program before said could be taken for its word.
begin() {
    local file=$1
    shift
    : >"$file"
    "$@" >>"$file" 2>&1 &
    begun=$!
    pids+=("$begun")
}

clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        end "$pid" KILL
    done
    rm -rf "$PARLEY_DIR"
}
trap clean_up EXIT

fail() {
    local file
    echo "FAILED: $*"
    for file in "$out" "$err" "$log"; do
        [[ ! -s $file ]] || echo "  ${file##*/}: $(tail -n 20 "$file" | head -c 2000)"
    done
    failures=$((failures + 1))
}

# run CODE ARGUMENT...: runs parley, and wants that exit code.
run() {
    local wanted=$1 code
    shift
    timeout 30 "$parley" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code == "$wanted" ]] || fail "parley $*: exit code $code instead of $wanted"
}

# has FILE TEXT...: each text is in the file.
has() {
    local file=$1 text
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$file" || fail "expected '$text' in ${file##*/}"
    done
}

# lacks FILE TEXT
lacks() {
    if grep -qF -- "$2" "$1"; then fail "did not expect '$2' in ${1##*/}"; fi
}

# wait_for FILE TEXT: until a line of the file has the text; 20 seconds at most.
wait_for() {
    local tries
    for ((tries = 0; tries < 2000; tries++)); do
        grep -qF -- "$2" "$1" 2>/dev/null && return
        sleep 0.01
    done
    fail "'$2' never came in ${1##*/}"
    tail -n 20 "$1"
}
