#!/usr/bin/env python3
"""How long one operation on big data keeps its worker: a ticker of 1 ms runs beside it on ONE worker.

    perf/slices.py [--nostos build/release/nostos] [--n 1000000] [NAME ...]

For each row of the table: how late the ticks come while the operation runs over and over (median, 99th percentile, worst), and how
long a Process.kill of the operating process takes until it is dead. On a busy machine only the median says something: an operation
that does not leave its worker makes every tick late. "gc" is the row to compare with: its lateness is collections only.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# name: (setup, operation). `n` is the size; the operation's value is thrown away.
LIST, TEXT = "xs = range(0, n).map(i => (i * 7919) % n)", 's = "lorem ipsum, ".repeat(n * 4)'
STRINGS = "xs = range(0, n).map(i => show((i * 7919) % n))"
MAP = "m = Map.fromList(range(0, n).map(i => (i, i)))"
SET = "m = Set.fromList(range(0, n))"
TABLE = {
    "length": (LIST, "xs.tail().length()"),
    "index": (LIST, "xs.tail()[n - 2]"),
    "reverse": (LIST, "xs.reverse()"),
    "append": (LIST, "xs ++ [1]"),
    "concat": (LIST, "concat(xs, [1])"),
    "range": ("", "range(0, n)"),
    "take": (LIST, "xs.take(n - 1)"),
    "drop": (LIST, "xs.drop(n - 1)"),
    "sum": (LIST, "xs.sum()"),
    "sort": (LIST, "xs.sort()"),
    "sortStrings": (STRINGS, "xs.sort()"),
    "unique": (LIST, "xs.unique()"),
    "show": (LIST, "show(xs)"),
    "equal": (LIST + "\n    ys = xs.map(x => x)", "xs == ys"),
    "equalNested": ("xs = range(0, n).map(i => [i])\n    ys = xs.map(x => x)", "xs == ys"),
    "compare": (LIST + "\n    ys = xs.map(x => x)", "xs < ys"),
    "join": (STRINGS, 'xs.join(",")'),
    "split": (TEXT, 's.split(",")'),
    "lines": ('s = "lorem ipsum\\n".repeat(n)', "s.lines()"),
    "words": (TEXT, "s.words()"),
    "chars": (TEXT, "s.chars()"),
    "fromChars": ("xs = \"lorem \".repeat(n / 6).chars()", "String.fromChars(xs)"),
    "replaceAll": (TEXT, 's.replaceAll("ipsum", "dolor")'),
    "toUpper": (TEXT, "s.toUpper()"),
    "toLower": (TEXT, "s.toLower()"),
    "repeat": ("", '"lorem ipsum, ".repeat(n * 4)'),
    "stringReverse": (TEXT, "s.reverse()"),
    "indexOf": (TEXT, 's.indexOf("dolor")'),
    "contains": (TEXT, 's.contains("ipsum, lorem ipsum; ")'),
    "stringEqual": (TEXT + '\n    t = "lorem ipsum, ".repeat(n * 4)', "s == t"),
    "stringConcat": (TEXT, 's ++ s'),
    "mapFromList": ("xs = range(0, n).map(i => (i, i))", "Map.fromList(xs)"),
    "mapToList": (MAP, "m.toList()"),
    "mapKeys": (MAP, "m.keys()"),
    "mapEqual": (MAP + "\n    k = Map.fromList(range(0, n).map(i => (i, i)))", "m == k"),
    "mapShow": (MAP, "show(m)"),
    "mapMerge": (MAP, "m.merge(Map.fromList([(1, 2), (3, 4)]))"),
    "mapUnion": (MAP + "\n    k = Map.fromList(range(n / 2, n + n / 2).map(i => (i, i)))", "m.union(k)"),
    "setUnion": (SET + "\n    k = Set.fromList(range(n / 2, n + n / 2))", "m.union(k)"),
    "setSubset": (SET, "m.isSubset(m)"),
    "arrayFromList": (LIST, "Int64Array.fromList(xs)"),
    "arrayToList": (LIST + "\n    a = Int64Array.fromList(xs)", "a.toList()"),
    "arrayMake": ("", "Int64Array.make(n * 6, 1)"),
    "arrayEqual": ("a = Int64Array.make(n * 6, 1)\n    b = Int64Array.make(n * 6, 1)", "a == b"),
    "bytesToList": ('b = Bytes.fromString("lorem ipsum ".repeat(n / 12))', "b.toList()"),
    "shuffle": (LIST, "Random.shuffle(xs)"),
    "bigPow": ("b = 3.toBigInt()", "pow(b, (n / 4).toBigInt())"),
    "bigMul": ("b = pow(3.toBigInt(), (n / 2).toBigInt())", "b * b"),
    "bigShow": ("b = pow(3.toBigInt(), (n / 4).toBigInt())", "show(b)"),
    "send": (LIST + "\n    sink = spawn { drain() }", "send(sink, xs)"),
    "copy": (LIST, "copy(xs)"),
    "gc": (LIST, "Gc.collect()"),
}

PROGRAM = """
drain() -> () = {{
    receive {{ _ -> () }}
    drain()
}}

worker(n: Int, parent: Pid) = {{
    {setup}
    send(parent, "ready")
    while true {{
        _ = {operation}
    }}
}}

tick(n: Int, late: List[Int]) -> List[Int] = if n == 0 then late else {{
    t = Time.monotonicNs()
    sleep(1)
    tick(n - 1, [Time.monotonicNs() - t - 1000000 | late])
}}

main() = {{
    Runtime.setWorkers(1)
    me = self()
    w = spawn {{ worker({n}, me) }}
    receive {{ "ready" -> () }}
    late = tick({ticks}, []).sort()
    t = Time.monotonicNs()
    Process.monitor(w)
    Process.kill(w)
    receive {{ ("DOWN", _, _, _) -> () }}
    println("@kill_us ${{(Time.monotonicNs() - t) / 1000}}")
    println("@p50_us ${{late[late.length() / 2] / 1000}}")
    println("@p99_us ${{late[late.length() * 99 / 100] / 1000}}")
    println("@max_us ${{late[late.length() - 1] / 1000}}")
}}
"""


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nostos", default=str(ROOT / "build/release/nostos"))
    ap.add_argument("--n", type=int, default=1000000)
    ap.add_argument("--ticks", type=int, default=200)
    ap.add_argument("names", nargs="*")
    opt = ap.parse_args()
    print(f"{'operation':16}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'kill ms':>10}")
    failed = 0
    for name, (setup, operation) in TABLE.items():
        if opt.names and name not in opt.names:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".nos") as f:
            f.write(PROGRAM.format(setup=setup, operation=operation, n=opt.n, ticks=opt.ticks))
            f.flush()
            done = subprocess.run([opt.nostos, f.name], capture_output=True, text=True, timeout=300)
        if done.returncode:
            print(f"{name:16} failed: {done.stderr.strip()[-300:]}{done.stdout[-300:]}")
            failed = 1
            continue
        got = {k: float(re.search(rf"@{k}_us (-?\d+)", done.stdout).group(1)) / 1000 for k in ("p50", "p99", "max", "kill")}
        print(f"{name:16}{got['p50']:10.2f}{got['p99']:10.2f}{got['max']:10.2f}{got['kill']:10.2f}", flush=True)
    return failed


sys.exit(main())
