#!/usr/bin/env python3
"""What a program alone cannot show: hostile peers, lack of descriptors, ends from outside. test_io.py BINARY [NAME ...]"""
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BINARY = os.path.abspath(sys.argv[1])
TESTS = []


def test(f):
    TESTS.append(f)
    return f


class Program:
    """A running program that prints the port it listens on as its first line."""

    def __init__(self, source, limit=None, env=None):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".nos")
        self.file.write(source)
        self.file.flush()
        before = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) if limit else None
        self.p = subprocess.Popen([BINARY, self.file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, preexec_fn=before, env=env)
        self.port = int(self.p.stdout.readline())

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def line(self):
        return self.p.stdout.readline().rstrip("\n")

    def end(self):
        self.p.kill()
        self.p.communicate()
        self.file.close()


def equal(got, want):
    assert got == want, f"got {got!r}, expected {want!r}"


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


HEAD = """
say(x) = { println(x); flushStdout() }
why(f) = try { f() } catch { (kind, text) -> kind ++ ": " ++ text }
"""


@test
def a_reset_is_an_error_of_the_reader():
    p = Program(HEAD + """
main() = {
    l = Tcp.listen(0, "127.0.0.1")
    say(show(Tcp.port(l)))
    loop() = { c = Tcp.accept(l); say("accepted"); say(why(() => "read " ++ Tcp.read(c, 10))); Tcp.close(c); loop() }
    loop()
}
""")
    for _ in range(3):
        s = p.connect()
        equal(p.line(), "accepted")
        reset(s)
        equal(p.line(), "tcp_error: Connection reset by peer")
    s = p.connect()
    equal(p.line(), "accepted")
    s.shutdown(socket.SHUT_WR)  # half closed: an end, no error
    equal(p.line(), "read ")
    equal(s.recv(1), b"")
    p.end()


@test
def a_reset_is_an_error_of_the_writer():
    p = Program(HEAD + """
main() = {
    l = Tcp.listen(0, "127.0.0.1")
    say(show(Tcp.port(l)))
    c = Tcp.accept(l)
    data = "x".repeat(20000000)
    say("writing")
    say(why(() => show(Tcp.write(c, data))))
}
""")
    s = p.connect()
    equal(p.line(), "writing")
    s.recv(1000)
    reset(s)
    assert p.line() in ("tcp_error: Connection reset by peer", "tcp_error: Broken pipe")
    p.end()


@test
def without_descriptors_accepting_fails_and_recovers():
    p = Program(HEAD + """
accept(l, open) = match try { Some(Tcp.accept(l)) } catch { ("tcp_error", "Too many open files") -> None } {
    Some(c) -> accept(l, [c | open])
    None -> open
}
main() = {
    l = Tcp.listen(0, "127.0.0.1")
    say(show(Tcp.port(l)))
    open = accept(l, [])
    say(if open.length() > 20 then "full" else "early")
    say(why(() => show(Tcp.connect("127.0.0.1", Tcp.port(l)))))
    say(why(() => show(Exec.start("true", []))))
    say(why(() => File.readAll("/etc/hostname")))
    open.each(c => Tcp.close(c))
    c = Tcp.accept(l)
    Tcp.write(c, "served")
    say("done")
    Tcp.read(c, 1)
}
""", limit=64)
    clients = [p.connect() for _ in range(70)]
    equal(p.line(), "full")
    equal(p.line(), "tcp_error: Connection failed: Too many open files")
    equal(p.line(), "io_error: IO error: Too many open files")
    equal(p.line(), "io_error: IO error: Too many open files: /etc/hostname")
    equal(p.line(), "done")
    p.end()
    for c in clients:
        c.close()


@test
def silent_and_slow_peers_delay_nobody():
    p = Program(HEAD + """
serve(c) = match Tcp.readLine(c) { Some(line) -> { Tcp.write(c, line ++ "\\n"); serve(c) }; None -> Tcp.close(c) }
loop(l) = { c = Tcp.accept(l); Tcp.give(c, spawn { try { serve(c) } catch { _ -> () } }); loop(l) }
main() = { l = Tcp.listen(0, "127.0.0.1"); say(show(Tcp.port(l))); loop(l) }
""")
    silent = [p.connect() for _ in range(200)]
    flooding = p.connect()  # sends, never reads: its process stops in a write, and the kernel stops us
    flooding.setblocking(False)
    try:
        while True:
            flooding.send(b"y\n" * 10000)
    except BlockingIOError:
        pass
    slow = p.connect()
    good = p.connect().makefile("rw")
    for ch in "slow and steady\n":
        slow.send(ch.encode())
        good.write(ch.strip() + "\n")
        good.flush()
        equal(good.readline(), ch.strip() + "\n")
    equal(slow.makefile().readline(), "slow and steady\n")
    rss = int(next(x for x in open(f"/proc/{p.p.pid}/status") if x.startswith("VmRSS")).split()[1])
    assert rss < 400000, f"{rss} KB"
    p.end()
    for s in silent:
        s.close()


@test
def connecting_to_a_full_backlog_can_time_out_and_be_killed():
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    held = []
    for _ in range(4):  # fills the queue: later ones wait
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(full.getsockname())
        held.append(s)
    port = full.getsockname()[1]
    p = Program(HEAD + f"""
main() = {{
    say("{port}")
    me = self()
    say(why(() => show(Tcp.connect("127.0.0.1", {port}, 30))))
    (p, ref) = spawn_monitor {{ Tcp.connect("127.0.0.1", {port}) }}
    while Process.info(p).status != "io" {{ sleep(1) }}
    Process.kill(p)
    receive {{ _ -> say("killed") }}
}}
""")
    equal(p.line(), "tcp_error: Operation timed out")
    equal(p.line(), "killed")
    p.end()
    for s in held:
        s.close()


@test
def an_interrupted_program_ends_with_everything_open():
    p = Program(HEAD + """
main() = {
    l = Tcp.listen(0, "127.0.0.1")
    say(show(Tcp.port(l)))
    child = Exec.start("sleep", ["1000"])
    say(show(Exec.pid(child)))
    range(0, 20).each(_ => spawn { Tcp.accept(l) })
    spawn { Dns.lookup("localhost") }
    spawn { Exec.readline(child) }
    Exec.wait(child)
}
""")
    child = int(p.line())
    s = p.connect()
    p.p.send_signal(signal.SIGINT)
    equal(p.p.wait(30), 130)
    try:
        equal(s.recv(1), b"")
    except ConnectionResetError:
        pass  # nobody had accepted it
    for _ in range(1000):  # killed with its owner
        if not os.path.exists(f"/proc/{child}"):
            break
        time.sleep(0.01)
    else:
        raise AssertionError("the child is still there")
    p.end()


def main():
    names = sys.argv[2:]
    failed = 0
    for f in TESTS:
        if names and f.__name__ not in names:
            continue
        try:
            f()
            print("ok   ", f.__name__)
        except Exception as e:  # the others still run
            failed += 1
            print("FAIL ", f.__name__, type(e).__name__, e)
    return failed != 0


sys.exit(main())
