# The commands a person needs. Each installs by itself what it lacks (Debian packages, by name).
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
