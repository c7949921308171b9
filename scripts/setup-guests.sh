#!/bin/sh
# Makes this machine able to build guests, in one of two ways:
#
#   1. rustup's wasm32-wasip2 target: components come out of cargo as they are;
#   2. where rustup cannot fetch it, Debian's rustc-web, cargo-web and rust-web-src build std and
#      the guest for wasm32-unknown-unknown: a core module with embedded WIT, which
#      `quark deploy` makes into a component. Linked by the rust-lld of the rustup toolchain.
#
# QUARK_GUEST_FALLBACK=1 forces the second way. Silent when there is nothing to do.
#
# A script that builds guests runs this one, then sources it, and gets GUEST_TARGET (the target's
# name and folder) and guest_cargo (cargo, with what that target needs).

guest_has_wasip2() {
  [ -z "${QUARK_GUEST_FALLBACK:-}" ] && [ -d "$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null)" ]
}

guest_has_fallback() {
  [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std" ]
}

if guest_has_wasip2; then
  GUEST_TARGET=wasm32-wasip2
  guest_cargo() { guest_command=$1; shift; cargo "$guest_command" --target "$GUEST_TARGET" "$@"; }
else
  GUEST_TARGET=wasm32-unknown-unknown
  guest_cargo() {
    guest_command=$1; shift
    PATH="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin:$PATH" \
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
      /usr/bin/cargo "$guest_command" --target "$GUEST_TARGET" \
        -Zbuild-std=std,panic_abort "$@"
  }
fi

guest_setup() {
  command -v rustup >/dev/null || { echo "setup-guests: install Rust first: https://rustup.rs" >&2; return 1; }
  if [ -z "${QUARK_GUEST_FALLBACK:-}" ]; then
    guest_has_wasip2 && return
    echo "setup-guests: adding the target wasm32-wasip2"
    rustup target add wasm32-wasip2 && return
    echo "setup-guests: rustup could not fetch it, trying Debian's packages" >&2
  fi
  guest_has_fallback && return
  command -v apt-get >/dev/null || {
    echo "setup-guests: neither rustup nor apt-get can give a compiler for wasm32; try 'rustup target add wasm32-wasip2' on a network that reaches static.rust-lang.org" >&2
    return 1
  }
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends rustc-web cargo-web rust-web-src
  guest_has_fallback || { echo "setup-guests: rustc-web is installed, but its standard library's source is not where it should be" >&2; return 1; }
}

case $0 in
*setup-guests.sh) set -eu; guest_setup ;;
esac
