"""Tiny encoders in Hugging Face layout: random weights from a seed, and vocabularies of each kind.

They are made anew where they are needed, so that no weights are kept in the repository. What
Hugging Face's transformers make of the same folders is in tiny_folders.json, which
tiny_folders_reference.py wrote once.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2 as schema

HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 32, 48, 2, 4, 200
TEXTS = [
    "Who saw the test?",
    "  Café NAÏVE — it's THE  Test",
    "今天天气很好 👍🏽 ok",
    "",
    "the cat sat on the mat and saw " * 20,
]
SHORT = 4  # of the texts, those that are cut at no token
LENGTH = 150  # tokens at which the last one is cut: more than MPNet tells distances apart
WORDS = ["the", "test", "cat", "cafe", "naive", "saw", "who", "on", "mat", "and", "ok", "it", "##s"]
CHINESE = "今天气很好"
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
ALPHABET = [
    *map(chr, range(0x21, 0x7F)),
    *map(chr, range(0xA1, 0xAD)),
    *map(chr, range(0xAE, 0x100)),
]
ALPHABET += [chr(256 + i) for i in range(68)]
MERGES = "t h|th e|Ġ the|Ġ t|e s|es t|Ġt est|Ġ c|a t|Ġc at|Ġ s|a w|Ġs aw|Ã ©|a f|af Ã©|ä »|ä» Ĭ"
MERGES = MERGES.split("|")
SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
BERT_LAYER = {
    "attention.self.query": (HIDDEN, HIDDEN),
    "attention.self.key": (HIDDEN, HIDDEN),
    "attention.self.value": (HIDDEN, HIDDEN),
    "attention.output.dense": (HIDDEN, HIDDEN),
    "attention.output.LayerNorm": (HIDDEN,),
    "intermediate.dense": (INNER, HIDDEN),
    "output.dense": (HIDDEN, INNER),
    "output.LayerNorm": (HIDDEN,),
}
MPNET_LAYER = {
    **{f"attention.attn.{part}": (HIDDEN, HIDDEN) for part in "qkvo"},
    "attention.LayerNorm": (HIDDEN,),
    **{name: BERT_LAYER[name] for name in ("intermediate.dense", "output.dense")},
    "output.LayerNorm": (HIDDEN,),
}
DISTILBERT_LAYER = {
    **{f"attention.{part}_lin": (HIDDEN, HIDDEN) for part in ("q", "k", "v", "out")},
    "sa_layer_norm": (HIDDEN,),
    "ffn.lin1": (INNER, HIDDEN),
    "ffn.lin2": (HIDDEN, INNER),
    "output_layer_norm": (HIDDEN,),
}
KINDS = ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet")


def write(kind: str, folder: Path) -> Path:
    """Write a folder of a kind, with config.json, model.safetensors and vocabulary; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    size, config = VOCABULARIES[kind](folder)
    config |= {"model_type": kind, "vocab_size": size, **SIZES}
    if kind == "distilbert":
        names = {"dim": HIDDEN, "hidden_dim": INNER, "n_layers": LAYERS, "n_heads": HEADS}
        config = {"model_type": kind, "vocab_size": size, **names, "activation": "gelu"}
        config |= {"dropout": 0.1, "max_position_embeddings": POSITIONS, "pad_token_id": 0}
    elif kind == "mpnet":
        config["relative_attention_num_buckets"] = 32
    else:
        config["type_vocab_size"] = 2 if kind == "bert" else 1
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(weights(kind, size), folder / "model.safetensors", {"format": "pt"})
    return folder


def weights(kind: str, size: int) -> dict[str, np.ndarray]:
    """Return random tensors by the names that a checkpoint of the bare encoder has."""
    random = np.random.default_rng(zlib.crc32(kind.encode()))
    made = {}

    def add(name: str, shape: tuple[int, ...], deviation: float) -> None:
        made[name] = random.normal(0, deviation, shape).astype("float32")

    def layer(name: str, shape: tuple[int, ...]) -> None:
        if len(shape) == 1:  # a norm
            made[f"{name}.weight"] = random.uniform(0.5, 1.5, shape).astype("float32")
        else:
            add(f"{name}.weight", shape, 0.3)
        add(f"{name}.bias", shape[:1], 0.1)

    add("embeddings.word_embeddings.weight", (size, HIDDEN), 1.0)
    add("embeddings.position_embeddings.weight", (POSITIONS, HIDDEN), 0.5)
    if kind in ("bert", "roberta", "xlm-roberta"):
        rows = 2 if kind == "bert" else 1
        add("embeddings.token_type_embeddings.weight", (rows, HIDDEN), 0.5)
    layer("embeddings.LayerNorm", (HIDDEN,))
    if kind == "mpnet":
        add("encoder.relative_attention_bias.weight", (32, HEADS), 1.0)
    names = {"mpnet": MPNET_LAYER, "distilbert": DISTILBERT_LAYER}.get(kind, BERT_LAYER)
    block = "transformer.layer" if kind == "distilbert" else "encoder.layer"
    for number in range(LAYERS):
        for name, shape in names.items():
            layer(f"{block}.{number}.{name}", shape)
    if kind != "distilbert":
        layer("pooler.dense", (HIDDEN, HIDDEN))
    return made


def _wordpiece(folder: Path, special: list[str], tokenizer: str, **roles: str) -> int:
    """Write vocab.txt and tokenizer_config.json; returns the number of pieces."""
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    pieces += [*CHINESE, "'", "?", "—", "👍"]
    text = "".join(f"{piece}\n" for piece in dict.fromkeys(pieces))
    (folder / "vocab.txt").write_text(text, "utf-8")
    config = {"tokenizer_class": tokenizer, "do_lower_case": True, **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return text.count("\n")


def _bert(folder: Path) -> tuple[int, dict]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return _wordpiece(folder, special, "BertTokenizer"), {"pad_token_id": 0}


def _distilbert(folder: Path) -> tuple[int, dict]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return _wordpiece(folder, special, "DistilBertTokenizer"), {"pad_token_id": 0}


def _mpnet(folder: Path) -> tuple[int, dict]:
    special = ["<s>", "<pad>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special.append("<mask>")
    roles = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "[UNK]"}
    size = _wordpiece(folder, special, "MPNetTokenizer", mask_token="<mask>", **roles)
    return size, {"pad_token_id": 1}


def _roberta(folder: Path) -> tuple[int, dict]:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *ALPHABET]
    pieces += [merge.replace(" ", "") for merge in MERGES]
    pieces.append("<mask>")
    ids = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), "utf-8")
    config = {"tokenizer_class": "RobertaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(ids), {"pad_token_id": 1}


def _xlm_roberta(folder: Path) -> tuple[int, dict]:
    model = schema.ModelProto()
    pieces = ["▁the", "▁test", "▁cat", "▁saw", "▁", "at", "s", "th", "ok", *CHINESE, "今天", "👍"]
    characters = [*LETTERS, *map(str.upper, LETTERS), *"éÏ'?—"]
    every = dict.fromkeys(["<unk>", "<s>", "</s>", *pieces, *characters])
    for place, piece in enumerate(every):
        kind = 2 if place == 0 else 3 if place < 3 else 1
        score = 0.0 if place < 3 else -2.0 - 0.1 * place
        model.pieces.add(piece=piece, score=score, type=kind)
    model.normalizer_spec.name = "identity"
    (folder / "sentencepiece.bpe.model").write_bytes(model.SerializeToString())
    config = {"tokenizer_class": "XLMRobertaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(model.pieces) + 2, {"pad_token_id": 1}  # <pad> and <mask> are not in the file


VOCABULARIES = {
    "bert": _bert,
    "distilbert": _distilbert,
    "roberta": _roberta,
    "xlm-roberta": _xlm_roberta,
    "mpnet": _mpnet,
}
