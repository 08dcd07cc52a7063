#!/usr/bin/env python3
"""examples/proxy.nos between a client and an upstream server that is written here byte by byte.

    proxy.py NOSTOS
"""
import os
import pathlib
import socket
import sys
import threading

from reader import Reader
from server import Server

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent.parent / "examples" / "proxy.nos"
BIG = bytes(range(256)) * 4000
go_on, gone, gone_half, half_begun = (threading.Event() for _ in range(4))
connections, requests = [0], []


class Lines(Reader):
    """A socket read by lines and by counts."""

    def line(self):
        return self.until(b"\n").rstrip(b"\r").decode()

    def head(self):
        first, fields = self.line(), {}
        while line := self.line():
            name, value = line.split(":", 1)
            fields.setdefault(name.lower(), []).append(value.strip())
        return first, fields

    def body(self, fields):
        if "content-length" in fields:
            return self.count(int(fields["content-length"][0]))
        data = b""
        if fields.get("transfer-encoding") == ["chunked"]:
            while n := int(self.line(), 16):
                data += self.count(n)
                self.line()
            self.line()
        return data


    def pieces(self, fields):
        """The body, as it comes."""
        if "content-length" in fields:
            left = int(fields["content-length"][0])
            while left:
                if not self.rest:
                    self.more()
                piece, self.rest = self.rest[:left], self.rest[left:]
                left -= len(piece)
                yield piece
        elif fields.get("transfer-encoding") == ["chunked"]:
            while n := int(self.line(), 16):
                yield self.count(n)
                self.line()
            self.line()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def upstream(s):
    """Answers what comes on one connection."""
    connections[0] += 1
    lines = Lines(s)
    try:
        while True:
            first, fields = lines.head()
            path = first.split(" ")[1]
            if path == "/sink":   # what comes is counted, not kept
                n = sum(len(piece) for piece in lines.pieces(fields))
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(n)), n))
                continue
            if path == "/mirror":   # each piece comes back at once
                s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for piece in lines.pieces(fields):
                    s.sendall(chunk(piece))
                s.sendall(b"0\r\n\r\n")
                continue
            if path == "/early":   # has seen enough
                s.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
                break
            if path == "/cut":   # a client that does not end its request
                half_begun.set()
                try:
                    got = len(list(lines.pieces(fields)))
                except EOFError:
                    got = "half"
                requests.append((first, fields, got))
                gone_half.set()
                break
            body = lines.body(fields)
            requests.append((first, fields, body))
            if path.startswith("/hello"):
                s.sendall(b"HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: X-Two\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\n" +
                          (b"" if first.startswith("HEAD") else b"hello"))
            elif path == "/echo":
                s.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            elif path == "/big":
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
            elif path == "/chunks":
                s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"first "))
                go_on.wait(60)   # until the client has that
                s.sendall(chunk(b"second") + b"0\r\nX-Trailer: 1\r\n\r\n")
            elif path == "/end":
                s.sendall(b"HTTP/1.0 200 OK\r\n\r\nto the end")
                break
            elif path == "/torn":
                s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"half"))
                break
            elif path == "/short":
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
                break
            elif path == "/nonsense":
                s.sendall(b"220 ready to greet you\r\n")
                break
            elif path == "/both":
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                break
            elif path == "/silent":
                gone.wait(60)
                break
            elif path == "/continue":
                s.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
            elif path == "/close":   # kept by the proxy, closed by us
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                break
    except (EOFError, OSError):
        pass
    s.close()


def serve(listener):
    while True:
        try:
            s = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=upstream, args=(s,), daemon=True).start()


def equal(got, want):
    assert got == want, f"got {str(got)[:300]}, expected {str(want)[:300]}"


def memory(server, what):
    with open(f"/proc/{server.process.pid}/status") as f:
        return int(next(line for line in f if line.startswith(what)).split()[1])


def uploads(proxy):
    """Bodies of requests are passed on while they come."""
    size, piece = int(os.environ.get("UPLOAD_MB", "100")) << 20, b"u" * 1000000
    c = Client(proxy.port)
    c.whole("POST", "/echo", BIG)
    before = memory(proxy, "VmRSS")
    for counted in (True, False):
        c.s.sendall(b"POST /sink HTTP/1.1\r\nHost: x\r\n" +
                    (b"Content-Length: %d\r\n\r\n" % size if counted else b"Transfer-Encoding: chunked\r\n\r\n"))
        left = size
        while left:
            part = piece[:left]
            left -= len(part)
            c.s.sendall(part if counted else chunk(part))
        if not counted:
            c.s.sendall(b"0\r\n\r\n")
        first, fields = c.lines.head()
        equal((first, c.lines.body(fields)), ("HTTP/1.1 200 OK", str(size).encode()))
    grown = memory(proxy, "VmHWM") - before
    print(f"2 x {size >> 20} MB through the proxy: {grown} KB more")
    assert grown < 30000, grown
    c.s.sendall(b"POST /mirror HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    equal(c.lines.head()[0], "HTTP/1.1 200 OK")
    for part in (b"one", b"two"):   # the answer's piece before the request's next one
        c.s.sendall(chunk(part))
        n = int(c.lines.line(), 16)
        equal((c.lines.count(n), c.lines.line()), (part, ""))
    c.s.sendall(b"0\r\n\r\n")
    equal((c.lines.line(), c.lines.line()), ("0", ""))
    equal(c.whole("GET", "/hello"), (200, b"hello"))
    c.s.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + piece[:1000])
    first, fields = c.lines.head()
    equal((first, c.lines.body(fields), fields["connection"]), ("HTTP/1.1 403 Forbidden", b"no", ["close"]))
    for rest in (b"Content-Length: 1000\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
        gone_half.clear()
        c = Client(proxy.port)
        half_begun.clear()
        c.s.sendall(b"POST /cut HTTP/1.1\r\nHost: x\r\n" + rest)
        assert half_begun.wait(60)
        c.s.close()
        assert gone_half.wait(60)
        equal(requests[-1][2], "half")   # and not a whole request of four bytes
    gone_half.clear()
    half_begun.clear()
    c = Client(proxy.port)
    c.s.sendall(b"POST /cut HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert half_begun.wait(60)   # with the head it would be refused at once
    c.s.sendall(b"nonsense\r\n")
    equal(c.lines.head()[0], "HTTP/1.1 400 Bad Request")
    assert gone_half.wait(60)
    equal(requests[-1][2], "half")


def start(nostos, upstream_port, ms=30000):
    asan = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"   # which would look like growth
    return Server(nostos, EXAMPLE.read_text(), 0, "127.0.0.1", upstream_port, ms, env={"ASAN_OPTIONS": asan})


class Client:
    def __init__(self, port):
        self.s = socket.create_connection(("127.0.0.1", port), 60)
        self.lines = Lines(self.s)

    def ask(self, method, path, body=b"", fields=""):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.s.sendall(f"{method} {path} HTTP/1.1\r\nHost: example.org\r\n{fields}{length}\r\n".encode() + body)
        first, answer = self.lines.head()
        return int(first.split(" ")[1]), answer

    def whole(self, method, path, body=b"", fields=""):
        status, answer = self.ask(method, path, body, fields)
        return status, b"" if method == "HEAD" else self.lines.body(answer)


def main():
    nostos = sys.argv[1]
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    port = listener.getsockname()[1]
    with start(nostos, port) as proxy:
        c = Client(proxy.port)
        status, fields = c.ask("GET", "/hello?a=%20b&c", fields="X-Mine: yes\r\nX-Gone: 1\r\nConnection: keep-alive, X-Gone\r\nTE: x\r\n")
        equal((status, c.lines.body(fields)), (200, b"hello"))
        equal((fields.get("x-one"), fields.get("x-two")), (["1"], None))
        first, fields, _ = requests[-1]
        equal(first, "GET /hello?a=%20b&c HTTP/1.1")
        equal((fields["host"], fields["x-mine"], fields.get("x-gone"), fields.get("te")), (["example.org"], ["yes"], None, None))
        equal(fields["x-forwarded-for"], ["127.0.0.1"])
        c.whole("GET", "/hello", fields="X-Forwarded-For: 10.0.0.1\r\n")
        equal(requests[-1][1]["x-forwarded-for"], ["10.0.0.1, 127.0.0.1"])
        for _ in range(20):
            equal(c.whole("GET", "/hello"), (200, b"hello"))
        equal(c.whole("HEAD", "/hello"), (200, b""))
        # One at a time is enough; another one is made when a request is quicker than the last one giving its connection back.
        assert connections[0] <= 5, connections
        equal(c.whole("POST", "/echo", BIG), (201, BIG))
        equal(c.whole("PUT", "/echo", b"text"), (201, b"text"))
        equal(c.whole("GET", "/big"), (200, BIG))
        equal(c.whole("GET", "/continue"), (204, b""))
        status, fields = c.ask("GET", "/end")
        equal((status, c.lines.body(fields)), (200, b"to the end"))
        for _ in range(3):   # the kept connection is dead: nobody notices
            equal(c.whole("GET", "/close"), (200, b"ok"))
        status, fields = c.ask("GET", "/chunks")
        n = int(c.lines.line(), 16)
        equal((status, c.lines.count(n)), (200, b"first "))   # before the rest has been sent
        go_on.set()
        c.lines.line()
        equal(c.lines.body(fields), b"second")
        for path in ("/short", "/nonsense", "/both"):
            equal(c.whole("GET", path)[0], 502)
        try:
            c.whole("GET", "/torn")
            raise AssertionError("half an answer looked whole")
        except EOFError:
            pass
        many = [threading.Thread(target=lambda: equal(Client(proxy.port).whole("GET", "/big"), (200, BIG))) for _ in range(20)]
        for t in many:
            t.start()
        for t in many:
            t.join()
        uploads(proxy)
        half = Client(proxy.port)   # a client that goes away in the middle
        half.ask("GET", "/big")
        half.s.close()
        equal(Client(proxy.port).whole("GET", "/hello"), (200, b"hello"))
    with start(nostos, port, 300) as proxy:
        equal(Client(proxy.port).whole("GET", "/silent"), (504, b"Gateway Timeout"))
    gone.set()
    listener.close()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with start(nostos, port) as proxy:
        equal(Client(proxy.port).whole("GET", "/hello"), (502, b"Bad Gateway"))
    print("ok")


if __name__ == "__main__":
    sys.exit(main())
