#!/usr/bin/env python3
"""tests/seed/s01_every_wait.nos where name servers never answer: in a network of its own, whose name server is a socket of this test.

    silent_dns.py NOSTOS

With NOS_SEED_REPORT set it measures (scripts/seed-report). Exit status 77: no namespaces can be made here.
"""
import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
INSIDE = "NOS_TEST_INSIDE"
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net"]


def loopback_up():
    with socket.socket() as s:
        name = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(s, 0x8913, name))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def inside():
    loopback_up()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 53))
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
        f.flush()
        subprocess.run(["mount", "--bind", f.name, "/etc/resolv.conf"], check=True)
        env = dict(os.environ, NOS_SEED_SILENT_DNS="1")
        p = subprocess.run([sys.argv[1], "tests/seed/s01_every_wait.nos"], cwd=ROOT, env=env, timeout=120, stdout=subprocess.PIPE, text=True)
    asked = 0
    silent.setblocking(False)
    try:
        while silent.recv(1000):
            asked += 1
    except BlockingIOError:
        pass
    if p.returncode != 0 or p.stdout != '"ok"\n' or asked == 0:
        print(f"FAILED: status {p.returncode}, {asked} questions to the name server, output {p.stdout!r}")
        return 1
    print("0 failures")
    return 0


if os.environ.get(INSIDE):
    sys.exit(inside())
if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
    print("no namespaces can be made here")
    sys.exit(77)
sys.argv[1] = os.path.abspath(sys.argv[1])
sys.exit(subprocess.run([*UNSHARE, sys.executable, *sys.argv], env=dict(os.environ, **{INSIDE: "1"})).returncode)
