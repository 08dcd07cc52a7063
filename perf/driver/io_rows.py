"""Rows that need servers, sockets, files or PostgreSQL: perf/run --group io. Everything on 127.0.0.1, every loop bounded.

Nostos joins a row as soon as perf/programs has the program: http.nos PORT, httppg.nos PORT (PG* variables name the server),
httpclient.nos PORT N, fileread.nos DIR N, pgsleep.nos N, pgsmall.nos QUERIES CONNECTIONS. Servers answer `/` with
"Hello, World!", /delay/<i> with <i> after 100 ms, /transfer with two updates in one transaction.
"""
import contextlib
import glob
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

from . import languages, measure
from .languages import OUT
from .rows import Row

HELLO = b"Hello, World!"
PG_PORT = 25432   # below the ports that connections of clients get: the row before may have used all of those
PG_ENV = {"PGHOST": "127.0.0.1", "PGPORT": str(PG_PORT), "PGUSER": "bench", "PGDATABASE": "bench", "PGSSLMODE": "disable"}
NAMES = ("http", "http_all", "idle", "held", "httpclient", "fileread", "pgsleep", "pgsmall", "httppg")
HELD = 20000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += tree(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for p in tree(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def threads(pid):
    total = 0
    for p in tree(pid):
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{p}/task"))
    return total


def memory_kb(pid):
    """Proportional set size, so that pages shared by several processes count once."""
    total = 0
    for p in tree(pid):
        with contextlib.suppress(OSError, AttributeError):
            text = pathlib.Path(f"/proc/{p}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
    return total


@contextlib.contextmanager
def server(command, port, env=None):
    """A running server, or None when it does not come up within 15 s."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=dict(os.environ, **(env or {})), start_new_session=True)
    try:
        end, up = time.monotonic() + 15, False
        while not up and time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                up = True
            except OSError:
                time.sleep(0.05)
        yield process.pid if up else None
    finally:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break


def microseconds(text):
    m = re.match(r"([\d.]+)(us|ms|s|m)$", text)
    return float(m[1]) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[m[2]] if m else float("nan")


def wrk(url, connections, seconds):
    text = subprocess.run([languages.tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url],
                          capture_output=True, text=True, timeout=seconds + 30).stdout

    def find(pattern):
        m = re.search(pattern, text)
        return m[1] if m else "0"
    return {"requests": int(find(r"(\d+) requests in")), "req_per_s": float(find(r"Requests/sec:\s+([\d.]+)")),
            "p50_us": microseconds(find(r"50%\s+(\S+)")), "p99_us": microseconds(find(r"99%\s+(\S+)")),
            "errors": int(find(r"Non-2xx or 3xx responses: (\d+)"))
            + sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))}


def summary(name, shown, langs, note):
    """The shape of measure.row: a list of metric dictionaries for each language."""
    out = {"name": name, "group": "io", "args": [], "note": note, "shown": shown, "valid": True, "langs": {}}
    for lang, runs in langs.items():
        if isinstance(runs, str) or any(r["errors"] for r in runs):
            out["langs"][lang] = {"failed": runs if isinstance(runs, str) else "requests failed"}
            out["valid"] = False
            continue
        keys = runs[0]
        out["langs"][lang] = {"runs": len(runs), "median": {k: statistics.median(r[k] for r in runs) for k in keys},
                              "min": {k: min(r[k] for r in runs) for k in keys}}
    return out


def load(name, path, connections, langs, opt, env=None, check=None, program="", cores=0):
    """wrk against a server in each language. `ms` is the CPU time of 1,000 requests: wrk itself takes most of a core."""
    seconds, result = 1 if opt.quick else 5, {}
    for lang in langs:
        port = free_port()
        row = Row(name, group="io", program=program, cores=cores)
        command = languages.command(lang, row, [str(port)], opt.nostos)
        if not command:
            continue
        with server(command, port, env) as pid:
            url = f"http://127.0.0.1:{port}{path}"
            if not pid:
                result[lang] = "the server did not start"
                continue
            with urllib.request.urlopen(url, timeout=5) as answer:
                if check and answer.read() != check:
                    result[lang] = "wrong answer"
                    continue
            wrk(url, connections, 1)
            result[lang] = []
            for _ in range(opt.runs):
                before = cpu_seconds(pid)
                run = wrk(url, connections, seconds)
                run["cpu_ms"] = (cpu_seconds(pid) - before) * 1e3
                run["cpu_us_per_req"] = run["ms"] = run["cpu_ms"] * 1e3 / max(1, run["requests"])
                run["rss_mb"] = memory_kb(pid) / 1024
                run["threads"] = threads(pid)
                run["spare_threads"] = run["threads"] - os.cpu_count()
                result[lang].append(run)
    return summary(name, ["req_per_s", "p50_us", "p99_us", "cpu_us_per_req", "threads"], result, "ms: CPU ms of 1,000 requests")


def most_connections():
    """How many the limit of open files allows, at each end."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return HELD if hard == resource.RLIM_INFINITY else min(HELD, hard - 100)


def idle(name, count, langs, opt):
    """Memory of an idle keep-alive connection; are they all there afterwards?"""
    result = {}
    client = languages.build_c("c", "idleconns")
    for lang in langs if client else []:
        port = free_port()
        command = languages.command(lang, Row("http"), [str(port)], opt.nostos)
        if not command:
            continue
        with server(command, port) as pid:
            if not pid:
                result[lang] = "the server did not start"
                continue
            # Once everything is warm: what a request needs is not a connection's.
            wrk(f"http://127.0.0.1:{port}/", 8, 1)
            before, start = memory_kb(pid), time.monotonic()
            with subprocess.Popen([client, str(port), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
                ready = p.stdout.readline().strip() == "ready"
                ms = (time.monotonic() - start) * 1e3
                time.sleep(1)
                cpu = cpu_seconds(pid)
                time.sleep(2)
                held = sum(sockets(q) for q in tree(pid)) if ready else 0
                result[lang] = [{"ms": ms, "errors": not ready or held < count, "held": held, "threads": threads(pid), "bytes_per_conn": (memory_kb(pid) - before) * 1024 / count,
                                 "idle_cpu_ms": (cpu_seconds(pid) - cpu) * 1e3, "cpu_ms": cpu_seconds(pid) * 1e3,
                                 "rss_mb": memory_kb(pid) / 1024}]
                p.stdin.close()
    return summary(name, ["held", "bytes_per_conn", "idle_cpu_ms"], result, f"{count} connections; ms: to open and serve all")


def sockets(pid):
    found = 0
    for fd in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(fd.path).startswith("socket:")
    return found


def client(name, program, args, metrics, langs, opt, env=None):
    row = Row(name, " ".join(args), " ".join(args), group="io", program=program, metrics=metrics)
    old = {key: os.environ.get(key) for key in env or {}}
    os.environ.update(env or {})
    try:
        return measure.row(row, langs, opt)
    finally:
        for key, value in old.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def http_clients(langs, opt):
    """Concurrent GETs of a page that takes 100 ms, from a server in Go."""
    exe = languages.build_go("http") if languages.tool("go") else None
    if not exe:
        return []
    port = free_port()
    with server([exe, str(port)], port):
        return [client(f"httpclient_{n}", "httpclient", [str(port), n], (), langs, opt) for n in ("100", "1000")]


def files():
    """1,000 files of 16 KiB and one of 200 MB."""
    data = OUT / "data"
    data.mkdir(parents=True, exist_ok=True)
    big, block = data / "big", random.Random(1).randbytes(1 << 20)
    if not big.exists() or big.stat().st_size != 200 << 20:
        for i in range(1000):
            (data / f"f{i}").write_bytes(block[i:i + 16384])
        with open(big, "wb") as f:
            for _ in range(200):
                f.write(block)
    return data


def pg_tool(name):
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return languages.tool(name) or (found[-1] if found else None)


@contextlib.contextmanager
def postgres():
    """A server of our own with the table of the transfer row; yields False when PostgreSQL is not installed."""
    if not (pg_tool("initdb") and pg_tool("pg_ctl") and languages.tool("psql")):
        yield False
        return
    home = pathlib.Path(tempfile.mkdtemp(prefix="perf-pg-"))
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []   # PostgreSQL refuses to run as root
    if user:
        shutil.chown(home, "postgres", "postgres")

    def run(*command):
        subprocess.run([*user, *map(str, command)], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def sql(text, database="bench"):
        subprocess.run([languages.tool("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text], check=True,
                       env=dict(os.environ, **PG_ENV), stdout=subprocess.DEVNULL)
    try:
        run(pg_tool("initdb"), "-D", home / "db", "-A", "trust", "-U", "bench", "--no-sync")
        options = f"-p {PG_PORT} -h 127.0.0.1 -k {home} -c max_connections=300 -c shared_buffers=128MB -c fsync=off"
        try:
            run(pg_tool("pg_ctl"), "-D", home / "db", "-w", "-l", home / "log", "-o", options, "start")
        except subprocess.CalledProcessError as e:
            log = home / "log"
            raise SystemExit("PostgreSQL does not start:\n" + (log.read_text() if log.exists() else str(e)))
        sql("CREATE DATABASE bench", "postgres")
        sql("CREATE TABLE web_users (id SERIAL PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, credits INT DEFAULT 100, "
            "created_at TIMESTAMP DEFAULT NOW())")
        sql("INSERT INTO web_users (name, email) SELECT 'User ' || i, 'user' || i || '@example.com' FROM generate_series(1, 100) i")
        yield True
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run(pg_tool("pg_ctl"), "-D", home / "db", "-m", "fast", "-w", "stop")
        shutil.rmtree(home, ignore_errors=True)


def run(wanted, langs, opt):
    """The io rows called `wanted` that can run here."""
    rows = []
    if languages.tool("wrk"):
        # wrk takes a core. A server with a thread for each core shares one with it, and then what the slowest requests
        # wait for is the system's scheduler: so a row where servers take the other cores, and one where they choose.
        if "http" in wanted:
            rows.append(load("http", "/", 64, langs, opt, check=HELLO, cores=max(1, os.cpu_count() - 1)))
        if "http_all" in wanted:
            rows.append(load("http_all", "/", 64, langs, opt, check=HELLO, program="http"))
        if "idle" in wanted:
            rows.append(idle("idle", 500 if opt.quick else 10000, langs, opt))
        if "held" in wanted:
            rows.append(idle("held", 1000 if opt.quick else most_connections(), langs, opt))
    if "httpclient" in wanted:
        rows += http_clients(langs, opt)
    if "fileread" in wanted:
        rows.append(client("fileread", "fileread", [str(files()), "1000"], ("small_ms", "big_ms"), langs, opt))
    if {"pgsleep", "pgsmall", "httppg"} & set(wanted):
        with postgres() as up:
            if up and "pgsleep" in wanted:
                rows.append(client("pgsleep_100", "pgsleep", ["100"], ("connect_ms",), langs, opt, PG_ENV))
            if up and "pgsmall" in wanted:
                rows.append(client("pgsmall_10k", "pgsmall", ["10000", "10"], (), langs, opt, PG_ENV))
            if up and "httppg" in wanted and languages.tool("wrk"):
                rows.append(load("httppg", "/transfer", 100, langs, opt, PG_ENV))
    return rows
