"""Inputs that train refuses before its first step, or takes: what it says of each."""

from __future__ import annotations

from typing import Any

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


def word(number: int) -> str:
    """Return a word of three letters, another one for each number."""
    return "".join(LETTERS[number // base % 26] for base in (676, 26, 1))


def texts(count: int, start: int = 0) -> list[str]:
    return [f"about {word(start + i)} and {word(7 * (start + i))}" for i in range(count)]


def labelled(count: int = 20, start: int = 0, column: str = "label", values: Any = "ab") -> list:
    several = texts(count, start)
    return [{"text": text, column: values[i % len(values)]} for i, text in enumerate(several)]


def related(count: int = 20) -> list[dict]:
    spans = {"head": {"start": 0, "end": 5}, "tail": {"start": 6, "end": 9}}
    return [{**row, **spans} for row in labelled(count, column="relation")]


def asked(count: int = 20, answered: bool = True) -> list[dict]:
    answers = [{"text": "about", "answer_start": 0}] if answered else []
    return [
        {"question": "which word", "context": text, "answers": answers} for text in texts(count)
    ]


def tagged(count: int = 20, tagged: bool = True) -> list[dict]:
    spans = [[6, 9, "THING"]] if tagged else []
    return [{"text": text, "entities": spans} for text in texts(count)]


def paired(count: int = 20, names: tuple[str, str] = ("prompt", "response")) -> list[dict]:
    both = zip(texts(count), texts(count, 500), strict=True)
    return [dict(zip(names, pair, strict=True)) for pair in both]


def plain(count: int = 20) -> list[dict]:
    return [{"text": text} for text in texts(count)]


def compared(count: int = 20, **more: Any) -> list[dict]:
    """Return pairs of texts, with further columns whose values come in turn."""
    pairs = paired(count, ("text_a", "text_b"))
    turns = {name: [*value] * count for name, value in more.items()}
    return [{**pair, **{n: turns[n][i] for n in turns}} for i, pair in enumerate(pairs)]


def talks(*roles: str) -> list[dict]:
    """Return chats whose messages have these roles."""
    said = ("hi", "you there", "yes", "bye", "so long")
    messages = [{"role": r, "content": t} for r, t in zip(roles, said, strict=False)]
    return [{"messages": [*messages[:-1], {**messages[-1], "content": t}]} for t in texts(20)]


SCRATCH = ["--backbone=scratch:1x64", "--vocabulary-size=100"]
BOTH = ("source", "target")
MANY = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 300))  # characters
# Task, rows by split, flags, and what train says; "" if it begins.
CASES: dict[str, tuple[str, dict[str, list[dict]], list[str], str]] = {
    "good": ("classification", {"train": labelled()}, [], ""),
    "one label": ("classification", {"train": labelled(values="a")}, [], "every row has"),
    "a row each": ("classification", {"train": labelled(5, values="abcde")}, [], "one row for"),
    "one row": ("classification", {"train": labelled(1)}, [], "1 row, too few"),
    "no rows": ("classification", {"train": []}, [], "has no rows"),
    "limited to one row": (
        "classification", {"train": labelled()}, ["--limit=1"], "with --limit 1 has 1 row"
    ),
    "no column": ("classification", {"train": plain()}, [], "has no column 'label'"),
    "another column": (
        "classification", {"train": labelled(column="kind")}, ["--label-column=kind"], ""
    ),
    "an empty text": (
        "classification", {"train": [*labelled(), {"text": "", "label": "a"}]}, [], "is empty"
    ),
    "a text of which nothing is seen": (
        "masked_lm", {"train": [*plain(), {"text": "\u200b"}]}, [], "is empty: it has only"
    ),
    "an empty text is left out": (
        "classification",
        {"train": [*labelled(), {"text": "", "label": "a"}]},
        ["--on-bad-row=skip"],
        "",
    ),
    "an empty text is kept aside": (
        "classification",
        {"train": [*labelled(), {"text": "", "label": "a"}]},
        ["--on-bad-row=quarantine"],
        "",
    ),
    "an empty text in test": (
        "classification",
        {"train": labelled(), "test": [*labelled(3), {"text": "", "label": "a"}]},
        [],
        "is empty",
    ),
    "empty texts only": (
        "classification",
        {"train": [{"text": "", "label": "a"}] * 3},
        ["--on-bad-row=skip"],
        "no usable row",
    ),
    "an unknown label in validation": (
        "classification",
        {"train": labelled(), "validation": labelled(6, 50, values="abx")},
        [],
        "label 'x' is not among",
    ),
    "an unknown label in test": (
        "classification",
        {"train": labelled(), "test": labelled(6, 50, values="abx")},
        [],
        "",
    ),
    "an unknown label that is limited away": (
        "classification",
        {"train": labelled(), "validation": labelled(9, 50, values="axb")},
        ["--limit-held-out=2"],
        "",
    ),
    "an unknown label that is not": (
        "classification",
        {"train": labelled(), "validation": labelled(9, 50, values="xab")},
        ["--limit-held-out=2"],
        "label 'x' is not among",
    ),
    "no file": ("classification", {"train": labelled()}, ["--test=none.csv"], "is no file"),
    "too long": (
        "classification", {"train": labelled()}, ["--max-length=65"], "--max-length 65"
    ),
    "as long as may be": (
        "classification", {"train": labelled()}, ["--max-length=64"], ""
    ),
    "too many frozen layers": (
        "classification", {"train": labelled()}, ["--freeze-layers=3"], "--freeze-layers 3"
    ),
    "every layer frozen": ("classification", {"train": labelled()}, ["--freeze-layers=2"], ""),
    "too many layers": ("classification", {"train": labelled()}, ["--layers=3"], "has 2 layers"),
    "no backbone": ("classification", {"train": labelled()}, ["--backbone=brt"], "no backbone"),
    "from scratch": (
        "classification", {"train": labelled()}, ["--backbone=scratch"], "is for tasks that write"
    ),
    "no workers": (
        "classification", {"train": labelled()}, ["--distribute=multiworker"], "needs TF_CONFIG"
    ),
    "replicas": ("classification", {"train": labelled()}, ["--distribute=mirrored"], ""),
    "runs cannot be written": (
        "classification", {"train": labelled()}, ["--tensorboard-logs=train.jsonl"], "cannot write"
    ),
    "no SavedModel can be written": (
        "classification", {"train": labelled()}, ["--saved-models=train.jsonl"], "cannot write"
    ),
    "a range": ("classification", {"train": labelled()}, ["--max-length=0"], "2"),
    "two sources": ("classification", {"train": labelled()}, ["--dataset=trec"], "both given"),
    "no second text": (
        "classification", {"train": labelled()}, ["--pair", "--text-a-column=text"], "text_b"
    ),
    "numbers": ("regression", {"train": labelled(column="target", values=[1.5, 2.5])}, [], ""),
    "one number": (
        "regression", {"train": labelled(column="target", values=[1.5])}, [], "every row has"
    ),
    "numbers that are one in float32": (
        "regression",
        {"train": labelled(column="target", values=[1e9 + 1, 1e9 + 2])},
        [],
        "all the same in float32",
    ),
    "a 0 or 1 for each label": (
        "multi_label",
        {"train": labelled(column="labels", values=[[0, 1, 0], [1, 0, 0]])},
        [],
        "a 0 or 1 for each label",
    ),
    "no number": ("regression", {"train": labelled(column="target")}, [], "number"),
    "grades": ("ordinal", {"train": labelled(column="grade", values=[1, 2, 3])}, [], ""),
    "one grade": ("ordinal", {"train": labelled(column="grade", values=[1])}, [], "needs two"),
    "too many grades": (
        "ordinal", {"train": labelled(250, column="grade", values=range(125))}, [], "at most 100"
    ),
    "labels": (
        "multi_label", {"train": labelled(column="labels", values=[["a"], ["a", "b"], []])}, [], ""
    ),
    "no labels": (
        "multi_label", {"train": labelled(column="labels", values=[[]])}, [], "no row has a label"
    ),
    "entities": ("ner", {"train": tagged()}, [], ""),
    "no entities": ("ner", {"train": tagged(tagged=False)}, [], "no row has a labelled span"),
    "entities elsewhere": (
        "ner", {"train": [*tagged(), {"text": "a", "entities": [[0, 9, "THING"]]}]}, [], "row 21"
    ),
    "answers": ("extractive_qa", {"train": asked()}, [], ""),
    "no answers": ("extractive_qa", {"train": asked(answered=False)}, [], "no question has"),
    "relations": ("relation_extraction", {"train": related()}, [], ""),
    "texts": ("similarity", {"train": plain()}, [], ""),
    "texts without dropout": (
        "similarity", {"train": plain()}, ["--dropout=0"], "under other dropout"
    ),
    "one text": ("similarity", {"train": plain(1) * 20}, [], "the same text"),
    "pairs": ("similarity", {"train": compared()}, ["--pair"], ""),
    "pairs with labels": ("similarity", {"train": compared(label=[0, 1])}, ["--pair"], ""),
    "pairs that mean the same": ("similarity", {"train": compared(label=[1])}, ["--pair"], ""),
    "pairs that do not": (
        "similarity", {"train": compared(label=[0])}, ["--pair"], "every row has 0 in 'label'"
    ),
    "labels of pairs in words": (
        "similarity", {"train": compared(label=["neutral"])}, ["--pair"], "neither a number nor"
    ),
    "triplets": ("similarity", {"train": compared(negative=texts(20, 900))}, ["--pair"], ""),
    "triplets with scores": (
        "similarity", {"train": compared(negative=["c"], score=[0, 1])}, ["--pair"], "from one of"
    ),
    "no scores in validation": (
        "similarity",
        {"train": compared(score=[0, 1]), "validation": compared(5)},
        ["--pair"],
        "it has no 'score'",
    ),
    "no scores in test": (
        "similarity", {"train": compared(score=[0, 1]), "test": compared(5)}, ["--pair"], ""
    ),
    "a column of scores that is not there": (
        "similarity", {"train": compared()}, ["--pair", "--score-column=gold"], "column 'gold'"
    ),
    "changed copies of pairs": (
        "similarity", {"train": compared()}, ["--pair", "--augment=aeda"], "leave out --augment"
    ),
    "masked texts": ("masked_lm", {"train": plain()}, [], ""),
    "masked texts of nothing": (
        "masked_lm", {"train": [{"text": "\u0301"}] * 20}, [], "no text to learn from"
    ),
    "nothing in validation": (
        "masked_lm",
        {"train": plain(), "validation": [{"text": "\u0301"}] * 2},
        [],
        "no text to learn from",
    ),
    "blocks too long": ("masked_lm", {"train": plain()}, ["--max-length=65"], "--max-length 65"),
    "a language": ("language_model", {"train": plain()}, SCRATCH, ""),
    "a language of an encoder": ("language_model", {"train": plain()}, [], "is encoder"),
    "a vocabulary too small": (
        "language_model", {"train": [{"text": MANY}] * 20}, SCRATCH, "of 100 pieces"
    ),
    "a size that is none": (
        "language_model", {"train": plain()}, ["--backbone=scratch:1x65"], "not of the form"
    ),
    "no room to write": (
        "language_model",
        {"train": plain()},
        [*SCRATCH, "--max-length=1000", "--max-tokens=64"],
        "with --max-tokens 64",
    ),
    "prompts": ("language_model", {"train": paired()}, [*SCRATCH, "--pair"], ""),
    "prompts with room to write": (
        "language_model",
        {"train": paired()},
        [*SCRATCH, "--pair", "--max-length=960", "--max-tokens=64"],
        "",
    ),
    "prompts without room to write": (
        "language_model",
        {"train": paired()},
        [*SCRATCH, "--pair", "--max-length=961", "--max-tokens=64"],
        "with --max-tokens 64",
    ),
    "layers of what has none": (
        "language_model", {"train": plain()}, [*SCRATCH, "--freeze-layers=2"], "--freeze-layers 2"
    ),
    "turns of a tool": (
        "dialogue", {"train": talks("user", "tool", "assistant")}, SCRATCH[1:], "a turn of 'tool'"
    ),
    "a system prompt that comes late": (
        "dialogue", {"train": talks("user", "system", "assistant")}, SCRATCH[1:], "after the first"
    ),
    "translations": (
        "translation", {"train": paired(names=BOTH)}, ["--vocabulary-size=100"], ""
    ),
    "translations with too few pieces": (
        "translation", {"train": [dict.fromkeys(BOTH, MANY)] * 20}, SCRATCH[1:], "of 100 pieces"
    ),
    "few weights of none that were trained": (
        "language_model", {"train": plain()}, [*SCRATCH, "--peft=bitfit"], "has only random ones"
    ),
    "few weights": ("classification", {"train": labelled()}, ["--peft=bitfit"], ""),
    "an option without effect": (
        "classification", {"train": labelled()}, ["--overlap=8"], "no effect with --windows 1"
    ),
    "a share beside rows for validation": (
        "classification",
        {"train": labelled(), "validation": labelled(6, 50)},
        ["--validation-share=0.2"],
        "there are rows for validation",
    ),
    "a share of train beside rows for testing": (
        "classification",
        {"train": labelled(), "test": labelled(6, 50)},
        ["--test-share=0.2"],
        "there are test rows besides",
    ),
    "a share of train for testing": (
        "classification", {"train": labelled()}, ["--test-share=0.2"], ""
    ),
    "no row that could be set aside": (
        "classification",
        {"train": labelled(5, values="abcde")},
        ["--test-share=0.2"],
        "can be kept for test",
    ),
    "rates of layers that are not trained": (
        "classification",
        {"train": labelled()},
        ["--layer-decay=0.9", "--freeze-layers=2"],
        "no layer of the backbone is trained",
    ),
    "a label for none that no row has": (
        "relation_extraction", {"train": related()}, ["--none-label=nothing"], "no row of train"
    ),
    "pairs one by one": (
        "similarity", {"train": compared()}, ["--pair", "--batch-size=1"], "give at least 2"
    ),
    "a temperature for scores": (
        "similarity", {"train": compared(score=[0, 1])}, ["--pair", "--temperature=1"], "scores"
    ),
    "a vector for words": ("ner", {"train": tagged()}, ["--projector=9"], "no one vector"),
    "a decoder on what writes": (
        "language_model", {"train": paired()}, [*SCRATCH, "--pair", "--decoder-layers=1"], "itself"
    ),
    "a strategy of another task": (
        "classification", {"train": labelled()}, ["--strategy=gan"], "--strategy gan is for"
    ),
}  # fmt: skip
