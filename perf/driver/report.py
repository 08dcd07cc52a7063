"""Tables of measured rows."""
import statistics

from .languages import TITLES
from .rows import BEST, KERNELS, PEERS, TARGETS


def number(x):
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def ratio(x):
    return f"{x:.0f}x" if x >= 10 else f"{x:.1f}x" if x >= 2 else f"{x:.2f}x"


def grid(header, lines, markdown):
    lines = [[str(cell) for cell in line] for line in [header, *lines]]
    if markdown:
        lines.insert(1, ["---"] * len(header))
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def best_peer(row):
    """The fastest other language except C, by its minimum."""
    peers = [(d["min"]["ms"], lang) for lang, d in row["langs"].items()
             if "min" in d and lang not in ("nostos", "c", "c_calls")]
    return min(peers) if peers else None


def versus_best(row):
    """How much slower Nostos is than the best peer; 0 when there is nothing to compare."""
    own, best = row["langs"].get("nostos", {}), best_peer(row)
    return own["min"]["ms"] / max(best[0], 1e-6) if "min" in own and best else 0.0


def cell(data, row, reference):
    if "failed" in data:
        return "FAILED"
    mid, low = data["median"], data["min"]
    text = f"{number(mid['ms'])} [{number(low['ms'])}] ms"
    if reference:
        text += f" {ratio(low['ms'] / max(reference, 1e-6))}"
    parts = [f"{key} {number(mid[key])}" for key in row["shown"] if key in mid]
    parts += [f"cpu {number(mid['cpu_ms'])}", f"{number(mid['rss_mb'])} MB"]
    return text + "; " + ", ".join(parts)


def table(rows, langs, markdown):
    """Median [minimum] inner time, ratio of minima to C, the row's metrics, CPU ms and peak memory of the whole process."""
    langs = [lang for lang in langs if any(lang in r["langs"] for r in rows)]
    lines = []
    for r in rows:
        c = r["langs"].get("c", {}).get("min", {}).get("ms")
        cells = [cell(r["langs"][lang], r, c if lang != "c" else None) if lang in r["langs"] else "" for lang in langs]
        best = best_peer(r)
        against = f"{ratio(versus_best(r))} {best[1]}" if best and versus_best(r) else ""
        lines.append([r["name"] + ("" if r["valid"] else " INVALID"), *cells, against])
    return grid(["row", *(TITLES[lang] for lang in langs), "Nostos / best peer"], lines, markdown)


def measured(target, rows):
    """The value a target speaks about (median), or None when this run does not have it."""
    def value(row, lang, metric):
        return rows.get(row, {}).get("langs", {}).get(lang, {}).get("median", {}).get(metric)
    if target.row is KERNELS:
        pairs = [(value(row, "nostos", target.metric), value(row, target.against, target.metric)) for row in KERNELS]
        pairs = [own / other for own, other in pairs if own and other]
        return statistics.geometric_mean(pairs) if pairs else None
    own = value(target.row, "nostos", target.metric)
    if own is None or not target.against:
        return own
    if target.against in rows:   # another row of Nostos: how many times faster
        other = value(target.against, "nostos", target.metric)
        return other / own if other and own else None
    others = [value(target.row, lang, target.metric) for lang in (PEERS if target.against == BEST else (target.against,))]
    other = min((x for x in others if x), default=None)
    return own / other if other else None


def targets(rows, issue, markdown):
    """Every target of an issue with what was measured, the farthest from its target first."""
    by_name = {r["name"]: r for r in rows}
    lines = []
    for t in (t for t in TARGETS if t.issue == issue):
        got = measured(t, by_name)
        name = "kernels" if t.row is KERNELS else t.row
        if got is None and "failed" in by_name.get(name, {}).get("langs", {}).get("nostos", {}):
            lines.append((float("inf"), [name, t.what, "", number(t.limit), "FAILED"]))
            continue
        if got is None:
            lines.append((-1, [name, t.what, "", number(t.limit), "not measured"]))
            continue
        miss = t.limit / max(got, 1e-9) if t.at_least else got / t.limit
        mark = "ok" if miss <= 1 else f"MISSED by {ratio(miss)}"
        lines.append((miss, [name, t.what, number(got), (">= " if t.at_least else "<= ") + number(t.limit), mark]))
    lines.sort(key=lambda e: -e[0])
    return grid(["row", "what", "measured", "target", ""], [line for _, line in lines], markdown)


def merge(files):
    """Rows of several result files; a later file replaces the (row, language) cells it has."""
    rows = {}
    for data in files:
        for r in data["rows"]:
            old = rows.setdefault(r["name"], r)
            if old is not r:
                old["langs"].update(r["langs"])
                old["valid"] = old["valid"] and r["valid"]
    return list(rows.values())
