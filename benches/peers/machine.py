"""machine.py OUT [COMMIT]: writes what the figures were measured on, and of which commit; HEAD without one."""
import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def line(command, start=""):
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(found.removeprefix(start).strip() for found in lines if found.startswith(start))


cpu = {name: line(["lscpu"], name + ":") for name in ["Model name", "CPU family", "Model", "L1d cache", "L2 cache", "L3 cache"]}
machine = {
    "CPU": f"{cpu['Model name']}, family {cpu['CPU family']}, model {cpu['Model']}, {os.cpu_count()} CPUs",
    "caches": f"L1d {cpu['L1d cache']}, L2 {cpu['L2 cache']}, L3 {cpu['L3 cache']}",
    "hypervisor": line(["systemd-detect-virt"]) if Path("/usr/bin/systemd-detect-virt").exists() else "not known",
    "kernel": platform.release(),
    "compiler": line(["rustc", "--version"]),
    "commit": line(["git", "rev-parse", "--short", *(sys.argv[2:] or ["HEAD"])]),
}
Path(sys.argv[1]).write_text(json.dumps(machine, indent=1) + "\n")
