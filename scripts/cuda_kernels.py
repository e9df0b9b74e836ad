"""The work of scripts/cuda-kernels.sh: compiles, reports, makes the embedded images. See there."""

import collections
import ctypes
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "cuda"
REPORT = ROOT / "docs" / "cuda-report.md"
NVIDIA = next(pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/nvidia"))
BIN = NVIDIA / "cu13" / "bin"
OLDER_NVCC = pathlib.Path(os.environ["OLDER_NVCC"])  # of CUDA 13.0
OLDER_FOR = 90  # the architecture that the report has it for
OPTIONS = ["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"]
IMAGES = [75, 80]  # compute capabilities that the embedded PTX is made for

# Of a multiprocessor: registers, KiB of shared memory, threads, blocks; KiB of shared memory that each block costs.
MACHINES = {
    75: (65536, 64, 1024, 16, 0),
    80: (65536, 164, 2048, 32, 1),
    86: (65536, 100, 1536, 16, 1),
    89: (65536, 100, 1536, 24, 1),
    90: (65536, 228, 2048, 32, 1),
    100: (65536, 228, 2048, 32, 1),
    120: (65536, 100, 1536, 24, 1),
}
STATED = [80, 90, 100]  # architectures on which a kernel must reach the blocks per multiprocessor of its KERNEL_BOUNDS

# Dynamic shared memory of a launch: cuda/args.h. RMSNorm for a row of 2560 channels.
DYNAMIC = {
    "mk_linear_exact_128": 32768,
    "mk_linear_exact_64": 16384,
    "mk_linear_tensor_cores_f16": 49152,
    "mk_linear_tensor_cores_bf16": 49152,
    "mk_rms_norm": 10240,
}

# The scan's loop over tokens: channel-states of one thread in an iteration, and the instructions that the formula
# needs for them. Per channel-state: delta * a, three for the integer and the fraction of the exponent, five fused
# multiply-adds for 2^x, one to scale, du * b, the state: 12; and the sum of y: 13. Then the loads: b and c four states
# at a time, a likewise if it lies in shared memory, delta with du per token. Then the sum over four lanes.
SCAN = {
    "mk_scan_exact_4": (16, 16 * 13 + 12 + (3 + 3 + 6 + 1), "4 tokens; 3 shuffles, 3 additions, 6 selections, 1 store"),
    "mk_scan_exact_16": (16, 16 * 13 + 13 + (2 + 2 + 1), "1 token; 2 shuffles, 2 additions, 1 store"),
    "mk_scan_chunk_4": (16, 16 * 12 + 8 + 4, "4 tokens; 4 additions to the sum of delta"),
    "mk_scan_chunk_16": (16, 16 * 12 + 9 + 1, "1 token; 1 addition to the sum of delta"),
}


def run(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def sources():
    """The kernels and their headers, without those of the executor: names and bytes, in order of the names."""
    paths = [path for path in SOURCES.rglob("*") if path.suffix in {".h", ".cuh", ".cu"}
             and "executor" not in path.relative_to(SOURCES).parts]
    return sorted((path.relative_to(SOURCES).as_posix(), path.read_bytes()) for path in paths)


def fingerprint():
    """FNV-1a of all names and texts, each followed by a zero byte: as src/cuda/driver/sources.rs computes it."""
    value = 0xCBF29CE484222325
    for part in (part for pair in sources() for part in (pair[0].encode(), pair[1])):
        for byte in part + b"\0":
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def make_cubin(architecture, target):
    """Machine code with the fingerprint, by the nvcc of CUDA 13.0."""
    define = f"-DMK_FINGERPRINT={fingerprint():#x}ull"
    run(OLDER_NVCC, *OPTIONS, define, f"-arch=sm_{architecture}", "-cubin", f"-I{SOURCES}", "-o", target,
        SOURCES / "kernels.cu")
    print(f"{target}: {pathlib.Path(target).stat().st_size} bytes for sm_{architecture}")


def compile_for(architecture, folder, nvcc=BIN / "nvcc"):
    """ptxas' report by kernel: registers, bytes of stack, spill stores, spill loads, static shared memory."""
    cubin = folder / f"sm_{architecture}.cubin"
    log = run(nvcc, *OPTIONS, f"-arch=sm_{architecture}", "-cubin", f"-I{SOURCES}", "-Xptxas", "-v", "-o", cubin,
              SOURCES / "kernels.cu")
    kernels, name = {}, None
    for line in log.splitlines():
        if "warning" in line or "error" in line:
            sys.exit(f"sm_{architecture}: {line}")
        if found := re.search(r"Function properties for (\S+)", line):
            name = found[1]
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            kernels[name] = [0, *map(int, found.groups()), 0]
        elif found := re.search(r"Used (\d+) registers", line):
            kernels[name][0] = int(found[1])
            if shared := re.search(r"(\d+) bytes smem", line):
                kernels[name][4] = int(shared[1])
    return cubin, kernels


def blocks_per_multiprocessor(architecture, threads, registers, shared):
    all_registers, kib, most_threads, most_blocks, reserved = MACHINES[architecture]
    warps = -(-threads // 32)
    per_warp = -(-registers * 32 // 256) * 256  # registers come in units of 256 per warp
    by_registers = all_registers // per_warp // 4 * 4 // warps  # and warps in fours
    cost = -(-shared // 128) * 128 + reserved * 1024
    by_shared = kib * 1024 // cost if cost else most_blocks
    return min(by_registers, by_shared, most_threads // threads, most_blocks)


def instruction_loops(cubin, kernel):
    """The innermost loops of a kernel's machine code, as lists of opcodes."""
    text = run(BIN / "nvdisasm", "-c", cubin)
    section = re.split(rf"\n\.text\.{kernel}:", text)[1].split("\n\t.section")[0]
    labels, opcodes, jumps = {}, [], []
    for line in section.splitlines():
        if found := re.match(r"(\.L_\S+):", line):
            labels[found[1]] = len(opcodes)
        elif found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\S+\s+)?([A-Z][A-Z0-9_.]*)(.*);", line):
            if found[1] == "BRA" and (target := re.search(r"\.L_\w+", found[2])) and target[0] in labels:
                jumps.append((labels[target[0]], len(opcodes)))
            opcodes.append(found[1].split(".")[0])
    inner = [j for j in jumps if not any(k != j and j[0] <= k[0] and k[1] <= j[1] for k in jumps)]
    return [opcodes[start : end + 1] for start, end in inner]


def scan_loop(cubin, kernel):
    """The loop over tokens for the case that all states exist and no exponent is out of range: the one with the
    most fused multiply-adds that has neither clamps nor conditions inside."""
    loops = [loop for loop in instruction_loops(cubin, kernel) if not {"FMNMX", "BSSY"} & set(loop)]
    return max(loops, key=lambda loop: loop.count("FFMA"))


def image(capability):
    """PTX of all kernels by the pinned NVRTC, without comments."""
    nvrtc = ctypes.CDLL(str(next((NVIDIA / "cuda_nvrtc" / "lib").glob("libnvrtc.so.*"))))
    headers = sources()
    texts = (ctypes.c_char_p * len(headers))(*[text for _, text in headers])
    names = (ctypes.c_char_p * len(headers))(*[name.encode() for name, _ in headers])
    program = ctypes.c_void_p()
    source = (SOURCES / "kernels.cu").read_bytes()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", len(headers), texts, names):
        sys.exit("nvrtcCreateProgram failed")
    options = [option.encode() for option in [*OPTIONS, f"--gpu-architecture=compute_{capability}"]]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))

    def text(what):
        size = ctypes.c_size_t()
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    if failed:
        sys.exit(text("ProgramLog"))
    lines = (line for line in text("PTX").splitlines() if line.strip() and not line.lstrip().startswith("//"))
    return "// made by scripts/cuda-kernels.sh from cuda/kernels.cu\n" + "\n".join(lines) + "\n"


def bounds(ptx):
    """Threads and least blocks per multiprocessor of each kernel: its KERNEL_BOUNDS."""
    pattern = r"\.visible \.entry (\w+)\([^)]*\)\s*\.maxntid (\d+), 1, 1\s*\.minnctapersm (\d+)"
    return {name: (int(threads), int(blocks)) for name, threads, blocks in re.findall(pattern, ptx)}


def release(nvcc):
    return run(nvcc, "--version").split("release ")[1].split(",")[0]


def report(compiled, older, kernel_bounds, images, problems):
    version, older_version = release(BIN / "nvcc"), release(OLDER_NVCC)
    out = ["# What the compilers say about the CUDA kernels", ""]
    out += [f"Made by `scripts/cuda-kernels.sh` with nvcc {version}, which CI repeats and compares. No GPU is involved.", ""]
    out += ["## Registers", ""]
    out += ["Per thread, by architecture. No kernel spills a register anywhere: bytes of stack, spill stores and spill",
            f"loads are 0 in every cell. The last column is by nvcc {older_version}.", ""]
    columns = [f"sm_{a}" for a in MACHINES] + [f"sm_{OLDER_FOR}, {older_version}"]
    out += ["| kernel | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    names = sorted(compiled[90][1])
    for name in names:
        row = []
        for column, kernels in zip(columns, [kernels for _, kernels in compiled.values()] + [older]):
            registers, *spills, _ = kernels[name]
            if any(spills):
                problems.append(f"{name} spills on {column}: {spills}")
            row.append(str(registers))
        out.append(f"| `{name}` | " + " | ".join(row) + " |")
    out += ["", "## Shared memory and occupancy", ""]
    out += ["Blocks per multiprocessor that registers, shared memory and threads allow, by architecture. *Stated* is what",
            "the kernel's bounds and header say: reached on " + ", ".join(f"sm_{a}" for a in STATED) + "; consumer GPUs have",
            "less shared memory or fewer threads. Shared memory in bytes; the dynamic part of `mk_rms_norm` is that of",
            "2560 channels.", ""]
    out += ["| kernel | threads | static | dynamic | stated | " + " | ".join(f"sm_{a}" for a in MACHINES) + " |"]
    out += ["|---" * (len(MACHINES) + 5) + "|"]
    for name in names:
        threads, stated = kernel_bounds[name]
        dynamic, row = DYNAMIC.get(name, 0), []
        for architecture, (_, kernels) in compiled.items():
            registers, *_, static = kernels[name]
            blocks = blocks_per_multiprocessor(architecture, threads, registers, static + dynamic)
            if architecture in STATED and blocks < stated:
                problems.append(f"{name} has {blocks} blocks per multiprocessor on sm_{architecture}, states {stated}")
            row.append(str(blocks))
        static = compiled[90][1][name][4]
        out.append(f"| `{name}` | {threads} | {static} | {dynamic} | {stated} | " + " | ".join(row) + " |")
    out += ["", "## Instructions of the scan", ""]
    out += ["The loop over tokens in the machine code of sm_90, by nvdisasm, for the case that all states of a lane exist",
            "and no exponent is out of range. *Needed* is what the formula needs: 13 instructions per channel and state (12",
            "without y): delta · a, three for the integer and the fraction of the exponent, five fused multiply-adds for 2^x,",
            "one to scale it, du · b, the state, and y; the loads of b and c, four states each, of a if shared memory has",
            "it, and of delta with du; and what joins the lanes. The rest is loop and addresses.", ""]
    out += ["| kernel | channel-states | instructions | per channel-state | needed | ratio | an iteration is |", "|---" * 7 + "|"]
    for name, (states, needed, what) in SCAN.items():
        loop = scan_loop(compiled[90][0], name)
        ratio = len(loop) / needed
        if loop.count("FFMA") != states * (7 if "exact" in name else 6) or ratio > 1.15:
            problems.append(f"{name}: {len(loop)} instructions, {needed} needed: {collections.Counter(loop)}")
        out.append(f"| `{name}` | {states} | {len(loop)} | {len(loop) / states:.1f} | {needed} | {ratio:.2f} | {what} |")
    out += ["", "## Embedded images", ""]
    out += ["PTX by NVRTC 12.0.76: PTX ISA 8.0, which drivers from 525 on know.", ""]
    out += ["| image | bytes | for |", "|---|---|---|"]
    for capability, text in images.items():
        target = "Turing; the tensor-core product traps" if capability == 75 else "sm_80 and later"
        out.append(f"| `cuda/ptx/mamba_kernels.compute_{capability}.ptx` | {len(text)} | {target} |")
    return "\n".join(out) + "\n"


def main():
    if sys.argv[1:2] == ["--cubin"]:
        make_cubin(sys.argv[2], sys.argv[3])
        return
    check = "--check" in sys.argv[1:]
    problems = []
    images = {capability: image(capability) for capability in IMAGES}
    with tempfile.TemporaryDirectory() as folder:
        compiled = {architecture: compile_for(architecture, pathlib.Path(folder)) for architecture in MACHINES}
        (older_folder := pathlib.Path(folder) / "older").mkdir()
        _, older = compile_for(OLDER_FOR, older_folder, OLDER_NVCC)
        text = report(compiled, older, bounds(images[80]), images, problems)
    made = {ROOT / "cuda" / "ptx" / f"mamba_kernels.compute_{c}.ptx": ptx for c, ptx in images.items()}
    made[REPORT] = text
    for path, content in made.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        elif old != content:
            problems.append(f"{path.relative_to(ROOT)} is not what the sources produce; run scripts/cuda-kernels.sh")
            lines = difflib.unified_diff(old.splitlines(), content.splitlines(), "committed", "made", "", "", 0, "")
            print("\n".join(list(lines)[:20]))
    kernels = len(compiled[90][1])
    print(f"{kernels} kernels for {len(MACHINES)} architectures, {len(images)} images: {len(problems)} problems")
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
