"""Measuring on a machine that others use too: a run counts only when the machine was itself before and after it.

steady.c says how fast the machine is at the moment. What it was at its best is kept in build/perf/steady.json; a run waits until
both figures are near that, and is made again when they are not near it afterwards. What could not be had in quiet within
the patience of a row (seconds of waiting and of runs in vain) is taken as it comes and counted as unsteady.
"""
import json
import subprocess
import time

from . import languages
from .languages import OUT

NEAR_BEFORE, NEAR_AFTER = 1.2, 1.35   # times the best
PATIENCE_S = 240   # for a row
BEST = OUT / "steady.json"


class Steady:
    def __init__(self):
        self.exe, source = OUT / "steady", languages.PERF / "driver" / "steady.c"
        if not languages.compile_to(self.exe, [source], ["gcc", "-O2", "-pthread", "-o", self.exe, source]):
            raise SystemExit("perf/run --steady needs gcc")
        self.best = json.loads(BEST.read_text()) if BEST.exists() else []
        for _ in range(20):
            self.look()
        self.begin_row()

    def look(self):
        """The worse of the two figures, as a multiple of its best."""
        done = subprocess.run([self.exe], capture_output=True, text=True, check=True)
        now = [float(x) for x in done.stdout.split()]
        best = [min(pair) for pair in zip(self.best or now, now)]
        if best != self.best:
            self.best = best
            BEST.write_text(json.dumps(best))
        return max(n / b for n, b in zip(now, best))

    def begin_row(self):
        self.left, self.again, self.unsteady = PATIENCE_S, 0, 0

    def run(self, once):
        """once() in a steady moment."""
        while True:
            since = time.monotonic()
            while self.look() > NEAR_BEFORE and time.monotonic() - since < self.left:
                time.sleep(0.5)
            self.left -= time.monotonic() - since
            since = time.monotonic()
            result = once()
            good = self.look() <= NEAR_AFTER
            if good or self.left <= 0 or result["status"] != 0:
                self.unsteady += not good
                return result
            self.left -= time.monotonic() - since
            self.again += 1
