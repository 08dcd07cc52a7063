#!/usr/bin/env python3
"""Tests the corpus runner with a stand-in for nostos: each check of run_lang.py must be able to fail."""
import pathlib
import subprocess
import sys
import tempfile

RUNNER = pathlib.Path(__file__).resolve().parent / "run_lang.py"

# Does what the lines `#out TEXT`, `#err TEXT`, `#status N`, `#kill` of the program say; `#echo` prints arguments and input.
FAKE = """#!/usr/bin/env python3
import os, pathlib, sys
at = next(i for i, a in enumerate(sys.argv) if i and not a.startswith("-"))
path = pathlib.Path(sys.argv[at])
if path.is_dir():
    path = path / "main.nos"
status = 0
for line in path.read_text().split("\\n"):
    word, _, text = line.partition(" ")
    if word == "#out":
        print(text, flush=True)
    elif word == "#err":
        print(text, file=sys.stderr, flush=True)
    elif word == "#status":
        status = int(text)
    elif word == "#kill":
        os.kill(os.getpid(), 11)
    elif word == "#echo":
        print(sys.argv[1:at], sys.argv[at + 1:], repr(sys.stdin.read()), os.environ.get("NOS_GC_STRESS"))
sys.exit(status)
"""

CASES = [  # name, program, passes
    ("expect", "# expect: 3\n\n#out 1\n#out 3\n", True),
    ("expect wrong", "# expect: 3\n\n#out 3\n#out 4\n", False),
    ("expect sees stderr last", "# expect: 3\n\n#out 3\n#err 4\n", False),
    ("expect sees the order of both", "# expect: 3\n\n#err 4\n#out 3\n", True),
    ("expect is exact", "# expect: 3\n\n#out 33\n", False),
    ("expect wants status 0", "# expect: 3\n\n#out 3\n#status 1\n", False),
    ("error", "# expect_error: bad\n\n#err very bad\n#status 1\n", True),
    ("error needs status 1", "# expect_error: bad\n\n#err very bad\n", False),
    ("error missing", "# expect_error: bad\n\n#err good\n#status 1\n", False),
    ("two errors", "# expect_error: a1\n# expect_error: b2\n\n#err a1\n#err b2\n#status 1\n", True),
    ("two errors, one missing", "# expect_error: a1\n# expect_error: b2\n\n#err a1\n#status 1\n", False),
    ("stdout", "# stdout:\n#| a\n#|\n#|  b\n\n#out a\n#out \n#out  b\n", True),
    ("stdout differs", "# stdout:\n#| a\n\n#out a\n#out b\n", False),
    ("stdout empty", "# stdout:\n\n", True),
    ("lines", "# lines: 3:7\n\n#err x.nos:3:7: error: m\n#status 1\n", True),
    ("lines wrong", "# lines: 3:7\n\n#err x.nos:3:8: error: m\n#status 1\n", False),
    ("exit", "# exit: 7\n\n#status 7\n", True),
    ("exit wrong", "# exit: 7\n\n#status 6\n", False),
    ("signal", "# exit: 0\n\n#kill\n", False),
    ("internal error", "# expect_error: e\n\n#err nostos: internal error at e\n#status 1\n", False),
    ("no expectation", "# nothing\n\n#out 3\n", False),
    ("header below the comment block does not count", "# a\n\n# expect: 3\n#out 3\n", False),
    ("args", "# expect: ['-x'] ['a b', 'c'] 'l1\\nl2\\\\' None\n# options: -x\n# args: 'a b' c\n"
             "# stdin: l1\\nl2\\\\\n\n#echo\n", True),
]


def runner(binary, *args):
    done = subprocess.run([sys.executable, str(RUNNER), "--nostos", binary, *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main():
    bad = []
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        fake = tmp / "nostos"
        fake.write_text(FAKE)
        fake.chmod(0o755)
        for i, (name, text, passes) in enumerate(CASES):
            file = tmp / f"case{i}.nos"
            file.write_text(text)
            status, output = runner(str(fake), file)
            if (status == 0) != passes:
                bad.append(f"{name}: exit status {status}\n{output}")
        tree = tmp / "tree"
        for path, text in [("proj/main.nos", "# expect: 1\n\n#out 1\n"), ("proj/other.nos", "#out no test\n"),
                           ("sub/a.nos", "# expect: 2\n\n#out 2\n"), ("mods/helper", ""), ("mods/m.nos", "#out no test\n"),
                           ("g.nos", "# expect: [] [] '' 1\n# modes: gcstress\n\n#echo\n")]:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        for mode, count in [("interp", 2), ("gcstress", 3)]:
            status, output = runner(str(fake), "--mode", mode, tree)
            if status != 0 or f"{count} programs, 0 failed" not in output:
                bad.append(f"discovery in mode {mode}: {status}\n{output}")
    print("\n".join(bad) or f"{len(CASES) + 2} checks of the runner, all as they should be")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
