# `make` lists the targets. Everything runs from a fresh checkout: what the tests need is installed when it is missing.

CARGO  ?= cargo
PYTHON ?= python3
VENV   := tests/python/.venv

export WEIR_TEST_PYTHON ?= $(CURDIR)/$(VENV)/bin/python
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help test lint tools bench fuzz demo clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

test: tools $(VENV)/.done lint ## format, lints, documentation, and all tests
	@if $(CARGO) nextest --version >/dev/null 2>&1; then set -x; $(CARGO) nextest run --locked; \
	else set -x; $(CARGO) test --locked --lib --bins --tests; fi
	$(CARGO) test --locked --doc

lint: tools ## format, lints and documentation only
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

bench: ## measure Weir against its peers on this machine
	@test -x benches/peers.sh || { echo "benches/peers.sh is not there yet" >&2; exit 1; }
	benches/peers.sh

fuzz: ## look for inputs that break the parsers
	@echo "There are no fuzz targets yet; property tests run with make test."

demo: ## a sample agent and the proxy in front of it
	$(CARGO) run --locked --release -- demo

clean: ## remove what was built
	$(CARGO) clean
	rm -rf $(VENV)

# What is missing is installed with apt-get, as root or through sudo; elsewhere it is named.
tools:
	@missing=; \
	command -v curl >/dev/null || missing="$$missing curl ca-certificates"; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	test -z "$$missing" && exit 0; \
	command -v apt-get >/dev/null || { echo "make: install these first:$$missing" >&2; exit 1; }; \
	as_root=; test "$$(id -u)" = 0 || as_root="sudo -n"; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends $$missing </dev/null

# The stamp is newer than the list of packages, so a change of the list installs anew.
$(VENV)/.done: tests/python/requirements.txt | tools
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-input -r $<
	@touch $@
