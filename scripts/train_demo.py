#!/usr/bin/env python3
"""Train the demo model in assets/demo: a byte-level Mamba of about one million parameters.

Install   pip install -r scripts/requirements.txt   on Debian: apt-get and pip fetch the data, the system's C++
                                                    compiler and ninja (on the path) compile two kernels
Check     python scripts/train_demo.py --check      compare the compiled kernels with plain PyTorch, then stop
Data      python scripts/train_demo.py --data-only  fetch, verify and normalise the books, then stop
Train     python scripts/train_demo.py              train, store as bf16 in --out, measure with HF transformers
Resume    python scripts/train_demo.py --resume     continue from the newest checkpoint

The model has the parameter names of Hugging Face's `MambaForCausalLM`. It is written out here because, without a GPU,
HF goes through the sequence in Python, which is far too slow for training.
Shapes: b batch, l sequence, d model width, e inner width, r rank of delta, n state, w conv width, v bytes (256).
"""

import argparse
import functools
import hashlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.utils.cpp_extension import load_inline

ROOT = Path(__file__).resolve().parent.parent

# ---------------------------------------------------------------------------------------------------------- data

AUSTEN = "r-cran-janeaustenr"  # Debian package: the six novels of Jane Austen, as R data
BROTLI = "brotli==1.2.1"  # PyPI source package: its test data holds books of the Canterbury corpus


class Text(NamedTuple):
    package: str
    first: str  # the kept text starts with the first of these words
    stop: str | None  # and ends before the last of these
    verse: bool  # line breaks are kept
    sha256: str  # of the text as packaged


TEXTS = {
    "emma": Text(AUSTEN, "VOLUME I\n", "FINIS", False,
        "dd08b340a56ad4a0a00718d5682528a5a5886ae0aef91c9e0fa528074fa64b75"),
    "mansfieldpark": Text(AUSTEN, "CHAPTER I\n", "THE END", False,
        "e0e9ef3863ea77f51f6070062ee0dd50ad9b933223880617629e4e4963ea40ff"),
    "northangerabbey": Text(AUSTEN, "CHAPTER 1\n", "*Vide", False,
        "8618a5acf5be50cc6e9b7680c7469fb6012649ab08c709dfc63c6367989fd31d"),
    "persuasion": Text(AUSTEN, "Chapter 1\n", "Finis", False,
        "726513a6c18bb678427bcbcf7c72d0d20816a67c25b0471b26ddcabf3ebac140"),
    "prideprejudice": Text(AUSTEN, "Chapter 1\n", None, False,
        "2e44edaa4946d64ad541c68e0224f5d672f43bf3ce2a8a0b0637ad5e02fc6eb3"),
    "sensesensibility": Text(AUSTEN, "CHAPTER 1\n", "THE END", False,
        "0996d90842bbe8093f3b8142c1e77d1b20cff52d1d0615f3ed67733653e74e26"),
    "alice29": Text(BROTLI, "CHAPTER I\n", "THE END", False,
        "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"),
    "plrabn12": Text(BROTLI, "Book I \n", "[The End]", True,
        "07e2e0b461af78c7c647cb53dab39de560198e16f799b4516eccf0fbd69f764c"),
    "asyoulik": Text(BROTLI, "ACT I\n", None, True,
        "eaa3526fe53859f34ecdf255712f9ecf0b2c903451d4755b2edaa2e2599cb0fc"),
}

HELD_OUT = 0.01  # the last part of each text, kept from training


def r_strings(blob: bytes) -> list[bytes]:
    """Read a character vector in R's binary serialisation, version 3."""
    pos = 18 + struct.unpack_from(">I", blob, 14)[0]  # header, then the name of the encoding
    kind, count = struct.unpack_from(">II", blob, pos)
    assert kind & 255 == 16, "not a character vector"
    pos += 8
    strings = []
    for _ in range(count):
        size = struct.unpack_from(">i", blob, pos + 4)[0]
        strings.append(blob[pos + 8 : pos + 8 + size])
        pos += 8 + size
    return strings


def fetch_austen(folder: Path) -> dict[str, bytes]:
    subprocess.run(["apt-get", "download", AUSTEN], cwd=folder, check=True)
    subprocess.run(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder], check=True)
    # The novels lie in Rdata.rdb in the order of their names, each a length of four bytes and a zlib stream.
    store = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    texts = {}
    for name in sorted(name for name, text in TEXTS.items() if text.package == AUSTEN):
        stream = zlib.decompressobj()
        texts[name] = b"\n".join(r_strings(stream.decompress(store[4:])))
        store = stream.unused_data
    return texts


def fetch_canterbury(folder: Path) -> dict[str, bytes]:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", folder, BROTLI], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as tar:
        members = [m for m in tar.getmembers() if m.name.endswith(".txt") and "/testdata/" in m.name]
        return {Path(m.name).stem: tar.extractfile(m).read() for m in members}


def normalise(text: str, verse: bool) -> str:
    """One line per paragraph or per line of verse, a blank line between paragraphs, single spaces, no _italics_."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text.replace("_", "")):
        lines = [" ".join(line.split()) for line in block.splitlines()]
        lines = [line for line in lines if line]
        if lines:
            paragraphs.append(("\n" if verse else " ").join(lines))
    return "\n\n".join(paragraphs) + "\n\n"


def load_data(cache: Path) -> tuple[bytes, bytes]:
    """Training text and held-out text; the packages are downloaded once into the cache folder."""
    raw = cache / "texts"
    if not raw.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            texts = fetch_austen(Path(folder)) | fetch_canterbury(Path(folder))
        raw.mkdir(parents=True)
        for name in TEXTS:
            (raw / name).write_bytes(texts[name])
    train, held_out = [], []
    for name, source in TEXTS.items():
        data = (raw / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise SystemExit(f"{name}: SHA-256 differs from the text that this script was written for")
        text = data.decode().replace("\r\n", "\n")
        text = text[text.index(source.first) : text.rindex(source.stop) if source.stop else None]
        text = normalise(text, source.verse)
        cut = text.index("\n", int(len(text) * (1 - HELD_OUT))) + 1  # at the end of a line
        train.append(text[:cut])
        held_out.append(text[cut:].lstrip("\n"))
    return "".join(train).encode(), "".join(held_out).encode()


# -------------------------------------------------------------------------------------------------------- config

# The file config.json, in Hugging Face's words. Byte 0 never occurs in the text, so it can stand for begin and end.
CONFIG = {
    "architectures": ["MambaForCausalLM"],
    "model_type": "mamba",
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 8,
    "state_size": 16,
    "conv_kernel": 4,
    "expand": 2,
    "time_step_rank": 8,
    "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5,
    "residual_in_fp32": True,
    "use_bias": False,
    "use_conv_bias": True,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "dtype": "bfloat16",
}

D, E, LAYERS = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_hidden_layers"]
N, R, WIDTH = CONFIG["state_size"], CONFIG["time_step_rank"], CONFIG["conv_kernel"]


# ------------------------------------------------------------------------------------------------------- kernels

KERNELS_CPP = r"""
// Two kernels over [b, l, e] float tensors, e a multiple of 16, each with its gradients:
//   conv_silu   y = silu(bias + sum over k of weight[k] x[t - 3 + k])
//   scan        h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t],   y = (sum over n of C[t] h[t] + D u[t]) silu(z[t])
// Sixteen channels lie in the lanes of one vector. A tile of sixteen channels goes through the whole sequence with its
// window or its states in local variables. A comes in multiplied by log2(e), so that the decay is one exp2.
// x and z may be halves of one tensor: their rows have a stride.
#include <torch/extension.h>
#include <vector>
using torch::Tensor;

constexpr int N = 16;   // states per channel; N and K are those of CONFIG
constexpr int K = 4;    // width of the convolution
constexpr int W = 16;   // channels per tile
typedef float vec __attribute__((vector_size(4 * W), may_alias));
typedef int ivec __attribute__((vector_size(4 * W), may_alias));

static inline vec &lanes(float *p) { return *(vec *)p; }
static inline vec lanes(const float *p) { return *(const vec *)p; }
static inline float *data(const Tensor &t) { return t.data_ptr<float>(); }

// 2^x for x up to 126: round to the nearest integer, a polynomial for the rest, the integer added to the exponent bits.
static inline vec exp2v(vec x) {
    x = x < -126.f ? -126.f + vec{} : x;
    const vec shifted = x + 12582912.f, f = x - (shifted - 12582912.f);
    vec p = 1.3333558e-3f * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

static inline vec sigmoid(vec x) {
    x = x < -87.f ? -87.f + vec{} : x;
    return 1.f / (1.f + exp2v(x * -1.44269504f));
}

static inline vec silu_slope(vec x, vec s) { return s * (1.f + x * (1.f - s)); }   // s = sigmoid(x)

// The sums over the lanes of p[0], ..., p[15], in that order: a tree of sums of neighbours.
static inline vec sums(vec *p) {
    const ivec even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}, odd = even + 1;
    for (int count = N / 2; count > 0; count /= 2)
        for (int i = 0; i < count; i++)
            p[i] = __builtin_shuffle(p[2 * i], p[2 * i + 1], even) + __builtin_shuffle(p[2 * i], p[2 * i + 1], odd);
    return p[0];
}

static inline vec gather(const float *p, int stride) {
    vec v;
    for (int i = 0; i < W; i++) v[i] = p[i * stride];
    return v;
}

Tensor conv_silu(Tensor x, Tensor weight, Tensor bias) {
    const int64_t b = x.size(0), l = x.size(1), e = x.size(2), row = x.stride(1);
    Tensor y = torch::empty({b, l, e}, x.options());
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < e; j += W) {
            const float *xp = data(x) + i * l * row + j;
            float *yp = data(y) + i * l * e + j;
            const vec c = lanes(data(bias) + j);
            vec w[K], window[K] = {};
            for (int k = 0; k < K; k++) w[k] = gather(data(weight) + j * K + k, K);
            for (int64_t t = 0; t < l; t++) {
                vec sum = c;
                for (int k = 0; k < K - 1; k++) window[k] = window[k + 1];
                window[K - 1] = lanes(xp + t * row);
                for (int k = 0; k < K; k++) sum += w[k] * window[k];
                lanes(yp + t * e) = sum * sigmoid(sum);
            }
        }
    return y;
}

std::vector<Tensor> conv_silu_backward(Tensor dy, Tensor x, Tensor weight, Tensor bias) {
    const int64_t b = x.size(0), l = x.size(1), e = x.size(2), row = x.stride(1);
    Tensor dx = torch::empty({b, l, e}, x.options());
    Tensor dweight = torch::empty({b, e, K}, x.options()), dbias = torch::empty({b, e}, x.options());   // per sequence
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < e; j += W) {
            const float *xp = data(x) + i * l * row + j, *gp = data(dy) + i * l * e + j;
            float *dxp = data(dx) + i * l * e + j;
            const vec c = lanes(data(bias) + j);
            vec w[K], window[K] = {}, dsum[K] = {}, dw[K] = {}, db = {};   // dsum: of the last K positions
            for (int k = 0; k < K; k++) w[k] = gather(data(weight) + j * K + k, K);
            for (int64_t t = 0; t < l + K - 1; t++) {
                for (int k = 0; k < K - 1; k++) window[k] = window[k + 1], dsum[k] = dsum[k + 1];
                dsum[K - 1] = vec{};
                if (t < l) {
                    vec sum = c;
                    window[K - 1] = lanes(xp + t * row);
                    for (int k = 0; k < K; k++) sum += w[k] * window[k];
                    dsum[K - 1] = lanes(gp + t * e) * silu_slope(sum, sigmoid(sum));
                    for (int k = 0; k < K; k++) dw[k] += dsum[K - 1] * window[k];
                    db += dsum[K - 1];
                }
                if (t >= K - 1) {
                    vec d = {};
                    for (int k = 0; k < K; k++) d += w[k] * dsum[K - 1 - k];
                    lanes(dxp + (t - K + 1) * e) = d;
                }
            }
            lanes(data(dbias) + i * e + j) = db;
            for (int k = 0; k < K; k++)
                for (int m = 0; m < W; m++) data(dweight)[(i * e + j + m) * K + k] = dw[k][m];
        }
    return {dx, dweight.sum(0).unsqueeze(1), dbias.sum(0)};
}

Tensor scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor z) {
    const int64_t b = u.size(0), l = u.size(1), e = u.size(2), row = z.stride(1);
    Tensor y = torch::empty_like(u);
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < e; j += W) {
            const float *up = data(u) + i * l * e + j, *dp = data(delta) + i * l * e + j;
            const float *zp = data(z) + i * l * row + j, *Bp = data(B) + i * l * N, *Cp = data(C) + i * l * N;
            float *yp = data(y) + i * l * e + j;
            const vec skip = lanes(data(D) + j);
            vec a[N], h[N] = {};
            for (int n = 0; n < N; n++) a[n] = gather(data(A) + j * N + n, N);
            for (int64_t t = 0; t < l; t++) {
                const vec d = lanes(dp + t * e), x = lanes(up + t * e), gate = lanes(zp + t * row);
                vec out = skip * x;
                for (int n = 0; n < N; n++) {
                    h[n] = exp2v(d * a[n]) * h[n] + d * x * Bp[t * N + n];
                    out += h[n] * Cp[t * N + n];
                }
                lanes(yp + t * e) = out * gate * sigmoid(gate);
            }
        }
    return y;
}

// For each tile: forward once more to store states and decays, then back through time. dh is the gradient of h[t].
std::vector<Tensor> scan_backward(Tensor dy, Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor z) {
    const int64_t b = u.size(0), l = u.size(1), e = u.size(2), row = z.stride(1);
    const float ln2 = 0.69314718f;
    Tensor du = torch::empty_like(u), ddelta = torch::empty_like(u), dz = torch::empty_like(u);
    Tensor dB = torch::zeros_like(B), dC = torch::zeros_like(C);
    Tensor dA = torch::empty({b, e, N}, u.options()), dD = torch::empty({b, e}, u.options());   // per sequence
#pragma omp parallel for
    for (int64_t i = 0; i < b; i++) {
        std::vector<vec> states((l + 1) * N, vec{}), decays(l * N), outs(l);   // of one tile; h[-1] = 0
        const float *Bp = data(B) + i * l * N, *Cp = data(C) + i * l * N;
        float *dBp = data(dB) + i * l * N, *dCp = data(dC) + i * l * N;
        for (int64_t j = 0; j < e; j += W) {
            const float *up = data(u) + i * l * e + j, *dp = data(delta) + i * l * e + j;
            const float *zp = data(z) + i * l * row + j, *gp = data(dy) + i * l * e + j;
            const vec skip = lanes(data(D) + j);
            vec a[N], h[N] = {}, dh[N] = {}, da[N] = {}, dskip = {};
            for (int n = 0; n < N; n++) a[n] = gather(data(A) + j * N + n, N);
            for (int64_t t = 0; t < l; t++) {
                const vec d = lanes(dp + t * e), x = lanes(up + t * e);
                vec out = skip * x;
                for (int n = 0; n < N; n++) {
                    const vec decay = exp2v(d * a[n]);
                    h[n] = decay * h[n] + d * x * Bp[t * N + n];
                    out += h[n] * Cp[t * N + n];
                    decays[t * N + n] = decay;
                    states[(t + 1) * N + n] = h[n];
                }
                outs[t] = out;
            }
            for (int64_t t = l - 1; t >= 0; t--) {
                const vec d = lanes(dp + t * e), x = lanes(up + t * e), gate = lanes(zp + t * row);
                const vec dgated = lanes(gp + t * e), s = sigmoid(gate), dout = dgated * gate * s;
                vec dinput = {}, dlog = {};                     // of delta * u, and of delta through the decay
                vec dBs[N], dCs[N];
                for (int n = 0; n < N; n++) {
                    dh[n] += dout * Cp[t * N + n];
                    dCs[n] = dout * states[(t + 1) * N + n];
                    dBs[n] = dh[n] * (d * x);
                    dinput += dh[n] * Bp[t * N + n];
                    dh[n] *= decays[t * N + n];
                    const vec through_decay = dh[n] * states[t * N + n];
                    dlog += through_decay * a[n];
                    da[n] += through_decay * d;
                }
                lanes(dBp + t * N) += sums(dBs);
                lanes(dCp + t * N) += sums(dCs);
                dskip += dout * x;
                const int64_t at = (i * l + t) * e + j;
                lanes(data(ddelta) + at) = dlog * ln2 + dinput * x;
                lanes(data(du) + at) = dinput * d + dout * skip;
                lanes(data(dz) + at) = dgated * outs[t] * silu_slope(gate, s);
            }
            lanes(data(dD) + i * e + j) = dskip;
            for (int n = 0; n < N; n++)
                for (int m = 0; m < W; m++) data(dA)[(i * e + j + m) * N + n] = da[n][m] * ln2;
        }
    }
    return {du, ddelta, dA.sum(0), dB, dC, dD.sum(0), dz};
}
"""


@functools.cache
def kernels():
    return load_inline(
        "mamba_demo", KERNELS_CPP, functions=["conv_silu", "conv_silu_backward", "scan", "scan_backward"],
        extra_cflags=["-O3", "-march=native", "-fopenmp", "-Wno-psabi", "-Wno-ignored-attributes"],
        extra_ldflags=["-fopenmp"],
    )


class ConvSilu(torch.autograd.Function):
    """silu of the causal depthwise convolution: x[b l e], weight[e 1 w], bias[e] -> [b l e]."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        return kernels().conv_silu(x, weight, bias)

    @staticmethod
    def backward(ctx, dy):
        return tuple(kernels().conv_silu_backward(dy.contiguous(), *ctx.saved_tensors))


class Scan(torch.autograd.Function):
    """Gated selective scan: u, delta, z [b l e], A[e n] (negative), B, C [b l n], D[e] -> [b l e]."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z):
        inputs = [u.contiguous(), delta.contiguous(), A * math.log2(math.e), B.contiguous(), C.contiguous(), D, z]
        ctx.save_for_backward(*inputs)
        return kernels().scan(*inputs)

    @staticmethod
    def backward(ctx, dy):
        du, ddelta, dA, dB, dC, dD, dz = kernels().scan_backward(dy.contiguous(), *ctx.saved_tensors)
        return du, ddelta, dA * math.log2(math.e), dB, dC, dD, dz


def reference_conv_silu(x, weight, bias):
    """The same in plain PyTorch: the specification."""
    padded = F.pad(x.transpose(1, 2), (weight.shape[-1] - 1, 0))  # [b e l+w-1]
    return F.silu(F.conv1d(padded, weight, bias, groups=weight.shape[0])).transpose(1, 2)


def reference_scan(u, delta, A, B, C, D, z):
    """The same as a plain loop: the specification."""
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])  # [b e n]
    ys = []
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)  # [b e n]
        h = decay * h + (delta[:, t] * u[:, t])[:, :, None] * B[:, t, None, :]
        ys.append((h * C[:, t, None, :]).sum(-1))  # [b e]
    return (torch.stack(ys, 1) + D * u) * F.silu(z)  # [b l e]


def check():
    """Compare outputs and gradients of the compiled kernels with the plain versions in double precision."""
    torch.manual_seed(0)
    b, l, e = 3, 83, 32
    x, y, z = torch.randn(3, b, l, e)
    delta = F.softplus(torch.randn(b, l, e) - 2)
    A = -torch.arange(1.0, N + 1).repeat(e, 1) * torch.rand(e, 1)
    cases = {
        "conv_silu": (ConvSilu.apply, reference_conv_silu, [x, torch.randn(e, 1, WIDTH), torch.randn(e)]),
        "scan": (Scan.apply, reference_scan,
                 [x, delta, A, torch.randn(b, l, N), torch.randn(b, l, N), torch.randn(e), z]),
    }
    for name, (compiled, reference, inputs) in cases.items():
        results = []  # compiled, reference: the output, then the gradient of each input
        for function, dtype in ((compiled, torch.float32), (reference, torch.float64)):
            leaves = [x.to(dtype, copy=True).requires_grad_() for x in inputs]
            out = function(*leaves)
            (out * y).sum().backward()
            results.append([out.detach(), *(x.grad for x in leaves)])
        errors = [((got - want).norm() / want.norm()).item() for got, want in zip(*results)]
        print(f"{name}: relative error of the output and of each gradient", *(f"{x:.1e}" for x in errors))
        assert max(errors) < 1e-5


# --------------------------------------------------------------------------------------------------------- model


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj = nn.Linear(D, 2 * E, bias=False)
        self.conv1d = nn.Conv1d(E, E, WIDTH, groups=E)
        self.x_proj = nn.Linear(E, R + 2 * N, bias=False)
        self.dt_proj = nn.Linear(R, E)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, N + 1)).repeat(E, 1))
        self.D = nn.Parameter(torch.ones(E))
        self.out_proj = nn.Linear(E, D, bias=False)
        with torch.no_grad():  # softplus(bias) is log-uniform in [0.001, 0.1]
            dt = torch.exp(torch.empty(E).uniform_(math.log(1e-3), math.log(1e-1)))
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
            self.dt_proj.weight.uniform_(-(R**-0.5), R**-0.5)
            self.out_proj.weight /= math.sqrt(2 * LAYERS)

    def forward(self, hidden):  # [b l d]
        x, z = self.in_proj(hidden).float().chunk(2, dim=-1)  # [b l e] each
        x = ConvSilu.apply(x, self.conv1d.weight, self.conv1d.bias)
        dt, B, C = self.x_proj(x).float().split([R, N, N], dim=-1)  # [b l r], [b l n], [b l n]
        delta = F.softplus(self.dt_proj(dt).float())  # [b l e]
        y = Scan.apply(x, delta, -torch.exp(self.A_log), B, C, self.D, z)
        return self.out_proj(y)  # [b l d]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(D, eps=1e-5)
        self.mixer = Mixer()

    def forward(self, residual):  # [b l d]
        return residual + self.mixer(self.norm(residual))


class Mamba(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({
            "embeddings": nn.Embedding(256, D),
            "layers": nn.ModuleList(Block() for _ in range(LAYERS)),
            "norm_f": nn.RMSNorm(D, eps=1e-5),
        })
        nn.init.normal_(self.backbone.embeddings.weight, std=0.02)

    def forward(self, tokens):  # [b l]
        residual = self.backbone.embeddings(tokens)
        for block in self.backbone.layers:
            residual = block(residual)
        return F.linear(self.backbone.norm_f(residual), self.backbone.embeddings.weight)  # [b l v]


# ------------------------------------------------------------------------------------------------------ training

BATCH, LENGTH = 8, 512  # windows per step, bytes per window
SAMPLES = [("The next morning", 0.7), ('"I am sure," said', 0.7), ("Alice", 0.5)]  # prompt, temperature
PEAK_LR, WARM_UP_STEPS, WEIGHT_DECAY = 4e-3, 200, 0.1


@torch.no_grad()
def bits_per_byte(logits_of, text: bytes, window: int) -> float:
    """Mean over all bytes except the first of each window; every window starts from the zero state."""
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    total = count = 0
    for tokens in data.split(window):
        logits = logits_of(tokens[None, :-1])[0].float()  # [l v]
        total += F.cross_entropy(logits, tokens[1:], reduction="sum").item()
        count += len(tokens) - 1
    return total / count / math.log(2)


def train(text: bytes, held_out: bytes, minutes: float, folder: Path, resume: bool) -> Mamba:
    """The learning rate falls linearly with the clock, to zero when the time is over."""
    torch.manual_seed(0)
    model = Mamba()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "A_log" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "A_log" in name]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    windows = torch.Generator().manual_seed(0)
    step, seconds = 0, 0.0
    checkpoint = folder / "checkpoint.pt"

    def save():
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "windows": windows.get_state()}
        torch.save(state | {"step": step, "seconds": seconds}, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)

    if resume:
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        windows.set_state(saved["windows"])
        step, seconds = saved["step"], saved["seconds"]
    kernels()  # compile before the clock starts
    last = time.time()
    while seconds < 60 * minutes:
        lr = PEAK_LR * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - seconds / (60 * minutes))
        for group in optimizer.param_groups:
            group["lr"] = lr
        starts = torch.randint(len(data) - LENGTH, (BATCH, 1), generator=windows)
        tokens = data[starts + torch.arange(LENGTH + 1)].long()  # [b l+1]
        with torch.autocast("cpu", torch.bfloat16):  # bf16 in the matrix products, f32 in the kernels
            logits = model(tokens[:, :-1])  # [b l v]
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = time.time()
        seconds, last = seconds + now - last, now
        if step % 25 == 0:
            seen, bits = step * BATCH * LENGTH / 1e6, loss.item() / math.log(2)
            print(f"{step:6} {seconds:6.0f} s  {seen:6.2f} MB  lr {lr:.1e}  {bits:.3f}", flush=True)
        if step % 250 == 0:
            bits = bits_per_byte(model, held_out, LENGTH)
            print(f"{step:6} held out {bits:.4f} bits per byte", flush=True)
            save()
    save()
    print(f"trained for {step} steps, {step * BATCH * LENGTH} bytes, {seconds:.0f} s")
    return model


def export(model: Mamba, held_out: bytes, out: Path):
    """Write Hugging Face's files, load them with transformers, measure and sample."""
    from transformers import AutoModelForCausalLM

    out.mkdir(parents=True, exist_ok=True)
    weights = {name: p.to(torch.bfloat16).contiguous() for name, p in model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (out / "held_out.txt").write_bytes(held_out)
    print("parameters", sum(p.numel() for p in model.parameters()))
    print(f"f32 weights, this script: {bits_per_byte(model, held_out, LENGTH):.4f} bits per byte")
    model.load_state_dict(weights)  # rounded to bf16, kept in f32
    for window in (LENGTH, len(held_out)):
        bits = bits_per_byte(model, held_out, window)
        print(f"bf16 weights, this script: {bits:.4f} bits per byte in windows of {window}")
    hf = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    bits = bits_per_byte(lambda tokens: hf(tokens).logits, held_out, LENGTH)
    print(f"bf16 weights, transformers: {bits:.4f} bits per byte in windows of {LENGTH}")
    for prompt, temperature in SAMPLES:
        torch.manual_seed(0)
        tokens = torch.tensor([list(prompt.encode())])
        text = hf.generate(tokens, max_new_tokens=600, do_sample=True, temperature=temperature, top_k=0)[0]
        print(f"--- temperature {temperature}, seed 0\n{bytes(text.tolist()).decode(errors='replace')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check the compiled kernels, then stop")
    parser.add_argument("--data-only", action="store_true", help="fetch and prepare the texts, then stop")
    parser.add_argument("--minutes", type=float, default=54, help="training time; the learning rate follows it")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the cache folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=ROOT / "target/demo", help="texts and checkpoint")
    parser.add_argument("--out", type=Path, default=ROOT / "assets/demo", help="where the model goes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        return check()
    text, held_out = load_data(args.cache)
    print(f"{len(text)} bytes to train on, {len(held_out)} bytes held out")
    if not args.data_only:
        model = train(text, held_out, args.minutes, args.cache, args.resume)
        export(model, held_out, args.out)


if __name__ == "__main__":
    main()
