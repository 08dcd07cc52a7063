"""A Nostos program that serves, for tests: it prints its port, and is told to stop when the test ends."""
import os
import signal
import subprocess
import tempfile
import time


class Server:
    """with Server(NOSTOS, "program text", args...) as s: s.port, s.process"""

    def __init__(self, nostos, program, *args, options=(), env=None):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".nos", delete=False)
        self.file.write(program)
        self.file.close()
        self.may_end = False   # told to: not an error when it has ended
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([nostos, *options, self.file.name, *map(str, args)], stdout=subprocess.PIPE,
                                        stderr=self.output, env=dict(os.environ, **(env or {})), text=True)
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            self.process.kill()
            self.process.wait()
            raise SystemExit(f"the server did not start: {line}{self.errors()}")
        self.port = int(line)

    def errors(self):
        self.output.seek(0)
        return self.output.read()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0]:
            time.sleep(1)  # it may be about to die of what the test has noticed
        alive = self.process.poll() is None
        if alive:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        os.unlink(self.file.name)
        text = self.errors()
        self.output.close()
        if not alive and not self.may_end:
            raise SystemExit(f"the server ended by itself, status {self.process.returncode}: {text}")
        if "Sanitizer" in text or "runtime error:" in text:
            raise SystemExit(text)
