#!/bin/sh
# Builds the sample actors into target/actors/NAME.wasm: all of them, or those named. Those with a
# feature `async` are built a second time with it, into target/actors/async.
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

# keep FOLDER NAME...: what cargo built, into target/actors/FOLDER.
keep() {
  folder=$1; shift
  mkdir -p "$out/$folder"
  for name; do
    # Cargo's file names have no hyphens.
    built=$CARGO_TARGET_DIR/$GUEST_TARGET/release/$(echo "$name" | tr - _).wasm
    kept=$out/$folder$name.wasm
    if ! cmp -s "$built" "$kept"; then
      cp "$built" "$kept.new" && mv "$kept.new" "$kept"
      echo "$folder$name.wasm $(( ($(wc -c <"$built") + 1023) / 1024 )) KiB"
    fi
  done
}

guest_cargo build --quiet --release $packages
keep "" "$@"

asynchronous=
packages=
for name; do
  if grep -q '^async = ' "$name/Cargo.toml"; then
    asynchronous="$asynchronous $name"
    packages="$packages -p $name --features $name/async"
  fi
done
if [ -n "$asynchronous" ]; then
  # A folder of its own, or the two flavours would be built over one another.
  CARGO_TARGET_DIR=$CARGO_TARGET_DIR/async
  guest_cargo build --quiet --release $packages
  keep async/ $asynchronous
fi
