#!/usr/bin/env bash
# Everything CI checks, stage by stage: one line each, with its time. A stage that fails prints its
# output; those after it still run, unless they need it. Logs are in target/test-logs.
#
#   scripts/test.sh            all stages
#   scripts/test.sh STAGE...   setup and those
#   scripts/test.sh languages  actors in Python, JavaScript and C; not among all: their tools are large
set -uo pipefail

cd "$(dirname "$0")/.." || exit
target=${CARGO_TARGET_DIR:-$PWD/target}
guests=$target/guests
logs=$target/test-logs
mkdir -p "$logs"

# All crates of the workspace are always built together: one set of features, one build.
all=(--locked --workspace --all-targets)
guest_workspaces=(guest-sdk/rust sample-actors)

if cargo nextest --version >/dev/null 2>&1; then runner=nextest; else runner=cargo; fi

setup() { scripts/setup.sh c; }

fmt() {
  cargo fmt --all --check || return
  for workspace in "${guest_workspaces[@]}"; do (cd "$workspace" && cargo fmt --all --check) || return; done
  (cd tests/fuzz/libfuzzer && cargo fmt --check)
}

licences() { scripts/licences.sh; }

samples() { scripts/build-actors.sh && scripts/build-languages.sh c; }

clippy() {
  cargo clippy --quiet "${all[@]}" -- -D warnings || return
  for workspace in "${guest_workspaces[@]}"; do
    (cd "$workspace" && CARGO_TARGET_DIR=$guests cargo clippy --quiet "${all[@]}" -- -D warnings) || return
    (cd "$workspace" && CARGO_TARGET_DIR=$guests cargo clippy --quiet "${all[@]}" --all-features -- -D warnings) || return
  done
}

build() { cargo build --quiet "${all[@]}"; }

# Runs the tests of the named packages, or with `except` of all others.
tests() {
  if [ "$runner" = nextest ]; then
    local filter='none()' except='' package
    [ "$1" = except ] && { except='not '; shift; }
    for package; do filter="$filter | package($package)"; done
    cargo nextest run --locked --workspace --no-fail-fast --status-level fail --final-status-level fail \
      -E "$except($filter)"
  elif [ "$1" = except ]; then
    # Without nextest a package cannot be left out and the features kept: their libraries only.
    cargo test --quiet --locked --workspace --lib --bins --no-fail-fast
  else
    cargo test --quiet --locked "${@/#/-p}" --no-fail-fast
  fi
}

unit() { tests except quark-sim quark-e2e; }

guest() {
  for workspace in "${guest_workspaces[@]}"; do
    (cd "$workspace" && CARGO_TARGET_DIR=$guests cargo test --quiet --locked --workspace) || return
  done
  # The SDK has tests of either flavour.
  (cd guest-sdk/rust && CARGO_TARGET_DIR=$guests cargo test --quiet --locked --workspace --all-features)
}

sim() { tests quark-sim; }

e2e() { scripts/setup-openapi.sh && tests quark-e2e; }

# What actors do, once more with those that have an `async` flavour in that one.
e2e_async() {
  local about=(calls:: blobs:: durability:: hostile:: lifecycle:: state:: stacks:: supervisors:: tells:: trees::)
  local actors=$target/async-actors
  mkdir -p "$actors/async"
  cp "$target"/actors/*.wasm "$actors" && cp "$target"/actors/async/*.wasm "$actors" &&
    cp "$target"/actors/async/*.wasm "$actors/async" || return
  if [ "$runner" = nextest ]; then
    QUARK_ACTORS=$actors cargo nextest run --locked --workspace --no-fail-fast --status-level fail \
      --final-status-level fail -E 'package(quark-e2e)' -- "${about[@]}"
  else
    QUARK_ACTORS=$actors cargo test --quiet --locked -pquark-e2e --no-fail-fast -- "${about[@]}"
  fi
}

languages() {
  scripts/setup.sh languages || return
  python3 -m unittest discover -s guest-sdk/python/tests && node --test guest-sdk/js/tests/ || return
  scripts/build-languages.sh || return
  # Code that was compiled for components of long ago.
  find "$target/actors/compiled" -name '*.cwasm' -mtime +7 -delete 2>/dev/null
  if [ "$runner" = nextest ]; then
    cargo nextest run --locked --workspace --run-ignored only --no-fail-fast --status-level fail \
      --final-status-level fail -E 'package(quark-e2e) & test(/^languages::/)'
  else
    cargo test --locked -p quark-e2e --test it -- --ignored languages:: | tee /dev/stderr |
      grep 'result: ok. [1-9]' >/dev/null
  fi
}

doc() { RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --no-deps --workspace; }

# A run that prints no row has measured nothing.
bench_smoke() { "$target/debug/quark-bench" --smoke | tee /dev/stderr | grep . >/dev/null; }

stages=(setup fmt licences samples clippy build unit guest sim e2e e2e_async doc bench_smoke)
if [ $# -gt 0 ]; then
  stages+=(languages)
  for wanted; do
    [[ " ${stages[*]} " = *" $wanted "* ]] || { echo "test: no stage '$wanted'; there are: ${stages[*]}" >&2; exit 2; }
  done
  stages=(setup "$@")
fi

passed=0
failed=()
for stage in "${stages[@]}"; do
  log=$logs/$stage.log
  SECONDS=0
  # A stage must not wait for somebody at the terminal.
  if "$stage" >"$log" 2>&1 </dev/null; then result=ok; else result=FAILED; fi
  # What its tests came to, where it has any.
  count=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
    sub(/^ *Summary \[[^]]*\] */, "") { print; exit }
    /^test result: / { passed += $4; failed += $6; any = 1 }
    END { if (any) print passed " passed, " failed " failed" }')
  printf '%-12s %-6s %4ds  %s\n' "$stage" "$result" "$SECONDS" "$count"
  if [ "$result" = ok ]; then
    passed=$((passed + 1))
    continue
  fi
  failed+=("$stage")
  echo "---- output of $stage, whole in $log"
  tail -n 400 "$log"
  echo "---- end of $stage"
  [[ "$stage" = setup || "$stage" = build ]] && break
done

[ ${#failed[@]} = 0 ] || echo "failed: ${failed[*]}"
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} = 0 ]
