#!/usr/bin/env python3
"""Weir's two ways to use several cores, side by side: a runtime per core, and one that steals work.

Both run with two threads on all cores, in turn, against the same upstream and load; the load generator shares the cores, so
read the ratios. Prints, per load, requests per second, p99 latency and the proxy's own CPU per request.

  benches/runtimes.py WEIR_BINARY [REPETITIONS] [SECONDS]
"""
import hashlib, os, re, statistics, subprocess, sys, tempfile, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers

LOADS = {
    "get": ["-c64"],
    "post": ["-c64", "-s", os.path.join(peers.CONF, "post.lua")],
    "sse": ["-c32", "-s", os.path.join(peers.CONF, "sse.lua")],
}


def sidecar(binary, runtime, env):
    """starts one; the policy is that of the comparison with peers"""
    home = os.path.join(env["dir"], runtime)
    os.mkdir(home)
    digest = hashlib.sha256(peers.SEND["X-API-Key"].encode()).hexdigest()
    open(os.path.join(home, "keys.toml"), "w").write(
        f'[[key]]\nid = "k_bench"\nsubject = "bench"\ntier = "bench"\nsha256 = "{digest}"\ncreated = "2026-01-01T00:00:00Z"\n')
    port = peers.free_port()
    conf = peers.fill(os.path.join(peers.CONF, "weir.policy.toml"), {**env, "dir": home, "port": port, "admin": peers.free_port()})
    text = open(conf).read().replace("STORE", home)
    open(conf, "w").write(text)
    log = os.path.join(home, "log")
    command = f"sh -c \"exec {binary} run --policy {conf} --threads 2 --runtime {runtime} 2>/dev/null\""
    return port, peers.Proc(command, "0,1", home, log)


def load(kind, port, proc, seconds):
    heads = sum((["-H", f"{k}: {v}"] for k, v in peers.SEND.items()), [])
    before = proc.cpu()[0]
    out = subprocess.run(["wrk", "-t2", f"-d{seconds}s", "--latency", "--timeout", "10s", *LOADS[kind], *heads, f"https://127.0.0.1:{port}/"],
                         capture_output=True, text=True).stdout
    n = int(re.search(r"(\d+) requests in", out)[1])
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    return {"rps": n / seconds, "p99": peers.us(re.search(r"^ +99% +(\S+)", out, re.M)[1]), "cpu": (proc.cpu()[0] - before) * 1e6 / max(n, 1), "bad": bad}


def main():
    binary, reps, seconds = os.path.abspath(sys.argv[1]), int((sys.argv + [0, 3])[2] or 3), int((sys.argv + [0, 0, 4])[3] or 4)
    with tempfile.TemporaryDirectory(prefix="runtimes.", dir=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target")) as home:
        f = lambda name: os.path.join(home, name)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                        "-keyout", f("key.pem"), "-out", f("cert.pem")], check=True, capture_output=True)
        subprocess.run(["cc", "-O2", "-o", f("upstream"), os.path.join(peers.CONF, "upstream.c")], check=True)
        env = {"dir": home, "cert": f("cert.pem"), "key": f("key.pem"), "up": peers.free_port()}
        running = [peers.Proc(f"{f('upstream')} {env['up']}", "0,1", home, f("upstream.log"))]
        try:
            both = {}
            for runtime in ("per-core", "work-stealing"):
                port, proc = sidecar(binary, runtime, env)
                both[runtime] = (port, proc)
                running.append(proc)
            time.sleep(1.5)
            print("| load | runtime | req/s | p99 us | CPU us/req |\n|---|---|---|---|---|")
            for kind in LOADS:
                runs = {runtime: [] for runtime in both}
                for _ in range(reps):
                    for runtime, (port, proc) in both.items():
                        runs[runtime].append(load(kind, port, proc, seconds))
                for runtime, results in runs.items():
                    assert not sum(r["bad"] for r in results), f"{runtime} {kind}: refused requests"
                    m = lambda key: statistics.median(r[key] for r in results)
                    print(f"| {kind} | {runtime} | {m('rps'):.0f} | {m('p99'):.0f} | {m('cpu'):.1f} |")
                ratio = [a["cpu"] / b["cpu"] for a, b in zip(*runs.values())]
                rate = [a["rps"] / b["rps"] for a, b in zip(*runs.values())]
                print(f"| {kind} | ratio, per-core to work-stealing | {statistics.median(rate):.2f} | | {statistics.median(ratio):.2f} |")
        finally:
            for proc in running:
                proc.stop()


main()
