#!/bin/sh
#
# test_exports.sh LIBRARY MAP HEADERS...: three lists of the same functions.
#
# What libparley.so exports, what bus/libparley.map lists, and what the public headers mark
# PARLEY_API must be the same; and nothing beside it is visible.
set -eu

library=$1 map=$2
shift 2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# "name@@PARLEY_0.1" in newer binutils; the name of the version itself is an absolute symbol.
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    sort >"$tmp/exported"
sed -n 's/^ *\(parley_[a-z0-9_]*\);.*/\1/p' "$map" | sort >"$tmp/listed"
# Declarations may go over several lines: join them up to the semicolon.
cat "$@" | tr '\n' ' ' | grep -o 'PARLEY_API [^;]*;' | grep -v '__attribute__' |
    sed 's/^\([^(]*\)(.*/\1/; s/.*[ *]//' | sort >"$tmp/declared"

[ -s "$tmp/declared" ] || { echo "found no PARLEY_API in $*"; exit 1; }
status=0
diff -u "$tmp/listed" "$tmp/exported" || { echo "^ map against library"; status=1; }
diff -u "$tmp/declared" "$tmp/listed" || { echo "^ headers against map"; status=1; }
echo "$(wc -l <"$tmp/exported") functions exported"
exit $status
