#!/usr/bin/env bash
# Fuzzes every target (or those named) for SECONDS each: fuzz/run.sh SECONDS [TARGET...]
# Coverage-guided with the stable compiler: the instrumentation that libFuzzer reads is an LLVM pass.
# New inputs go to fuzz/target/corpus/TARGET, an input that fails to fuzz/artifacts/TARGET; each one of these belongs
# into fuzz/corpus/TARGET once it is fixed, where the tests replay it.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1
 -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$RUSTFLAGS")
# With --target the flags stay away from build scripts and procedural macros.
cargo build --release --locked --target "$host" --target-dir target
if [ $# -eq 0 ]; then
    mapfile -t targets < <(awk '/^\[\[bin\]\]/ {bin = 1} bin && /^name/ {gsub(/"/, "", $3); print $3; bin = 0}' Cargo.toml)
    set -- "${targets[@]}"
fi
for target in "$@"; do
    mkdir -p "target/corpus/$target" "artifacts/$target" "corpus/$target"
    echo "== $target: $seconds s"
    status=0
    "target/$host/release/$target" "target/corpus/$target" "corpus/$target" -max_total_time="$seconds" \
        -max_len=4096 -timeout=5 -rss_limit_mb=1024 -artifact_prefix="artifacts/$target/" -print_final_stats=1 \
        >"target/$target.log" 2>&1 || status=$?
    grep -E '^(#[0-9]+.*(INITED|DONE)|stat::|thread .* panicked|artifact_prefix)' "target/$target.log" || true
    if [ "$status" -ne 0 ]; then
        echo "$target failed: the input is in fuzz/artifacts/$target, the log is fuzz/target/$target.log"
        exit 1
    fi
done
