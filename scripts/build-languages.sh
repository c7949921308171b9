#!/bin/sh
# Builds the sample actors that are not in Rust into target/actors/NAME.wasm: those of all languages,
# or of those named.
#
#   scripts/build-languages.sh [c] [python] [javascript] [python-async]
#
# `python-async` is some of those in Python in the flavour `async func`; it needs a built `quark`, which prints the contract.
# The tools go into target/languages, in the versions that sample-actors/LANGUAGE pins. Silent when
# nothing changed, else one line for each new file.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
tools=$root/target/languages
out=$root/target/actors
cd "$root/sample-actors"
mkdir -p "$tools" "$out"

fail() { echo "build-languages: $*" >&2; exit 1; }

# has_changed OUTPUT SOURCE...: whether it must be built, from these and from the contract.
has_changed() {
  output=$1
  shift
  [ ! -f "$output" ] || [ -n "$(find -L "$@" "$root/wit" "$root/scripts/build-languages.sh" -newer "$output" -print -quit)" ]
}

# publish NAME: puts what was built in its place, whole.
publish() {
  mv "$out/.$1.wasm" "$out/$1.wasm"
  echo "$1.wasm $(( ($(wc -c <"$out/$1.wasm") + 1023) / 1024 )) KiB"
}

# python_tools FOLDER REQUIREMENTS: a virtual environment with these packages.
python_tools() {
  [ -f "$1/done" ] && cmp -s "$2" "$1/done" && return
  command -v python3 >/dev/null || fail "there is no python3; install Python 3.11 or later"
  rm -rf "$1"
  python3 -m venv "$1" || fail "python3 cannot make virtual environments; on Debian: apt-get install python3-venv"
  "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
  cp "$2" "$1/done"
}

# c_actor NAME WIT WORLD SOURCE
c_actor() {
  has_changed "$out/$1.wasm" c "$2" || return 0
  python_tools "$tools/c" c/requirements.txt
  wit_bindgen=$(cat c/wit-bindgen-version)
  if [ "$("$tools/wit-bindgen/bin/wit-bindgen" --version 2>/dev/null)" != "wit-bindgen-cli $wit_bindgen" ]; then
    cargo install --quiet --locked --root "$tools/wit-bindgen" --target-dir "$tools/wit-bindgen/target" \
      --no-default-features --features c "wit-bindgen-cli@$wit_bindgen"
    rm -rf "$tools/wit-bindgen/target"
  fi
  bindings=$tools/$1
  "$tools/wit-bindgen/bin/wit-bindgen" c "$2" -w "$3" --out-dir "$bindings" >/dev/null 2>&1 ||
    fail "wit-bindgen c found something wrong: wit-bindgen c sample-actors/$2 -w $3"
  generated=$bindings/$(echo "$3" | tr - _)
  "$tools/c/bin/python" -m ziglang cc --target=wasm32-wasi -mexec-model=reactor -Oz -s -Wall -Wextra -Werror \
    -I "$bindings" "$4" "$generated.c" "${generated}_component_type.o" -o "$out/.$1.wasm"
  publish "$1"
}

build_c() {
  c_actor die pig/wit die-actor c/die/die.c
  c_actor c-ping-pong ping-pong/wit ping-pong-actor c/ping-pong/ping_pong.c
}

# python_actor NAME WIT WORLD FOLDER MODULE
python_actor() {
  has_changed "$out/$1.wasm" python "$2" "$root/guest-sdk/python/quark_actor" || return 0
  python_tools "$tools/python" python/requirements.txt
  "$tools/python/bin/componentize-py" --quiet -d "$2" -w "$3" \
    componentize -p "$4" -p "$root/guest-sdk/python" -o "$out/.$1.wasm" "$5"
  publish "$1"
}

build_python() {
  python_actor game pig/wit game-actor python/game games
  python_actor python-foreman foreman/wit foreman-small python/foreman foremen
  python_actor python-digest digest/wit digest-small python/digest digests
  python_actor python-ledger ledger/wit ledger-small python/ledger ledgers
  python_actor python-rogue python/rogue/wit rogue-actor python/rogue python_rogues
  python_actor python-ping-pong ping-pong/wit python-actor python/ping-pong ping_pongs
}

# async_wit FOLDER WIT [DEPENDENCY]: the contract in its other flavour, and WIT of samples with `async func` for each `func`.
# A folder that has all that already stays as it is.
async_wit() {
  rm -rf "$1.new"
  mkdir -p "$1.new/deps"
  "$quark" wit --async --out "$1.new/deps/quark-actor"
  [ $# -lt 3 ] || sed 's/: func(/: async func(/' "$3/wit/$3.wit" >"$1.new/deps/sample-$3.wit"
  sed 's/: func(/: async func(/' "$2/wit/$2.wit" >"$1.new/$2.wit"
  if diff -r "$1" "$1.new" >/dev/null 2>&1; then
    rm -rf "$1.new"
  else
    rm -rf "$1"
    mv "$1.new" "$1"
  fi
}

build_python_async() {
  quark=${QUARK_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/quark}
  [ -x "$quark" ] || fail "$quark is not there; build it, or name it in QUARK_BIN"
  async_wit "$tools/pig-async" pig counter
  python_actor game-async "$tools/pig-async" game-actor python/game-async games
  async_wit "$tools/foreman-async" foreman crew
  python_actor python-foreman-async "$tools/foreman-async" foreman-small python/foreman-async foremen
  async_wit "$tools/digest-async" digest
  python_actor python-digest-async "$tools/digest-async" digest-small python/digest-async digests
  async_wit "$tools/ledger-async" ledger
  python_actor python-ledger-async "$tools/ledger-async" ledger-small python/ledger-async ledgers
}

# javascript_actor NAME WIT WORLD SOURCE
javascript_actor() {
  has_changed "$out/$1.wasm" javascript "$2" "$root/guest-sdk/js" || return 0
  if ! cmp -s javascript/package-lock.json "$tools/javascript/done"; then
    command -v npm >/dev/null || fail "there is no npm; install Node.js 18 or later with npm"
    mkdir -p "$tools/javascript"
    cp javascript/package.json javascript/package-lock.json "$tools/javascript"
    (cd "$tools/javascript" && npm ci --silent --no-audit --no-fund)
    cp javascript/package-lock.json "$tools/javascript/done"
  fi
  # What it imports by path must be below the folder that it is built in.
  cp javascript/build.mjs "$tools/javascript"
  (cd "$root" && node "$tools/javascript/build.mjs" "sample-actors/$4" "sample-actors/$2" "$3" "$out/.$1.wasm")
  publish "$1"
}

build_javascript() {
  javascript_actor player pig/wit player-actor javascript/player/player.js
  javascript_actor javascript-foreman foreman/wit foreman-small javascript/foreman/foreman.js
  javascript_actor javascript-digest digest/wit digest-small javascript/digest/digest.js
  javascript_actor javascript-ledger ledger/wit ledger-small javascript/ledger/ledger.js
  javascript_actor javascript-rogue javascript/rogue/wit rogue-actor javascript/rogue/rogue.js
}

[ $# -gt 0 ] || set -- c python javascript python-async
for language; do
  case $language in
  c | python | javascript) "build_$language" ;;
  python-async) build_python_async ;;
  *) fail "no language '$language'; there are: c python javascript python-async" ;;
  esac
done
