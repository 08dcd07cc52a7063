#!/usr/bin/env python3
"""A short program must not pay for libraries it does not use: those of io/late.h are not linked.

    tests/check_libraries.py NOSTOS READELF
"""
import re
import subprocess
import sys

nostos, readelf = sys.argv[1:]
dynamic = subprocess.run([readelf, "-d", nostos], capture_output=True, text=True, check=True).stdout
needed = re.findall(r"NEEDED.*\[(.*)\]", dynamic)
late = [n for n in needed if re.match(r"lib(curl|pq|ssl|crypto)\b", n)]
if not needed or late:
    sys.exit(f"{nostos} is linked with {', '.join(late) or 'nothing at all'}; see io/late.h")
