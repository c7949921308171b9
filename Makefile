# Short verbs; the work is in scripts/ and cargo.

.PHONY: help setup build actors demo test test-languages check sim fuzz e2e soak bench bench-smoke density

help: ## these lines
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## get what this machine lacks to build and test
	@scripts/setup.sh

# The whole workspace is always selected: one set of features, so that nothing is built twice.
build: setup ## target/release/quark
	cargo build --release --locked --workspace --bin quark

actors: setup ## the sample actors, in target/actors
	@scripts/build-actors.sh

demo: ## start a silo, call actors, kill it, find their state again
	@scripts/demo.sh

test: ## everything that CI checks
	@scripts/test.sh

test-languages: ## actors in Python, JavaScript and C, with the tools that they need
	@scripts/test.sh samples build languages

check: ## format and clippy
	@scripts/test.sh fmt clippy

sim: ## simulate the turn machine: SEEDS=N for that many seeds, SEED=n for one
	$(if $(SEEDS),QUARK_SIM_SEEDS=$(SEEDS)) $(if $(SEED),QUARK_SIM_SEED=$(SEED)) cargo test --locked -p quark-sim -- --nocapture

fuzz: ## look for inputs that the parsers do not stand: TARGET=name for one of them, SECONDS=300 for each
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh "$(TARGET)" $(SECONDS)

e2e: setup ## the real binary, real components, real kills
	@scripts/test.sh samples build e2e

soak: setup ## silos that are killed under load again and again: KILLS=100 times each
	@scripts/test.sh samples build
	QUARK_KILLS=$(or $(KILLS),100) cargo test --locked -p quark-e2e -- kill_9
	QUARK_STORMS=$(or $(STORMS),100) cargo test --locked -p quark-e2e -- steps::storm steps::rivals

bench: setup ## ratios against raw wasmtime, tokio, kameo and ractor; JSON in target/bench; GROUPS="hot nested" for some
	@scripts/build-actors.sh
	cargo build --release --locked --workspace --bin quark-bench
	"$${CARGO_TARGET_DIR:-target}/release/quark-bench" $(GROUPS)

density: setup ## 100,000 and 1,000,000 live actors, 10,000,000 known ones: minutes, and gigabytes; LIVE=N KNOWN=N for others
	@scripts/build-actors.sh
	cargo build --release --locked --workspace --bin quark-bench
	"$${CARGO_TARGET_DIR:-target}/release/quark-bench" $(addprefix --live=,$(or $(LIVE),100000 1000000)) --known=$(or $(KNOWN),10000000)

bench-smoke: setup ## the same, small
	@scripts/test.sh samples build bench_smoke
