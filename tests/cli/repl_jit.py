#!/usr/bin/env python3
"""The REPL with the JIT, driven through a pseudo-terminal as a person does, and what redefinition costs in memory.

    repl_jit.py NOSTOS [--filter TEXT] [--strict]

Everything waits for events. How long Ctrl-C took is printed, and is looked at with --strict only (on an idle machine).
"""
import argparse
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time

sys.dont_write_bytecode = True
import suite   # noqa: E402
from suite import Failure   # noqa: E402

LIMIT_S = 120 * float(os.environ.get("NOS_TEST_SCALE", "1"))
STRICT_MS = 50


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: {got!r} instead of {wanted!r}")


PROMPT = r"(?:^|\n)> $"


class Terminal:
    """A REPL on a terminal of its own, which it is controlled by: Ctrl-C is a byte."""

    def __init__(self, nostos, *options, env=None):
        self.fd, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        attributes[1] &= ~termios.OPOST  # no carriage returns
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.process = subprocess.Popen(
            [nostos, *options, "repl"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, **(env or {})})
        os.close(slave)
        self.text = ""
        self.until(PROMPT)

    def until(self, end):
        """What came up to `end`, a regular expression."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := re.search(end, self.text)):
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failure(f"{end!r} never came, only {self.text!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise Failure(f"ended before {end!r}: {self.text!r}")
            self.text += data.decode()
        before, self.text = self.text[:found.start()], self.text[found.end():]
        return before

    def write(self, text):
        os.write(self.fd, text.encode())

    def say(self, line):
        """Types a line; what was printed before the next prompt."""
        self.write(line + "\n")
        return self.until(PROMPT).strip()

    def say_until(self, line, pattern):
        deadline = time.monotonic() + LIMIT_S
        while not re.search(pattern, answer := self.say(line)):
            if time.monotonic() > deadline:
                raise Failure(f"{line}: {pattern!r} never came, the last was {answer!r}")
        return answer

    def cpu_ms(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def quit(self):
        self.write(":quit\n")
        expect("status", self.process.wait(LIMIT_S), 0)
        os.close(self.fd)


FIB = "fib(n: Int) = if n < 2 then {} else fib(n - 1) + fib(n - 2)"


def make_hot(t, call, name):
    deadline = time.monotonic() + LIMIT_S
    while not t.say(f":jit {name}").startswith(f"{name}(Int): machine code\n"):
        if time.monotonic() > deadline:
            raise Failure(f"{name} is never compiled: " + t.say(f":jit {name}"))
        t.say(call)


def test_redefined_while_called(nostos, strict):
    t = Terminal(nostos, "--threads=2")
    t.say(FIB.format("n"))
    expect("new", t.say(":jit fib").split("\n")[0], "fib(Int): interpreted, called 0 times")
    expect("fib", t.say("fib(15)"), "610")
    make_hot(t, "fib(15)", "fib")
    expect("one line", "fib(Int): machine code" in t.say(":jit").split("\n"), True)
    t.say("mvar answer: Int = 0")
    t.say("watch(n: Int) -> Int = { answer = fib(15); watch(n + 1) }")
    t.say("background = spawn { watch(0) }")
    t.say_until("answer", "^610$")
    for factor in 10, 100, 1000:
        t.say(FIB.format(f"n * {factor}"))
        t.say_until("answer", f"^{610 * factor}$")
        expect("in the foreground", t.say("fib(15)"), str(610 * factor))
        make_hot(t, "fib(15)", "fib")
    withdrawn = int(re.search(r"(\d+) withdrawn", t.say(":jit-stats"))[1])
    if withdrawn < 3:
        raise Failure(f"only {withdrawn} pieces of code were withdrawn")
    t.quit()


def test_storm_of_redefinitions(nostos, strict):
    """Code is freed under those who call it all the time."""
    t = Terminal(nostos, "--jit=eager", "--threads=3")
    t.say("step(n: Int) = n + 1")
    t.say("walk(i: Int, n: Int) -> Int = if i == 0 then n else walk(i - 1, step(n))")
    t.say("mvar rounds: Int = 0")
    t.say("caller(n: Int) -> Int = { walk(100, 0); rounds = n; caller(n + 1) }")
    t.say("callers = range(0, 4).map(_ => spawn { caller(0) })")
    for k in range(1, 61):
        t.say(f"step(n: Int) = n + {k}")
        expect("a new answer", t.say("walk(100, 0)"), str(100 * k))
    seen = int(t.say("rounds"))
    t.say_until("rounds", f"^(?!{seen}$)")  # they still run
    withdrawn, freed = map(int, re.search(r"(\d+) withdrawn \((\d+) freed", t.say(":jit-stats")).groups())
    if withdrawn < 120:
        raise Failure(f"only {withdrawn} pieces of code were withdrawn")
    t.say_until(":jit-stats", r"(\d+) withdrawn \(\1 freed")
    t.quit()


def test_interrupt(nostos, strict):
    t = Terminal(nostos)
    t.say("spin(n: Int) -> Int = spin(n + 1)")
    times = []
    for _ in range(5):
        t.write('{ println("begins"); flushStdout(); spin(0) }\n')
        t.until("begins")
        start = t.cpu_ms()
        deadline = time.monotonic() + LIMIT_S
        while t.cpu_ms() < start + 100 and time.monotonic() < deadline:  # by now it is compiled
            time.sleep(0.005)
        before = time.monotonic()
        t.write("\x03")
        t.until("Interrupted")
        times.append((time.monotonic() - before) * 1000)
        t.until(PROMPT)
    if "machine code" not in (jit := t.say(":jit spin")):
        raise Failure(f"it was not compiled: {jit}")
    expect("goes on", t.say("1 + 1"), "2")
    print(f"  Ctrl-C took {max(times):.1f} ms at most: " + " ".join(f"{x:.1f}" for x in times))
    if strict and max(times) > STRICT_MS:
        raise Failure(f"more than {STRICT_MS} ms")
    t.quit()


def test_stats(nostos, strict):
    t = Terminal(nostos)
    t.say(":jit-stats")  # samples from now on
    t.say("work(n: Int) = { var s = 0; for i = 0 to n { s = s + i % 7 }; s }")
    t.say_until("work(20000000)", "^59999997$")
    t.say_until(":jit work", "machine code for its loops")
    t.say("work(20000000)")
    table = t.say(":jit-stats")
    for pattern in r"^JIT: \d+ compiled, 0 refused", r"^CPU: [\d.]+ % of \d+ ms in machine code", r"(?m)^work +loop ":
        if not re.search(pattern, table, re.M):
            raise Failure(f"{pattern} is not in\n{table}")
    expect("unknown", t.say(":jit nope"), "No function: nope")
    t.quit()


def test_off(nostos, strict):
    t = Terminal(nostos, "--jit=off")
    t.say(FIB.format("n"))
    t.say("fib(20)")
    expect("off", t.say(":jit fib"), "fib(Int): interpreted (the JIT is off)")
    t.quit()


def redefine(nostos, jit, n, looks):
    """Redefines and calls a function n times; the resident KB at each of `looks`, and the statistics."""
    with tempfile.TemporaryFile() as err:
        p = subprocess.Popen([nostos, f"--jit={jit}", "--jit-stats=json", "repl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=err, env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=1"})
        resident = []
        for i in range(1, n + 1):
            p.stdin.write(f"hot(n) = if n == 0 then {i} else hot(n - 1)\nhot(5000)\n".encode())
            p.stdin.flush()
            p.stdout.readline()
            expect("answer", p.stdout.readline(), f"{i}\n".encode())
            if i in looks:
                with open(f"/proc/{p.pid}/status") as f:
                    resident.append(int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]))
        p.stdin.close()
        expect("status", p.wait(LIMIT_S), 0)
        p.stdout.close()
        err.seek(0)
        return resident, json.loads(err.read().decode().splitlines()[-1])


def test_memory_of_redefined_code(nostos, strict):
    # What remains of a definition (its bytecode, see docs/repl.md) remains without the JIT too. Unfreed code would be
    # 150 KB for each one.
    n = 10000 if strict else 800
    looks = (n // 4, n)
    with_jit, stats = redefine(nostos, "eager", n, looks)
    without, _ = redefine(nostos, "off", n, looks)
    grown, base = with_jit[1] - with_jit[0], without[1] - without[0]
    print(f"  {n} redefinitions: +{grown} KB, interpreted +{base} KB; {stats['withdrawn']} withdrawn, {stats['freed']} freed, "
          f"{stats['code_bytes']} bytes of code at the end")
    if stats["withdrawn"] < n - 1:
        raise Failure(f"only {stats['withdrawn']} withdrawn")
    if stats["withdrawn"] - stats["freed"] > 10 or stats["code_bytes"] > 1 << 20:
        raise Failure(f"not freed: {stats['freed']} of {stats['withdrawn']}, {stats['code_bytes']} bytes are left")
    if grown - base > 4096 + (n - looks[0]):  # the allocator takes megabytes at a time
        raise Failure("more than 1 KB for each redefinition is the JIT's")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("nostos")
    arguments.add_argument("--filter", default="")
    arguments.add_argument("--strict", action="store_true")
    options = arguments.parse_args()
    nostos = os.path.abspath(options.nostos)
    return suite.run(suite.named_tests(globals()), options.filter, lambda test: test(nostos, options.strict))


if __name__ == "__main__":
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    sys.exit(main())
