# A thin front: each target is a line or two of the tools behind it.

CARGO ?= cargo
LAB = $(CARGO) run --quiet --bin lab --

# Tests wait for programs longer than they compute: on two cores four at once take little more than half.
ifndef RUST_TEST_THREADS
export RUST_TEST_THREADS := $(shell n=$$(getconf _NPROCESSORS_ONLN); test "$$n" -gt 4 || n=4; echo "$$n")
endif

.DEFAULT_GOAL := help
.PHONY: help prerequisites lab-program programs tools demo unit test lint advisories bench soak lab lab-down

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prerequisites: ## Say what must be installed and is not, each with how to get it
	@sh tests/e2e/prerequisites.sh

lab-program: prerequisites
	@$(CARGO) build --bin lab

programs: lab-program ## Install or name the programs that only tests and benchmarks use
	@$(LAB) programs --install

tools: lab-program ## Find or build the lab's components: etcd, Kubernetes, sealed-secrets, S3 server
	@$(LAB) tools

demo: tools ## Show the main job from end to end on the lab
	@$(CARGO) build --workspace
	@$(LAB) demo

# The names of the test programs that need no component.
UNIT = core signals cli
unit: prerequisites ## Run the tests that need no component
	$(CARGO) test --workspace --lib --bins $(addprefix --test ,$(UNIT))

test: programs tools ## Run all tests, on real components
	$(CARGO) test --workspace
	@$(LAB) programs

lint: prerequisites ## Check the format, the lints and, where cargo-deny is installed, the licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@sh scripts/type-names.sh
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --all-features check licenses bans sources; \
	else echo 'cargo-deny is not installed; licences and sources are not checked'; fi

advisories: prerequisites ## Compare dependencies with the published advisories; this one needs the network
	$(CARGO) deny --all-features check advisories

bench: programs tools ## Measure against restic and age+zstd, as in docs/BENCHMARKS.md
	$(CARGO) build --release --workspace
	@$(CARGO) run --quiet --release --bin bench

soak: tools ## Let a daemon run for half an hour among programs that die, as in docs/SOAK.md
	@$(CARGO) build --workspace
	@$(CARGO) run --quiet --bin soak -- --minutes $(or $(MINUTES),30)

lab: tools ## Start the lab and leave it running until Ctrl-C or `make lab-down`
	@$(LAB) up

lab-down: ## End the lab that `make lab` started
	@$(LAB) down
