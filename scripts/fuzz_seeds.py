"""Seeds of the fuzz targets, from the golden checkpoints: fuzz_seeds.py TESTS_DATA CORPUS.

Targets that take several files take each as its length in four bytes, little-endian, and its bytes.
"""

import json
import pathlib
import struct
import sys

TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 3, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
                      "normalized": False, "special": True}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
              "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
}


def sections(*files):
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def safetensors(tensors, metadata):
    """Tensors of zeros in f32: {name: shape}."""
    header, end = {"__metadata__": metadata}, 0
    for name, shape in tensors.items():
        size = 4
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def main():
    data, corpus = map(pathlib.Path, sys.argv[1:])

    def seed(target, name, content):
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    for folder in sorted(path.parent for path in data.glob("*/config.json")):
        config = (folder / "config.json").read_bytes()
        index = folder / "model.safetensors.index.json"
        shards = [path.read_bytes() for path in sorted(folder.glob("model*.safetensors"))]
        index = index.read_bytes() if index.exists() else b""
        seed("config", folder.name, config)
        shards = (shards + [b""])[:2]
        seed("checkpoint", folder.name, sections(config, index, *shards, b'{"eos_token_id": [1, 2], "top_k": 3}'))
    for name, text in [("list", '{"eos_token_id": [0, 7], "do_sample": true, "temperature": 0.7, "top_p": 0.9, "top_k": 5}'),
                       ("one", '{"eos_token_id": 2}')]:
        seed("generation_config", name, text.encode())
    metadata = {"format": "mamba-kernels state", "version": "1"}
    pools = {f"{name}.{i}": [1, rows, 8] for i in range(2) for name, rows in [("conv", 3), ("ssm", 2)]}
    seed("state", "small", safetensors(pools, metadata))
    seed("tokenizer", "bpe", sections(json.dumps(TOKENIZER).encode(), b"ab a<|end|>b"))
    for name, model in [("word", {"type": "WordLevel", "vocab": {"a": 0, "[U]": 1}, "unk_token": "[U]"}),
                        ("unigram", {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]})]:
        seed("tokenizer", name, sections(json.dumps({**TOKENIZER, "model": model}).encode(), b"a b"))


if __name__ == "__main__":
    main()
