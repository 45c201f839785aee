"""Vocabularies of other families, and files that are none."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from pipelines.tokenizers import sentencepiece, tokenizer


def test_albert_and_deberta_files_keep_their_ids(tmp_path):
    def spm(names):
        model = schema.ModelProto()
        for name, kind in names:
            model.pieces.add(piece=name, score=-1.0, type=kind)
        model.trainer_spec.unk_id = [kind for _, kind in names].index(2)
        return model.SerializeToString()

    front = [("[PAD]", 3), ("[CLS]", 3), ("[SEP]", 3), ("[UNK]", 2), ("▁", 1), ("a", 1)]
    (tmp_path / "spm.model").write_bytes(spm(front))
    deberta = tokenizer.load(tmp_path)
    assert deberta.pieces() == [*(name for name, _ in front), "[MASK]"]
    assert (deberta.pad_id, deberta.start_id, deberta.end_id, deberta.unknown_id) == (0, 1, 2, 3)
    assert (deberta.mask_id, deberta.pair_separators, deberta.segment_of_second) == (6, 1, 1)
    assert deberta.tokenize(tf.constant(["a"])).to_list() == [[4, 5]]


def test_what_cannot_be_used_is_said(tmp_path):
    with pytest.raises(UserError, match="has no vocabulary"):
        tokenizer.load(tmp_path)
    odd = {"normalizer": {"type": "NFKD"}, "model": {"type": "Unigram", "unk_id": 0, "vocab": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(odd))
    with pytest.raises(UserError, match="NFKD"):
        tokenizer.load(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"\xff\xff\xff")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        sentencepiece.load(tmp_path / "spiece.model")
    (tmp_path / "vocab.txt").write_text("a\nb\n[UNK]\n")
    with pytest.raises(UserError, match=r"lacks \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        tokenizer.load(tmp_path)
