# The commands a person needs. `demo` takes Rust and gcc alone; `test` and `bench` install the Debian packages that they lack.
.PHONY: demo test lint bench fuzz

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
