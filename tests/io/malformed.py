#!/usr/bin/env python3
"""Requests that RFC 9112 forbids, sent byte by byte as given: every one is refused with the status of its row (400 mostly), and
the connection ends, so that nothing behind it can be taken for a request. After each the server still serves.

    malformed.py NOSTOS
"""
import socket
import sys
import time

from server import Server

H = b"Host: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n"
# What a smuggler hides behind a request: it must never be answered.
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + H + b"\r\n"

CASES = [
    # request line
    ("no target", 400, b"GET HTTP/1.1\r\n" + H + b"\r\n"),
    ("HTTP/0.9", 400, b"GET /\r\n\r\n"),
    ("two spaces before the target", 400, b"GET  / HTTP/1.1\r\n" + H + b"\r\n"),
    ("two spaces before the version", 400, b"GET /  HTTP/1.1\r\n" + H + b"\r\n"),
    ("space after the version", 400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    ("tab between", 400, b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n"),
    ("space before the method", 400, b" GET / HTTP/1.1\r\n" + H + b"\r\n"),
    ("method with a bad character", 400, b"G(T / HTTP/1.1\r\n" + H + b"\r\n"),
    ("method with a colon", 400, b"GET: / HTTP/1.1\r\n" + H + b"\r\n"),
    ("lower-case method", 501, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    ("unknown method", 501, b"BREW / HTTP/1.1\r\n" + H + b"\r\n"),
    ("long unknown method", 501, b"A" * 500 + b" / HTTP/1.1\r\n" + H + b"\r\n"),
    ("tunnel", 501, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("version 2.0", 505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    ("version 1.2", 505, b"GET / HTTP/1.2\r\n" + H + b"\r\n"),
    ("version 0.9", 505, b"GET / HTTP/0.9\r\n" + H + b"\r\n"),
    ("version 1.10", 400, b"GET / HTTP/1.10\r\n" + H + b"\r\n"),
    ("version 01.1", 400, b"GET / HTTP/01.1\r\n" + H + b"\r\n"),
    ("version without a point", 400, b"GET / HTTP/11\r\n" + H + b"\r\n"),
    ("lower-case protocol", 400, b"GET / http/1.1\r\n" + H + b"\r\n"),
    ("another protocol", 400, b"GET / ICY/1.1\r\n" + H + b"\r\n"),
    ("start of HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("target with a space", 400, b"GET /a b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a tab", 400, b"GET /a\tb HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a NUL", 400, b"GET /a\0b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a control character", 400, b"GET /a\x01b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with DEL", 400, b"GET /a\x7fb HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with bytes above 127", 400, b"GET /\xc3\xa9 HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a fragment", 400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a backslash", 400, b"GET /a\\b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target with a quote", 400, b'GET /a"b HTTP/1.1\r\n' + H + b"\r\n"),
    ("target with <", 400, b"GET /<a> HTTP/1.1\r\n" + H + b"\r\n"),
    ("malformed percent", 400, b"GET /%zz HTTP/1.1\r\n" + H + b"\r\n"),
    ("percent at the end", 400, b"GET /%4 HTTP/1.1\r\n" + H + b"\r\n"),
    ("relative target", 400, b"GET a/b HTTP/1.1\r\n" + H + b"\r\n"),
    ("target of another scheme", 400, b"GET ftp://a/b HTTP/1.1\r\n" + H + b"\r\n"),
    ("absolute target without host", 400, b"GET http:///b HTTP/1.1\r\n" + H + b"\r\n"),
    ("absolute target with user", 400, b"GET http://u@a/b HTTP/1.1\r\n" + H + b"\r\n"),
    ("asterisk for GET", 400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    ("target too long", 414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    ("target without end", 414, b"GET /" + b"a" * 17000),
    # line ends
    ("line feeds alone", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("line feed after the request line", 400, b"GET / HTTP/1.1\n" + H + b"\r\n"),
    ("line feed after a field", 400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    ("line feed at the end", 400, b"GET / HTTP/1.1\r\n" + H + b"\n"),
    ("carriage return alone after the request line", 400, b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    ("carriage return inside a value", 400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    ("two carriage returns", 400, b"GET / HTTP/1.1\r\r\n" + H + b"\r\n"),
    ("three empty lines first", 400, b"\r\n\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n"),
    # fields
    ("folded line", 400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n"),
    ("folded line with a tab", 400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n\tb\r\n\r\n"),
    ("white space before the first field", 400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("space before the colon", 400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("tab before the colon", 400, b"GET / HTTP/1.1\r\n" + H + b"X\t: a\r\n\r\n"),
    ("field without colon", 400, b"GET / HTTP/1.1\r\n" + H + b"nothing\r\n\r\n"),
    ("field without name", 400, b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n"),
    ("bad character in a name", 400, b"GET / HTTP/1.1\r\n" + H + b"X(: a\r\n\r\n"),
    ("space in a name", 400, b"GET / HTTP/1.1\r\n" + H + b"X Y: a\r\n\r\n"),
    ("bytes above 127 in a name", 400, b"GET / HTTP/1.1\r\n" + H + b"X\xe9: a\r\n\r\n"),
    ("NUL in a name", 400, b"GET / HTTP/1.1\r\n" + H + b"X\0: a\r\n\r\n"),
    ("NUL in a value", 400, b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n"),
    ("control character in a value", 400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x07b\r\n\r\n"),
    ("DEL in a value", 400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x7fb\r\n\r\n"),
    ("101 fields", 431, b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 100 + b"\r\n"),
    ("head too long", 431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"y" * 17000 + b"\r\n\r\n"),
    ("head without end", 431, b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 4000),
    ("unknown expectation", 417, b"GET / HTTP/1.1\r\n" + H + b"Expect: cake\r\n\r\n"),
    # host
    ("no host", 400, b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("the same host twice", 400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("two hosts in one field", 400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("empty host", 400, b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    ("host with a slash", 400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("host with user", 400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("host with a bad port", 400, b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n"),
    ("host with a port too big", 400, b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    ("host that begins with a port", 400, b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
    ("IPv6 host without end", 400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    ("IPv6 host with more behind", 400, b"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n"),
    # lengths
    ("length twice, different", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    ("length twice, the same", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    ("two lengths in one field", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3, 3\r\n\r\nabc"),
    ("length with a plus", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +3\r\n\r\nabc"),
    ("negative length", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: -3\r\n\r\nabc"),
    ("hexadecimal length", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x3\r\n\r\nabc"),
    ("length with a space inside", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1 0\r\n\r\n0123456789"),
    ("length with a point", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3.0\r\n\r\nabc"),
    ("empty length", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\n"),
    ("length that overflows", 400, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 18446744073709551617\r\n\r\na"),
    ("length above the limit", 413, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1000001\r\n\r\n"),
    ("length above 2^63", 413, b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 9223372036854775808\r\n\r\n"),
    # transfer codings
    ("length and chunked", 400,
     b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked and length", 400,
     b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked twice", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked in two fields", 400,
     b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked, then identity", 400,
     b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked not last", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("gzip and chunked", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("identity", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: identity\r\n\r\n"),
    ("gzip", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n"),
    ("nearly chunked", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("chunked with a control character", 400,
     b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("quoted chunked", 400, b"POST / HTTP/1.1\r\n" + H + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + HIDDEN),
    ("chunked and HTTP/1.0", 400,
     b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    ("empty transfer coding", 400, b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n" + HIDDEN),
    # chunks
    ("chunk size missing", 400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with 0x", 400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with a minus", 400, CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with a plus", 400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size that is no number", 400, CHUNKED + b"g\r\nabc\r\n0\r\n\r\n"),
    ("space before the chunk size", 400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    ("space behind the chunk size", 400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    ("chunk size that overflows", 400, CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("chunk size above the limit", 413, CHUNKED + b"fffffff\r\n" + b"a" * 1000100),
    ("line feed behind the chunk size", 400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    ("carriage return behind the chunk size", 400, CHUNKED + b"3\rabc\r\n0\r\n\r\n"),
    ("line feed behind a chunk", 400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    ("chunk longer than its size", 400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    ("chunk shorter than its size", 400, CHUNKED + b"5\r\nabc\r\n0\r\n\r\n" + HIDDEN),
    ("line feed in a chunk extension", 400, CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    ("carriage return in a chunk extension", 400, CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("NUL in a chunk extension", 400, CHUNKED + b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    ("chunk extension without end", 400, CHUNKED + b"3;" + b"a" * 20000),
    ("line feed behind the last chunk", 400, CHUNKED + b"0\n\r\n" + HIDDEN),
    ("line feed at the end of chunks", 400, CHUNKED + b"0\r\n\n" + HIDDEN),
    ("trailer with a space before the colon", 400, CHUNKED + b"0\r\nX : y\r\n\r\n"),
    ("folded trailer", 400, CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n"),
    ("trailer without name", 400, CHUNKED + b"0\r\n: y\r\n\r\n"),
    ("trailers without end", 400, CHUNKED + b"0\r\n" + b"X: y\r\n" * 3000),
    # not HTTP at all
    ("TLS", 400, bytes.fromhex("16030100a5010000a10303") + b"\0" * 100),
    ("binary", 400, bytes(range(128, 256))),
    ("an answer", 400, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
]

# Odd, but allowed: these are answered.
GOOD = [
    ("plain", b"GET /x HTTP/1.1\r\n" + H + b"\r\n"),
    ("no space behind the colon", b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n"),
    ("spaces around a value", b"GET /x HTTP/1.1\r\nHost: \t a \t \r\n\r\n"),
    ("empty line first", b"\r\nGET /x HTTP/1.1\r\n" + H + b"\r\n"),
    ("HTTP/1.0 without host", b"GET /x HTTP/1.0\r\n\r\n"),
    ("absolute target", b"GET http://a.example:80/x HTTP/1.1\r\nHost: a.example:80\r\n\r\n"),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n"),
    ("IPv6 host", b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ("value with bytes above 127", b"GET /x HTTP/1.1\r\n" + H + b"X: \xc3\xa9\xff\r\n\r\n"),
    ("100 fields", b"GET /x HTTP/1.1\r\n" + H + b"X: y\r\n" * 99 + b"\r\n"),
    ("chunks", CHUNKED + b"3\r\nabc\r\n000A;x=y\r\n0123456789\r\n0\r\n\r\n"),
    ("trailers", CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nZ: w\r\n\r\n"),
    ("length 0", b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 0\r\n\r\n"),
    ("length with zeros", b"POST /x HTTP/1.1\r\n" + H + b"Content-Length: 0003\r\n\r\nabc"),
    ("query with anything", b"GET /x?a=%zz&b=[1]&c=a/b?c HTTP/1.1\r\n" + H + b"\r\n"),
]

PROGRAM = """
main() = {
    server = Server.bind(0, "127.0.0.1", maxBody: 1000000)
    println(Server.port(server))
    flushStdout()
    serve(server)
}
serve(server) = {
    req = Server.accept(server)
    Server.respond(req.id, 200, [], "served " ++ req.path ++ " " ++ req.body)
    serve(server)
}
"""

# The same with bodies that are read in pieces.
STREAMING = """
main() = {
    server = Server.bind(0, "127.0.0.1", maxBody: 1000000, streamBody: true)
    println(Server.port(server))
    flushStdout()
    Server.handle(server, req => Server.respond(req.id, 200, [], "served " ++ req.path ++ " " ++ body(req.id, "")))
}
body(id: Int, got: String) -> String = {
    piece = Server.readBody(id)
    if piece.length() == 0 then got else body(id, got ++ piece.toString().unwrapOr("?"))
}
"""


def talk(port, data, pieces=1, half_close=True):
    """All bytes that come back until the server closes; None when it does not."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.settimeout(20)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = max(1, (len(data) + pieces - 1) // pieces)
        try:
            for i in range(0, len(data), step):
                s.sendall(data[i:i + step])
                if pieces > 1:
                    time.sleep(0.0005)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all was sent
        got = b""
        try:
            while True:
                more = s.recv(65536)
                if not more:
                    return got
                got += more
        except ConnectionResetError:
            return got
        except socket.timeout:
            return None


def main():
    failed = 0

    def check(name, ok, got):
        nonlocal failed
        if not ok:
            failed += 1
            print(f"FAILED {name}: {got!r}")

    def corpus(port):
        for name, status, data in CASES:
            for how, pieces in (("at once", 1), ("in pieces", min(len(data), 40))):
                got = talk(port, data, pieces, half_close=False)
                ok = (got is not None and got.startswith(b"HTTP/1.1 %d " % status) and got.count(b"HTTP/1.1 ") == 1
                      and b"Connection: close" in got and b"served" not in got)
                check(f"{name} ({how})", ok, got and got[:300])
            # An answer before it, then the refusal, nothing after.
            before = b"GET /before HTTP/1.1\r\n" + H + b"\r\n"
            got = talk(port, before + data, half_close=False)
            ok = got is not None and got.count(b"HTTP/1.1 ") == 2 and got.startswith(b"HTTP/1.1 200 ") and b"/hidden" not in got
            check(f"{name} (behind another request)", ok, got and got[:300])
        for name, data in GOOD:
            for how, pieces in (("at once", 1), ("in pieces", len(data))):
                got = talk(port, data, pieces)
                check(f"{name} ({how})", got is not None and got.startswith(b"HTTP/1.1 200 "), got and got[:300])
    for program in (PROGRAM, STREAMING):
        with Server(sys.argv[1], program) as server:
            corpus(server.port)
    print(f"{len(CASES)} malformed and {len(GOOD)} odd requests, {failed} failures")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
