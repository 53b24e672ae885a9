#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/ with libFuzzer, one after another, and stops at the first crash.
#
# usage: scripts/fuzz.sh SECONDS [TARGET...]
#
# Works with the stable compiler: coverage comes from LLVM's own pass, and what a sanitizer would find is left to Miri.
# What is found is kept in target/fuzz/corpus; a crash is written to fuzz/crashes/TARGET, where an ordinary test replays it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
all=(parse guard execute vnet gso gro config capture fields)
targets=("${@:-${all[@]}}")
out=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# --target keeps the flags away from build scripts.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table)
RUSTFLAGS="${flags[*]}" cargo build --package crossdock-fuzz --features libfuzzer --profile fuzz --bins \
    --target "$host" --target-dir "$out"

for target in "${targets[@]}"; do
    mkdir -p "$out/corpus/$target" "fuzz/crashes/$target"
    log=$out/$target.log
    "$out/$host/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="fuzz/crashes/$target/" "$out/corpus/$target" "fuzz/corpus/$target" >"$log" 2>&1 ||
        { tail -n 40 "$log" >&2; echo "fuzz: $target crashed; $log has all of it" >&2; exit 1; }
    rmdir --ignore-fail-on-non-empty "fuzz/crashes/$target"
    printf '%-10s %s executions\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
done
