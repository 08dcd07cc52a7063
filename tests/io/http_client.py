#!/usr/bin/env python3
"""The HTTP client against servers that are slow, odd, broken, or behind TLS and proxies.

    http_client.py NOSTOS
"""
import gzip
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

failed = 0


def check(name, ok, got=None):
    global failed
    if not ok:
        failed += 1
        print(f"FAILED {name}: {got!r}"[:600], flush=True)


class Listener:
    """Each connection is a thread running serve(socket, request head as bytes)."""

    def __init__(self, serve, context=None):
        self.serve, self.context = serve, context
        self.connections = self.open = self.most_open = 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            s, _ = self.socket.accept()
            self.connections += 1
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        with self.lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                s = self.context.wrap_socket(s, server_side=True)
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = s.recv(65536)
                    if not more:
                        return
                    head += more
                if self.serve(s, head) is False:
                    return
        except OSError:
            pass
        finally:
            s.close()
            with self.lock:
                self.open -= 1


def answer(body, extra=b"", status=b"200 OK"):
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n" % len(body) + extra + b"\r\n" + body


def odd(s, head):
    path = head.split(b" ")[1]
    if path == b"/ok":
        s.sendall(answer(b"ok"))
    elif path == b"/head":
        s.sendall(answer(head))
    elif path == b"/pieces":
        for c in answer(b"piecemeal"):
            s.sendall(bytes([c]))
            time.sleep(0.0005)
    elif path == b"/chunked":
        s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n")
    elif path == b"/gzip":
        s.sendall(answer(gzip.compress(b"packed " * 1000), b"Content-Encoding: gzip\r\n"))
    elif path == b"/bomb":
        s.sendall(answer(gzip.compress(b"\0" * 50000000), b"Content-Encoding: gzip\r\n"))
    elif path == b"/to-eof":
        s.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        return False
    elif path == b"/http10":
        s.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")
        return False
    elif path == b"/early":
        s.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"after hints"))
    elif path == b"/short":
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        return False
    elif path == b"/garbage":
        s.sendall(b"\0\1\2 what is this\r\n\r\n")
        return False
    elif path == b"/nothing":
        return False
    elif path == b"/endless-head":
        try:
            s.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20000 + b"\r\n")
            while True:
                s.sendall(b"X: " + b"y" * 60000 + b"\r\n")
        except OSError:
            return False
    elif path == b"/silent":
        time.sleep(5)
    elif path == b"/stalls":
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstalls")
        time.sleep(5)
    elif path == b"/loop":
        s.sendall(answer(b"", b"Location: /loop\r\n", b"302 Found"))
    elif path == b"/to-file":
        s.sendall(answer(b"", b"Location: file:///etc/passwd\r\n", b"302 Found"))
    elif path == b"/wait":
        time.sleep(0.3)
        s.sendall(answer(b"waited"))
    else:
        s.sendall(answer(path))


PROGRAM = """
ask(url: String) -> String = try {
    a = Http.send("GET", url, timeoutMs: limit("timeout"), idleMs: limit("idle"), maxBody: max_body(), caFile: Env.get("CA").unwrapOr(""))
    show(a.status) ++ " " ++ a.body
} catch { (kind, text) -> kind ++ ": " ++ text }

limit(name: String) -> Int = Env.get(name).unwrapOr("-1").toInt().unwrapOr(-1)
max_body() -> Int = if limit("maxbody") < 0 then 100000000 else limit("maxbody")

main() = match Env.get("MODE").unwrapOr("") {
    "many" -> {
        args = Env.args()
        me = self()
        n = args[1].toInt().unwrapOr(0)
        t0 = Time.monotonicNs()
        for i = 0 to n { spawn { me <- ask(args[0]) } }
        threads = spawn { most_threads(me, 0) }
        oks = range(0, n).map(_ => receive { answer -> answer }).filter(a => a == "200 waited").length()
        threads <- "stop"
        receive { ("threads", k) -> println(show(oks) ++ " " ++ show(k)) }
        eprintln((Time.monotonicNs() - t0) / 1000000)
    }
    _ -> Env.args().each(url => println(ask(url)))
}

most_threads(to: Pid, most: Int) -> () = receive {
    "stop" -> to <- ("threads", most)
    after 5 -> most_threads(to, max(most, Runtime.numThreads()))
}
"""


def main():
    nostos = sys.argv[1]
    directory = tempfile.TemporaryDirectory()
    program = directory.name + "/client.nos"
    open(program, "w").write(PROGRAM)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"):
        os.environ.pop(name, None)

    def run(*args, **env):
        p = subprocess.run([nostos, program, *args], capture_output=True, text=True, timeout=60, env=dict(os.environ, **env))
        if p.returncode or "Sanitizer" in p.stderr:
            check("run " + " ".join(args), False, p.stderr)
        return p.stdout.removesuffix("\n")

    server = Listener(odd)
    base = f"http://127.0.0.1:{server.port}"

    def expect(path, text, **env):
        t = time.time()
        got = run(base + path, **env)
        check(path, text(got) if callable(text) else got == text, got)
        check(path + " in time", time.time() - t < 4, time.time() - t)

    def error(text=""):
        return lambda got: got.startswith("io_error: HTTP error: ") and text in got

    expect("/ok", "200 ok")
    expect("/pieces", "200 piecemeal")
    expect("/chunked", "200 abcdefg")
    expect("/gzip", "200 " + "packed " * 1000)
    expect("/to-eof", "200 until the end")
    expect("/http10", "200 old")
    expect("/early", "200 after hints")
    expect("/short", error())
    expect("/garbage", error())
    expect("/nothing", error())
    expect("/endless-head", error())
    expect("/loop", error("redirect"))
    expect("/to-file", lambda got: got.startswith("io_error: Invalid URL: ") and "root" not in got)
    expect("/silent", "io_error: Operation timed out", timeout="300")
    expect("/stalls", "io_error: Operation timed out", timeout="300")
    expect("/stalls", "io_error: Operation timed out", idle="1000")
    expect("/gzip", error("longer than 6999 bytes"), maxbody="6999")
    expect("/gzip", "200 " + "packed " * 1000, maxbody="7000")
    expect("/bomb", error("longer than 1000000 bytes"), maxbody="1000000")
    head = run(base + "/head")
    check("request head", "\nHost: 127.0.0.1:" in head and "\nUser-Agent: nostos/" in head and "gzip" in head and "Expect" not in head, head)
    check("no such host", error("resolve")(run("http://no-such-host.invalid/")))

    before = server.connections
    check("a connection is used again", run(*[base + "/ok"] * 20) == "\n".join(["200 ok"] * 20))
    check("one connection", server.connections == before + 1, server.connections - before)

    before = time.time()
    out = run(base + "/wait", "200", MODE="many").split()
    check("200 at a time", out and out[0] == "200", out)
    check("few threads", out and int(out[1]) <= os.cpu_count() + 8, out)
    check("they wait together", time.time() - before < 20)
    out = run(f"http://localhost.localdomain.invalid:{server.port}/wait", "300", MODE="many").split()
    check("look-ups of one name share a thread", out and out[0] == "0" and int(out[1]) <= os.cpu_count() + 8, out)

    proxy = Listener(lambda s, head: s.sendall(answer(b"by proxy: " + head.split(b"\r\n")[0])))
    env = {"http_proxy": f"http://127.0.0.1:{proxy.port}"}
    check("proxy", run("http://example.invalid/x", **env) == "200 by proxy: GET http://example.invalid/x HTTP/1.1",
          run("http://example.invalid/x", **env))
    check("no proxy", run(base + "/ok", no_proxy="127.0.0.1", **env) == "200 ok")

    cert, key = directory.name + "/cert.pem", directory.name + "/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    secure = Listener(odd, context)
    url = f"https://localhost:{secure.port}/ok"
    check("an unknown certificate is refused", "certificate" in run(url), run(url))
    check("a known one is not", run(url, CA=cert) == "200 ok", run(url, CA=cert))
    check("SSL_CERT_FILE", run(url, SSL_CERT_FILE=cert) == "200 ok")
    other = f"https://127.0.0.1:{secure.port}/ok"
    check("a certificate for another name is refused", error()(run(other, CA=cert)), run(other, CA=cert))
    check("https to a server that does not answer", run(f"https://127.0.0.1:{server.port}/ok", timeout="200")
          == "io_error: Operation timed out")

    print(f"{failed} failures")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
