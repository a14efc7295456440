#!/bin/sh
# Builds the fuzz targets with libFuzzer's coverage on the stable compiler, and runs each for a while.
#
#   fuzz/run.sh [SECONDS [TARGET…]]      default: 20 s, all targets
#
# There is no sanitizer here: the code has no `unsafe`, so a panic or an endless loop is what is looked for. Corpora
# grow in target/fuzz, which git does not see; what breaks a target is kept in target/fuzz/found.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-20}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -v '^weir-fuzz$')
target=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-target}/fuzz
coverage="-Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	coverage="$coverage -Cllvm-args=-sanitizer-coverage-$option"
done
# With a target named, build scripts and macros are left alone.
RUSTFLAGS="--cfg fuzzing $coverage" cargo build --quiet --manifest-path fuzz/Cargo.toml \
	--target-dir "$out/build" --target "$target" --bins
mkdir -p "$out/found"
for name; do
	mkdir -p "$out/corpus/$name"
	echo "$name: $seconds s"
	"$out/build/$target/debug/$name" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -max_len=4096 \
		-print_final_stats=1 -artifact_prefix="$out/found/$name-" \
		"$out/corpus/$name" "fuzz/seeds/$name" 2>"$out/$name.log" ||
		{ tail -40 "$out/$name.log"; broken="${broken:-} $name"; }
	grep -E 'Done|stat::number_of_executed|new_units' "$out/$name.log" || true
done
[ -z "${broken:-}" ] || { echo "broken:$broken; see $out/found" >&2; exit 1; }
