#!/usr/bin/env bash
# Weir beside nginx, HAProxy and Envoy, and what a Redis costs it, in one run: `make bench`, or `make bench QUICK=1` in five minutes.
# `PROFILED=1` measures the binary of `make release`, `WEIR=FILE` any other. Further arguments go to peers.py (`--help`
# lists them). Everything stays on the loopback interface.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")

missing=()
command -v nginx >/dev/null || missing+=(nginx-light libnginx-mod-http-headers-more-filter)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v wrk >/dev/null || missing+=(wrk)
command -v h2load >/dev/null || missing+=(nghttp2-client)
command -v openssl >/dev/null || missing+=(openssl)
command -v curl >/dev/null || missing+=(curl)
command -v redis-server >/dev/null || missing+=(redis-server)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
peers=nginx,haproxy
if command -v "${ENVOY:-envoy}" >/dev/null; then peers+=,envoy; fi

if [ -n "${WEIR:-}" ]; then
  weir=$WEIR
elif [ -n "${PROFILED:-}" ]; then
  "$repo/tools/release.sh"
  weir=$repo/target/pgo/weir
else
  cargo build --release --manifest-path "$repo/Cargo.toml"
  weir=$repo/target/release/weir
fi
# On disk, not in memory: the journal is part of what is measured.
store=$(mktemp -d "$repo/target/bench.XXXXXX")
trap 'rm -rf "$store"' EXIT
cat > "$store/keys.toml" <<KEYS
[[key]]
id      = "k_bench"
subject = "bench"
tier    = "bench"
sha256  = "$(printf %s key-0123456789abcdef | sha256sum | cut -d' ' -f1)"
created = "2026-01-01T00:00:00Z"
KEYS

extra=(-r 3 -s 4 -i 2000)
if [ -n "${QUICK:-}" ]; then extra=(-r 1 -s 2 -i 1000 -m policy); fi
run="sh -c \"sed -i s#STORE#$store#g {conf} && rm -rf $store/data && exec $weir run --policy {conf} --threads 1 ${WEIR_ARGS:-} 2>/dev/null\""
python3 "$here/peers.py" -p "$peers" -m policy -e "weir:policy:$run" -t "weir:policy:$here/peers/weir.policy.toml" "${extra[@]}" "$@"
# By itself: `benches/redis.py --weir target/release/weir`, with `--quick` in two minutes.
python3 "$here/redis.py" --weir "$weir"
