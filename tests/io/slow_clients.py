#!/usr/bin/env python3
"""Slow clients must not hurt good ones: many connections send a byte a second, while a few others send whole requests.

    slow_clients.py NOSTOS [--connections 300] [--seconds 6] [--header-ms 2000] [--limit-ms N]

Every good request has to be answered, every slow one is refused or cut off when its time for the head is over, and the server
is as it was afterwards. --limit-ms fails when the 99th percentile of the good ones takes longer: for machines with nothing else to do.
"""
import argparse
import contextlib
import multiprocessing
import resource
import selectors
import socket
import sys
import time

from server import Server

PROGRAM = """
main() = {
    s = Server.bind(0, "127.0.0.1", headerMs: HEADER_MS)
    println(show(Server.port(s)))
    flushStdout()
    Server.handle(s, req => Server.respond(req.id, 200, [("Content-Type", "text/plain")], "Hello, World!"))
}
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: " + b"a" * 200 + b"\r\n\r\n"
GOOD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def attack(port, count, seconds, up, results):
    """Keeps `count` slow connections open; a refused one comes again."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    at, refused, other = {}, 0, 0
    selector = selectors.DefaultSelector()

    def connect():
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ)
        at[s] = 0

    for _ in range(count):
        connect()
    up.set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        gone = 0
        for i, s in enumerate(list(at)):
            with contextlib.suppress(OSError):   # what it reads tells why
                if s in at:
                    s.send(REQUEST[at[s]:at[s] + 1])
                    at[s] += 1
            if i % 50 == 0 and began + i / count > time.monotonic():
                time.sleep(began + i / count - time.monotonic())   # a byte a second each, not all at once
            if i % 50 == 0:
                for key, _ in selector.select(0):
                    s = key.fileobj
                    try:
                        answer = s.recv(4096)
                    except OSError:
                        answer = b""
                    if answer.startswith(b"HTTP/1.1 408 "):
                        refused += 1
                    elif answer:
                        other += 1
                    selector.unregister(s)
                    s.close()
                    at.pop(s, None)
                    gone += 1
        for _ in range(gone):
            connect()
        time.sleep(max(0, began + 1 - time.monotonic()))
    results.put((refused, other))


def good(port, seconds, results):
    """Whole requests over one kept connection; how long each took, in ms."""
    took = []
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.monotonic()
            s.sendall(GOOD)
            answer = b""
            while not answer.endswith(b"Hello, World!"):
                piece = s.recv(4096)
                if not piece:
                    results.put("a good client was cut off")
                    return
                answer += piece
            took.append((time.monotonic() - before) * 1e3)
            time.sleep(0.002)
    results.put(took)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("nostos")
    ap.add_argument("--connections", type=int, default=300)
    ap.add_argument("--seconds", type=float, default=6)
    ap.add_argument("--header-ms", type=int, default=2000)
    ap.add_argument("--limit-ms", type=float)
    ap.add_argument("--good", type=int, default=4, help="how many good clients")
    opt = ap.parse_args()
    with Server(opt.nostos, PROGRAM.replace("HEADER_MS", str(opt.header_ms))) as s:
        attacked, times, up = multiprocessing.Queue(), multiprocessing.Queue(), multiprocessing.Event()
        attacker = multiprocessing.Process(target=attack, args=(s.port, opt.connections, opt.seconds, up, attacked))
        attacker.start()
        if not up.wait(60):
            raise SystemExit("the slow clients could not connect")
        clients = [multiprocessing.Process(target=good, args=(s.port, opt.seconds - 0.5, times)) for _ in range(opt.good)]
        for c in clients:
            c.start()
        took = []
        for _ in clients:
            part = times.get(timeout=opt.seconds + 60)
            if isinstance(part, str):
                raise SystemExit(part)
            took += part
        refused, other = attacked.get(timeout=opt.seconds + 60)
        for p in [attacker, *clients]:
            p.join()
        took.sort()
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"{opt.connections} slow connections, {refused} refused with 408; {len(took)} good requests: p50 {p50:.2f} ms, "
              f"p99 {p99:.2f} ms, slowest {took[-1]:.2f} ms")
        if other:
            raise SystemExit(f"{other} slow clients got another answer than 408")
        if opt.seconds * 1000 > opt.header_ms + 3000 and refused < opt.connections:
            raise SystemExit("slow clients were not refused")
        if opt.limit_ms and p99 > opt.limit_ms:
            raise SystemExit(f"good clients waited: p99 {p99:.1f} ms")
        results = multiprocessing.Queue()
        good(s.port, 0.01, results)   # and afterwards
        if isinstance(results.get(timeout=30), str):
            raise SystemExit("no answer after the attack")


if __name__ == "__main__":
    sys.exit(main())
