"""The pages and pictures of each CPU, and the figures that README.md and docs/benchmarks.md quote, from recorded files.

    report.py docs/benchmarks          writes them
    report.py docs/benchmarks --check  fails where one differs from what the recorded files give
    report.py --draw target            draws roofline.svg of the files that `cargo bench --bench roofline` wrote there
"""
import argparse
import json
import re
import textwrap
from pathlib import Path

import figures
import tables
from machine import identify

PAGES = Path(__file__).with_name("pages")
FILES = ["roofline", "ceilings", "roofline-2", "scaling", "pathologies", *(f"peers-{section}" for section in tables.SECTIONS)]
WORDS = {
    "roofline": "each kernel as a share of the machine's limit",
    "scaling": "time and memory as the length, batch, threads and width grow",
    "pathologies": "inputs that could be slow, each beside an ordinary twin",
    "comparisons": "the whole model, matrix products, scan and convolution, next to other implementations",
}


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


class Cpu:
    """A folder of records."""

    def __init__(self, folder):
        self.folder, self.machine = folder, load(folder / "machine.json")
        self.records = {name: rows for name in FILES if (rows := load(folder / f"{name}.json"))}
        self.title = self.machine["title"]
        self.peers = [section for section in tables.SECTIONS if f"peers-{section}" in self.records]
        self.pages = [p for p in WORDS if p in self.records or (p == "comparisons" and self.peers)]
        self.key = tables.key_figures(self.records)

    def latest(self):
        """The day of the last record."""
        return max(found["date"] for found in self.machine["recorded"].values())

    def recorded(self, kind):
        """What a page was measured on, and when."""
        found = self.machine["recorded"][kind]
        text = f"Recorded {found['date']} on {self.machine['CPU']}; mamba-kernels {found['version']} at commit {found['commit']}."
        return wrapped(" ".join([text, *self.machine.get("notes", [])]))

    def page(self, name):
        fields = {"title": self.title, "recorded": self.recorded("peers" if name == "comparisons" else name)}
        if name == "roofline":
            again, rows = self.records.get("roofline-2"), self.records["roofline"]
            fields |= {"roofline": tables.roofline_table(rows, again), "above": above(rows),
                       "ceilings": tables.ceilings_table(self.records["ceilings"])}  # fmt: skip
        elif name == "scaling":
            fields["scaling"] = tables.scaling_tables(self.records["scaling"])
        elif name == "pathologies":
            rows = self.records["pathologies"]
            slow = [row for row in rows if row["ratio"] > tables.SLOW]
            fields |= {"pathologies": tables.pathologies_table(rows), "slow": str(tables.SLOW), "all": str(len(rows)),
                       "count": str(len(slow)), "most": f"{max(row['ratio'] for row in rows):.2f}"}  # fmt: skip
        else:
            fields["sections"] = "\n\n".join(self.peer_section(section) for section in self.peers)
        return filled(name, fields)

    def peer_section(self, section):
        title, note, _ = tables.SECTIONS[section]
        picture = f"![{title}](peers-{section}.svg)"
        parts = [f"## {title}", note, picture, tables.peer_table(section, self.records[f"peers-{section}"])]
        return "\n\n".join(part for part in parts if part)

    def readme(self):
        facts = [f"- {name}: {self.machine[name]}" for name in ["CPU", "caches", "hypervisor", "kernel", "compiler"]]
        for kind, found in self.machine["recorded"].items():
            facts.append(f"- {kind}: {found['date']}, mamba-kernels {found['version']} at commit {found['commit']}")
        pages = [[f"[{page.capitalize()}]({page}.md)", WORDS[page]] for page in self.pages]
        return filled("README", {
            "title": self.title, "facts": "\n".join(facts), "notes": wrapped(" ".join(self.machine.get("notes", []))),
            "key": tables.table(["", self.title], [list(item) for item in self.key.items()]),
            "pages": tables.table(["page", "what it shows"], pages),
        })  # fmt: skip

    def outputs(self, works):
        """Every generated file, by path."""
        out = {self.folder / "README.md": self.readme()}
        out |= {self.folder / f"{page}.md": self.page(page) for page in self.pages}
        if "roofline" in self.records:
            rows, ceilings = self.records["roofline"], self.records["ceilings"]
            out[self.folder / "roofline.svg"] = figures.roofline(self.title, rows, ceilings, works)
        for section in self.peers:
            bars = tables.peer_bars(section, self.records[f"peers-{section}"])
            out[self.folder / f"peers-{section}.svg"] = figures.peers(bars)
        return out


def wrapped(text, width=120):
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def filled(name, fields):
    text = (PAGES / f"{name}.md").read_text()
    for field, value in fields.items():
        text = text.replace(f"{{{field}}}", value)
    return re.sub(r"\n{3,}", "\n\n", text)


def above(rows):
    """What the reader of a roofline should know of how its rows were measured."""
    old = any("fraction_spread" not in row for row in rows)
    text = "A point lies below its line by the share that was measured"
    if old:
        text += ". This record has no spread: the ceiling is the best of several windows, the kernel one window between them."
    else:
        text += ": windows of the line's loop and of the kernel in turns, so that a machine that is slower for a while slows both."
    texts = [text]
    if any(row["fraction"] > 1 for row in rows):
        text = "A kernel above 100 %, and above its line: the line is what a loop reaches that does nothing else, and in these"
        text += " rounds it was slower than the kernel."
        texts.append(text + (" Parts of some matrices were found in L3 instead of memory." if old else ""))
    return "\n".join(f"- {wrapped(text, 118)}".replace("\n", "\n  ") for text in texts)


def side_by_side(cpus):
    names = list(dict.fromkeys(name for cpu in cpus for name in cpu.key))
    head = ["", *(f"[{cpu.title}](benchmarks/{cpu.folder.name}/README.md)" for cpu in cpus)]
    lines = [[name, *(cpu.key.get(name, "") for cpu in cpus)] for name in names]
    pages = ["pages", *(", ".join(f"[{p}](benchmarks/{cpu.folder.name}/{p}.md)" for p in cpu.pages) for cpu in cpus)]
    latest = ["last recorded", *(cpu.latest() for cpu in cpus)]
    return tables.table(head, [*lines, latest, pages])


def short(cpus, docs):
    """What the README quotes: the best-covered CPU, the others as links."""
    best, *others = cpus
    rows = best.records["peers-model-f32"]
    link = lambda cpu: f"[{cpu.title}]({docs}/{cpu.folder.name}/README.md)"  # noqa: E731
    return "\n".join([
        f"On {link(best)}, {rows[0]['threads']} threads:", "", tables.short_peers(rows), "",
        f"![tokens per second, prefill and decode]({docs}/{best.folder.name}/peers-model-f32.svg)",
        *(["", "Also recorded: " + ", ".join(map(link, others)) + "."] if others else []),
    ])  # fmt: skip


def report(folder, check):
    works = load(folder / "works.json") or []
    cpus = [Cpu(path.parent) for path in sorted(folder.glob("*/machine.json"))]
    # the best covered first; of those that are alike the one that was recorded last
    cpus.sort(key=lambda cpu: (len(cpu.pages), cpu.latest()), reverse=True)
    outputs, wrong = {}, []
    for cpu in cpus:
        outputs |= cpu.outputs(works)
        if identify(*cpu.machine["identity"])[0] != cpu.folder.name:
            wrong.append(f"{cpu.folder.name}: the CPU of machine.json has another name")
        known = {path for path in outputs if path.parent == cpu.folder}
        known |= {cpu.folder / f"{name}.json" for name in [*FILES, "ceilings-2", "machine"]} | {cpu.folder / "scaling.svg"}
        wrong += [f"{path} belongs to no record" for path in cpu.folder.iterdir() if path not in known]
    root = folder.resolve().parents[1]
    quoted = {
        root / "README.md": {"peers-short": short(cpus, "docs/benchmarks")},
        root / "docs" / "benchmarks.md": {"cpus": side_by_side(cpus)},
    }
    for document, parts in quoted.items():
        text = document.read_text()
        for name, part in parts.items():
            text, count = re.subn(
                rf"<!-- generated: {name} -->\n.*?<!-- end -->",
                lambda _, name=name, part=part: f"<!-- generated: {name} -->\n{part}\n<!-- end -->", text, flags=re.S,
            )  # fmt: skip
            if count != 1:
                wrong.append(f"{document.name} has {count} places for {name}")
        outputs[document] = text
    for path, text in outputs.items():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(f"{path} differs from the recorded files: run benches/comparisons/report.py docs/benchmarks")
    if wrong:
        raise SystemExit("\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if not args.draw:
        return report(args.folder, args.check)
    rows, ceilings, works = (load(args.folder / f"{name}.json") for name in ["roofline", "ceilings", "works"])
    if rows:
        (args.folder / "roofline.svg").write_text(figures.roofline("this machine", rows, ceilings, works))
        print(f"wrote {args.folder / 'roofline.svg'}")


if __name__ == "__main__":
    main()
