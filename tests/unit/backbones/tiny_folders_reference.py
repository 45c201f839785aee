"""Write tiny_folders.json: what transformers make of the folders of tiny_folders.py.

Run once, in an environment of its own with torch, transformers and sentencepiece:
``python tests/unit/backbones/tiny_folders_reference.py``. (transformers 4.57.6, torch 2.13.)
"""

import json
import tempfile
from pathlib import Path

import tiny_folders
import torch
from transformers import AutoModel, AutoTokenizer

SHOWN = 3  # numbers of each state


def reference(kind):
    """Return token ids and some hidden states of a kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = tiny_folders.write(kind, Path(name))
        tokenizers = [
            AutoTokenizer.from_pretrained(folder, use_fast=fast) for fast in (True, False)
        ]
        ids = [t(tiny_folders.TEXTS)["input_ids"] for t in tokenizers]
        for fast, slow, text in zip(*ids, tiny_folders.TEXTS, strict=True):
            if fast != slow:
                print(kind, repr(text[:40]), "fast", fast[:40], "slow", slow[:40])
        pairs = tokenizers[0](["the cat"], ["who saw"])["input_ids"][0]
        model = AutoModel.from_pretrained(folder).eval()
        batch = tokenizers[0](
            tiny_folders.TEXTS,
            padding=True,
            truncation=True,
            max_length=tiny_folders.LENGTH,
            return_tensors="pt",
        )
        with torch.no_grad():
            states = model(batch["input_ids"], attention_mask=batch["attention_mask"])
        found = states.last_hidden_state.double()
        lengths = batch["attention_mask"].sum(1).tolist()
    rows = [found[i, :n, :SHOWN].reshape(-1) for i, n in enumerate(lengths)]
    return {
        "ids": ids[0][: tiny_folders.SHORT],
        "pair": pairs,
        "lengths": lengths,
        "states": [[round(x, 6) for x in row.tolist()] for row in rows[: tiny_folders.SHORT]],
        # Of the long text the states of every tenth token.
        "long": [round(x, 6) for x in found[-1, : lengths[-1] : 10, :SHOWN].reshape(-1).tolist()],
    }


if __name__ == "__main__":
    file = Path(__file__).with_name("tiny_folders.json")
    found = {kind: reference(kind) for kind in tiny_folders.KINDS}
    file.write_text(json.dumps(found) + "\n", "utf-8")
