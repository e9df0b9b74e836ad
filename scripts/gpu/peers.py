"""Times what others have for the same work: cuBLAS and PyTorch, Triton kernels and the official CUDA kernels.

    peers.py [--folder .gpu/peers] [--quick]    needs PyTorch and a GPU; says so and ends well without them
    peers.py --build                            only compiles the official kernels, with nvcc and PyTorch's headers

scripts/gpu/fetch_peers.py makes the folder. JSON lines go to the end of the file that RESULTS names, or to the output.
A time is the median of 15 replays of a CUDA graph. It has as many calls as take more than 180 MB of random data
together, so no call finds its data in the L2 cache; the smallest ones have at most 1300 calls and may. Outputs are
different memory per call too.

The official kernels are compiled unchanged, but only for the case that is timed: float or bf16, d_state of 16, d_conv
of 4, variable B and C, and z. PyTorch's extension machinery is left out: a library takes plain pointers.
"""
import argparse
import ctypes
import hashlib
import importlib.util
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODELS = {"130m": (768, 1536, 48, 24), "2.8b": (2560, 5120, 160, 64)}  # d_model, d_inner, dt_rank, layers
STATES, TAPS, VOCAB, PREFILL = 16, 4, 50280, 2048
WORKING_SET, MOST_CALLS, LEAST_CALLS = 180e6, 1300, 8

# The launch is that of selective_scan_fwd_launch for more than 1024 tokens. All arrays are contiguous.
SCAN_SOURCE = r"""
#include <string>
#include "selective_scan_fwd_kernel.cuh"

template <class T> static void launch(SSMParamsBase& params, cudaStream_t stream) {
    using Traits = Selective_Scan_fwd_kernel_traits<128, 16, 1, true, true, true, true, T, float>;
    constexpr int bytes = Traits::kSmemSize + MAX_DSTATE * sizeof(typename Traits::scan_t);
    const auto kernel = &selective_scan_fwd_kernel<Traits>;
    if (bytes >= 48 * 1024) {
        C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    }
    kernel<<<dim3(params.batch, params.dim), Traits::kNThreads, bytes, stream>>>(params);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// u, delta, z, out, out_z [batch, dim, length], a [dim, states], b, c [batch, states, length], d, bias [dim],
// x [batch, dim, length / 2048, 2 * states]; length is a multiple of 2048. Null or what went wrong.
extern "C" const char* peer_scan(int bf16, int batch, int dim, int length, int states, void* u, void* delta, void* a,
                                 void* b, void* c, void* d, void* z, void* bias, void* out, void* out_z, void* x,
                                 void* stream) {
    SSMParamsBase p{};
    p.batch = batch, p.dim = dim, p.seqlen = length, p.dstate = states;
    p.n_groups = 1, p.n_chunks = length / 2048, p.dim_ngroups_ratio = dim;
    p.is_variable_B = p.is_variable_C = p.delta_softplus = true;
    p.A_d_stride = states, p.A_dstate_stride = 1, p.B_dstate_stride = p.C_dstate_stride = length;
    p.B_batch_stride = p.C_batch_stride = p.B_group_stride = p.C_group_stride = uint64_t(states) * length;
    p.u_d_stride = p.delta_d_stride = p.z_d_stride = p.out_d_stride = p.out_z_d_stride = length;
    p.u_batch_stride = p.delta_batch_stride = p.z_batch_stride = uint64_t(dim) * length;
    p.out_batch_stride = p.out_z_batch_stride = uint64_t(dim) * length;
    p.u_ptr = u, p.delta_ptr = delta, p.A_ptr = a, p.B_ptr = b, p.C_ptr = c, p.D_ptr = d, p.z_ptr = z;
    p.delta_bias_ptr = bias, p.out_ptr = out, p.out_z_ptr = out_z, p.x_ptr = x;
    static std::string wrong;
    try {
        if (bf16) launch<at::BFloat16>(p, static_cast<cudaStream_t>(stream));
        else launch<float>(p, static_cast<cudaStream_t>(stream));
    } catch (const std::exception& error) {
        wrong = error.what();
        return wrong.c_str();
    }
    return nullptr;
}
"""

# forward.inc and update.inc are causal_conv1d_fwd.cu and causal_conv1d_update.cu without their instantiations.
CONV_SOURCE = r"""
#include <string>
#include "forward.inc"
#include "update.inc"

template <class T> static void launch(int form, ConvParamsBase& params, cudaStream_t stream) {
    if (form == 0) causal_conv1d_fwd_launch<128, 4, T, T>(params, stream);
    else if (form == 1) causal_conv1d_channellast_fwd_launch<128, 4, T, T>(params, stream);
    else causal_conv1d_update_launch<64, 4, T, T>(params, stream);
}

// form 0: channels first; 1: channels last; 2: one more token, with a state of `state_length` inputs per channel.
// x, out [batch, dim, length] and state [batch, dim, state_length] by their strides; weight [dim, 4], bias [dim].
extern "C" const char* peer_conv(int form, int bf16, int batch, int dim, int length, int state_length, void* x,
                                 void* weight, void* bias, void* out, void* state, const int* strides, void* stream) {
    ConvParamsBase p{};
    p.batch = batch, p.dim = dim, p.seqlen = length, p.width = 4, p.silu_activation = true;
    p.x_batch_stride = strides[0], p.x_c_stride = strides[1], p.x_l_stride = strides[2];
    p.out_batch_stride = strides[3], p.out_c_stride = strides[4], p.out_l_stride = strides[5];
    p.conv_state_batch_stride = strides[6], p.conv_state_c_stride = strides[7], p.conv_state_l_stride = strides[8];
    p.weight_c_stride = 4, p.weight_width_stride = 1, p.conv_state_len = state_length;
    p.x_ptr = x, p.weight_ptr = weight, p.bias_ptr = bias, p.out_ptr = out, p.conv_state_ptr = state;
    static std::string wrong;
    try {
        if (bf16) launch<at::BFloat16>(form, p, static_cast<cudaStream_t>(stream));
        else launch<float>(form, p, static_cast<cudaStream_t>(stream));
    } catch (const std::exception& error) {
        wrong = error.what();
        return wrong.c_str();
    }
    return nullptr;
}
"""


def write(row):
    line = json.dumps(row) + "\n"
    if path := os.environ.get("RESULTS"):
        with open(path, "a") as file:
            file.write(line)
    else:
        print(line, end="", flush=True)


def check(name, status, seconds=0.0, detail=""):
    detail = " ".join(str(detail).split())[:400]
    write({"part": "check", "name": f"peer/{name}", "status": status, "seconds": round(seconds, 2), "detail": detail})


# --- the official kernels: compiling them


def torch_folder():
    spec = importlib.util.find_spec("torch")
    if spec is None:
        raise RuntimeError("PyTorch is not installed")
    return Path(spec.submodule_search_locations[0])


def find_nvcc():
    places = [shutil.which("nvcc"), f"{os.environ.get('CUDA_HOME', '')}/bin/nvcc", "/usr/local/cuda/bin/nvcc"]
    for place in places:
        if place and os.access(place, os.X_OK):
            return place
    raise RuntimeError("nvcc is not installed")


def without_instantiations(path):
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("template void"))


def libraries(folder):
    """Per library: its path, its source, files to write beside it, and the folder of the sources that it includes."""
    scan, conv = folder / "selective_scan", folder / "causal_conv1d"
    beside = {
        "forward.inc": without_instantiations(conv / "causal_conv1d_fwd.cu"),
        "update.inc": without_instantiations(conv / "causal_conv1d_update.cu"),
    }
    version = (torch_folder() / "version.py").read_text()
    found = {}
    for name, source, files, include in [("scan", SCAN_SOURCE, {}, scan), ("conv", CONV_SOURCE, beside, conv)]:
        digest = hashlib.sha256((version + source).encode()).hexdigest()[:12]
        found[name] = (folder / "build" / f"{name}-{digest}.so", source, files, include)
    return found


def build(folder):
    """Compiles what is missing, both libraries at the same time. Returns the number of failures."""
    running = []
    for name, (path, source, files, include) in libraries(folder).items():
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (path.parent / file).write_text(text)
        (path.parent / f"{name}.cu").write_text(source)
        headers, halves = torch_folder() / "include", ["HALF", "BFLOAT16", "BFLOAT162"]
        command = [find_nvcc(), "-shared", "-Xcompiler", "-fPIC", "-cudart", "shared", "-O3", "-std=c++17"]
        command += ["-gencode", "arch=compute_90,code=sm_90", "--use_fast_math", "--expt-relaxed-constexpr"]
        command += ["--expt-extended-lambda", *(f"-U__CUDA_NO_{half}_OPERATORS__" for half in halves)]
        command += [*(f"-U__CUDA_NO_{half}_CONVERSIONS__" for half in halves)]
        command += ["-I", include, "-I", path.parent, "-I", headers, "-L", torch_folder() / "lib"]
        command += ["-lc10_cuda", "-lc10", "-o", path.with_suffix(".part"), path.parent / f"{name}.cu"]
        command += os.environ.get("PEERS_NVCC_FLAGS", "").split()
        log = open(path.parent / f"{name}.log", "w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT)
        running.append((process, path))
    failures = 0
    for process, path in running:
        if process.wait() == 0:
            path.with_suffix(".part").rename(path)
        else:
            failures += 1
    return failures


class Build:
    """The compilers, in the background, while other peers are timed."""

    def __init__(self, folder, limit):
        self.folder, self.end, self.loaded = folder, time.monotonic() + limit, {}
        command = [sys.executable, __file__, "--folder", folder, "--build"]
        self.process = subprocess.Popen(
            ["nice", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def library(self, name):
        if name not in self.loaded:
            self.loaded[name] = self.load(name)
        return self.loaded[name]

    def load(self, name):
        path = libraries(self.folder)[name][0]
        while self.process.poll() is None and not path.exists() and time.monotonic() < self.end:
            time.sleep(0.2)
        if path.exists():
            return ctypes.CDLL(str(path))
        log = self.folder / "build" / f"{name}.log"
        text = log.read_text() if log.exists() else "no compiler ran"
        errors = [line for line in text.splitlines() if "error" in line] or text.splitlines()[-2:]
        raise RuntimeError("does not compile in time: " + "; ".join(errors[:3]))

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


# --- timing


class Peers:
    def __init__(self, torch, folder, quick, official):
        self.torch, self.folder, self.quick, self.official = torch, folder, quick, official
        self.replays = 5 if quick else 15
        self.types = {"f32": torch.float32, "bf16": torch.bfloat16}
        self.models = {"130m": MODELS["130m"]} if quick else MODELS

    def random(self, *shape, dtype=None, scale=1.0):
        return self.torch.randn(*shape, device="cuda", dtype=dtype or self.torch.float32) * scale

    def copies(self, tensors):
        """How many sets of these tensors' size take more than the working set."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return max(1, min(MOST_CALLS, math.ceil(WORKING_SET / size)))

    def rotate(self, make):
        """`make()` gives tensors and a function of them that returns its output: as many of them as needed."""
        tensors, call = make()
        count = self.copies([*tensors, *as_list(call(*tensors))])
        sets = [tensors] + [make()[0] for _ in range(count - 1)]
        return [lambda tensors=tensors: call(*tensors) for tensors in sets]

    def microseconds(self, calls):
        """The median time of one call."""
        torch = self.torch
        calls = calls * math.ceil(LEAST_CALLS / len(calls))
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for call in calls[:3]:  # kernels are loaded, compiled and chosen
                call()
        torch.cuda.synchronize()
        graph, outputs = torch.cuda.CUDAGraph(), []
        with torch.cuda.graph(graph):
            for call in calls:
                outputs.append(call())
        times = []
        for replay in range(self.replays + 3):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            if replay >= 3:
                times.append(begin.elapsed_time(end) * 1e3)
        outputs.clear()
        graph.reset()
        return statistics.median(times) / len(calls)

    def time(self, peer, op, model, tokens, sequences, types, make):
        us = round(self.microseconds(self.rotate(make)), 3)
        write({"part": "peer", "peer": peer, "op": op, "model": model, "tokens": tokens, "sequences": sequences,
               "types": types, "us": us})  # fmt: skip
        self.torch.cuda.empty_cache()

    # --- the peers

    def cublas(self):
        """Each product at 2048, 64, 8 and 1 rows; the head at 64 and 1."""
        linear = self.torch.nn.functional.linear
        for model, (d_model, d_inner, dt_rank, _) in self.models.items():
            products = [("in_proj", d_model, 2 * d_inner), ("x_proj", d_inner, dt_rank + 2 * STATES)]
            products += [("dt_proj", dt_rank, d_inner), ("out_proj", d_inner, d_model), ("lm_head", d_model, VOCAB)]
            for name, dtype in self.types.items():
                for rows in [PREFILL, 1] if self.quick else [PREFILL, 64, 8, 1]:
                    for op, k, n in products:
                        if op == "lm_head" and rows not in (64, 1):
                            continue

                        def make(rows=rows, k=k, n=n, dtype=dtype):
                            return (self.random(rows, k, dtype=dtype), self.random(n, k, dtype=dtype)), linear

                        tokens, sequences = (rows, 1) if rows == PREFILL else (1, rows)
                        self.time(f"cublas_{name}", op, model, tokens, sequences, f"{name}/{name}", make)

    def torch_conv1d(self):
        functional = self.torch.nn.functional
        for model, (_, d_inner, _, _) in self.models.items():
            for name, dtype in self.types.items():

                def conv(x, weight, bias, channels=d_inner):
                    full = functional.conv1d(x, weight, bias, padding=TAPS - 1, groups=channels)
                    return functional.silu(full[..., : x.shape[-1]])

                def make(channels=d_inner, dtype=dtype, conv=conv):
                    shapes = [(1, channels, PREFILL), (channels, 1, TAPS), (channels,)]
                    return tuple(self.random(*shape, dtype=dtype) for shape in shapes), conv

                self.time("torch_conv1d", "causal_conv1d", model, PREFILL, 1, f"{name}/{name}", make)

    def norms(self, peer, norm):
        for model, (d_model, _, _, _) in self.models.items():
            for name, dtype in self.types.items():
                for rows in [PREFILL, 64, 1]:

                    def make(rows=rows, channels=d_model, dtype=dtype):
                        return (self.random(rows, channels, dtype=dtype), self.random(channels, dtype=dtype)), norm

                    tokens, sequences = (rows, 1) if rows == PREFILL else (1, rows)
                    self.time(peer, "rms_norm", model, tokens, sequences, f"{name}/{name}", make)

    def torch_rms_norm(self):
        self.norms("torch_rms_norm", lambda x, w: self.torch.nn.functional.rms_norm(x, w.shape, w, 1e-5))

    def triton_rms_norm(self):
        from mamba_ssm.ops.triton.layer_norm import rms_norm_fn

        self.norms("triton_rms_norm", lambda x, w: rms_norm_fn(x, w, None, eps=1e-5))

    def scan_inputs(self, channels):
        """a, d and the bias of delta, as the official initialisation has them."""
        torch = self.torch
        a = -torch.arange(1, STATES + 1, device="cuda", dtype=torch.float32).repeat(channels, 1)
        return a, self.random(channels), self.random(channels) * 0.5 - 4.0

    def triton_state_update(self):
        from mamba_ssm.ops.triton.selective_state_update import selective_state_update

        def update(state, x, dt, a, b, c, d, z, bias):
            return selective_state_update(state, x, dt, a, b, c, d, z=z, dt_bias=bias, dt_softplus=True)

        for model, (_, d_inner, _, _) in self.models.items():
            for name, dtype in self.types.items():
                for rows in [64, 1]:

                    def make(rows=rows, channels=d_inner, dtype=dtype):
                        a, d, bias = self.scan_inputs(channels)
                        state = self.random(rows, channels, STATES, dtype=dtype)
                        x, dt, z = (self.random(rows, channels, dtype=dtype) for _ in range(3))
                        b, c = (self.random(rows, STATES, dtype=dtype) for _ in range(2))
                        return (state, x, dt, a, b, c, d, z, bias), update

                    self.time("triton_state_update", "selective_scan", model, 1, rows, f"{name}/f32", make)

    def call(self, function, *arguments):
        """Calls a library with pointers of tensors and numbers, on the current stream."""
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)
        tensor = self.torch.Tensor
        plain = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, tensor) else a for a in arguments]
        function.restype = ctypes.c_char_p
        if wrong := function(*plain, stream):
            raise RuntimeError(wrong.decode())

    def scan(self, u, delta, a, b, c, d, z, bias):
        """The official scan. u, delta, z [batch, channels, length], b and c [batch, states, length]."""
        torch, (batch, channels, length) = self.torch, u.shape
        assert length % 2048 == 0 and all(t.is_contiguous() for t in (u, delta, a, b, c, d, z, bias))
        out, out_z = torch.empty_like(u), torch.empty_like(u)
        x = torch.empty(batch, channels, length // 2048, 2 * STATES, device="cuda")
        bf16, function = int(u.dtype == torch.bfloat16), self.official.library("scan").peer_scan
        self.call(function, bf16, batch, channels, length, STATES, u, delta, a, b, c, d, z, bias, out, out_z, x)
        return out_z

    def conv(self, form, x, weight, bias, state=None):
        """The official convolution. x [batch, channels, length] with any strides."""
        torch, (batch, channels, length) = self.torch, x.shape
        out = torch.empty_like(x)
        kept = x if state is None else state
        strides = (ctypes.c_int * 9)(*x.stride(), *out.stride(), *kept.stride())
        bf16, function = int(x.dtype == torch.bfloat16), self.official.library("conv").peer_conv
        arguments = [form, bf16, batch, channels, length, 0 if state is None else state.shape[2]]
        self.call(function, *arguments, x, weight, bias, out, kept, strides)
        return out

    def scan_arrays(self, batch, channels, dtype):
        a, d, bias = self.scan_inputs(channels)
        u, delta, z = (self.random(batch, channels, PREFILL, dtype=dtype) for _ in range(3))
        b, c = (self.random(batch, STATES, PREFILL, dtype=dtype) for _ in range(2))
        return u, delta, a, b, c, d, z, bias

    def mamba_ssm_scan(self):
        torch = self.torch
        for name, dtype in self.types.items():  # the first 200 tokens of 8 channels against the formula
            u, delta, a, b, c, d, z, bias = self.scan_arrays(2, 64, dtype)
            found = self.scan(u, delta, a, b, c, d, z, bias)[:, :8, :200].double()
            u, delta, z, b, c = (t.double() for t in (u[:, :8], delta[:, :8], z[:, :8], b, c))
            step = torch.nn.functional.softplus(delta + bias[:8, None].double())
            state, wanted = torch.zeros(2, 8, STATES, device="cuda", dtype=torch.float64), []
            for t in range(200):
                decay = torch.exp(step[:, :, t, None] * a[:8].double())
                state = decay * state + (step * u)[:, :, t, None] * b[:, None, :, t]
                wanted.append((state * c[:, None, :, t]).sum(-1) + d[:8].double() * u[:, :, t])
            wanted = torch.stack(wanted, -1) * torch.nn.functional.silu(z[..., :200])
            self.compare(f"mamba_ssm_scan/values_{name}", found, wanted, 1e-3 if name == "f32" else 2e-2)
        for model, (_, d_inner, _, _) in self.models.items():
            for name, dtype in self.types.items():
                for batch in [1, 8]:

                    def make(batch=batch, channels=d_inner, dtype=dtype):
                        return self.scan_arrays(batch, channels, dtype), self.scan

                    self.time("mamba_ssm_scan", "selective_scan", model, PREFILL, batch, f"{name}/f32", make)

    def compare(self, name, found, wanted, most):
        error = ((found - wanted).abs().max() / wanted.abs().max()).item()
        check(name, "ok" if error <= most else "failed", detail=f"largest error {error:.1e} of the largest value")

    def causal_conv1d(self):
        functional = self.torch.nn.functional
        for name, dtype in self.types.items():
            x, weight, bias = (self.random(*shape, dtype=dtype) for shape in [(2, 64, 256), (64, TAPS), (64,)])
            full = functional.conv1d(x.double(), weight.double()[:, None], bias.double(), padding=TAPS - 1, groups=64)
            wanted = functional.silu(full[..., :256])
            last = x.transpose(1, 2).contiguous().transpose(1, 2)
            for form, given in [(0, x), (1, last)]:
                found = self.conv(form, given, weight, bias).double()
                self.compare(f"causal_conv1d/values_{form}_{name}", found, wanted, 1e-4 if name == "f32" else 2e-2)
        for model, (_, d_inner, _, _) in self.models.items():
            for name, dtype in self.types.items():
                for form, peer in [(0, "causal_conv1d"), (1, "causal_conv1d_channels_last")]:

                    def make(form=form, channels=d_inner, dtype=dtype):
                        shape = (1, channels, PREFILL) if form == 0 else (1, PREFILL, channels)
                        x = self.random(*shape, dtype=dtype)
                        x = x if form == 0 else x.transpose(1, 2)
                        arrays = (x, self.random(channels, TAPS, dtype=dtype), self.random(channels, dtype=dtype))
                        return arrays, lambda x, weight, bias: self.conv(form, x, weight, bias)

                    self.time(peer, "causal_conv1d", model, PREFILL, 1, f"{name}/{name}", make)
                for rows in [64, 1]:

                    def make(rows=rows, channels=d_inner, dtype=dtype):
                        shapes = [(rows, channels, 1), (channels, TAPS), (channels,), (rows, channels, TAPS)]
                        arrays = tuple(self.random(*shape, dtype=dtype) for shape in shapes)
                        return arrays, lambda x, weight, bias, state: self.conv(2, x, weight, bias, state)

                    self.time("causal_conv1d_update", "causal_conv1d", model, 1, rows, f"{name}/{name}", make)

    def layer(self, d_model, d_inner, dt_rank):
        """The weights of a block, bf16 as in the official model."""
        bf16 = self.torch.bfloat16
        a, d, bias = self.scan_inputs(d_inner)
        return {
            "norm": self.random(d_model, dtype=bf16),
            "in_proj": self.random(2 * d_inner, d_model, dtype=bf16, scale=d_model**-0.5),
            "conv": self.random(d_inner, TAPS, dtype=bf16, scale=0.5),
            "conv_bias": self.random(d_inner, dtype=bf16, scale=0.1),
            "x_proj": self.random(dt_rank + 2 * STATES, d_inner, dtype=bf16, scale=d_inner**-0.5),
            "dt_proj": self.random(d_inner, dt_rank, dtype=bf16, scale=dt_rank**-0.5),
            "out_proj": self.random(d_model, d_inner, dtype=bf16, scale=d_inner**-0.5),
            "a": a,
            "d": d,
            "bias": bias,
        }

    def official_block(self):
        """Whole blocks in a row, as mamba_ssm's Block and Mamba run them: norm with residual, and the mixer."""
        from mamba_ssm.ops.triton.layer_norm import rms_norm_fn
        from mamba_ssm.ops.triton.selective_state_update import selective_state_update

        torch, linear = self.torch, self.torch.nn.functional.linear

        def norm(w, hidden, residual):
            options = {"eps": 1e-5, "prenorm": True, "residual_in_fp32": True}
            return rms_norm_fn(hidden, w["norm"], None, residual=residual, **options)

        def prefill(w, dt_rank, hidden, residual):
            hidden, residual = norm(w, hidden, residual)
            x, z = (w["in_proj"] @ hidden.t()).unsqueeze(0).chunk(2, dim=1)
            x = self.conv(0, x, w["conv"], w["conv_bias"])
            dt, b, c = torch.split(linear(x[0].t(), w["x_proj"]), [dt_rank, STATES, STATES], dim=-1)
            dt = (w["dt_proj"] @ dt.t()).unsqueeze(0)
            b, c = b.t().contiguous().unsqueeze(0), c.t().contiguous().unsqueeze(0)
            y = self.scan(x, dt, w["a"], b, c, w["d"], z, w["bias"])
            return linear(y[0].t(), w["out_proj"]), residual

        def decode(w, dt_rank, states, hidden, residual):
            hidden, residual = norm(w, hidden, residual)
            x, z = linear(hidden, w["in_proj"]).chunk(2, dim=-1)
            x = self.conv(2, x.unsqueeze(-1), w["conv"], w["conv_bias"], states[0]).squeeze(-1)
            dt, b, c = torch.split(linear(x, w["x_proj"]), [dt_rank, STATES, STATES], dim=-1)
            dt = linear(dt, w["dt_proj"])
            rest = {"z": z, "dt_bias": w["bias"], "dt_softplus": True}
            y = selective_state_update(states[1], x, dt, w["a"], b, c, w["d"], **rest)
            return linear(y, w["out_proj"]), residual

        bf16 = torch.bfloat16
        for model, (d_model, d_inner, dt_rank, most) in self.models.items():
            size = 2 * (3 * d_inner * d_model + (2 * dt_rank + 2 * STATES) * d_inner)
            count = min(most, math.ceil(WORKING_SET / size))
            layers = [self.layer(d_model, d_inner, dt_rank) for _ in range(count)]
            for tokens, rows in [(PREFILL, 1), (1, 1), (1, 64)]:
                start = self.random(tokens * rows, d_model, dtype=bf16), self.random(tokens * rows, d_model)
                shapes = [(rows, d_inner, TAPS), (rows, d_inner, STATES)]
                states = [[self.random(*shape, dtype=bf16) for shape in shapes] for _ in layers]

                def chain(dt_rank=dt_rank, layers=layers, start=start, tokens=tokens, states=states):
                    hidden, residual = start
                    for w, state in zip(layers, states, strict=True):
                        if tokens > 1:
                            hidden, residual = prefill(w, dt_rank, hidden, residual)
                        else:
                            hidden, residual = decode(w, dt_rank, state, hidden, residual)
                    return hidden

                us = round(self.microseconds([chain]) / count, 3)
                write({"part": "peer", "peer": "official_block", "op": "block", "model": model, "tokens": tokens,
                       "sequences": rows, "types": "bf16/bf16", "us": us})  # fmt: skip
            del layers, states, start
            torch.cuda.empty_cache()


def as_list(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


ORDER = ["cublas", "torch_conv1d", "torch_rms_norm", "triton_rms_norm", "triton_state_update"]
ORDER += ["mamba_ssm_scan", "causal_conv1d", "official_block"]  # these need the compilers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".gpu/peers"), help="what fetch_peers.py has made")
    parser.add_argument("--quick", action="store_true", help="130m alone, fewer rows, 5 replays")
    parser.add_argument("--build", action="store_true", help="only compiles the official kernels")
    parser.add_argument("--build-seconds", type=float, default=150, help="the time limit of the compilers")
    args = parser.parse_args()
    folder = args.folder.resolve()
    if args.build:
        raise SystemExit(build(folder))
    try:
        import torch

        missing = "" if torch.cuda.is_available() else "no GPU"
    except Exception as error:  # a PyTorch that cannot be loaded is one that is missing
        missing = f"no PyTorch: {error}"
    if missing:
        check("all", "skipped", detail=missing)
        return
    sys.path.insert(0, str(folder))
    sys.path.append(str(folder / "stubs"))
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    official = Build(folder, args.build_seconds)
    peers = Peers(torch, folder, args.quick, official)
    try:
        for name in ORDER:
            start = time.monotonic()
            try:
                getattr(peers, name)()
                check(name, "ok", time.monotonic() - start)
            except Exception as error:  # a peer that fails does not stop the others
                check(name, "failed", time.monotonic() - start, f"{type(error).__name__}: {error}")
    finally:
        official.stop()


if __name__ == "__main__":
    main()
