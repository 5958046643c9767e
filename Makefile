# One way to build, one command for the demonstration, one for all tests. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo test bench check clean

PLASO := target/plaso

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## Install system packages and the locked Plaso environment
	@packaging/setup
	@packaging/plaso/install $(PLASO)

setup-test: ## The same, with what only tests need
	@packaging/setup --test
	@packaging/plaso/install $(PLASO)

build: ## Build target/release/dfagent
	@cargo build --release --locked --quiet

demo: setup build ## Make two evidence disks and their timelines, in out/demo
	@/usr/bin/python3 -B tests/demo.py out/demo

test: setup-test ## Run every tier of tests that can run here
	@tests/run

bench: setup build ## Measure today's flow against dfagent, as ratios (EVENTS=230000 ROUNDS=3)
	@/usr/bin/python3 -B tests/bench.py out/bench --events $(or $(EVENTS),230000) --rounds $(or $(ROUNDS),3)
	@$(if $(filter 0,$(shell id -u)),,sudo )tests/lab/udev.sh /usr/bin/python3 -B tests/bench_agent.py out/bench-agent

check: ## Formatting, lints, licences of dependencies, scripts
	@cargo fmt --check
	@cargo clippy --locked --all-targets --quiet -- --deny warnings
	@cargo deny --log-level error check bans licenses sources
	@shellcheck packaging/setup packaging/plaso/install tests/run tests/lab/udev.sh tests/vm/build \
	    tests/vm/guest/customize .ci/run

clean: ## Remove what was built and made, but not the Plaso environment
	@cargo clean --quiet --profile dev
	@cargo clean --quiet --release
	@rm -rf out
