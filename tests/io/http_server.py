#!/usr/bin/env python3
"""The HTTP server seen from outside: order, bodies, streams, files, compression, TLS, limits, slow and rude clients, crashes,
the end of the program.

    http_server.py NOSTOS
"""
import gzip
import http.client
import os
import resource
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

PROGRAM = """
use stdlib.server.*

handle(req: HttpRequest) -> () = match req.path {
    "/hello" -> respondText(req, "Hello, World!")
    "/echo" -> Server.respond(req.id, 200, [("Content-Type", "text/plain")], req.body)
    "/bytes" -> Server.respond(req.id, 200, [], Server.bodyBytes(req.id))
    "/size" -> respondText(req, show(req.body.length()))
    "/request" -> respondText(req, show((req.method, req.queryParams, req.cookies, req.formParams, req.headers)))
    "/slow" -> { sleep(getParam(req.queryParams, "ms").toInt().unwrapOr(0)); respondText(req, "slept") }
    "/crash" -> throw("crash")
    "/leave" -> ()
    "/kill" -> { me = self(); spawn { Process.kill(me) }; receive { "never" -> () } }
    "/twice" -> {
        respondText(req, "first")
        try { respondText(req, "second") } catch { (kind, text) -> println(kind ++ ": " ++ text) }
        flushStdout()
    }
    "/empty" -> Server.respond(req.id, 204, [], ())
    "/headers" -> Server.respond(req.id, 200, [("X-A", "1"), ("X-A", "2"), ("Content-Length", "7"), ("Connection", "close")], "abc")
    "/inject" -> Server.respond(req.id, 200, [("X", "a\\r\\nSet-Cookie: b=c")], "")
    "/big" -> Server.respond(req.id, 200, [("Content-Type", "text/plain")], String.repeat("0123456789", 2000000))
    "/text" -> Server.respond(req.id, 200, [("Content-Type", "text/plain")], String.repeat("0123456789", 20000))
    "/stream" -> {
        Server.stream(req.id, 200, [("Content-Type", "text/plain")])
        for i = 0 to 5 { Server.write(req.id, "piece " ++ show(i) ++ ";"); sleep(1) }
        Server.end(req.id)
    }
    "/events" -> {
        startEvents(req)
        for i = 0 to 3 { sendNamedEvent(req, "tick", show(i)) }
        endEvents(req)
    }
    "/forever" -> {
        startEvents(req)
        ticks(req, 0)
        println("client gone")
        flushStdout()
    }
    "/pressure" -> {
        Server.stream(req.id, 200, [])
        piece = String.repeat("x", 100000)
        for i = 0 to 300 { Server.write(req.id, piece) }
        println("all written")
        flushStdout()
        Server.end(req.id)
    }
    "/torn" -> {
        Server.stream(req.id, 200, [])
        Server.write(req.id, "half")
        throw("torn")
    }
    "/remote" -> respondText(req, Server.remote(req.id))
    _ -> if serveStatic(req, "/files/", dir()) then () else respond404(req)
}

ticks(req: HttpRequest, i: Int) -> () = if sendEvent(req, show(i)) then { sleep(5); ticks(req, i + 1) } else ()

dir() = Env.args()[0]

main() = {
    args = Env.args()
    server = if args.length() > 1
        then Server.bind(0, "127.0.0.1", gzip: true, certificate: args[1], key: args[2])
        else Server.bind(0, "127.0.0.1", maxBody: 3000000, headerMs: 700, bodyMs: 900, idleMs: 1500, writeMs: 1000, gzip: true)
    println(Server.port(server))
    flushStdout()
    acceptLoop(server, handle)
    println("server ended")
}
"""

failed = 0


def check(name, ok, got=None):
    global failed
    if not ok:
        failed += 1
        print(f"FAILED {name}: {got!r}"[:600], flush=True)


def recv_all(s):
    got = b""
    try:
        while True:
            more = s.recv(1 << 20)
            if not more:
                return got
            got += more
    except ConnectionResetError:
        return got + b"<reset>"
    except socket.timeout:
        return got + b"<timeout>"


def connect(port, timeout=20):
    return socket.create_connection(("127.0.0.1", port), timeout)


def raw(port, data):
    with connect(port) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return recv_all(s)


def get(port, path, method="GET", body=None, headers={}):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    c.request(method, path, body, headers)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, {k.lower(): v for k, v in r.getheaders()}, data


def curl(*args):
    return subprocess.run(["curl", "-sS", "-m", "20", *args], capture_output=True).stdout


def request(path, extra=""):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode()


def basics(port):
    status, headers, data = get(port, "/hello")
    check("hello", (status, data) == (200, b"Hello, World!"), data)
    check("hello headers", headers["content-length"] == "13" and headers["content-type"] == "text/plain" and "date" in headers,
          headers)
    check("head", get(port, "/hello", "HEAD")[2] == b"")
    check("head length", get(port, "/hello", "HEAD")[1]["content-length"] == "13")
    check("404", get(port, "/nothing")[0] == 404)
    check("204", get(port, "/empty")[0] == 204 and "content-length" not in get(port, "/empty")[1], get(port, "/empty"))
    body = os.urandom(100000)
    check("bytes", get(port, "/bytes", "POST", body)[2] == body)
    check("chunked", get(port, "/bytes", "POST", iter([body[:50000], b"x", body[50000:]]))[2] == body[:50000] + b"x" + body[50000:])
    check("invalid text", get(port, "/echo", "POST", b"a\xffb")[2] == b"a\xef\xbf\xbdb")
    _, headers, data = get(port, "/headers")
    check("own length wins", headers["content-length"] == "3" and data == b"abc" and headers["connection"] == "close", headers)
    got = get(port, "/request?a=1&b=%C3%A9+x&a=2", "POST", b"f=1+2&g=%26",
              {"Cookie": "c=d; e=f", "Content-Type": "application/x-www-form-urlencoded", "X-Some": "Thing"})[2].decode()
    check("request fields", got.startswith('("POST", [("a", "1"), ("b", "é x"), ("a", "2")], [("c", "d"), ("e", "f")], '
                                           '[("f", "1 2"), ("g", "&")], [') and '("x-some", "Thing")' in got, got)
    check("remote", get(port, "/remote")[2] == b"127.0.0.1")
    check("http/1.0", raw(port, b"GET /hello HTTP/1.0\r\n\r\n").endswith(b"Hello, World!"))
    check("http/1.0 stream", raw(port, b"GET /stream HTTP/1.0\r\n\r\n").endswith(b"piece 3;piece 4;"))
    check("header injection", get(port, "/inject")[0] == 500)
    check("twice", get(port, "/twice")[2] == b"first")


def connections(port):
    one = request("/slow?ms=60") + request("/hello") + request("/nothing") + request("/stream") + request("/hello", "Connection: close\r\n")
    got = raw(port, one + request("/hello"))
    order = [got.find(t) for t in (b"slept", b"Hello", b"Not Found: /nothing", b"piece 0", b"piece 4")]
    check("pipelined in order", order == sorted(order) and -1 not in order and got.count(b"HTTP/1.1 ") == 5, got)
    got = raw(port, request("/hello") * 500)
    check("500 pipelined", got.count(b"Hello, World!") == 500, len(got))
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for i in range(50):
        c.request("GET", "/hello")
        check("kept alive", c.getresponse().read() == b"Hello, World!")
    c.close()
    with connect(port) as s:  # a byte at a time
        for i in range(len(request("/hello"))):
            s.sendall(request("/hello")[i:i + 1])
        s.shutdown(socket.SHUT_WR)
        check("byte by byte", recv_all(s).endswith(b"Hello, World!"))
    with connect(port) as s:
        s.sendall(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        check("100 Continue", s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"12345")
        s.shutdown(socket.SHUT_WR)
        check("after 100", recv_all(s).endswith(b"5"))
    check("curl 1.1", curl(f"http://127.0.0.1:{port}/hello", f"http://127.0.0.1:{port}/hello") == b"Hello, World!Hello, World!")
    check("curl upload", curl("-T", sys.argv[0], f"http://127.0.0.1:{port}/echo") == open(sys.argv[0], "rb").read())
    check("curl chunked upload", curl("-H", "Transfer-Encoding: chunked", "-d", "@" + sys.argv[0], f"http://127.0.0.1:{port}/size") != b"")
    check("curl form", curl("-d", "a=b", f"http://127.0.0.1:{port}/echo") == b"a=b")


def streams(port):
    status, headers, data = get(port, "/stream")
    check("stream", data == b"piece 0;piece 1;piece 2;piece 3;piece 4;" and headers["transfer-encoding"] == "chunked", data)
    check("events", get(port, "/events")[2] == b"".join(b"event: tick\ndata: %d\n\n" % i for i in range(3)))
    got = raw(port, request("/torn"))
    check("torn stream has no end", b"half" in got and b"0\r\n\r\n" not in got, got)
    check("big", len(get(port, "/big")[2]) == 20000000)
    check("HEAD of a stream", raw(port, b"HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"\r\n\r\n"))


def files(port, directory):
    data = os.urandom(3000000)
    open(f"{directory}/data.bin", "wb").write(data)
    open(f"{directory}/page.html", "w").write("<p>page</p>")
    open(f"{directory}/empty.txt", "w").close()
    open(f"{directory}/.hidden", "w").write("secret")
    os.mkdir(f"{directory}/sub")
    open(f"{directory}/sub/index.html", "w").write("index")
    open(f"{directory}/a b.txt", "w").write("space")
    os.symlink("/etc/passwd", f"{directory}/outside")
    os.symlink("page.html", f"{directory}/inside.html")
    base = "/files/"
    status, headers, got = get(port, base + "data.bin")
    check("file", got == data and status == 200, (status, len(got)))
    check("file headers", headers["content-type"] == "application/octet-stream" and headers["accept-ranges"] == "bytes", headers)
    etag, modified = headers["etag"], headers["last-modified"]
    check("html", get(port, base + "page.html")[1]["content-type"].startswith("text/html"))
    check("empty file", get(port, base + "empty.txt")[::2] == (200, b""))
    check("space", get(port, base + "a%20b.txt")[2] == b"space")
    check("index", get(port, base + "sub")[2] == b"index" and get(port, base + "sub/")[2] == b"index")
    check("link inside", get(port, base + "inside.html")[2] == b"<p>page</p>")
    for name in ("missing", ".hidden", "outside", "sub/../.hidden", "%2e%2e/x", "..%2f..%2fetc/passwd", "page.html/x", "a%00b"):
        check("not served: " + name, get(port, base + name)[0] in (400, 404), get(port, base + name)[0])
    head = get(port, base + "data.bin", "HEAD")
    check("HEAD of a file", head[1]["content-length"] == "3000000" and head[2] == b"")

    def ranged(r, **more):
        return get(port, base + "data.bin", headers=dict(Range=r, **more))

    status, headers, got = ranged("bytes=10-19")
    check("range", (status, got, headers["content-range"]) == (206, data[10:20], "bytes 10-19/3000000"), headers)
    check("open range", ranged("bytes=2999990-")[2] == data[-10:])
    check("suffix", ranged("bytes=-7")[2] == data[-7:])
    check("long range", ranged("bytes=1000-2500000")[2] == data[1000:2500001])
    status, headers, got = ranged("bytes=3000000-")
    check("unsatisfiable", (status, got, headers["content-range"]) == (416, b"", "bytes */3000000"), (status, headers))
    check("If-Range", ranged("bytes=0-0", **{"If-Range": etag})[0] == 206)
    check("If-Range, changed", ranged("bytes=0-0", **{"If-Range": '"x"'})[0] == 200)
    check("If-None-Match", get(port, base + "data.bin", headers={"If-None-Match": etag})[::2] == (304, b""))
    check("If-None-Match, another", get(port, base + "data.bin", headers={"If-None-Match": '"x"'})[0] == 200)
    check("If-Modified-Since", get(port, base + "data.bin", headers={"If-Modified-Since": modified})[0] == 304)
    check("If-Modified-Since, old",
          get(port, base + "data.bin", headers={"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"})[0] == 200)
    check("curl resumes", curl("-C", "2999000", f"http://127.0.0.1:{port}{base}data.bin") == data[2999000:])


def compression(port):
    for path, n in (("/text", 200000), ("/big", 20000000)):
        status, headers, got = get(port, path, headers={"Accept-Encoding": "gzip"})
        check("gzip " + path, headers.get("content-encoding") == "gzip" and len(gzip.decompress(got)) == n
              and headers["vary"] == "Accept-Encoding" and len(got) < n / 10, headers)
    status, headers, got = get(port, "/text", headers={"Accept-Encoding": "gzip;q=0"})
    check("no gzip", "content-encoding" not in headers and len(got) == 200000 and headers["vary"] == "Accept-Encoding", headers)
    check("small text", "content-encoding" not in get(port, "/hello", headers={"Accept-Encoding": "gzip"})[1])


def limits(port):
    check("413", get(port, "/size", "POST", b"x" * 3000001)[0] == 413)
    check("largest body", get(port, "/size", "POST", b"x" * 3000000)[2] == b"3000000")
    slow = [("head", b"GET /hello HTTP/1.1\r\nHo", 408), ("body", b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12", 408),
            ("chunks", b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", 408)]
    for name, data, status in slow:
        with connect(port) as s:
            s.sendall(data)
            t = time.time()
            got = recv_all(s)
            check("slow " + name, got.startswith(b"HTTP/1.1 %d " % status), got)
            check("slow " + name + ", in time", 0.5 < time.time() - t < 5, time.time() - t)
    with connect(port) as s:  # dripping does not help
        s.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n")
        end, got = time.time() + 8, b""
        s.settimeout(0.05)
        while time.time() < end and not got:
            try:
                s.sendall(b"X: y\r\n")
                got = s.recv(1000)
            except socket.timeout:
                pass
            except OSError:
                got = b"HTTP/1.1 408 "
        check("dripping head", got.startswith(b"HTTP/1.1 408 "), got)
    with connect(port) as s:
        s.sendall(request("/hello"))
        t = time.time()
        got = recv_all(s)
        check("idle connection", got.count(b"HTTP/1.1 ") == 1 and 1 < time.time() - t < 6, (got, time.time() - t))
    with connect(port) as s:  # never reads
        s.sendall(request("/big"))
        time.sleep(3)
        got = recv_all(s)
        check("a client that does not read is closed", len(got) < 20000000, len(got))
    check("a slow handler has time", raw(port, request("/slow?ms=2000")).endswith(b"slept"))


def rude(port, server):
    for _ in range(50):  # resets, half requests, nothing
        s = connect(port)
        s.sendall(request("/slow?ms=20") + request("/hello")[:20])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        s = connect(port)
        s.sendall(request("/text") * 3)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        connect(port).close()
    check("after resets", get(port, "/hello")[2] == b"Hello, World!")
    got = raw(port, request("/hello") + b"\0\1\2garbage\r\n\r\n" * 100)
    check("garbage behind a request", got.count(b"HTTP/1.1 ") == 2 and b" 400 " in got, got)
    idle = [connect(port) for _ in range(200)]
    slow = [connect(port) for _ in range(200)]
    for s in slow:
        s.sendall(b"GET / HTTP/1.1\r\n")
    check("beside slow clients", get(port, "/hello")[2] == b"Hello, World!")
    for s in idle + slow:
        s.close()
    s = connect(port)
    s.sendall(request("/forever"))
    s.recv(1000)
    s.close()
    check("a stream sees its client go", server.process.stdout.readline() == "io_error: Request not found or already responded\n")
    check("a stream sees its client go", server.process.stdout.readline() == "client gone\n")
    s = connect(port)
    s.sendall(request("/pressure"))
    time.sleep(0.3)
    check("others meanwhile", get(port, "/hello")[2] == b"Hello, World!")
    total, end = 0, time.time() + 30
    while total < 30000000 and time.time() < end:
        more = len(s.recv(1 << 20))
        total, end = total + more, end if more else 0
    s.close()
    check("a slow reader gets all", total >= 30000000, total)
    check("back-pressure", total < 30000000 or server.process.stdout.readline() == "all written\n")


def crashes(port):
    for path in ("/crash", "/leave", "/kill"):
        t = time.time()
        got = raw(port, request(path))
        check("500 for " + path, got.startswith(b"HTTP/1.1 500 ") and time.time() - t < 5, got)
    got = raw(port, request("/hello") + request("/crash") + request("/hello"))
    check("crash in a pipeline", got.count(b"HTTP/1.1 ") == 2 and b" 500 " in got, got)
    check("after crashes", get(port, "/hello")[2] == b"Hello, World!")


def concurrent(port):
    results = []

    def many():
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for i in range(30):
            body = os.urandom(1000 * i)
            c.request("POST", "/bytes", body)
            results.append(c.getresponse().read() == body)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("concurrent clients", len(results) == 240 and all(results), len(results))


def tls(nostos, directory):
    cert, key = f"{directory}/cert.pem", f"{directory}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    with Server(nostos, PROGRAM, directory, cert, key) as server:
        port = server.port
        context = ssl.create_default_context(cafile=cert)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(connect(port), server_hostname="localhost") as s:
            check("ALPN", s.selected_alpn_protocol() == "http/1.1", s.selected_alpn_protocol())
            check("TLS version", s.version() == "TLSv1.3", s.version())
            s.sendall(request("/hello") + request("/stream") + request("/hello", "Connection: close\r\n"))
            got = recv_all(s)
            check("TLS pipeline", got.count(b"Hello, World!") == 2 and b"piece 4" in got, got)
        url = f"https://localhost:{port}"
        check("curl TLS", curl("--cacert", cert, url + "/hello", url + "/hello") == b"Hello, World!Hello, World!")
        check("TLS upload", curl("--cacert", cert, "-T", sys.argv[0], url + "/echo") == open(sys.argv[0], "rb").read())
        check("big over TLS", len(curl("--cacert", cert, url + "/big")) == 20000000)
        check("file over TLS", curl("--cacert", cert, url + "/files/data.bin") == open(f"{directory}/data.bin", "rb").read())
        got = raw(port, request("/hello"))
        check("plain text to TLS", b"Hello" not in got, got)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_alpn_protocols(["foo"])
        try:
            old.wrap_socket(connect(port)).close()
            check("unknown protocol is refused", False)
        except ssl.SSLError:
            pass
        s = connect(port)
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"junk" * 50)
        s.close()
        check("after junk", curl("--cacert", cert, url + "/hello") == b"Hello, World!")


def termination(nostos, directory):
    with Server(nostos, PROGRAM, directory) as server:
        port = server.port
        idle = connect(port)
        idle.sendall(request("/hello"))
        idle.recv(1000)
        busy = connect(port)
        busy.sendall(request("/slow?ms=400") + request("/hello"))
        time.sleep(0.15)
        server.process.send_signal(signal.SIGTERM)
        got = recv_all(busy)
        check("the present request is answered", got.count(b"HTTP/1.1 ") == 1 and got.endswith(b"slept") and b"Connection: close" in got, got)
        check("idle connections are closed", recv_all(idle) == b"")
        try:
            connect(port, 2).close()
            check("no new connections", False)
        except OSError:
            pass
        check("exit status after SIGTERM", server.process.wait(10) == 0, server.process.returncode)
        check("accept ends", server.process.stdout.read() == "server ended\n")
        server.process = subprocess.Popen(["sleep", "100"], stdout=subprocess.PIPE)


def main():
    nostos = sys.argv[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    directory = tempfile.mkdtemp()
    try:
        with Server(nostos, PROGRAM, directory) as server:
            port = server.port
            basics(port)
            connections(port)
            streams(port)
            files(port, directory)
            compression(port)
            concurrent(port)
            crashes(port)
            limits(port)
            rude(port, server)
        tls(nostos, directory)
        termination(nostos, directory)
    finally:
        shutil.rmtree(directory)
    print(f"{failed} failures")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
