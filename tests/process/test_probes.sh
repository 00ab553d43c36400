#!/bin/sh
#
# test_probes.sh FILE NAMES...: the probes of a program or library, as tracers see them.
#
# Each must be in the ELF notes of FILE with the number of arguments that docs/WATCHING.md tells
# (NAME:COUNT), none may have a semaphore (it would be a load and a branch), and none other is there.
# Exits with 77 if FILE was built without <sys/sdt.h>.
set -eu

file=$1
shift
command -v readelf >/dev/null || { echo "readelf is not installed (binutils)"; exit 77; }
notes=$(readelf -nW "$file")
case $notes in
*stapsdt*) ;;
*)
    echo "built without sys/sdt.h (systemtap-sdt-dev)"
    exit 77
    ;;
esac
status=0
# NAME:COUNT of each place, and whether all are alike.
found=$(printf '%s\n' "$notes" | awk '
    /Provider: / { provider = $NF }
    /Name: / { name = $NF }
    /Semaphore: / { if ($NF !~ /^0x0+$/) print "semaphore:" name }
    /Arguments:/ { if (provider == "parley") print name ":" (NF - 1) }' | sort -u)
for want in "$@"; do
    printf '%s\n' "$found" | grep -qx "$want" || { echo "no probe $want"; status=1; }
done
for is in $found; do
    case " $* " in
    *" $is "*) ;;
    *)
        echo "there is $is, which nobody documents"
        status=1
        ;;
    esac
done
printf '%s\n' "$found"
exit $status
