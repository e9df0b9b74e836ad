"""Tables and bar charts from the recorded files: writes the generated parts of README.md, docs/benchmarks.md and its pages.

    report.py docs/benchmarks          writes them
    report.py docs/benchmarks --check  fails where a generated part differs from what the recorded files give
"""
import argparse
import json
import re
from pathlib import Path

SECTIONS = {
    "model-f32": "Whole model, f32 weights, tokens per second",
    "model-bf16": "Whole model, bf16 weights, tokens per second",
    "products": "Matrix products, microseconds",
    "ops": "Scan and convolution, milliseconds",
}
# per section: a unit of the recorded seconds, and whether more is better
UNITS = {"model-f32": (None, True), "model-bf16": (None, True), "products": (1e6, False), "ops": (1e3, False)}


def load(folder, name):
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def figure(section, seconds):
    scale, rate = UNITS[section]
    return 1 / seconds if rate else scale * seconds


def show(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def is_ours(row):
    return row["peer"].startswith("mamba-kernels")


def contested(rows):
    """The works that a peer does too."""
    return list(dict.fromkeys(row["work"] for row in rows if not is_ours(row)))


def short_table(rows):
    """One line per peer of the whole model, for the README."""
    lines = ["| | prefill | decode |", "|---|---|---|"]
    for peer in dict.fromkeys(row["peer"] for row in rows):
        found = {row["work"]: show(1 / row["median"]) for row in rows if row["peer"] == peer}
        best = {
            work: min((r for r in rows if r["work"] == work), key=lambda r: r["median"])["peer"] for work in found
        }
        cells = [f"**{found[work]}**" if best[work] == peer else found[work] for work in ["prefill", "decode"]]
        note = " (without its head)" if peer == "mamba-rs" else ""
        lines.append(f"| {peer}{note} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def peer_table(section, rows):
    works = contested(rows)
    lines = ["| work | peer | median | worst to best | ours is |", "|---|---|---|---|---|"]
    for work in works:
        of_work = [row for row in rows if row["work"] == work]
        base = work.removesuffix("_compiled") if work == "conv_compiled" else work
        # the last: if it exists, the mode with the peers' arithmetic
        ours = next((r for r in reversed(rows) if r["work"] == base and is_ours(r)), None)
        for row in of_work:
            ratio = ""
            if not is_ours(row) and ours:
                factor = row["median"] / ours["median"]
                ratio = f"{factor:.2f} times as fast" + (", the peer wins" if factor < 1 else "")
            spread = sorted(figure(section, row[key]) for key in ["lowest", "highest"])
            spread = spread if UNITS[section][1] else spread[::-1]
            middle = figure(section, row["median"])
            lines.append(f"| {work} | {row['peer']} | {show(middle)} | {show(spread[0])} to {show(spread[1])} | {ratio} |")
    versions = dict.fromkeys((row["peer"], row["version"], row["command"]) for row in rows)
    lines += ["", f"Recorded by `benches/comparisons/run.sh {section}`, which starts each peer by its own command:"]
    lines += [f"- {peer}: {version}; `{command}`" for peer, version, command in versions]
    return "\n".join(lines)


# what the summary shows of the roofline: kernel, shape, type, mode
SUMMARY = [
    ("in_proj", "m512_k768_n3072", "f32", "exact"),
    ("in_proj", "m512_k768_n3072", "f32", "bf16dot"),
    ("linear", "lm_head_m1_k768_n50280", "f32", "exact"),
    ("selective_scan", "b1_l2048_d1536_n16", "f32", "exact"),
    ("causal_conv1d", "b1_l2048_d1536_k4", "f32", "exact"),
    ("rms_norm", "m512_d768", "f32", "exact"),
    ("prefill", "b1_l512_d768_layers24", "f32", "exact"),
    ("decode", "b1_l1_d768_layers24", "f32", "exact"),
]


def summary_table(rows, threads=1, isa="avx512"):
    """The roofline's share of the limit, for some kernels."""
    lines = ["| kernel | shape | type | mode | of the limit | limit |", "|---" * 6 + "|"]
    for key in SUMMARY:
        for row in rows:
            found = (row["kernel"], row["shape"], row["dtype"], row["mode"])
            if found == key and row["threads"] == threads and row["isa"] == isa:
                lines.append(f"| {' | '.join(key)} | {100 * row['fraction']:.0f} % | {row['limit']} |")
    return "\n".join(lines)


def roofline_table(rows, threads=None, isa=None):
    lines = ["| kernel | shape | type | mode | ISA | threads | achieved | ceiling | limit | of it |", "|---" * 10 + "|"]
    for row in rows:
        if (threads and row["threads"] != threads) or (isa and row["isa"] != isa):
            continue
        lines.append(
            f"| {row['kernel']} | {row['shape']} | {row['dtype']} | {row['mode']} | {row['isa']} | {row['threads']} | "
            f"{show(row['achieved'])} | {show(row['ceiling'])} {row['unit']} | {row['limit']} | {100 * row['fraction']:.0f} % |"
        )
    return "\n".join(lines)


def ceilings_table(rows):
    lines = ["| ceiling | ISA | threads | rate |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {r['ceiling']} | {r['isa']} | {r['threads']} | {show(r['rate'])} {r['unit']} |" for r in rows])


def scaling_table(sweeps):
    lines = []
    for sweep in sweeps:
        lines += [
            f"**{sweep['sweep'].capitalize()}**: {sweep['work']}. Time grows with {sweep['variable']} to the power "
            f"**{sweep['time_exponent']:.2f}**, memory **{sweep['memory_exponent']:.2f}**, fitted from {sweep['fitted_from']} on.",
            "",
            f"| {sweep['variable']} | milliseconds | least to most | peak memory, MB |",
            "|---|---|---|---|",
        ]
        for point in sweep["points"]:
            spread = f"{show(1e3 * point['lowest'])} to {show(1e3 * point['highest'])}"
            lines.append(f"| {point['size']} | {show(1e3 * point['median'])} | {spread} | {show(point['bytes'] / 1e6)} |")
        lines += ["", f"- {sweep['version']}; `{sweep['command']}`", ""]
    return "\n".join(lines[:-1])


def chart(section, rows, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mamba-kernels"
    import matplotlib.pyplot as plt

    works = [w for w in contested(rows) if w != "conv_compiled"]
    columns = min(3, len(works))
    lines = -(-len(works) // columns)
    figure_, axes = plt.subplots(lines, columns, figsize=(4 * columns, 2.3 * lines), squeeze=False)
    for axis in axes.flat[len(works) :]:
        axis.set_axis_off()
    for axis, work in zip(axes.flat, works, strict=False):
        shown = [r for r in rows if r["work"] in (work, work + "_compiled")]
        names = [r["peer"] + (" compiled" if r["work"] != work else "") for r in shown]
        middles = [figure(section, r["median"]) for r in shown]
        ends = [sorted(figure(section, r[k]) for k in ["lowest", "highest"]) for r in shown]
        errors = [[m - e[0] for m, e in zip(middles, ends, strict=True)], [e[1] - m for m, e in zip(middles, ends, strict=True)]]
        colours = ["#1f77b4" if is_ours(r) else "#bbbbbb" for r in shown]
        axis.barh(names, middles, xerr=errors, color=colours, capsize=3)
        axis.invert_yaxis()
        axis.set_title(f"{work}, {SECTIONS[section].rsplit(', ', 1)[1]}", fontsize=9)
        axis.tick_params(labelsize=8)
    figure_.tight_layout()
    figure_.savefig(path, metadata={"Date": None})
    plt.close(figure_)


def parts(folder):
    """The text of every generated part, by name."""
    out = {}
    for section in SECTIONS:
        if rows := load(folder, f"peers-{section}"):
            out[f"peers-{section}"] = peer_table(section, rows)
    if rows := load(folder, "peers-model-f32"):
        out["peers-short"] = short_table(rows)
    if machine := load(folder, "machine"):
        out["machine"] = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    if rows := load(folder, "roofline"):
        out["roofline"] = roofline_table(rows)
        out["roofline-summary"] = summary_table(rows)
    if rows := load(folder, "ceilings"):
        out["ceilings"] = ceilings_table(rows)
    if sweeps := load(folder, "scaling"):
        out["scaling"] = scaling_table(sweeps)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.folder /= "amd-zen4"
    root = args.folder.resolve().parents[2]
    texts, wrong, seen = parts(args.folder), [], set()
    for document in [root / "README.md", root / "docs" / "benchmarks.md", *sorted(args.folder.glob("*.md"))]:
        text = document.read_text()

        def fill(match):
            name = match[1]
            seen.add(name)
            if name not in texts:
                wrong.append(f"{document.name}: nothing is recorded for {name}")
                return match[0]
            return f"<!-- generated: {name} -->\n{texts[name]}\n<!-- end -->"

        new = re.sub(r"<!-- generated: (\S+) -->\n.*?<!-- end -->", fill, text, flags=re.S)
        if args.check and new != text:
            wrong.append(f"{document.name} differs from the recorded files: run benches/comparisons/report.py docs/benchmarks")
        elif not args.check:
            document.write_text(new)
    wrong += [f"{name} is recorded and shown nowhere" for name in texts if name not in seen]
    if not args.check:
        for section in SECTIONS:
            if rows := load(args.folder, f"peers-{section}"):
                chart(section, rows, args.folder / f"peers-{section}.svg")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
