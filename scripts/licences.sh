#!/bin/sh
# Checks that every crate we build on has a licence that .cargo/deny.toml allows and comes from
# crates.io: for the host, the SDK, the samples and the fuzzer, on every target, with every feature. Needs
# cargo alone: to build cargo-deny takes longer than all the rest of `make check`.
#
#   scripts/licences.sh
set -eu

cd "$(dirname "$0")/.."
allowed=$(sed -n '/^allow = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' .cargo/deny.toml)
[ -n "$allowed" ] || { echo "licences: no list 'allow' in .cargo/deny.toml" >&2; exit 2; }
status=0

for workspace in . guest-sdk/rust sample-actors tests/fuzz/libfuzzer; do
  strange=$(sed -n 's/^source = "\(.*\)"$/\1/p' "$workspace/Cargo.lock" |
    grep -v '^registry+https://github.com/rust-lang/crates.io-index$' | sort -u) || :
  [ -z "$strange" ] || { echo "licences: $workspace/Cargo.lock takes code from $strange, only crates.io is allowed" >&2; status=1; }

  tree=$(cd "$workspace" && cargo tree --locked --workspace --all-features --target all --edges all \
    --prefix none --format '{l};{p}')
  # Each line is `LICENCE;NAME VERSION`. An expression is fine if one of its alternatives is.
  printf '%s\n' "$tree" | sed "s, (\*)$,,; s, (/.*,," | sort -u | ALLOWED=$allowed awk -F ';' -v workspace="$workspace" '
    BEGIN {
      n = split(ENVIRON["ALLOWED"], names, "\n")
      for (i = 1; i <= n; i++) fine[names[i]] = 1
    }
    function next_word() { return at <= words ? word[at] : "" }
    function either(   ok) {
      ok = both()
      while (next_word() == "OR") { at++; ok = both() || ok }
      return ok
    }
    function both(   ok) {
      ok = one()
      while (next_word() == "AND") { at++; ok = one() && ok }
      return ok
    }
    function one(   name, ok) {
      if (next_word() == "(") { at++; ok = either(); at++; return ok }
      name = word[at++]
      if (next_word() == "WITH") { name = name " WITH " word[at + 1]; at += 2 }
      return name in fine
    }
    $2 == "" { next }
    {
      crates++
      text = $1
      gsub("/", " OR ", text); gsub(/\(/, " ( ", text); gsub(/\)/, " ) ", text)
      sub(/^ +/, "", text)
      words = split(text, word, / +/)
      at = 1
      if (!either()) { bad = 1; printf "licences: %s has the licence \"%s\", which .cargo/deny.toml does not allow\n", $2, $1 }
    }
    END {
      printf "%s: %d crates\n", workspace, crates
      exit bad || crates == 0
    }
  ' || status=1
done
exit $status
