"""The CPU of this machine, and the folder of its records.

machine.py RECORDS                   prints the folder of this CPU below RECORDS
machine.py RECORDS KIND FILE...      copies the files there, and notes what they were measured on and of which commit

KIND is what is recorded: `roofline`, `scaling`, `pathologies` or `peers`; what is noted of the others stays, and so do
`notes`, which are written by hand.
"""
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["roofline", "scaling", "pathologies", "peers"]
# vendor, family, models, name of the folder, title; on Arm implementer, none, part numbers
CPUS = [
    ("AuthenticAMD", 23, [*range(0x01, 0x30)], "amd-zen", "AMD Zen"),
    ("AuthenticAMD", 23, [*range(0x30, 0x100)], "amd-zen2", "AMD Zen 2"),
    ("AuthenticAMD", 25, [*range(0x00, 0x10), *range(0x20, 0x60)], "amd-zen3", "AMD Zen 3"),
    ("AuthenticAMD", 25, [*range(0x10, 0x20), *range(0x60, 0x80), *range(0xA0, 0xB0)], "amd-zen4", "AMD Zen 4"),
    ("AuthenticAMD", 26, [*range(0x00, 0x50), *range(0x60, 0x80)], "amd-zen5", "AMD Zen 5"),
    ("GenuineIntel", 6, [0x3F, 0x4F, 0x56], "intel-haswell-broadwell", "Intel Haswell or Broadwell"),
    ("GenuineIntel", 6, [0x55], "intel-skylake-sp", "Intel Skylake or Cascade Lake"),
    ("GenuineIntel", 6, [0x6A, 0x6C], "intel-ice-lake", "Intel Ice Lake"),
    ("GenuineIntel", 6, [0x8F], "intel-sapphire-rapids", "Intel Sapphire Rapids"),
    ("GenuineIntel", 6, [0xCF], "intel-emerald-rapids", "Intel Emerald Rapids"),
    ("GenuineIntel", 6, [0xAD, 0xAE], "intel-granite-rapids", "Intel Granite Rapids"),
    ("0x41", None, [0xD0C], "arm-neoverse-n1", "Arm Neoverse N1"),
    ("0x41", None, [0xD40], "arm-neoverse-v1", "Arm Neoverse V1"),
    ("0x41", None, [0xD49], "arm-neoverse-n2", "Arm Neoverse N2"),
    ("0x41", None, [0xD4F], "arm-neoverse-v2", "Arm Neoverse V2"),
]


def identify(vendor, family, model, text):
    """Name of the folder and title; those of a CPU that the table lacks come from what it calls itself."""
    for of_vendor, of_family, models, name, title in CPUS:
        if (vendor, family) == (of_vendor, of_family) and model in models:
            return name, title
    title = re.sub(r"\(\w+\)|@.*|\b(CPU|Processor|\d+-Core)\b", " ", text)
    title = " ".join(title.split()) or "unknown CPU"
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"), title


def output(*command):
    """The lines that a command prints; none if it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def number(text):
    return int(text, 0) if text else None


def this_cpu():
    """Vendor, family, model and name, as the system tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n")[0].splitlines() if cpuinfo.exists() else []
    facts = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    text = facts.get("model name") or next(iter(output("sysctl", "-n", "machdep.cpu.brand_string")), platform.processor())
    if "CPU part" in facts:
        return facts["CPU implementer"], None, number(facts["CPU part"]), text or "arm"
    return facts.get("vendor_id", ""), number(facts.get("cpu family")), number(facts.get("model")), text


def caches():
    found = dict(line.split(":", 1) for line in output("lscpu") if " cache:" in line)
    sizes = {name.removesuffix(" cache"): size.strip() for name, size in found.items()}
    return ", ".join(f"{name} {size}" for name, size in sizes.items() if name != "L1i")


def describe(before):
    vendor, family, model, text = this_cpu()
    _, title = identify(vendor, family, model, text)
    virtual = output("systemd-detect-virt", "--vm")
    return {
        "title": title,
        "identity": [vendor, family, model, text],
        "CPU": f"{text}, {vendor}, family {family}, model {model}, {os.cpu_count()} CPUs",
        "caches": caches() or "not known",
        "hypervisor": virtual[0] if virtual else "not known",
        "kernel": platform.release(),
        "compiler": (output("rustc", "--version") or ["not known"])[0],
        "recorded": before.get("recorded", {}),
        "notes": before.get("notes", []),
    }


def merge_works(path, new):
    """What a case costs is the same on every machine; not every machine runs every case."""
    before = json.loads(path.read_text()) if path.exists() else []
    case = lambda work: tuple(work[key] for key in ["kernel", "shape", "dtype", "mode"])  # noqa: E731
    works = {case(work): work for work in [*before, *new]}
    path.write_text("[\n" + ",\n".join(json.dumps(work, separators=(",", ":")) for work in works.values()) + "\n]\n")


def main():
    if len(sys.argv) < 2 or (len(sys.argv) > 2 and (sys.argv[2] not in KINDS or len(sys.argv) == 3)):
        raise SystemExit(__doc__)
    records, kind, files = Path(sys.argv[1]), sys.argv[2:3], sys.argv[3:]
    folder = records / identify(*this_cpu())[0]
    if not kind:
        print(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "machine.json"
    machine = describe(json.loads(path.read_text()) if path.exists() else {})
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    changed = " with changes" if output("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "benches") else ""
    machine["recorded"][kind[0]] = {
        "date": datetime.date.today().isoformat(),
        "version": version,
        "commit": (output("git", "rev-parse", "--short", "HEAD") or ["not known"])[0] + changed,
    }
    machine["recorded"] = {name: machine["recorded"][name] for name in KINDS if name in machine["recorded"]}
    for file in files:
        if Path(file).name == "works.json":
            merge_works(records / "works.json", json.loads(Path(file).read_text()))
        else:
            shutil.copy(file, folder)
    path.write_text(json.dumps(machine, indent=1) + "\n")
    print(f"recorded {kind[0]} in {folder}")


if __name__ == "__main__":
    main()
