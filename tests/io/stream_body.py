#!/usr/bin/env python3
"""Servers that hand requests over with their heads: bodies in pieces, back-pressure, answers before the end of the body, clients that
are slow, wrong, or gone.

    stream_body.py NOSTOS
"""
import hashlib
import resource
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from reader import Reader
from server import Server

PROGRAM = """
use stdlib.server.*

count(req: HttpRequest, sum: Int) -> Int = {
    piece = Server.readBody(req.id)
    if piece.length() == 0 then sum else count(req, sum + piece.length())
}

say(text) = { println(text); flushStdout() }

why(f) = try { f(); "nothing" } catch { (kind, text) -> kind ++ ": " ++ text }

handle(req: HttpRequest) -> () = match req.path {
    "/count" -> respondText(req, show(count(req, 0)) ++ " " ++ show(req.body.length()))
    "/echo" -> {
        Server.stream(req.id, 200, [])
        eachPiece(req, piece => Server.write(req.id, piece))
        Server.end(req.id)
    }
    "/ignore" -> respondText(req, "ignored")
    "/half" -> { n = Server.readBody(req.id).length(); respondText(req, if n > 0 then "some" else "none") }
    "/die" -> { Server.readBody(req.id); throw("die") }
    "/never" -> { receive { "never" -> () } }
    "/tell" -> {
        say("reading")
        say(why(() => count(req, 0)))
    }
    "/torn" -> {
        Server.stream(req.id, 200, [])
        Server.write(req.id, "begun")
        say(why(() => count(req, 0)))
    }
    "/patience" -> {
        first = why(() => Server.readBody(req.id, 20))
        respondText(req, first ++ ", then " ++ show(count(req, 0)))
    }
    "/two" -> {
        me = self()
        # Two that read at the same time get everything between them.
        spawn { me <- ("part", count(req, 0)) }
        spawn { me <- ("part", count(req, 0)) }
        receive { ("part", a) -> receive { ("part", b) -> respondText(req, show(a + b)) } }
    }
    "/bytes" -> respondText(req, why(() => Server.bodyBytes(req.id)))
    "/after" -> {
        respondText(req, "answered")
        say(why(() => Server.readBody(req.id)))
    }
    "/answered" -> {
        me = self()
        reader = spawn { say(why(() => count(req, 0))) }
        waits(reader)
        respondText(req, "by another")
    }
    _ -> respond404(req)
}

waits(p) = while Process.info(p).status != "io" { sleep(1) }

main() = {
    args = Env.args()
    ms = args[0].toInt().unwrap()
    server = if args.length() > 1
        then Server.bind(0, "127.0.0.1", maxBody: -1, streamBody: true, certificate: args[1], key: args[2])
        else Server.bind(0, "127.0.0.1", maxBody: 3000000, bodyMs: ms, idleMs: 30000, streamBody: true)
    say(show(Server.port(server)))
    acceptLoop(server, handle)
}
"""


def equal(got, want):
    assert got == want, f"got {str(got)[:300]}, expected {str(want)[:300]}"


class Client(Reader):
    def __init__(self, port, context=None):
        s = socket.create_connection(("127.0.0.1", port), 60)
        self.to_send = b""   # goes out while an answer is waited for
        super().__init__(context.wrap_socket(s, server_hostname="localhost") if context else s)

    def more(self):
        """Sends to_send while it waits. One thread does both: two must not use one TLS connection at the same time."""
        self.s.setblocking(False)
        while (piece := self.now(self.s.recv, 65536)) is None:
            if self.to_send:
                self.to_send = self.to_send[self.now(self.s.send, self.to_send[:65536]) or 0:]
            ready = select.select([self.s], [self.s] if self.to_send else [], [], 60)
            assert ready[0] or ready[1], "nothing happens for a minute"
        self.s.settimeout(60)
        if not piece:
            raise EOFError
        self.rest += piece

    def now(self, f, arg):
        """What f gives without waiting, or None."""
        try:
            return f(arg)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def head(self):
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        return int(lines[0].split(" ")[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}

    def chunk(self):
        data = self.count(int(self.until(b"\r\n"), 16))
        equal(self.count(2), b"\r\n")
        return data

    def answer(self):
        """status, body, whether the connection ends"""
        status, fields = self.head()
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while piece := self.chunk():
                body += piece
        else:
            body = self.count(int(fields["content-length"]))
        return status, body.decode("latin-1"), fields.get("connection") == "close"

    def ended(self):
        """The server has ended the connection."""
        try:
            return self.s.recv(1) == b""
        except ConnectionResetError:
            return True


def post(path, n, fields=""):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n{fields}\r\n"


def chunked(path, fields=""):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def bodies(port):
    c = Client(port)
    for n in (0, 1, 100, 65535, 65536, 65537, 1000000):
        c.send(post("/count", n) + "x" * n)
        equal(c.answer(), (200, f"{n} 0", False))
    for piece, times in ((1, 1000), (1000, 100), (100000, 20)):
        c.send(chunked("/count").encode() + chunk(b"y" * piece) * times + b"0\r\nX-Trailer: 1\r\n\r\n")
        equal(c.answer(), (200, f"{piece * times} 0", False))
    c.send("GET /count HTTP/1.1\r\nHost: x\r\n\r\n")
    equal(c.answer(), (200, "0 0", False))
    # byte by byte, over both kinds of framing
    for text in (post("/count", 5) + "12345", chunked("/count") + "2;x=y\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"):
        for b in text.encode():
            c.send(bytes([b]))
        equal(c.answer(), (200, "5 0", False))
    # pipelined, with bodies that come with the heads and bodies that do not
    c.send((post("/count", 3) + "abc" + "GET /count HTTP/1.1\r\nHost: x\r\n\r\n" + chunked("/count") + "1\r\nz\r\n0\r\n\r\n"
            + post("/ignore", 4) + "abcd" + chunked("/ignore") + "1\r\nz\r\n0\r\n\r\n" + post("/count", 200000) + "q" * 200000
            + post("/count", 1) + "e"))
    for want in ("3 0", "0 0", "1 0", "ignored", "ignored", "200000 0", "1 0"):
        equal(c.answer(), (200, want, False))
    c.send(post("/two", 500000) + "x" * 500000)
    equal(c.answer(), (200, "500000", False))
    c.send(post("/bytes", 1) + "x")
    equal(c.answer()[1], "io_error: IO error: this body is read in pieces (Server.readBody)")


def both_ways(port, context=None):
    """Echoes while the body comes: what was sent comes back before the rest is sent."""
    c = Client(port, context)
    for start in (chunked("/echo"), post("/echo", 14)):
        c.send(start)
        equal(c.head()[0], 200)
        for piece in (b"one", b"two", b"three", b"end"):
            c.send(chunk(piece) if start.find("chunked") > 0 else piece)
            got = b""
            while len(got) < len(piece):
                got += c.chunk()
            equal(got, piece)
        if start.find("chunked") > 0:
            c.send("0\r\n\r\n")
        equal(c.chunk(), b"")
    data = bytes(range(256)) * 10000
    c.send(post("/echo", len(data)))
    c.to_send = data
    status, body, _ = c.answer()
    equal((status, hashlib.sha1(body.encode("latin-1")).digest()), (200, hashlib.sha1(data).digest()))


def unread(port):
    # A short rest is thrown away, and the connection goes on.
    c = Client(port)
    for start, rest in ((post("/ignore", 100000), b"x" * 100000), (chunked("/ignore"), chunk(b"y" * 50000) + b"0\r\n\r\n"),
                        (post("/half", 200000), b"z" * 200000)):
        c.send(start)
        if "half" in start:
            c.send(rest[:1000])
            rest = rest[1000:]
        equal(c.answer()[2], False)
        c.send(rest + post("/count", 2).encode() + b"ab")
        equal(c.answer(), (200, "2 0", False))
    # A long one is not, and the client is told with the answer.
    c.send(post("/ignore", 2000000))
    equal(c.answer(), (200, "ignored", True))
    assert c.ended()
    # Of one whose length is not known only that much is read.
    c = Client(port)
    c.send(chunked("/ignore"))
    equal(c.answer(), (200, "ignored", False))
    try:
        for _ in range(100):
            c.send(chunk(b"y" * 100000))
    except OSError:
        pass
    assert c.ended()
    # What is wrong in a rest ends the connection: where the next request begins is a guess.
    c = Client(port)
    c.send(chunked("/ignore"))
    equal(c.answer(), (200, "ignored", False))
    c.send("nonsense\r\n\r\nGET /count HTTP/1.1\r\nHost: x\r\n\r\n")
    assert c.ended()


def expecting(port):
    expect = "Expect: 100-continue\r\n"
    c = Client(port)
    for start in (post("/count", 3, expect), post("/count", 3, expect)):
        c.send(start)
        equal(c.head()[0], 100)   # because somebody reads
        c.send("abc")
        equal(c.answer(), (200, "3 0", False))
    # Nobody reads: no 100, and as nobody knows what comes next the connection ends.
    c.send(post("/ignore", 3, expect))
    equal(c.answer(), (200, "ignored", True))
    assert c.ended()
    # It does not wait: no 100 is needed.
    c = Client(port)
    c.send(post("/count", 3, expect) + "abc")
    equal(c.answer(), (200, "3 0", False))
    c.send(post("/never", 3, expect))
    c.send("a")
    c.s.close()
    # Behind the head of an answer there is no 100.
    c = Client(port)
    c.send(post("/echo", 3, expect))
    equal(c.head()[0], 200)
    c.send("abc")
    equal(c.chunk(), b"abc")
    equal(c.chunk(), b"")
    c = Client(port)
    c.send(post("/count", 5000000, expect))
    equal(c.answer(), (413, "Content Too Large", True))


def wrong(port, line):
    for bad in ("zz\r\n", "1\r\nab\r\n", "1\n\na\r\n", "fffffffffffffffff\r\n", "1\r\na\r\n0\r\n bad: 1\r\n\r\n", "-1\r\n"):
        c = Client(port)   # with the head: nobody hears of it
        c.send(chunked("/tell") + "1\r\na\r\n" + bad)
        equal((c.answer()[0], c.ended()), (400, True))
        c = Client(port)   # later: the reader does
        c.send(chunked("/tell"))
        equal(line(), "reading")
        c.send("1\r\na\r\n" + bad)
        equal((c.answer()[0], c.ended()), (400, True))
        equal(line(), "io_error: HTTP error: the request's body is malformed or too long")
    c = Client(port)   # too long as a whole, though nobody holds it
    c.send(chunked("/tell"))
    equal(line(), "reading")
    try:
        for _ in range(40):
            c.send(chunk(b"y" * 100000))
    except OSError:
        pass
    equal(line(), "io_error: HTTP error: the request's body is malformed or too long")
    equal(c.answer()[0], 413)
    c = Client(port)   # the answer has begun: it is torn
    c.send(chunked("/torn"))
    equal(c.head()[0], 200)
    equal(c.chunk(), b"begun")
    c.send("zz\r\n")
    equal(line(), "io_error: HTTP error: the request's body is malformed or too long")
    assert c.ended()


def gone(port, line):
    for end in (lambda s: s.close(), lambda s: s.shutdown(socket.SHUT_WR)):
        for start in (post("/tell", 100), chunked("/tell")):
            c = Client(port)
            c.send(start)
            equal(line(), "reading")
            c.send("5\r\nabc")
            end(c.s)
            equal(line(), "io_error: Connection failed: the client has closed the connection")
    c = Client(port)
    c.send(post("/die", 100) + "abc")
    equal((c.answer()[0], c.ended()), (500, True))
    c = Client(port)
    c.send(post("/after", 3))
    equal(c.answer()[1], "answered")
    equal(line(), "io_error: Request not found or already responded")
    c.send("abc" + post("/answered", 3))
    equal(c.answer()[1], "by another")
    equal(line(), "io_error: Request not found or already responded")
    c.send("abc")
    c.send(post("/patience", 3))
    time.sleep(0.05)
    c.send("abc")
    status, text, _ = c.answer()
    assert text in ("io_error: Operation timed out, then 3", "nothing, then 0", "nothing, then 3"), text


def memory(server):
    with open(f"/proc/{server.process.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def pressure(server):
    """A client cannot send more than what the system and one window hold."""
    c = Client(server.port)
    c.send(chunked("/never"))
    c.s.setblocking(False)
    sent, piece, before = 0, chunk(b"x" * 60000), memory(server)
    while select.select([], [c.s], [], 1)[1]:
        sent += c.s.send(piece)
        assert sent < 64 << 20, "nothing holds the client back"
    assert memory(server) - before < 4096, (before, memory(server))
    c.s.close()


def slow(server, line):
    """A client that sends a byte now and then does not hold a process for ever."""
    c = Client(server.port)
    c.send(post("/tell", 1000))
    equal(line(), "reading")
    try:
        while True:
            c.send("x")
            if select.select([c.s], [], [], 0.02)[0]:
                break
    except OSError:
        pass
    equal(c.answer()[0], 408)
    equal(line(), "io_error: Operation timed out")
    assert c.ended()
    # A program that takes its time is not the client's fault, nor is a rest that nobody asks for ... until it is thrown away.
    c = Client(server.port)
    c.send(post("/ignore", 1000))
    equal(c.answer()[0], 200)
    assert c.ended()


def secure(nostos):
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{d}/key.pem", "-out", f"{d}/cert.pem",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True,
                       capture_output=True)
        with Server(nostos, PROGRAM, 30000, f"{d}/cert.pem", f"{d}/key.pem") as server:
            context = ssl.create_default_context(cafile=f"{d}/cert.pem")
            both_ways(server.port, context)
            c = Client(server.port, context)
            for n in (10, 5000000):
                c.send(post("/count", n) + "x" * n)
                equal(c.answer(), (200, f"{n} 0", False))


def main():
    nostos = sys.argv[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Server(nostos, PROGRAM, 30000) as server:
        def line():
            return server.process.stdout.readline().rstrip("\n")
        bodies(server.port)
        both_ways(server.port)
        unread(server.port)
        expecting(server.port)
        wrong(server.port, line)
        gone(server.port, line)
        pressure(server)
        threads = [threading.Thread(target=both_ways, args=(server.port,)) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        bodies(server.port)
    with Server(nostos, PROGRAM, 300) as server:
        slow(server, lambda: server.process.stdout.readline().rstrip("\n"))
    secure(nostos)
    print("ok")


if __name__ == "__main__":
    sys.exit(main())
