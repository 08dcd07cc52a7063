#!/usr/bin/env python3
"""Runs the language corpus: every .nos file below the given directories is a test, described by its first comment lines.

    run_lang.py --nostos BINARY [--mode MODE] [-j N] [--sample N] [--filter TEXT] PATH ...

Headers (only in the comment lines at the top of the file):
    # expect: V            the last line of standard output and error together is V
    # expect_error: T      the output contains T (may be repeated: all of them); the exit status is 1
    # stdout:              the whole standard output, as the following lines `#| text`
    # lines: 3:7 5:1       an error is reported at each of these line:column positions
    # exit: N              exit status (default 0; 1 with expect_error or lines)
    # options: -x          options of nostos itself, before the program
    # args: A B            arguments of the program
    # stdin: TEXT          standard input (\\n, \\t and \\\\ are escapes)
    # modes: interp ...    only run in these modes
    # needs: NAME          only run with that server: postgres (NOS_TEST_PG is its connection string)
A directory with a main.nos is a project: one test, run as `nostos DIR`, headers in main.nos. A directory with a file named
`helper` holds modules that programs use and is not searched.

Modes: interp (without the JIT); jit (NOS_JIT=eager: everything is compiled at its first call); jit-stress (the same, code is
left all the time, and a collection at every allocation); gcstress (NOS_GC_STRESS=1); sched-seed:N (NOS_SCHED_SEED=N); slice:N (NOS_SLICE=N: slices of
N reductions, so that everything that can be interrupted is); valgrind. NOS_TEST_SCALE multiplies the time limit.
"""
import argparse
import collections
import concurrent.futures
import difflib
import os
import pathlib
import re
import shlex
import subprocess
import sys

LIMIT_S = 60
KEYS = "expect|expect_error|stdout|lines|exit|options|args|stdin|modes|needs"
AS_MODE = {"jit": "interp", "jit-stress": "gcstress"}  # programs restricted to those modes run in these too
SERVERS = {"postgres": "NOS_TEST_PG"}  # what a program may need, and the variable that says where it is


class Test:
    def __init__(self, path, target):
        self.path, self.target = path, target
        self.expect, self.stdout, self.exit = None, None, None
        self.errors, self.lines, self.options, self.args, self.modes = [], [], [], [], []
        self.stdin = ""
        self.needs = []
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
            if not line.startswith("#") or line.startswith("#{"):
                break
            if line.startswith("#|"):
                if self.stdout is not None:
                    self.stdout.append(line[3:])
                continue
            m = re.match(rf"# ?({KEYS}):[ ]?(.*)$", line)
            if m:
                self.header(*m.groups())
        self.has_expectation = (self.expect is not None or self.stdout is not None or self.errors or self.lines
                                or self.exit is not None)
        if self.exit is None:
            self.exit = 1 if self.errors or self.lines else 0

    def header(self, key, value):
        if key == "expect":
            self.expect = value
        elif key == "expect_error":
            self.errors.append(value)
        elif key == "stdout":
            self.stdout = []
        elif key == "lines":
            self.lines += value.split()
        elif key == "exit":
            self.exit = int(value)
        elif key == "options":
            self.options = shlex.split(value)
        elif key == "args":
            self.args = shlex.split(value)
        elif key == "stdin":
            escapes = {"\\\\": "\\", "\\n": "\n", "\\t": "\t"}
            self.stdin = re.sub(r"\\[\\nt]", lambda m: escapes[m[0]], value)
        elif key == "modes":
            self.modes = value.split()
        elif key == "needs":
            self.needs = value.split()
            for name in self.needs:
                if name not in SERVERS:
                    sys.exit(f"{self.path}: unknown server {name!r}")

    def problem(self, status, out, both):
        """What is wrong with a run, or None."""
        if not self.has_expectation:
            return "the file has no expectation"
        if status < 0:
            return f"killed by signal {-status}"
        if "nostos: internal error" in both or "nostos: fatal" in both:
            return "internal error"
        if re.search(r"(Address|Thread|Leak|UndefinedBehavior)Sanitizer|runtime error: .*\n.*#0 0x", both):
            return "a sanitizer's report"
        if status != self.exit:
            return f"exit status {status}, expected {self.exit}"
        last = both.rstrip("\n").split("\n")[-1]
        if self.expect is not None and last != self.expect:
            return f"last line is {last!r}, expected {self.expect!r}"
        if self.stdout is not None and out not in ("\n".join(self.stdout), "\n".join(self.stdout) + "\n"):
            diff = difflib.unified_diff(self.stdout, out.split("\n")[:-1], "expected", "got", lineterm="")
            return "standard output differs\n" + "\n".join("    " + line for line in diff)
        for text in self.errors:
            if text not in both:
                return f"the output does not contain {text!r}"
        for position in self.lines:
            if f":{position}: error:" not in both:
                return f"no error at {position}"
        return None


def discover(root):
    root = pathlib.Path(root)
    if root.is_file():
        yield Test(root, root)
        return
    if (root / "main.nos").exists():
        yield Test(root / "main.nos", root)
        return
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not (entry / "helper").exists():
            yield from discover(entry)
        elif entry.suffix == ".nos":
            yield Test(entry, entry)


def run(test, opt):
    env = dict(os.environ)
    for name in ("NOS_GC_STRESS", "NOS_SCHED_SEED", "NOS_SLICE", "NOS_JIT", "NOS_JIT_STRESS"):
        env.pop(name, None)
    command = [opt.nostos, *test.options, str(test.target), *test.args]
    limit = LIMIT_S * float(os.environ.get("NOS_TEST_SCALE", "1"))
    if opt.mode == "interp":
        env["NOS_JIT"] = "off"
    elif opt.mode in ("jit", "jit-stress"):
        env["NOS_JIT"] = "eager"
        if opt.mode == "jit-stress":
            env["NOS_JIT_STRESS"] = env["NOS_GC_STRESS"] = "1"
            limit *= 4
    elif opt.mode == "gcstress":
        env["NOS_GC_STRESS"] = "1"
        limit *= 4
    elif opt.mode.startswith("slice:"):
        env["NOS_SLICE"] = opt.mode.split(":")[1]
    elif opt.mode.startswith("sched-seed:"):
        env["NOS_SCHED_SEED"] = opt.mode.split(":")[1]
    elif opt.mode == "valgrind":
        command = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=no", *command]
        limit *= 20
    # One pipe for both, so that the last line is the last written; two when standard output is compared as a whole.
    stderr = subprocess.STDOUT if test.stdout is None else subprocess.PIPE
    try:
        done = subprocess.run(command, input=test.stdin.encode(), stdout=subprocess.PIPE, stderr=stderr, timeout=limit,
                              env=env, cwd=opt.cwd)
    except subprocess.TimeoutExpired as e:
        output = (e.stdout or b"") + (e.stderr or b"")
        return f"no end after {limit:.0f} s", output.decode(errors="replace")
    except OSError as e:  # for example a binary that is being linked anew
        return f"cannot be run: {e}", ""
    out = done.stdout.decode(errors="replace")
    both = out + (done.stderr or b"").decode(errors="replace")
    return test.problem(done.returncode, out, both), both


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nostos", required=True)
    ap.add_argument("--mode", default="interp", help="interp, jit, jit-stress, gcstress, sched-seed:N, slice:N or valgrind")
    ap.add_argument("-j", type=int, default=2)
    ap.add_argument("--sample", type=int, default=1, help="run every N-th test only")
    ap.add_argument("--filter", default="", help="only paths that contain this text")
    ap.add_argument("-q", action="store_true", help="do not print the output of failures")
    ap.add_argument("--servers", help="directory that tests/servers/NAME start was given: their addresses are there")
    ap.add_argument("paths", nargs="+")
    opt = ap.parse_args()
    opt.nostos = str(pathlib.Path(opt.nostos).resolve())
    opt.cwd = str(pathlib.Path(__file__).resolve().parent.parent)
    mode = opt.mode.split(":")[0]
    if mode not in ("interp", "jit", "jit-stress", "gcstress", "sched-seed", "slice", "valgrind"):
        ap.error(f"unknown mode {opt.mode}")

    for name, variable in SERVERS.items():
        address = pathlib.Path(opt.servers or "", name, "conninfo")
        if opt.servers and address.exists():
            os.environ[variable] = address.read_text().strip()

    tests = [t for p in opt.paths for t in discover(pathlib.Path(p).resolve())]
    tests = [t for t in tests if opt.filter in str(t.path) and (not t.modes or AS_MODE.get(mode, mode) in t.modes)][:: opt.sample]
    skipped = [t for t in tests if not all(os.environ.get(SERVERS[name]) for name in t.needs)]
    tests = [t for t in tests if t not in skipped]
    passed, failed = collections.Counter(), collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(opt.j) as pool:
        for test, (problem, output) in zip(tests, pool.map(lambda t: run(t, opt), tests)):
            name = os.path.relpath(test.target, opt.cwd)
            group = os.path.dirname(name)
            if problem is None:
                passed[group] += 1
                continue
            failed[group] += 1
            print(f"FAIL {name}: {problem}")
            if not opt.q:
                print("\n".join("  | " + line for line in output.rstrip("\n").split("\n")[-15:]))
    for group in sorted(set(passed) | set(failed)):
        note = f"  {failed[group]} FAILED" if failed[group] else ""
        print(f"{passed[group] + failed[group]:5} {group}{note}")
    total = sum(passed.values()) + sum(failed.values())
    note = f", {len(skipped)} SKIPPED: no server" if skipped else ""
    print(f"{total} programs, {sum(failed.values())} failed{note} (mode {opt.mode})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
