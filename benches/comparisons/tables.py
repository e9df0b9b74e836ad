"""The tables of a CPU's pages, from its recorded files."""
import fnmatch
import json
from pathlib import Path

from figures import show

# of a section of the peers: its title, what the reader should know, and a unit of the recorded seconds; a rate without one
SECTIONS = {
    "model-f32": ("Whole model, f32 weights, tokens per second", "", None),
    "model-bf16": ("Whole model, bf16 weights, tokens per second", "", None),
    "products": (
        "Matrix products, microseconds",
        "The sizes are those of the 130m shape: the name says what the product is there, `m` its tokens.",
        1e6,
    ),
    "ops": (
        "Scan and convolution, milliseconds",
        "2048 tokens and 1536 channels; 16 states in the scan, SiLU after the convolution.",
        1e3,
    ),
}
SLOW = 1.5
EXPLANATIONS = json.loads(Path(__file__).with_name("explanations.json").read_text())


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def percent(share):
    return f"{100 * share:.0f} %"


def is_ours(row):
    return row["peer"].startswith("mamba-kernels")


def contested(rows):
    """The works that a peer does too."""
    return list(dict.fromkeys(row["work"] for row in rows if not is_ours(row)))


def figure(section, seconds):
    unit = SECTIONS[section][2]
    return unit * seconds if unit else 1 / seconds


def spread(section, row):
    """The ends, the worse first."""
    return [figure(section, row["highest"]), figure(section, row["lowest"])]


def peer_name(row):
    # the first records left its head out
    return row["peer"] + (" (without its head)" if "without head" in row["version"] else "")


def short_peers(rows):
    """One line per peer of the whole model."""
    fastest = lambda work: min((row for row in rows if row["work"] == work), key=lambda row: row["median"])  # noqa: E731
    best = {work: fastest(work)["peer"] for work in contested(rows)}
    lines = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        found = {row["work"]: row for row in rows if row["peer"] == peer}
        cells = [show(1 / found[work]["median"]) for work in ["prefill", "decode"]]
        bold = [best[work] == peer for work in ["prefill", "decode"]]
        lines.append([peer_name(found["prefill"]), *(f"**{c}**" if b else c for c, b in zip(cells, bold, strict=True))])
    return table(["", "prefill", "decode"], lines)


def ours_of(rows, work):
    base = "conv" if work == "conv_compiled" else work
    # the faster of the modes: exact, or with the peers' arithmetic
    return min((row for row in rows if row["work"] == base and is_ours(row)), key=lambda row: row["median"], default=None)


def peer_table(section, rows):
    lines = []
    for work in contested(rows):
        ours = ours_of(rows, work)
        for row in (row for row in rows if row["work"] == work):
            ratio = ""
            if not is_ours(row) and ours:
                factor = row.get("ratio") or row["median"] / ours["median"]
                ends = row.get("ratio_spread")
                ratio = f"{factor:.2f} times as fast" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")
                ratio += ", the peer wins" if factor < 1 else ""
            ends = " to ".join(map(show, spread(section, row)))
            lines.append([work, peer_name(row), show(figure(section, row["median"])), ends, ratio])
    text = table(["work", "peer", "median", "worst to best", "ours is"], lines)
    versions = dict.fromkeys((peer_name(row), row["version"], row["command"]) for row in rows)
    commands = [f"- {peer}: {version}; `{command}`" for peer, version, command in versions]
    note = f"Recorded by `benches/comparisons/run.sh {section}`, which starts each peer by its own command:"
    return "\n".join([text, "", note, *commands])


def peer_bars(section, rows):
    """What `figures.peers` draws."""
    title = SECTIONS[section][0].rsplit(", ", 1)[1]
    works = []
    for work in (w for w in contested(rows) if w != "conv_compiled"):
        found = [row for row in rows if row["work"] in (work, work + "_compiled")]
        bars = [
            (
                row["peer"] + (" compiled" if row["work"] != work else ""),
                figure(section, row["median"]),
                sorted(spread(section, row)),
                is_ours(row),
            )
            for row in found
        ]
        works.append((f"{work}, {title}", bars))
    return works


def with_spread(row, name):
    ends = row.get(f"{name}_spread")
    return show(row[name]) + (f" ({show(ends[0])} to {show(ends[1])})" if ends else "")


def case_of(row):
    return row["kernel"], row["shape"], row["dtype"], row["mode"], row["isa"], row["threads"]


def roofline_table(rows, again):
    """`again` are the shares of a second run; none if there was none."""
    second = {case_of(row): row["fraction"] for row in again or []}
    head = ["kernel", "shape", "type", "mode", "ISA", "threads", "achieved", "ceiling", "limit", "of it", "spread"]
    lines = []
    for row in rows:
        ends = row.get("fraction_spread")
        cells = [*map(str, case_of(row)), with_spread(row, "achieved"), f"{with_spread(row, 'ceiling')} {row['unit']}"]
        cells += [row["limit"], percent(row["fraction"]), f"{100 * ends[0]:.0f} to {percent(ends[1])}" if ends else ""]
        lines.append(cells + ([percent(second[case_of(row)])] if second else []))
    return table(head + (["second run"] if second else []), lines)


def ceilings_table(rows):
    lines = [[r["ceiling"], r["isa"], str(r["threads"]), f"{with_spread(r, 'rate')} {r['unit']}"] for r in rows]
    return table(["ceiling", "ISA", "threads", "rate"], lines)


def scaling_tables(sweeps):
    texts = []
    for sweep in sweeps:
        lines = []
        for point in sweep["points"]:
            ends = f"{show(1e3 * point['lowest'])} to {show(1e3 * point['highest'])}"
            lines.append([str(point["size"]), show(1e3 * point["median"]), ends, show(point["bytes"] / 1e6)])
        texts += [
            f"**{sweep['sweep'].capitalize()}**: {sweep['work']}. Time grows with {sweep['variable']} to the power "
            f"**{sweep['time_exponent']:.2f}**, memory **{sweep['memory_exponent']:.2f}**, fitted from {sweep['fitted_from']} on.",
            table([sweep["variable"], "milliseconds", "least to most", "peak memory, MB"], lines),
            f"- {sweep['version']}; `{sweep['command']}`",
        ]
    return "\n\n".join(texts)


def explanation(row):
    """Why a case is slow; empty if it is not."""
    if row["ratio"] <= SLOW:
        return ""
    found = (e["why"] for e in EXPLANATIONS if fnmatch.fnmatchcase(row["case"], e["case"]))
    return f"**slow**: {next(found, 'not explained yet')}"


def pathologies_table(rows):
    lines = []
    for row in rows:
        ends = f"{row['lowest']:.2f} to {row['highest']:.2f}" if "lowest" in row else ""
        lines.append([row["case"], row["isa"], str(row["threads"]), f"{row['ratio']:.2f}", ends, explanation(row)])
    return table(["case", "ISA", "threads", "ratio", "least to most", ""], lines)


def shares(rows, kernel, shape, isa=None, dtype="f32", mode="exact"):
    """Of the limit, by threads; empty if it was not measured."""
    isa = isa or rows[0]["isa"]
    found = [r for r in rows if case_of(r)[:5] == (kernel, shape, dtype, mode, isa)]
    return " / ".join(f"{100 * row['fraction']:.0f}" for row in found) + " %" if found else ""


def against_peers(rows, work):
    """Tokens per second, and how many times the fastest peer's."""
    if not rows:
        return ""
    theirs = (row for row in rows if row["work"] == work and not is_ours(row))
    ours, best = ours_of(rows, work), min(theirs, key=lambda row: row["median"])
    factor = best.get("ratio") or best["median"] / ours["median"]
    return f"{show(1 / ours['median'])}, {factor:.2f} x {peer_name(best)}"


def key_figures(records):
    """Name and cell of each, of one CPU's records by name."""
    roofline, sweeps = records.get("roofline"), {s["sweep"]: s for s in records.get("scaling", [])}
    out = {}
    for dtype in ["f32", "bf16"]:
        for work, words in [("prefill", "prefill of 512 tokens"), ("decode", "decode")]:
            out[f"{words}, {dtype}, tokens/s"] = against_peers(records.get(f"peers-model-{dtype}"), work)
    if roofline:
        fastest = roofline[0]["isa"]
        other = next((r["isa"] for r in roofline if r["isa"] != fastest), None)
        for name, kernel, shape in [
            ("in_proj, 512 tokens", "in_proj", "m512_k768_n3072"),
            ("dt_proj, 512 tokens", "linear", "dt_proj_m512_k48_n1536"),
            ("lm_head, 1 token", "linear", "lm_head_m1_k768_n50280"),
            ("scan, 2048 x 1536 x 16", "selective_scan", "b1_l2048_d1536_n16"),
            ("scan, 64 x 256 x 64", "selective_scan", "b1_l64_d256_n64"),
            ("convolution, 2048 x 1536", "causal_conv1d", "b1_l2048_d1536_k4"),
            ("prefill, 512 tokens", "prefill", "b1_l512_d768_layers24"),
            ("decode", "decode", "b1_l1_d768_layers24"),
        ]:
            out[f"{name}: of its limit"] = shares(roofline, kernel, shape)
            if other and kernel == "in_proj":
                out[f"{name}, AVX2: of its limit" if other == "avx2" else f"{name}, {other}: of its limit"] = shares(
                    roofline, kernel, shape, other
                )
    if "length" in sweeps:
        out["time grows with the prompt's length to the power"] = f"{sweeps['length']['time_exponent']:.2f}"
    if rows := records.get("pathologies"):
        slow = [row for row in rows if row["ratio"] > SLOW]
        out["slow inputs: the largest ratio to an ordinary twin"] = f"{max(row['ratio'] for row in rows):.2f}"
        out[f"slow inputs: ratios above {SLOW}"] = f"{len(slow)} of {len(rows)}"
    return {name: cell for name, cell in out.items() if cell}
