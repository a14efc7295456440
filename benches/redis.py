#!/usr/bin/env python3
"""What a Redis costs, in one run: a decision on each store, the proxy on each store, and Redis away.

Needs redis-server, redis-cli, wrk, h2load, cc, openssl and curl. Loopback only; benches/peers.sh calls it. Example:
    benches/redis.py --weir target/release/weir
Prints what each part prints, and at the end one table with what is aimed at. Exits 1 when an aim is missed.
"""
import argparse, json, os, re, shlex, shutil, statistics, subprocess, sys, tempfile

from outage import cli, redis
from peers import free_port

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
DECISION = re.compile(r"^(?P<store>\S.*?) +(?P<subjects>\d+) subjects: +(?P<rate>[\d.]+) decisions/s, +(?P<cpu>[\d.]+) us CPU each, (?P<commands>[\d.]+) commands each")
PACED = re.compile(r"^Redis paced .* (?P<commands>[\d.]+) commands each")
RETURN = re.compile(r"^Redis return .*: (?P<entries>\d+) entries known (?P<seconds>[\d.]+) s")
STORES = {
    "embedded": 'url = "embedded:DIR/data"',
    "leased": 'url = "redis://127.0.0.1:REDIS/1"\njournal = "DIR/journal-leased"',
    "direct": 'url = "redis://127.0.0.1:REDIS/2"\njournal = "DIR/journal-direct"\nshare = "0%"',
}


def said(command, quick, **more):
    """runs it, shows what it prints, and returns that"""
    env = {**os.environ, **({"QUICK": "1"} if quick else {})}
    run = subprocess.Popen(command, cwd=REPO, env=env, stdout=subprocess.PIPE, text=True, **more)
    lines = []
    for line in run.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    return lines, run.wait()


def decisions(args):
    command = shlex.split(args.store) if args.store else ["cargo", "bench", "--quiet", "--bench", "store"]
    lines, status = said(command, args.quick)
    if status:
        sys.exit("the bench of the stores failed")
    rows = []
    for found in filter(None, map(DECISION.match, lines)):
        store, subjects = found["store"], found["subjects"]
        aim = 0.05 if store == "Redis leased" else None
        rows.append((f"{store}, {subjects} subjects: decisions per second", float(found["rate"]), None, True))
        rows.append((f"{store}, {subjects} subjects: CPU per decision, us", float(found["cpu"]), None, True))
        if store != "embedded":
            commands = float(found["commands"])
            rows.append((f"{store}, {subjects} subjects: commands per request", commands, aim and f"< {aim}", not aim or commands < aim))
    for found in filter(None, map(PACED.match, lines)):
        commands = float(found["commands"])
        rows.append(("Redis leased, 100 subjects of 10 requests/s: commands per request", commands, "< 0.05", commands < 0.05))
    for found in filter(None, map(RETURN.match, lines)):
        seconds = float(found["seconds"])
        rows.append((f"Redis back: seconds until it knows {found['entries']} decisions", seconds, "<= 5", seconds <= 5))
    return rows


def proxies(args, directory):
    port = free_port()
    server = redis(port, directory)
    text = open(os.path.join(HERE, "peers", "weir.policy.toml")).read()
    keys = os.path.join(directory, "keys.toml")
    digest = subprocess.run(["sha256sum"], input="key-0123456789abcdef", capture_output=True, text=True).stdout.split()[0]
    with open(keys, "w") as file:
        file.write(f'[[key]]\nid = "k_bench"\nsubject = "bench"\ntier = "bench"\nsha256 = "{digest}"\ncreated = "2026-01-01T00:00:00Z"\n')
    figures = os.path.join(directory, "figures.json")
    command = [sys.executable, os.path.join(HERE, "peers.py"), "-p", "", "-m", "policy", "-l", args.loads, "-b", "embedded", "-o", figures]
    command += ["-r", "1" if args.quick else "3", "-s", "2" if args.quick else "4"]
    for name, store in STORES.items():
        policy = os.path.join(directory, f"{name}.toml")
        with open(policy, "w") as file:
            store = store.replace("DIR", directory).replace("REDIS", str(port))
            file.write(text.replace('url = "embedded:STORE/data"', store).replace("STORE", directory))
        command += ["-e", f"{name}:policy:{args.weir} run --policy {{conf}} --threads 1", "-t", f"{name}:policy:{policy}"]
    try:
        _, status = said(command, args.quick)
        counted = cli(port, "-n", "1", "dbsize"), cli(port, "-n", "2", "dbsize")
    finally:
        server.kill()
        server.wait()
    if status or "0" in counted:
        sys.exit("the proxies did not count on Redis")
    return shares_of(json.load(open(figures))["runs"], args.loads.split(","))


def shares_of(runs, loads):
    """throughput and CPU beside the embedded store, repetition by repetition"""
    rows = []
    for load in loads:
        for name in ("leased", "direct"):
            of = lambda who, key: [run[key] for run in runs if (run["name"], run["load"]) == (who, load)]
            rate = statistics.median(mine / base for mine, base in zip(of(name, "rps"), of("embedded", "rps")))
            cpu = statistics.median(mine / base for mine, base in zip(of(name, "cpu_us"), of("embedded", "cpu_us")))
            aim = name == "leased"
            rows.append((f"proxy, {load}: throughput on Redis {name} / embedded", round(rate, 3), ">= 0.85" if aim else None, not aim or rate >= 0.85))
            rows.append((f"proxy, {load}: CPU per request on Redis {name} / embedded", round(cpu, 3), None, True))
            errors = sum(of(name, "errors"))
            if errors:
                rows.append((f"proxy, {load}: errors on Redis {name}", errors, "0", False))
    return rows


def away(args):
    command = [sys.executable, os.path.join(HERE, "outage.py"), "--weir", args.weir]
    command += ["--seconds", "10", "--before", "3"] if args.quick else ["--seconds", "60"]
    lines, _ = said(command, args.quick)
    rows = []
    for row in map(json.loads, filter(lambda line: line.startswith("{"), lines)):
        way, (before, gone, after) = row["way"], row["p99_ms"]
        rows.append((f"Redis {way}: p99 before, meanwhile and after, ms", f"{before} {gone} {after}", "at most 1 worse", gone - before <= 1))
        rows.append((f"Redis {way}: answers", " ".join(f"{n} x {s}" for s, n in row["answers"].items()), "200 and 429", set(row["answers"]) <= {"200", "429"}))
        rows.append((f"Redis {way}: admitted of a limit of 400, meanwhile", row["new_subject_admitted"], "<= 700", row["new_subject_admitted"] <= 700))
        rows.append((f"Redis {way}: seconds until it is back and knows all", row["return_s"], "<= 5", row["return_s"] <= 5))
        rows.append((f"Redis {way}: sums differ by, nano-dollars", row["sum_off_nano_usd"], "0", row["sum_off_nano_usd"] == 0))
    if len(rows) < 15:
        rows.append(("Redis away: all ways were tried", "no", "yes", False))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weir", required=True, help="the release binary")
    p.add_argument("--store", metavar="COMMAND", help="what measures the stores (cargo bench --bench store)")
    p.add_argument("--loads", default="get,h2,c1", help="of peers.py (%(default)s)")
    p.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")), help="two minutes instead of seven")
    p.add_argument("--parts", default="decisions,proxies,away", help="%(default)s")
    args = p.parse_args()
    args.weir = os.path.abspath(args.weir)
    directory = tempfile.mkdtemp(prefix="weir-redis-bench-", dir=os.path.join(REPO, "target"))
    rows = []
    try:
        for part in args.parts.split(","):
            print(f"\n### {part}\n", flush=True)
            rows += {"decisions": lambda: decisions(args), "proxies": lambda: proxies(args, directory), "away": lambda: away(args)}[part]()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n### Redis: what it costs\n\n| measure | value | aim | |\n|---|---|---|---|")
    for measure, value, aim, met in rows:
        print(f"| {measure} | {value} | {aim or ''} | {'' if not aim else 'met' if met else '**missed**'} |")
    sys.exit(not all(met for *_, met in rows))


if __name__ == "__main__":
    main()
