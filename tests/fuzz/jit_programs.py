#!/usr/bin/env python3
"""Random typed programs, interpreted and compiled: the outputs must be the same.

    jit_programs.py --nostos BINARY [--seconds N | --programs N] [--seed N] [--keep DIR]

Once a minute it prints how far it is. Each program has functions over Int, Float, Bool, lists, maps, texts, tuples, records, variants, closures and cells, with loops, recursion,
pattern matching, exceptions and processes; main calls them with many arguments and prints what they give, exceptions included.
It also has pipelines of list functions, each
of them once more with a list at every stage: values and effects must be the same (vm/compile/fuse.c).
It runs with --jit=off, --jit=eager, and eager under NOS_JIT_STRESS=1 and NOS_GC_STRESS=1. A program that differs is written to DIR
and fails the run; the seed that makes it is printed.
"""
import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

HEADER = """type P = { a: Int, f: Float, b: Bool, s: String }
var type M = { n: Int, x: Float, xs: List[Int] }
type V = A | B(Int) | C(V, Int) | D(Float, Bool)
mvar total: Int = 0
depth_of(v: V) -> Int = match v {
    A -> 0
    B(n) -> if n > 3 then 1 else 2
    C(w, k) -> k % 5 + depth_of(w)
    D(x, b) -> if b && x > 0.5 then 7 else 8
}
var type Q = { x: Float, y: Float, k: Int, v: V }
pair_of(n: Int, x: Float) -> (Int, Float) = if n % 3 == 0 then (n + 1, x * 2.0) else (n, x)
keep(x, y) = if x < y then x else y - x
half(n: Int) -> Option[Int] = if n % 2 == 0 then Some(n / 2) else None
both(p: (Int, Float), n: Int) -> ((Int, Float), Int, Bool) = (p, n * 2, n > 7)
twice(f: (Int) -> Int, n: Int) -> Int = f(f(n))
pull(b: Q, qs: List[Q], d: Float) -> () = match qs {
    [] -> ()
    [q | rest] -> {
        dx = b.x - q.x
        b.x = b.x - dx * d
        q.x = q.x + dx * d
        q.k = q.k + b.k % 7
        b.y = sqrt(b.x * b.x + q.y * q.y)
        pull(b, rest, d)
    }
}
guarded(f: () -> String) -> String = try { f() } catch { e -> "caught " ++ show(e) }
mvar trail: String = ""
mark(n: Int) -> Int = {
    trail = trail ++ show(n) ++ ","
    n
}
add_one(n: Int) -> Int = n + 1
is_odd(n: Int) -> Bool = n % 2 != 0
traced(f: () -> String) -> String = {
    trail = ""
    result = guarded(f)
    result ++ " after " ++ trail
}
compared(f: () -> String, g: () -> String) -> String = {
    a = traced(f)
    b = traced(g)
    if a == b then a else "PIPELINE DIFFERS: ${a} and ${b}"
}
stage(xs: List[Int]) -> List[Int] = xs
floats(xs: List[Float]) -> List[Float] = xs
"""
TYPES = ["Int", "Float", "Bool", "List[Int]", "P", "V", "(Int, Float)"]
DIVISORS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 16, 25, 64, 641, 1000, 1000003, 2**31, 2**32 + 1, 2**61, 2**62, 2**62 + 1, 2**63 // 3, 2**63 - 1]
INTS = [0, 1, 2, 3, 7, 10, 100, 255, 1000003, 2**31, 2**61, 2**62 - 1, 2**62, 2**63 - 1]


class Gen:
    def __init__(self, rng):
        self.r = rng
        self.n = 0
        self.funcs = []  # (name, parameter types, result type), those that may be called

    def name(self, prefix="v"):
        self.n += 1
        return f"{prefix}{self.n}"

    def pick(self, scope, t):
        names = [n for n, u in scope if u == t]
        return self.r.choice(names) if names else None

    def literal(self, t):
        r = self.r
        if t == "Int":
            k = r.choice(INTS)
            return str(k) if r.random() < 0.7 else f"(0 - {k})"
        if t == "Float":
            return r.choice(["0.0", "1.0", "0.5", "2.25", "1000.125", "0.001", "3.0e10"])
        if t == "Bool":
            return r.choice(["true", "false"])
        if t == "List[Int]":
            return "[" + ", ".join(str(r.randrange(100)) for _ in range(r.randrange(5))) + "]"
        if t == "P":
            return f"P({self.literal('Int')}, {self.literal('Float')}, {self.literal('Bool')}, \"s{r.randrange(3)}\")"
        if t == "V":
            return r.choice(["A", f"B({self.literal('Int')})", f"C(A, {self.literal('Int')})", f"D({self.literal('Float')}, true)"])
        return f"({self.literal('Int')}, {self.literal('Float')})"

    def expr(self, scope, t, depth):
        r = self.r
        if depth <= 0 or r.random() < 0.12:
            v = self.pick(scope, t)
            return v if v and r.random() < 0.8 else self.literal(t)
        e = lambda u: self.expr(scope, u, depth - 1)
        choice = r.random()
        if choice < 0.10:
            return f"(if {e('Bool')} then {e(t)} else {e(t)})"
        if choice < 0.17:
            return f"(match {e('V')} {{ A -> {e(t)}\n B(k) -> {self.expr(scope + [('k', 'Int')], t, depth - 1)}\n C(w, j) -> " \
                   f"{self.expr(scope + [('w', 'V'), ('j', 'Int')], t, depth - 1)}\n D(y, z) -> " \
                   f"{self.expr(scope + [('y', 'Float'), ('z', 'Bool')], t, depth - 1)} }})"
        if choice < 0.23:
            return f"(match {e('List[Int]')} {{ [] -> {e(t)}\n [h | rest] -> " \
                   f"{self.expr(scope + [('h', 'Int'), ('rest', 'List[Int]')], t, depth - 1)} }})"
        if choice < 0.27:
            return f"(try {{ {e(t)} }} catch {{ _ -> {e(t)} }})"
        if choice < 0.40:
            fs = [f for f in self.funcs if f[2] == t]
            if fs:
                f = r.choice(fs)
                args = ", ".join(e(u) for u in f[1])
                return f"{f[0]}({args})"
        if t == "Int":
            return r.choice([
                lambda: f"({e('Int')} {r.choice(['+', '-', '*'])} {e('Int')})",
                lambda: f"({e('Int')} {r.choice(['/', '%'])} {e('Int')})",
                lambda: f"({e('Int')} {r.choice(['/', '%'])} {r.choice(DIVISORS)})",
                lambda: f"({e('Int')} {r.choice(['/', '%'])} (0 - {r.choice(DIVISORS)}))",
                lambda: self.division(scope, depth),
                lambda: f"({e('P')}).a", lambda: f"depth_of({e('V')})", lambda: f"{e('List[Int]')}.length()",
                lambda: f"({e('List[Int]')}.fold({e('Int')}, (acc, q) => acc + q % 1000 + {e('Int')} % 7))",
                lambda: f"({e('(Int, Float)')}).0", lambda: f"(0 - {e('Int')})",
                lambda: f"({e('List[Int]')}[{e('Int')} % 4])",
                lambda: f"{e('List[Int]')}.sum()",
                lambda: f"(match half({e('Int')}) {{ Some(o) -> o + {e('Int')}\n None -> {e('Int')} }})",
                lambda: f"twice(o => o * 3 + {e('Int')}, {e('Int')})",
                lambda: f"(match both({e('(Int, Float)')}, {e('Int')}) {{ ((m, _), j, true) -> m + j\n ((m, _), j, _) -> m - j + {e('Int')} }})",
                lambda: f"(match pair_of({e('Int')}, {e('Float')}) {{ (m, _) -> m + {e('Int')} }})",
            ])()
        if t == "Float":
            return r.choice([
                lambda: f"({e('Float')} {r.choice(['+', '-', '*', '/'])} {e('Float')})",
                lambda: f"({e('P')}).f", lambda: f"({e('(Int, Float)')}).1",
                lambda: f"sqrt({e('Float')} * 0.5)", lambda: f"({e('Int')} % 1000).toFloat()",
                lambda: f"({e('List[Int]')}.fold({e('Float')}, (acc, q) => acc * 0.5 + (q % 10).toFloat()))",
            ])()
        if t == "Bool":
            return r.choice([
                lambda: f"({e('Int')} {r.choice(['<', '<=', '>', '>=', '==', '!='])} {e('Int')})",
                lambda: f"({e('Int')} % {r.choice(DIVISORS)} {r.choice(['==', '!='])} {r.choice(['0', '1', '(0 - 1)', '3', '(0 - 3)', '8'])})",
                lambda: f"({e('Float')} {r.choice(['<', '<=', '>', '>=', '==', '!='])} {e('Float')})",
                lambda: f"({e('Bool')} {r.choice(['&&', '||', '==', '!='])} {e('Bool')})",
                lambda: f"(!{e('Bool')})", lambda: f"({e('P')}).b", lambda: f"({e('List[Int]')} == {e('List[Int]')})",
                lambda: f"({e('V')} == {e('V')})",
            ])()
        if t == "List[Int]":
            return r.choice([
                lambda: f"[{e('Int')} | {e('List[Int]')}]",
                lambda: f"{e('List[Int]')}.map(q => q {r.choice('+-*')} {e('Int')})",
                lambda: f"{e('List[Int]')}.filter(q => q % {r.randrange(2, 5)} == 0 || {e('Bool')})",
                lambda: f"({e('List[Int]')} ++ {e('List[Int]')})", lambda: f"range(0, {r.randrange(6)})",
                lambda: f"{e('List[Int]')}.reverse()",
            ])()
        if t == "P":
            return f"P({e('Int')}, {e('Float')}, {e('Bool')}, \"t\")"
        if t == "V":
            return r.choice([lambda: f"B({e('Int')})", lambda: f"C({e('V')}, {e('Int')})", lambda: f"D({e('Float')}, {e('Bool')})"])()
        return f"({e('Int')}, {e('Float')})"

    def division(self, scope, depth):
        """Quotients and remainders of a variable about which a test says something."""
        r, x = self.r, self.name("d")
        op = lambda: f"{x} {r.choice(['/', '%'])} {r.choice(DIVISORS)}"
        d = r.choice(DIVISORS)
        test = r.choice([f"{x} % {d} == 0", f"{x} % {d} != 0", f"{x} >= 0", f"{x} > 0 - {r.randrange(1, 3)}", f"{x} < {r.randrange(3)}",
                         f"{x} <= 0 - {r.randrange(1, 3)}", f"{x} == {r.choice(INTS)}", f"{x} % {d} == {r.randrange(-3, 4)}".replace("== -", "== 0 - ")])
        low = f"{{ {x} = {self.expr(scope, 'Int', depth - 1)}\n if {test} then {op()} + {op()} * 3 else {op()} - {op()} * 5 }}"
        return f"({low})"

    def array_loop(self, scope):
        """Lines of a loop over a typed array, whose indices may go beyond the bounds, and its result n (Int)."""
        r, a, n, i = self.r, self.name("a"), self.name(), self.name("i")
        kind = r.choice(["Int64", "Float64", "UInt8", "Float32"])
        size, low = r.randrange(0, 12), r.choice([0, 0, 0, 1, -1, 2])
        high = size + r.choice([0, 0, 0, 0, -1, 1])
        index = r.choice([i, i, f"({size} - 1 - {i})", f"({i} * {r.randrange(1, 4)} % {max(size, 1)})", f"({i} + {self.expr(scope, 'Int', 1)} % 2)"])
        t = "Float" if kind.startswith("Float") else "Int"
        inner = scope + [(i, "Int")]
        value = self.expr(inner, t, 1)
        to_int = f"(if {a}[{index}] > 1.5 then 1 else 2)" if t == "Float" else f"{a}[{index}]"
        out = [f"{a} = new{kind}Array({size})", f"var {n} = {self.literal('Int')}"]
        body = [f"{a}[{index}] = {value}", f"{n} = {n} * 3 + {to_int}"]
        if r.random() < 0.4:
            j = self.name("j")
            body = [f"for {j} = 0 to {r.randrange(1, 4)} {{ {a}[{index}] = {a}[{index}] + {'0.5' if t == 'Float' else j} }}"] + body
        r.shuffle(body)
        form = r.random()
        if form < 0.5:
            out.append(f"for {i} = {low} to {high} {{\n".replace("= -", "= 0 - ") + "\n".join(body) + "\n}")
        elif form < 0.75:
            out += [f"var {i} = {low}".replace("= -", "= 0 - "), f"while {i} < {high} {{\n" + "\n".join(body) + f"\n{i} = {i} + {r.randrange(1, 3)}\n}}"]
        else:  # the end of Int
            k = self.name("i")
            out.append(f"for {k} = 9223372036854775807 - {max(size, 1)} to 9223372036854775807 {{\n{i} = {k} - (9223372036854775807 - {max(size, 1)})\n"
                       + "\n".join(body) + "\n}")
        return out, n

    def linear_loop(self, scope):
        """Loops with indices that are linear in their counters, in bounds or just beyond."""
        r, a, n, i, j = self.r, self.name("a"), self.name(), self.name("i"), self.name("j")
        kind = r.choice(["Int64", "Int64", "UInt8", "Float64"])
        rows, cols = r.randrange(0, 5), r.randrange(0, 6)
        size = max(rows * cols + r.choice([0, 0, 0, 1, -1, 5]), 0)
        k = self.name("k")  # what the compiler does not know
        small = lambda: r.choice(["0", "1", "2", "3", k, f"({k} + 1)", f"({k} - 1)", "(0 - 1)", f"({k} * 4611686018427387904)"])
        index = r.choice([f"{i} * {cols} + {j}", f"{j} * {rows} + {i}", f"{i} * {k} + {j}", f"{j} + {i} * {small()}", f"{i} + {j}",
                          f"2 * {j} + {small()}", f"{j} + {j} + {i}", f"{j} - {i}", f"{j} + {small()}", f"({j} + 1) * {small()} - 1", j, i])
        value = {"Int64": self.expr(scope + [(i, "Int"), (j, "Int")], "Int", 1), "UInt8": f"{i} + {j}", "Float64": f"{i} * 0.5 + {j}"}[kind]
        read = f"(if {a}[{index}] > 1.5 then 1 else {i})" if kind == "Float64" else f"{a}[{index}]"
        body = [f"{a}[{index}] = {value}", f"{n} = {n} * 3 + {read}", f"{n} = {n} + 1"]
        r.shuffle(body)
        if r.random() < 0.3:
            body = [f"if {j} % 2 == {r.randrange(2)} then {{ {body[0]} }}"] + body[1:]
        low, high = r.choice(["0", "0", "1", i, f"{i} + 1", f"{i} + 2", small()]), r.choice([str(cols), str(cols), str(rows), i, k])
        form = r.random()
        if form < 0.5:
            inner = [f"for {j} = {low} to {high} {{"] + body + ["}"]
        elif form < 0.7:
            step = r.choice(["1", "1", "2", "3"])
            inner = [f"var {j} = {high} - {r.choice(['1', '1', '0'])}", f"while {j} {r.choice(['>', '>='])} {low} {{"] + body + [f"{j} = {j} - {step}", "}"]
        else:
            step = r.choice(["1", "1", "2", "3", f"max({k}, 1)", f"({i} + 1)"])
            inner = [f"var {j} = {low}", f"while {j} {r.choice(['<', '<='])} {high} {{"] + body + [f"{j} = {j} + {step}", "}"]
        out = [f"{a} = new{kind}Array({size})", f"{k} = {r.randrange(0, 6)} + {self.expr(scope, 'Int', 0)} % 2",
               f"var {n} = {self.literal('Int')}", f"for {i} = {r.choice([0, 0, 0, 1])} to {rows} {{"] + inner + ["}"]
        if r.random() < 0.5:  # one error ends only this
            out = out[:3] + ["try {"] + out[3:] + [f"}} catch {{ _ -> {{ {n} = {n} * 7 }} }}"]
        return out, n

    def parts_loop(self, scope):
        """Lines of a loop whose accumulator is an object, kept and passed on now and then, and a result n (Int)."""
        r, a, n, i, kept, f = self.r, self.name("a"), self.name(), self.name("i"), self.name("kept"), self.name("f")
        e = lambda t: self.expr(scope + [(i, "Int")], t, 1)
        form = r.randrange(3)
        if form == 0:
            start = f"({e('Int')}, {e('Float')}, (1, {e('Int')}))"
            parts = {"Int": [f"{a}.0", f"{a}.2.0", f"{a}.2.1"], "Float": [f"{a}.1"], "Bool": [f"{a}.1 > 0.5"]}
            make = lambda p: f"({p('Int')}, {p('Float')}, ({p('Int')}, {p('Int')}))"
        elif form == 1:
            start = f"P({e('Int')}, {e('Float')}, {e('Bool')}, \"\")"
            parts = {"Int": [f"{a}.a", f"{a}.s.length()"], "Float": [f"{a}.f"], "Bool": [f"{a}.b"]}
            make = lambda p: f"P({p('Int')}, {p('Float')}, {p('Bool')}, {a}.s ++ \"x\")"
        else:
            start = f"C(B({e('Int')}), {e('Int')})"
            parts = {"Int": [f"depth_of({a})", f"(match {a} {{ C(B(k), j) -> k - j\n C(_, j) -> j\n _ -> 5 }})"], "Float": ["0.25"], "Bool": ["true"]}
            make = lambda p: r.choice([f"C(B({p('Int')}), {p('Int')})", f"C({a}, {p('Int')})", f"D({p('Float')}, {p('Bool')})"])
        def p(t):
            old = r.choice(parts[t])
            new = {"Int": f"{old} {r.choice('+-*')} {i} * {r.choice(INTS)}", "Float": f"{old} * 0.5 + 1.0", "Bool": f"!({old})"}[t]
            return r.choice([old, old, new, e(t)])
        body = [r.choice([f"{a} = {make(p)}", f"{a} = if {r.choice([e('Bool'), f'{i} % 2 == 0'])} then {make(p)} else {make(p)}",
                          f"if {e('Bool')} then {{ {a} = {make(p)} }} else ()"])]
        if r.random() < 0.4:
            body.append(f"if {i} % {r.randrange(1, 4)} == 0 then {{ {kept} = [{a} | {kept}] }} else ()")
        if r.random() < 0.3:
            body += [f"{f} = q => q + {r.choice(parts['Int'])}", f"{n} = {r.choice([f'{f}({n})', f'twice({f}, {n})'])}"]
        if r.random() < 0.3:
            body.append(f"for {self.name('j')} = 0 to 2 {{ {r.choice([f'{kept} = [{a} | {kept}]', f'{n} = {n} + ' + r.choice(parts['Int'])])} }}")
        r.shuffle(body)
        if f in " ".join(body):  # what it is used for comes behind it
            body.sort(key=lambda line: line.startswith(f"{n} = {f}(") or line.startswith(f"{n} = twice({f}"))
        out = [f"var {n} = {e('Int').replace(i, '3')}", f"var {a} = {start.replace(i, '3')}", f"var {kept} = [{a}]",
               f"for {i} = 0 to {r.randrange(1, 9)} {{"] + body + ["}", f"{n} = {n} * 7 + (show({a}) ++ show({kept})).length()"]
        return out, n

    def string_loop(self, scope):
        """Lines of a loop that builds a string, and its length as n (Int)."""
        r, s, n, i = self.r, self.name("s"), self.name(), self.name("i")
        inner = scope + [(i, "Int")]
        shown = lambda: f"${{{self.expr(inner, r.choice(['Int', 'Int', 'Int', 'Float', 'Bool']), 1)}}}"
        text = lambda: "".join(r.choice([shown, shown, lambda: r.choice(["x", "é", "a longer piece of text "])])() for _ in range(r.randrange(1, 4)))
        piece = f"\"{text()}\"" if r.random() < 0.7 else f"show({self.expr(inner, 'Bool', 1)})"
        joined = r.choice([f"{s} ++ {piece}", f"{s} ++ {piece}", f"{s} ++ {piece} ++ \"{text()}\"", f"\"${{{s}}}{text()}\"", f"{piece} ++ {s}"])
        return [f"var {s} = \"\"", f"for {i} = 0 to {r.randrange(1, 8)} {{ {s} = {joined} }}",
                f"{n} = {s}.chars().fold({s}.length(), (h, c) => (h * 31 + c.toInt()) % 1000007)"], n

    def map_loop(self, scope):
        """Lines of a loop that changes a map, older ones of which may be kept, and what it holds then as n (Int)."""
        r, m, n, i, kept = self.r, self.name("m"), self.name(), self.name("i"), self.name("kept")
        e = lambda: self.expr(scope + [(i, "Int"), (n, "Int")], "Int", 1)
        keys = r.choice(["Int", "Int", "String", "(Int, Bool)"])
        def key():
            small = r.choice([f"{i} % {r.randrange(1, 5)}", i, str(r.randrange(0, 6)), f"({e()}) % 3"])
            return {"Int": small, "String": f"\"k${{{small}}}\"", "(Int, Bool)": f"({small}, {i} % 2 == 0)"}[keys]
        body = [r.choice([lambda: f"{m} = {m}.insert({key()}, {e()})", lambda: f"{m} = {m}.insert({key()}, {m}.getOr({key()}, {e()}) + 1)",
                          lambda: f"{m} = {m}.remove({key()})", lambda: f"{n} = {n} * 3 + {m}.getOr({key()}, 7)",
                          lambda: f"if {m}.contains({key()}) then {{ {n} = {n} + {e()} }} else ()",
                          lambda: f"{n} = {n} - {m}.lookup({key()}).unwrapOr(5) * {m}.size()",
                          lambda: f"if {i} % {r.randrange(1, 4)} == 0 then {{ {kept} = [{m} | {kept}] }} else ()"])() for _ in range(r.randrange(2, 6))]
        if r.random() < 0.15:
            body.append(f"{n} = {n} + {m}.get({key()})")
        out = [f"var {n} = {self.literal('Int')}", f"var {m}: Map[{keys}, Int] = %{{}}", f"var {kept} = [{m}]",
               f"for {i} = 0 to {r.randrange(1, 30)} {{"] + body + ["}",
               f"{n} = \"${{{m}}}${{{kept}}}${{{n}}}\".chars().fold(0, (h, c) => (h * 31 + c.toInt()) % 1000007)"]
        return out, n

    def statements(self, scope, depth):
        """Statements and the scope after them; loops are bounded."""
        r, out = self.r, []
        for _ in range(r.randrange(1, 4)):
            kind = r.random()
            if r.random() < 0.25:
                lines, n = r.choice([self.array_loop, self.linear_loop, self.linear_loop, self.string_loop, self.parts_loop,
                                     self.parts_loop, self.map_loop])(scope)
                out += lines
                scope = scope + [(n, "Int")]
            elif kind < 0.35:
                n, t = self.name(), r.choice(TYPES)
                out.append(f"{n}: {t} = {self.expr(scope, t, depth)}")
                scope = scope + [(n, t)]
            elif kind < 0.65:
                n, t, i = self.name(), r.choice(["Int", "Float", "List[Int]", "Bool", "P", "V", "(Int, Float)"]), self.name("i")
                out.append(f"var {n}: {t} = {self.expr(scope, t, 1)}")
                inner = scope + [(n, t), (i, "Int")]
                body = f"{n} = {self.expr(inner, t, depth)}" if t != "List[Int]" else f"{n} = [{self.expr(inner, 'Int', depth)} | {n}].take(6)"
                out.append(f"for {i} = 0 to {r.randrange(1, 9)} {{ {body} }}")
                scope = scope + [(n, t)]
            elif kind < 0.78:
                n, m = self.name(), self.name("m")
                out.append(f"{m} = M({self.expr(scope, 'Int', 1)}, {self.expr(scope, 'Float', 1)}, {self.expr(scope, 'List[Int]', 1)})")
                i = self.name("i")
                out.append(f"for {i} = 0 to {r.randrange(1, 6)} {{\n{m}.n = {m}.n + {self.expr(scope + [(i, 'Int')], 'Int', 1)}\n"
                           f"{m}.x = {m}.x * 0.5 + {self.expr(scope, 'Float', 1)}\n{m}.xs = [{m}.n | {m}.xs] }}")
                out.append(f"{n} = {m}.n + {m}.xs.length()")
                scope = scope + [(n, "Int")]
            elif kind < 0.80:  # what one round makes is not needed, unless it leaves
                n, i, t, u = self.name(), self.name("i"), self.name("t"), self.name("u")
                e = lambda u: self.expr(scope + [(i, "Int"), (n, "Int")], u, 1)
                out.append(f"var {n} = {self.expr(scope, 'Int', 1)}")
                out.append(f"for {i} = 0 to {r.randrange(1, 9)} {{\n{t} = ({i}, {e('Float')}, ({n}, {i} * {i}))\n"
                           f"{u} = P({e('Int')}, {t}.1 + 0.5, {n} > {i}, \"u\")\n"
                           f"{n} = {t}.2.0 + {t}.0 + {u}.a % 100 + {e('Int')}\n"
                           f"if {u}.b && {u}.f > 1.0 then {{ {n} = {n} + {t}.2.1 }} }}")
                scope = scope + [(n, "Int")]
            elif kind < 0.84:  # fields of records in lists
                n, b, qs, i = self.name(), self.name("b"), self.name("qs"), self.name("i")
                new = lambda: f"Q({self.expr(scope, 'Float', 1)}, {self.literal('Float')}, {self.expr(scope, 'Int', 0)}, {self.literal('V')})"
                out.append(f"{b} = {new()}")
                out.append(f"{qs} = [{', '.join(new() for _ in range(r.randrange(1, 4)))}]")
                out.append(f"for {i} = 0 to {r.randrange(1, 9)} {{ pull({b}, {qs}, {self.literal('Float')})\n"
                           f"{qs}.each(q => {{ q.y = q.y + {b}.x\n {b}.k = {b}.k + q.k }}) }}")
                out.append(f"{n} = {qs}.fold({b}.x + {b}.y, (s, q) => s + q.x * q.y)")
                scope = scope + [(n, "Float")]
            elif kind < 0.91:
                n, f, q = self.name(), self.name("f"), self.name("q")
                out.append(f"{f} = ({q}) => {self.expr(scope + [(q, 'Int')], 'Int', depth)} + {q} * 1")
                out.append(f"{n} = {f}({self.expr(scope, 'Int', 1)}) + {f}({self.expr(scope, 'Int', 1)})")
                scope = scope + [(n, "Int")]
            else:
                n, c = self.name(), self.name("c")
                out.append(f"var {c} = {self.expr(scope, 'Int', 1)}")
                out.append(f"[1, 2, 3].each(q => {{ {c} = {c} + q * {self.expr(scope, 'Int', 1)} }})")
                out.append(f"{n} = {c} + 0")
                scope = scope + [(n, "Int")]
        return out, scope

    def function(self):
        r = self.r
        params = [(self.name("p"), r.choice(TYPES)) for _ in range(r.randrange(1, 4))]
        t, name = r.choice(TYPES), self.name("fun")
        recursive = r.random() < 0.4
        out = []
        head = [("n", "Int")] + params if recursive else params
        sig = ", ".join(f"{n}: {u}" for n, u in head)
        out.append(f"{name}({sig}) -> {t} = {{")
        body, scope = self.statements(list(params), 2)
        out += ["    " + s for s in body]
        result = self.expr(scope, t, 3)
        if recursive:
            args = ", ".join(self.expr(scope, u, 1) for _, u in params)
            step = f"{name}(n - 1, {args})"
            if t == "Int":
                step = f"{step} + {self.expr(scope, 'Int', 1)}" if r.random() < 0.5 else step
            out.append(f"    if n <= 0 then {result} else {step}")
        else:
            out.append(f"    {result}")
        out.append("}")
        self.funcs.append((name, [u for _, u in params], t) if not recursive else (name, ["Small"] + [u for _, u in params], t))
        return "\n".join(out)

    NUMBERS = {"Int": (["0", "1", "2", "3", "7", "1000003", "4611686018427387903"], 300), "Float": (["0.0", "0.5", "1.5", "3.0e10", "-2.25"], 300),
               "BigInt": (["0n", "3n", "12345678901234567890n"], 5), "Decimal": (["0.1d", "2.0d", "-1.5d"], 5),
               "Int8": (["0i8", "3i8", "127i8", "-128i8"], 300), "UInt64": (["0u64", "1u64", "9u64"], 300), "Float32": (["0.5f32", "3.0f32"], 300)}

    def number(self, names, depth):
        """An expression over numbers of one type, whichever that is."""
        r = self.r
        if depth <= 0 or r.random() < 0.2:
            return r.choice(names)
        e = lambda: self.number(names, depth - 1)
        return r.choice([lambda: f"({e()} {r.choice('+-*')} {e()})", lambda: f"({e()} {r.choice('+-')} {e()})",
                         lambda: f"(if {e()} {r.choice(['<', '<=', '>', '>=', '==', '!='])} {e()} then {e()} else {e()})",
                         lambda: f"keep({e()}, {e()})", lambda: f"(match ({e()}, {e()}) {{ (q, w) -> q + w }})",
                         lambda: f"[{e()}, {e()}].map(q => q + {e()}).fold({e()}, (q, w) => q - w)"])()

    def generic(self):
        """A function of numbers of any type, and calls with several."""
        r, name = self.r, self.name("gen")
        e = lambda d=2: self.number(["x", "y"], d)
        form = r.randrange(4)
        if form == 0:
            text = f"{name}(x, y, n: Int) = if n <= 0 then {e()} else {name}({e(1)}, {e(1)}, n - 1)"
        elif form == 1:
            text = f"{name}(x, y, n: Int) = if n <= 0 then {e()} else {name}({e(1)}, y, n - 1) {r.choice('+-')} {e(1)}"
        elif form == 2:
            text = f"{name}(x, y, n: Int) = {{\n    var z = {e(1)}\n    for i = 0 to n {{ z = {self.number(['x', 'y', 'z'], 2)} }}\n    z\n}}"
        else:
            text = f"{name}(x, y, n: Int) = range(0, n).fold({e(1)}, (z, _) => {self.number(['x', 'y', 'z'], 2)})"
        calls = []
        for _ in range(r.randrange(4, 9)):
            values, most = self.NUMBERS[r.choice(["Int", "Float"] * 3 + list(self.NUMBERS))]
            n = r.randrange(most if form != 1 else min(most, 30))
            calls.append(f"    println(guarded(() => show({name}({r.choice(values)}, {r.choice(values)}, {n}))))")
        return text, calls

    def pipeline(self):
        """A pipeline, and the same with a function between its stages that lets no two of them become one loop."""
        r, k = self.r, self.literal
        f = lambda: r.choice([f"q => q {r.choice('+-*')} {k('Int')}", f"q => {r.choice([2, 6, 60])} / (q - {r.randrange(9)})",
                              "q => mark(q + 1)", "add_one", "q => add_one(q) * 2", f"q => if q > {r.randrange(9)} then q else 0 - q",
                              f"q => {{ w = q % {r.choice(DIVISORS)}\n w * w }}", "q => max(q, 3)", "q => (q, 2).0"])
        p = lambda: r.choice([f"q => q % {r.randrange(2, 5)} == {r.randrange(2)}", f"q => mark(q) > {r.randrange(9)}", "is_odd",
                              f"q => {r.randrange(40)} % (q - {r.randrange(9)}) < 4", f"q => q != {r.randrange(9)} && q < 50"])
        last = r.choice([lambda: f".fold({k('Int')}, (s, q) => s * 3 + {r.choice(['q', 'mark(q)', '7 / (q - 2)'])})",
                         lambda: f".foldl(mark(5), (s, q) => s - q)", lambda: f".any({p()})", lambda: f".all({p()})",
                         lambda: f".find({p()})", lambda: f".count({p()})", lambda: ".sum()", lambda: ".length()",
                         lambda: ".each(q => { mark(q)\n () })", lambda: ""])()
        source = r.choice([self.literal("List[Int]"), f"[{r.randrange(5)}..{r.randrange(12)}]", f"range({r.randrange(4)}, mark(8))",
                           f"\"{r.choice(['', 'a', 'aé€😀', '0€']) * r.choice([1, 3, 40, 64, 70])}\".chars().map(c => c.toInt() - 60)"])
        fused, staged = source, f"stage({source})"
        for _ in range(r.randrange(1, 5)):
            s = r.choice([lambda: f".map({f()})", lambda: f".map({f()})", lambda: f".filter({p()})", lambda: f".takeWhile({p()})",
                          lambda: f".take({r.randrange(6)})", lambda: f".take(mark({r.randrange(6)}))"])()
            fused, staged = fused + s, f"stage({staged}{s})"
        if r.random() < 0.1:
            half = r.choice([".map(q => q.toFloat() * 0.5)", ".map(q => 0.1 - q.toFloat())"])
            fused, staged, last = fused + half, f"floats({staged}{half})", ".sum()"
        return f"    println(compared(() => show({fused}{last}), () => show({staged}{last})))"

    def program(self):
        r, parts, calls = self.r, [HEADER], []
        for _ in range(r.randrange(2, 6)):
            before = list(self.funcs)
            self.funcs = [f for f in self.funcs if "Small" not in f[1]]
            parts.append(self.function())
            self.funcs = before + [self.funcs[-1]] if self.funcs[-1] not in before else before
        for name, types, _ in self.funcs:
            for _ in range(r.randrange(3, 7)):
                args = ", ".join(str(r.randrange(30)) if u == "Small" else self.literal(u) for u in types)
                calls.append(f"    println(\"{name} \" ++ guarded(() => show({name}({args}))))")
        for _ in range(2):
            text, more = self.generic()
            parts.append(text)
            calls += more
        calls += [self.pipeline() for _ in range(8)]
        i = r.choice(calls).strip() if calls else "()"
        calls.append(f"    me = self()\n    pids = range(0, 5).map(k => spawn {{ total = total + k\n        me <- guarded(() => show(k * 3)) }})\n"
                     f"    println(pids.length())\n    println(range(0, 5).map(_ => receive {{ m -> m }}).sort())\n    println(total)\n    {i}")
        parts.append("main() = {\n" + "\n".join(calls) + "\n}")
        return "\n".join(parts) + "\n"


def run(nostos, path, mode, stress, limit=10):
    env = {k: v for k, v in os.environ.items() if not k.startswith("NOS_")}
    if stress:
        env["NOS_JIT_STRESS"] = env["NOS_GC_STRESS"] = "1"
    try:
        p = subprocess.run([nostos, "--jit=" + mode, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, env=env)
        return p.returncode, p.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired:
        return "timeout", ""


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--nostos", required=True)
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--programs", type=int, default=1 << 60)
    ap.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the first program; the others count up")
    ap.add_argument("--keep", default=".", help="directory for programs that differ")
    opt = ap.parse_args()
    start = time.monotonic()
    end, tell, n, refused, calls = start + opt.seconds, start + 60, 0, 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        path = pathlib.Path(tmp, "program.nos")
        while time.monotonic() < end and n < opt.programs:
            seed = opt.seed + n
            n += 1
            if time.monotonic() >= tell:
                print(f"{n - 1} programs from seed {opt.seed}, no difference so far", flush=True)
                tell += 60
            text = Gen(random.Random(seed)).program()
            path.write_text(text)
            want = run(opt.nostos, path, "off", False, 5)
            if want[0] == "timeout":
                continue
            if want[0] != 0:
                if want[0] == 1 and "error" in want[1].lower():
                    refused += 1  # the checker does not take it
                    if refused < 3:
                        print(want[1][:400], file=sys.stderr)
                    continue
            calls += want[1].count("fun")
            if "PIPELINE DIFFERS" in want[1]:
                keep = pathlib.Path(opt.keep, f"jit-{seed}.nos")
                keep.write_text(text)
                print(f"seed {seed}: a pipeline differs from its stages, see {keep}")
                return 1
            for mode, stress in [("eager", False), ("eager", True)]:
                got = run(opt.nostos, path, mode, stress)
                if got[0] == "timeout" and stress:
                    continue  # it leaves and collects all the time
                if got[0] == "timeout":  # a busy machine, or a compilation that does not end
                    got = run(opt.nostos, path, mode, stress, 60)
                if got != want:
                    keep = pathlib.Path(opt.keep, f"jit-{seed}.nos")
                    keep.write_text(text)
                    print(f"seed {seed}: {mode}{' under stress' if stress else ''} differs, see {keep}")
                    for a, b in zip(want[1].splitlines() + ["(end)"], got[1].splitlines() + ["(end)"]):
                        if a != b:
                            print("interpreted:", a, "\ncompiled:   ", b)
                            break
                    print("exit status", want[0], got[0])
                    return 1
    print(f"{n} programs from seed {opt.seed}, {refused} refused by the checker, {calls} calls compared, no difference")
    return 1 if refused * 2 > n or n == refused else 0


sys.exit(main())
