"""A report of a run on a GPU: measured times beside ceilings, peers and what was expected.

    report.py RESULTS.jsonl FOLDER    writes FOLDER/README.md, copies the results beside it, prints a short table
    report.py --self-test             runs on made-up results in a temporary folder

Fails if a check failed, or if there is none. Incomplete results are reported as far as they go: a run that was cut off
leaves a part of its lines, and the last may be half of one.
"""
import argparse
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import expected

REPORT = Path(__file__).resolve().parents[2] / "docs" / "cuda-report.md"
MOST_LINES = 60  # of the short table
PRODUCTS = ["in_proj", "x_proj", "dt_proj", "out_proj", "lm_head"]
OPS = ["embedding", *expected.LAYER, "lm_head"]
KEYS = ["op", "model", "tokens", "sequences"]
# what a line of each part must have to be used
NEEDED = {
    "facts": ["name"],
    "check": ["name", "status"],
    "resources": ["kernel"],
    "ceiling": ["name", "value"],
    "time": [*KEYS, "us"],
    "peer": [*KEYS, "peer", "us"],
    "model": ["model", "mode", "phase", "sequences", "tokens", "us"],
}
NUMBERS = ["us", "tokens", "sequences"]


def load(path):
    """The usable lines by part, and how many were not usable. What a dry run lists without a value is left out."""
    parts, unusable = {part: [] for part in NEEDED}, 0
    for line in path.read_text(errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            part = row["part"]
            if any(key in row and row[key] is None for key in ("us", "value")):
                continue
            complete = all(row.get(key) is not None for key in NEEDED[part])
            complete &= all(isinstance(row[key], (int, float)) for key in NUMBERS if key in row)
        except (ValueError, KeyError, TypeError, AttributeError):
            complete = False
        if complete and row.get("us", 1) > 0:
            parts[part].append(row)
        else:
            unusable += 1
    return parts, unusable


def show(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(value):
    return "" if value is None else f"{100 * value:.0f} %"


def cell(value):
    return " ".join(str(value).split()).replace("|", "\\|")[:300]


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(cell(value) for value in row)} |" for row in rows])


def is_failure(check):
    return check["status"] not in ("ok", "skipped")


def card_of(parts):
    text = " ".join(str(row.get("value")) for row in parts["facts"]).lower()
    return "h200" if "h200" in text else "h100"


# --- measured times


def limits(row, ceilings):
    """Per limit that is known, the least time in microseconds."""
    rows = row["tokens"] * row["sequences"]
    few = row["op"] in PRODUCTS and rows <= 64  # nearly all bytes are weights
    bandwidth = ceilings.get("read" if few else "copy") or ceilings.get("copy") or ceilings.get("read")
    tensor_cores = "tensor_cores" in str(row.get("kernel"))
    arithmetic = ceilings.get("mma_bf16" if tensor_cores else "fma_f32")
    found = {}
    if bandwidth and row.get("bytes"):
        found["memory"] = row["bytes"] / bandwidth * 1e-3
    if arithmetic and row.get("flops"):
        found["tensor cores" if tensor_cores else "f32"] = row["flops"] / arithmetic * 1e-6
    return found


def is_expected(row):
    """Whether the model of expected.py speaks of this case: f32 activations, bf16 weights."""
    activations, _, weights = str(row.get("types", "f32/bf16")).partition("/")
    return activations == "f32" and (weights in ("", "bf16") or row["op"] not in [*PRODUCTS, "embedding"])


def times(parts):
    """Each measured time with what it is compared with."""
    ceilings = {row["name"]: row["value"] for row in parts["ceiling"]}
    card = card_of(parts)
    found = []
    for row in parts["time"]:
        least = limits(row, ceilings)
        limit = max(least, key=least.get) if least else None
        peers = [peer for peer in parts["peer"] if all(peer[key] == row[key] for key in KEYS)]
        mode = row.get("mode", "exact")
        guess = None
        if is_expected(row) and row["model"] in expected.MODELS:
            guess = expected.expected_us(*(row[key] for key in KEYS), mode, card)
        found.append(
            {
                **row,
                "mode": mode,
                "limit": limit,
                "share": least[limit] / row["us"] if limit else None,
                "peers": sorted(peers, key=lambda peer: peer["us"]),
                "expected": guess,
            }
        )
    place = {op: i for i, op in enumerate(OPS)}
    found.sort(key=lambda r: (r["model"], -r["tokens"], r["sequences"], place.get(r["op"], 99), r["mode"]))
    return found


def models(parts):
    found = []
    for row in parts["model"]:
        # a prefill's and a step's lines may count tokens differently: a step is one token a sequence
        tokens = 1 if row["phase"] == "decode" else row["tokens"]
        layers = expected.MODELS.get(row["model"], (0, 0, 0, 0))[3]
        guess = None
        if layers:
            guess = expected.model_us(row["model"], tokens, row["sequences"], row["mode"], card_of(parts))
        key = {"op": "block", "model": row["model"], "tokens": tokens, "sequences": row["sequences"]}
        blocks = [peer["us"] * layers for peer in parts["peer"] if all(peer[k] == key[k] for k in KEYS)]
        rate = row.get("tokens_per_s") or tokens * row["sequences"] / row["us"] * 1e6
        found.append({**row, "rate": rate, "expected": guess, "blocks": min(blocks, default=None)})
    return found


# --- resources


def reported():
    """Of docs/cuda-report.md for sm_90: registers and static shared memory per kernel."""
    registers, shared, head = {}, {}, []
    for line in REPORT.read_text().splitlines() if REPORT.exists() else []:
        cells = [part.strip() for part in line.strip("|").split("|")]
        if line.startswith("| kernel"):
            head = cells
        elif match := re.fullmatch(r"`(mk_\w+)`", cells[0]):
            if head[1] == "sm_75":
                registers[match[1]] = int(cells[head.index("sm_90")])
            elif "static" in head:
                shared[match[1]] = int(cells[head.index("static")])
    return registers, shared


def resources(parts):
    """Lines of a table for kernels that differ from the report or spill, and the number of the others."""
    registers, shared = reported()
    differ, same = [], 0
    for row in parts["resources"]:
        kernel = row["kernel"]
        here = row.get("registers"), row.get("shared_bytes"), row.get("local_bytes") or 0
        known = registers.get(kernel), shared.get(kernel), 0
        if here == known:
            same += 1
        else:
            pairs = [f"{a} ({b})" if a != b else a for a, b in zip(here, known, strict=True)]
            differ.append([row.get("origin", ""), kernel, *pairs])
    return differ, same


# --- documents


def check_parts(checks):
    """Failures, then what was skipped, in full; the rest counted by the first part of the name."""
    text = []
    for title, rows in [
        ("Failed", [c for c in checks if is_failure(c)]),
        ("Skipped", [c for c in checks if c["status"] == "skipped"]),
    ]:
        if rows:
            cells = [[c["name"], c.get("seconds", ""), c.get("detail", "")] for c in rows]
            text += [f"{title}:", "", table(["check", "seconds", "detail"], cells), ""]
    groups = {}
    for c in checks:
        if c["status"] == "ok":
            groups.setdefault(c["name"].split("/")[0], []).append(c.get("seconds") or 0)
    if groups:
        cells = [[name, len(seconds), f"{sum(seconds):.1f}"] for name, seconds in groups.items()]
        text += ["Passed:", "", table(["checks", "number", "seconds"], cells), ""]
    return text


def time_cells(row):
    peers = "; ".join(f"{p['peer']} {show(p['us'])}, {row['us'] / p['us']:.2f}" for p in row["peers"])
    guess = row["expected"]
    return [
        row["op"],
        str(row.get("kernel", "")).removeprefix("mk_"),
        row["mode"],
        row.get("types", ""),
        show(row["us"]),
        show(row.get("host_us")),
        row["limit"] or "",
        percent(row["share"]),
        peers,
        show(guess),
        show(row["us"] / guess) if guess else "",
    ]


def document(parts, unusable):
    checks, failures = parts["check"], sum(map(is_failure, parts["check"]))
    text = ["# A run on a GPU", ""]
    text += ["Written by `scripts/gpu/report.py` from `results.jsonl`.", ""]
    if unusable:
        text += [f"{unusable} lines of the results could not be used.", ""]
    if parts["facts"]:
        text += [f"- {row['name']}: {cell(row.get('value'))}" for row in parts["facts"]] + [""]
    text += ["## Checks", "", f"{len(checks)} checks, {failures} failed.", "", *check_parts(checks)]
    if parts["resources"]:
        differ, same = resources(parts)
        text += ["## Resources", "", f"{same} kernels are as `docs/cuda-report.md` says for sm_90."]
        if differ:
            head = ["origin", "kernel", "registers", "shared memory", "local memory"]
            text += ["These are not; in brackets what it says:", "", table(head, differ)]
        text += [""]
    if parts["ceiling"]:
        cells = [[row["name"], f"{show(row['value'])} {row.get('unit', '')}"] for row in parts["ceiling"]]
        text += ["## Ceilings", "", table(["measured", "rate"], cells), ""]
    found = times(parts)
    if found:
        text += ["## Kernels", ""]
        text += ["Times in microseconds. The limit is the measured ceiling that allows the least; the share is of it."]
        text += ["After a peer's time is ours over it. The last ratio is to what `expected.py` says."]
        text += [""]
        head = ["op", "kernel", "mode", "types", "us", "host us", "limit", "of it", "peers", "expected", "ratio"]
        for case in dict.fromkeys((r["model"], r["tokens"], r["sequences"]) for r in found):
            rows = [time_cells(r) for r in found if (r["model"], r["tokens"], r["sequences"]) == case]
            text += [f"{case[0]}, {case[2]} sequences of {case[1]} tokens:", "", table(head, rows), ""]
    compared = {tuple(row[key] for key in KEYS) for row in parts["time"]}
    others = [row for row in parts["peer"] if tuple(row[key] for key in KEYS) not in compared]
    if others:
        cells = [[*(row[key] for key in ["peer", *KEYS]), row.get("types", ""), show(row["us"])] for row in others]
        text += ["## Peers of nothing that was timed", "", table(["peer", *KEYS, "types", "us"], cells), ""]
    if parts["model"]:
        text += ["## Models", "", "`official blocks` is the official block's time, times the number of layers.", ""]
        head = ["model", "phase", "mode", "sequences", "tokens", "us", "host us", "tokens/s", "expected us"]
        cells = []
        for row in models(parts):
            shown = [row[key] for key in ["model", "phase", "mode", "sequences", "tokens"]]
            rest = [show(row["us"]), show(row.get("host_us")), show(row["rate"]), show(row["expected"])]
            cells.append([*shown, *rest, show(row["blocks"])])
        text += [table([*head, "official blocks us"], cells), ""]
    return "\n".join(text)


def summary(parts, unusable, folder):
    """At most MOST_LINES lines."""
    checks = parts["check"]
    failures = [c for c in checks if is_failure(c)]
    facts = {row["name"]: row.get("value") for row in parts["facts"]}
    lines = [cell("; ".join(f"{name} {value}" for name, value in list(facts.items())[:6]) or "no facts")]
    skipped = sum(c["status"] == "skipped" for c in checks)
    lines += [f"{len(checks)} checks: {len(failures)} failed, {skipped} skipped; {unusable} unusable lines"]
    lines += [f"FAILED {c['name']}: {cell(c.get('detail', ''))[:100]}" for c in failures[:10]]
    if len(failures) > 10:
        lines += [f"... {len(failures) - 10} more failed"]
    if parts["resources"]:
        differ, same = resources(parts)
        lines += [f"resources: {same} kernels as reported, {len(differ)} not"]
    lines += ["ceilings: " + ", ".join(f"{c['name']} {show(c['value'])} {c.get('unit', '')}" for c in parts["ceiling"])]
    tail = []
    for row in models(parts)[:12]:
        guess = show(row["us"] / row["expected"]) if row["expected"] else ""
        name = f"{row['model']} {row['phase']} b{row['sequences']} {row['mode']}"
        host = show(row.get("host_us")) or "?"
        tail.append(f"{name:34} {show(row['rate']):>8} tokens/s  host {host} us  x expected {guess}")
    found = times(parts)
    if found:
        lines += [f"{'op':40} {'us':>8} {'of limit':>8} {'fastest peer':>30} {'x peer':>7} {'x expected':>10}"]
    room = MOST_LINES - len(lines) - len(tail) - 2
    # what the model speaks of comes first if not all fit
    kept = found if len(found) <= room else ([r for r in found if r["expected"]] or found)[: max(room, 0)]
    for row in kept:
        name = f"{row['model']} {row['tokens']}x{row['sequences']} {row['op']} {row['mode']} {row.get('types', '')}"
        best = row["peers"][0] if row["peers"] else None
        peer = f"{best['peer']} {show(best['us'])}" if best else ""
        ratio = f"{row['us'] / best['us']:.2f}" if best else ""
        guess = show(row["us"] / row["expected"]) if row["expected"] else ""
        lines += [f"{name:40} {show(row['us']):>8} {percent(row['share']):>8} {peer:>30} {ratio:>7} {guess:>10}"]
    if len(kept) < len(found):
        lines += [f"... {len(found) - len(kept)} more"]
    return [*lines, *tail, f"all of it: {folder / 'README.md'}"][:MOST_LINES]


def report(path, folder):
    """Writes the report; whether all is well."""
    parts, unusable = load(path)
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "results.jsonl"
    if not (copy.exists() and copy.samefile(path)):
        shutil.copyfile(path, copy)
    (folder / "README.md").write_text(document(parts, unusable))
    print("\n".join(summary(parts, unusable, folder)))
    return bool(parts["check"]) and not any(map(is_failure, parts["check"]))


# --- its test


def made_up():
    """Lines of a run that never was: every time is 100 us, every ceiling 1000."""
    yield {"part": "facts", "name": "card", "value": "made-up card"}
    yield {"part": "check", "name": "bits/in_proj/f32", "status": "ok", "seconds": 1.0, "detail": ""}
    yield {"part": "check", "name": "bits/scan|pipe", "status": "ok", "seconds": 2.0, "detail": ""}
    yield {"part": "check", "name": "peer/all", "status": "skipped", "detail": "no PyTorch"}
    registers, shared = reported()
    kernel, other = "mk_rms_norm", "mk_linear_exact_128"
    same = {"registers": registers[kernel], "shared_bytes": shared[kernel], "local_bytes": 0}
    yield {"part": "resources", "origin": "nvrtc", "kernel": kernel, **same}
    spilled = {"registers": 255, "shared_bytes": 0, "local_bytes": 8}
    yield {"part": "resources", "origin": "nvrtc", "kernel": other, **spilled}
    for name, unit in [("copy", "GB/s"), ("read", "GB/s"), ("fma_f32", "TFLOP/s"), ("mma_bf16", "TFLOP/s")]:
        yield {"part": "ceiling", "name": name, "value": 1000.0, "unit": unit}
    for model in expected.MODELS:
        for tokens, sequences in [(2048, 1), (1, 64), (1, 1)]:
            for op in OPS:
                key = {"op": op, "model": model, "tokens": tokens, "sequences": sequences}
                rest = {"types": "f32/bf16", "mode": "exact", "us": 100.0, "bytes": 5e7, "flops": 1e9}
                yield {"part": "time", "kernel": f"mk_{op}", **key, **rest, "launches": 20, "host_us": 1.0}
                yield {"part": "peer", "peer": "slow", **key, "types": "f32/f32", "us": 400.0}
                yield {"part": "peer", "peer": "quick", **key, "types": "f32/f32", "us": 50.0}
    block = {"op": "block", "model": "130m", "tokens": 2048, "sequences": 1}
    yield {"part": "peer", "peer": "official_block", **block, "types": "bf16/bf16", "us": 10.0}
    run = {"model": "130m", "mode": "exact", "phase": "prefill", "sequences": 1, "tokens": 2048}
    yield {"part": "model", **run, "us": 1e6, "host_us": 5.0, "tokens_per_s": 2048.0}


def self_test():
    def run(lines, cut=""):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines) + cut)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            fine = report(path, folder)
        assert len(out.getvalue().splitlines()) <= MOST_LINES, "too long"
        return fine, out.getvalue(), (folder / "README.md").read_text()

    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "in.jsonl", Path(name) / "report"
        lines = list(made_up())
        fine, short, text = run(lines)
        assert fine and "3 checks, 0 failed." in text and "made-up card" in text and "made-up card" in short, text
        # 50 MB at 1000 GB/s are 50 us, more than 1 GFLOP at 1000 TFLOP/s: half of 100 us
        wanted = "| exact | f32/bf16 | 100 | 1.00 | memory | 50 % | quick 50.0, 2.00; slow 400, 0.25 |"
        assert f"| rms_norm | rms_norm {wanted}" in text, text
        guess = expected.expected_us("in_proj", "130m", 2048, 1)
        assert f"| {show(guess)} | {show(100 / guess)} |" in text
        assert "1 kernels are as" in text and "| nvrtc | mk_linear_exact_128 | 255 (128) | 0 | 8 (0) |" in text, text
        assert "| 130m | prefill | exact | 1 | 2048 |" in text and "| 240 |" in text, "24 official blocks"
        assert "skipped" in short and "no PyTorch" in text and "| bits | 2 | 3.0 |" in text
        assert (folder / "results.jsonl").read_text() == path.read_text()

        failed = {"part": "check", "name": "suite", "status": "failed", "seconds": 1.0, "detail": "two\nlines | of it"}
        fine, short, text = run([*lines, failed])
        assert not fine and "FAILED suite: two lines" in short and "4 checks, 1 failed." in text
        assert text.index("| suite | 1.0 | two lines \\| of it |") < text.index("Skipped:") < text.index("Passed:")
        fine, short, _ = run([*lines, *[failed] * 40])
        assert not fine and "... 30 more failed" in short

        fine, short, _ = run(lines, cut='{"part":"time","kernel":"mk_li')
        assert fine and "1 unusable lines" in short
        strange = [{"part": "time", "us": None}, {"part": "what"}, {}]
        strange += [{"part": "ceiling", "name": "copy", "value": None}]
        fine, short, _ = run([lines[1], *strange], cut="[1]\nnull\n")
        assert fine and "4 unusable lines" in short, short
        assert run(line for line in lines if line["part"] not in ("ceiling", "peer", "resources"))[0], "a dry run"
        assert not run([])[0] and not run(line for line in lines if line["part"] != "check")[0], "no check is a failure"
        unknown = {"part": "time", "op": "new", "model": "7b", "tokens": 3, "sequences": 2, "us": 1.0}
        assert run([*lines, unknown])[0]
        for rows, status in [(lines, 0), ([*lines, failed], 1), ([], 1)]:
            path.write_text("".join(json.dumps(line) + "\n" for line in rows))
            command = [sys.executable, __file__, str(path), str(folder)]
            assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == status, status
    print("the report's test passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        self_test()
    elif args.results is None or args.folder is None:
        parser.error("RESULTS and FOLDER are needed")
    elif not report(args.results, args.folder):
        sys.exit(1)


if __name__ == "__main__":
    main()
