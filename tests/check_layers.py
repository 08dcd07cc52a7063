#!/usr/bin/env python3
"""Every #include must be allowed by the table below (style.md 3.2). Run from the repository root."""
import pathlib, re, sys

ALLOW = {
    "vm/util":     "",
    "vm/front":    "vm/util",
    "vm/types":    "vm/util vm/front vm/bytecode vm/value",  # only builtin.h and the TypeIds of shape.h
    "vm/bytecode": "vm/util vm/value",
    "vm/value":    "vm/util",
    "vm/compile":  "vm/util vm/front vm/types vm/bytecode vm/value vm/heap vm/data sched",
    "vm/heap":     "vm/util vm/value",
    "vm/data":     "vm/util vm/value vm/heap",
    "sched":       "vm/util vm/value vm/heap vm/data vm/bytecode vm/interp",
    "vm/interp":   "vm/util vm/bytecode vm/value vm/heap vm/data sched",
    "io":          "vm/util vm/value vm/heap vm/data vm/bytecode sched",
    "vm/builtins": "vm/util vm/value vm/heap vm/data vm/bytecode sched vm/interp io",
    "jit":         "vm/util vm/bytecode vm/value vm/heap sched vm/interp",
}
# Third-party headers live behind one directory each.
PRIVATE = {"mir.h": "jit", "mir-gen.h": "jit", "uv.h": "io", "curl/curl.h": "io",
           "libpq-fe.h": "io", "llhttp.h": "io", "openssl/ssl.h": "io", "openssl/err.h": "io", "zlib.h": "io", "mimalloc.h": "vm/util"}


def owner(path):
    return max((d for d in ALLOW if path.startswith(d + "/")), key=len, default=None)


bad = 0
for src in sorted(p for d in ALLOW for p in pathlib.Path(d).rglob("*.[ch]")):
    home = owner(src.as_posix())
    for n, line in enumerate(src.read_text().splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if not m:
            continue
        inc = m.group(1)
        to = owner(inc) or owner("vm/" + inc)
        if home == "vm/types" and to == "vm/bytecode" and inc != "vm/bytecode/builtin.h":
            to = "vm/types may see only builtin.h of vm/bytecode"
        if home != PRIVATE.get(inc, home) or (to and to != home and to not in ALLOW[home].split()):
            print(f"{src}:{n}: {home} may not include {inc}")
            bad += 1
sys.exit(bad != 0)
