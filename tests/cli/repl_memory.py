#!/usr/bin/env python3
"""What inputs of the REPL leave behind: thousands of them, of many kinds, in one session.

    repl_memory.py NOSTOS [--filter TEXT] [--rounds N]

`arenaBytes` of Runtime.counters() is what the front end keeps (vm/pieces.h); it has to stay where it is. The resident memory
may grow by BYTES_EACH for each definition and call: the bytecode of old versions, which somebody may run.
"""
import argparse
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import suite   # noqa: E402
from suite import Failure   # noqa: E402

LIMIT_S = 120 * float(os.environ.get("NOS_TEST_SCALE", "1"))
BYTES_EACH = 1024
ARENA_SLACK = 1 << 20  # is collected when there is so much
RESIDENT_SLACK = 4 << 20  # the allocator takes megabytes at a time


class Session:
    def __init__(self, nostos, *options):
        self.process = subprocess.Popen([nostos, *options, "repl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT,
                                        env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=1"})
        self.n = 0

    def say(self, text):
        """Types some lines; what was printed for them."""
        self.n += 1
        self.process.stdin.write(f"{text}\nprintln(\"<{self.n}>\")\n".encode())
        self.process.stdin.flush()
        out = []
        while (line := self.process.stdout.readline().decode()) != f"<{self.n}>\n":
            if not line:
                raise Failure(f"ended at {text!r}: {''.join(out)}")
            out.append(line)
        return "".join(out)

    def expect(self, text, wanted):
        if not (got := self.say(text)).endswith(wanted + "\n"):
            raise Failure(f"{text!r}: {got!r} instead of {wanted!r}")

    def memory(self):
        counters = self.say('Runtime.counters().filter(e => e.0 == "arenaBytes")')
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r'"arenaBytes", (\d+)', counters)[1]), int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) << 10

    def quit(self):
        self.process.stdin.close()
        if self.process.wait(LIMIT_S):
            raise Failure(f"status {self.process.returncode}")
        self.process.stdout.close()


def stays(name, session, rounds, each, definitions):
    """Runs each(i) for many rounds, of so many definitions or calls, and looks at the memory of the later ones."""
    early = None
    for i in range(1, rounds + 1):
        each(i)
        if i == rounds // 4:
            early = session.memory()
    arena, resident = (late - e for late, e in zip(session.memory(), early))
    later = rounds - rounds // 4
    print(f"  {name}: {later} more rounds: front end {arena / later:+.0f} bytes each, resident {resident / later:+.0f}")
    if arena > ARENA_SLACK:
        raise Failure(f"{name}: {arena} bytes more in arenas")
    if resident > RESIDENT_SLACK + later * definitions * BYTES_EACH:
        raise Failure(f"{name}: {resident} bytes more resident")


def test_redefinitions(nostos, rounds):
    """A function that another process calls all the time, one that depends on it, errors, closures of old versions."""
    for options in [["--jit=off"], ["--jit=eager", "--threads=2"], ["--threads=2"]] if suite.has_jit(nostos) else [[]]:
        s = Session(nostos, *options)
        s.say("hot(n) = if n == 0 then 0 else hot(n - 1)")
        s.say("twice(n) = hot(n) + hot(n)")
        s.say("mvar answer: Int = 0")
        s.say("watch(n: Int) -> Int = { answer = hot(20); sleep(1); watch(n + 1) }")
        s.say("background = spawn { watch(0) }")
        s.say("waiting = spawn { receive { me -> me <- adder(0)(1) } }")
        s.say("adder(k) = n => n + hot(k)")
        s.say("first = adder(3)")

        def each(i):
            s.say(f"hot(n) = if n == 0 then {i} else hot(n - 1)")
            s.expect("hot(30)", str(i))
            s.expect("twice(3)", str(2 * i))
            s.expect("first(1)", str(1 + i))  # made by the first version of adder
            s.say(f"hot(n) = {i} ++ n")  # errors change nothing
            s.say("hot(true ++ 1)")
            s.say("hot(n = )")
            s.say(f"unknown({i})")

        s.expect("first(1)", "1")
        stays(f"functions {' '.join(options)}", s, rounds, each, 6)
        for _ in range(1000):  # the process outside follows
            if s.say("answer") == f"{rounds}\n":
                break
            s.say("sleep(1)")
        else:
            raise Failure("the process in the background still calls an old version")
        s.say("waiting <- self()")
        s.quit()


def test_other_inputs(nostos, rounds):
    kinds = {
        "a binding": ([], lambda i: f"x = {i}", "x"),
        "a lambda": ([], lambda i: f"f = n => n + {i}", "f(0)"),
        "a pattern": ([], lambda i: f"(p, q) = ({i}, \"text\")", "p"),
        "clauses": (["g(1) = 1", "g(n) = n"], lambda i: f"g(1) = {i}", "g(1)"),
        "defaults": ([], lambda i: f"h(a = {i}) = a", "h()"),
        "a constant": ([], lambda i: f"const K = {i}", "K"),
        "an mvar": ([], lambda i: f"mvar m: Int = {i}", "m"),
        "a type": ([], lambda i: f"type T = A(Int) | B\nmake(n) = A({i})\nvalue(A(n)) = n\nvalue(B) = 0", "value(make(1))"),
        "a module": ([], lambda i: f"module M\n    pub f(x) = {i}\nend", "M.f(1)"),
        "a pipeline": ([], lambda i: "()", lambda i: (f"[{i - 1}].map(n => n + 1).filter(n => n > 0).sum()", str(i))),
    }
    for name, (before, define, call) in kinds.items():
        s = Session(nostos)
        for line in before:
            s.say(line)

        def each(i):
            s.say(define(i))
            s.expect(*(call(i) if callable(call) else (call, str(i))))

        stays(name, s, rounds // 2, each, 6)
        s.quit()


def test_values_are_not_kept(nostos, rounds):
    s = Session(nostos)
    stays("big values", s, 60, lambda i: s.expect(f"range(0, 100000).map(n => n + {i}).length()", "100000"), 1)
    stays("big results", s, 60, lambda i: s.say(f"range(0, 30000).map(n => n + {i})"), 1)
    s.quit()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("nostos")
    arguments.add_argument("--filter", default="")
    arguments.add_argument("--rounds", type=int, default=1200)
    options = arguments.parse_args()
    nostos = os.path.abspath(options.nostos)
    return suite.run(suite.named_tests(globals()), options.filter, lambda test: test(nostos, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
