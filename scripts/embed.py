#!/usr/bin/env python3
"""Makes a C file with the library sources: embed.py OUTPUT.c FILE.nos ... (see vm/embed.h)."""
import pathlib
import sys


def c_string(data):
    lines = []
    for start in range(0, len(data), 100):
        chunk = data[start:start + 100]
        lines.append('    "' + "".join(f"\\{b:03o}" if b < 32 or b > 126 or b in b'"\\?' else chr(b) for b in chunk) + '"')
    return "\n".join(lines) or '    ""'


def main():
    out, files = sys.argv[1], sorted(sys.argv[2:])
    parts = ['#include "vm/embed.h"\n']
    rows = []
    for i, name in enumerate(files):
        data = pathlib.Path(name).read_bytes()
        parts.append(f"static const char text_{i}[] =\n{c_string(data)};\n")
        rows.append(f'    {{"stdlib.{pathlib.Path(name).stem}", text_{i}, {len(data)}}},')
    parts.append("const NosiEmbeddedFile nosi_embedded_lib[] = {\n" + "\n".join(rows) + "\n};")
    parts.append(f"const uint32_t nosi_n_embedded_lib = {len(files)};\n")
    pathlib.Path(out).write_text("\n".join(parts))


if __name__ == "__main__":
    main()
