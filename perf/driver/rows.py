"""What perf/run measures: one table of rows, one table of targets.

A row runs one program per language with the same arguments. `quick` are small arguments that only show that everything
works. Languages without a program for a row leave its cell empty.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    args: str = ""
    quick: str = ""
    group: str = "kernels"   # kernels, conc or basics
    program: str = ""        # file name without extension; the row's own name when empty
    cores: int = 0           # worker threads the program shall use; 0 leaves the choice to the language
    metrics: tuple = ()      # the metric lines that are shown beside the time
    langs: tuple = ()        # restricts the languages; empty: all that have the program
    source: str = ""         # a Nostos program outside perf/programs, relative to the checkout
    expect: str = ""         # the result, where no other language shows it
    repeat: int = 1          # runs behind one measurement, each of them checked
    speedup: bool = False    # measures what is gained from all `cores`: measure.speedup
    note: str = ""

    @property
    def file(self):
        return self.program or self.name


def kernel(name, args, quick, **more):
    return Row(name, args, quick, **more)


def conc(name, args, quick, *metrics, **more):
    return Row(name, args, quick, group="conc", metrics=metrics, **more)


HOGS = ("arithmetic", "recursion", "lists", "sort", "strings")

ROWS = [
    kernel("startup", "0", "0", metrics=("wall_ms",), note="hello world; the wall time counts"),
    kernel("fib", "35", "20"),
    kernel("fib40", "40", "22", program="fib"),
    kernel("ackermann", "3 9 10", "2 5 2"),
    kernel("sumloop", "300000000", "100000", note="loop-carried s = (s + i) % 1000003"),
    kernel("collatz", "1000000", "2000"),
    kernel("mandelbrot", "1000", "40"),
    kernel("nbody", "2000000", "1000"),
    kernel("nqueens", "11", "6", note="immutable lists"),
    kernel("sieve", "10000000", "20000", note="Erlang: atomics"),
    kernel("matmul", "300", "20", note="Erlang: lists"),
    kernel("binarytrees", "16", "6"),
    kernel("qsortlist", "200000 5", "1000 2", note="immutable lists"),
    kernel("listpipe", "1000000 10", "2000 2", note="the library's map, filter and fold on the usual sequence"),
    kernel("hashmap", "1000000", "2000", note="Nostos and Erlang: persistent; the others mutable"),
    kernel("strcat", "1000000", "2000"),
    kernel("jsonrt", "30000", "100", note="Erlang: jiffy, Lua: cjson (both C)"),
    conc("spawn_join", "1000000", "1000", "rate_per_s"),
    conc("spawn_seq", "200000", "500", "us_per_spawn"),
    conc("parked_100k", "100000 50", "500 10", "bytes_per_proc", "spawn_us", "wake_ms", program="parked"),
    conc("parked_1m", "1000000 50", "1000 10", "bytes_per_proc", "spawn_us", "wake_ms", program="parked"),
    conc("idle_100k", "100000 5000", "500 50", "idle_cpu_ms", program="parked", langs=("nostos", "erlang", "go", "node")),
    conc("ring", "1000 1000000", "100 2000", "ns_per_hop"),
    conc("ring_1core", "1000 1000000", "100 2000", "ns_per_hop", program="ring", cores=1),
    conc("pingpong", "1000000", "1000", "ns_per_msg", note="n round trips are 2n messages"),
    conc("pingpong_1core", "1000000", "1000", "ns_per_msg", program="pingpong", cores=1),
    conc("counter_1core", "1000 1000", "50 50", "ns_per_inc", "switches", program="counter", cores=1,
         note="C, Go: a mutex; Erlang: gen_server"),
    conc("counter_2core", "1000 1000", "50 50", "ns_per_inc", "switches", program="counter", cores=2),
    conc("counter_atomic", "1000 1000", "50 50", "ns_per_inc"),
    conc("mvarmap", "1000000 1000000", "1000 2000", "us_per_insert", "ns_per_read",
         note="Go: RWMutex and map; Erlang: ets"),
    conc("fanin", "100 20000", "10 200", "ns_per_msg"),
    conc("sendlist", "1000 100000", "100 500", "ns_per_msg"),
    conc("parfib", "8 36", "8 16", "speedup", cores=2, speedup=True, note="8 x fib(36)"),
    conc("tasks10k", "10000 40000", "200 500", "cores_used", note="10,000 tasks of 1 ms interpreted, spawned by one process"),
    conc("timers", "1000000 5000", "500 50", "over_ms", "bytes_per_timer", note="long enough that all sleep at once"),
    *[conc(f"ticker_{hog}", f"1000 4 {hog}", f"20 2 {hog}", "p50_us", "p99_us", "max_us", "kill_us", program="ticker",
           langs=() if hog == "arithmetic" else ("nostos", "erlang", "go"),
           note="lateness of 1 ms ticks beside 4 hogs; then how long killing one takes") for hog in HOGS],
    # What the language promises by itself.
    Row("wordfreq", "50", "1", group="basics", source="examples/wordfreq.nos", metrics=("wall_ms", "rss_mb"),
        note="generated text of so many MB, from a file"),
    Row("wordfreq_stdin", "50", "1", group="basics", source="examples/wordfreq.nos", metrics=("wall_ms", "rss_mb")),
    Row("jit_latency", "20000", "100", group="basics", metrics=("code_ms",), expect="2336",
        note="from the first call of a function of 100 instructions to machine code"),
    Row("counter_x200", group="basics", source="examples/counter.nos", expect="Final: 1000", repeat=200),
]

KERNELS = tuple(r.name for r in ROWS if r.group == "kernels" and r.name != "startup")
BEST = "best"   # whichever of PEERS is the fastest in a row
PEERS = ("erlang", "go", "luajit", "node")


@dataclass(frozen=True)
class Target:
    issue: int
    row: str             # or KERNELS: the geometric mean over all of them
    metric: str
    limit: float
    against: str = ""    # a language or BEST: the limit is a factor of its value in the same run. Or a row
    at_least: bool = False
    what: str = ""


T = Target
TARGETS = [
    T(4, "startup", "wall_ms", 10, what="hello world, ms"),
    T(4, "fib", "ms", 20, against="c_calls", what="fib(35), times C without inlining"),
    T(4, "parked_100k", "bytes_per_proc", 1024, what="RSS of a parked process, bytes"),
    T(4, "wordfreq", "rss_mb", 400, what="50 MB text, peak MB"),
    T(4, "wordfreq_stdin", "rss_mb", 400, what="the same from standard input, peak MB"),
    T(5, "parked_1m", "bytes_per_proc", 700, what="1,000,000 parked: bytes of RSS each"),
    T(5, "parked_1m", "spawn_us", 1.0, what="1,000,000 parked: us to spawn one"),
    T(5, "spawn_join", "ms", 1.0, against="go", what="1,000,000 x spawn and exit, times Go"),
    T(5, "timers", "over_ms", 600, what="1,000,000 sleepers of 5 s: ms over"),
    T(5, "timers", "bytes_per_timer", 700, what="1,000,000 sleepers: bytes each"),
    T(5, "idle_100k", "idle_cpu_ms", 50, what="100,000 idle receivers for 5 s: CPU ms"),
    T(5, "ring", "ns_per_hop", 1.0, against="go", what="ring, times Go"),
    T(5, "pingpong", "ns_per_msg", 1.0, against="go", what="ping-pong, times Go"),
    T(5, "fanin", "ns_per_msg", 60, what="fan-in, ns a message"),
    T(5, "counter_1core", "ns_per_inc", 60, what="counter on one mvar, 1 worker: ns each"),
    T(5, "counter_2core", "ns_per_inc", 60, what="counter on one mvar, 2 workers: ns each"),
    T(5, "counter_2core", "switches", 10000, what="thread switches of 1,000,000 increments (convoy?)"),
    T(5, "mvarmap", "us_per_insert", 3.0, what="m = m.insert(k, v), 1,000,000 entries: us"),
    T(5, "mvarmap", "ns_per_read", 100, what="read of that map, ns"),
    T(5, "sendlist", "ns_per_msg", 150, what="1,000-element list as a message, ns"),
    T(5, "parfib", "speedup", 1.9, at_least=True, what="8 x fib, speed-up on 2 workers"),
    T(5, "tasks10k", "cores_used", 1.9, at_least=True, what="10,000 tasks of 1 ms: cores kept busy"),
    *[T(5, f"ticker_{hog}", metric, limit, what=f"beside {hog} hogs: {text}")
      for hog in HOGS for metric, limit, text in (("p99_us", 1100, "p99 lateness of a 1 ms tick, us"),
                                                  ("kill_us", 10000, "Process.kill, slowest of 4, us"))],
    T(6, "http", "cpu_us_per_req", 8, what="HTTP hello, keep-alive, 64 connections, one core left to wrk: server CPU us a request"),
    T(6, "http", "req_per_s", 0.9, against="nginx", at_least=True, what="the same, requests/s, times nginx"),
    T(6, "http", "p99_us", 2000, what="the same, p99 latency, us"),
    T(6, "http", "spare_threads", 8, what="the same, threads besides one a core"),
    T(6, "http_all", "cpu_us_per_req", 8, what="the same with a worker on every core, one of them shared with wrk: CPU us a request"),
    T(6, "http_all", "req_per_s", 0.9, against="nginx", at_least=True, what="the same, requests/s, times nginx"),
    T(6, "idle", "bytes_per_conn", 2560, what="10,000 idle connections: bytes each"),
    T(6, "held", "held", 19900, at_least=True, what="connections held (20,000, or what open files allow)"),
    T(6, "httpclient_1000", "ms", 250, what="1,000 GETs of a server that waits 100 ms: ms"),
    T(6, "pgsleep_100", "ms", 130, what="100 x pg_sleep(0.1) on 100 connections: ms"),
    T(6, "pgsmall_10k", "ms", 1.0, against="go", what="10,000 small queries on 10 connections, times Go"),
    T(6, "httppg", "req_per_s", 1.0, against="go", at_least=True, what="HTTP + transaction: requests/s, times Go"),
    T(6, "httppg", "p99_us", 30000, what="the same, p99 latency, us"),
    T(7, KERNELS, "ms", 1.5, against="c", what="kernels, geometric mean, times C"),
    *[T(7, row, "ms", 1.0 if row in ("nqueens", "qsortlist", "listpipe") else 1.1, against=BEST,
        what=f"{row}, times the best peer but C") for row in KERNELS if row != "hashmap"],   # where maps are mutable
    T(7, "fib", "ms", 0.7, against="c_calls", what="fib(35), times C without inlining"),
    T(7, "nbody", "ms", 1.3, against="go", what="nbody, times Go"),
    T(7, "mandelbrot", "ms", 1.15, against="c", what="mandelbrot, times C"),
    T(7, "sieve", "ms", 1.3, against="c", what="sieve, times C"),
    T(7, "matmul", "ms", 1.3, against="c", what="matmul, times C"),
    T(7, "binarytrees", "ms", 1.0, against="erlang", what="binarytrees, times Erlang"),
    T(7, "hashmap", "ms", 0.33, against="erlang", what="hashmap, times Erlang"),
    T(7, "listpipe", "ms", 1.6, against="c", what="listpipe, times C with arrays"),
    T(7, "sumloop", "ms", 1.1, against="c", what="for loop with a var, times C"),
    T(7, "jit_latency", "code_ms", 5, what="first call to machine code, a function of 100 instructions: ms"),
    *[T(7, f"ticker_{hog}", metric, limit, what=f"beside {hog} hogs: {text}")
      for hog in HOGS for metric, limit, text in (("p99_us", 1000, "p99 lateness of a 1 ms tick, us"),
                                                  ("kill_us", 10000, "Process.kill, slowest of 4, us"))],
]
