# Everything one does with Crossdock, one target each. `make help` lists them.
#
# Compiling never runs as root. What needs root (the demo, the namespace tests, the benches between namespaces) is started
# with sudo unless make runs as root already.

CARGO      ?= cargo
BOOTSTRAP  ?= scripts/bootstrap.sh
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SUDO       := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# What `make proof` transfers each way in each combination, in MiB, and how often it does each loop.
PAIRS_MB   ?= 954
LOOPS      ?= 100
# Cargo builds as the user, and starts the finished test or bench through this.
AS_ROOT    := $(if $(SUDO),--config "target.'cfg(unix)'.runner = 'sudo -E'")

.DEFAULT_GOAL := help
.PHONY: help bootstrap bootstrap-bench build demo test test-unit test-namespaces proof soak lint check fuzz fuzz-smoke bootstrap-fuzz loom miri deny bench bench-ci clean

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	while IFS='|' read -r target what; do printf '  %-16s %s\n' "$$target" "$$what"; done

bootstrap: ## Install the Debian packages that are missing
	@$(BOOTSTRAP)

bootstrap-bench:
	@$(BOOTSTRAP) bench

build: bootstrap ## Build the release binary, target/release/xdock
	$(CARGO) build --release

demo: build ## Switch real traffic between namespaces, show it, clean up (root)
	$(SUDO) $(TARGET_DIR)/release/xdock demo

test: test-unit test-namespaces ## All tests: in memory first, then in network namespaces (root)

test-unit: bootstrap ## Unit, property and documentation tests; no privileges needed
	$(CARGO) test --workspace --exclude crossdock
	$(CARGO) test --package crossdock --lib --bins
	$(CARGO) test --package crossdock --doc

test-namespaces: bootstrap ## Real traffic through namespaces: tests/10_*.rs, tests/20_*.rs, ... (root)
	@$(if $(SUDO),echo 'The namespace tests need root: cargo builds them as you and sudo runs them.')
	$(CARGO) $(AS_ROOT) test --package crossdock --test '[0-9]*' --no-fail-fast -- --test-threads=1

proof: bootstrap ## The long tests: a gigabyte each way between all kinds of ports, each loop a hundred times (root, half an hour)
	XDOCK_PAIRS_MB=$(PAIRS_MB) XDOCK_LOOPS=$(LOOPS) \
	$(CARGO) $(AS_ROOT) test --release --package crossdock --test 64_pairs --test 65_loops --no-fail-fast -- --test-threads=1 --nocapture

soak: bootstrap ## Ten minutes of full load on bad wires, all frames accounted for (root; SOAK_SECONDS=600)
	$(CARGO) $(AS_ROOT) test --release --package crossdock --test soak -- --ignored --nocapture

lint: bootstrap ## Formatting, clippy and documentation, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

check: lint test ## What CI runs before its load test

deny: ## Licences, advisories and sources of the dependencies (cargo-deny)
	$(CARGO) deny check

FUZZ_SECONDS ?= 60

fuzz: bootstrap-fuzz ## Search for inputs that break a decoder: FUZZ_SECONDS (60) for each target, with libFuzzer
	scripts/fuzz.sh $(FUZZ_SECONDS)

fuzz-smoke: bootstrap-fuzz ## The same for 5 seconds each
	scripts/fuzz.sh 5

bootstrap-fuzz:
	@$(BOOTSTRAP) fuzz

loom: bootstrap ## Every interleaving of what two threads share (loom)
	RUSTFLAGS='--cfg loom' $(CARGO) test --package crossdock-engine --lib --target-dir $(TARGET_DIR)/loom bell

miri: bootstrap ## The unsafe memory modules under Miri (needs the nightly toolchain)
	@$(CARGO) +nightly miri --version >/dev/null 2>&1 || \
	{ echo 'Miri is not there. To get it: rustup toolchain install nightly --component miri,rust-src' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --package crossdock-engine --lib \
	    --target-dir $(TARGET_DIR)/miri -- frame:: memory:: table::

bench: bootstrap-bench ## Ticks in memory, then between namespaces: other switches, idle ports, hostile neighbours (root)
	$(CARGO) bench --bench memory
	$(CARGO) bench --bench parts
	$(CARGO) $(AS_ROOT) bench --bench peers -- --halt-poll

bench-ci: bootstrap ## The load test of CI: fails on a frame unaccounted for, or a ratio below half of the recorded (root, three minutes)
	$(CARGO) $(AS_ROOT) bench --bench peers -- --ci

clean: ## Remove what was built
	$(CARGO) clean
