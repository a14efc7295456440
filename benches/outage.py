#!/usr/bin/env python3
"""Takes Redis away from three replicas under load, in each of the ways in which it goes, and measures what callers feel.

Needs redis-server and redis-cli. Loopback only. Example:
    benches/outage.py --weir target/release/weir --seconds 60
Prints one row per way: p50 and p99 before, while it is away and after, answers by status, and how long the return took.
That the sums agree is looked at by `tests/e2e/outage.rs`. Exits 1 when p99 is more than 1 ms worse, an answer is neither 200 nor 429, or the return takes over 5 s.
"""
import argparse, collections, http.client, http.server, json, os, signal, ssl, subprocess, sys, tempfile, threading, time
import urllib.request

from peers import free_port

REPLICAS, CALLERS = 3, 4
POLICY = """
[listen]
address = "127.0.0.1:{port}"
certificate = "certs/server.crt"
key = "certs/server.key"
[admin]
address = "127.0.0.1:{admin}"
[upstream]
url = "http://127.0.0.1:{up}"
[[identity]]
from = "path"
pattern = "/u/{{id}}/**"
parameter = "id"
tier = "free"
[operations.all]
routes = ["* /**"]
cost = "$0.000001"
[tiers.free]
quotas = {{ all = "1000000000/hour" }}
budget = {{ day = "$1000000" }}
[sanitize]
redact = []
[store]
url = "redis://127.0.0.1:{redis}"
"""


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Replica:
    def __init__(self, weir, up, redis):
        self.dir = tempfile.mkdtemp(prefix="weir-outage-")
        self.port, self.admin = free_port(), free_port()
        subprocess.run([weir, "cert", "dev", "--dir", "certs"], cwd=self.dir, check=True, capture_output=True)
        with open(os.path.join(self.dir, "policy.toml"), "w") as file:
            file.write(POLICY.format(port=self.port, admin=self.admin, up=up, redis=redis))
        log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen([weir, "run", "--threads", "1"], cwd=self.dir, stderr=log, stdout=log)

    def metric(self, name):
        try:
            page = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5).read().decode()
        except OSError:
            return None
        values = [line.rsplit(" ", 1)[1] for line in page.splitlines() if line.startswith(name)]
        return float(values[0]) if values else None

    def until(self, name, value, patience=60.0):
        began = time.monotonic()
        while self.metric(name) != value:
            if time.monotonic() - began > patience:
                sys.exit(f"{name} is not {value} after {patience} s")
            time.sleep(0.02)
        return time.monotonic() - began


class Callers:
    """a few callers per replica, one connection each; rows of (when, seconds, status)"""

    def __init__(self, replicas):
        self.stop, self.rows = threading.Event(), []
        self.threads = [threading.Thread(target=self.call, args=(r, f"/u/{n}/x")) for r in replicas for n in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def call(self, replica, path):
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", replica.port, context=context, timeout=30)
        while not self.stop.is_set():
            began = time.monotonic()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            self.rows.append((began, time.monotonic() - began, answer.status))
            time.sleep(0.005)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def redis(port, directory):
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", directory]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True).stdout.strip() != b"PONG":
        time.sleep(0.02)
    return process


def percentile(rows, share):
    times = sorted(seconds for _, seconds, _ in rows)
    return round(times[min(len(times) - 1, int(len(times) * share))] * 1000, 3) if times else None


def outage(way, args, replicas, server, port, directory):
    callers = Callers(replicas)
    time.sleep(args.before)
    gone = time.monotonic()
    if way == "paused":
        server.send_signal(signal.SIGSTOP)
    else:
        server.kill()
        server.wait()
    time.sleep(args.seconds)
    if way == "paused":
        server.send_signal(signal.SIGCONT)
    else:
        server = redis(port, directory)
    back = time.monotonic()
    took = 0.0
    for replica in replicas:
        replica.until('weir_store_up{kind="redis"}', 1.0)
        replica.until('weir_store_journal_depth{kind="redis"}', 0.0)
        took = max(took, time.monotonic() - back)
    time.sleep(args.before)
    callers.end()
    before = [row for row in callers.rows if row[0] < gone]
    away = [row for row in callers.rows if gone <= row[0] < back]
    after = [row for row in callers.rows if row[0] >= back + took]
    return server, {
        "way": way,
        "p50_ms": [percentile(rows, 0.5) for rows in (before, away, after)],
        "p99_ms": [percentile(rows, 0.99) for rows in (before, away, after)],
        "longest_ms": percentile(away, 1.0),
        "answers": dict(collections.Counter(status for _, _, status in callers.rows)),
        "decided_without": sum(replica.metric('weir_store_fallback_decisions_total{kind="redis",mode="local"}') for replica in replicas),
        "return_s": round(took, 2),
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weir", required=True, help="the release binary")
    p.add_argument("--seconds", type=float, default=60, help="how long Redis is away, each time (%(default)s)")
    p.add_argument("--before", type=float, default=5, help="how long it is there before and after (%(default)s)")
    args = p.parse_args()
    args.weir = os.path.abspath(args.weir)
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    port, directory = free_port(), tempfile.mkdtemp(prefix="weir-redis-")
    server = redis(port, directory)
    replicas = [Replica(args.weir, service.server_address[1], port) for _ in range(REPLICAS)]
    failed = False
    try:
        for replica in replicas:
            replica.until('weir_store_up{kind="redis"}', 1.0)
        for way in ("paused", "killed"):
            server, row = outage(way, args, replicas, server, port, directory)
            print(json.dumps(row), flush=True)
            worse = row["p99_ms"][1] - row["p99_ms"][0]
            failed |= worse > 1 or row["return_s"] > 5 or not set(row["answers"]) <= {200, 429}
    finally:
        for replica in replicas:
            replica.process.kill()
        server.kill()
    sys.exit(failed)


if __name__ == "__main__":
    main()
