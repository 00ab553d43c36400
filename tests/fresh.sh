#!/usr/bin/env bash
#
# fresh.sh [bookworm|trixie]: README's two commands on a newcomer's machine.
#
# Makes a bare Debian with debootstrap in a temporary folder, clones what is committed here into it,
# and runs ./run demo, ./run demo --chaos and ./run test there. The archive, proxies and the like are
# those of this machine's apt, read when it runs.
#
# Everything happens in mount and process namespaces of its own: its mounts are seen by nobody else
# and vanish with its last process, however it ends, so that removing the folder cannot reach
# through one of them. As root.

set -euo pipefail

say() { printf 'fresh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ---- Outside: the folder, and the namespaces ----

outside() {
    local suite=${1:-bookworm} status=0
    [[ $suite == bookworm || $suite == trixie ]] || die "no such Debian here: $suite (bookworm, trixie)"
    ((EUID == 0)) || die "must be root, for debootstrap and chroot"
    root=$(mktemp -d "${TMPDIR:-/tmp}/parley-fresh.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    unshare --mount --pid --fork --kill-child --propagation private \
        "$0" --inside "$suite" "$root" &
    namespaces=$!
    wait "$namespaces" || status=$?
    namespaces=''
    exit "$status"
}

root='' namespaces=''
clean_up() {
    local tries
    # Its death kills the first process inside, and that everything else there.
    if [[ -n $namespaces ]]; then
        kill -KILL "$namespaces" 2>/dev/null || true
        wait "$namespaces" 2>/dev/null || true
    fi
    for tries in 1 2 3 4 5; do
        rm -rf --one-file-system "$root" "$root.log" 2>/dev/null && return
        sleep "$tries" # the last of them are still writing
    done
    say "could not remove all of $root"
}

# ---- Inside ----

# The archive that this machine's own release comes from.
archive() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # Others' archives use the name as well: Debian's own first. (ORIGIN is last: it may be empty.)
    # shellcheck disable=SC2016 # the variables are apt's
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI) $(ORIGIN)' \
        'Created-By: Packages' |
        awk -v release="$codename" '$1 == release && $2 == "main" { print $4 != "Debian", $3 }' |
        sort -s -k 1,1 | awk 'NR == 1 { print $2 }'
}

security_archive() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 ~ /-security$/ && !found++ { print $2 }'
}

configure_apt() { # ROOT SUITE URI
    local root=$1 suite=$2 uri=$3 security
    security=$(security_archive)
    {
        echo "deb $uri $suite main"
        [[ -z $security ]] || echo "deb $security $suite-security main"
    } >"$root/etc/apt/sources.list"
    # How to reach it: proxies, and what else was needed here.
    apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|Force)' \
        >"$root/etc/apt/apt.conf.d/99host" || true
    [[ ! -e /etc/resolv.conf ]] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/hosts "$root/etc/hosts"
}

mount_all() { # ROOT
    local root=$1 node
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys" || say "no /sys inside: going on without"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for node in null zero full random urandom tty; do
        : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir -p "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts" # for `parley top`
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
}

in_root() { # ROOT COMMAND...
    local root=$1
    shift
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        "${proxies[@]}" sh -c 'cd /root/parley && exec "$@"' sh "$@" </dev/null
}

inside() {
    local suite=$1 root=$2 uri here variable
    here=$(cd "$(dirname "$0")/.." && pwd)
    uri=$(archive)
    [[ -n $uri ]] || die "cannot tell from apt's configuration where this machine's Debian comes from"
    proxies=()
    for variable in http_proxy https_proxy no_proxy; do
        [[ -z ${!variable:-} ]] || proxies+=("$variable=${!variable}")
    done

    say "making a bare $suite in $root"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$uri" \
        >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; rm -f "$root.log"; die "debootstrap failed"; }
    rm -f "$root.log"
    configure_apt "$root" "$suite" "$uri"
    mount_all "$root"
    [[ -z $(git -C "$here" -c safe.directory='*' status --porcelain) ]] ||
        say "note: what is not committed is not tested"
    git -c safe.directory='*' clone --quiet --no-hardlinks "file://$here" "$root/root/parley"

    local command
    for command in "./run demo" "./run demo --chaos" "./run test"; do
        say "$suite: $command"
        # shellcheck disable=SC2086 # words
        in_root "$root" $command || die "$suite: $command failed"
    done
    say "$suite: all passed"
}

if [[ ${1:-} == --inside ]]; then
    inside "$2" "$3"
else
    outside "$@"
fi
