"""Which languages are installed, how their programs are built (in build/perf) and started."""
import functools
import glob
import os
import pathlib
import shutil
import subprocess
import sys

PERF = pathlib.Path(__file__).resolve().parent.parent
ROOT = PERF.parent
OUT = ROOT / "build" / "perf"
PEERS = PERF / "peers"

TITLES = {"nostos": "Nostos", "c": "C -O2", "c_calls": "C, real calls", "erlang": "Erlang", "go": "Go", "luajit": "LuaJIT",
          "node": "Node", "python": "CPython", "nginx": "nginx"}
TOOLS = {"c": "gcc", "c_calls": "gcc", "erlang": "erl", "go": "go", "luajit": "luajit", "node": "node", "python": "python3", "nginx": "nginx"}
# c_calls: what a compiler reaches that does not inline recursive calls
C_FLAGS = {"c": ["-O2"], "c_calls": ["-O2", "-fno-inline", "-fno-optimize-sibling-calls", "-fno-ipa-cp", "-fno-ipa-sra"]}
C_CALLS_PROGRAMS = ("fib", "ackermann")
LIB_PQ = ("github.com/lib/pq", "v1.10.9")
MANY_PROCESSES = ("spawn_join", "parked", "timers")   # Erlang allows 262,144 unless told otherwise
# Where installers put things that are not on everybody's PATH.
PLACES = ["/usr/sbin", "/usr/local/go/bin", "/usr/lib/go/bin", "/usr/local/bin", "/opt/homebrew/bin", "~/go/bin", "/snap/bin"]


@functools.cache
def tool(name):
    """Full name of a program, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(os.path.expanduser, PLACES)])
    return shutil.which(name, path=path)


def installed(wanted, nostos):
    found = []
    for lang in wanted:
        if lang == "nostos" and os.access(nostos, os.X_OK) or lang != "nostos" and tool(TOOLS[lang]):
            found.append(lang)
        else:
            print(f"# {lang} is not installed, left out", file=sys.stderr)
    return found


def stale(output, inputs):
    return not output.exists() or any(output.stat().st_mtime < p.stat().st_mtime for p in inputs)


def compile_to(output, inputs, command, **more):
    """False when the program cannot be built here (a library is missing, say); says why once."""
    if not stale(output, inputs):
        return True
    output.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    if done.returncode:
        print(f"# not built: {output.name}: {(done.stderr + done.stdout).strip()[:300]}", file=sys.stderr)
    return done.returncode == 0


def build_c(lang, name):
    source = PEERS / "c" / f"{name}.c"
    if not source.exists() or lang == "c_calls" and name not in C_CALLS_PROGRAMS:
        return None
    postgres = [f"-I{d}" for d in glob.glob("/usr/include/postgresql")] + ["-lpq"] if name.startswith("pg") else []
    out = OUT / lang / name
    ok = compile_to(out, [source, *(PEERS / "c").glob("*.h")],
                    ["gcc", *C_FLAGS[lang], "-o", out, source, "-lm", "-lpthread", *postgres])
    return out if ok else None


def build_erlang(name):
    source = PEERS / "erlang" / f"{name}.erl"
    if not source.exists():
        return None
    for module in dict.fromkeys(["bench", "fib", name]):
        text = PEERS / "erlang" / f"{module}.erl"
        if not compile_to(OUT / "erlang" / f"{module}.beam", [text], [tool("erlc"), "-o", OUT / "erlang", text]):
            return None
    return name


def build_go_module(name, source, shared, out):
    """Where the system has no lib/pq: the one of the module proxy."""
    place = OUT / "gomod" / name
    place.mkdir(parents=True, exist_ok=True)
    for file in (source, shared):
        shutil.copy(file, place)
    (place / "go.mod").write_text(f"module {name}\ngo 1.19\nrequire {LIB_PQ[0]} {LIB_PQ[1]}\n")
    env = dict(os.environ, CGO_ENABLED="0", GOCACHE=str(OUT / "gocache"))
    ok = compile_to(out, [source, shared], [tool("go"), "build", "-mod=mod", "-o", out, "."], env=env, cwd=place)
    return out if ok else None


def build_go(name):
    source = PEERS / "go" / f"{name}.go"
    if not source.exists():
        return None
    shared = PEERS / "go" / "bench.go"
    out = OUT / "go" / name
    if LIB_PQ[0] in source.read_text() and not pathlib.Path("/usr/share/gocode/src", LIB_PQ[0]).exists():
        return build_go_module(name, source, shared, out)
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOCACHE=str(OUT / "gocache"), CGO_ENABLED="0")
    ok = compile_to(out, [source, shared], [tool("go"), "build", "-o", out, source, shared], env=env)
    return out if ok else None


def command(lang, row, args, nostos):
    """The command line of a row in a language, built if it has to be; None when the language has no such program."""
    if row.langs and lang not in row.langs:
        return None
    name, last = row.file, [str(row.cores)] if row.cores else []
    if lang == "nostos":
        source = ROOT / row.source if row.source else PERF / "programs" / f"{name}.nos"
        if row.group == "io":   # its servers leave the number to --threads
            return [nostos, *(["--threads", *last] if last else []), source, *args] if source.exists() else None
        return [nostos, source, *args, *last] if source.exists() else None
    if row.source:
        return None
    if lang in C_FLAGS:
        exe = build_c(lang, name)
        return [exe, *args, *last] if exe else None
    if lang == "go":
        exe = build_go(name)
        return (["env", f"GOMAXPROCS={row.cores}"] if row.cores else []) + [exe, *args] if exe else None
    if lang == "erlang":
        if not build_erlang(name):
            return None
        return [tool("erl"), "-noshell", "-noinput", *(["+P", "4000000"] if name in MANY_PROCESSES else []),
                *(["+S", f"{row.cores}:{row.cores}"] if row.cores else []), "-pa", OUT / "erlang", "-run", name, "main", *args,
                "-s", "erlang", "halt"]
    if lang == "nginx":
        source = PEERS / "nginx" / f"{name}.conf"
        if not source.exists():
            return None
        OUT.mkdir(parents=True, exist_ok=True)
        conf = OUT / f"nginx.{args[0]}.conf"
        conf.write_text(source.read_text().replace("PORT", args[0]).replace("PLACE", str(OUT))
                        .replace("WORKERS", str(row.cores or "auto")))
        return [tool("nginx"), "-e", "stderr", "-c", conf]
    suffix = {"luajit": "lua", "node": "js", "python": "py"}[lang]
    source = PEERS / lang / f"{name}.{suffix}"
    return [tool(TOOLS[lang]), source, *args, *last] if source.exists() else None
