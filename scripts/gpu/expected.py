"""What the kernels should take on an H100 or H200, from launches, waves and latency: estimates, made before any
measurement. scripts/gpu/report.py puts them beside what is measured.

    expected.py                        prints the tables
    expected.py --check docs/cuda.md   fails if the document's tables, between its markers, are others
    expected.py --write docs/cuda.md   writes them there

docs/cuda.md has bounds: bytes and arithmetic that no kernel can avoid. This model adds what bounds leave out: that a
multiprocessor works on whole blocks, that few warps cannot issue an instruction in every cycle, that a chain of
dependent instructions has a latency, and that a launch costs time even in a graph.
"""
import argparse
import math
import re
import sys
from pathlib import Path

# --- the cards

SMS = 132  # multiprocessors of both
CLOCK = 1755e6  # cycles per second under a load that lasts; the highest is 1980
COPY = {"h100": 3.0e12, "h200": 4.3e12}  # bytes per second that a copy reaches, of 3.35 and 4.8 that the memory has
L2_RATE = 6.0e12  # bytes per second from the L2 cache to all multiprocessors, as microbenchmarks find, about
SCHEDULERS = 4  # of a multiprocessor; each issues at most one instruction of a warp in a cycle

# A kernel in a graph that does next to nothing: its node, its start on all multiprocessors, and its end.
NODE = 2.0e-6

# Latencies in cycles. A load takes about 270 from the L2 cache and 600 from memory; 420 is for a mix of the two, with
# the widening and the store to shared memory that wait for it.
MEMORY, MIXED = 600, 420

# Instructions per cycle of a scheduler with so many warps whose instructions depend on one another now and then.
RATE = {1: 0.7, 2: 0.85}
MANY = 0.9  # with three or more

# Short kernels do not keep the memory busy at their start and end.
STREAM = 0.85

# --- the models

MODELS = {"130m": (768, 1536, 48, 24), "2.8b": (2560, 5120, 160, 64)}  # d_model, d_inner, dt_rank, layers
STATES, TAPS, VOCAB = 16, 4, 50280

# --- the kernels. Blocks per multiprocessor are those of sm_90 in docs/cuda-report.md.

# mk_linear_exact_128 per four k and warp: 256 multiply-adds, 16 loads from shared memory, and what copies the next
# tile and counts: 256 is 85 % of it. 8 warps a block, 2 a scheduler. Shared memory is busy for 8 x 16 x 2 = 256 of
# these cycles, so it does not limit.
EXACT_128 = {"tile": 128, "resident": 2, "step": 2 * 301}
# mk_linear_exact_64 per four k and warp: 64 multiply-adds, 8 loads, about 23 others: 95. Shared memory is busy for
# 8 x 8 x 2 = 128 cycles, as long as the multiply-adds take, and the copies add to it. In two of four steps each thread
# loads a part of the next tile and needs it at the end of the step: with one block the latency shows. 40 is a barrier.
EXACT_64 = {"tile": 64, "resident": 3, "step": 2 * 95}
EXACT_64_ALONE = (2 * MIXED + 2 * EXACT_64["step"] + 40) / 4
# mk_linear_few_rows: a sum is one chain. A multiply-add takes 4 cycles; loads from shared memory every 8 k, not far
# enough ahead, make it 6 to 7.
FEW_CYCLES, FEW_RESIDENT, FEW_OUTPUTS, FEW_ROWS = 6.5, 5, 16, 8
# mk_linear_tensor_cores per 16 k and warp: 24 wavefronts of shared memory for ldmatrix, 8 for the copies, beside 16
# products of about 6.5 cycles on one of four tensor cores (mma.sync reaches 62 % of them): 256 cycles a block of 8
# warps against 208. A tenth more for barriers.
TENSOR = {"tile": 128, "resident": 2, "step": 256 / 0.9}
# mk_causal_conv1d: instructions per thread (4 channels) and row, 128 threads with 64 rows at most.
CONV_INSTRUCTIONS, CONV_CHANNELS, CONV_ROWS, CONV_WARPS = 4 * 51, 512, 64, 4
# mk_scan_exact_4: instructions per thread and token, of which 64 are the recurrence, the others staging, softplus and
# gate. 16 channels and 2 warps a block.
SCAN_INSTRUCTIONS, SCAN_CHANNELS, SCAN_WARPS, SCAN_RESIDENT, CHUNK_ROWS = 101, 16, 2, 8, 128
CHUNKED = 1.75  # times the instructions, over both passes
# A scan of one token: the span, then states and inputs, then the gate; and about 300 instructions.
SCAN_START = 2 * MEMORY + 500
# A convolution of one token: the span, then inputs and states; and SiLU.
CONV_START = 2 * MEMORY + 200
# mk_rms_norm: a load, channels / 16 dependent sums of about 6 cycles, tree, division and square root, 16 blocks.
NORM_RESIDENT, NORM_START = 16, MEMORY + 400
EMBEDDING_START = 2 * MEMORY


class Estimate:
    def __init__(self, kernel, blocks, limit, seconds):
        self.kernel, self.blocks, self.limit, self.us = kernel, blocks, limit, seconds * 1e6


def largest(terms):
    """The name of the largest time, and that time."""
    name = max(terms, key=terms.get)
    return name, terms[name]


def ceil_div(a, b):
    return -(-a // b)


def issue(warps, instructions):
    """Seconds until the busiest scheduler has issued the instructions of its warps."""
    most = ceil_div(warps, SMS * SCHEDULERS)
    return most * instructions / RATE.get(most, MANY) / CLOCK


def tiled(kernel, rows, k, n, card, input_bytes):
    """A product in tiles. The multiprocessor with the most blocks decides; resident blocks share its units."""
    form = {"exact_128": EXACT_128, "exact_64": EXACT_64, "tensor_cores": TENSOR}[kernel]
    tile, resident = form["tile"], form["resident"]
    blocks = ceil_div(rows, tile) * ceil_div(n, tile)
    rounds = ceil_div(blocks, SMS)  # blocks that the busiest multiprocessor makes
    steps = ceil_div(k, 16) if kernel == "tensor_cores" else ceil_div(k, 16) * 4
    step, limit = rounds * form["step"], "issue" if kernel == "exact_128" else "shared memory"
    if kernel == "exact_64" and step < EXACT_64_ALONE:
        step, limit = EXACT_64_ALONE, "latency"
    if kernel == "tensor_cores" and rounds == 1 and blocks < SMS / 2:
        limit = "few blocks"
    output = 4 * rows * n
    # the sums of the last blocks of a multiprocessor are stored when nothing else is left to do
    exposed = output / COPY[card] * min(1, resident / rounds)
    moved = input_bytes * rows * k + 2 * n * k + output
    terms = {
        limit: steps * step / CLOCK + exposed,
        "memory": moved / COPY[card],
        "L2": blocks * tile * (input_bytes + 2) * k / L2_RATE + exposed,
    }
    limit, seconds = largest(terms)
    start = MEMORY * 2 / CLOCK  # the first tile, and the stores
    return Estimate(kernel, blocks, limit, NODE + start + seconds)


def product(rows, k, n, mode, card):
    if rows <= FEW_ROWS:
        blocks = ceil_div(n, FEW_OUTPUTS)
        waves = ceil_div(blocks, SMS * FEW_RESIDENT)
        moved = 2 * n * k + 4 * rows * (n + k)
        terms = {"chain of k": waves * k * FEW_CYCLES / CLOCK, "memory": moved / (COPY[card] * STREAM)}
        limit, seconds = largest(terms)
        return Estimate("few_rows", blocks, limit if seconds > NODE else "launch", NODE + seconds)
    if mode == "fast":
        found = tiled("tensor_cores", rows, k, n, card, 2)
        found.us += (NODE + 6 * rows * k / COPY[card]) * 1e6  # mk_convert: f32 to bf16
        return found
    large = ceil_div(rows, 128) * ceil_div(n, 128) >= SMS
    return tiled("exact_128" if large else "exact_64", rows, k, n, card, 4)


def convolution(channels, tokens, sequences, card):
    spans = sequences * ceil_div(tokens, CONV_ROWS)
    blocks = spans * ceil_div(channels, CONV_CHANNELS)
    rows = min(tokens, CONV_ROWS)
    states = 4 * sequences * (TAPS - 1) * channels * (2 if tokens <= CONV_ROWS else 1)
    terms = {
        "issue": issue(blocks * CONV_WARPS, rows * CONV_INSTRUCTIONS),
        "memory": (8 * tokens * sequences * channels + states) / COPY[card],
    }
    limit, seconds = largest(terms)
    start = CONV_START / CLOCK
    nodes = 2 if tokens > CONV_ROWS else 1  # mk_causal_conv1d_state
    return Estimate("causal_conv1d", blocks, limit if seconds > start else "latency", nodes * NODE + start + seconds)


def scan(channels, tokens, sequences, mode, card):
    groups = ceil_div(channels, SCAN_CHANNELS)
    states = 4 * STATES * channels
    moved = 4 * tokens * sequences * (4 * channels + 2 * STATES) + states * (1 + 2 * sequences)
    start = SCAN_START / CLOCK
    if mode == "fast" and tokens > CHUNK_ROWS:
        chunks = sequences * ceil_div(tokens, CHUNK_ROWS)
        blocks = chunks * groups
        again = 4 * tokens * sequences * (2 * channels + STATES) + 4 * states * chunks  # the first pass; end states
        # whole waves do not matter: chunks are many
        work = CHUNKED * SCAN_INSTRUCTIONS * tokens * sequences * groups * SCAN_WARPS
        terms = {"issue": work / (SMS * SCHEDULERS * MANY) / CLOCK, "memory": (moved + again) / COPY[card]}
        limit, seconds = largest(terms)
        return Estimate("chunked", blocks, limit, 3 * (NODE + start) + seconds)
    blocks = sequences * groups
    waves = ceil_div(blocks, SMS * SCAN_RESIDENT)
    terms = {
        "issue": issue(blocks * SCAN_WARPS, tokens * SCAN_INSTRUCTIONS),
        "memory": moved / COPY[card],
        "latency": waves * start,
    }
    few = blocks * SCAN_WARPS < 2 * SMS * SCHEDULERS
    limit, seconds = largest(terms)
    limit = "few warps" if limit == "issue" and few else limit
    return Estimate("exact", blocks, limit, NODE + (start if limit != "latency" else 0) + seconds)


def estimate(op, model, tokens, sequences, mode="exact", card="h100"):
    d_model, d_inner, dt_rank, _ = MODELS[model]
    rows = tokens * sequences
    products = {
        "in_proj": (d_model, 2 * d_inner),
        "x_proj": (d_inner, dt_rank + 2 * STATES),
        "dt_proj": (dt_rank, d_inner),
        "out_proj": (d_inner, d_model),
        "lm_head": (d_model, VOCAB),
    }
    if op in products:
        return product(rows, *products[op], mode, card)
    if op == "causal_conv1d":
        return convolution(d_inner, tokens, sequences, card)
    if op == "selective_scan":
        return scan(d_inner, tokens, sequences, mode, card)
    if op == "rms_norm":
        start = (NORM_START + d_model / 16 * 6) / CLOCK
        terms = {"latency": ceil_div(rows, SMS * NORM_RESIDENT) * start, "memory": 8 * rows * d_model / COPY[card]}
        limit, seconds = largest(terms)
        return Estimate("rms_norm", rows, limit, NODE + seconds)
    if op == "embedding":
        terms = {"latency": EMBEDDING_START / CLOCK, "memory": 6 * rows * d_model / COPY[card]}
        limit, seconds = largest(terms)
        return Estimate("embedding", rows * ceil_div(d_model, 512), limit, NODE + seconds)
    raise KeyError(op)


def expected_us(op, model, tokens, sequences, mode="exact", card="h100"):
    """Microseconds of one call of an op, with f32 activations and bf16 weights; None for what the model lacks."""
    try:
        return estimate(op, model, tokens, sequences, mode, card).us
    except KeyError:
        return None


# What an H100 allows at best, as docs/cuda.md says: bytes and operations per second, and the four cycles of a dependent
# multiply-add at 1.98 GHz, of which a product has a chain of k.
BEST_BYTES, BEST_FLOPS, BEST_TENSOR, BEST_CHAIN = 3.35e12, 66.9e12, 989e12, 4 / 1.98e9


def bound_us(op, model, tokens, sequences, mode="exact"):
    """The least time of a call: bytes that must move once, arithmetic, or the chain of a sum."""
    d_model, d_inner, dt_rank, _ = MODELS[model]
    rows = tokens * sequences
    shapes = {"in_proj": (d_model, 2 * d_inner), "x_proj": (d_inner, dt_rank + 2 * STATES), "dt_proj": (dt_rank, d_inner),
              "out_proj": (d_inner, d_model), "lm_head": (d_model, VOCAB)}
    if op in shapes:
        k, n = shapes[op]
        fast = mode == "fast" and rows > FEW_ROWS
        residual = 4 * rows * n if op == "out_proj" else 0
        moved = 2 * n * k + 4 * rows * (n + k) + residual + (4 * rows * k if fast else 0)  # mk_convert: 2 bytes out and in
        flops = 2 * rows * k * n / (BEST_TENSOR if fast else BEST_FLOPS)
        return max(moved / BEST_BYTES, flops, 0 if fast else k * BEST_CHAIN) * 1e6
    states = 4 * STATES * d_inner
    moved = {
        "causal_conv1d": 8 * rows * d_inner + 8 * sequences * (TAPS - 1) * d_inner,
        "selective_scan": 4 * rows * (4 * d_inner + 2 * STATES) + states * (1 + 2 * sequences),
        "rms_norm": 8 * rows * d_model,
    }[op]
    return moved / BEST_BYTES * 1e6


LAYER = ["rms_norm", "in_proj", "causal_conv1d", "x_proj", "dt_proj", "selective_scan", "out_proj"]


def model_us(model, tokens, sequences, mode="exact", card="h100"):
    """Microseconds of all layers, the embedding, the last norm and the head, on the GPU alone."""
    layer = sum(expected_us(op, model, tokens, sequences, mode, card) for op in LAYER)
    once = expected_us("embedding", model, tokens, sequences, mode, card)
    ends = sum(expected_us(op, model, 1, sequences, mode, card) for op in ["rms_norm", "lm_head"])
    return MODELS[model][3] * layer + once + ends


# --- the tables

PHASES = [("A prefill of 2048 tokens, one sequence", 2048, 1), ("A decode step of one sequence", 1, 1)]
PHASES += [("A decode step of 64 sequences", 1, 64)]


def show(value):
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def table(tokens, sequences):
    lines = ["| per layer, us | 130m: blocks | bound | limit | expected | 2.8b: blocks | bound | limit | expected |"]
    lines.append("|---" * 9 + "|")
    ops = LAYER + ([] if tokens > 1 else ["lm_head"])
    for op in ops:
        modes = ["exact"]
        if expected_us(op, "130m", tokens, sequences) != expected_us(op, "130m", tokens, sequences, "fast"):
            modes.append("fast")
        for mode in modes:
            found = [estimate(op, model, tokens, sequences, mode) for model in MODELS]
            kernel = "" if op in ("rms_norm", "causal_conv1d") else f", {found[0].kernel}"
            if found[0].kernel != found[1].kernel:
                kernel = f", {found[0].kernel} and {found[1].kernel}"
            bounds = [bound_us(op, model, tokens, sequences, mode) for model in MODELS]
            cells = [f"{e.blocks} | {show(b)} | {e.limit} | {show(e.us)}" for e, b in zip(found, bounds)]
            lines.append(f"| `{op}`{kernel} | {' | '.join(cells)} |")
    for mode in ["exact", "fast"]:
        cells = []
        for model in MODELS:
            us = model_us(model, tokens, sequences, mode)
            cells.append(f"| | {tokens * sequences / us * 1e6:.0f} tokens/s | {us * 1e-3:.2f} ms")
        if tokens * sequences > FEW_ROWS or mode == "exact":
            lines.append(f"| whole model, {mode} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables():
    return "\n\n".join(f"{title}:\n\n{table(tokens, sequences)}" for title, tokens, sequences in PHASES)


MARKED = re.compile(r"(<!-- expected:begin -->\n).*?(<!-- expected:end -->)", re.S)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, metavar="DOCUMENT")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT")
    args = parser.parse_args()
    document = args.check or args.write
    if document is None:
        print(tables())
        return
    text = document.read_text()
    new, count = MARKED.subn(lambda match: f"{match[1]}{tables()}\n{match[2]}", text)
    if count != 1:
        sys.exit(f"{document} has not exactly one pair of markers")
    if args.write:
        document.write_text(new)
    elif new != text:
        sys.exit(f"{document} has other tables: run scripts/gpu/expected.py --write {document}")


if __name__ == "__main__":
    main()
