#!/usr/bin/env python3
"""Static files of the HTTP server that the system sends: slow and stalled clients, resets, files that shrink, what comes behind.

    http_files.py NOSTOS
"""
import hashlib
import os
import socket
import struct
import sys
import tempfile
import threading
import time

from server import Server

PROGRAM = """
use stdlib.server.*

handle(req: HttpRequest) -> () = match req.path {
    "/hello" -> respondText(req, "Hello")
    "/killed" -> {
        me = self()
        spawn { sleep(100); Process.kill(me) }
        respondFile(req, Env.args()[0] ++ "/big.bin")
        ()
    }
    _ -> {
        try { if serveStatic(req, "/", Env.args()[0]) then () else respond404(req) } catch { (_, text) -> println(text) }
        flushStdout()
    }
}

log_lines() = receive { (_, _, target, status, bytes, _) -> {
    if target == "/logged.bin" then { println(show(status) ++ " " ++ show(bytes)); flushStdout() } else ()
    log_lines()
} }

main() = {
    server = Server.bind(0, "127.0.0.1", writeMs: 1000, idleMs: 3000)
    Server.logTo(server, spawn { log_lines() })
    println(Server.port(server))
    flushStdout()
    acceptLoop(server, handle)
}
"""
SIZE = 20_000_000
failed = 0


def check(name, ok, got=None):
    global failed
    if not ok:
        failed += 1
        print(f"FAILED {name}: {got!r}"[:600], flush=True)


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=30)
    return s


def request(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def answer(f):
    """(status, body) of one answer with a Content-Length; a body that ends early is short."""
    status, length = int(f.readline().split()[1]), 0
    while (line := f.readline().strip()):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, f.read(length)


def rest(s):
    got = 0
    try:
        while (n := len(s.recv(1 << 20))):
            got += n
    except ConnectionResetError:
        pass
    return got


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def wait_for(what):
    end = time.time() + 20
    while not what() and time.time() < end:
        time.sleep(0.02)
    return what()


def in_order(port, data):
    with connect(port) as s, s.makefile("rb") as f:
        s.sendall(request("/big.bin") + request("/hello") + request("/big.bin", "Range: bytes=1000000-9999999\r\n") + request("/hello"))
        check("big", answer(f) == (200, data))
        check("behind it", answer(f) == (200, b"Hello"))
        check("a long range", answer(f) == (206, data[1000000:10000000]))
        check("behind the range", answer(f) == (200, b"Hello"))
    with connect(port) as s, s.makefile("rb") as f:
        s.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
        check("1.0", answer(f) == (200, data) and f.read() == b"")


def slow_clients(port, data):
    want, results = hashlib.md5(data).digest(), []

    def slow():
        with connect(port) as s, s.makefile("rb", 65536) as f:
            s.sendall(request("/big.bin"))
            f.readline()
            while f.readline().strip():
                pass
            h, left = hashlib.md5(), SIZE
            while left and (part := f.read(min(left, 1_000_000))):
                h.update(part)
                left -= len(part)
                time.sleep(0.02)
            results.append(h.digest() == want)

    threads = [threading.Thread(target=slow) for _ in range(12)]
    for t in threads:
        t.start()
    with connect(port) as s, s.makefile("rb") as f:
        s.sendall(request("/small.txt"))
        check("a small file meanwhile", answer(f) == (200, b"small"))
    for t in threads:
        t.join()
    check("slow clients get all", results == [True] * 12, results)


def stalled_clients(server, port):
    before = descriptors(server)
    clients = [connect(port) for _ in range(20)]
    for s in clients:
        s.sendall(request("/big.bin"))
    with connect(port) as s, s.makefile("rb") as f:
        s.sendall(request("/small.txt"))
        check("a small file beside stalled clients", answer(f) == (200, b"small"))
    check("stalled clients are closed", wait_for(lambda: descriptors(server) <= before), (before, descriptors(server)))
    check("before they had all", all(rest(s) < SIZE for s in clients))
    for s in clients:
        s.close()


def resets(server, port):
    before = descriptors(server)
    for _ in range(30):
        s = connect(port)
        s.sendall(request("/big.bin"))
        s.recv(100000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    check("after resets", wait_for(lambda: descriptors(server) <= before), (before, descriptors(server)))


def shrinking(server, port, directory):
    path = f"{directory}/shrinks.bin"
    with open(path, "wb") as f:
        f.truncate(3 * SIZE)
    with connect(port) as s:
        s.sendall(request("/shrinks.bin"))
        s.recv(1000)
        os.truncate(path, 1000)
        got = rest(s)
        check("a file that shrinks ends the connection", got < 3 * SIZE, got)
    line = server.process.stdout.readline()
    check("and is an error of the program", line == "IO error: the file cannot be read to its end\n", line)


def main():
    with tempfile.TemporaryDirectory() as directory, Server(sys.argv[1], PROGRAM, directory) as server:
        data, port = os.urandom(SIZE), server.port
        for name in ("big.bin", "logged.bin"):
            with open(f"{directory}/{name}", "wb") as f:
                f.write(data)
        with open(f"{directory}/small.txt", "w") as f:
            f.write("small")
        in_order(port, data)
        slow_clients(port, data)
        stalled_clients(server, port)
        resets(server, port)
        with connect(port) as s:
            s.sendall(request("/killed"))
            time.sleep(0.3)
            check("killed while sending", rest(s) < SIZE)
        shrinking(server, port, directory)
        with connect(port) as s, s.makefile("rb") as f:
            s.sendall(request("/logged.bin"))
            answer(f)
            line = server.process.stdout.readline()
            check("the log counts the bytes", line == f"200 {SIZE}\n", line)
    print(f"{failed} failures")
    return failed > 0


sys.exit(main())
