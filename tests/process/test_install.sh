#!/usr/bin/env bash
#
# test_install.sh SOURCE BUILD SANITIZERS: a newcomer with an installed Parley.
#
# Installs into a temporary folder, takes the examples out of README.md as printed, builds them with
# README's own commands, that is with `pkg-config --cflags --libs parley` alone, and runs them
# against an installed parleyd; then upgrades the service as README says, under a client of the old
# version.
set -euo pipefail

source_dir=$1 build_dir=$2 sanitizers=$3
if [[ $sanitizers != none ]]; then
    echo "a plain program cannot link a library that is instrumented with $sanitizers"
    exit 77
fi
tmp=$(mktemp -d /tmp/parley-install.XXXXXX) # short: sockets are in it
pids=()
clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$tmp"
}
trap clean_up EXIT

fail() { echo "FAILED: $*"; exit 1; }
step() { echo "-- $*"; }

expect() { # PATTERN COMMAND...: the command succeeds and prints the pattern
    local pattern=$1 output
    shift
    output=$("$@" 2>&1) || fail "$* ended with $?: $output"
    [[ $output == $pattern ]] || fail "$* printed \"$output\", not \"$pattern\""
}

step "install"
DESTDIR=$tmp/dest meson install -C "$build_dir" --no-rebuild --quiet
pc=$(find "$tmp/dest" -name parley.pc)
[[ -n $pc ]] || fail "no parley.pc was installed"
prefix=$(sed -n 's/^prefix=//p' "$pc")
# It was installed for $prefix: make it believe that this is there.
sed -i "s#^prefix=.*#prefix=$tmp/dest$prefix#" "$pc"
root=$tmp/dest$prefix
export PATH=$root/bin:$PATH
export PKG_CONFIG_PATH=${pc%/*}
LD_LIBRARY_PATH=$(pkg-config --variable=libdir parley) # what ldconfig is for
export LD_LIBRARY_PATH
export PARLEY_DIR=$tmp/run
unset PARLEY_BROKER PARLEY_CONTROL PARLEY_EVENTS PARLEY_BUS

[[ $(pkg-config --variable=plugin parley) == "$root/bin/protoc-gen-parley" ]] || fail "plugin"
for file in lib*/*/libparley.so.0 bin/parleyd bin/parley share/man/man1/parley.1 \
    share/man/man7/parley.7 share/parley/schemas/parley/control.proto share/parley/parley.rules.yml \
    share/parley/parley-dashboard.json share/parley/parleyd.service share/parley/parley.sysusers; do
    compgen -G "$root/$file*" >/dev/null || compgen -G "$root/lib*/${file##*/}*" >/dev/null ||
        fail "$file was not installed"
done
objdump -p "$LD_LIBRARY_PATH/libparley.so" | grep 'SONAME *libparley.so.0$' >/dev/null || fail "soname"

step "take the examples out of README.md"
mkdir "$tmp/work"
cd "$tmp/work"
awk '
    /^```(c|proto|sh)$/ { block = 1; next }
    /^```/ { block = 0; name = "" }
    block == 1 { name = $2; block = 2; lines[name] = 0 }
    name != "" { print > name; lines[name]++ }
    END { for (name in lines) print lines[name], name > "lines" }' "$source_dir/README.md"
for file in greeter.proto service.c client.c build.sh greeter_v2.proto; do
    [[ -s $file ]] || fail "README.md has no $file"
done
while read -r count file; do
    [[ $file != *.c ]] || ((count < 40)) || fail "README's $file has $count lines: under 40 were promised"
done <lines

step "build them as README says"
sh -eu build.sh
# Not what README says, but what many a project would: with warnings; and from C++.
cc -std=c99 -Wall -Wextra -Werror -Wpedantic -Wno-unused-parameter -fsyntax-only service.c client.c \
    $(pkg-config --cflags parley)
echo '#include <parley/parley.h>' | c++ -x c++ -Wall -Wextra -Werror -fsyntax-only \
    $(pkg-config --cflags parley) -

step "run them"
coproc BROKER { exec parleyd; }
pids+=("$BROKER_PID")
read -r -t 30 line <&"${BROKER[0]}" || fail "parleyd does not say that it is ready"
[[ $line == "parleyd: ready"* ]] || fail "parleyd said: $line"
./service &
service=$!
pids+=("$service")
expect "Hello, Ada! (version 1.0.0 answered)" ./client Ada
if ./client '' >out 2>&1; then fail "a client without a name was served"; fi
grep -q "INVALID_ARGUMENT: .*say who you are" out || fail "no reason given: $(cat out)"
expect "*greeter*1.0.0*" parley ls
expect "*Hello, Bob!*" parley call greeter/Hello '{"name": "Bob"}'

step "upgrade"
protoc -I. -I"$(pkg-config --variable=schemadir parley)" --c_out=. --parley_out=. greeter_v2.proto
# The new service is the old one with the new version's names.
sed -e 's/greeter\.parley/greeter_v2.parley/; s/V1/V2/g; s/v1/v2/g; s/->name/->who/g' \
    -e 's/reply\.text/reply.greeting/; s/Hello, %s!/Good day, %s!/' service.c >service_v2.c
cc -o service_v2 service_v2.c greeter_v2.*.c $(pkg-config --cflags --libs parley)
./service_v2 &
service_v2=$!
pids+=("$service_v2")
for ((tries = 0; tries < 200; tries++)); do # until it is published
    [[ $(parley ls) == *2.0.0* ]] && break
done
parley route greeter 1.0.0=0 2.0.0=100 >/dev/null
expect "Good day, Ada! (version 2.0.0 answered)" ./client Ada
kill -TERM "$service"
wait "$service" || fail "the drained service ended with $?"
expect "Good day, Ada! (version 2.0.0 answered)" ./client Ada

step "both versions by names without one"
mkdir api
cp greeter.proto api/greeter_v1.proto
cp greeter_v2.proto api/
(cd api && protoc -I. -I"$(pkg-config --variable=schemadir parley)" --c_out=. --parley_out=. \
    --parley_opt=aliases greeter_v1.proto greeter_v2.proto)
sed -e 's/Greeter__V1__/Greeter__/g; s/GREETER__V1__/GREETER__/g; s/greeter__v1__/greeter__/g' \
    client.c >api/client.c
cc -c -Werror -o api/default.o api/client.c $(pkg-config --cflags parley)
cc -c -Werror -DGREETER_API=1 -o api/one.o api/client.c $(pkg-config --cflags parley)
if cc -c -DGREETER_API=2 -o api/two.o api/client.c $(pkg-config --cflags parley) 2>errors; then
    fail "what version 2 renamed was not noticed"
fi
sed -i -e 's/request\.name/request.who/; s/reply->text/reply->greeting/' api/client.c
cc -Werror -DGREETER_API=2 -o client_v2 api/client.c api/greeter_v*.c \
    $(pkg-config --cflags --libs parley)
expect "Good day, Ada! (version 2.0.0 answered)" ./client_v2 Ada

step "stop"
kill -TERM "$service_v2" "$BROKER_PID"
wait "$service_v2" || fail "the service ended with $?"
echo "passed"
