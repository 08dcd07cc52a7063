#!/usr/bin/env python3
"""Golden bytecode: NAME.nos is compiled with `nostos --disasm` and compared with NAME.bc.

    run.py BINARY            compares all, shows differences
    run.py BINARY --update   rewrites the .bc files; review the result as a diff
"""
import difflib, pathlib, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent


def main():
    args = [a for a in sys.argv[1:] if a != "--update"]
    update = "--update" in sys.argv
    if len(args) != 1:
        sys.exit(__doc__)
    binary = str(pathlib.Path(args[0]).resolve())
    failed = 0
    sources = sorted(HERE.glob("*.nos"))
    for src in sources:
        run = subprocess.run([binary, "--disasm", src.name], cwd=HERE, capture_output=True, text=True, timeout=60)
        if run.returncode:
            print(f"FAIL {src.name}: exit status {run.returncode}\n{run.stderr}")
            failed += 1
            continue
        golden = src.with_suffix(".bc")
        want = golden.read_text() if golden.exists() else ""
        if run.stdout == want:
            continue
        if update:
            golden.write_text(run.stdout)
            print(f"updated {golden.name}")
            continue
        failed += 1
        print(f"FAIL {src.name}")
        sys.stdout.writelines(difflib.unified_diff(want.splitlines(True), run.stdout.splitlines(True), golden.name, "now"))
    print(f"{len(sources)} programs, {failed} failed")
    sys.exit(failed != 0)


main()
