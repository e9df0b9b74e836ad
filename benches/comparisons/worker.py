"""A peer as a process: a line on standard input names a piece of work, the answer is one JSON line.

`time NAME` runs the work often enough to take a twentieth of a second and answers the seconds of one run;
`logits` answers the last logits after a few tokens, by which the peers prove that they compute the same.
"""
import json
import sys
import time

# name: tokens, input features, output features
PRODUCTS = {
    "in_proj_m1": (1, 768, 3072), "in_proj_m8": (8, 768, 3072), "in_proj_m512": (512, 768, 3072),
    "in_proj_m2048": (2048, 768, 3072), "out_proj_m512": (512, 1536, 768), "x_proj_m512": (512, 1536, 80),
    "dt_proj_m512": (512, 48, 1536), "lm_head_m1": (1, 768, 50280),
}  # fmt: skip
BF16_PRODUCTS = ["in_proj_m512", "lm_head_m1"]

CHECK = [(i * 11 + 3) % 50280 for i in range(8)]


def prompt(length):
    return [(i * 97 + 7) % 50280 for i in range(length)]


def serve(version, work, logits=None):
    """`work` maps a name to a function and the number of units that one call does."""
    print(json.dumps({"version": version, "work": sorted(work)}), flush=True)
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        if command == "logits":
            print(json.dumps({"logits": logits() if logits else None}), flush=True)
            continue
        run, units = work[name]
        start = time.perf_counter()
        run()
        once = time.perf_counter() - start
        repeats = max(1, min(int(0.05 / once), 10_000))
        if repeats > 1:
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            once = (time.perf_counter() - start) / repeats
        print(json.dumps({"seconds": once / units}), flush=True)
