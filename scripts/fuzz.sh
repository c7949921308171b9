#!/usr/bin/env bash
# Looks for inputs that the parsers of Quark do not stand, guided by coverage (libFuzzer).
#
#   scripts/fuzz.sh                   every target, five minutes each
#   scripts/fuzz.sh TARGET [SECONDS]  that one
#
# What it learns is kept in target/fuzz/corpus, what it finds in target/fuzz/found. The inputs in
# tests/fuzz/corpus are where it begins, and what every run of the tests goes through.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
work=${CARGO_TARGET_DIR:-$root/target}/fuzz
# An input of more bytes, time or memory says nothing that a smaller one does not.
input_bytes_max=4096
run_seconds_max=10
memory_mib_max=4096

wanted=${1:-}
seconds=${2:-300}
mapfile -t targets < <(cd tests/fuzz/corpus && printf '%s\n' *)
if [ -n "$wanted" ]; then
  [[ " ${targets[*]} " = *" $wanted "* ]] || { echo "fuzz: no target '$wanted'; there are: ${targets[*]}" >&2; exit 2; }
  targets=("$wanted")
fi
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: '$seconds' is no number of seconds" >&2; exit 2; }

RUSTC_WRAPPER=$root/scripts/fuzz-rustc.sh CARGO_TARGET_DIR=$work/build \
  cargo build --release --locked --manifest-path tests/fuzz/libfuzzer/Cargo.toml

failed=()
for target in "${targets[@]}"; do
  seeds=$root/tests/fuzz/corpus/$target
  learned=$work/corpus/$target
  found=$work/found/$target
  log=$work/$target.log
  mkdir -p "$learned" "$found"
  echo "fuzz: $target for $seconds s, log in $log"
  if ! QUARK_FUZZ_TARGET=$target "$work/build/release/quark-fuzz" "$learned" "$seeds" \
    -max_total_time="$seconds" -max_len="$input_bytes_max" -timeout="$run_seconds_max" \
    -rss_limit_mb="$memory_mib_max" -artifact_prefix="$found/" -print_final_stats=1 >"$log" 2>&1; then
    failed+=("$target")
    tail -n 40 "$log"
    echo "fuzz: $target failed; the input is in $found. Keep it as a test: copy it into tests/fuzz/corpus/$target," \
      "see it fail with 'scripts/test.sh unit', and mend what it shows" >&2
  fi
  grep -E '^#[0-9]+.*DONE|number_of_executed_units|average_exec_per_sec' "$log" || true
done
[ ${#failed[@]} = 0 ] || { echo "fuzz: failed: ${failed[*]}" >&2; exit 1; }
