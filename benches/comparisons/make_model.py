"""The weights that every peer runs: the shape of mamba-130m, random values, in each peer's own form."""
import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

D, LAYERS, VOCAB, STATE, RANK = 768, 24, 50280, 16, 48
INNER = 2 * D


def tensors():
    random = torch.Generator().manual_seed(1)

    def uniform(scale, *shape):
        return (torch.rand(shape, generator=random) * 2 - 1) * scale

    out = {"backbone.embeddings.weight": uniform(0.02, VOCAB, D), "backbone.norm_f.weight": torch.ones(D)}
    for i in range(LAYERS):
        layer = f"backbone.layers.{i}."
        out[layer + "norm.weight"] = torch.ones(D)
        out[layer + "mixer.in_proj.weight"] = uniform(0.04, 2 * INNER, D)
        out[layer + "mixer.conv1d.weight"] = uniform(0.3, INNER, 1, 4)
        out[layer + "mixer.conv1d.bias"] = uniform(0.1, INNER)
        out[layer + "mixer.x_proj.weight"] = uniform(0.03, RANK + 2 * STATE, INNER)
        out[layer + "mixer.dt_proj.weight"] = uniform(0.1, INNER, RANK)
        out[layer + "mixer.dt_proj.bias"] = uniform(2.0, INNER)
        out[layer + "mixer.A_log"] = uniform(1.0, INNER, STATE)
        out[layer + "mixer.D"] = uniform(0.5, INNER)
        out[layer + "mixer.out_proj.weight"] = uniform(0.02, D, INNER)
    return out


CONFIG = {
    "model_type": "mamba", "architectures": ["MambaForCausalLM"], "hidden_size": D, "num_hidden_layers": LAYERS,
    "vocab_size": VOCAB, "state_size": STATE, "conv_kernel": 4, "expand": 2, "intermediate_size": INNER,
    "time_step_rank": RANK, "use_bias": False, "use_conv_bias": True, "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5, "residual_in_fp32": True, "tie_word_embeddings": True,
    # the names of state-spaces/mamba, which one of the peers reads
    "d_model": D, "n_layer": LAYERS, "ssm_cfg": {}, "rms_norm": True, "fused_add_norm": True,
    "pad_vocab_size_multiple": 8, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip

NAMES = {
    "norm.weight": "attn_norm.weight", "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.conv1d.weight": "ssm_conv1d.weight", "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.x_proj.weight": "ssm_x.weight", "mixer.dt_proj.weight": "ssm_dt.weight",
    "mixer.dt_proj.bias": "ssm_dt.bias", "mixer.A_log": "ssm_a", "mixer.D": "ssm_d",
    "mixer.out_proj.weight": "ssm_out.weight",
}  # fmt: skip


def write_gguf(path, weights, kind):
    writer = gguf.GGUFWriter(str(path), "mamba")
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(LAYERS)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    for name, tensor in weights.items():
        data = tensor.float().numpy()
        if name.startswith("backbone.layers."):
            _, _, layer, rest = name.split(".", 3)
            data = -np.exp(data) if rest == "mixer.A_log" else data
            data = data[:, 0, :] if rest == "mixer.conv1d.weight" else data
            name = f"blk.{layer}.{NAMES[rest]}"
        else:
            name = {"backbone.embeddings.weight": "token_embd.weight"}.get(name, "output_norm.weight")
        matrix = data.ndim == 2 and not name.endswith(("ssm_a", "conv1d.weight"))
        if matrix and kind != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(data, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    weights = tensors()
    for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        stored = {key: value.to(dtype) for key, value in weights.items()}
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(CONFIG | {"torch_dtype": str(dtype).split(".")[1]}))
        # what is not a matrix is f32 there too, of the same values
        kind = gguf.GGMLQuantizationType.F32 if name == "f32" else gguf.GGMLQuantizationType.BF16
        write_gguf(out / f"{name}.gguf", stored, kind)
    (out / "done").write_text("")


if __name__ == "__main__":
    main()
