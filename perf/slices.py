#!/usr/bin/env python3
"""How long one operation on big data keeps its worker.

    perf/slices.py [--nostos build/release/nostos] [--n 1000000] [NAME ...]
    perf/slices.py --ticker [NAME ...]

For each row of the table the operation runs over and over for a while, and NOS_SLICE_STATS=1 says how much CPU time the longest
slice took, with and without collections, and how many of the slices took more than 1 ms. CPU time, because lateness in wall-clock
time says little on a busy machine.

--ticker measures what a program sees instead: a ticker of 1 ms runs beside the operation on ONE worker; how late the ticks come
(median, 99th percentile, worst), and how long a Process.kill of the operating process takes until it is dead.
"""
import argparse
import os
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
RECORDS = 'xs = range(0, n / 8).map(i => %{"id": i, "long": 123456789})\n    s = Json.stringify(xs)\n    j = Json.parse(s)'
TABLE = {
    "jsonParse": (RECORDS, "Json.parse(s)"),
    "jsonStringify": (RECORDS, "Json.stringify(j)"),
    "jsonReflect": (RECORDS, "reflect(xs)"),
    "jsonDecode": (RECORDS, "fromJson[List[Map[String, Int]]](j)"),
    "jsonLongString": (TEXT + "\n    t = Json.stringify(s)", "Json.parse(t)"),
    "jsonLongText": (TEXT, "Json.stringify(s)"),
    "jsonKeys": (MAP, "Json.stringify(m)"),
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
    "hash": (LIST, "hash(xs)"),
    "hashMap": (MAP, "hash(m)"),
    "hashString": ("", 'hash("lorem ipsum, ".repeat(n * 4))'),
    "compareNative": (LIST + "\n    ys = xs.map(x => x)", "compare(xs, ys)"),
    "min": (LIST + "\n    ys = xs.map(x => x)", "min(xs, ys)"),
    "assertEq": (LIST + "\n    ys = xs.map(x => x)", "assert_eq(xs, ys)"),
    "lastIndexOf": (TEXT, 's.lastIndexOf("dolor")'),
    "randomBytes": ("", "Random.bytes(n)"),
    "randomChoice": (LIST, "Random.choice(xs.tail())"),
    "nonAsciiConcat": ('s = "é, ".repeat(n * 4)', "s ++ s"),
    "nonAsciiSlice": ("", '"é, ".repeat(n * 4).substring(n, n * 3)'),
    "nonAsciiLength": ("", '"é, ".repeat(n * 4).length()'),
    "mapIntersection": (MAP + "\n    k = Map.fromList(range(n / 2, n + n / 2).map(i => (i, i)))", "m.intersection(k)"),
    "mapDifference": (MAP + "\n    k = Map.fromList(range(n / 2, n + n / 2).map(i => (i, i)))", "m.difference(k)"),
    "setFromList": (LIST, "Set.fromList(xs)"),
    "setShow": (SET, "show(m)"),
    "arraySet": ("a = Int64Array.make(n * 6, 1)", "a.set(1, 2)"),
    "arraySum": ("a = Int64Array.make(n * 6, 1)", "sumInt64Array(a)"),
    "arrayShow": ("a = Int64Array.make(n, 1)", "show(a)"),
    "arraySend": ("a = Int64Array.make(n * 6, 1)\n    sink = spawn { drain() }", "send(sink, a)"),
    "bytesFromList": ('xs = Bytes.fromString("lorem ipsum ".repeat(n / 12)).toList()', "Bytes.fromList(xs)"),
    "bytesToString": ('b = Bytes.fromString("lorem ipsum ".repeat(n * 4))', "Bytes.toString(b)"),
    "bytesConcat": ('b = Bytes.fromString("lorem ipsum ".repeat(n * 4))', "Bytes.concat(b, b)"),
    "bufferAppend": ('s = "lorem ipsum, ".repeat(n)\n    b = Buffer.new()', "{ b.append(s)\n if b.length() > n * 40 then b.clear() else () }"),
    "bufferToString": ('b = Buffer.new()\n    b.append("lorem ipsum, ".repeat(n * 4))', "b.toString()"),
    "bigDiv": ("b = pow(3.toBigInt(), (n / 2).toBigInt())\n    c = pow(7.toBigInt(), (n / 8).toBigInt())", "b / c"),
    "bigParse": ('s = "7".repeat(n / 4)', "String.toBigInt(s)"),
    "interpolate": ('s = "lorem ipsum, ".repeat(n)', '"${s}${s}"'),
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


STATS = """
drain() -> () = {{
    receive {{ _ -> () }}
    drain()
}}

again(until: Int, f: () -> ()) -> () = {{
    f()
    if Time.monotonicNs() < until then again(until, f) else ()
}}

main() = {{
    Runtime.setWorkers(1)
    n = {n}
    {setup}
    again(Time.monotonicNs() + {ms} * 1000000, () => {{
        _ = {operation}
        ()
    }})
}}
"""


def run(opt, text, env=None):
    with tempfile.NamedTemporaryFile("w", suffix=".nos") as f:
        f.write(text)
        f.flush()
        return subprocess.run([opt.nostos, f.name], capture_output=True, text=True, timeout=300, env=env)


def stats(opt, setup, operation):
    done = run(opt, STATS.format(setup=setup, operation=operation, n=opt.n, ms=opt.ms), {**os.environ, "NOS_SLICE_STATS": "1"})
    m = re.search(r"slices: (\d+), longest ([\d.]+) ms, without collections ([\d.]+) ms; "
                  r"over 1 ms: (\d+), without collections (\d+)", done.stderr)
    return done, m and f"{m[1]:>10}{float(m[2]):10.2f}{float(m[3]):10.2f}{m[4]:>10}{m[5]:>10}"


def ticker(opt, setup, operation):
    done = run(opt, PROGRAM.format(setup=setup, operation=operation, n=opt.n, ticks=opt.ticks))
    got = [re.search(rf"@{k}_us (-?\d+)", done.stdout) for k in ("p50", "p99", "max", "kill")]
    return done, all(got) and "".join(f"{float(m[1]) / 1000:10.2f}" for m in got)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nostos", default=str(ROOT / "build/release/nostos"))
    ap.add_argument("--n", type=int, default=1000000)
    ap.add_argument("--ticker", action="store_true")
    ap.add_argument("--ticks", type=int, default=200)
    ap.add_argument("--ms", type=int, default=300, help="how long an operation is repeated")
    ap.add_argument("names", nargs="*")
    opt = ap.parse_args()
    heads = ("p50 ms", "p99 ms", "max ms", "kill ms") if opt.ticker else ("slices", "max ms", "no gc", "> 1 ms", "no gc")
    print(f"{'operation':16}" + "".join(f"{h:>10}" for h in heads))
    failed = 0
    for name, (setup, operation) in TABLE.items():
        if opt.names and name not in opt.names:
            continue
        done, row = (ticker if opt.ticker else stats)(opt, setup, operation)
        if done.returncode or not row:
            print(f"{name:16} failed: {done.stderr.strip()[-300:]}{done.stdout[-300:]}")
            failed = 1
            continue
        print(f"{name:16}{row}", flush=True)
    return failed


sys.exit(main())
