"""Fetches the peers that scripts/gpu/peers.py times: sources of mamba-ssm and causal-conv1d, pinned by their hashes.

    fetch_peers.py FOLDER

Leaves in FOLDER what is needed of them, unchanged, with their licences; empty __init__.py files; and stubs of two small
packages that their modules import, used only where the packages are missing. Downloads nothing if all is there.
"""
import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath

# name on the index, file, sha256, and what of it goes where: a prefix of paths in the archive, a folder
SOURCES = [
    (
        "mamba-ssm",
        "mamba_ssm-2.3.2.post1.tar.gz",
        "104cc47e9101e5401a675fa2b784f2952b9b037f3b1dd83b5ac544394e95d028",
        {
            "LICENSE": "mamba_ssm/LICENSE",
            "mamba_ssm/ops/triton/selective_state_update.py": "mamba_ssm/ops/triton/selective_state_update.py",
            "mamba_ssm/ops/triton/softplus.py": "mamba_ssm/ops/triton/softplus.py",
            "mamba_ssm/ops/triton/layer_norm.py": "mamba_ssm/ops/triton/layer_norm.py",
            # layer_norm.py imports these two
            "mamba_ssm/utils/torch.py": "mamba_ssm/utils/torch.py",
            "mamba_ssm/utils/determinism.py": "mamba_ssm/utils/determinism.py",
            "csrc/selective_scan/": "selective_scan/",
        },
    ),
    (
        "causal-conv1d",
        "causal_conv1d-1.7.0.tar.gz",
        "3202758494eaa7b597ce1c282dfa188889506bfcb92cad3c407d26736bfcd32b",
        {"LICENSE": "causal_conv1d/LICENSE", "csrc/": "causal_conv1d/"},
    ),
]
EMPTY = ["mamba_ssm/__init__.py", "mamba_ssm/ops/__init__.py", "mamba_ssm/ops/triton/__init__.py"]
EMPTY += ["mamba_ssm/utils/__init__.py"]
# `stubs` goes to the end of the path: selective_state_update.py imports einops for its reference alone, and softplus.py
# and determinism.py compare the version of Triton.
STUBS = {
    "stubs/einops.py": '''def rearrange(*arguments, **sizes):
    raise ImportError("einops is not installed")


repeat = rearrange
''',
    "stubs/packaging/__init__.py": "",
    "stubs/packaging/version.py": '''import re


def parse(text):
    return tuple(int(number) for number in re.findall(r"[0-9]+", text.split("+")[0])[:3])
''',
}
MOST_BYTES = 2 << 20


def index_address():
    """The index that pip is configured for."""
    if address := os.environ.get("PIP_INDEX_URL"):
        return address
    found = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    )
    if found.returncode == 0 and found.stdout.strip():
        return found.stdout.strip()
    from pip._internal.models.index import PyPI

    return PyPI.simple_url


def fetch(name, file, digest):
    page = index_address().rstrip("/") + f"/{name}/"
    with urllib.request.urlopen(page, timeout=60) as response:
        links = re.findall(r'href="([^"]+)"', response.read().decode())
    for link in links:
        address = urllib.parse.urljoin(page, link.replace("&amp;", "&")).split("#")[0]
        if address.rsplit("/", 1)[1] == file:
            with urllib.request.urlopen(address, timeout=60) as response:
                data = response.read()
            if hashlib.sha256(data).hexdigest() != digest:
                raise SystemExit(f"{file}: its hash is {hashlib.sha256(data).hexdigest()}, not {digest}")
            return data
    raise SystemExit(f"{file} is not among the {len(links)} files of {name} on the index")


def extract(data, wanted, folder):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        left = set(wanted)
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.is_absolute() or ".." in path.parts:
                continue
            inside = "/".join(path.parts[1:])  # without the folder of the archive
            for prefix, target in wanted.items():
                if inside == prefix or (prefix.endswith("/") and inside.startswith(prefix)):
                    to = folder / (target + inside[len(prefix) :])
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(archive.extractfile(member).read())
                    left.discard(prefix)
    if left:
        raise SystemExit(f"not in the archive: {', '.join(sorted(left))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    stamp, own = folder / "complete", Path(__file__).read_bytes()
    version = hashlib.sha256(own).hexdigest() + "\n"
    if stamp.exists() and stamp.read_text() == version:
        print(f"{folder} is complete")
        return
    archives = [(fetch(name, file, digest), wanted) for name, file, digest, wanted in SOURCES]
    for part in ["mamba_ssm", "selective_scan", "causal_conv1d", "stubs"]:  # what an older version left
        shutil.rmtree(folder / part, ignore_errors=True)
    for data, wanted in archives:
        extract(data, wanted, folder)
    for path, text in [*((path, "") for path in EMPTY), *STUBS.items()]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    files = [path for path in folder.rglob("*") if path.is_file() and "build" not in path.parts]
    total = sum(path.stat().st_size for path in files)
    if total > MOST_BYTES:
        raise SystemExit(f"{folder} has {total} bytes, more than {MOST_BYTES}")
    stamp.write_text(version)
    print(f"{folder}: {len(files)} files, {total} bytes")


if __name__ == "__main__":
    main()
