# The commands a person needs. `demo` takes Rust and gcc alone; the others install the Debian packages that they lack.
# `kernel` builds the kernel under which `test` meets its peers, once (4 minutes; `test` says what did not run without it).
.PHONY: demo test lint bench fuzz kernel peers interop-long soak lossy

demo:
	cargo build --release --package handfast
	target/release/handfast demo $(ARGS)

test:
	scripts/test.sh

lint:
	scripts/lint.sh

bench:
	scripts/bench.sh $(ARGS)

fuzz:
	fuzz/run.sh $(or $(SECONDS),60)

kernel:
	scripts/kernel.sh build

peers:
	scripts/peers.sh get

interop-long:
	scripts/interop-long.sh

soak:
	scripts/soak.sh $(or $(SECONDS),1800)

lossy:
	cargo build --release --locked --package handfast
	cargo build --release --locked --package handfast-testcerts --example chain
	scripts/lossy.sh all $(or $(N),50)
