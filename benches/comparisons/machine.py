"""machine.py OUT TABLES [COMMIT]: writes what figures were measured on, and of which commit; HEAD without one.

TABLES is whose commit it is, `roofline`, `scaling` or `peers`; those of the others stay."""
import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def line(command, start=""):
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(found.removeprefix(start).strip() for found in lines if found.startswith(start))


out, tables, *commit = sys.argv[1:]
out = Path(out)
before = json.loads(out.read_text()) if out.exists() else {}
of = {kind: f"commit of {kind}" for kind in ["roofline", "scaling", "peers"]}
cpu = {name: line(["lscpu"], name + ":") for name in ["Model name", "CPU family", "Model", "L1d cache", "L2 cache", "L3 cache"]}
machine = {
    "CPU": f"{cpu['Model name']}, family {cpu['CPU family']}, model {cpu['Model']}, {os.cpu_count()} CPUs",
    "caches": f"L1d {cpu['L1d cache']}, L2 {cpu['L2 cache']}, L3 {cpu['L3 cache']}",
    "hypervisor": line(["systemd-detect-virt"]) if Path("/usr/bin/systemd-detect-virt").exists() else "not known",
    "kernel": platform.release(),
    "compiler": line(["rustc", "--version"]),
    **{key: before[key] for key in of.values() if key in before},
    of[tables]: line(["git", "rev-parse", "--short", *(commit or ["HEAD"])]),
}
out.write_text(json.dumps(machine, indent=1) + "\n")
