#!/usr/bin/env python3
"""gdb knows the functions that machine code belongs to, and finds the way through their frames: --jit-gdb.

    jit_gdb.py NOSTOS

Skipped (exit status 77) where there is no gdb, or where it may not start programs.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIMIT_S = 300 * float(os.environ.get("NOS_TEST_SCALE", "1"))

# `deep` calls itself, has an entry for boxed arguments, keeps values in registers and on the stack, and calls a native.
# `many` has more parameters than go into registers. The loop of main is entered while it runs.
PROGRAM = """\
deep(n: Int, s: String) -> Int = {
    a = n * 3
    b = n * 5
    r = if n == 0 then s.split(",").length() else deep(n - 1, s) + deep(0, s)
    r + a - b + 2 * n
}
many(a: Int, b: Int, c: Int, d: Int, e: Int, f: Int, g: Int, h: Int, s: String) -> Int =
    if a > 0 then many(a - 1, b, c, d, e, f, g, h, s) + b else deep(3, s) + c + d + e + f + g + h
main() = {
    var total = 0
    for i = 0 to 30 { total = total + many(2, 1, 2, 3, 4, 5, 6, 7, "a,b") + i }
    println(total)
}
"""
COMMANDS = """\
set breakpoint pending on
set confirm off
set pagination off
set print frame-arguments none
break nosi_bi_string_split
run
ignore 1 35
continue
bt
up 1
finish
bt
delete
continue
"""


def gdb(nostos, directory, script, *options, env=None):
    path = os.path.join(directory, "commands")
    with open(path, "w") as f:
        f.write(script)
    p = subprocess.run(["gdb", "-q", "-nx", "--batch", "-x", path, "--args", nostos, "--threads=1", *options, "program.nos"],
                       cwd=directory, env={**os.environ, "DEBUGINFOD_URLS": "", **(env or {})}, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    return p.stdout.decode("utf-8", "replace")


def names(trace):
    """Functions of each backtrace in the text: innermost first."""
    traces = []
    for number, name in re.findall(r"^#(\d+) +(?:0x[0-9a-f]+ in )?([^ ]+) \(", trace, re.M):
        if number == "0":
            traces.append([])
        traces[-1].append(name)
    return traces


def check(what, condition, text):
    if not condition:
        print(f"FAIL {what}:\n{text}")
        sys.exit(1)


def main():
    nostos = os.path.abspath(sys.argv[1])
    if not shutil.which("gdb"):
        print("skipped: there is no gdb")
        return 77
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "program.nos"), "w") as f:
            f.write(PROGRAM)
        plain = subprocess.run([nostos, "--jit=off", "program.nos"], cwd=directory, stdout=subprocess.PIPE, check=True).stdout.decode()
        text = gdb(nostos, directory, COMMANDS, "--jit=eager", "--jit-gdb")
        if "exited normally" not in text and re.search("ptrace|Cannot|not permitted|internal-error", text):
            print(f"skipped: gdb cannot run the program\n{text}")
            return 77
        check("the result", plain.strip() in text, text)
        traces = [t for t in names(text) if len(t) > 3]
        # (Copies that are inlined are no frames.)
        whole = [t for t in traces if "nosi_bi_string_split" in t[0]]
        check("a trace that goes from the native to the interpreter",
              any({"deep", "many", "nosi_run_slice", "start_thread"} <= set(t) for t in whole), text)
        check("the entry for boxed arguments, or the loop of main",
              any("many:entry" in t or any(n.startswith("main") for n in t) for t in traces), text)
        after = [t for t in traces if t[0] == "many" or t[0] == "deep"]
        check("the frame of machine code after a return into it", any("nosi_run_slice" in t for t in after), text)
        # In the environment; and nothing is told gdb when it is not asked for.
        script = "set breakpoint pending on\nbreak nosi_bi_string_split\nrun\nbt\nkill\n"
        check("NOS_JIT_GDB=1", "in deep ()" in gdb(nostos, directory, script, "--jit=eager", env={"NOS_JIT_GDB": "1"}), "")
        check("not asked for", "in deep ()" not in gdb(nostos, directory, script, "--jit=eager"), "")
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
