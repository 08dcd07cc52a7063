#!/usr/bin/env python3
"""examples/tail.nos: the last lines, what is added, rotation, truncation, a file that comes later, half lines, bytes that are no text.

    tail.py NOSTOS
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples/tail.nos"
failed = 0


class Tail:
    def __init__(self, path, *args):
        self.p = subprocess.Popen([sys.argv[1], EXAMPLE, path, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.watchdog = threading.Timer(60, self.p.kill)  # a line that never comes
        self.watchdog.start()

    def expect(self, what, *lines):
        global failed
        got = [self.p.stdout.readline().rstrip("\n") for _ in lines]
        if got != list(lines):
            failed += 1
            print(f"FAILED {what}: {got}, expected {list(lines)}"[:600], flush=True)

    def end(self):
        self.watchdog.cancel()
        self.p.kill()
        self.p.communicate()


def add(path, text):
    with open(path, "ab") as f:
        f.write(text if isinstance(text, bytes) else text.encode())


def main():
    d = tempfile.mkdtemp()
    log = f"{d}/log"
    add(log, "".join(f"line {i}\n" for i in range(30)))
    t = Tail(log, "3")
    t.expect("the last lines", "line 27", "line 28", "line 29")
    add(log, "added\nha")
    t.expect("what is added", "added")
    add(log, "lf\n")
    t.expect("a line in two writes", "half")
    add(log, "é\n")
    t.expect("text", "é")
    add(log, b"a\xffb\n")
    t.expect("no text", "a?b")
    # Rotation: the old file is still written to until the new one exists.
    with open(log, "a") as old:
        os.rename(log, log + ".1")
        old.write("to the old one\nwithout end")
        old.flush()
        t.expect("after the rename", "to the old one")
        add(log, "new one\n")
        t.expect("the new file", "without end", "new one")
    add(log, "more\n")
    t.expect("more of the new file", "more")
    for i in range(50):
        os.rename(log, f"{log}.{i}")
        add(log, f"file {i}\n")
        t.expect("many rotations", f"file {i}")
    os.truncate(log, 0)
    add(log, "a\n")
    t.expect("truncated", "a")
    os.unlink(log)
    add(log, "after removal\n")
    t.expect("removed and there again", "after removal")
    other = Tail(f"{d}/later")
    add(log, "other files do not matter\n")
    t.expect("beside", "other files do not matter")
    add(f"{d}/later", "here\n")
    other.expect("a file that comes later", "here")
    other.end()
    big = "x" * 1_000_000
    add(log, big + "\n" + "y\n" * 10000)
    t.expect("much at once", big, *["y"] * 10000)
    t.end()
    many = f"{d}/many"
    add(many, "".join(f"{i:0100}\n" for i in range(5000)))
    t = Tail(many, "2")
    t.expect("the end of a long file", f"{4998:0100}", f"{4999:0100}")
    t.end()
    shutil.rmtree(d)
    print(f"{failed} failures")
    return failed > 0


sys.exit(main())
