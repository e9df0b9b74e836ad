"""Pictures as SVG text, of which the same records give the same bytes: the roofline of a CPU, and bars of peers."""
import math
from html import escape

COLOURS = {
    "multiply-adds": "#1f77b4", "bf16 dot products": "#17a2b8", "exponentials": "#e08214", "memory": "#c0392b",
    "L3": "#8e44ad", "L2": "#2e8b57", "L1": "#8a8a00",
}  # fmt: skip
LEVELS = ["L1", "L2", "L3", "memory"]


def show(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Drawing:
    def __init__(self, width, height):
        self.width, self.height = width, height
        self.parts = [f'<rect width="{width}" height="{height}" fill="white"/>']

    def line(self, points, colour="#000", width=1.0, dash="", opacity=1.0):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity}"{dashes}/>'
        )

    def rect(self, x, y, width, height, colour, opacity=1.0):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" opacity="{opacity}"/>'
        )

    def circle(self, x, y, radius, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def text(self, x, y, text, size=11, anchor="start", colour="#222", weight="normal", turn=0):
        turned = f' transform="rotate({turn:.1f} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}"{turned}>{escape(text)}</text>'
        )

    def finish(self):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif">'
        )
        return "\n".join([head, *self.parts, "</svg>"]) + "\n"


def colour_of(limit):
    return COLOURS.get(limit) or COLOURS[limit.split()[0]]


def label_of(row):
    """A case in words."""
    role, *sizes = row["shape"].split("_m", 1) if row["kernel"] == "linear" else (row["kernel"], row["shape"])
    text = f"m{sizes[0]}" if row["kernel"] == "linear" else sizes[0]
    found = {part.rstrip("0123456789"): part.lstrip("abcdefghijklmnopqrstuvwxyz") for part in text.split("_")}
    tokens = int(found.get("m") or found["l"])
    words = [role, f"{tokens} token" + ("s" if tokens > 1 else "")]
    if role in ("prefill", "decode"):
        words[0] = role + " of a model"
    elif "m" in found and "n" in found:
        words.append(f"{found['k']} to {found['n']}")
    else:
        words.append(f"{found['d']} channels" if "n" not in found else f"{found['d']} x {found['n']} states")
    if row["dtype"] != "f32":
        words.append(row["dtype"] + (" weights" if "to" in words[-1] or role in ("prefill", "decode") else ""))
    if row["mode"] != "exact":
        words.append("bf16 dots" if row["mode"] == "bf16dot" else row["mode"])
    return ", ".join(words)


class Plot:
    """Two logarithmic axes in a rectangle of a drawing."""

    def __init__(self, drawing, box, x, y):
        self.drawing, self.box, self.x, self.y = drawing, box, x, y
        self.taken = []

    def at(self, x, y):
        left, top, width, height = self.box
        share = lambda value, ends: math.log(value / ends[0]) / math.log(ends[1] / ends[0])  # noqa: E731
        return left + width * share(x, self.x), top + height * (1 - share(y, self.y))

    def axes(self, title, x_name, y_name):
        left, top, width, height = self.box
        d = self.drawing
        d.text(left, top - 10, title, 13, weight="bold")
        for ends, horizontal in [(self.x, True), (self.y, False)]:
            for power in range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1):
                value = 10.0**power
                if not ends[0] <= value <= ends[1]:
                    continue
                x, y = self.at(value, self.y[0]) if horizontal else self.at(self.x[0], value)
                if horizontal:
                    d.line([(x, top), (x, top + height)], "#ddd")
                    d.text(x, top + height + 14, f"{value:g}", 10, "middle")
                else:
                    d.line([(left, y), (left + width, y)], "#ddd")
                    d.text(left - 5, y + 4, f"{value:g}", 10, "end")
        d.line([(left, top), (left, top + height), (left + width, top + height)], "#444")
        d.text(left + width / 2, top + height + 30, x_name, 11, "middle")
        d.text(left - 34, top + height / 2, y_name, 11, "middle", turn=-90)

    def roof(self, level, rate, peak):
        """The bandwidth of a level, up to the peak."""
        first = max(self.x[0], self.y[0] / rate)
        if first * rate < peak:
            self.drawing.line([self.at(first, first * rate), self.at(peak / rate, peak)], colour_of(level), 1.3)

    def legend(self, title, entries):
        """In the lower right corner, which no roof lets a kernel of full speed come to."""
        left, top, width, height = self.box
        x, y = left + width - 118, top + height - 16 * len(entries) - 12
        self.drawing.rect(x - 8, y - 14, 126, 16 * len(entries) + 20, "white", 0.85)
        self.drawing.text(x, y, title, 10, weight="bold")
        for i, (level, text) in enumerate(entries):
            below = y + 16 * (i + 1)
            self.drawing.line([(x, below - 4), (x + 18, below - 4)], colour_of(level), 2)
            self.drawing.text(x + 24, below, f"{level} {text}", 10)

    def flat(self, name, peak, unit, start):
        x0, y0 = self.at(max(start, self.x[0]), peak)
        x1, _ = self.at(self.x[1], peak)
        self.drawing.line([(x0, y0), (x1, y0)], colour_of(name), 2)
        self.drawing.text(x1, y0 - 5, f"{name} {show(peak)} {unit}", 10, "end", colour_of(name))

    def point(self, number, x, y, colour):
        """A dot, and its number in a badge as near to it as others leave room."""
        px, py = self.at(x, y)
        self.drawing.circle(px, py, 2.5, colour)
        left, top, width, height = self.box
        spots = [(px, py + 1e-3)] + [
            (px + r * math.cos(turn * math.pi / 8), py + r * math.sin(turn * math.pi / 8))
            for r in range(14, 130, 6)
            for turn in range(16)
        ]
        inside = [(a, b) for a, b in spots[1:] if left + 8 < a < left + width - 8 and top - 2 < b < top + height - 8]
        free = [(a, b) for a, b in inside if all(math.hypot(a - c, b - d) > 16 for c, d in self.taken)]
        bx, by = (free or inside)[0]
        self.taken.append((bx, by))
        self.drawing.line([(px, py), (bx, by)], colour, 0.8)
        self.drawing.circle(bx, by, 7.5, colour)
        self.drawing.text(bx, by + 3.2, str(number), 9, "middle", "white", "bold")


def roofline(title, rows, ceilings, works):
    """What binds each kernel on the fastest instruction set of a record."""
    isa, most = rows[0]["isa"], max(row["threads"] for row in rows)
    rows = [row for row in rows if row["isa"] == isa]
    case = lambda row: (row["kernel"], row["shape"], row["dtype"], row["mode"])  # noqa: E731
    of_most = [row for row in rows if row["threads"] == most]
    kinds = ["multiply-adds", "bf16 dot products", "exponentials", "memory", "L3", "L2", "L1"]
    kind = lambda limit: limit if limit in kinds else limit.split()[0]  # noqa: E731
    ordered = [row for name in kinds for row in of_most if kind(row["limit"]) == name]
    number = {case(row): i + 1 for i, row in enumerate(ordered)}
    # bandwidth is measured with one instruction set, the widest
    fits = lambda c: c["threads"] == most and (c["isa"] == isa or c["ceiling"].split()[0] in LEVELS)  # noqa: E731
    rate = {c["ceiling"]: c["rate"] for c in ceilings if fits(c)}
    work = {case(w): w for w in works}
    peaks = {"multiply-adds": rate.get("multiply-adds"), "bf16 dot products": rate.get("bf16 dot products"),
             "exponentials": rate.get("exponentials", rate.get("exp"))}  # fmt: skip
    plotted = [row for row in ordered if case(row) in work and row["kernel"] != "rms_norm"]

    top = 60 if not plotted else 440
    height = top + 60 + 20 * len(ordered) + 26 * len({kind(row["limit"]) for row in ordered})
    d = Drawing(1000, height)
    threads = "1 thread" if most == 1 else f"{most} threads"
    d.text(20, 26, f"What binds each kernel: {title}, {isa}", 16, weight="bold")

    def place(plot, row, operations, traffic):
        cost = work[case(row)]
        both = cost["written"] >= 0.25 * cost["read"]
        intensity = operations / (cost["read"] + (cost["written"] if both else 0))
        intensity = min(max(intensity, plot.x[0] * 1.05), plot.x[1] / 1.05)
        level = row["limit"].split()[0]
        roof = peaks[row["limit"]] if row["limit"] in peaks else rate[f"{level} {traffic}"] * intensity
        plot.point(number[case(row)], intensity, max(row["fraction"] * roof, plot.y[0] * 1.05), colour_of(row["limit"]))

    if plotted:
        exps = [row for row in plotted if work[case(row)]["exps"]]
        products = [row for row in plotted if row not in exps]
        highest = max(peaks["multiply-adds"], peaks["bf16 dot products"] or 0)
        plot = Plot(d, (60, 70, 420, 310), (0.1, 1000.0), (peaks["multiply-adds"] / 100, highest * 1.6))
        plot.axes(f"Multiply-adds, {threads}", "operations per byte", "GFLOP/s")
        for level in LEVELS:
            plot.roof(level, rate[f"{level} read"], highest)
        plot.legend("reading", [(level, f"{show(rate[f'{level} read'])} GB/s") for level in LEVELS])
        for name in ["multiply-adds", "bf16 dot products"]:
            if peaks[name]:
                plot.flat(name, peaks[name], "GFLOP/s", peaks[name] / rate["L1 read"])
        for row in products:
            cost = work[case(row)]
            place(plot, row, cost["flops"] + cost["bf16_flops"], "read")
        peak = peaks["exponentials"]
        plot = Plot(d, (560, 70, 420, 310), (0.01, 10.0), (peak / 30, peak * 2))
        plot.axes(f"Exponentials, {threads}", "exponentials per byte", "Gexp/s")
        for level in LEVELS:
            plot.roof(level, rate[f"{level} copy"], peak)
        plot.legend("copying", [(level, f"{show(rate[f'{level} copy'])} GB/s") for level in LEVELS])
        plot.flat("exponentials", peak, "Gexp/s", peak / rate["L1 copy"])
        for row in exps:
            place(plot, row, work[case(row)]["exps"], "copy")

    bars(d, top, rows, ordered, number, case, kind, rate | peaks, most, threads)
    return d.finish()


def bars(d, top, rows, ordered, number, case, kind, rate, most, threads):
    """Each kernel's share of its own limit: a bar with all threads, a thin one with one."""
    left, width = 385, 400
    whole = left + width / 1.2
    d.text(20, top, "Share of its own limit", 13, weight="bold")
    d.text(left, top, f"thick: {threads}" + ("; thin: 1 thread" if most > 1 else "") + "; line: 10th to 90th percentile", 10)
    d.text(left + width + 8, top, "1 / " * (most > 1) + threads, 10)
    y, last = top + 8, None
    first = y
    for row in ordered:
        name = kind(row["limit"])
        if name != last:
            y += 26
            roof = f", {show(rate[name])} {row['unit']}" if rate.get(name) else ""
            d.text(20, y - 6, f"bound by {name}{roof}", 11, weight="bold", colour=colour_of(name))
            last = name
        of_case = {r["threads"]: r for r in rows if case(r) == case(row)}
        colour = colour_of(row["limit"])
        d.circle(28, y + 7, 7.5, colour)
        d.text(28, y + 10.2, str(number[case(row)]), 9, "middle", "white", "bold")
        d.text(42, y + 11, label_of(row), 11)
        for count, (offset, thickness) in {most: (1, 9), 1: (11, 4)}.items():
            if (count == 1 and most == 1 and thickness == 4) or count not in of_case:
                continue
            one = of_case[count]
            reach = lambda share: width / 1.2 * min(share, 1.2)  # noqa: E731
            d.rect(left, y + offset, reach(one["fraction"]), thickness, colour_of(one["limit"]), 1.0 if count == most else 0.5)
            if spread := one.get("fraction_spread"):
                middle = y + offset + thickness / 2
                d.line([(left + reach(share), middle) for share in spread], "#000", 1)
        shares = " / ".join(f"{100 * of_case[count]['fraction']:.0f}" for count in sorted(of_case))
        d.text(left + width + 8, y + 11, f"{shares} %", 11)
        d.text(left + width + 92, y + 11, f"{show(row['achieved'])} of {show(row['ceiling'])} {row['unit']}", 10)
        y += 20
    d.line([(whole, first + 4), (whole, y)], "#000", 1, "4 3")
    d.text(whole, y + 14, "100 %: the limit", 10, "middle")
    d.line([(left, first + 4), (left, y)], "#444", 1)


def peers(works):
    """Bars per work: a list of title and bars, each a name, a figure, its ends and whether it is ours."""
    columns = min(3, len(works))
    lines = -(-len(works) // columns)
    most = max(len(found) for _, found in works)
    panel, tall = 330, 34 + 22 * most
    d = Drawing(panel * columns, tall * lines + 6)
    for i, (title, found) in enumerate(works):
        x, y = panel * (i % columns) + 10, tall * (i // columns) + 18
        d.text(x, y, title, 11, weight="bold")
        names = 6.5 * max(len(name) for name, *_ in found) + 8
        room = panel - names - 66
        scale = room / max(high for _, _, (_, high), _ in found)
        for j, (name, figure, (low, high), ours) in enumerate(found):
            top = y + 8 + 22 * j
            d.text(x + names - 6, top + 12, name, 11, "end")
            d.rect(x + names, top, figure * scale, 16, "#1f77b4" if ours else "#bbbbbb")
            d.line([(x + names + low * scale, top + 8), (x + names + high * scale, top + 8)], "#333", 1.2)
            d.text(x + names + high * scale + 5, top + 12, show(figure), 11)
    return d.finish()
