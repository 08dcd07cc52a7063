"""What the test programs of this directory have in common: how a test fails, and how all are run."""
import os
import subprocess


class Failure(Exception):
    pass


def named_tests(definitions):
    """The functions test_... among the definitions of a module."""
    return {name: f for name, f in definitions.items() if name.startswith("test_")}


def has_jit(nostos):
    return b"no JIT" not in subprocess.run([nostos, "--jit=eager", os.devnull], capture_output=True).stderr


def run(tests, wanted, call):
    """Calls call(test) for each test whose name contains `wanted` and says which failed; the exit status. None at all is a failure."""
    failed = n = 0
    for name, test in tests.items():
        if wanted not in name:
            continue
        n += 1
        try:
            call(test)
        except (Failure, subprocess.TimeoutExpired, ValueError) as e:
            failed += 1
            print(f"FAIL {name}\n  {type(e).__name__}: " + str(e).replace("\n", "\n  "))
    print(f"{n - failed} of {n} passed")
    return 1 if failed or not n else 0
