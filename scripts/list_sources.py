#!/usr/bin/env python3
"""Keeps the source lists of CMakeLists.txt (between BEGIN SOURCES and END SOURCES) equal to the tree.

    scripts/list_sources.py          rewrites the lists
    scripts/list_sources.py --check  exit status 1 when a file is missing from them or they name one that is gone
"""
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIRS = ["vm/util", "vm/front", "vm/types", "vm/value", "vm/bytecode", "vm/compile", "vm/heap", "vm/data", "sched",
        "vm/interp", "io", "vm/builtins", "vm"]


def wrap(head, words):
    return textwrap.fill(head + " ".join(words) + ")", 100, subsequent_indent="    ", break_long_words=False,
                         break_on_hyphens=False)


def lists():
    lines = []
    for d in DIRS:
        files = sorted(p.name for p in (ROOT / d).glob("*.c") if (d, p.name) != ("vm", "main.c"))
        if files:
            lines.append(wrap(f"nos_directory({d} ", files))
    unit = sorted(p.stem[5:] for p in (ROOT / "tests/unit").glob("test_*.c") if p.stem != "test_mir")
    lines.append(wrap("set(unit_tests ", unit))
    return "\n".join(lines)


def main():
    path = ROOT / "CMakeLists.txt"
    old = path.read_text()
    new = re.sub(r"(?s)(# BEGIN SOURCES[^\n]*\n).*?(# END SOURCES)", lambda m: m[1] + lists() + "\n" + m[2], old)
    if sys.argv[1:] == ["--check"]:
        if new != old:
            print("CMakeLists.txt does not name the sources that exist: run scripts/list_sources.py")
        return new != old
    if new != old:
        path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
