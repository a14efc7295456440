#!/usr/bin/env bash
# The fastest binary: `make release`. Built with a profile of itself at work, see docs/operations.md.
#
# A binary that counts what it runs, a bounded training on the loopback interface (about 40 s: the loads of `make bench`,
# then `weir demo`), and the build that knows the counts: twice the time of a plain release build. Then, where BOLT is
# installed, the same training once more, now with each branch counted, and the finished program is laid out by that.
# What is needed and not there is named, and the step is left out; the binary is the same program.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
cd "$repo"
host=$(rustc --print host-tuple)
out=$repo/target/pgo
result=$out/weir
llvm=$(dirname "$(rustc --print target-libdir)")/bin
profdata=$llvm/llvm-profdata

missing=()
[ -x "$profdata" ] || missing+=("llvm-profdata (rustup component add llvm-tools)")
for tool in wrk h2load cc openssl curl; do command -v "$tool" >/dev/null || missing+=("$tool"); done
mkdir -p "$out"
if [ ${#missing[@]} -gt 0 ]; then
  printf 'release: a plain build, without a profile; for one this is missing:' >&2
  printf ' %s;' "${missing[@]}" >&2
  echo >&2
  cargo build --release --locked
  cp target/release/weir "$result"
  echo "$result"
  exit
fi

# It moves code, so the linker must leave it what it needs for that.
bolt=$(command -v llvm-bolt || command -v llvm-bolt-19 || true)
# It finds its runtime and its companion beside the file that it is, not beside a link.
bolt=${bolt:+$(readlink -f "$bolt")}
[ -x "${bolt%/*}/merge-fdata" ] && [ -f "${bolt%/*}/../lib/libbolt_rt_instr.a" ] || bolt=
[ -n "$bolt" ] || echo "release: without the last step; for that llvm-bolt is missing (Debian: bolt-19)" >&2

# Half a megabyte of relocations is read at each start; packed, it is next to nothing. Needs glibc 2.36. BOLT 19 would
# leave packed ones pointing at where things were.
packed=
if [ -z "$bolt" ] && echo 'int main(void) { return 0; }' | cc -x c -Wl,-z,pack-relative-relocs -o "$out/probe" - 2>/dev/null && "$out/probe" 2>/dev/null; then
  packed=-Clink-arg=-Wl,-z,pack-relative-relocs
fi

# With the target named, the flags do not reach build scripts and macros.
build() { RUSTFLAGS="${RUSTFLAGS:-} $packed $1" cargo build --release --locked --target "$host" --target-dir "$out/build"; }
rm -rf "$out/raw" "$out/run"
mkdir -p "$out/raw" "$out/run"
build "-Cprofile-generate=$out/raw"
cp "$out/build/$host/release/weir" "$out/weir.counting"

proxy=18443 admin=18444 upstream=18445
url=https://127.0.0.1:$proxy key=key-0123456789abcdef run=$out/run
headers=(-H "X-API-Key: $key" -H "Origin: https://app.example")
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

begin() { # COMMAND...: starts the binary that is trained and waits until it serves
  "$trained" "$@" >"$run/stdout" 2>"$run/stderr" &
  weir=$!
  for _ in $(seq 100); do
    if curl -sk -o /dev/null "$url/healthz"; then return; fi
    kill -0 $weir || { cat "$run/stderr" >&2; exit 1; }
    sleep 0.1
  done
  echo "release: the binary that is trained does not answer on $url" >&2
  exit 1
}
# The counts are written at an orderly end.
end() { kill -TERM $weir; wait $weir; }
quietly() { "$@" >"$run/said" 2>&1 || { cat "$run/said" >&2; exit 1; }; }
# Nothing here may pass for training that was none.
drive() { echo "training: $*" | cut -c 1-100; quietly "$@"; }

cc -O2 -o "$run/upstream" benches/peers/upstream.c
"$run/upstream" $upstream &
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -keyout "$run/key.pem" -out "$run/cert.pem" 2>/dev/null
cat > "$run/keys.toml" <<KEYS
[[key]]
id      = "k_training"
subject = "training"
tier    = "bench"
sha256  = "$(printf %s $key | sha256sum | cut -d' ' -f1)"
created = "2026-01-01T00:00:00Z"
KEYS
sed -e "s#@PORT@#$proxy#g; s#@ADMIN@#$admin#g; s#@UP@#$upstream#g; s#@CERT@#$run/cert.pem#g; s#@KEY@#$run/key.pem#g; s#STORE#$run#g" \
  benches/peers/weir.policy.toml > "$run/policy.toml"

# By itself, to know what a proxy at rest has run.
trained=$out/weir.counting
export LLVM_PROFILE_FILE=$run/start.profraw
begin run --policy "$run/policy.toml" --threads 1
drive curl -sk "${headers[@]}" $url/
end
unset LLVM_PROFILE_FILE

train() { # BINARY: the whole training
  trained=$1
  begin run --policy "$run/policy.toml" --threads 1
  drive wrk -t1 -c32 -d4s "${headers[@]}" $url/
  drive wrk -t1 -c1 -d2s "${headers[@]}" $url/
  drive wrk -t1 -c32 -d4s "${headers[@]}" -s benches/peers/post.lua $url/
  drive wrk -t1 -c16 -d2s "${headers[@]}" -s benches/peers/sse.lua $url/
  drive wrk -t1 -c64 -d4s "${headers[@]}" $url/paced
  drive wrk -t1 -c16 -d2s "${headers[@]}" -H "Connection: close" $url/
  drive h2load -t1 -c8 -m8 -D4 "${headers[@]}" $url/
  drive h2load -t1 -c8 -m8 -n 20000 "${headers[@]}" -d Cargo.toml $url/
  drive wrk -t1 -c8 -d1s $url/
  end

  # The project's own policy: what is metered, cleaned and refused.
  begin demo --port $proxy --admin-port $admin
  local shown
  shown=$(grep -o 'weir_[0-9a-f]*' "$run/stdout" | head -n 1)
  local headers=(-H "X-API-Key: $shown" -H "Content-Type: application/json")
  for body in '{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}' \
    '{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hi"}]}'; do
    printf 'wrk.method = "POST"\nwrk.body = [[%s]]\n' "$body" > "$run/chat.lua"
    printf %s "$body" > "$run/chat.json"
    drive wrk -t1 -c16 -d2s "${headers[@]}" -s "$run/chat.lua" $url/v1/chat/completions
    drive h2load -t1 -c4 -m4 -D2 "${headers[@]}" -d "$run/chat.json" $url/v1/chat/completions
  done
  drive wrk -t1 -c16 -d2s "${headers[@]}" $url/api/user/u1/leak
  drive wrk -t1 -c16 -d1s "${headers[@]}" -s "$run/chat.lua" $url/api/user/u2/behavior/analyze
  end
}
train "$out/weir.counting"

"$profdata" merge -o "$out/weir.profdata" "$out"/raw/*.profraw

# At the head of the program lies what a start runs, then what else has run, each with the busiest first, then what cannot be
# counted (C, the standard library), at the end what never ran: the system maps pages with their neighbours, and what is mapped
# counts as memory. Needs the linker that Rust brings.
counts() { # PROFILE: what ran, and how often
  "$profdata" show --all-functions --counts "$1" | awk '
    /^  [^ ].*:$/ { name = $1; sub(/:$/, "", name); sub(/^.*;/, "", name) }
    /Block counts:/ { gsub(/[^0-9]+/, " "); most = 0; for (i = 1; i <= NF; i++) if ($i + 0 > most) most = $i + 0; print most, name }' |
    sort -k1,1nr
}
"$profdata" merge -o "$run/start.profdata" "$run/start.profraw"
counts "$run/start.profdata" > "$run/start.counts"
counts "$out/weir.profdata" > "$run/counts"
"$llvm/llvm-nm" "$out/weir.counting" | awk '$2 ~ /[tTwW]/ { print $3 }' > "$run/functions"
{
  awk 'NR == FNR { if ($1 > 0) start[$2]; next } $2 in start { print $2 }' "$run/start.counts" "$run/counts"
  awk '$1 > 0 { print $2 }' "$run/counts"
  awk 'NR == FNR { counted[$2]; next } !($1 in counted)' "$run/counts" "$run/functions"
} | awk '!seen[$1]++' > "$out/order"
ordered="-Clink-arg=-Wl,--symbol-ordering-file=$out/order -Clink-arg=-Wl,--no-warn-symbol-ordering"
# shellcheck disable=SC2086
echo 'fn main() {}' | rustc $ordered -o "$out/probe" - 2>/dev/null || ordered=
build "-Cprofile-use=$out/weir.profdata $ordered ${bolt:+-Clink-arg=-Wl,--emit-relocs}"
cp "$out/build/$host/release/weir" "$result"

if [ -n "$bolt" ]; then
  # By the compiler's counts a branch is likely or not; these say what is really jumped over once all is inlined.
  counted="$run/branches"
  quietly "$bolt" "$result" -instrument -o "$out/weir.branches" --instrumentation-file="$counted" \
    --instrumentation-file-append-pid
  train "$out/weir.branches"
  quietly "${bolt%/*}/merge-fdata" "$counted".*.fdata -o "$out/weir.fdata"
  # Without room for huge pages: it would be mapped, and counted as memory.
  quietly "$bolt" "$result" -o "$run/weir" -data="$out/weir.fdata" -reorder-blocks=ext-tsp -reorder-functions=cdsort \
    -split-functions -split-all-cold -split-eh -icf=1 -no-huge-pages
  # A copy: from the file as it was written with seeks, the system maps far more at a start.
  cp "$run/weir" "$result"
  # Tried before it is given out.
  trained=$result
  begin run --policy "$run/policy.toml" --threads 1
  quietly curl -sfk -o "$run/answer" "${headers[@]}" $url/
  end
fi
echo "$result"
