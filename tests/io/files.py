#!/usr/bin/env python3
"""Files where the system refuses: full disk, size limit, no descriptors; replacing files under a crash; watching under load.

    files.py NOSTOS [NAME ...]
"""
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

NOSTOS = os.path.abspath(sys.argv[1])
HEAD = """
why(f) = try { f(); "done" } catch { (kind, text) -> kind ++ ": " ++ text }
dir() = Env.args()[0]
"""
TESTS = []


def test(f):
    TESTS.append(f)
    return f


def start(source, directory, *args, before=None, wrapper=()):
    path = f"{directory}/program.nos"
    with open(path, "w") as f:
        f.write(HEAD + source)
    return subprocess.Popen([*wrapper, NOSTOS, path, directory, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            preexec_fn=before)


def lines(p):
    out = p.communicate(timeout=60)[0]
    assert p.returncode == 0, f"status {p.returncode}: {out}"
    return out.splitlines()


def equal(got, want):
    assert got == want, f"got {got!r}, expected {want!r}"


FULL = """
main() = {
    println(why(() => File.writeAll(dir() ++ "/a", String.repeat("x", 3000000))))
    File.remove(dir() ++ "/a")
    File.writeAll(dir() ++ "/old", "old")
    println(why(() => File.writeAtomic(dir() ++ "/old", String.repeat("x", 3000000))))
    println(File.read(dir() ++ "/old"))
    h = File.open(dir() ++ "/b", "w")
    println(why(() => for i = 0 to 100 { File.write(h, String.repeat("x", 30000)) }))
    println(File.size(dir() ++ "/b") > 900000)
    File.close(h)
    File.remove(dir() ++ "/b")
    File.writeAll(dir() ++ "/c", String.repeat("x", 600000))
    println(why(() => File.copy(dir() ++ "/c", dir() ++ "/d")))
    if File.exists(dir() ++ "/d") then File.remove(dir() ++ "/d") else ()
    println(why(() => File.append(dir() ++ "/old", "er")))
    println(Dir.list(dir()).filter(name => name != "program.nos"))
}
"""


def full(why, directory):
    return [f"io_error: IO error: {why}: {directory}/a", f"io_error: IO error: {why}: {directory}/old", "old",
            f"io_error: IO error: {why}: {directory}/b", "true", "COPY", "done", '["c", "old"]']


@test
def a_full_disk(directory):
    # A small file system of its own, where the test may mount one.
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        print("skipped: no file system may be mounted here")
        return
    os.mkdir(f"{directory}/disk")
    with open(f"{directory}/disk.nos", "w") as f:
        f.write(HEAD + FULL)
    p = subprocess.Popen(["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$1" && shift && exec "$@"', "sh",
                          f"{directory}/disk", NOSTOS, f"{directory}/disk.nos", f"{directory}/disk"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    got = lines(p)
    want = full("No space left on device", f"{directory}/disk")
    want[5] = f"io_error: IO error: No space left on device: {directory}/disk/c"
    equal(got, want)


@test
def a_limit_of_file_size(directory):
    p = start(FULL, directory, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000)))
    got = lines(p)
    want = full("File too large", directory)
    want[5] = "done"  # below the limit
    equal(got, want)


@test
def no_descriptors(directory):
    p = start("""
why2(f) = why(f).replace(dir(), "")
main() = {
    File.writeAll(dir() ++ "/f", "text")
    handles = open_all([])
    println(why2(() => File.open(dir() ++ "/f", "r")))
    println(why2(() => File.read(dir() ++ "/f")))
    println(why2(() => File.writeAll(dir() ++ "/g", "text")))
    println(why2(() => File.writeAtomic(dir() ++ "/f", "new")))
    println(why2(() => Dir.list(dir())))
    println(why2(() => Tcp.listen(0, "127.0.0.1")))
    println(why2(() => Udp.bind(0, "127.0.0.1")))
    println(why2(() => Server.bind(0, "127.0.0.1")))
    println(why2(() => Tcp.connect("127.0.0.1", 1)))
    println(why2(() => Exec.run("true", [])).startsWith("io_error: "))
    println(why2(() => Http.get("http://127.0.0.1:1/")).startsWith("io_error: "))
    println(why2(() => File.watch(dir())))
    println(why2(() => Pg.connect("host=127.0.0.1 port=1")).startsWith("connection_error: "))
    # With descriptors everything works again.
    handles.each(h => File.close(h))
    println(File.read(dir() ++ "/f"))
    println(Exec.run("echo", ["hello"]).stdout.trim())
    println(why2(() => { File.unwatch(File.watch(dir())) }))
    s = Server.bind(0, "127.0.0.1")
    spawn { r = Server.accept(s); Server.respond(r.id, 200, [], "served") }
    println(Http.get("http://127.0.0.1:${Server.port(s)}/").body)
}
open_all(hs) = match try { Some(File.open(dir() ++ "/f", "r")) } catch { _ -> None } {
    None -> hs
    Some(h) -> open_all([h | hs])
}
""", directory, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    many = "Too many open files"
    equal(lines(p), [f"io_error: IO error: {many}: /f", f"io_error: IO error: {many}: /f", f"io_error: IO error: {many}: /g",
                     f"io_error: IO error: {many}: /f", f"io_error: IO error: {many}: ", f"tcp_error: {many}", f"tcp_error: {many}",
                     f"io_error: IO error: {many}", f"tcp_error: Connection failed: {many}", "true", "true",
                     f"io_error: IO error: {many}: ", "true", "text", "hello", "done", "served"])


@test
def a_crash_never_leaves_half_a_file(directory):
    path = f"{directory}/state"
    for i in range(12):
        p = start("""
main() = { spawn { loop("a") }; loop("b") }
loop(c) = { File.writeAtomic(dir() ++ "/state", String.repeat(c, 100000)); loop(c) }
""", directory)
        end = time.time() + 20
        while not os.path.exists(path) and time.time() < end:
            time.sleep(0.005)
        time.sleep(0.005 * i)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        with open(path) as f:
            text = f.read()
        assert text in ("a" * 100000, "b" * 100000), f"{len(text)} bytes"
        os.unlink(path)


@test
def watching_a_busy_directory(directory):
    """The watcher arrives at the last change however many there were before."""
    os.mkdir(f"{directory}/logs")
    p = start("""
main() = { w = File.watch(dir() ++ "/logs"); println("watching"); flushStdout(); loop(w) }
loop(w) = match File.nextChange(w, 20000) {
    (_, "end") -> println(Dir.list(dir() ++ "/logs").length())
    _ -> loop(w)
}
""", directory)
    equal(p.stdout.readline(), "watching\n")
    for i in range(500):
        with open(f"{directory}/logs/log", "w") as f:
            f.write("line\n")
        os.rename(f"{directory}/logs/log", f"{directory}/logs/log.{i}")
    open(f"{directory}/logs/end", "w").close()
    equal(lines(p), ["501"])


def main():
    failed = 0
    for f in TESTS:
        if len(sys.argv) > 2 and f.__name__ not in sys.argv[2:]:
            continue
        directory = os.path.realpath(tempfile.mkdtemp())
        try:
            f(directory)
        except (AssertionError, subprocess.TimeoutExpired) as e:
            failed += 1
            print(f"FAILED {f.__name__}: {e}", flush=True)
        shutil.rmtree(directory)
    print(f"{failed} failures")
    return failed > 0


sys.exit(main())
