"""Runs one piece of work by every peer in turns and records each time, and its ratio to ours in the same round.

One process per peer; all but the one that is timed are stopped, so that no one's waiting threads disturb another.
Before the model is timed the peers' logits after a few tokens are compared: the work is the same.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


class Peer:
    def __init__(self, name, command):
        self.name, self.command = name, [str(part) for part in command]
        environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        environment["RAYON_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = str(THREADS)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment, cwd=HERE,
        )  # fmt: skip
        hello = self.answer()
        self.version, self.work = hello["version"], hello["work"]
        self.process.send_signal(signal.SIGSTOP)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {' '.join(self.command)}")
        return json.loads(line)

    def ask(self, line):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        found = self.answer()
        self.process.send_signal(signal.SIGSTOP)
        return found


def has_bf16_dots():
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


def peers(section, rust, model):
    python = [sys.executable, "worker_torch.py"]
    threads = ["--threads", THREADS]
    if section == "products":
        # emulated, the dot products are slower than exact ones
        dots = {"mamba-kernels, bf16 dots": [rust / "ours", THREADS, "bf16dot"]} if has_bf16_dots() else {}
        return {
            "mamba-kernels": [rust / "ours", THREADS],
            **dots,
            "MKL": [*python, "mkl", *threads],
            "oneDNN, packed": [*python, "onednn", *threads],
            "OpenBLAS": [*python, "openblas", *threads],
            "gemm": [rust / "products", THREADS, "gemm"],
            "faer": [rust / "products", THREADS, "faer"],
            "ggml": [sys.executable, "worker_ggml.py", *threads],
        }
    if section == "ops":
        return {"mamba-kernels": [rust / "ours", THREADS], "PyTorch": [*python, "ops", *threads]}
    dtype = section.split("-")[1]
    folder = model / dtype
    found = {
        "mamba-kernels": [rust / "ours", THREADS, folder],
        "llama.cpp": [sys.executable, "worker_llama.py", f"{folder}.gguf", *threads],
        "transformers": [*python, "model", *threads, "--model", folder],
        "transformers, compiled": [*python, "compiled", *threads, "--model", folder],
    }
    if dtype == "f32":
        found["candle"] = [rust / "candle", THREADS, folder]
        found["mamba-rs"] = [rust / "mamba_rs", THREADS, folder]
    return found


def same_logits(running, tolerance):
    logits = {peer.name: peer.ask("logits")["logits"] for peer in running}
    ours = logits["mamba-kernels"]
    for name, theirs in logits.items():
        worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / max(map(abs, ours))
        print(f"logits of {name}: {worst:.1e} from ours")
        if worst > tolerance:
            raise SystemExit(f"{name} computes something else")


def rounded(value):
    return float(f"{value:.4g}")


def percentile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    return values[below] + (values[min(below + 1, len(values) - 1)] - values[below]) * (place - below)


def is_ours(peer):
    return peer.startswith("mamba-kernels")


def ours(name, times):
    """The times of this crate at the same work, in the faster of its modes; nothing of itself or where it has none."""
    base = "conv" if name == "conv_compiled" else name
    found = [t for (work, peer), t in times.items() if work == base and is_ours(peer)]
    return min(found, key=statistics.median, default=None)


def row(name, peer, times, threads):
    of_peer, of_ours = times[name, peer.name], ours(name, times)
    home = str(Path.home())
    found = {
        "work": name, "peer": peer.name, "threads": threads, "version": peer.version, "rounds": len(of_peer),
        "median": rounded(statistics.median(of_peer)), "lowest": rounded(min(of_peer)), "highest": rounded(max(of_peer)),
        "command": " ".join(Path(part).name if part.startswith(home) or "/" in part else part for part in peer.command),
    }  # fmt: skip
    if of_ours and not is_ours(peer.name):
        ratios = [theirs / own for theirs, own in zip(of_peer, of_ours, strict=True)]
        found["ratio"] = rounded(statistics.median(ratios))
        found["ratio_spread"] = [rounded(percentile(ratios, share)) for share in (0.1, 0.9)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=["products", "ops", "model-f32", "model-bf16"])
    parser.add_argument("--rust", type=Path, required=True, help="folder of the built Rust peers")
    parser.add_argument("--model", type=Path, required=True, help="what make_model.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=60, help="time after which no further round begins")
    args = parser.parse_args()
    global THREADS
    THREADS = str(args.threads)
    commands = peers(args.section, args.rust.resolve(), args.model.resolve())
    running = [Peer(name, command) for name, command in commands.items()]
    try:
        if args.section.startswith("model"):
            same_logits(running, 1e-4 if "f32" in args.section else 0.1)
        # what a peer does too; the convolution is compared with a compiled one as well
        wanted = {name for peer in running if not is_ours(peer.name) for name in peer.work}
        wanted |= {"conv"} if "conv_compiled" in wanted else set()
        jobs = [(name, peer) for name in sorted(wanted) for peer in running if name in peer.work]
        times = {(name, peer.name): [] for name, peer in jobs}
        for name, peer in jobs:
            peer.ask(f"time {name}")  # warms up
        begin, rounds = time.monotonic(), 0
        while rounds < 3 or (rounds < 15 and time.monotonic() - begin < args.seconds):
            for name, peer in jobs:
                times[name, peer.name].append(peer.ask(f"time {name}")["seconds"])
            rounds += 1
    finally:
        for peer in running:
            peer.process.kill()
    rows = [row(name, peer, times, args.threads) for name, peer in jobs]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    for found in rows:
        ends = f"({found['lowest']:.4g} to {found['highest']:.4g})"
        print(f"{found['work']:20} {found['peer']:24} {found['median']:.4g} s {ends} {found.get('ratio', '')}")


if __name__ == "__main__":
    main()
