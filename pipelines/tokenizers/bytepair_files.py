"""Byte-level BPE from a model's files, in the layouts of Hugging Face and KerasHub, and our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.json_files import read_json
from pipelines.tokenizers.bytepair import CONFIG, MERGES, VOCABULARY, BytePair


def load(folder: Path) -> BytePair | None:
    """Return a byte-level BPE tokenizer read from a folder.

    Args:
        folder: as :meth:`BytePair.save` writes it, in Hugging Face layout (tokenizer.json, or
            vocab.json and merges.txt) or in KerasHub's (assets/tokenizer/).

    Returns:
        None if the folder has no byte-pair vocabulary.

    Raises:
        UserError: it has one whose pieces are not bytes, or that splits text by other rules.

    Example::

        load(Path("gpt2")).vocabulary_size  # 50257
    """
    if (folder / CONFIG).exists():
        config = _json(folder / CONFIG)
        return _read(folder / VOCABULARY, folder / MERGES, config["special"], config)
    file = folder / "tokenizer.json"
    config = _json(file)
    special = roles(folder)
    if config.get("model", {}).get("type") == "BPE":
        digits = _single_digits(config, file)
        model = config["model"]
        added = {token["content"]: token["id"] for token in config.get("added_tokens", [])}
        return _made(model["vocab"] | added, model["merges"], special, digits)
    if _json(folder / "tokenizer_config.json").get("add_prefix_space"):
        raise _own_rule(folder / "tokenizer_config.json")
    for where, name in ((folder, "vocab.json"), (folder / "assets/tokenizer", VOCABULARY)):
        if (where / name).exists() and (where / MERGES).exists():
            return _read(where / name, where / MERGES, special, {})
    return None


def _read(
    vocabulary: Path, merges: Path, special: Mapping[str, str], config: dict[str, Any]
) -> BytePair:
    """Read a vocabulary and its merges from two files."""
    lines = merges.read_text("utf-8").removesuffix("\n").split("\n")
    kept = [line for line in lines if line and not line.startswith("#version")]
    return _made(_json(vocabulary), kept, special, config.get("single_digits", False))


def _made(
    ids: dict[str, int],
    merges: Sequence[str | Sequence[str]],
    special: Mapping[str, str],
    single_digits: bool,
) -> BytePair:
    """Make a tokenizer; an id that no piece has gets a name that no text has."""
    names = {index: piece for piece, index in ids.items()}
    vocabulary = [names.get(i, f"<unused {i}>") for i in range(max(names, default=-1) + 1)]
    pairs = (tuple(m.split(" ") if isinstance(m, str) else m) for m in merges)
    return BytePair(
        tuple(vocabulary), tuple((pair[0], pair[1]) for pair in pairs), special, single_digits
    )


def _single_digits(config: dict[str, Any], where: Path) -> bool:
    """Read the rule for digits from a tokenizer.json, and refuse rules that are not known."""
    steps = _steps(config.get("pre_tokenizer"))
    names = [step["type"] for step in steps]
    if "ByteLevel" not in names or config["model"].get("byte_fallback"):
        raise UserError(
            f"{where} has a byte-pair vocabulary (BPE) whose pieces are not bytes, which cannot be "
            "used here: put the model's own SentencePiece file next to it, or take a model with "
            "byte-level BPE, WordPiece or SentencePiece"
        )
    plain = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    known = [
        step.get(key, default) == default
        for step in steps
        for key, default in (digits if step["type"] == "Digits" else plain).items()
    ]
    if not all(known) or config.get("normalizer") or config["model"].get("ignore_merges"):
        raise _own_rule(where)
    return "Digits" in names


def _own_rule(where: Path) -> UserError:
    """Return the error about another way of splitting text."""
    return UserError(
        f"{where} splits text into words by a rule of its own, not by that of GPT-2 or "
        "SmolLM2, and cannot be used here: take another backbone"
    )


def _steps(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """List the steps of a pre-tokenizer, sequences resolved."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [one for part in step["pretokenizers"] for one in _steps(part)]
    return [step]


def roles(folder: Path) -> dict[str, str]:
    """Read which special tokens play which role, as Hugging Face's files say.

    Args:
        folder: may have special_tokens_map.json and tokenizer_config.json.

    Returns:
        Pieces by their role (start, end, pad, unknown, mask), of those that the files name.

    Example::

        roles(Path("roberta-base"))["start"]  # "<s>"
    """
    said = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    keys = {"start": ("cls", "bos"), "end": ("sep", "eos"), "pad": ("pad",)}
    keys |= {"unknown": ("unk",), "mask": ("mask",)}
    found = {}
    for role, names in keys.items():
        token = next((said[f"{n}_token"] for n in names if said.get(f"{n}_token")), None)
        if token is not None:
            found[role] = token["content"] if isinstance(token, dict) else str(token)
    return found


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON file; {} if there is none."""
    return read_json(file) if file.exists() else {}
