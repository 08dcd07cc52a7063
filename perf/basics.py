#!/usr/bin/env python3
"""The figures the language runtime promises, measured on this machine (medians; ratios against a baseline in the same run).

    perf/basics.py [--nostos build/release/nostos] [--runs 5] [NAME ...]

Rows: hello (start-up), fib (interpreter against C without inlining), parked (bytes per process), wordfreq (a 50 MB text),
counter (the 1000-process counter, 200 times). Every row checks the program's answer, so a fast wrong answer fails.
"""
import argparse
import collections
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
C_FIB = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
long fib(long n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
int main(int argc, char **argv)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    long r = fib(argc > 1 ? atol(argv[1]) : 35);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("@ms %f\\n%ld\\n", (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6, r);
}
"""


def run(cmd, **kw):
    start = time.perf_counter()
    out = subprocess.run(cmd, capture_output=True, text=True, **kw)
    wall = (time.perf_counter() - start) * 1000
    if out.returncode:
        sys.exit(f"{cmd}: exit {out.returncode}\n{out.stdout[-500:]}{out.stderr[-500:]}")
    return out.stdout, wall


def metric(text, name):
    return float(re.search(rf"@{name} ([-0-9.e+]+)", text).group(1))


def answer(text):
    return [line for line in text.splitlines() if not line.startswith("@")]


def peak_kb(cmd):
    """Peak RSS of one run, from the OS's accounting."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    out, wall = run(cmd)
    return max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), out, wall


def row_hello(opt, tmp):
    walls = []
    for _ in range(opt.runs * 3):
        out, wall = run([opt.nostos, str(ROOT / "examples/hello.nos")])
        assert out == "Hello, world!\n", out
        walls.append(wall)
    return f"{statistics.median(walls):.1f} ms wall (promise: <= 10)"


def row_fib(opt, tmp):
    src = tmp / "fib.c"
    src.write_text(C_FIB)
    exe = tmp / "fib"
    subprocess.run(["gcc", "-O2", "-fno-inline", "-fno-optimize-sibling-calls", src, "-o", exe], check=True)
    ratios = []
    for _ in range(opt.runs):
        c, _ = run([exe, "35"])
        n, _ = run([opt.nostos, str(ROOT / "perf/programs/fib.nos"), "35"])
        assert answer(c) == answer(n), (c, n)
        ratios.append(metric(n, "ms") / metric(c, "ms"))
    return f"{statistics.median(ratios):.1f} x C (promise: <= 20); spread {min(ratios):.1f} to {max(ratios):.1f}"


def row_parked(opt, tmp):
    sizes, spawns = [], []
    for _ in range(opt.runs):
        out, _ = run([opt.nostos, str(ROOT / "perf/programs/parked.nos"), "100000"])
        assert answer(out) == [str(100000 * 100001 // 2)], out
        sizes.append(metric(out, "bytes_per_proc"))
        spawns.append(metric(out, "spawn_us"))
    return (f"{statistics.median(sizes):.0f} bytes RSS a process (promise: <= 1024), "
            f"{statistics.median(spawns):.2f} us to spawn")


def make_text(path, megabytes):
    rng = random.Random(4)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 11))) for _ in range(20000)]
    weights = [1 / (i + 1) for i in range(len(words))]
    counts = collections.Counter()
    with open(path, "w", encoding="utf-8") as f:
        size = 0
        while size < megabytes * 1_000_000:
            line = rng.choices(words, weights, k=12000)
            counts.update(line)
            text = "\n".join(" ".join(line[i:i + 12]) for i in range(0, len(line), 12)) + "\n"
            size += len(text)
            f.write(text)
    return counts


def row_wordfreq(opt, tmp):
    path = tmp / "text.txt"
    counts = make_text(path, 50)
    want = sorted(counts.items(), key=lambda e: (-e[1], e[0]))[:5]
    expected = [f"{sum(counts.values())} words, {len(counts)} different"]
    expected += [f"{str(n).rjust(8)} {w}" for w, n in want]
    kb, out, wall = peak_kb([opt.nostos, str(ROOT / "examples/wordfreq.nos"), str(path), "5"])
    assert out.splitlines() == expected, (out, expected)
    with open(path, "rb") as f:
        out, _ = run([opt.nostos, str(ROOT / "examples/wordfreq.nos"), "-", "5"], stdin=f)
    assert out.splitlines() == expected, out
    return f"50 MB in {wall / 1000:.1f} s, peak {kb / 1024:.0f} MB RSS (promise: <= 400), file and standard input agree"


def row_counter(opt, tmp):
    for _ in range(200):
        out, _ = run([opt.nostos, str(ROOT / "examples/counter.nos")])
        assert out == "Final: 1000\n", out
    return "Final: 1000, 200 runs"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nostos", default=str(ROOT / "build/release/nostos"))
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("rows", nargs="*")
    opt = ap.parse_args()
    rows = {name[4:]: fn for name, fn in globals().items() if name.startswith("row_")}
    with tempfile.TemporaryDirectory() as tmp:
        for name in opt.rows or rows:
            print(f"{name:10} {rows[name](opt, pathlib.Path(tmp))}", flush=True)


if __name__ == "__main__":
    os.environ.pop("NOS_GC_STRESS", None)
    main()
