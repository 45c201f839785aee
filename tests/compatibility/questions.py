"""Texts that models of 0.1.0 were asked, by the name of the model's run."""

from __future__ import annotations

from typing import Any

TEXTS = [
    "Ann lives in Oslo.",
    "王明生于成都。",
    "Zoë 👩‍👩‍👧 has never seen New York 🗽!",
    "",
    " \t\n",
    "Tom was born in Köln. " * 12,
    "王明住在罗马，没去过科隆。Li lives in Rome",
    'NUL \x00 inside, a quote " and </s> [SEP]',
]
GAPS = ["Ann lives in [MASK].", "王明[MASK]在[MASK]都。", *TEXTS[2:6], "[MASK] " * 20]
BEGUN = ["Ann", "Tom was born", "王明", "", "👩‍👩‍👧 Zoë", "Tom was born in Köln. " * 12]
MARKED = [
    "<e1>Ann</e1> lives in <e2>Oslo</e2>.",
    "在<e2>成都</e2>有<e1>王明</e1>。",
    "<e1>Zoë 👩‍👩‍👧</e1> has never seen <e2>New York 🗽</e2>!",
    "no marks",
    "",
    "<e1>Tom</e1> was born " + "in Köln, " * 12 + "<e2>Rome</e2>.",
]


def _column(name: str, texts: list[Any]) -> dict[str, list[Any]]:
    return {name: texts}


def _pair(first: str, second: str) -> dict[str, list[str]]:
    return {first: TEXTS, second: [*TEXTS[1:], TEXTS[0]]}


ASKED: dict[str, dict[str, list[Any]]] = {
    "labels": _column("text", TEXTS),
    "spans": _column("text", TEXTS),
    "relations": _column("text", MARKED),
    "tags": _column("text", TEXTS),
    "grades": _pair("text_a", "text_b"),
    "numbers": _column("text", TEXTS),
    "vectors": _pair("text_a", "text_b"),
    "answers": {
        "question": ["Where does Ann live?", "王明住在哪里？", "", "👩‍👩‍👧?", "Where? " * 30],
        "context": [
            "Tom lives in Rome. Ann lives in New York 🗽. Li was born in Oslo.",
            "王明住在科隆。李华没去过成都。",
            "Ann lives in Oslo.",
            "",
            "Zoë has never seen Chengdu. " * 12 + "Tom lives in Köln.",
        ],
    },
    "gaps": _column("text", GAPS),
    "translated": _column("source", TEXTS),
    "written": _column("text", BEGUN),
    "adversarial": _column("text", BEGUN),
    "chat": _column(
        "history",
        [["Tell me of Ann."], ["嗨！", "Hello!", "Tell me of 王明 👩‍👩‍👧."], ["Ann " * 90]],
    ),
    "summarized": _column("document", TEXTS),
    "triples": _column(
        "text", [*TEXTS, "Ann lives in Oslo. Tom was born in Rome. 李华没去过科隆。"]
    ),
}
