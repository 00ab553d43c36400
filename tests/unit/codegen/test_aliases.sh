#!/usr/bin/env bash
#
# test_aliases.sh CC FOLDER INCLUDE...: the alias header of the shop, and what both plugins declared.
#
# For each version: the targets of its aliases are exactly the names that the headers declare, not
# one more and not one less; and each alias is its target without the version. Then what a define
# that no version has is answered with.
set -euo pipefail

cc=$1 folder=$2
shift 2
includes=(-I"$folder")
for include in "$@"; do includes+=(-I"$include"); done
header=$folder/shop.parley.h
fail() { echo "FAILED: $*"; exit 1; }

# Names of version $1 in the headers behind it. What forces the size of an enum is protobuf-c's own.
declared() {
    local version=$1
    shift
    sed -e 's/PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE([^)]*)//' -e '/^ \* /d' -e '/^\/\*/d' "$@" |
        grep -oE "\b(shop__v|Shop__V|SHOP__V)$version""__\w+" | sort -u
}
aliased() { sed -nE "s/^#define \w+ ((shop__v|Shop__V|SHOP__V)$1""__\w+)\$/\1/p" "$header" | sort; }

for version in 1 2; do
    headers=("$folder/shop_v$version.pb-c.h" "$folder/shop_v$version.parley.h")
    [[ $version == 2 ]] || headers+=("$folder/shop_types.pb-c.h")
    declared $version "${headers[@]}" >declared.$$
    aliased $version >aliased.$$
    [[ $(wc -l <aliased.$$) -ge 20 ]] || fail "version $version has $(wc -l <aliased.$$) aliases"
    diff declared.$$ aliased.$$ || fail "version $version: what is declared (<) is not what is aliased (>)"
    rm -f declared.$$ aliased.$$
done
while read -r _ name target; do
    [[ $name == SHOP_API ]] || [[ $target =~ ^(.*)__[vV][12](__.*)$ &&
        $name == "${BASH_REMATCH[1]}${BASH_REMATCH[2]}" ]] || fail "$name is made $target"
done < <(grep -E '^#define \w+ \w+$' "$header")

compile() { "$cc" -std=c99 -fsyntax-only -Wall -Wextra -Werror "${includes[@]}" "$@" 2>&1; }
for api in 0 3 '' two; do
    if output=$(compile "-DSHOP_API=$api" -x c "$header"); then fail "SHOP_API=$api is accepted"; fi
    [[ $output == *"no version of interface shop that is known here: 1 (1.2.0), 2 (2.0.0)"* ]] ||
        fail "SHOP_API=$api: $output"
done
for api in 1 2; do
    output=$(compile "-DSHOP_API=$api" -Wundef -x c "$header") || fail "SHOP_API=$api: $output"
done
echo "passed"
