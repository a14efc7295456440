#!/usr/bin/env python3
"""Holds and drives one Weir for long: idle TLS connections, streams, requests; memory and descriptors must come back.

Every load is put on twice or more. The first time may warm things up (buffers, tables, the allocator's own stock);
after that, memory at rest may not grow from one time to the next, and descriptors must be those of the beginning.
What is not on the loopback interface is never touched. Needs: cc, curl, wrk, h2load.
"""
import argparse, json, os, re, resource, ssl, subprocess, sys, tempfile, time, urllib.request

from peers import Proc, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
SPARE = 512            # descriptors for everything but the load
REST_S = 60            # how long memory and descriptors have to come back
STEADY = 3             # looks, a second apart, without a fall of memory that make a rest
SLACK_FDS = 16         # connections to the upstream, the watch, the store
SLACK_KIB = 8 << 10    # what memory at rest may differ by from one time to the next, on top of a tenth
STOCK_KIB = 32 << 10   # what it may keep over the beginning: buffers of the workers, the allocator's stock
POLICY = """
[listen]
address = "127.0.0.1:{port}"
certificate = "certs/server.crt"
key = "certs/server.key"
idle_timeout = "30m"
handshake_timeout = "1m"  # a thousand at once, on the cores that make the load as well
max_connections = 60000
[admin]
address = "127.0.0.1:{admin}"
[upstream]
url = "http://127.0.0.1:{up}"
pool_idle_timeout = "2s"  # so that what is left over is a leak, and not a stock
[[identity]]
from = "address"
tier = "soak"
[operations.all]
routes = ["* /**"]
cost = "$0.000001"
[tiers.soak]
quotas = {{ all = "1000000000/hour" }}
budget = {{ day = "$1000000" }}
[sanitize]
redact = ["credentials", "connection_strings", "stack_traces", "private_addresses"]
"""


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weir", required=True, help="the release binary")
    p.add_argument("--idle", type=int, default=10_000, help="idle TLS connections (%(default)s)")
    p.add_argument("--streams", type=int, default=1_000, help="streams at once (%(default)s)")
    p.add_argument("--seconds", type=int, default=30, help="how long streams run, each time and protocol (%(default)s)")
    p.add_argument("--requests", type=int, default=10_000_000, help="requests in all, half of them over HTTP/2 (%(default)s)")
    p.add_argument("--rounds", type=int, default=2, help="how often each load is put on, at least 2 (%(default)s)")
    p.add_argument("--json", help="write the rows to this file, too")
    return p.parse_args()


def need_descriptors(count):
    """raises the soft limit for us and our children, or says what to do"""
    need, hard = count + SPARE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < need:
        sys.exit(f"soak: {count} connections need {need} descriptors, and the hard limit is {hard}: "
                 f"raise it (ulimit -Hn {need}), or ask for fewer with --idle and --streams")
    resource.setrlimit(resource.RLIMIT_NOFILE, (need if hard == resource.RLIM_INFINITY else hard, hard))


class Weir:
    """the proxy, its upstream, and what the kernel says of it"""
    def __init__(self, binary, home):
        self.port, self.admin, up = free_port(), free_port(), free_port()
        upstream = os.path.join(home, "upstream")
        subprocess.run(["cc", "-O2", "-o", upstream, os.path.join(HERE, "peers", "upstream.c")], check=True)
        subprocess.run([binary, "cert", "dev", "--dir", "certs"], cwd=home, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(home, "policy.toml"), "w") as f:
            f.write(POLICY.format(port=self.port, admin=self.admin, up=up))
        self.log, cpus = os.path.join(home, "weir.log"), f"0-{os.cpu_count() - 1}"
        self.upstream = Proc(f"{upstream} {up}", cpus, home, os.path.join(home, "upstream.log"))
        # The access log goes the usual way, but not to a disk: ten million lines are gigabytes.
        self.proxy = Proc(f"sh -c 'exec {binary} run 2>/dev/null'", cpus, home, self.log)
        self.url = f"https://localhost:{self.port}"
        context = ssl.create_default_context(cafile=os.path.join(home, "certs", "ca.crt"))
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url + "/", timeout=5, context=context).read()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("soak: Weir does not come up")

    def pid(self):
        pids = self.proxy.pids()
        return pids[0] if pids else sys.exit("soak: Weir is gone")

    def now(self):
        """(resident KiB, descriptors)"""
        pid = self.pid()
        rss = int(re.search(r"^VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read(), re.M)[1])
        return rss, len(os.listdir(f"/proc/{pid}/fd"))

    def rest(self, fds=None):
        """the same once it is at rest: descriptors are back, and memory falls no more

        A few requests go on, as for every proxy in use: the allocator gives memory back when it is asked for some.
        """
        until, least, steady = time.time() + REST_S, None, 0
        while time.time() < until:
            subprocess.run(["h2load", "--h1", "-c8", "-n400", self.url + "/"], stdout=subprocess.DEVNULL, timeout=60, check=True)
            time.sleep(1)
            rss, open_now = self.now()
            falls = least is None or rss < least - 256
            least = rss if least is None else min(rss, least)
            steady = 0 if falls else steady + 1
            if steady >= STEADY and (fds is None or open_now <= fds + SLACK_FDS):
                return least, open_now
        return self.now()

    def stop(self):
        self.proxy.stop()
        self.upstream.stop()


def sampled(weir, process):
    """waits for a process; what it printed, and the most that Weir had meanwhile"""
    most = (0, 0)
    while process.poll() is None:
        most = tuple(map(max, most, weir.now()))
        time.sleep(0.2)
    return process.communicate()[0], most


def idle(weir, count):
    """opens connections, one request on each, and holds them: (held, most, failures)"""
    command = [sys.executable, os.path.join(HERE, "peers.py"), "--idle-client", str(weir.port), str(count)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    held, bad = map(int, client.stdout.readline().split())
    time.sleep(2)
    most = weir.now()
    client.stdin.close()
    client.wait()
    return held, most, bad


def run(weir, command, limit_s):
    process = subprocess.Popen(["timeout", str(limit_s)] + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    text, most = sampled(weir, process)
    if process.returncode:
        sys.exit(f"soak: {' '.join(command)}: {process.returncode}\n{text}")
    return text, most


def wrk_streams(weir, count, seconds):
    text, most = run(weir, ["wrk", "-t2", f"-c{count}", f"-d{seconds}s", "--timeout", "60s", weir.url + "/paced"], seconds + 120)
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    bad += sum(int(n) for found in re.findall(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text) for n in found)
    return int(re.search(r"(\d+) requests in", text)[1]), most, bad


def h2load(weir, options, path, limit_s):
    text, most = run(weir, ["h2load", "-t1"] + options + [weir.url + path], limit_s)
    found = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    bad = int(found[3]) + int(found[4]) + sum(map(int, re.findall(r"(\d+) [345]xx", text)))
    return int(found[2]), most, bad


def loads(asked):
    """(name, how to put it on, how often)"""
    many = max(10, asked.streams // 50)
    slices = max(5 if asked.requests >= 1_000_000 else 2, asked.rounds)
    each = asked.requests // 2 // slices
    slow = 60 + each // 1_000  # a thousand a second is a machine that has better things to do
    yield f"{asked.idle} idle", lambda w: idle(w, asked.idle), asked.rounds
    yield f"{asked.streams} streams, HTTP/1.1", lambda w: wrk_streams(w, asked.streams, asked.seconds), asked.rounds
    yield (f"{asked.streams} streams, HTTP/2",
           lambda w: h2load(w, [f"-c{many}", f"-m{asked.streams // many}", "-D", str(asked.seconds)], "/paced", asked.seconds + 120), asked.rounds)
    yield f"{each} requests, HTTP/1.1", lambda w: h2load(w, ["--h1", "-c32", "-n", str(each)], "/", slow), slices
    yield f"{each} requests, HTTP/2", lambda w: h2load(w, ["-c8", "-m16", "-n", str(each)], "/", slow), slices


def soak(weir, asked):
    """one row for each time that a load was put on"""
    start = weir.rest()
    rows = [{"load": "at the beginning", "round": 0, "done": 0, "failed": 0, "most": start, "rest": start}]
    show(rows[0])
    for name, put_on, times in loads(asked):
        for number in range(1, times + 1):
            began = time.time()
            done, most, bad = put_on(weir)
            row = {"load": name, "round": number, "done": done, "failed": bad, "most": most, "rest": weir.rest(start[1]), "s": time.time() - began}
            rows.append(row)
            show(row)
    return rows


def show(row):
    if row["round"] == 0:
        print(f"{'load':32} {'time':>4} {'done':>10} {'failed':>6} {'most MiB':>9} {'most fds':>9} {'rest MiB':>9} {'rest fds':>9} {'s':>6}")
    print(f"{row['load']:32} {row['round']:>4} {row['done']:>10} {row['failed']:>6} {row['most'][0] / 1024:>9.1f} {row['most'][1]:>9} "
          f"{row['rest'][0] / 1024:>9.1f} {row['rest'][1]:>9} {row.get('s', 0):>6.0f}", flush=True)


def complaints(rows):
    start_fds = rows[0]["rest"][1]
    for before, row in zip(rows, rows[1:]):
        what = f"{row['load']}, time {row['round']}"
        if row["failed"]:
            yield f"{what}: {row['failed']} failed"
        if row["rest"][1] > start_fds + SLACK_FDS:
            yield f"{what}: {row['rest'][1]} descriptors are left of {start_fds}"
        same = before["load"] == row["load"]
        if same and row["rest"][0] > before["rest"][0] * 1.1 + SLACK_KIB:
            yield f"{what}: memory at rest grew from {before['rest'][0]} to {row['rest'][0]} KiB"
    start, end = rows[0]["rest"][0], rows[-1]["rest"][0]
    if end > start + STOCK_KIB:
        yield f"at the end: {end} KiB are left of {start}"


def main():
    asked = arguments()
    asked.rounds = max(2, asked.rounds)
    need_descriptors(max(asked.idle, 2 * asked.streams))
    with tempfile.TemporaryDirectory(prefix="weir-soak-") as home:
        weir = Weir(os.path.abspath(asked.weir), home)
        try:
            rows = soak(weir, asked)
        finally:
            weir.stop()
    if asked.json:
        with open(asked.json, "w") as f:
            json.dump(rows, f, indent=1)
    wrong = list(complaints(rows))
    for line in wrong:
        print("soak: " + line, file=sys.stderr)
    held = next(row for row in rows if row["load"].endswith("idle"))
    print(f"\nan idle TLS connection takes {(held['most'][0] - rows[0]['rest'][0]) / max(1, held['done']):.1f} KiB")
    print("everything came back" if not wrong else f"{len(wrong)} things did not come back")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
