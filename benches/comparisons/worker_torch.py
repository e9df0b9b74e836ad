"""PyTorch: Hugging Face's Mamba, the official reference formulas of scan and convolution, matrix products."""
import argparse
import copy
import os

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("part", choices=["model", "compiled", "ops", "mkl", "onednn", "openblas"])
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--model")
ARGS = parser.parse_args()
# before the libraries are loaded
for variable in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]:
    os.environ[variable] = str(ARGS.threads)
for variable in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"]:
    os.environ.pop(variable, None)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import worker  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.set_grad_enabled(False)
torch.manual_seed(0)


def model():
    from transformers import MambaForCausalLM, __version__

    dtype = torch.bfloat16 if "bf16" in ARGS.model else torch.float32
    net = MambaForCausalLM.from_pretrained(ARGS.model, dtype=dtype).eval()
    tokens, one = worker.prompt(512), torch.tensor([[7]])
    step, whole = net, net
    if ARGS.part == "compiled":
        # for a prompt one layer is compiled for all: without states, whose indices would make the layers differ
        step, whole = torch.compile(net, dynamic=False), copy.deepcopy(net)
        for layer in whole.backbone.layers:
            layer.compile(dynamic=False)

    def prefill(call, prompt):
        return call(torch.tensor([prompt]), use_cache=call is net, logits_to_keep=1)

    def logits():
        if ARGS.part == "model":
            return prefill(net, worker.CHECK).logits[0, -1, :16].float().tolist()
        cache = prefill(net, worker.CHECK[:1]).cache_params
        for token in worker.CHECK[1:]:
            found = step(torch.tensor([[token]]), cache_params=cache, use_cache=True).logits
        return found[0, -1, :16].float().tolist()

    cache = prefill(net, worker.CHECK).cache_params
    step(one, cache_params=cache, use_cache=True)
    found, expected = prefill(whole, tokens).logits, prefill(net, tokens).logits  # both are compiled now
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-4
    assert (found - expected).abs().max() <= tolerance * expected.abs().max(), "compiled, it computes something else"
    work = {
        "decode": (lambda: [step(one, cache_params=cache, use_cache=True) for _ in range(8)], 8),
        "prefill": (lambda: prefill(whole, tokens), 512),
    }
    worker.serve(f"transformers {__version__}, PyTorch {torch.__version__}", work, logits)


def selective_scan_ref(u, delta, a, b, c, d, z, bias):
    """The formula of state-spaces/mamba's selective_scan_ref: [batch, channels, length], b and c [batch, n, length]."""
    delta = F.softplus(delta + bias[..., None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
    gain = torch.einsum("bdl,bnl,bdl->bdln", delta, b, u)
    state = torch.zeros(u.shape[0], u.shape[1], a.shape[1])
    ys = []
    for i in range(u.shape[2]):
        state = decay[:, :, i] * state + gain[:, :, i]
        ys.append(torch.einsum("bdn,bn->bd", state, c[:, :, i]))
    y = torch.stack(ys, dim=2)
    return (y + u * d[:, None]) * F.silu(z)


def ops():
    length, channels, n = 2048, 1536, 16
    u, delta, z = (torch.rand(1, channels, length) * 2 - 1 for _ in range(3))
    b, c = (torch.rand(1, n, length) * 2 - 1 for _ in range(2))
    a = -torch.arange(1, n + 1).float().repeat(channels, 1)
    d, bias = torch.rand(channels), torch.rand(channels)
    weight, conv_bias = torch.rand(channels, 1, 4), torch.rand(channels)

    def conv():
        return F.silu(F.conv1d(u, weight, conv_bias, padding=3, groups=channels)[..., :length])

    compiled = torch.compile(conv)
    compiled()
    worker.serve(f"PyTorch {torch.__version__}", {
        "scan": (lambda: selective_scan_ref(u, delta, a, b, c, d, z, bias), 1),
        "conv": (conv, 1),
        "conv_compiled": (compiled, 1),
    })  # fmt: skip


def products():
    work = {}
    for name, (m, k, n) in worker.PRODUCTS.items():
        x, w = torch.rand(m, k) - 0.5, torch.rand(n, k) - 0.5
        if ARGS.part == "openblas":
            x, w = x.numpy(), np.ascontiguousarray(w.numpy())
            out = np.empty((m, n), np.float32)
            work[name] = (lambda x=x, w=w, out=out: np.matmul(x, w.T, out=out), 1)
        elif ARGS.part == "mkl":
            work[name] = (lambda x=x, w=w: F.linear(x, w), 1)
        else:
            from torch.utils import mkldnn

            layer = torch.nn.Linear(k, n, bias=False)
            layer.weight.data = w
            packed, dense = mkldnn.to_mkldnn(layer), x.to_mkldnn()
            work[name] = (lambda packed=packed, dense=dense: packed(dense), 1)
            if name in worker.BF16_PRODUCTS:
                xb, wb = x.bfloat16(), w.bfloat16()
                work[name + "_bf16"] = (lambda xb=xb, wb=wb: F.linear(xb, wb), 1)
    version = f"PyTorch {torch.__version__}"
    if ARGS.part == "openblas":
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        version = f"{blas['name']} {blas['version']} of NumPy {np.__version__}"
    worker.serve(version, work)


{"model": model, "compiled": model, "ops": ops}.get(ARGS.part, products)()
