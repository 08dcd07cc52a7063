"""Runs a row in all its languages, interleaved so that other load hits all alike, and checks that they agree."""
import collections
import concurrent.futures
import dataclasses
import os
import random
import statistics
import subprocess

from . import languages
from .languages import OUT


def runone():
    exe, source = OUT / "runone", languages.PERF / "driver" / "runone.c"
    if not languages.compile_to(exe, [source], ["gcc", "-O2", "-static", "-o", exe, source]):
        raise SystemExit("perf/run needs gcc and the static C library")
    return exe


def once(command, timeout, stdin=None, copy=0):
    """One run: result lines, metrics, exit status. Runs at the same time are different copies."""
    report = OUT / f"report.{os.getpid()}.{copy}"
    report.unlink(missing_ok=True)
    with open(stdin or os.devnull, "rb") as source:
        done = subprocess.run(list(map(str, [runone(), report, timeout, *command])), capture_output=True, text=True,
                              errors="replace", stdin=source, env=dict(os.environ, ERL_CRASH_DUMP_BYTES="0"))
    wall, user, system, rss, status, switches = report.read_text().split()
    report.unlink()
    metrics = {"wall_ms": float(wall), "user_ms": float(user), "cpu_ms": float(user) + float(system),
               "rss_mb": int(rss) / 1024, "switches": int(switches)}
    metrics["cores_used"] = metrics["cpu_ms"] / max(metrics["wall_ms"], 1e-3)
    result = []
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            key, value = line[1:].split()
            metrics[key] = float(value)
        elif line.strip():
            result.append(line.strip())
    metrics.setdefault("ms", metrics["wall_ms"])
    return {"status": int(status), "result": "\n".join(result), "metrics": metrics, "stderr": done.stderr[-400:]}


TRIES = 5   # times `runs`, of a row with a speed-up


def speedup(row, lang, args, opt):
    """A run on all cores. Its metric `speedup` is how many times longer one core takes for the same while the others do it too: as
    many copies of the program at once, one worker each, right before it.

    What an otherwise idle machine needs with one worker would be another question here: its cores may be halves of one core, or
    somebody else's for a while, and then nothing gains from the second one.
    """
    command = languages.command(lang, dataclasses.replace(row, cores=1), args, opt.nostos)
    with concurrent.futures.ThreadPoolExecutor(row.cores) as pool:
        copies = list(pool.map(lambda k: once(command, opt.timeout, copy=k), range(row.cores)))
    run = once(languages.command(lang, row, args, opt.nostos), opt.timeout)
    run["metrics"]["speedup"] = statistics.mean(c["metrics"]["ms"] for c in copies) / max(run["metrics"]["ms"], 1e-3)
    return next((c for c in copies if c["status"] != 0), run)


def text_of(megabytes):
    """A text of English-like word frequencies and what wordfreq prints about it."""
    path, expect = OUT / f"text{megabytes}.txt", OUT / f"text{megabytes}.expect"
    if path.exists() and expect.exists():
        return path, expect.read_text()
    rng = random.Random(4)
    words = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 11))) for _ in range(20000)]
    weights = [1 / (i + 1) for i in range(len(words))]
    counts, size = collections.Counter(), 0
    with open(path, "w", encoding="utf-8") as f:
        while size < megabytes * 1_000_000:
            some = rng.choices(words, weights, k=12000)
            counts.update(some)
            size += f.write("\n".join(" ".join(some[i:i + 12]) for i in range(0, len(some), 12)) + "\n")
    top = sorted(counts.items(), key=lambda e: (-e[1], e[0]))[:5]
    lines = [f"{sum(counts.values())} words, {len(counts)} different"] + [f"{n} {word}" for word, n in top]
    expect.write_text("\n".join(lines))
    return path, expect.read_text()


def row(row, langs, opt):
    """Medians and minima of a row in every language, and whether all printed the same."""
    args, expect, stdin = (row.quick if opt.quick else row.args).split(), row.expect, None
    if row.name.startswith("wordfreq"):
        path, expect = text_of(int(args[0]))
        stdin = path if row.name.endswith("stdin") else None
        args = ["-" if stdin else str(path), "5"]
    commands = {lang: languages.command(lang, row, args, opt.nostos) for lang in langs}
    commands = {lang: cmd for lang, cmd in commands.items() if cmd}
    repeat = 2 if opt.quick and row.repeat > 1 else row.repeat
    runs = {lang: [] for lang in commands}
    failed = {}
    if opt.steady:
        opt.steady.begin_row()
    for _ in range(opt.runs * (TRIES if row.speedup and not opt.quick else 1)):
        for lang, cmd in commands.items():
            for _ in range(repeat):
                if lang in failed:
                    break
                if row.speedup:
                    run = speedup(row, lang, args, opt)
                elif opt.steady:
                    run = opt.steady.run(lambda: once(cmd, opt.timeout, stdin))
                else:
                    run = once(cmd, opt.timeout, stdin)
                runs[lang].append(run)
                if run["status"] != 0:
                    why = "stopped after the time limit" if run["status"] == 137 else f"exit status {run['status']}"
                    failed[lang] = f"{why}: {run['stderr'].strip()}"
    results = {}
    for lang, some in runs.items():
        for run in some:
            if run["status"] == 0:
                results.setdefault(run["result"], set()).add(lang)
    out = {"name": row.name, "group": row.group, "args": args, "note": row.note, "shown": list(row.metrics), "langs": {},
           "valid": not failed and len(results) <= 1 and (not expect or set(results) <= {expect})}
    if opt.steady:
        out["again"], out["unsteady"] = opt.steady.again, opt.steady.unsteady
    if not out["valid"]:
        out["results"] = {text: sorted(who) for text, who in results.items()} | ({"(expected)": [expect]} if expect else {})
    for lang, some in runs.items():
        if lang in failed:
            out["langs"][lang] = {"failed": failed[lang]}
            continue
        keys = some[0]["metrics"]
        out["langs"][lang] = {"runs": len(some),
                              "median": {k: statistics.median(r["metrics"].get(k, 0) for r in some) for k in keys},
                              "min": {k: min(r["metrics"].get(k, 0) for r in some) for k in keys}}
    return out
