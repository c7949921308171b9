#!/bin/sh
# Makes a Debian-like machine with Rust able to build Quark, its actors and its tests. Does what is
# missing and nothing else; silent when nothing is.
#
#   scripts/setup.sh [c] [languages] [fuzz]
#
# `c` adds what actors in C need, `languages` what those in Python and JavaScript need too, `fuzz` a
# C++ compiler, in which libFuzzer is written.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")

fail() { echo "setup: $*" >&2; exit 1; }

command -v cargo >/dev/null || fail "there is no Rust here; install it first: https://rustup.rs"

rust=$(cd "$root" && rustc -V | cut -d ' ' -f 2)
if [ "$(printf '%s\n%s\n' "$rust_wanted" "$rust" | sort -V | head -n 1)" != "$rust_wanted" ]; then
  fail "Quark needs Rust $rust_wanted or later and this is $rust; run: rustup update stable"
fi

packages=
command -v cc >/dev/null || packages="gcc libc6-dev"
command -v curl >/dev/null || packages="$packages curl ca-certificates"
case " $* " in
*" fuzz "*) command -v c++ >/dev/null || packages="$packages g++" ;;
esac
# The compiler for actors in C comes as a Python package.
case " $* " in
*" c "* | *" languages "*) python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3 python3-venv" ;;
esac
case " $* " in
*" languages "*)
  command -v node >/dev/null || packages="$packages nodejs"
  command -v npm >/dev/null || packages="$packages npm"
  ;;
esac
if [ -n "$packages" ]; then
  command -v apt-get >/dev/null || fail "install with this system's package manager:$packages"
  sudo=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "run as root: apt-get install$packages"
    sudo=sudo
  fi
  echo "setup: installing $packages"
  $sudo apt-get update -q
  # shellcheck disable=SC2086 # several packages
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
fi

for component in rustfmt clippy; do
  command -v "cargo-${component#rust}" >/dev/null && cargo "${component#rust}" --version >/dev/null 2>&1 && continue
  command -v rustup >/dev/null || fail "cargo ${component#rust} is missing; install $component beside this Rust"
  echo "setup: adding $component"
  rustup component add "$component"
done

"$root/scripts/setup-guests.sh"
