#!/usr/bin/env bash
# Holds and drives Weir for long, and fails when it does not come back to where it was: `make soak`, or
# `make soak QUICK=1` in a minute. Further arguments go to soak.py (`--help` lists them). Loopback only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")

missing=()
command -v wrk >/dev/null || missing+=(wrk)
command -v h2load >/dev/null || missing+=(nghttp2-client)
command -v curl >/dev/null || missing+=(curl)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if [ -z "${WEIR:-}" ]; then cargo build --locked --release --manifest-path "$repo/Cargo.toml"; fi
weir=${WEIR:-${CARGO_TARGET_DIR:-$repo/target}/release/weir}
extra=()
if [ -n "${QUICK:-}" ]; then extra=(--idle 1000 --streams 200 --seconds 5 --requests 200000); fi
exec python3 "$here/soak.py" --weir "$weir" "${extra[@]}" "$@"
