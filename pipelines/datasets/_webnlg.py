"""WebNLG read backwards: its texts, and where the things of their triples stand in them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator

from pipelines.datasets._squadshifts import PACKAGE, REQUEST
from pipelines.registry.packages import member

HOMEPAGE = "https://webnlg-challenge.loria.fr/"
LICENSE = f"Package bigbench: Apache-2.0. Data: WebNLG, CC BY-NC-SA 4.0. {REQUEST}"
CITATION = """\
@inproceedings{gardent2017creating,
  title = {Creating Training Corpora for {NLG} Micro-Planners},
  author = {Gardent, Claire and Shimorina, Anastasia and Narayan, Shashi and
    Perez-Beltrachini, Laura},
  booktitle = {Proceedings of the 55th Annual Meeting of the Association for Computational
    Linguistics},
  year = {2017}
}
@misc{srivastava2022beyond,
  title = {Beyond the Imitation Game: Quantifying and extrapolating the capabilities of language
    models},
  author = {Srivastava, Aarohi and others},
  year = {2022},
  eprint = {2206.04615},
  archivePrefix = {arXiv}
}
"""


Span = tuple[int, int]  # start, end [characters]
Triple = tuple[str, str, str]  # subject, relation, object
# A set of triples as written, a text, the places in it, the relations of each pair.
Example = tuple[str, str, dict[str, Span], dict[tuple[str, str], set[str]]]


def examples() -> Iterator[Example]:
    """Yield every text with the places of the subjects and objects that stand in it."""
    path = member(PACKAGE, "bigbench/benchmark_tasks/gem/webnlg_en/task.json")
    for example in json.loads(path.read_text("utf-8"))["examples"]:
        triples = _triples(example["input"])
        for text in example["target"]:
            places = _located(text, {name for s, _, o in triples for name in (s, o)})
            told = defaultdict(set)
            for subject, relation, thing in triples:
                if subject in places and thing in places and subject != thing:
                    told[subject, thing].add(relation)
            yield example["input"], text, places, told


def _triples(written: str) -> list[Triple]:
    """Read ``(subject | relation | object), (...)``."""
    parts = (triple.split(" | ") for triple in written[1:-1].split("), ("))
    return [(subject, relation, thing) for subject, relation, thing in parts]


def _located(text: str, names: set[str]) -> dict[str, Span]:
    """Find names in a text as whole words, the longest first, none inside another."""
    found: dict[str, Span] = {}
    for name in sorted(names, key=lambda name: (-len(name), name)):
        plain = name.replace("_", " ").strip("\"' ")
        for form in (plain, re.sub(r"\s*\([^()]*\)$", "", plain)):
            if not form or name in found:
                continue
            for place in re.finditer(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE):
                start, end = place.span()
                if all(end <= a or start >= b for a, b in found.values()):
                    found[name] = (start, end)
                    break
    return found
