#!/bin/sh
# Reports type names that one crate defines more than once: a name has one meaning in a crate.
#
# Names in scripts/type-names.allowed may be defined more than once; each line there gives a reason.
# Types in tests are not counted.
set -eu
cd "$(dirname "$0")/.."
allowed=scripts/type-names.allowed
found=$(
    for crate in crates/*/; do
        name=$(basename "$crate")
        find "$crate/src" -name '*.rs' ! -name 'tests.rs' ! -path '*/tests/*' -exec awk -v crate="$name" '
            FNR == 1 { tests = 0 }
            /^mod tests \{/ { tests = 1 }
            tests { next }
            /^ *(pub(\([a-z:_ ]*\))? )?(struct|enum|trait) [A-Z]/ || /^(pub(\([a-z:_ ]*\))? )?type [A-Z]/ {
                line = $0
                sub(/^ *(pub(\([a-z:_ ]*\))? )?(struct|enum|trait|type) /, "", line)
                sub(/[^A-Za-z0-9_].*/, "", line)
                print crate, line
            }
        ' {} +
    done | sort | uniq -d
)
status=0
for crate in crates/*/; do
    name=$(basename "$crate")
    count=0
    for type in $(printf '%s\n' "$found" | awk -v crate="$name" '$1 == crate { print $2 }'); do
        if grep -q "^$name $type: ." "$allowed"; then
            count=$((count + 1))
        else
            echo "$name defines $type more than once; rename one, or give a reason in $allowed"
            status=1
        fi
    done
    if [ "$count" -ge 10 ]; then
        echo "$name has $count names in $allowed; want fewer than 10"
        status=1
    fi
done
exit $status
