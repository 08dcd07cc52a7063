#!/usr/bin/env python3
"""S-22: the system calls of tests/seed/s01_every_wait.nos, seen by strace: no thread that runs an event loop waits in another call.

    no_blocking_calls.py NOSTOS

Asserts that no such call was still waiting when the program ended, and that none of these threads loaded libcurl, libpq or OpenSSL,
which takes milliseconds; the longest call is printed as a figure. Exit status 77: no strace.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
WAITING = ("read readv pread64 recvfrom recvmsg recvmmsg write writev sendto sendmsg connect accept accept4 poll ppoll select pselect6 "
           "nanosleep clock_nanosleep wait4 waitid flock fcntl open openat fsync fdatasync sendfile").split()
LOOP = ("epoll_wait", "epoll_pwait", "epoll_pwait2")


WEBSOCKET = """main() = {
    l = Tcp.listen(0, "127.0.0.1")
    println(try { show(WebSocket.open("ws://127.0.0.1:${Tcp.port(l)}/", [], 50)) } catch { _ -> "nobody answers" })
}
"""


def loads_on_loops(nostos, source, library):
    """Threads of a program that loaded a library, and those of them that have an event loop."""
    with tempfile.NamedTemporaryFile("r") as trace, tempfile.NamedTemporaryFile("w", suffix=".nos") as program:
        program.write(source)
        program.flush()
        subprocess.run(["strace", "-f", "-qq", "-o", trace.name, "-e", "trace=open,openat,?epoll_wait,?epoll_pwait,?epoll_pwait2", nostos,
                        program.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        lines = trace.read().splitlines()
    loaders = {line.split()[0] for line in lines if re.search(rf"/lib{library}\b", line)}
    return loaders, loaders & {line.split()[0] for line in lines if "epoll_" in line}


def main():
    if not shutil.which("strace") or subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        print("strace cannot be used here")
        return 77
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # which cannot be done under strace
    with tempfile.NamedTemporaryFile("r") as trace:
        p = subprocess.run(["strace", "-f", "-qq", "-T", "-o", trace.name, "-e", "trace=" + ",".join(["?" + c for c in WAITING + list(LOOP)]),
                            os.path.abspath(sys.argv[1]), "tests/seed/s01_every_wait.nos"], cwd=ROOT, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, timeout=300, env=env)
        lines = trace.read().splitlines()
    calls, pending = [], {}  # (thread, call, seconds), thread -> call
    loaders = set()
    for line in lines:
        m = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)[( ]", line)
        if not m:
            continue
        thread, call = int(m[1]), m[2]
        if re.search(r"/lib(curl|pq)\b", line):
            loaders.add(thread)
        if line.endswith("<unfinished ...>"):
            pending[thread] = call
            continue
        pending.pop(thread, None)
        t = re.search(r"<(\d+\.\d+)>$", line)
        calls.append((thread, call, float(t[1]) if t else 0))
    loops = {thread for thread, call, _ in calls if call in LOOP} | {thread for thread, call in pending.items() if call in LOOP}
    stuck = {thread: call for thread, call in pending.items() if thread in loops and call not in LOOP}
    times = [(seconds, call) for thread, call, seconds in calls if thread in loops and call not in LOOP]
    if p.returncode != 0 or p.stdout != '"ok"\n' or not loops or not times or stuck or not loaders or loaders & loops:
        print(f"FAILED: status {p.returncode}, {len(loops)} loops, {len(times)} calls, waiting at the end: {stuck}, libraries "
              f"loaded by {loaders & loops}, output {p.stdout!r}")
        return 1
    loaders, on_loops = loads_on_loops(os.path.abspath(sys.argv[1]), WEBSOCKET, "(ssl|crypto)")
    if not loaders or on_loops:
        print(f"FAILED: a WebSocket loads OpenSSL on threads {loaders}, of which {on_loops} have loops")
        return 1
    seconds, call = max(times)
    print(f"@ S-22|longest of {len(times)} calls on {len(loops)} threads with loops ({call})|{seconds * 1000:.1f}|ms|<=|50", file=sys.stderr)
    print("0 failures")
    return 0


sys.exit(main())
