# One way to build, one command for the demonstration, one for all tests. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: deb image reproducible test-vm bench-vm help setup setup-timesketch setup-test build demo timesketch test fuzz bench check clean

PLASO := target/plaso
TIMESKETCH := target/timesketch

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install system packages and the locked Plaso environment
	@packaging/setup
	@packaging/plaso/install $(PLASO)

setup-timesketch: ## Install what a real Timesketch for trials consists of
	@packaging/setup --timesketch
	@tests/timesketch/install $(TIMESKETCH)

setup-test: ## Install what running and tests need
	@packaging/setup --test
	@packaging/plaso/install $(PLASO)
	@tests/timesketch/install $(TIMESKETCH)
	@OPENSEARCH_VERSION=3.8.0 OPENSEARCH_IF_JAVA=yes tests/timesketch/install $(TIMESKETCH)
	@tests/ec2/install target/moto

build: ## Build target/release/dfagent
	@cargo build --release --locked --quiet

deb: setup ## Build the Debian packages into out/deb, and have lintian check them
	@packaging/setup --packages
	@packaging/deb out/deb
	@lintian --fail-on error,warning out/deb/*.deb
	@ls -sh out/deb/*.deb

demo: setup build $(if $(TO),setup-timesketch) ## Make two evidence disks and their timelines, in out/demo (TO=timesketch, TO=stream: in Timesketch, too)
	@/usr/bin/python3 -B tests/demo.py out/demo $(if $(TO),--to $(TO))

# A person searches for bare words, too: of a usual timeline OpenSearch would refuse those of 15
# letters and more (too_many_nested_clauses) with the limit that it comes with.
timesketch: setup-timesketch ## Start a real Timesketch on loopback, until Ctrl-C
	@/usr/bin/python3 -B tests/timesketch/servers.py try --state out/timesketch \
	    --opensearch-set indices.query.bool.max_clause_count=8192

image: deb ## Bake the image of the forensic worker into out/image (as root)
	@packaging/image/bake out/image out/deb

test-vm: setup-test ## Boot the baked image in QEMU, and run all claims about it
	@DFAGENT_TEST_VM=all cargo test --locked --quiet --test vm

bench-vm: setup-test ## Measure the image in QEMU: attach to mounted, memory, start
	@/usr/bin/python3 -B tests/vm/claims.py prepare
	@/usr/bin/python3 -B tests/vm/figures.py

reproducible: setup ## Build the packages twice, in different folders, and compare the bytes
	@packaging/setup --packages
	@packaging/reproducible

# Of a build without optimisation across crates a test says the same, minutes sooner.
test: export CARGO_PROFILE_RELEASE_LTO = off
test: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
test: setup-test ## Run every tier of tests that can run here
	@packaging/deb out/deb
	@tests/run

fuzz: setup ## Fuzz the readers of storage files and formatters, each for a minute (SECONDS=60)
	@packaging/setup --fuzz
	@fuzz/run out/fuzz $(or $(SECONDS),60) $(PLASO)/bin/python

bench: setup setup-timesketch build ## Measure today's flow against dfagent, as ratios (EVENTS=230000 ROUNDS=3)
	@/usr/bin/python3 -B tests/bench.py out/bench --events $(or $(EVENTS),230000) --rounds $(or $(ROUNDS),3)
	@$(if $(filter 0,$(shell id -u)),,sudo )tests/lab/udev.sh /usr/bin/python3 -B tests/bench_agent.py out/bench-agent
	@/usr/bin/python3 -B tests/bench_export.py out/bench-export --rounds $(or $(ROUNDS),3)
	@/usr/bin/python3 -B tests/bench_delivery.py out/bench-delivery --rounds $(or $(ROUNDS),3)
	@/usr/bin/python3 -B tests/bench_stream.py out/bench-stream --way $(or $(EVENTS),230000) --rounds $(or $(ROUNDS),3)

check: ## Formatting, lints, licences of dependencies, scripts
	@cargo fmt --check
	@cargo fmt --check --manifest-path fuzz/Cargo.toml
	@cargo clippy --locked --all-targets --quiet -- --deny warnings
	@cargo deny --log-level error check bans licenses sources
	@shellcheck packaging/setup packaging/deb packaging/plaso/install packaging/plaso/copy debian/dfagent.p*inst debian/dfagent.postrm \
	    packaging/etc/update-motd.d/60-dfagent packaging/usr/share/initramfs-tools/hooks/dfagent tests/timesketch/install tests/ec2/install tests/run tests/lab/udev.sh tests/vm/build tests/packages/life packaging/reproducible \
	    packaging/image/bake packaging/image/provision .ci/run fuzz/run

clean: ## Remove what was built and made, but not what was installed
	@cargo clean --quiet --profile dev
	@cargo clean --quiet --release
	@rm -rf out target/fuzz
