#!/usr/bin/env python3
"""Tests of the nostos command itself: options, exit statuses, messages, projects, the REPL.

    run.py NOSTOS [--filter TEXT]

Every case is a row of CASES (a command and what it must give), a function `test_*` below for what needs more than one
run, or a transcript in repl/. In a transcript `> ` begins an input line and `. ` continues it; everything else is the
expected output (standard output and error together), where a line `...` stands for any lines. Lines that begin with `#`
at the top are comments, except `# exit: N`.

Nothing here depends on timing: whatever waits does so for an event.
"""
import argparse
import difflib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import suite   # noqa: E402
from suite import Failure   # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 180 * float(os.environ.get("NOS_TEST_SCALE", "1"))

FILES = {
    "hello.nos": 'main() = println("hello")\n',
    "value.nos": "main() = (1, \"two\")\n",
    "args.nos": "main() = println(Env.args())\n",
    "mvar.nos": 'noisy() = { println("initialised"); 3 }\nmvar x: Int = noisy()\nmain() = println(x)\n',
    "no_main.nos": "f() = 1\n",
    "empty.nos": "",
    "type_error.nos": 'main() = {\n  s = "größe → 🎈" ++ nope\n\tt = 1 + "a"\n  s\n}\n',
    "parse_error.nos": "main() = {\n  x = (1 +\n}\n",
    "throws.nos": 'main() = {\n  println("out 1")\n  print("out 2;")\n  eprintln("err 1")\n  println("out 3")\n'
                  '  [1][7]\n}\n',
    "invalid_utf8.nos": b'# fine: \xc3\xa9\nmain() = println("a\xff")\n',
    "warning.nos": "import_me() = 1\nmain() = { x = 1\n 2 }\n",
    "spawns.nos": "main() = { me = self()\n for i = 0 to 100 { spawn { me <- i * i } }\n var s = 0\n"
                  " for i = 0 to 100 { receive { n -> { s = s + n } } }\n s }\n",
    "deep.nos": "f(n) = if n == 0 then 0 else 1 + f(n - 1)\nmain() = f(1000)\n",
    "deep_caught.nos": "f(n) = if n == 0 then 0 else 1 + f(n - 1)\n"
                       "main() = try { f(1000) } catch { (\"StackOverflow\", m) -> println(m) }\n",
    "heap.nos": "grow(xs, n) = if n == 0 then xs.length() else grow([n | xs], n - 1)\n"
                'main() = { try { println(grow([], 100000000)) } catch { e -> println("caught") }\n println("after") }\n',
    "heap_string.nos": 'main() = { s = "x".repeat(100000000)\n println(s.length()) }\n',
    "heap_child.nos": "grow(xs, n) = if n == 0 then xs.length() else grow([n | xs], n - 1)\n"
                      "main() = { (p, r) = spawn_monitor { grow([], 100000000) }\n"
                      ' receive { ("DOWN", _, _, why) -> println(why) }\n "main is fine" }\n',
    "crash.nos": "main() = { (p, r) = spawn_monitor { throw(\"child\") }\n"
                 ' receive { ("DOWN", _, _, why) -> println("main saw: " ++ why) }\n () }\n',
    "crash_wait.nos": 'main() = { spawn { throw("child") }\n receive { "never" -> ()\n after 3600000 -> () } }\n',
    "cores.nos": "main() = println(Runtime.threadCount())\n",
    "random.nos": 'main() = { me = self()\n println((hash("abc"), Random.int(0, 1000000000), Random.float()))\n'
                  " spawn { me <- Random.int(0, 1000000000) }\n receive { n -> println(n) } }\n",
    "exit3.nos": 'main() = { print("bye"); exit(3) }\n',
    "loop.nos": "loop(n) = loop(n + 1)\nmain() = { println(\"ready\"); flushStdout(); loop(0) }\n",
    "waits.nos": 'main() = { println("ready"); flushStdout(); receive { "never" -> ()\n after 3600000 -> () } }\n',
    "deadlock.nos": 'main() = receive { "never" -> () }\n',
    "many.nos": "main() = for i = 0 to 100000 { println(i) }\n",
    "readline.nos": "main() = println(readLine().unwrap())\n",
    "writes_file.nos": 'main() = { File.writeAll("written.txt", "data")\n println("to stdout") }\n',
    "-dash.nos": 'main() = println("dash")\n',
    "with_use/main_file.nos": "use util.text\nmain() = println(text.shout(\"a\"))\n",
    "with_use/util/text.nos": 'pub shout(s) = s ++ "!"\n',
    "empty_dir/": None,
    "dir.nos/": None,
    "no_main_dir/x.nos": "f() = 1\n",
    "no_entry_dir/main.nos": "f() = 1\n",
    "plain_dir/main.nos": 'use sub.m.{go}\nmain() = go()\n',
    "plain_dir/sub/m.nos": 'pub go() = println("go")\n',
    "error_dir/main.nos": "main() = 1\n",
    "error_dir/sub/m.nos": "\nx() = nope\n",
}

MAIN = {"main.nos": 'main() = println("main")\n',
        "jobs/m.nos": 'pub a() = println("a runs")\npub b() = println("b runs")\n'}
BIN_A = '[[bin]]\nname = "a"\nentry = "jobs.m.a"\n'
BIN_B = '[[bin]]\nname = "b"\nentry = "jobs.m.b"\n'
NAMED = '[project]\nname = "p"\n'
PROJECTS = {
    "p_named": NAMED,
    "p_full": '[project]\r\nname = "p" # comment\r\nversion = "0.1.0"\nauthors = ["A \\"B\\" <a@b>", # c\n  \'D\']\n\n'
              '[dependencies]\nq = { path = "../q", tags = ["x"] }\n[dependencies.r]\n"quoted key" = 1.5e+3\n'
              "a.b.c = 1979-05-27T07:32:00\n[[other]]\nx = true\n",
    "p_no_name": '[project]\nversion = "1"\n',
    "p_empty": "",
    "p_two": NAMED + BIN_A + BIN_B,
    "p_default": NAMED + BIN_A + BIN_B + "default = true\n",
    "p_main": NAMED + '[[bin]]\nname = "m"\nentry = "main.main"\ndefault = true\n',
    "p_no_such": NAMED + '[[bin]]\nname = "a"\nentry = "jobs.m.zz"\n',
    "p_no_entry": NAMED + '[[bin]]\nname = "a"\n',
    "p_bin_table": NAMED + '[bin]\nname = "a"\n',
    "p_bad_header": NAMED + "[[bin]\n",
    "p_bad_line": NAMED + "\n\nname\n",
    "p_bad_string": NAMED + 'version = "0.1\n',
    "p_bad_array": NAMED + "x = [\n1,\n2}\n",
    "p_bad_end": NAMED + 'version = "1" 2\n',
    "p_number": "[project]\nname = 5\n",
    "p_default_type": NAMED + BIN_A + "default = yes\n",
}


class Is:
    """What one run must give. Texts are parts of the output; exact ones are given by out= and err=."""

    def __init__(self, *command, status=0, out=None, err=None, has=(), has_err=(), lacks=(), env=None, stdin=b""):
        self.command, self.status, self.out, self.err = command, status, out, err
        self.has, self.has_err, self.lacks = as_tuple(has), as_tuple(has_err), as_tuple(lacks)
        self.env, self.stdin = env, stdin


def as_tuple(x):
    return (x,) if isinstance(x, str) else tuple(x)


def usage(*command, err):
    return Is(*command, status=2, out="", has_err=(err, "--help"))


OOM = "Runtime error: Out of memory: the heap limit of the process is exceeded\n"
HELLO = "hello\n"

CASES = {
    # ---- what is run
    "file": Is("hello.nos", out=HELLO, err=""),
    "run file": Is("run", "hello.nos", out=HELLO, err=""),
    "result is printed": Is("value.nos", out='(1, "two")\n'),
    "no arguments": Is(status=2, out="", has_err=("Error: No input file specified", "Usage:")),
    "run without file": Is("run", status=2, has_err="Error: No input file specified"),
    "check without file": Is("check", status=2, has_err="Error: No input file specified"),
    "missing file": Is("missing.nos", status=1, out="", err="Error: cannot read 'missing.nos': No such file or directory\n"),
    "run missing file": Is("run", "missing.nos", status=1, has_err="'missing.nos'"),
    "path through a file": Is("hello.nos/x.nos", status=1, has_err="Error: cannot read 'hello.nos/x.nos': Not a directory"),
    "empty file": Is("empty.nos", status=1, err="Entry point 'main/' not found\n"),
    "no main": Is("no_main.nos", status=1, err="Entry point 'main/' not found\n"),
    "invalid UTF-8": Is("invalid_utf8.nos", status=1, has_err="invalid_utf8.nos:2:20: error: invalid UTF-8"),
    "module beside the file": Is("with_use/main_file.nos", out="a!\n"),
    "null device": Is("/dev/null", status=1, err="Entry point 'main/' not found\n"),
    # ---- options
    "form of statistics": usage("--jit-stats=xml", "hello.nos", err="--jit-stats: nothing or `json`, not 'xml'"),
    "an optional argument is given with =": Is("--jit-stats", "hello.nos", out=HELLO),
    "version": Is("--version", has="nostos 0.", err=""),
    "version, short": Is("-v", has="nostos 0."),
    "help, short": Is("-h", has="Usage:", err=""),
    "help after a command": Is("run", "--help", has="Usage:"),
    "unknown option": usage("--nope", "hello.nos", err="nostos: unknown option '--nope'"),
    "unknown short option": usage("-x", "hello.nos", err="unknown option '-x'"),
    "joined short options": usage("-hv", err="unknown option '-hv'"),
    "prefix of an option": usage("--thread", "2", "hello.nos", err="unknown option '--thread'"),
    "option without its argument": usage("--threads", err="option '--threads' needs an argument"),
    "argument for a flag": usage("--check=1", "hello.nos", err="takes no argument"),
    "argument after =": Is("--threads=2", "hello.nos", out=HELLO),
    "-- ends options": Is("--", "hello.nos", out=HELLO),
    "-- and a dash file": Is("--", "-dash.nos", out="dash\n"),
    "-- alone": Is("--", status=2, has_err="Error: No input file specified"),
    **{f"bad number {' '.join(c)}": usage(*c, "hello.nos", err=f"{c[0]}: not a valid number: '{c[1]}'")
       for c in [("--threads", "x"), ("--threads", "-1"), ("--threads", "2x"), ("--threads", "9999"),
                 ("--threads", " 2"), ("--threads", "+2"), ("--seed", "0x10"), ("--seed", ""), ("--max-depth", "1e3"),
                 ("--max-heap", "12Q"), ("--max-heap", "1MB"), ("--max-heap", "99999999999999999999"),
                 ("--max-heap", "M")]},
    **{f"zero {o}": usage(o, "0", "hello.nos", err=f"{o}: at least 1") for o in ["--threads", "--max-depth", "--max-heap", "--max-processes"]},
    "bad NOS_SEED": Is("hello.nos", env={"NOS_SEED": "abc"}, status=2, has_err="not a valid number: 'abc'"),
    "bad --on-crash": usage("--on-crash=maybe", "hello.nos", err="`report` or `abort`, not 'maybe'"),
    "program arguments": Is("args.nos", "--help", "-x", "--threads", "0", "--", "", "é",
                            out='["--help", "-x", "--threads", "0", "--", "", "é"]\n'),
    "run, options, arguments": Is("run", "--threads", "2", "args.nos", "--check", out='["--check"]\n'),
    "no program arguments": Is("args.nos", out="[]\n"),
    "one thread": Is("--threads", "1", "spawns.nos", out="328350\n"),
    "four threads": Is("--threads", "4", "spawns.nos", out="328350\n"),
    "max depth reached": Is("--max-depth", "100", "deep.nos", status=1, out="",
                            has_err=("Runtime error: Stack overflow\n", "... 70 more frames ...", "100. f/")),
    "max depth suffices": Is("--max-depth", "2000", "deep.nos", out="1000\n"),
    "max depth is caught": Is("--max-depth", "100", "deep_caught.nos", out="stack overflow\n"),
    "max heap": Is("--max-heap", "16M", "heap.nos", status=1, out="", has_err=(OOM, "grow/")),
    "max heap, one big value": Is("--max-heap", "16m", "heap_string.nos", status=1, out="", has_err=OOM),
    "max heap of a child": Is("--max-heap", "16M", "heap_child.nos", out='out of memory\n"main is fine"\n',
                              has_err="Process <pid 2> crashed: Out of memory: the heap limit of the process is exceeded"),
    "crash is reported": Is("crash.nos", out="main saw: child\n",
                            has_err=("Process <pid 2> crashed: Panic: Uncaught exception: child\n", "Stack trace:")),
    "on crash: report": Is("--on-crash", "report", "crash.nos", out="main saw: child\n", has_err="crashed"),
    "on crash: abort": Is("--on-crash=abort", "crash_wait.nos", status=1, out="",
                          has_err="Runtime error: Panic: Uncaught exception: child\n", lacks="Process <pid"),
    "exit status of exit": Is("exit3.nos", status=3, out="bye"),
    "deadlock": Is("deadlock.nos", status=1, has_err="Runtime error: deadlock: all processes are waiting for messages"),
    "disasm": Is("--disasm", "hello.nos", has=("main/", "LOADK", "println"), lacks=HELLO + "\n"),
    "disasm runs nothing": Is("--disasm", "mvar.nos", has="noisy/", lacks="initialised\n"),
    # ---- check
    "check": Is("check", "mvar.nos", out="", err=""),
    "--check": Is("--check", "mvar.nos", out="", err=""),
    "the same file, run": Is("mvar.nos", out="initialised\n3\n"),
    "check finds errors": Is("check", "type_error.nos", status=1, out="", has_err="type_error.nos:2:22: error: "),
    "check wants main": Is("check", "no_main.nos", status=1),
    "check a project": Is("check", "plain_dir", out="", err=""),
    "check a project with errors": Is("check", "error_dir", status=1, has_err="error_dir/sub/m.nos:2:7: error: "),
    # ---- directories and projects
    "directory": Is("plain_dir", out="go\n"),
    "directory with slashes": Is("plain_dir//", out="go\n"),
    "directory named like a file": Is("dir.nos", status=1, err="Error: No .nos files found in 'dir.nos'\n"),
    "empty directory": Is("empty_dir", status=1, err="Error: No .nos files found in 'empty_dir'\n"),
    "directory without main.nos": Is("no_main_dir", status=1, has_err=("Error: No 'main.nos' found in directory 'no_main_dir'", "[[bin]]")),
    "directory without main": Is("no_entry_dir", status=1, err="No 'main.main' or 'main' function found in project\n"),
    "directory with arguments": Is("plain_dir", "--bin", "a", out="go\n"),
    "--bin without toml": Is("--bin", "a", "plain_dir", status=1, err="Error: --bin requires a nostos.toml with [[bin]] entries\n"),
    "--bin with a file": Is("--bin", "a", "hello.nos", status=1, out="", err="Error: --bin requires a nostos.toml with [[bin]] entries\n"),
    "toml": Is("p_named", out="main\n"),
    "toml with everything": Is("p_full", out="main\n"),
    "toml without name": Is("p_no_name", status=1, err="Error: p_no_name/nostos.toml: [project] needs a `name`\n"),
    "empty toml": Is("p_empty", status=1, err="Error: p_empty/nostos.toml: [project] needs a `name`\n"),
    "bins without default": Is("p_two", status=1, err="Error: no [[bin]] entry is the default; choose one with --bin: a, b\n"),
    "--bin": Is("--bin", "a", "p_two", out="a runs\n"),
    "-b": Is("-b", "b", "p_two", out="b runs\n"),
    "default bin": Is("p_default", out="b runs\n"),
    "--bin over default": Is("--bin=a", "p_default", out="a runs\n"),
    "bin main.main": Is("p_main", out="main\n"),
    "unknown bin": Is("--bin", "zz", "p_two", status=1, err="Error: No [[bin]] entry named 'zz' in nostos.toml. Available: a, b\n"),
    "bin of an unknown function": Is("-b", "a", "p_no_such", status=1, err="Entry point 'jobs.m.zz' not found\n"),
    "bin without entry": Is("p_no_entry", status=1, has_err="a [[bin]] entry needs `name` and `entry`"),
    "[bin]": Is("p_bin_table", status=1, err="Error: p_bin_table/nostos.toml:3: write [[bin]], not [bin]\n"),
    "malformed header": Is("p_bad_header", status=1, err="Error: p_bad_header/nostos.toml:3: malformed table header\n"),
    "malformed line": Is("p_bad_line", status=1, err="Error: p_bad_line/nostos.toml:5: expected `key = value`\n"),
    "open string": Is("p_bad_string", status=1, err="Error: p_bad_string/nostos.toml:3: malformed value\n"),
    "malformed array": Is("p_bad_array", status=1, err="Error: p_bad_array/nostos.toml:5: malformed value\n"),
    "text after the value": Is("p_bad_end", status=1, err="Error: p_bad_end/nostos.toml:3: unexpected text at the end of the line\n"),
    "name is a number": Is("p_number", status=1, err="Error: p_number/nostos.toml:2: `name` must be a string\n"),
    "default is no Bool": Is("p_default_type", status=1, err="Error: p_default_type/nostos.toml:6: `default` is true or false\n"),
    # ---- input
    "line of standard input": Is("readline.nos", stdin="grüße\nx\n".encode(), out="grüße\n"),
}


# ---- running -----------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, nostos, directory):
        self.nostos, self.dir = nostos, directory

    def run(self, *command, env=None, stdin=b"", **streams):
        environ = {k: v for k, v in os.environ.items() if k not in ("NOS_SEED", "NOS_SCHED_SEED")}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        if "stdin" not in streams:
            streams["input"] = stdin
        p = subprocess.run([self.nostos, *command], cwd=self.dir, env={**environ, **(env or {})}, timeout=LIMIT_S, **streams)
        return (p.returncode, *((s or b"").decode("utf-8", "replace") for s in (p.stdout, p.stderr)))


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: got {got!r}, wanted {wanted!r}")


def expect_in(what, part, text):
    if part not in text:
        raise Failure(f"{what} lacks {part!r}:\n{text}")


def check(bench, case):
    status, out, err = bench.run(*case.command, env=case.env, stdin=case.stdin)
    both = f"status {status}\n{out}{err}"
    if status != case.status:
        raise Failure(f"wanted status {case.status}: {both}")
    for what, got, exact, parts in (("stdout", out, case.out, case.has), ("stderr", err, case.err, case.has_err)):
        if exact is not None:
            expect(what, got, exact)
        for part in parts:
            expect_in(what, part, got)
    for part in case.lacks:
        if part in out + err:
            raise Failure(f"unwanted {part!r}: {both}")


# ---- more than one run -------------------------------------------------------------------------------------------


def test_help_lists_every_option(bench):
    _, out, _ = bench.run("--help")
    table = (HERE.parent.parent / "vm" / "options.def").read_text()
    options = re.findall(r'^OPTION\(\w+,\s*"([^"]+)",\s*(?:\'(.)\'|0),\s*(?:"([^"]*)"|NULL),\s*"(.*)"\)$', table, re.M)
    commands = re.findall(r'^COMMAND\(\w+,\s*"[^"]+",\s*"([^"]+)",\s*"(.*)"\)$', table, re.M)
    expect("rows", (len(options), len(commands)), (table.count("\nOPTION("), table.count("\nCOMMAND(")))
    for name, short, arg, text in options:
        dash = f"-{short}, " if short else "    "
        expect_in("help", f"  {dash}--{name}{' ' + arg if arg else ''}", out)
        expect_in("help", text, out)
    for use, text in commands:
        expect_in("help", use, out)
        expect_in("help", text, out)
    if any(len(line) > 120 for line in out.splitlines()):
        raise Failure("a line of the help is too long")


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


KEYS = {"file", "line", "column", "endLine", "endColumn", "severity", "kind", "message"}


def test_json_errors(bench):
    status, out, err = bench.run("--json-errors", "type_error.nos")
    expect("status, stderr", (status, err), (1, ""))
    rows = json_lines(out)
    lines = FILES["type_error.nos"].split("\n")
    for row, (line, word) in zip(rows, [(2, "nope"), (3, "+")], strict=True):
        if not KEYS <= set(row):
            raise Failure(f"missing keys: {KEYS - set(row)}")
        expect("severity, kind, file", (row["severity"], row["kind"], row["file"]), ("error", "compile", "type_error.nos"))
        expect("line", (row["line"], row["endLine"]), (line, line))
        expect("marked text", lines[line - 1][row["column"] - 1:row["endColumn"] - 1], word)


def test_json_parse_error(bench):
    for command in (["--json-errors", "parse_error.nos"], ["--json-errors", "check", "parse_error.nos"],
                    ["check", "--json-errors", "parse_error.nos"]):
        status, out, _ = bench.run(*command)
        expect("status", status, 1)
        rows = json_lines(out)
        expect("kinds", {r["kind"] for r in rows}, {"parse"})
        expect("place", (rows[0]["line"], rows[0]["column"]), (2, 7))


def test_json_errors_without_a_place(bench):
    for command, text in ((["missing.nos"], "cannot read 'missing.nos'"), (["empty_dir"], "No .nos files found"),
                          (["no_main.nos"], "Entry point 'main/' not found"), (["p_bad_line"], "nostos.toml:5: expected")):
        status, out, err = bench.run("--json-errors", *command)
        expect("status, stderr", (status, err), (1, ""))
        (row,) = json_lines(out)
        expect_in("message", text, row["message"])
        expect("line, column", (row["line"], row["column"]), (0, 0))


def test_json_run_time_error(bench):
    status, out, err = bench.run("--json-errors", "throws.nos")
    expect("status", status, 1)
    row = json.loads(out.splitlines()[-1])
    expect("row", (row["kind"], row["file"], row["line"], row["message"]),
           ("runtime", "throws.nos", 6, "Panic: Index 7 out of bounds"))
    expect_in("stderr", "Stack trace:", err)


def test_json_warnings(bench):
    status, out, _ = bench.run("--json-errors", "--warnings", "check", "warning.nos")
    expect("status", status, 0)
    expect("severities", {r["severity"] for r in json_lines(out)} - {"warning"}, set())


def test_seed_makes_runs_equal(bench):
    first = bench.run("--seed", "7", "random.nos")
    expect("status", first[0], 0)
    expect("second run", bench.run("--seed", "7", "random.nos"), first)
    expect("NOS_SEED", bench.run("random.nos", env={"NOS_SEED": "7"}), first)
    expect("--seed over NOS_SEED", bench.run("--seed=7", "random.nos", env={"NOS_SEED": "8"}), first)
    if bench.run("--seed", "8", "random.nos") == first:
        raise Failure("another seed gives the same numbers")
    if bench.run("random.nos") == bench.run("random.nos"):
        raise Failure("two runs without a seed are equal")


def test_a_worker_for_each_processor_it_may_use(bench):
    before = os.sched_getaffinity(0)
    try:
        for some in (before, {min(before)}):
            os.sched_setaffinity(0, some)
            expect(f"threads on {len(some)}", bench.run("cores.nos"), (0, f"{len(some)}\n", ""))
    finally:
        os.sched_setaffinity(0, before)


def test_output_comes_before_the_error(bench):
    with open(bench.dir / "both", "wb+") as f:
        status, _, _ = bench.run("throws.nos", stdout=f, stderr=f)
        f.seek(0)
        text = f.read().decode()
    expect("status", status, 1)
    expect("order", text.split("\n\nStack")[0],
           "out 1\nout 2;err 1\nout 3\nRuntime error: Panic: Index 7 out of bounds")


def test_full_device(bench):
    for command in (["hello.nos"], ["value.nos"], ["many.nos"], ["--help"], ["--version"], ["--disasm", "hello.nos"],
                    ["--json-errors", "type_error.nos"]):
        with open("/dev/full", "wb") as full:
            status, _, err = bench.run(*command, stdout=full)
        expect(f"status of {command}", status, 1)
        expect_in("stderr", "Error: cannot write to standard output", err)
    with open("/dev/full", "wb") as full:
        expect("status", bench.run("throws.nos", stdout=full)[0], 1)
        expect("status with a full stderr", bench.run("throws.nos", stderr=full)[0], 1)
        expect("exit status", bench.run("exit3.nos", stderr=full)[0], 3)


def closed(bench, redirection, *command):
    line = '"$0" "$@" ' + redirection
    p = subprocess.run(["sh", "-c", line, bench.nostos, *command], cwd=bench.dir, capture_output=True, timeout=LIMIT_S)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def test_closed_streams(bench):
    for command in ("hello.nos", "value.nos", "--help"):
        status, _, err = closed(bench, ">&-", command)
        expect("status", status, 1)
        expect_in("stderr", "Error: cannot write to standard output: Bad file descriptor", err)
    expect("closed stdin", closed(bench, "<&-", "hello.nos"), (0, HELLO, ""))
    expect("closed stderr", closed(bench, "2>&-", "hello.nos"), (0, HELLO, ""))
    expect("closed stderr, error", closed(bench, "2>&-", "type_error.nos"), (1, "", ""))
    expect("all closed", closed(bench, "<&- >&- 2>&-", "hello.nos"), (1, "", ""))
    # The program's own file must not take the place of standard output.
    status, _, _ = closed(bench, ">&-", "writes_file.nos")
    expect("status", status, 1)
    expect("file", (bench.dir / "written.txt").read_text(), "data")


def test_closed_pipe_ends_the_program(bench):
    p = subprocess.Popen([bench.nostos, "many.nos"], cwd=bench.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.readline()
    p.stdout.close()
    err = p.stderr.read().decode()
    p.stderr.close()
    if p.wait(LIMIT_S) not in (-signal.SIGPIPE, 1):
        raise Failure(f"status {p.returncode}: {err}")


def test_interrupt(bench):
    for program in ("loop.nos", "waits.nos"):
        p = subprocess.Popen([bench.nostos, program], cwd=bench.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        expect("output", p.stdout.readline(), b"ready\n")
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=LIMIT_S)
        expect(f"end of {program}", (p.returncode, err), (130, b"Interrupted\n"))


def send_dump(p, last):
    """Sends SIGUSR1 and reads standard error up to the line of process number `last`."""
    p.send_signal(signal.SIGUSR1)
    lines = []
    while not lines or not lines[-1].startswith(f"  <pid {last}> ") and "more processes" not in lines[-1]:
        lines.append(p.stderr.readline().decode())
        if not lines[-1]:
            raise Failure("the dump ends early: " + "".join(lines))
    return "".join(lines)


def start_and_wait(bench, *command):
    p = subprocess.Popen([bench.nostos, *command], cwd=bench.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    expect("output", p.stdout.readline(), b"ready\n")
    return p


def interrupt(p):
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=LIMIT_S)
    expect("end", (p.returncode, err), (130, b"Interrupted\n"))


def test_dump_shows_every_state(bench):
    """states.nos says in comments `#: PID TEXT` what the dump shows of which process, at that line."""
    source = (HERE / "states.nos").read_text()
    (bench.dir / "states.nos").write_text(source)
    if not (bench.dir / "fifo").exists():
        os.mkfifo(bench.dir / "fifo")
    for options in ([], ["--threads", "1"], ["--sched-seed", "7"]):
        p = start_and_wait(bench, *options, "states.nos")
        for _ in range(2):  # it changes nothing: a second time it is the same
            while "<pid 1> waits" not in (dump := send_dump(p, 11)):
                pass  # main has said that it is ready and is about to wait
            for n, line in enumerate(source.split("\n"), 1):
                if m := re.search(r"#: (\d+) (.*)$", line):
                    want = rf"  <pid {m[1]}> {re.escape(m[2])}.* in \S+ \(states\.nos:{n}\).*, heap \d+ words, \d+ reductions, up \d+ ms"
                    if not re.search(want, dump):
                        raise Failure(f"line {n}: {m[2]} of process {m[1]} is not in the dump:\n{dump}")
        for want in (r"^  workers: \d+ of \d+ started", r"^  processes: 11 \(11 spawned, 0 ended\), .*receive 3, sleep 3, mvar 3, io 1",
                     r"messages 2, mvarLocks 1, mvarWaiters 2, timers 4, .*names 1, arenaBytes \d+; next timer in \d+ ms; pending I/O 1",
                     r"^  memory: \d+ KiB resident", r"<pid 2> .*, 2 queued messages,", r"<pid 9> .*, 1 link$"):
            if not re.search(want, dump, re.M):
                raise Failure(f"{want} is not in the dump:\n{dump}")
        interrupt(p)


def test_dump_is_bounded(bench):
    """1,000 processes are listed, the others counted; the program goes on undisturbed."""
    (bench.dir / "crowd.nos").write_text(
        'main() = {\n  me = self()\n  for i = 0 to 3000 { spawn { me <- "up"\n receive { "stop" -> () } } }\n'
        '  for i = 0 to 3000 { receive { "up" -> () } }\n  println("ready")\n  flushStdout()\n'
        '  receive { "never" -> () after 100000000 -> () }\n}\n')
    p = start_and_wait(bench, "crowd.nos")
    dump = send_dump(p, 3001)
    expect("listed", dump.count("\n  <pid "), 1000)
    expect("last line", dump.split("\n")[-2], "  ... 2001 more processes ...")
    interrupt(p)


def test_dump_while_messages_fly(bench):
    """Processes that are held while somebody wakes them get their messages all the same."""
    (bench.dir / "busy.nos").write_text(
        'bounce() = receive { (from, n) -> { from <- n\n bounce() } }\n'
        'rounds(p, n) = if n > 0 then { p <- (self(), n)\n receive { k when k == n -> rounds(p, n - 1) } }\n'
        'main() = {\n  me = self()\n  println("ready")\n  flushStdout()\n'
        '  for i = 0 to 20 { p = spawn { bounce() }\n spawn { rounds(p, 20000)\n me <- "done" } }\n'
        '  for i = 0 to 20 { receive { "done" -> () } }\n  println("all done")\n}\n')
    p = start_and_wait(bench, "busy.nos")
    for _ in range(30):
        p.send_signal(signal.SIGUSR1)
        time.sleep(0.005)
    out, err = p.communicate(timeout=LIMIT_S)
    expect("end", (p.returncode, out), (0, b"all done\n"))
    if err.count(b"Scheduler:\n") < 1 or not err.endswith(b"\n"):
        raise Failure("no dump, or half of one: " + err.decode()[-300:])


def test_replay(bench):
    """--sched-seed repeats everything that is chance; different seeds give different interleavings."""
    (bench.dir / "racy.nos").write_text(
        'mvar log: List[Int] = []\n'
        'step(i) = { var s = 0\n for k = 0 to Random.int(1, 200) { s = s + k }\n log = [i | log]\n s }\n'
        'main() = {\n  me = self()\n'
        '  for i = 0 to 20 { spawn { for k = 0 to 5 { step(i)\n if i % 3 == 0 then sleep(Random.int(0, 3)) else () }\n me <- i } }\n'
        '  order = range(0, 20).map(_ => receive { i -> i })\n'
        '  println(order)\n  println(log)\n'
        '  println((hash("abc"), Random.int(0, 1000000000), Time.now(), Time.monotonicNs(), Runtime.uptimeMs()))\n}\n')
    seen = set()
    for seed in range(1, 21):
        _, a, _ = bench.run("--sched-seed", str(seed), "racy.nos")
        _, b, _ = bench.run("--sched-seed", str(seed), "racy.nos")
        expect(f"second run with seed {seed}", b, a)
        seen.add("\n".join(a.split("\n")[:2]))
    if len(seen) < 15:
        raise Failure(f"20 seeds gave only {len(seen)} interleavings")


def test_memory_goes_back_after_a_burst(bench):
    """What many processes took goes back when they have ended, though there is something to do every millisecond."""
    if b"libmimalloc" not in pathlib.Path(bench.nostos).read_bytes():
        return   # other allocators (of sanitizers, say) keep it
    (bench.dir / "burst.nos").write_text(
        'fall(limit) = if Runtime.memoryKb() > limit then { sleep(1)\n fall(limit) } else "fell"\n'
        'main() = {\n  before = Runtime.memoryKb()\n'
        '  pids = range(0, 200000).map(_ => spawn { receive { "go" -> () } })\n  most = Runtime.memoryKb()\n'
        '  pids.each(p => p <- "go")\n  spawn { while true { sleep(1) } }\n'
        '  println(most - before > 50000)\n  fall(before + (most - before) / 3)\n}\n')
    for threads in "1", "2":
        expect("burst", bench.run("--threads", threads, "burst.nos")[:2], (0, 'true\n"fell"\n'))


def test_the_table_of_descriptors_has_its_size_from_the_start(bench):
    """Growing it later stops all threads that ask for a descriptor (make_room_for_descriptors, io/loop.c)."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(hard, 16384)
    (bench.dir / "table.nos").write_text(
        'main() = File.readAll("/proc/self/status").lines().filter(l => l.startsWith("FDSize:")).each(l => println(l))\n')
    status, out, _ = bench.run("table.nos")
    expect("end", status, 0)
    if int(out.split()[1]) < wanted:
        raise Failure(f"{out.strip()}, wanted {wanted}")


def test_unreadable_file(bench):
    if os.geteuid() == 0:
        return  # root reads everything
    path = bench.dir / "unreadable.nos"
    path.write_text("main() = 1\n")
    path.chmod(0)
    status, _, err = bench.run("unreadable.nos")
    path.chmod(0o600)
    expect("end", (status, err), (1, "Error: cannot read 'unreadable.nos': Permission denied\n"))


def test_long_way_of_definitions(bench):
    """However long the way from one definition to the next is: a program or an error, never the end of the stack."""
    n = 120_000
    texts = {
        "constants": "".join(f"c{i} = c{i + 1} + 1\n" for i in range(n)) + f"c{n} = 0\nmain() = println(c0)\n",
        "aliases": "".join(f"type A{i} = A{i + 1}\n" for i in range(n)) + f"type A{n} = Int\nf(x: A0) = x\nmain() = println(f(1))\n",
    }
    for name, text in texts.items():
        (bench.dir / f"{name}.nos").write_text(text)
        status, _, err = bench.run("--check", f"{name}.nos")
        expect(name, status, 1)
        expect_in(name, "defined through too many other", err)


def test_long_option_value(bench):
    status, _, err = bench.run("--bin", "x" * 100000, "p_two")
    expect("status", status, 1)
    expect_in("stderr", "Available: a, b", err)


# ---- REPL --------------------------------------------------------------------------------------------------------


def transcript(bench, path):
    inputs, pattern, shown, status = [], [], [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not inputs:
            m = re.match(r"# exit: (\d+)$", line)
            status = int(m[1]) if m else status
        elif line[:2] in ("> ", ". ") or line in (">", "."):
            inputs.append(line[2:])
        elif line == "...":
            pattern.append("(?:.*\n)*?")
            shown.append(line)
        else:
            pattern.append(re.escape(line) + "\n")
            shown.append(line)
    text = "".join(i + "\n" for i in inputs).encode()
    got_status, out, _ = bench.run("repl", stdin=text, stderr=subprocess.STDOUT)
    if not re.fullmatch("".join(pattern), out):
        diff = difflib.unified_diff(shown, out.splitlines(), "expected", "got", lineterm="", n=2)
        raise Failure("\n".join(diff) or f"not equal: {out!r}")
    expect("status", got_status, status)


def test_jit_stats(bench):
    loop = "main() = { var s = 0\n for i = 0 to 3000000 { s = s + i % 7 }\n s }\n"
    (bench.dir / "jit_loop.nos").write_text(loop)
    _, out, err = bench.run("--jit=eager", "--jit-stats", "jit_loop.nos")
    expect("result", out, "8999994\n")
    for text in "JIT: ", " compiled, 0 refused", "KB of code", "main                             loop", "exits: 0 guard, 0 room, ":
        expect_in("table", text, err)
    _, out, err = bench.run("--jit=eager", "--jit-stats=json", "jit_loop.nos")
    expect("result", out, "8999994\n")
    stats = json.loads(err)
    expect("refusals", (stats["refused"], stats["refusals"]), (0, {}))
    code = [c for c in stats["code"] if c["function"] == "main" and c["kind"] == "loop"]
    expect("loops", [c["line"] for c in code], [2])
    expect("bytes", sum(c["bytes"] for c in stats["code"]), stats["code_bytes"])
    expect("level", code[0]["level"], 2)
    expect("kinds of exits", list(stats["exits"]), ["guard", "room", "other", "yield", "special", "call"])
    # What was inlined, refused (more parameters than a signature has), and left to the interpreter.
    many = ", ".join(f"p{k}: Int" for k in range(30))
    (bench.dir / "jit_rest.nos").write_text(
        f"wide({many}) = p0 + p29\nnext(n: Int) = n + 1\n"
        'check(n: Int) -> Int = if n > 5 then throw("big") else next(next(n))\n'
        f"main() = {{ println(wide({', '.join(map(str, range(30)))}))\n"
        " println(check(3))\n println(try { check(9) } catch { e -> 0 }) }\n")
    _, out, err = bench.run("--jit=eager", "--jit-stats=json", "jit_rest.nos")
    expect("result", out, "29\n5\n0\n")
    stats = json.loads(err)
    check_code = [c for c in stats["code"] if c["function"] == "check"]
    expect("inlined", [(c["inlined"], c["inlines"]) for c in check_code], [(1, ["next"])])  # (the other one is a tail call)
    expect("refused", (stats["refused"], stats["refusals"]), (1, {"too many parameters": 1}))
    expect("refused", stats["refused_functions"], [{"function": "wide", "line": 1, "reason": "too many parameters"}])
    expect("interpreted", stats["interpreted"]["THROW"], {"places": 1, "hits": 1})
    expect("exits", stats["exits"]["other"] >= 1, True)


MANY_CLOSURES = """\
applyAll(xs: List[Int], f: (Int) -> Int, t: Int) -> Int = match xs {
    [] -> t
    [x | rest] -> applyAll(rest, f, (t + f(x)) % 1000003)
}
each(fs: List[(Int) -> Int], xs: List[Int], t: Int) -> Int = match fs {
    [] -> t
    [f | rest] -> each(rest, xs, applyAll(xs, f, t))
}
main() = {
    fs = [x => x + 1, x => x * 2, x => 7 - x, x => x % 5]
    xs = range(0, 10)
    var t = 0
    for k = 0 to 100000 { t = each(fs, xs, t) }
    println(t)
}
"""


def test_jit_code_whose_guards_fail_is_made_anew(bench):
    """A function that is called with many closures is compiled for the first one; then for all, not given up."""
    (bench.dir / "jit_closures.nos").write_text(MANY_CLOSURES)
    _, out, err = bench.run("--jit=on", "--jit-stats=json", "jit_closures.nos")
    expect("result", out, "999946\n")
    codes = [c for c in json.loads(err)["code"] if c["function"] == "applyAll"]
    if any(c["poor"] for c in codes) and not any(c["kind"] == "call" and not c["poor"] for c in codes):
        raise Failure(f"given up: {codes}")


SEVERAL_TYPES = """\
tree(x, n: Int) = if n == 0 then x else tree(x, n - 1) + tree(x, n - 1) * x
loop(x, i: Int, n: Int, sum) = if i == n then sum else loop(x, i + 1, n, sum + x * x)
at(a, i: Int, n: Int, sum) = if i == n then sum else at(a, i + 1, n, sum + a[i])
main() = {
    n = Env.args()[0].toInt().unwrap()
    ints = newInt64Array(n)
    floats = newFloat64Array(n)
    for k = 0 to 450 {
        floats[k] = tree(0.5, 10) + loop(0.5, 0, n, 0.0) + at(floats, 0, n, 0.0)
        ints[k] = tree(1, 10) + loop(2, 0, n, 0) + at(ints, 0, n, 0)
    }
    println(show(ints[449]) ++ " " ++ show(tree(2n, 6)) ++ " " ++ show(loop(0.5d, 0, 10, 0.0d)))
}
"""


def test_jit_versions(bench):
    """A function of numbers of any type has machine code for each type that it is called with, and none of it is left again and again."""
    (bench.dir / "jit_versions.nos").write_text(SEVERAL_TYPES)
    results = {n: bench.run(mode, "jit_versions.nos", n)[1] for mode, n in (("--jit=off", "1000"), ("--jit=eager", "60000"))}
    for mode, n in ("eager", "1000"), ("on", "60000"): # (so long that the code is there in time)
        _, out, err = bench.run(f"--jit={mode}", "--jit-stats=json", "jit_versions.nos", n)
        expect("result", out, results[n])
        stats = json.loads(err)
        kinds = [(c["function"], c["kind"]) for c in stats["code"]]
        if mode == "on": # (the two calls with other numbers may be those at which the code for all is asked for)
            expect("versions", [kinds.count(x) for x in (("tree", "version"), ("loop", "loop"), ("at", "loop"))], [2, 2, 2])
        expect("guards", stats["exits"]["guard"] < 20, True)


LOOPS_TO_COME = """known(a: Int64Array, n: Int) -> Int = {
    for r = 0 to 10 {
        for i = 0 to n { a[i % 10] = i }
    }
    var sum = 0
    for i = 0 to 10 { sum = sum + a[i] }
    sum
}

late(a: Int64Array, n: Int) -> Int = {
    for i = 0 to n { a[i % 10] = i }
    b = newInt64Array(10)
    for i = 0 to 10 { b[i] = a[i] }
    b[9]
}

main() = println(known(newInt64Array(10), 20000000) + late(newInt64Array(10), 100000000))
"""


def test_jit_loops_to_come(bench):
    """While a hot loop runs, those behind it get code, if what they use is known already."""
    (bench.dir / "jit_ahead.nos").write_text(LOOPS_TO_COME)
    _, out, err = bench.run("--jit=on", "--jit-stats=json", "jit_ahead.nos")
    expect("result", out, f"{sum(range(19999990, 20000000)) + 99999999}\n")
    lines = {name: sorted(c["line"] for c in json.loads(err)["code"] if c["function"] == name) for name in ("known", "late")}
    expect("loops", lines, {"known": [3, 6], "late": [11]})


def test_jit_code_that_is_left_behind_a_native(bench):
    """In slices of these lengths natives go on later, and collections fall between their steps."""
    for reductions in "5", "20", "100":
        expect(f"slices of {reductions}",
               bench.run("--jit=eager", str(HERE.parent / "lang/parts/left_behind_a_native.nos"), env={"NOS_SLICE": reductions})[:2], (0, "ok\n"))


def test_jit_perf_map(bench):
    (bench.dir / "jit_map.nos").write_text("named(n: Int) = n + 1\nmain() = named(named(1))\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NOS_JIT")}
    p = subprocess.Popen([bench.nostos, "--jit=eager", "jit_map.nos"], cwd=bench.dir, stdout=subprocess.DEVNULL,
                         env={**environment, "NOS_JIT_PERF_MAP": "1"})
    expect("status", p.wait(LIMIT_S), 0)
    path = pathlib.Path(f"/tmp/perf-{p.pid}.map")
    lines = path.read_text().splitlines()
    path.unlink()
    for name in "named", "named:entry":
        if not any(re.fullmatch(rf"[0-9a-f]+ [0-9a-f]+ nos:{name}", line) for line in lines):
            raise Failure(f"{name} is not in {lines}")


def test_jit_perf_map_of_redefined_functions(bench):
    """An address that was a function's never becomes another one's: the map has no times."""
    text = "".join(f"step(n: Int) = n + {k}\nwalk(n: Int) = step(step(n))\nwalk(0)\n" for k in range(50))
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen([bench.nostos, "--jit=eager", "repl"], cwd=bench.dir, stdin=subprocess.PIPE, stdout=out,
                             env={**os.environ, "NOS_JIT_PERF_MAP": "1"})
        p.communicate(text.encode(), timeout=LIMIT_S)
        out.seek(0)
        expect("answers", out.read().decode().split()[-1], "98")
    path = pathlib.Path(f"/tmp/perf-{p.pid}.map")
    rows = sorted((int(at, 16), int(size, 16), name) for at, size, name in map(str.split, path.read_text().splitlines()))
    path.unlink()
    expect("walks", sum(name == "nos:walk" for _, _, name in rows), 50)
    for (at, size, name), (following, _, other) in zip(rows, rows[1:]):
        if not size or at + size > following:
            raise Failure(f"{name} at {at:x}, {size} bytes, reaches into {other} at {following:x}")


DUMP_PROGRAM = """\
addUp(n: Int) -> Int = {
    var s = 0
    for i = 0 to n { s = s + i }
    s
}
main() = println(addUp(10))
"""


def test_jit_dump(bench):
    (bench.dir / "jit_dump.nos").write_text(DUMP_PROGRAM)
    (bench.dir / "dump_dir").mkdir()
    (bench.dir / "dump_dir" / "geo.nos").write_text("pub " + DUMP_PROGRAM.replace("main() = println(addUp(10))\n", ""))
    (bench.dir / "dump_dir" / "main.nos").write_text("use geo.{addUp}\nmain() = println(addUp(10))\n")
    parts = ("==== addUp(Int), jit_dump.nos:2: called with (int) -> int\n", "---- bytecode, ", "; 3: for i = 0 to n { s = s + i }\n",
             "---- IR as it was built\n", "(loop)", "---- IR, optimised\n", "---- MIR\n", ":\tfunc\ti64, i64, i64:a0\n", "\tlocal\t",
             "---- machine code: ", "---- machine code of the entry for boxed arguments: ", " instructions of IR, ")
    for options, env in (["--jit-dump=addUp"], {}), (["--jit-dump", "addUp"], {}), ([], {"NOS_JIT_DUMP": "addUp"}):
        status, out, err = bench.run("--jit=eager", *options, "jit_dump.nos", env=env)
        expect("status, output", (status, out), (0, "45\n"))
        at = 0
        for part in parts:  # in this order
            if (found := err.find(part, at)) < 0:
                raise Failure(f"{part!r} is not there, or not where it should be:\n{err}")
            at = found
        if "main" in err or "nothing named" in err:
            raise Failure(f"too much:\n{err}")
    code = err[err.index("---- machine code: "):]
    if shutil.which("objdump"):
        expect_in("disassembly", "\tret", code)
    # Without objdump: bytes.
    _, out, err = bench.run("--jit=eager", "--jit-dump=addUp", "jit_dump.nos", env={"PATH": "/nonexistent"})
    expect("output", out, "45\n")
    if not re.search(r"---- machine code: \d+ bytes at \S+\n     0:( [0-9a-f]{2}){16}\n    10:", err):
        raise Failure(f"no bytes:\n{err}")
    for name in "addUp", "geo.addUp":
        _, _, err = bench.run("--jit=eager", f"--jit-dump={name}", "dump_dir")
        expect_in("of a module", "==== geo.addUp(Int), ", err)
    # A loop that is entered while it runs.
    (bench.dir / "jit_dump_loop.nos").write_text("main() = { var s = 0\n for i = 0 to 100 { s = s + i }\n println(s) }\n")
    _, _, err = bench.run("--jit=eager", "--jit-dump=main", "jit_dump_loop.nos")
    if not re.search(r"==== main\(\), jit_dump_loop.nos:1: the loop at \d+, line 2\n", err):
        raise Failure(f"no loop:\n{err}")


def test_jit_dump_of_nothing(bench):
    for options in ["--jit=eager"], ["--jit=on"], ["--jit=off"]:
        status, out, err = bench.run(*options, "--jit-dump=nobody", "hello.nos")
        expect("status, output", (status, out), (0, HELLO))
        expect("message", err, "JIT: nothing named nobody was compiled (--jit=eager compiles everything at its first call)\n")
    _, _, err = bench.run("--jit=eager", "--jit-dump=obody", "hello.nos")  # not a part of a name
    expect_in("message", "nothing named obody", err)


def test_repl_with_a_file(bench):
    status, out, err = bench.run("repl", "no_main.nos", stdin=b"f() + 1\n")
    expect("end", (status, out, err), (0, "Loaded no_main.nos\n2\n", ""))
    status, out, err = bench.run("repl", "missing.nos", stdin=b"1\n")
    expect("end", (status, out), (1, ""))
    expect_in("stderr", "cannot read 'missing.nos'", err)


def test_repl_load(bench):
    (bench.dir / "changing.nos").write_text("g(0) = 0\ng(n) = n + h(n)\nh(n) = 1\n")
    p = subprocess.Popen([bench.nostos, "repl"], cwd=bench.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)

    def say(text):
        p.stdin.write(text.encode() + b"\n")
        p.stdin.flush()
        return p.stdout.readline().decode()

    expect("load", say(":load changing.nos"), "Loaded changing.nos\n")
    expect("call", say("g(5)"), "6\n")
    (bench.dir / "changing.nos").write_text("g(0) = 0\ng(n) = n + h(n)\nh(n) = 10\n")
    expect("reload", say(":reload"), "Loaded changing.nos\n")
    expect("call", say("g(5)"), "15\n")
    expect("module beside the file", say(":l with_use/main_file.nos"), "Loaded with_use/main_file.nos\n")
    expect("its main", say("main()"), "a!\n")
    p.stdin.close()
    expect("rest", p.stdout.read(), b"")
    p.stdout.close()
    expect("status", p.wait(LIMIT_S), 0)


def test_repl_interrupt(bench):
    p = subprocess.Popen([bench.nostos, "repl"], cwd=bench.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    p.stdin.write(b'loop(n) = loop(n + 1)\n{ println("ready"); flushStdout(); loop(0) }\n')
    p.stdin.flush()
    p.stdout.readline()
    expect("output", p.stdout.readline(), b"ready\n")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(b"1 + 1\n", timeout=LIMIT_S)
    expect("goes on", (p.returncode, out, err), (0, b"2\n", b"Interrupted\n"))


# ------------------------------------------------------------------------------------------------------------------


def make_files(directory):
    def write(name, content):
        path = directory / name
        if content is None:
            path.mkdir(parents=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    for name, content in FILES.items():
        write(name, content)
    for project, toml in PROJECTS.items():
        for name, content in MAIN.items():
            write(f"{project}/{name}", content)
        write(f"{project}/nostos.toml", toml)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("nostos")
    arguments.add_argument("--filter", default="")
    options = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tests = {name: lambda b, c=case: check(b, c) for name, case in CASES.items()}
    has_jit = suite.has_jit(os.path.abspath(options.nostos))
    tests |= {name[5:].replace("_", " "): f for name, f in suite.named_tests(globals()).items()
              if has_jit or not name.startswith("test_jit_")}
    tests |= {f"repl/{p.name}": lambda b, p=p: transcript(b, p) for p in sorted((HERE / "repl").glob("*.txt"))}
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(os.path.abspath(options.nostos), pathlib.Path(directory))
        make_files(bench.dir)
        return suite.run(tests, options.filter, lambda test: test(bench))


if __name__ == "__main__":
    sys.exit(main())
