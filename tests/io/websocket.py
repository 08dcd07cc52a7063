#!/usr/bin/env python3
"""WebSocket seen from outside: a raw client against an echo server, frame by frame (the cases follow the Autobahn test suite's
list), hostile clients, a raw server against our client, TLS, SIGTERM.

    websocket.py NOSTOS [NAME ...]
"""
import base64
import hashlib
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

from server import Server

ECHO = """
why(f) = try { f() } catch { (kind, text) -> kind ++ ": " ++ text }
say(x) = { println(x); flushStdout() }

echo(ws: Int) -> () = {
    (text, bytes) = WebSocket.recvBytes(ws)
    if text then WebSocket.send(ws, bytes.toString().unwrapOr("not UTF-8")) else WebSocket.sendBytes(ws, bytes)
    echo(ws)
}

flood(ws: Int, text: String, n: Int) -> () = if n == 0 then () else { WebSocket.send(ws, text); flood(ws, text, n - 1) }

handle(req: HttpRequest) -> () = match req.path {
    "/echo" -> {
        ws = WebSocket.accept(req.id)
        say(why(() => { echo(ws); "" }) ++ " " ++ show(WebSocket.status(ws)))
    }
    "/small" -> {
        ws = WebSocket.accept(req.id)
        WebSocket.limits(ws, maxMessage: 1000)
        WebSocket.send(ws, "ready")
        say(why(() => { echo(ws); "" }) ++ " " ++ show(WebSocket.status(ws)))
    }
    "/ping" -> {
        ws = WebSocket.accept(req.id)
        WebSocket.limits(ws, pingMs: 100)
        say(why(() => { echo(ws); "" }) ++ " " ++ show(WebSocket.status(ws)))
    }
    "/flood" -> { # sends more than any buffer holds
        ws = WebSocket.accept(req.id)
        say(why(() => { flood(ws, String.repeat("x", 100000), 400); "all sent" }))
        say("closed " ++ show(WebSocket.status(ws).0))
    }
    "/stall" -> {
        ws = WebSocket.accept(req.id)
        WebSocket.limits(ws, writeMs: 300)
        say(why(() => { flood(ws, String.repeat("x", 100000), 400); "all sent" }))
    }
    "/late" -> {
        ws = WebSocket.accept(req.id)
        fill(ws)
        say("full")
        say(why(() => { WebSocket.send(ws, "never", 50); "sent" }))
        say(why(() => { WebSocket.recv(ws, 50) }))
        receive { "never" -> () }
    }
    "/deaf" -> { ws = WebSocket.accept(req.id); sleep(100000000) }
    "/bye" -> {
        ws = WebSocket.acceptWithHeaders(req.id, [("Sec-WebSocket-Protocol", "chat")])
        WebSocket.send(ws, "last words")
        WebSocket.close(ws, 4321, "bye")
        say("bye done")
    }
    "/dies" -> { ws = WebSocket.accept(req.id); WebSocket.send(ws, "ready"); sleep(50); throw("crash") }
    "/wrong" -> {
        why = try { WebSocket.accept(req.id); "accepted" } catch { (kind, text) -> kind ++ ": " ++ text }
        say(why)
        try { Server.respond(req.id, 200, [], "plain") } catch { (_, _) -> () }
    }
    _ -> Server.respond(req.id, 404, [], "")
}

fill(ws: Int) -> () = {
    more = try { WebSocket.send(ws, String.repeat("x", 100000), 20); true } catch { ("websocket_error", "Operation timed out") -> false }
    if more then fill(ws) else ()
}

loop(srv: Int) -> () = {
    r = try { Some(Server.accept(srv)) } catch { (_, _) -> None }
    match r {
        None -> ()
        Some(req) -> { spawn { handle(req) }; loop(srv) }
    }
}

main() = {
    srv = Server.bind(0, certificate: Env.get("CERT").unwrapOr(""), key: Env.get("KEY").unwrapOr(""))
    say(show(Server.port(srv)))
    loop(srv)
}
"""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def equal(got, want):
    assert got == want, f"got {got!r:.200}, expected {want!r:.200}"


def frame(opcode, data=b"", fin=True, rsv=0, mask=True, length=None, form=None):
    """A frame; `length` lies about its size, `form` (126, 127) uses a longer form than needed."""
    if isinstance(data, str):
        data = data.encode()
    n = len(data) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    form = form or (n if n < 126 else 126 if n < 65536 else 127)
    head += bytes([bit | form]) + (struct.pack(">H", n) if form == 126 else struct.pack(">Q", n) if form == 127 else b"")
    if mask:
        key = os.urandom(4)
        data = (int.from_bytes(data, "big") ^ int.from_bytes((key * (len(data) // 4 + 1))[:len(data)], "big")
                ).to_bytes(len(data), "big") if data else b""
        head += key
    return head + data


def close_data(code=None, reason=b""):
    return b"" if code is None else struct.pack(">H", code) + (reason.encode() if isinstance(reason, str) else reason)


class Client:
    def __init__(self, port, path="/echo", tls=None, more="", key=None, read=True):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.s = tls.wrap_socket(self.s, server_hostname="localhost")
        key = key or base64.b64encode(os.urandom(16)).decode()
        self.s.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n").encode())
        self.buf = b""
        if read:
            self.read_head(key)

    def read_head(self, key):
        while b"\r\n\r\n" not in self.buf:
            got = self.s.recv(65536)
            assert got, f"no answer: {self.buf!r}"
            self.buf += got
        self.head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        assert self.head.startswith(b"HTTP/1.1 101 "), self.head
        want = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest())
        assert b"Sec-WebSocket-Accept: " + want in self.head, self.head

    def exactly(self, n):
        while len(self.buf) < n:
            got = self.s.recv(65536)
            if not got:
                raise EOFError
            self.buf += got
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def next(self):
        """(opcode, data) of the next frame, or "end" or "reset"."""
        try:
            a, b = self.exactly(2)
            assert not b & 0x80, "the server masks"
            assert not a & 0x70, "reserved bits"
            assert a & 0x80, "the server fragments"
            n = b & 0x7f
            n = struct.unpack(">H", self.exactly(2))[0] if n == 126 else struct.unpack(">Q", self.exactly(8))[0] if n == 127 else n
            return a & 15, self.exactly(n)
        except EOFError:
            return "end"
        except ConnectionResetError:
            return "reset"

    def send(self, *frames, pieces=None):
        data = b"".join(f if isinstance(f, bytes) else frame(*f) for f in frames)
        if pieces is None:
            self.s.sendall(data)
        else:
            for i in range(0, len(data), pieces):
                self.s.sendall(data[i:i + pieces])

    def expect(self, *frames):
        for want in frames:
            if isinstance(want, tuple) and isinstance(want[1], str):
                want = (want[0], want[1].encode())
            got = self.next()
            if isinstance(want, int):  # any close with that code
                assert isinstance(got, tuple) and got[0] == CLOSE, f"got {got!r:.200}, expected a close"
                equal(struct.unpack(">H", got[1][:2])[0] if got[1] else None, want)
            elif want == "end":
                assert got == "end", f"got {got!r:.200}, expected the end"
            else:
                equal(got, want)

    def close(self):
        self.s.close()


def closed(code=None, reason=""):
    return frame(CLOSE, close_data(code, reason))


def big(n):
    return (b"0123456789abcdef" * (n // 16 + 1))[:n]


K = "κόσμε"
BAD = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"
STEP = object()  # in what is sent: waits for the next of what must come back; what comes behind an error is not answered
# name: what is sent, in how big pieces (None: at once), what must come back. An int is a close with that code.
CASES = {}
for n in (0, 1, 125, 126, 127, 128, 65535, 65536):
    CASES[f"1.1 text of {n} bytes"] = ([frame(TEXT, big(n))], None, [(TEXT, big(n))])
    CASES[f"1.2 binary of {n} bytes"] = ([frame(BINARY, b"\xfe" * n)], None, [(BINARY, b"\xfe" * n)])
CASES["1.1.8 text in pieces of 997"] = ([frame(TEXT, big(65536))], 997, [(TEXT, big(65536))])
CASES["1.2.8 binary in pieces of 997"] = ([frame(BINARY, big(65536))], 997, [(BINARY, big(65536))])
CASES["1.3 messages byte by byte"] = ([frame(TEXT, "one"), frame(BINARY, "two"), frame(TEXT, big(300))], 1,
                                      [(TEXT, "one"), (BINARY, "two"), (TEXT, big(300))])
CASES["1.4 many messages at once"] = ([frame(TEXT, str(i)) for i in range(500)], None, [(TEXT, str(i)) for i in range(500)])
CASES["2.1 ping without data"] = ([frame(PING)], None, [(PONG, b"")])
CASES["2.2 ping with text"] = ([frame(PING, "Hello")], None, [(PONG, "Hello")])
CASES["2.3 ping with bytes"] = ([frame(PING, b"\x00\xff\xfe")], None, [(PONG, b"\x00\xff\xfe")])
CASES["2.4 ping of 125 bytes"] = ([frame(PING, b"\xfe" * 125)], None, [(PONG, b"\xfe" * 125)])
CASES["2.5 ping of 126 bytes"] = ([frame(PING, b"\xfe" * 126)], None, [1002, "end"])
CASES["2.6 ping of 125 bytes byte by byte"] = ([frame(PING, b"\xfe" * 125)], 1, [(PONG, b"\xfe" * 125)])
CASES["2.7 unasked pong"] = ([frame(PONG), frame(TEXT, "a")], None, [(TEXT, "a")])
CASES["2.8 unasked pong with data"] = ([frame(PONG, "x"), frame(TEXT, "a")], None, [(TEXT, "a")])
CASES["2.9 pong, then ping"] = ([frame(PONG, "x"), frame(PING, "y")], None, [(PONG, "y")])
CASES["2.10 ten pings"] = ([frame(PING, str(i)) for i in range(10)], None, [(PONG, str(i)) for i in range(10)])
CASES["2.11 ten pings byte by byte"] = ([frame(PING, str(i)) for i in range(10)], 1, [(PONG, str(i)) for i in range(10)])
for rsv in range(1, 8):
    CASES[f"3.{rsv} reserved bits {rsv}"] = ([frame(TEXT, "ok"), STEP, frame((TEXT, PING, BINARY)[rsv % 3], "a", rsv=rsv)], None,
                                             [(TEXT, "ok"), 1002, "end"])
CASES["3.8 reserved bits of a close"] = ([frame(CLOSE, rsv=7)], None, [1002, "end"])
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    CASES[f"4.{opcode} reserved opcode"] = ([frame(TEXT, "ok"), STEP, frame(opcode, "data" if opcode % 2 else "")], None,
                                            [(TEXT, "ok"), 1002, "end"])
CASES["5.1 fragmented ping"] = ([frame(PING, "a", fin=False), frame(0, "b")], None, [1002, "end"])
CASES["5.2 fragmented pong"] = ([frame(PONG, "a", fin=False), frame(0, "b")], None, [1002, "end"])
CASES["5.3 two fragments"] = ([frame(TEXT, "fragment1", fin=False), frame(0, "fragment2")], None, [(TEXT, "fragment1fragment2")])
CASES["5.4 two fragments byte by byte"] = (CASES["5.3 two fragments"][0], 1, [(TEXT, "fragment1fragment2")])
CASES["5.6 ping between fragments"] = ([frame(TEXT, "a", fin=False), frame(PING, "p"), frame(0, "b")], None,
                                       [(PONG, "p"), (TEXT, "ab")])
CASES["5.8 the same byte by byte"] = (CASES["5.6 ping between fragments"][0], 1, [(PONG, "p"), (TEXT, "ab")])
CASES["5.9 continuation of nothing"] = ([frame(0, "a"), frame(TEXT, "b")], None, [1002, "end"])
CASES["5.10 unfinished continuation of nothing"] = ([frame(0, "a", fin=False), frame(TEXT, "b")], None, [1002, "end"])
CASES["5.15 continuation after the last"] = ([frame(TEXT, "a", fin=False), frame(0, "b"), STEP, frame(0, "c", fin=False)], None,
                                             [(TEXT, "ab"), 1002, "end"])
CASES["5.18 text inside text"] = ([frame(TEXT, "a", fin=False), frame(TEXT, "b")], None, [1002, "end"])
CASES["5.18b binary inside text"] = ([frame(TEXT, "a", fin=False), frame(BINARY, "b")], None, [1002, "end"])
CASES["5.19 pings between five fragments"] = (
    [frame(TEXT, "1", fin=False), frame(0, "2", fin=False), frame(PING, "p"), frame(0, "3", fin=False), frame(0, "4", fin=False),
     frame(PING, "q"), frame(0, "5")], None, [(PONG, "p"), (PONG, "q"), (TEXT, "12345")])
CASES["5.20 empty fragments"] = ([frame(BINARY, fin=False), frame(0, fin=False), frame(0)], None, [(BINARY, b"")])
CASES["6.1 empty fragments of text"] = ([frame(TEXT, fin=False), frame(0, "x", fin=False), frame(0)], None, [(TEXT, "x")])
CASES["6.2.1 UTF-8"] = ([frame(TEXT, K)], None, [(TEXT, K)])
CASES["6.2.3 every byte of UTF-8 a fragment"] = (
    [frame(TEXT, K.encode()[:1], fin=False)] + [frame(0, K.encode()[i:i + 1], fin=False) for i in range(1, len(K.encode()))] +
    [frame(0)], None, [(TEXT, K)])
CASES["6.3.1 bad UTF-8"] = ([frame(TEXT, BAD)], None, [1007, "end"])
CASES["6.3.2 bad UTF-8, every byte a fragment"] = (
    [frame(TEXT, BAD[:1], fin=False)] + [frame(0, BAD[i:i + 1], fin=False) for i in range(1, len(BAD))], None, [1007, "end"])
CASES["6.4.1 bad UTF-8 in the second fragment, without the last"] = (
    [frame(TEXT, "ok", fin=False), frame(0, b"\xf4\x90\x80\x80", fin=False)], None, [1007, "end"])
CASES["6.4.3 bad UTF-8 before the frame is complete"] = ([frame(TEXT, BAD, length=100000)[:8 + 40]], None, [1007, "end"])
for i, text in enumerate(("\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000", "\ufeff")):
    CASES[f"6.5.{i} character {ord(text):x}"] = ([frame(TEXT, text)], None, [(TEXT, text)])
for i, data in enumerate((b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\x80",
                          b"\xff", b"\xfe", b"\xf8\x88\x80\x80\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82", b"\xf0\x9f\x98", b"\xc3")):
    CASES[f"6.6.{i} bad sequence {data.hex()}"] = ([frame(TEXT, data)], None, [1007, "end"])
CASES["6.7 character cut by the end of a message"] = ([frame(TEXT, b"\xe2\x82", fin=False), frame(0)], None, [1007, "end"])
CASES["6.8 bad UTF-8 is fine in binary"] = ([frame(BINARY, BAD)], None, [(BINARY, BAD)])
CASES["7.1.1 message, then close"] = ([frame(TEXT, "a"), STEP, closed(1000)], None, [(TEXT, "a"), 1000, "end"])
CASES["7.1.2 two closes"] = ([closed(1000), closed(1000)], None, [1000, "end"])
CASES["7.1.3 ping after close"] = ([closed(1000), frame(PING, "p")], None, [1000, "end"])
CASES["7.1.4 text after close"] = ([closed(1000), frame(TEXT, "t")], None, [1000, "end"])
CASES["7.1.5 close between fragments"] = ([frame(TEXT, "a", fin=False), closed(1000), frame(0, "b")], None, [1000, "end"])
CASES["7.3.1 close without code"] = ([closed()], None, [(CLOSE, b""), "end"])
CASES["7.3.2 close of one byte"] = ([frame(CLOSE, b"a")], None, [1002, "end"])
CASES["7.3.3 close with code"] = ([closed(1000)], None, [1000, "end"])
CASES["7.3.4 close with reason"] = ([closed(1000, "Hello")], None, [1000, "end"])
CASES["7.3.5 longest reason"] = ([closed(1000, "*" * 123)], None, [1000, "end"])
CASES["7.3.6 reason too long"] = ([closed(1000, "*" * 124)], None, [1002, "end"])
CASES["7.4 fragmented close"] = ([frame(CLOSE, close_data(1000), fin=False), frame(0)], None, [1002, "end"])
CASES["7.5.1 bad UTF-8 in the reason"] = ([frame(CLOSE, close_data(1000, BAD))], None, [1007, "end"])
for code in (1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
    CASES[f"7.7 close code {code}"] = ([closed(code)], None, [code, "end"])
for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
    CASES[f"7.9 close code {code}"] = ([closed(code)], None, [1002, "end"])
CASES["8.1 unmasked frame"] = ([frame(TEXT, "a", mask=False)], None, [1002, "end"])
CASES["8.2 unmasked ping"] = ([frame(TEXT, "a"), STEP, frame(PING, "a", mask=False)], None, [(TEXT, "a"), 1002, "end"])
CASES["8.3 length in a longer form, 16 bits"] = ([frame(TEXT, "abc", form=126)], None, [1002, "end"])
CASES["8.4 length in a longer form, 64 bits"] = ([frame(BINARY, big(1000), form=127)], None, [1002, "end"])
CASES["8.5 length with the highest bit"] = ([frame(BINARY, b"", length=1 << 63)], None, [1002, "end"])
CASES["9.1 a megabyte"] = ([frame(BINARY, big(1 << 20))], None, [(BINARY, big(1 << 20))])
CASES["9.2 a megabyte in 256 fragments"] = (
    [frame(BINARY, big(4096), fin=False)] + [frame(0, big(4096), fin=False)] * 254 + [frame(0, big(4096))], None,
    [(BINARY, big(1 << 20))])
CASES["9.3 more than the limit announced"] = ([frame(BINARY, b"x", length=(16 << 20) + 1)], None, [1009, "end"])
CASES["9.4 exabytes announced"] = ([frame(BINARY, b"x", length=1 << 62)], None, [1009, "end"])

TESTS = []


def test(f):
    TESTS.append(f)
    return f


def run_cases(s, make):
    for name, (sent, pieces, want) in CASES.items():
        c = make()
        try:
            if STEP in sent:
                c.send(*sent[:sent.index(STEP)])
                c.expect(want[0])
                sent, want = sent[sent.index(STEP) + 1:], want[1:]
            c.send(*sent, pieces=pieces)
            c.expect(*want)
            if want[-1] != "end":
                c.send(closed(1000))
                c.expect(1000, "end")
        except Exception as e:
            raise AssertionError(f"case {name}: {type(e).__name__} {e}") from e
        c.close()
        line = s.process.stdout.readline()
        assert line.startswith("websocket_error: WebSocket closed ("), f"case {name}: {line!r}"


@test
def frames(s):
    run_cases(s, lambda: Client(s.port))


@test
def fragments_beyond_the_limit(s):
    c = Client(s.port, "/small")
    c.expect((TEXT, "ready"))
    c.send(frame(TEXT, big(1000)))
    c.expect((TEXT, big(1000)))
    c.send(frame(TEXT, big(600), fin=False), frame(0, big(401)))
    c.expect(1009, "end")
    equal(s.line(), 'websocket_error: WebSocket closed (1009, "")')


@test
def data_behind_the_handshake(s):
    key = base64.b64encode(os.urandom(16)).decode()
    c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
    c.sendall((f"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: {key}\r\n"
               "Sec-WebSocket-Version: 13\r\n\r\n").encode() + frame(TEXT, "early") + frame(TEXT, "bird"))
    w = Client.__new__(Client)
    w.s, w.buf = c, b""
    w.read_head(key)
    w.expect((TEXT, "early"), (TEXT, "bird"))
    w.send(closed(1000))
    w.expect(1000, "end")
    s.line()


def request(s, head, read=65536):
    c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
    c.sendall(head.replace("\n", "\r\n").encode())
    got = b""
    while b"\r\n\r\n" not in got:
        piece = c.recv(read)
        if not piece:
            break
        got += piece
    c.close()
    return got.partition(b"\r\n\r\n")[0].decode() + "\r\n\r\n"  # what follows an upgrade is frames: they may have come with the head


@test
def wrong_handshakes(s):
    good = "GET /wrong HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n"
    bad = {good.replace("13", "8"): "426", good.replace("Sec-WebSocket-Version: 13\n", ""): "426",
           good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"): "400", good.replace("bXBsZSBub25jZQ", "bXBsZSBub25j!Q"): "400",
           good.replace("Sec-WebSocket-Key", "X-Key"): "400", good.replace("GET", "POST"): "400",
           good.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Key: "): "400",
           good.replace("Upgrade: websocket", "Upgrade: h2c"): "200", good.replace("Connection: Upgrade", "Connection: close"): "200"}
    for head, status in bad.items():
        got = request(s, head)
        assert got.startswith(f"HTTP/1.1 {status} "), (head, got)
        if status == "426":
            assert "Sec-WebSocket-Version: 13" in got, got
        equal(s.line(), "websocket_error: Not a WebSocket request")
    assert request(s, good).startswith("HTTP/1.1 101 "), "the good one"
    equal(s.line(), "accepted")


@test
def reset_and_end_without_close(s):
    for how in ("reset", "end", "half a frame", "half a message", "end of writing only"):
        c = Client(s.port)
        c.send(frame(TEXT, "a"))
        c.expect((TEXT, "a"))
        if how == "half a frame":
            c.send(frame(TEXT, "abcdef")[:7])
        if how == "half a message":
            c.send(frame(TEXT, "abcdef", fin=False))
        if how == "reset":
            c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "end of writing only":
            c.s.shutdown(socket.SHUT_WR)
        else:
            c.close()
        equal(s.line(), 'websocket_error: WebSocket connection closed (1006, "")')


@test
def peer_code_and_reason_are_known(s):
    c = Client(s.port)
    c.send(closed(4002, "auf Wiedersehen – " + K))
    c.expect(4002, "end")
    equal(s.line(), f'websocket_error: WebSocket closed (4002, "auf Wiedersehen – {K}")')
    c = Client(s.port)
    c.send(closed())
    equal(s.line(), 'websocket_error: WebSocket closed (1005, "")')


@test
def pings_find_the_dead(s):
    c = Client(s.port, "/ping")
    for _ in range(3):  # one that answers lives
        opcode, data = c.next()
        equal(opcode, PING)
        c.send(frame(PONG, data))
    c.expect((PING, b""), "end")  # then it stays silent
    equal(s.line(), 'websocket_error: WebSocket connection closed (1006, "")')


@test
def slow_reader(s):
    c = Client(s.port, "/flood", read=False)
    c.s.settimeout(60)
    time.sleep(0.3)  # the server fills what there is and waits
    rss = int(open(f"/proc/{s.process.pid}/statm").read().split()[1]) * 4096
    assert rss < s.rss_limit, f"{rss} bytes"
    c.buf = b""
    while b"\r\n\r\n" not in c.buf:
        c.buf += c.s.recv(4096)
    c.buf = c.buf.split(b"\r\n\r\n", 1)[1]
    for _ in range(400):
        opcode, data = c.next()
        equal((opcode, len(data)), (TEXT, 100000))
    equal(s.line(), "all sent")
    equal(s.line(), "closed 0")


@test
def no_progress_in_writing(s):
    c = Client(s.port, "/stall")
    equal(s.line(), "websocket_error: WebSocket connection closed")
    c.close()


@test
def deadlines(s):
    c = Client(s.port, "/late")
    equal(s.line(), "full")
    equal(s.line(), "websocket_error: Operation timed out")
    equal(s.line(), "websocket_error: Operation timed out")
    c.close()


@test
def nobody_receives(s):
    """A peer that sends to a process that does not receive is not read without end; nor is one that pings without reading."""
    for what in (frame(BINARY, big(100000)), frame(PING, big(125)) * 800):
        c = Client(s.port, "/deaf")
        c.s.settimeout(1)
        sent = 0
        try:
            while sent < 200 << 20:
                sent += c.s.send(what)
        except (TimeoutError, socket.timeout):
            pass
        assert sent < 100 << 20, f"{sent} bytes were taken"
        c.close()


@test
def our_close(s):
    c = Client(s.port, "/bye")
    assert b"Sec-WebSocket-Protocol: chat" in c.head, c.head
    c.expect((TEXT, "last words"), (CLOSE, close_data(4321, "bye")))
    c.send(frame(TEXT, "not read any more"), closed(4321, "bye"))
    c.expect("end")
    equal(s.line(), "bye done")
    c = Client(s.port, "/bye")  # a peer that does not answer the close is left after a while
    c.expect((TEXT, "last words"), 4321)
    begun = time.monotonic()
    equal(s.line(), "bye done")
    assert time.monotonic() - begun < 20, "it took too long"


@test
def owner_ends(s):
    c = Client(s.port, "/dies")
    c.expect((TEXT, "ready"), 1001)
    c.send(closed(1001))
    c.expect("end")


@test
def many_at_once(s):
    clients = [Client(s.port) for _ in range(200)]
    for i, c in enumerate(clients):
        c.send(frame(TEXT, str(i)))
    for i, c in enumerate(clients):
        c.expect((TEXT, str(i)))
    for c in clients:
        c.send(closed(1000))
    for c in clients:
        c.expect(1000, "end")
        s.line()


@test
def garbage(s):
    import random
    r = random.Random(7)
    for _ in range(200):
        c = Client(s.port)
        try:
            c.send(bytes(r.randrange(256) for _ in range(r.randrange(1, 200))))
            c.s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        c.close()
        line = s.line()
        assert line.startswith("websocket_error: WebSocket "), line


# ---- our client against a raw server ----

CLIENT = """
why(f) = try { f() } catch { (kind, text) -> kind ++ ": " ++ text }
say(x) = { println(x); flushStdout() }
main() = {
    args = Env.args()
    url = args[0]
    say(why(() => {
        ws = WebSocket.open(url, headers: [("X-Test", "1")], timeoutMs: 3000)
        WebSocket.send(ws, "hello")
        loop() = { m = WebSocket.recv(ws); say("got " ++ m); WebSocket.send(ws, m); loop() }
        why(loop) ++ " " ++ show(WebSocket.status(ws))
    }))
}
"""


def run_client(nostos, serve, url="ws://127.0.0.1:{}/chat?room=1"):
    """Starts CLIENT against serve(connection, request, accept); gives its output."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)
    trouble = []

    def accept():
        try:
            c, _ = listener.accept()
            c.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                head += c.recv(65536)
            key = [line.split(": ")[1] for line in head.decode().split("\r\n") if line.startswith("Sec-WebSocket-Key")][0]
            serve(c, head.decode(), base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode())
            c.close()
        except Exception as e:
            trouble.append(e)

    thread = threading.Thread(target=accept)
    thread.start()
    with tempfile.NamedTemporaryFile("w", suffix=".nos") as f:
        f.write(CLIENT)
        f.flush()
        p = subprocess.run([nostos, f.name, url.format(listener.getsockname()[1])], capture_output=True, text=True, timeout=60)
    thread.join()
    listener.close()
    assert not trouble, trouble
    assert "Sanitizer" not in p.stderr, p.stderr
    return p.stdout.rstrip("\n")


def answer(accept, more=""):
    return (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
            f"{more}\r\n").encode()


def masked_frame(c):
    def exactly(n):
        data = b""
        while len(data) < n:
            got = c.recv(n - len(data))
            if not got:
                raise EOFError
            data += got
        return data
    a, b = exactly(2)
    assert b & 0x80, "the client does not mask"
    n = b & 0x7f
    n = struct.unpack(">H", exactly(2))[0] if n == 126 else struct.unpack(">Q", exactly(8))[0] if n == 127 else n
    key = exactly(4)
    return a & 15, bytes(x ^ key[i % 4] for i, x in enumerate(exactly(n)))


def plain(opcode, data=b"", **how):
    return frame(opcode, data, mask=False, **how)


@test
def client_talks(s):
    def serve(c, head, accept):
        assert head.startswith("GET /chat?room=1 HTTP/1.1\r\nHost: 127.0.0.1:"), head
        assert "\r\nX-Test: 1\r\n" in head, head
        c.sendall(answer(accept) + plain(TEXT, "first") + plain(TEXT, "fra", fin=False))
        c.sendall(plain(PING, "p") + plain(0, "gment"))
        got = [masked_frame(c) for _ in range(4)]
        equal(sorted(got), sorted([(TEXT, b"hello"), (TEXT, b"first"), (PONG, b"p"), (TEXT, b"fragment")]))
        c.sendall(plain(CLOSE, close_data(4000, "enough")))
        equal(masked_frame(c), (CLOSE, close_data(4000, "enough")))
    equal(run_client(s.nostos, serve), 'got first\ngot fragment\nwebsocket_error: WebSocket closed (4000, "enough")')


@test
def client_refuses(s):
    def breaks(*frames):
        def serve(c, head, accept):
            c.sendall(answer(accept))
            equal(masked_frame(c), (TEXT, b"hello"))
            c.sendall(b"".join(frames))
            while True:
                opcode, data = masked_frame(c)
                if opcode == CLOSE:
                    codes.append(struct.unpack(">H", data[:2])[0])
                    return
        return serve
    for want, frames in ((1002, [frame(TEXT, "masked")]), (1002, [plain(TEXT, "a", rsv=4)]), (1002, [plain(3, "a")]),
                         (1007, [plain(TEXT, b"\xff")]), (1009, [plain(BINARY, b"x", length=1 << 40)])):
        codes = []
        equal(run_client(s.nostos, breaks(*frames)), f'websocket_error: WebSocket closed ({want}, "")')
        equal(codes, [want])


@test
def client_handshakes(s):
    failed = "websocket_error: Connection failed: "
    cases = [
        (lambda a: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the server answered 403"),
        (lambda a: b"SSH-2.0-OpenSSH_9\r\nwhatever\r\n\r\n", "the answer is no HTTP"),
        (lambda a: answer("A" * 28), "the server's answer does not fit the request"),
        (lambda a: answer(a).replace(b"Upgrade: websocket\r\n", b""), "the server did not upgrade to WebSocket"),
        (lambda a: answer(a).replace(b"Connection: Upgrade\r\n", b""), "the server did not upgrade to WebSocket"),
        (lambda a: answer(a, "Sec-WebSocket-Extensions: permessage-deflate\r\n"), "the server wants an extension nobody offered"),
        (lambda a: answer(a, "Sec-WebSocket-Protocol: chat\r\n"), "the server wants a subprotocol nobody offered"),
        (lambda a: b"HTTP/1.1 101 x\r\nX: " + b"y" * 20000, "the answer's head is too long"),
    ]
    for make, why in cases:
        def serve(c, head, accept):
            c.sendall(make(accept))
            try:
                c.recv(100)
            except OSError:
                pass
        equal(run_client(s.nostos, serve), failed + why)
    equal(run_client(s.nostos, lambda c, head, accept: None), failed + "the connection was closed")

    def silent(c, head, accept):
        equal(c.recv(100), b"")
    equal(run_client(s.nostos, silent), "websocket_error: Operation timed out")


# ---- TLS and SIGTERM ----

def tls_files(directory):
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


TLS_CLIENT = """
why(f) = try { f() } catch { (kind, text) -> kind ++ ": " ++ text }
main() = {
    args = Env.args()
    url = "wss://localhost:" ++ args[0] ++ "/echo"
    println(why(() => { WebSocket.connect(url); "connected" }))
    println(why(() => { WebSocket.open("wss://127.0.0.1:" ++ args[0] ++ "/echo", caFile: args[1]); "connected" }))
    println(why(() => { WebSocket.open(url, caFile: "/no/such/file"); "connected" }).startsWith("websocket_error: Connection failed: "))
    ws = WebSocket.open(url, caFile: args[1])
    big = String.repeat("0123456789", 50000)
    for i = 0 to 20 { WebSocket.send(ws, big); assert_eq(WebSocket.recv(ws).length(), 500000) }
    WebSocket.close(ws)
    println("done")
}
"""


def over_tls(nostos):
    directory = tempfile.mkdtemp()
    try:
        cert, key = tls_files(directory)
        with serving(nostos, env={"CERT": cert, "KEY": key}) as s:
            context = ssl.create_default_context(cafile=cert)
            for name in ("1.1 text of 65536 bytes", "6.3.1 bad UTF-8", "9.1 a megabyte", "7.3.4 close with reason"):
                sent, pieces, want = CASES[name]
                c = Client(s.port, tls=context)
                c.send(*sent, pieces=pieces)
                c.expect(*want[:1])
                c.close()
                s.line()
            with tempfile.NamedTemporaryFile("w", suffix=".nos") as f:
                f.write(TLS_CLIENT)
                f.flush()
                p = subprocess.run([nostos, f.name, str(s.port), cert], capture_output=True, text=True, timeout=120)
            equal((p.stdout, p.stderr),
                  ("websocket_error: Connection failed: self-signed certificate\n"
                   "websocket_error: Connection failed: IP address mismatch\ntrue\ndone\n", ""))
            equal(s.line(), 'websocket_error: WebSocket closed (1000, "")')
    finally:
        shutil.rmtree(directory)


def at_sigterm(nostos):
    s = serving(nostos)
    c = Client(s.port)
    c.send(frame(TEXT, "a"))
    c.expect((TEXT, "a"))
    s.process.send_signal(signal.SIGTERM)
    c.expect(1001)
    c.send(closed(1001))
    c.expect("end")
    equal(s.line(), 'websocket_error: WebSocket closed (1001, "")')
    equal(s.process.wait(30), 0)
    s.process.stdout.close()


def serving(nostos, env=None):
    s = Server(nostos, ECHO, env=env)
    s.nostos = nostos
    s.line = lambda: s.process.stdout.readline().rstrip("\n")
    s.rss_limit = (400 if os.environ.get("NOS_TEST_SCALE") else 150) << 20
    return s


def main():
    nostos = os.path.abspath(sys.argv[1])
    chosen = sys.argv[2:]
    with serving(nostos) as s:
        for f in TESTS:
            if not chosen or f.__name__ in chosen:
                f(s)
                print("ok", f.__name__, flush=True)
    for f in (over_tls, at_sigterm):
        if not chosen or f.__name__ in chosen:
            f(nostos)
            print("ok", f.__name__, flush=True)
    print(f"{len(CASES)} cases of frames")


if __name__ == "__main__":
    main()
