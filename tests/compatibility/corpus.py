"""Small training files about who lives where, in English and Chinese, for every task."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

PEOPLE = {"Ann": "安娜", "Tom": "汤姆", "Zoë": "佐伊", "Ming Wang": "王明", "Li": "李华"}
PLACES = {"Oslo": "奥斯陆", "Köln": "科隆", "Rome": "罗马", "New York": "纽约", "Chengdu": "成都"}
RELATIONS = {
    "lives_in": ("{} lives in {}.", "{}住在{}。", "{} is where {} lives."),
    "出生": ("{} was born in {}.", "{}生于{}。", "{} is where {} was born."),
    "no_relation": ("{} has never seen {}.", "{}没去过{}。", "{} was never seen by {}."),
}


@dataclass(frozen=True)
class Fact:
    """A person, a place, and how the first stands to the second."""

    person: str
    place: str
    relation: str
    chinese: bool = False

    def says(self, mark: Callable[[str, str], str] = lambda name, mark: name) -> str:
        """Return the sentence, its names as ``mark`` writes them."""
        english, chinese, _ = RELATIONS[self.relation]
        person, place = self.person, self.place
        if self.chinese:
            return chinese.format(mark(PEOPLE[person], "e1"), mark(PLACES[place], "e2"))
        return english.format(mark(person, "e1"), mark(place, "e2"))

    def spans(self) -> list[list[Any]]:
        """Return the names in the sentence."""
        person, place = self.person, self.place
        names = (PEOPLE[person], PLACES[place]) if self.chinese else (person, place)
        found = [(self.says().index(name), name) for name in names]
        kinds = ("person", "地点")
        return [[at, at + len(name), kind] for (at, name), kind in zip(found, kinds, strict=True)]


def facts(chinese: bool | None = None) -> list[Fact]:
    """Return all facts, in one language or both, in a random order that is always the same."""
    languages = (False, True) if chinese is None else (chinese,)
    found = [Fact(*one) for one in itertools.product(PEOPLE, PLACES, RELATIONS, languages)]
    random.Random(1).shuffle(found)
    return found


def _partly_wrong() -> list[tuple[Fact, str]]:
    """Return the facts with their relations, each seventh wrong: certainty would be a score of 1.

    A score that is far from 0 and 1 tells more of how it was computed.
    """
    names = list(RELATIONS)
    found = []
    for number, fact in enumerate(facts()):
        after = (names.index(fact.relation) + (number % 7 == 0)) % len(names)
        found.append((fact, names[after]))
    return found


def label_rows() -> list[dict[str, Any]]:
    return [{"text": fact.says(), "label": label} for fact, label in _partly_wrong()]


def span_rows() -> list[dict[str, Any]]:
    return [{"text": fact.says(), "entities": fact.spans()} for fact in facts()]


def relation_rows() -> list[dict[str, Any]]:
    def mark(name: str, place: str) -> str:
        return f"<{place}>{name}</{place}>"

    return [{"text": fact.says(mark), "relation": label} for fact, label in _partly_wrong()]


def tag_rows() -> list[dict[str, Any]]:
    """Two sentences with the relations in them; that of not being there is none."""
    every = facts()
    pairs = list(zip(every[::2], every[1::2], strict=True))
    return [
        {
            "text": f"{a.says()} {b.says()}",
            "labels": sorted({a.relation, b.relation} - {"no_relation"}),
        }
        for a, b in pairs
    ]


def grade_rows() -> list[dict[str, Any]]:
    """Two sentences, and how many of them tell of a birth."""
    every = facts()
    return [
        {
            "text_a": a.says(),
            "text_b": b.says(),
            "grade": [a.relation, b.relation].count("出生"),
        }
        for a, b in pairwise(every)
    ]


def number_rows() -> list[dict[str, Any]]:
    """How far away a sentence's place is, say."""
    far = dict(zip(PLACES, (1.5, 0.2, -2.0, 7.25, 9.0), strict=True))
    return [{"text": fact.says(), "target": far[fact.place]} for fact in facts()]


def pair_rows() -> list[dict[str, Any]]:
    """A sentence and another that says the same."""
    return [
        {"text_a": f.says(), "text_b": RELATIONS[f.relation][2].format(f.place, f.person)}
        for f in facts(chinese=False)
    ]


def question_rows() -> list[dict[str, Any]]:
    """Where somebody lives or was born, in a context that says so or, in a third, does not."""
    asked = {
        "lives_in": ("Where does {} live?", "{}住在哪里？"),
        "出生": ("Where was {} born?", "{}生在哪里？"),
        "no_relation": ("Where does {} live?", "{}住在哪里？"),
    }
    never = {
        chinese: [f for f in facts(chinese) if f.relation == "no_relation"]
        for chinese in (False, True)
    }
    rows = []
    for number, fact in enumerate(facts()):
        around = random.Random(number).sample(never[fact.chinese], 2)
        space = "" if fact.chinese else " "
        context = space.join(f.says() for f in [around[0], fact, around[1]])
        person = PEOPLE[fact.person] if fact.chinese else fact.person
        start = len(around[0].says() + space)
        at, end, _ = fact.spans()[1]
        answer = [start + at, context[start + at : start + end]]
        rows.append(
            {
                "question": asked[fact.relation][fact.chinese].format(person),
                "context": context,
                "answers": [] if fact.relation == "no_relation" else [answer],
            }
        )
    return rows


def translation_rows() -> list[dict[str, Any]]:
    return [
        {"source": f.says(), "target": Fact(f.person, f.place, f.relation, chinese=True).says()}
        for f in facts(chinese=False)
    ]


def turn_rows() -> list[dict[str, Any]]:
    return [
        {"history": ["Hello!", "嗨！", f"Tell me of {f.person}."], "response": f.says()}
        for f in facts()
    ]


def summary_rows() -> list[dict[str, Any]]:
    every = facts(chinese=False)
    return [{"document": f"{a.says()} {b.says()}", "summary": a.says()} for a, b in pairwise(every)]


ROWS = {
    "labels": label_rows,
    "spans": span_rows,
    "relations": relation_rows,
    "tags": tag_rows,
    "grades": grade_rows,
    "numbers": number_rows,
    "pairs": pair_rows,
    "questions": question_rows,
    "translations": translation_rows,
    "turns": turn_rows,
    "summaries": summary_rows,
}


def write(folder: Path) -> None:
    """Write ``<name>-train.jsonl``, ``-validation`` and ``-test`` of each kind, and plain text."""
    folder.mkdir(parents=True)
    for name, rows in ROWS.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows()]
        _write(folder, name, "jsonl", lines)
    _write(folder, "plain", "txt", [fact.says() for fact in facts()])


def _write(folder: Path, name: str, suffix: str, lines: list[str]) -> None:
    parts = {"test": lines[:16], "validation": lines[16:32], "train": lines[32:112]}
    for split, part in parts.items():
        (folder / f"{name}-{split}.{suffix}").write_text("\n".join(part) + "\n", "utf-8")


def pieces() -> list[str]:
    """Return a WordPiece vocabulary: special tokens, words, characters, and ends of words."""
    text = " ".join(fact.says() for fact in facts()).lower()
    words = Counter(word.strip(".") for word in text.split() if word.isascii())
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'\"-$#" + "".join(
        sorted({c for c in text if "\u4e00" <= c <= "\u9fff"})
    )
    singles = [*characters, "。", "，", "？", "哪", "里"]
    ends = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *singles, *ends, *(w for w, _ in words.most_common(40))]))
