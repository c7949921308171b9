#!/bin/sh
# Builds the sample actors into target/actors/NAME.wasm: all of them, or those named.
#
#   scripts/build-actors.sh [NAME...]
#
# Silent when nothing changed, else one line for each new file. QUARK_GUEST_FALLBACK=1 forces the
# second way of setup-guests.sh. CARGO_TARGET_DIR moves the guests' build folder.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/target/actors
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target/guests}"

"$root/scripts/setup-guests.sh"
. "$root/scripts/setup-guests.sh"

cd "$root/sample-actors"
[ $# -gt 0 ] || set -- $(ls -d */Cargo.toml | sed 's,/.*,,')
packages=
for name; do
  [ -f "$name/Cargo.toml" ] || { echo "build-actors: no sample '$name' in $root/sample-actors" >&2; exit 2; }
  packages="$packages -p $name"
done

guest_cargo build --quiet --release $packages

mkdir -p "$out"
for name; do
  built=$CARGO_TARGET_DIR/$GUEST_TARGET/release/$name.wasm
  if ! cmp -s "$built" "$out/$name.wasm"; then
    cp "$built" "$out/.$name.wasm" && mv "$out/.$name.wasm" "$out/$name.wasm"
    echo "$name.wasm $(( ($(wc -c <"$built") + 1023) / 1024 )) KiB"
  fi
done
