"""Runs one piece of work by every peer in turns and records each time.

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


def peers(section, rust, model):
    python = [sys.executable, "worker_torch.py"]
    threads = ["--threads", THREADS]
    if section == "products":
        return {
            "mamba-kernels": [rust / "ours", THREADS],
            "mamba-kernels, bf16 dots": [rust / "ours", THREADS, "bf16dot"],
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
        jobs = [(name, peer) for name in sorted({n for p in running for n in p.work}) for peer in running if name in peer.work]
        times = {(name, peer.name): [] for name, peer in jobs}
        for name, peer in jobs:
            peer.ask(f"time {name}")  # warms up
        begin, rounds = time.monotonic(), 0
        while rounds < 3 or (rounds < 9 and time.monotonic() - begin < args.seconds):
            for name, peer in jobs:
                times[name, peer.name].append(peer.ask(f"time {name}")["seconds"])
            rounds += 1
    finally:
        for peer in running:
            peer.process.kill()
    home = str(Path.home())
    rows = [
        {
            "work": name, "peer": peer.name, "threads": args.threads, "version": peer.version, "rounds": rounds,
            "median": float(f"{statistics.median(times[name, peer.name]):.4g}"),
            "lowest": float(f"{min(times[name, peer.name]):.4g}"),
            "highest": float(f"{max(times[name, peer.name]):.4g}"),
            "command": " ".join(Path(part).name if part.startswith(home) or "/" in part else part for part in peer.command),
        }
        for name, peer in jobs
    ]  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    for row in rows:
        print(f"{row['work']:20} {row['peer']:16} {row['median']:.4g} s ({row['lowest']:.4g} to {row['highest']:.4g})")


if __name__ == "__main__":
    main()
