# The commands of this project. The work is in scripts/ and in `cargo xtask`.

CARGO := $(shell command -v cargo || echo $$HOME/.cargo/bin/cargo)

.PHONY: help build install plugin image demo demo-stop test test-matrix soak fuzz bench screenshots fmt

help:
	@echo "make demo       see the whole of Dotmesh at work on this machine (stop it with make demo-stop)"
	@echo "make test       run every check and test; installs what it needs"
	@echo "make test-matrix  run end-to-end tests on Docker 20 to 28 and Podman; ENGINES='docker-28 podman-5' for some of them"
	@echo "make soak       show that nothing is lost: random operations and faults under write load; MINUTES=60 SEED=1 for how long and which"
	@echo "make fuzz       look for inputs that break a reader of outside bytes; TARGET=pack SECONDS=600 for one and how long"
	@echo "make build      build dm, dotmeshd and dothub into target/release"
	@echo "make install    put them into /usr/local/bin, with man pages and completions"
	@echo "make plugin     build the managed plugin into target/plugin, and make it Docker's plugin dm; ENABLE=no leaves out the second step"
	@echo "make image      build the container images dotmesh/node, dotmesh/hub and dotmesh/dm"
	@echo "make screenshots  make the pictures of the hub's pages in docs/screenshots"
	@echo "make bench      measure, and print one table of ratios; ONLY=commit,checkout,daily,transfer,list,forks,rows,hub for a part of it, NET=lan or wan for a slow network"

build:
	@scripts/setup.sh build
	$(CARGO) build --release --bins

install: build
	@scripts/install.sh /usr/local

# docs/plugin.md says what it is.
plugin:
	@scripts/setup.sh plugin
	$(CARGO) build --release --bins
	@scripts/plugin.sh plugin target/plugin release
	@if [ "$(ENABLE)" != no ]; then scripts/plugin.sh enable target/plugin; fi

image:
	@scripts/setup.sh plugin
	$(CARGO) build --release --bins
	@scripts/plugin.sh images release

demo:
	@scripts/setup.sh demo
	@scripts/demo.sh prepare
	$(CARGO) build --bins
	@scripts/demo.sh start

demo-stop:
	@FORCE="$(FORCE)" scripts/demo.sh stop

test:
	@scripts/setup.sh test
	$(CARGO) xtask ci

# docs/compatibility.md has the results.
test-matrix:
	@scripts/setup.sh test
	$(CARGO) xtask matrix $(ENGINES)

# docs/reliability.md says what it does.
soak:
	@scripts/setup.sh soak
	@scripts/images.sh --prepared >/dev/null
	$(CARGO) build --bins
	SOAK_MINUTES="$(or $(MINUTES),10)" SOAK_SEED="$(SEED)" \
		$(CARGO) test --package dotmesh-testkit --test soak -- nothing_is_lost

fuzz:
	@scripts/setup.sh fuzz
	$(CARGO) xtask fuzz $(or $(SECONDS),600) $(TARGET)

# Parts of `transfer` are app, files, pages, growth, repack and network. SCALE=0.1 is for trying the benchmark itself out,
# PEERS=rsync,borg measures these others only, PEERS=none leaves all of them out, NET=lan or NET=wan puts the hub behind a slow
# network, and PROFILE=FOLDER keeps what perf sees of each transfer there.
bench:
	@scripts/setup.sh bench
	$(CARGO) build --release --bins
	BENCH_ONLY="$(ONLY)" BENCH_SCALE="$(or $(SCALE),1)" BENCH_PEERS="$(PEERS)" BENCH_NET="$(NET)" BENCH_PROFILE="$(abspath $(PROFILE))" $(CARGO) bench --package dotmesh-testkit

# Pictures of the hub's pages, of the tutorial's states.
screenshots:
	@scripts/setup.sh test
	@scripts/images.sh --prepared >/dev/null
	$(CARGO) build --bins
	$(CARGO) test --package dotmesh-testkit --test e2e -- --ignored screenshots

fmt:
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml
