#!/bin/sh
# The compiler as `scripts/fuzz.sh` has cargo call it: Quark's own crates count the branches that
# they take and the values that they compare, for libFuzzer. The crates below them stay as they
# are, so that they are built once and run fast.
set -eu

case "${CARGO_PKG_NAME:-}" in
  quark-core | quark-engine | quark-silo) ;;
  *) exec "$@" ;;
esac
# What `cargo fuzz --sanitizer none` gives: LLVM's pass comes with the stable compiler.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
