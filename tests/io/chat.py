#!/usr/bin/env python3
"""examples/chat.nos: rooms are apart, everybody in a room hears everything in order, a slow or dead visitor disturbs nobody.

    chat.py NOSTOS
"""
import os
import pathlib
import signal
import subprocess
import sys
import urllib.error
import urllib.request

from websocket import CLOSE, TEXT, Client, closed, equal, frame

PROGRAM = pathlib.Path(__file__).resolve().parent.parent.parent / "examples/chat.nos"


def main():
    p = subprocess.Popen([os.path.abspath(sys.argv[1]), PROGRAM, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        talk(int(p.stdout.readline().rsplit(":", 1)[1].strip().strip("/")))
        p.send_signal(signal.SIGTERM)
        equal(p.wait(60), 0)
        equal(p.stderr.read(), "")
    finally:
        p.kill()
        p.communicate()


def enter(port, room, name):
    return Client(port, f"/chat?room={room}&name={name}")


def say(visitor, text):
    visitor.send(frame(TEXT, text))


def talk(port):
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read().decode()
    assert "new WebSocket" in page, page
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/chat", timeout=30)
        raise AssertionError("/chat without an upgrade is no page")
    except urllib.error.HTTPError as e:
        equal(e.code, 404)

    ada = enter(port, "math", "Ada")
    ada.expect((TEXT, "Ada is here, with 0 others"))
    bob = enter(port, "math", "Bob")
    for v in (ada, bob):
        v.expect((TEXT, "Bob is here, with 1 others"))
    eve = enter(port, "music", "Eve%20%C3%A9")
    eve.expect((TEXT, "Eve é is here, with 0 others"))
    for i in range(50):
        say(ada, f"{i}")
    for v in (ada, bob):
        v.expect(*[(TEXT, f"Ada: {i}") for i in range(50)])
    say(ada, "  ")  # nothing to say
    say(bob, "κόσμε")
    for v in (ada, bob):
        v.expect((TEXT, "Bob: κόσμε"))
    say(eve, "la")
    eve.expect((TEXT, "Eve é: la"))  # and nothing of the other room before

    crowd = []
    for i in range(20):
        crowd.append(enter(port, "math", f"n{i}"))
        for v in (ada, crowd[-1]):
            v.expect((TEXT, f"n{i} is here, with {i + 2} others"))
    for v in crowd[:10]:
        v.close()  # without a word
    for v in crowd[10:]:
        v.send(closed(1000))
    left = sorted(ada.next()[1].decode() for _ in crowd)
    equal(left, sorted(f"n{i} has left" for i in range(20)))
    bob.send(closed(1000))
    while bob.next()[0] != CLOSE:
        pass
    ada.expect((TEXT, "Bob has left"))
    ada.send(frame(TEXT, "x" * 5000))
    ada.expect(1009, "end")
    eve.close()


if __name__ == "__main__":
    main()
