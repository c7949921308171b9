#!/usr/bin/env bash
# Shows what Quark does, and checks every result that it shows: builds, starts a silo on the
# embedded store in a temporary folder on a free port, deploys the sample actors, calls them, kills
# the silo, starts it again and finds their state. Exits with 0 if all was as it should be.
#
# It builds for development: a release build optimises everything, and takes far longer from nothing.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
quark_binary=${CARGO_TARGET_DIR:-target}/debug/quark
actors=target/actors
folder=
silo=
number=0

finish() {
  local code=$?
  trap - EXIT
  if [ -n "$silo" ]; then
    kill -KILL "$silo" 2>/dev/null
    wait "$silo" 2>/dev/null
  fi
  if [ "$code" != 0 ] && [ -s "$folder/log" ]; then
    echo "---- the end of the silo's log"
    tail -n 40 "$folder/log"
  fi
  [ -z "$folder" ] || rm -rf "$folder"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wrong() { echo; echo "demo: NOT as expected: $*" >&2; exit 1; }
step() { number=$((number + 1)); echo; echo "$number. $1"; }
why() { echo "   -> $*"; }
quark() { "$quark_binary" "$@"; }

# expect CODE PATTERN COMMAND...: shows the command and what it printed, and checks both.
expect() {
  local code=$1 pattern=${2//[/\\[} shown=' ' word output came
  shift 2
  for word; do
    case $word in
    *[!A-Za-z0-9/_.:=-]*) shown="$shown'$word' " ;;
    *) shown="$shown$word " ;;
    esac
  done
  echo "   \$${shown% }"
  output=$("$@" 2>&1)
  came=$?
  echo "${output//$'\r'/}" | sed 's/^/     /'
  [ "$came" = "$code" ] || wrong "exit code $came instead of $code"
  # shellcheck disable=SC2053 # a pattern
  [[ $output == $pattern ]] || wrong "it should be like: $pattern"
}

# A tell is handled after its sender was answered: waits until the money has arrived.
settled() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    [ "$(quark call account/ann audit '["bob"]' 2>/dev/null)" != "$1" ] || break
    sleep 0.1
  done
  expect 0 "$1" quark call account/ann audit '["bob"]'
}

# The same for what comes about by itself: tries for ten seconds.
eventually() {
  local given=$1 pattern=${1//[/\\[} tries
  shift
  for ((tries = 0; tries < 100; tries++)); do
    # shellcheck disable=SC2053 # a pattern
    [[ $("$@" 2>&1) != $pattern ]] || break
    sleep 0.1
  done
  expect 0 "$given" "$@"
}

start_silo() {
  : >"$folder/out"
  "$quark_binary" silo --data "$folder/data" --http 127.0.0.1:0 >"$folder/out" 2>>"$folder/log" &
  silo=$!
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    QUARK_URL=$(sed -n 's/^listening on //p' "$folder/out")
    [ -z "$QUARK_URL" ] || break
    kill -0 "$silo" 2>/dev/null || wrong "the silo did not start"
    sleep 0.1
  done
  [ -n "$QUARK_URL" ] || wrong "the silo did not listen within 30 s"
  export QUARK_URL
  echo "   quark silo --data DIR: pid $silo, $QUARK_URL"
}

echo "Building quark and the sample actors (the first time takes minutes)"
SECONDS=0
scripts/setup.sh || exit
# All crates with one set of features, so that `make test` need not build them again.
cargo build --quiet --locked --workspace --bins || exit
scripts/build-actors.sh || exit
echo "   built in $SECONDS s"

folder=$(mktemp -d "${TMPDIR:-/tmp}/quark-demo.XXXXXX") || exit
# The silo publishes its token to its own user's command line: here, to this demo only.
export XDG_CONFIG_HOME=$folder/config
unset QUARK_TOKEN
SECONDS=0

step "A silo on the embedded store"
start_silo
why "the first start made the data folder and an admin token that only its owner can read"

step "Nine components are deployed"
for sample in hello counter bank zoo rogue relay crew digest ledger; do
  manifest=sample-actors/$sample/actor.toml
  [ "$sample" = crew ] || manifest=
  line=$(quark deploy "$actors/$sample.wasm" ${manifest:+--manifest "$manifest"} 2>&1) || wrong "$line"
  echo "   \$ quark deploy $sample.wasm${manifest:+ --manifest $manifest}"
  echo "${line%%$'\n'*}" | sed 's/^/     /'
  [[ $line == deployed* ]] || wrong "it should be deployed"
done
why "each was checked, compiled once and kept; its kinds answer from now on"

step "Actors answer; nobody created them"
expect 0 'ok("Hello, Ada! I am world.")' quark call greeter/world greet '"Ada"'
expect 0 'ok(5)' quark call counter/alice increment 5
expect 0 '{"ok":10}' quark call counter/alice increment --json '[5]'
expect 0 '{"ok":15}' curl -sS -H 'content-type: application/json' -d '[5]' "$QUARK_URL/v1/actors/counter/alice/increment"
expect 1 'err(overflow)' quark call counter/alice increment 18446744073709551615
why "WAVE, JSON and HTTP reach the same actor; its own error is exit code 1, and its state stays"

step "Arguments are checked by the method's types before an actor sees them"
expect 2 '*expected u64*' quark call counter/alice increment '"five"'
expect 0 'ok({x: 1, y: -2})' quark call zoo/z echo-record '{x: 1, y: -2}'
expect 0 'ok(polygon([{x: 0, y: 1}, {x: 2, y: 3}]))' quark call zoo/z echo-variant 'polygon([{x: 0, y: 1}, {x: 2, y: 3}])'

step "Actors call actors"
expect 0 'ok(18)' quark call relay/r increment-on '"alice"' 3
why "relay imports the counter's interface; the call went from actor to actor by its types"

step "Money moves: a withdrawal here, a tell with the deposit there"
expect 0 'ok(100)' quark call account/ann deposit 100
expect 0 'ok(70)' quark call account/ann transfer '"bob"' 30
settled 'ok(100)'
why "the withdrawal and the tell were one commit; the sum of both accounts is what came in"

step "A call may come back to an actor that waits for it"
expect 0 'ok(2)' quark call relay/a chain '["b", "a"]'
why "a waits for b, b calls a again: that call is a turn inside of the one that waits, since its path says so"

step "A deadlock is an answer, not a hang: two actors that wait for each other are told both paths"
for round in 1 2 3 4 5 6 7 8 9 10; do
  # Both hold their turns until the same slow actor has answered; then each calls the other.
  gate="\"slow-activate-$round\""
  quark call relay/a chain-after "$gate" '["b"]' >"$folder/a" 2>&1 &
  first=$!
  quark call relay/b chain-after "$gate" '["a"]' >"$folder/b" 2>&1
  wait "$first"
  grep -q deadlock "$folder/a" "$folder/b" && break
done
grep -h . "$folder/a" "$folder/b" | sed 's/^/     /'
grep -q 'chain, while relay/.*chain-after -> relay/' "$folder/a" "$folder/b" || wrong "neither was told of the other"
why "whichever called last was refused at once, and the other one went on"

step "A trap ends one actor's turn and nothing else"
expect 3 '*failed*on purpose*' quark call rogue/bad trap '"on purpose"'
expect 0 'ok(1)' quark call rogue/good ping
expect 0 'ok(1)' quark call rogue/bad ping
expect 0 'ok(18)' quark call counter/alice value
why "its neighbours never noticed, and it woke again itself with the state it last committed"

step "A child that fails is started again by its parent's rule, and whoever was hired after it too"
expect 0 'ok' quark call crew/night hire '"ann"' permanent
expect 0 'ok' quark call crew/night hire '"bob"' permanent
expect 3 '*failed*the worker fell*' quark call worker/night.ann crash
eventually 'ok(["spawn", "restart"])' quark call worker/night.bob causes
expect 0 '*crew/night*worker/night.ann*worker/night.bob*' quark tree crew/night
why "crew's manifest says rest-for-one; the tree is in the store, and the failures are counted"

step "What turns took, for the kinds for which somebody asks"
expect 0 '*are recorded*' quark trace counter --on
expect 0 'ok(18)' quark call counter/alice value
expect 0 '*counter/alice  value  *cli *ok' quark trace counter/alice
expect 0 '*not recorded any more' quark trace counter --off

step "What happened is kept, and what is to happen"
expect 0 'ok(100)' quark call ledger/alice deposit 100 '"salary"'
expect 0 'ok(70)' quark call ledger/alice withdraw 30 '"rent"'
expect 0 'ok' quark call digest/d add '"a line"'
expect 0 'ok' quark call digest/d once '"soon"' 2000
why "the ledger is its events; the reminder is a row that was written with the actor's state"

step "kill -9, in the middle of transfers"
while quark call account/ann transfer '"bob"' 1; do :; done >"$folder/transfers" 2>&1 &
transfers=$!
sleep 0.3
kill -KILL "$silo"
wait "$silo" 2>/dev/null
[ $? = 137 ] || wrong "the silo did not die of SIGKILL"
silo=
wait "$transfers" 2>/dev/null
answered=$(grep -c '^ok' "$folder/transfers")
echo "   the silo is dead; $answered transfers of 1 had been answered"
expect 3 '*no silo answers*' quark call counter/alice value

step "The silo starts again on the same folder"
start_silo
expect 0 'ok(18)' quark call counter/alice value
settled 'ok(100)'
balance=$(quark call account/ann balance)
echo "   \$ quark call account/ann balance"
echo "     $balance"
rest=${balance//[!0-9]/}
# The last one may have been committed and its answer lost.
[ "$rest" -le $((70 - answered)) ] && [ "$rest" -ge $((70 - answered - 1)) ] ||
  wrong "$answered transfers were acknowledged, so it should be $((70 - answered)), or one less"
expect 0 '*counter*' quark inspect counter/alice
expect 0 'ok({balance: 70,*' quark call ledger/alice sum
expect 0 '*Deposited*salary*Withdrawn*rent*' quark journal ledger/alice
expect 0 '*as of event 1,*"balance": 100,*' quark journal ledger/alice --at 1
eventually 'ok([{reminder: "soon",*' quark call digest/d made
expect 0 '*worker/night.ann*worker/night.bob*' quark tree
why "the ledger was made anew from its past, the reminder fired, and the children have their parent"
why "every acknowledged write is there, no money was made or lost, no component was deployed again"

step "SIGTERM stops it gracefully"
kill -TERM "$silo"
wait "$silo"
code=$?
silo=
[ "$code" = 0 ] || wrong "it ended with exit code $code"
echo "   it finished what was running, wrote what was left and ended with exit code 0"

echo
echo "All $number steps were as expected, in $SECONDS s."
