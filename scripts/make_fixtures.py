#!/usr/bin/env python3
"""Write the golden files under tests/data: tiny Mamba models with their outputs, and per-op cases.

    python3 -m venv venv && venv/bin/pip install -r scripts/requirements.txt
    venv/bin/python scripts/make_fixtures.py            # rewrite tests/data
    venv/bin/python scripts/make_fixtures.py --check    # regenerate elsewhere and compare, within 1e-5

Takes seconds on a CPU. All numbers come from fixed seeds. tests/data/README.md describes the files.

The f32 outputs are those of the Hugging Face model. The f64 outputs come from `model_f64` below, which is written from
the paper's equations alone. A model is stored only if the two agree, if Hugging Face can continue decoding from its
caches to the same logits, and if the files that Hugging Face can read load back to the same weights.
"""

import argparse
import json
import math
import re
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, FalconMambaConfig, MambaConfig, logging

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
DECODED = 5  # tokens of the decoding check


@dataclass
class Model:
    """One configuration: `hf` are the keyword arguments of the Hugging Face config class."""

    hf: dict
    length: int
    falcon: bool = False
    dtype: torch.dtype = torch.float32  # of the stored weights; the arithmetic is f32 and f64
    shard_size: str = "1GB"
    stored_config: dict = field(default_factory=dict)  # keys overwritten in the saved config.json
    state_spaces: dict | None = None  # config.json of the original format, if that is stored


SMALL = dict(hidden_size=16, state_size=16, conv_kernel=4, num_hidden_layers=2, vocab_size=32)
MODELS = {
    "hf_tied_n16_k4": Model(
        dict(hidden_size=24, state_size=16, conv_kernel=4, num_hidden_layers=2, vocab_size=40), length=23
    ),
    "hf_bias_untied_n8_k3": Model(
        dict(hidden_size=20, state_size=8, conv_kernel=3, num_hidden_layers=3, vocab_size=33, time_step_rank=3,
             use_bias=True, use_conv_bias=False, tie_word_embeddings=False, layer_norm_epsilon=1e-3),
        length=23,
    ),
    "hf_odd19_n1_k2": Model(
        dict(hidden_size=19, state_size=1, conv_kernel=2, num_hidden_layers=2, vocab_size=32), length=31,
        stored_config={"time_step_rank": "auto"},
    ),
    "hf_n64_k4": Model(
        dict(hidden_size=16, state_size=64, conv_kernel=4, num_hidden_layers=2, vocab_size=32), length=19
    ),
    "falcon_n16_k4": Model(
        dict(hidden_size=24, state_size=16, conv_kernel=4, num_hidden_layers=2, vocab_size=40, time_step_rank=4,
             expand=16, intermediate_size=48, mixer_rms_eps=1e-2, tie_word_embeddings=False),
        length=21, falcon=True,
    ),
    "state_spaces_n16_k4": Model(
        dict(hidden_size=24, state_size=16, conv_kernel=4, num_hidden_layers=2, vocab_size=40), length=20,
        state_spaces=dict(d_model=24, n_layer=2, vocab_size=37, ssm_cfg={}, rms_norm=True, residual_in_fp32=True,
                          fused_add_norm=True, pad_vocab_size_multiple=8),
    ),
    "state_spaces_ssm_cfg_n8_k3": Model(
        dict(hidden_size=12, state_size=8, conv_kernel=3, num_hidden_layers=2, vocab_size=32, time_step_rank=5,
             expand=3, use_bias=True, use_conv_bias=False, tie_word_embeddings=False),
        length=20,
        state_spaces=dict(d_model=12, d_intermediate=0, n_layer=2, vocab_size=30,
                          ssm_cfg=dict(layer="Mamba1", d_state=8, d_conv=3, expand=3, dt_rank=5, bias=True,
                                       conv_bias=False),
                          attn_layer_idx=[], attn_cfg={}, rms_norm=True, residual_in_fp32=True, fused_add_norm=True,
                          pad_vocab_size_multiple=16, tie_embeddings=False),
    ),
    "hf_f16_n16_k4": Model(SMALL, length=17, dtype=torch.float16),
    "hf_bf16_n16_k4": Model(SMALL, length=17, dtype=torch.bfloat16),
    "hf_sharded_n16_k4": Model(SMALL, length=17, shard_size="16KB"),
}


class Draw:
    """Seeded random tensors. NumPy's generator gives the same numbers on every machine."""

    def __init__(self, name: str):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def normal(self, *shape, scale=1.0, mean=0.0) -> torch.Tensor:
        return torch.from_numpy(mean + scale * self.rng.standard_normal(shape)).float()

    def uniform(self, *shape, low, high) -> torch.Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, shape)).float()

    def tokens(self, batch, length, vocab) -> torch.Tensor:
        return torch.from_numpy(self.rng.integers(0, vocab, (batch, length)))


def require(condition: bool, message: str):
    if not condition:
        raise SystemExit(f"make_fixtures: {message}")


def require_close(got: dict, want: dict, tolerance: float, what: str):
    for name in want:
        error = (got[name].double() - want[name].double()).abs().max().item()
        scale = max(1.0, want[name].abs().max().item())
        require(error <= tolerance * scale, f"{what}: {name} differs by {error:.3e}")


# ---- the models ----


def draw_weight(draw: Draw, name: str, shape: torch.Size, state_size: int) -> torch.Tensor:
    """Order-one activations, and delta = softplus(..) spread over 1e-3 to 1, so every term matters."""
    if name.endswith("A_log"):
        return torch.log(torch.arange(1.0, shape[1] + 1.0)) + draw.normal(*shape, scale=0.2)
    if name.endswith("dt_proj.bias"):
        delta = torch.exp(draw.uniform(*shape, low=math.log(1e-3), high=0.0))
        return delta + torch.log(-torch.expm1(-delta))  # the inverse of softplus
    if name.endswith(("norm.weight", "norm_f.weight", "mixer.D")):
        return draw.normal(*shape, scale=0.3, mean=1.0)
    if name.endswith("bias"):
        return draw.normal(*shape, scale=0.3)
    if name.endswith(("embeddings.weight", "lm_head.weight")):
        return draw.normal(*shape, scale=0.7)
    gain = 1.2
    if name.endswith("x_proj.weight"):
        gain = 1.6 * state_size**-0.25  # y sums state_size products of B and C
    elif name.endswith("dt_proj.weight"):
        gain = 0.8
    return draw.normal(*shape, scale=gain / math.sqrt(shape[1:].numel()))


def build(model: Model, draw: Draw):
    """The Hugging Face model with random weights, rounded to the stored type and widened to f32 again."""
    hf = AutoModelForCausalLM.from_config((FalconMambaConfig if model.falcon else MambaConfig)(**model.hf)).eval()
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            parameter.copy_(draw_weight(draw, name, parameter.shape, hf.config.state_size).to(model.dtype).float())
    return hf


def run_hf(hf, tokens, cache=None) -> tuple[dict, object]:
    with torch.no_grad():
        out = hf(tokens, cache_params=cache, use_cache=True, output_hidden_states=True)
    *layers, normed = out.hidden_states  # the output of every block, then that of norm_f
    result = {"logits": out.logits, "normed": normed, "hidden.0": hf.backbone.embeddings(tokens).detach()}
    for i, layer in enumerate(layers):
        result[f"hidden.{i + 1}"] = layer
        result[f"conv_state.{i}"] = out.cache_params.layers[i].conv_states[0]
        result[f"ssm_state.{i}"] = out.cache_params.layers[i].recurrent_states[0]
    return {name: tensor.clone().contiguous() for name, tensor in result.items()}, out.cache_params


def check_decoding(hf, tokens, whole: dict):
    """A cached prefix, then one token at a time, gives the logits and the caches of the whole sequence."""
    prefix = tokens.shape[1] - DECODED
    out, cache = run_hf(hf, tokens[:, :prefix])
    logits = [out["logits"]]
    for t in range(prefix, tokens.shape[1]):
        out, cache = run_hf(hf, tokens[:, t : t + 1], cache)
        logits.append(out["logits"])
    states = {name: out[name] for name in whole if "state" in name}
    decoded = {"logits": torch.cat(logits, dim=1), **states}
    require_close(decoded, {name: whole[name] for name in decoded}, 1e-5, "decoding")


def rms_norm(x, eps, weight=1.0):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def model_f64(weights: dict, config, tokens) -> dict:
    """The network in float64, from its equations. b batch, l length, d d_inner, n d_state, r dt_rank, k d_conv."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    n, r, k = config.state_size, config.time_step_rank, config.conv_kernel
    mixer_eps = getattr(config, "mixer_rms_eps", None)  # only Falcon normalises dt, B and C
    residual = w["backbone.embeddings.weight"][tokens]  # b l d_model
    out = {"hidden.0": residual}
    for i in range(config.num_hidden_layers):
        layer = f"backbone.layers.{i}."
        p = {name.removeprefix(layer): tensor for name, tensor in w.items() if name.startswith(layer)}
        normed = rms_norm(residual, config.layer_norm_epsilon, p["norm.weight"])
        xz = normed @ p["mixer.in_proj.weight"].T + p.get("mixer.in_proj.bias", 0.0)
        x, z = xz.chunk(2, dim=-1)  # b l d
        padded = F.pad(x, (0, 0, k, 0))
        out[f"conv_state.{i}"] = padded[:, -k:].transpose(1, 2)  # b d k
        length = x.shape[1]
        taps = [padded[:, j + 1 : j + 1 + length] * p["mixer.conv1d.weight"][:, 0, j] for j in range(k)]
        x = F.silu(sum(taps) + p.get("mixer.conv1d.bias", 0.0))
        dt, b, c = (x @ p["mixer.x_proj.weight"].T).split([r, n, n], dim=-1)
        if mixer_eps is not None:
            dt, b, c = (rms_norm(value, mixer_eps) for value in (dt, b, c))
        delta = F.softplus(dt @ p["mixer.dt_proj.weight"].T + p["mixer.dt_proj.bias"])  # b l d
        a = -torch.exp(p["mixer.A_log"])  # d n
        h = torch.zeros(*x.shape[::2], n, dtype=torch.float64)  # b d n
        y = torch.empty_like(x)
        for t in range(length):
            h = torch.exp(delta[:, t, :, None] * a) * h + (delta[:, t] * x[:, t])[:, :, None] * b[:, t, None]
            y[:, t] = (h * c[:, t, None]).sum(-1) + p["mixer.D"] * x[:, t]
        out[f"ssm_state.{i}"] = h
        y = (y * F.silu(z)) @ p["mixer.out_proj.weight"].T + p.get("mixer.out_proj.bias", 0.0)
        residual = residual + y
        out[f"hidden.{i + 1}"] = residual
        require(delta.min() < 1e-2 and delta.max() > 0.5, f"layer {i}: delta hardly varies")
    out["normed"] = rms_norm(residual, config.layer_norm_epsilon, w["backbone.norm_f.weight"])
    out["logits"] = out["normed"] @ w["lm_head.weight"].T
    require(0.5 < residual.std() < 5.0 and 0.5 < out["logits"].std() < 5.0, "the activations are degenerate")
    return {name: tensor.contiguous() for name, tensor in out.items()}


def save_model(hf, model: Model, folder: Path):
    """config.json and the weights, under the names and in the files of the published checkpoints."""
    if model.state_spaces is None:
        hf.to(model.dtype).save_pretrained(folder, max_shard_size=model.shard_size)
        (folder / "generation_config.json").unlink()
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | model.stored_config, indent=2) + "\n")
        config = AutoConfig.from_pretrained(folder)
        reloaded = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=model.dtype)
        require_close(reloaded.state_dict(), hf.state_dict(), 0.0, "reloading")
    else:
        (folder / "config.json").write_text(json.dumps(model.state_spaces, indent=2) + "\n")
        renamed = {name.replace("embeddings.", "embedding."): w.clone() for name, w in hf.state_dict().items()}
        save_file(renamed, folder / "model.safetensors", {"format": "pt"})


def write_model(name: str, model: Model, root: Path):
    folder = root / name
    folder.mkdir()
    draw = Draw(name)
    hf = build(model, draw)
    vocab = (model.state_spaces or model.hf)["vocab_size"]
    tokens = draw.tokens(2, model.length, vocab)
    f32, _ = run_hf(hf, tokens)
    check_decoding(hf, tokens, f32)
    f64 = model_f64(hf.state_dict(), hf.config, tokens)
    require_close(f32, f64, 1e-5, name)
    f64 = {re.sub(r"^[a-z_]+", r"\g<0>_f64", key): value for key, value in f64.items()}  # hidden_f64.0, logits_f64
    save_file({"tokens": tokens, **f32, **f64}, folder / "expected.safetensors")
    save_model(hf, model, folder)
    require(model.shard_size == "1GB" or len(list(folder.glob("model-*-of-00002.safetensors"))) == 2, "not two shards")


# ---- the ops ----


def conv_case(draw: Draw, b, d, l, k, bias=False, silu=False, initial=False) -> dict:
    """out[t] = act(bias + sum_j weight[j] x[t - (k-1) + j]), where x before 0 is the initial state, or zero."""
    case = {"x": draw.normal(b, d, l), "weight": draw.normal(d, k)}
    if bias:
        case["bias"] = draw.normal(d)
    if initial:
        case["initial_state"] = draw.normal(b, d, k - 1)
    x, weight = case["x"].double(), case["weight"].double()
    left = case["initial_state"].double() if initial else torch.zeros(b, d, k - 1, dtype=torch.float64)
    padded = torch.cat([left, x], dim=2)
    out = F.conv1d(padded, weight[:, None], case["bias"].double() if bias else None, groups=d)
    case["silu"] = torch.tensor([int(silu)])
    case["out"] = F.silu(out) if silu else out
    if k > 1:
        case["final_state"] = padded[:, :, -(k - 1) :]
    return case


def scan_case(draw: Draw, b, d, l, n, groups=None, skip=False, gate=False, delta_bias=False, softplus=False,
              initial=False, wide=False) -> dict:
    """h = exp(delta A) h + delta B u, y = C h + D u, out = y silu(z). `groups` None: constant B and C."""
    case = {"u": draw.normal(b, d, l), "A": -torch.exp(draw.normal(d, n, scale=0.7))}
    if wide:  # softplus is the identity above 20, and almost zero far below
        case["delta"] = draw.normal(b, d, l, scale=12.0)
    else:
        case["delta"] = draw.normal(b, d, l, mean=-1.5, scale=1.5)
        case["delta"] = case["delta"] if softplus else torch.exp(case["delta"])
    for name in ("B", "C"):
        case[name] = draw.normal(d, n) if groups is None else draw.normal(b, groups, n, l)
    if skip:
        case["D"] = draw.normal(d)
    if gate:
        case["z"] = draw.normal(b, d, l)
    if delta_bias:
        case["delta_bias"] = draw.normal(d, mean=-1.0) if softplus else draw.uniform(d, low=0.01, high=0.5)
    if initial:
        case["initial_state"] = draw.normal(b, d, n)
    w = {name: tensor.double() for name, tensor in case.items()}
    delta = w["delta"] + w["delta_bias"][:, None] if delta_bias else w["delta"]
    require(not wide or (delta.min() < -20 and delta.max() > 20), "delta is not wide")
    delta = F.softplus(delta) if softplus else delta
    if groups is None:
        bs, cs = (w[name][None, :, :, None].expand(b, d, n, l) for name in "BC")
    else:
        bs, cs = (w[name].repeat_interleave(d // groups, dim=1) for name in "BC")  # b d n l
    h = w.get("initial_state", torch.zeros(b, d, n, dtype=torch.float64))
    out = torch.empty_like(w["u"])
    for t in range(l):
        h = torch.exp(delta[:, :, t, None] * w["A"]) * h + (delta * w["u"])[:, :, t, None] * bs[..., t]
        out[:, :, t] = (h * cs[..., t]).sum(-1)
    if skip:
        out = out + w["D"][:, None] * w["u"]
    if gate:
        out = out * F.silu(w["z"])
    return {**case, "delta_softplus": torch.tensor([int(softplus)]), "out": out, "last_state": h}


def rms_norm_case(draw: Draw, rows, d, eps, scale=1.0, residual=False) -> dict:
    """out = weight s / sqrt(mean(s^2) + eps), where s = x, or x + residual, which is then returned too."""
    case = {"x": draw.normal(rows, d, scale=scale), "weight": draw.normal(d, mean=1.0, scale=0.3)}
    if residual:
        case["residual"] = draw.normal(rows, d, scale=scale)
    s = case["x"].double() + (case["residual"].double() if residual else 0.0)
    if residual:
        case["residual_out"] = s
    return {**case, "eps": torch.tensor([eps], dtype=torch.float64), "out": rms_norm(s, eps, case["weight"].double())}


def write_ops(root: Path):
    draw = Draw("ops")
    cases = {
        "conv.k1": conv_case(draw, 2, 3, 5, 1),
        "conv.k2_bias": conv_case(draw, 2, 5, 9, 2, bias=True),
        "conv.k4_bias_silu": conv_case(draw, 2, 19, 21, 4, bias=True, silu=True),
        "conv.k4_initial": conv_case(draw, 1, 8, 17, 4, initial=True),
        "conv.k5_bias_silu_initial": conv_case(draw, 2, 7, 18, 5, bias=True, silu=True, initial=True),
        "conv.k5_initial_short": conv_case(draw, 2, 3, 2, 5, silu=True, initial=True),
        "scan.plain": scan_case(draw, 2, 4, 19, 8, groups=1),
        "scan.all": scan_case(draw, 2, 6, 33, 16, groups=1, skip=True, gate=True, delta_bias=True, softplus=True,
                              initial=True),
        "scan.groups2": scan_case(draw, 2, 6, 17, 4, groups=2, skip=True, softplus=True),
        "scan.wide_delta": scan_case(draw, 2, 3, 20, 8, groups=1, skip=True, softplus=True, wide=True),
        "scan.groups2_gate_initial": scan_case(draw, 1, 4, 12, 16, groups=2, gate=True, delta_bias=True, initial=True),
        "scan.n1_bias": scan_case(draw, 2, 5, 31, 1, groups=1, skip=True, delta_bias=True),
        "scan.n64_gate": scan_case(draw, 1, 3, 10, 64, groups=1, gate=True, softplus=True),
        "scan.constant_bc": scan_case(draw, 2, 4, 15, 8, skip=True, gate=True, delta_bias=True, softplus=True),
        "scan.step": scan_case(draw, 3, 5, 1, 16, groups=1, skip=True, gate=True, delta_bias=True, softplus=True,
                               initial=True),
        "rms_norm.d24": rms_norm_case(draw, 5, 24, 1e-5),
        "rms_norm.d19_small": rms_norm_case(draw, 4, 19, 1e-5, scale=3e-3),
        "rms_norm.d33_residual": rms_norm_case(draw, 3, 33, 1e-6, residual=True),
    }
    flat = {f"{case}.{name}": tensor for case, tensors in cases.items() for name, tensor in tensors.items()}
    save_file({name: tensor.contiguous() for name, tensor in flat.items()}, root / "ops.safetensors")


# ---- the command ----


def write_all(root: Path):
    for name, model in MODELS.items():
        write_model(name, model, root)
    write_ops(root)


def check(stored: Path, fresh: Path):
    """The stored files are those of this script, floats within 1e-5 (relative above one)."""
    listed, wanted = (
        sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.suffix in (".json", ".safetensors"))
        for root in (stored, fresh)
    )
    require(listed == wanted, f"the stored files are not those of this script: {set(listed) ^ set(wanted)}")
    for path in listed:
        if path.endswith(".json"):
            same = json.loads((stored / path).read_text()) == json.loads((fresh / path).read_text())
            require(same, f"{path} differs")
            continue
        old, new = load_file(stored / path), load_file(fresh / path)
        require(old.keys() == new.keys(), f"{path}: other tensors")
        for name in old:
            same = old[name].shape == new[name].shape and old[name].dtype == new[name].dtype
            tolerance = 1e-5 if old[name].is_floating_point() else 0.0
            same = same and torch.allclose(old[name].double(), new[name].double(), rtol=tolerance, atol=tolerance)
            require(same, f"{path}: {name} differs")
    print(f"{len(listed)} files are up to date")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the stored files, write nothing")
    check_only = parser.parse_args().check
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        write_all(fresh)
        if check_only:
            check(DATA, fresh)
            return
        shutil.copytree(fresh, DATA, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
