#!/usr/bin/env python3
"""Takes Redis away from three replicas under load, in each of the ways in which it goes, and measures what callers feel.

Needs redis-server, redis-cli and h2load. Loopback only. Example:
    benches/outage.py --weir target/release/weir --seconds 60
Prints one line of JSON per way: p50 and p99 before, while it is away and after, answers by status, what a subject that
came in the outage was admitted, how long the return took, and by how much the sum in Redis misses what callers were
served. Exits 1 when p99 is over 1 ms worse, an answer is neither 200 nor 429, more than the limit and the allowances was
admitted, the return takes over 5 s, or the sums differ.
"""
import argparse, asyncio, collections, http.server, json, os, shutil, signal, subprocess, sys, tempfile, threading, time
import urllib.request

from peers import free_port

REPLICAS, CALLERS, RATE = 3, 4, 50  # requests per second of each caller
COST, LIMIT, ALLOWANCE = 1_234_567, 400, 100  # nano-dollars; per hour, and the default quarter of it
WAYS = ("paused", "killed", "cut")
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
[operations.few]
routes = ["* /u/{{id}}/few"]
cost = "$0.001234567"
[operations.many]
routes = ["* /**"]
cost = "$0.001234567"
[tiers.free]
quotas = {{ few = "400/hour", many = "1000000000/hour" }}
budget = {{ month = "$1000000" }}
[sanitize]
redact = []
[store]
url = "redis://127.0.0.1:{redis}"
"""


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet

    def do_GET(self):
        self.send_response_only(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


async def line(port, server):
    """a port in front of Redis: SIGUSR1 cuts it, SIGUSR2 mends it"""
    whole, writers = [True], set()

    def cut():
        whole[0] = False
        for writer in writers:
            writer.transport.abort()

    async def copy(reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()

    async def serve(reader, writer):
        if not whole[0]:
            return writer.transport.abort()
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", server)
        except OSError:
            return writer.transport.abort()
        writers.update((writer, forth))
        await asyncio.gather(copy(reader, forth), copy(back, writer))
        writers.difference_update((writer, forth))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, cut)
    loop.add_signal_handler(signal.SIGUSR2, lambda: whole.__setitem__(0, True))
    listener = await asyncio.start_server(serve, "127.0.0.1", port)
    print("ready", flush=True)
    await listener.serve_forever()


class Replica:
    def __init__(self, weir, up, redis, directory):
        self.dir = tempfile.mkdtemp(prefix="weir-", dir=directory)
        self.port, self.admin = free_port(), free_port()
        subprocess.run([weir, "cert", "dev", "--dir", "certs"], cwd=self.dir, check=True, capture_output=True)
        with open(os.path.join(self.dir, "policy.toml"), "w") as file:
            file.write(POLICY.format(port=self.port, admin=self.admin, up=up, redis=redis))
        with open(os.path.join(self.dir, "log"), "w") as log:
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
            time.sleep(0.01)


class Load:
    """h2load on each replica; rows of (when, seconds, status)"""

    def __init__(self, replicas, path, callers, rate, seconds, directory):
        self.logs, self.runs = [], []
        for replica in replicas:
            log = os.path.join(directory, f"load-{path.replace('/', '-')}-{replica.port}")
            count = str(int(callers * rate * seconds))
            command = ["h2load", "--h1", "-c", str(callers), "-n", count, "--rps", str(rate), "--log-file", log]
            url = f"https://127.0.0.1:{replica.port}{path}"
            self.runs.append(subprocess.Popen(command + [url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            self.logs.append(log)

    def end(self):
        rows = []
        for run, log in zip(self.runs, self.logs):
            run.wait(timeout=300)
            for began, status, took in (line.split() for line in open(log)):
                rows.append((int(began) / 1e6, int(took) / 1e6, int(status)))
            os.remove(log)
        return rows


def redis(port, directory):
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", directory]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while cli(port, "ping") != "PONG":
        time.sleep(0.02)
    return process


def cli(port, *command):
    return subprocess.run(["redis-cli", "-p", str(port), *command], capture_output=True, text=True).stdout.strip()


def spent(port, subject):
    """what Redis says that a subject has spent, and what is still in hand (docs/store.md, "Keys")"""
    lines = cli(port, "hgetall", f"weir:{{path:{subject}}}").splitlines()
    for field, value in zip(lines[::2], lines[1::2]):
        if field.startswith("c:") and value.startswith("P "):
            _, _, granted, committed, held, *_ = value.split()
            return int(committed), int(granted) + int(held)
    return 0, 0


def percentile(rows, share):
    times = sorted(seconds for _, seconds, _ in rows)
    return round(times[min(len(times) - 1, int(len(times) * share))] * 1000, 3) if times else None


def off_by(port, subject, rows):
    served = sum(status == 200 for *_, status in rows) * COST
    began = time.monotonic()
    while (told := spent(port, subject)) != (served, 0) and time.monotonic() - began < 30:
        time.sleep(0.1)
    return told[0] - served


def outage(way, args, replicas, rig):
    before, away = args.before, args.seconds
    steady = Load(replicas, f"/u/steady-{way}/x", CALLERS, RATE, before + away + 5 + before, rig.dir)
    time.sleep(before)
    gone = time.time()
    rig.goes(way)
    hot = Load(replicas, f"/u/hot-{way}/few", 1, 20, away, rig.dir)
    time.sleep(away)
    rig.comes(way)
    back, took = time.time(), 0.0
    for replica in replicas:
        replica.until('weir_store_up{kind="redis"}', 1.0)
        replica.until('weir_store_journal_depth{kind="redis"}', 0.0)
        took = max(took, time.time() - back)
    rows, few = steady.end(), hot.end()
    cut = lambda since, to: [row for row in rows if since <= row[0] < to]
    parts = [cut(0, gone), cut(gone, back), cut(back + took, time.time())]
    return {
        "way": way,
        "p50_ms": [percentile(part, 0.5) for part in parts],
        "p99_ms": [percentile(part, 0.99) for part in parts],
        "longest_ms": percentile(parts[1], 1.0),
        "answers": dict(collections.Counter(status for *_, status in rows + few)),
        "new_subject_admitted": sum(status == 200 for *_, status in few),
        "decided_without": sum(replica.metric('weir_store_fallback_decisions_total{kind="redis",mode="local"}') for replica in replicas),
        "return_s": round(took, 2),
        "sum_off_nano_usd": off_by(rig.port, f"steady-{way}", rows) + off_by(rig.port, f"hot-{way}", few),
    }


class Rig:
    """Redis, and the line to it"""

    def __init__(self, directory):
        self.dir, self.port, self.line = directory, free_port(), free_port()
        self.server = redis(self.port, directory)
        command = [sys.executable, os.path.abspath(__file__), "--line", str(self.line), str(self.port)]
        self.wire = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.wire.stdout.readline()

    def goes(self, way):
        if way == "paused":
            self.server.send_signal(signal.SIGSTOP)
        elif way == "killed":
            self.server.kill()
            self.server.wait()
        else:
            self.wire.send_signal(signal.SIGUSR1)

    def comes(self, way):
        if way == "paused":
            self.server.send_signal(signal.SIGCONT)
        elif way == "killed":
            self.server = redis(self.port, self.dir)
        else:
            self.wire.send_signal(signal.SIGUSR2)

    def end(self):
        self.server.kill()
        self.wire.kill()


def problems(row):
    worse = row["p99_ms"][1] - row["p99_ms"][0]
    most = LIMIT + REPLICAS * ALLOWANCE
    return [text for bad, text in (
        (worse > 1, f"p99 is {worse:.3f} ms worse"),
        (not set(row["answers"]) <= {200, 429}, "answers other than 200 and 429"),
        (row["new_subject_admitted"] > most, f"more than {most} of a limit of {LIMIT}"),
        (row["return_s"] > 5, "the return takes over 5 s"),
        (row["sum_off_nano_usd"] != 0, "the sums differ"),
    ) if bad]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weir", help="the release binary")
    p.add_argument("--seconds", type=float, default=60, help="how long Redis is away, each time (%(default)s)")
    p.add_argument("--before", type=float, default=5, help="how long it is there before and after (%(default)s)")
    p.add_argument("--ways", default=",".join(WAYS), help="%(default)s")
    p.add_argument("--line", nargs=2, type=int, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.line:
        return asyncio.run(line(*args.line))
    weir = os.path.abspath(args.weir)
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    directory = tempfile.mkdtemp(prefix="weir-outage-")
    rig = Rig(directory)
    replicas = [Replica(weir, service.server_address[1], rig.line, directory) for _ in range(REPLICAS)]
    failed = False
    try:
        for replica in replicas:
            replica.until('weir_store_up{kind="redis"}', 1.0)
        for way in args.ways.split(","):
            row = outage(way, args, replicas, rig)
            row["problems"] = problems(row)
            failed |= bool(row["problems"])
            print(json.dumps(row), flush=True)
    finally:
        for replica in replicas:
            replica.process.kill()
            replica.process.wait()
        rig.end()
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
