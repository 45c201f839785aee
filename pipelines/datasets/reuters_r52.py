"""Reuters-21578 R52: what a news story is about (English, 52 classes)."""

from __future__ import annotations

from pipelines.datasets._orange import TopicBuilder


class ReutersR52(TopicBuilder, skip_registration=True):  # type: ignore[call-arg]
    """News stories of 1987 by topic: those of Reuters-21578 with exactly one of 52 topics.

    The standard (ModApte) split. The texts are lower-cased, without digits and punctuation.
    """

    STEM = "reuters-r52"
    HOMEPAGE = (
        "https://archive.ics.uci.edu/dataset/137/reuters+21578+text+categorization+collection"
    )
    DATA_LICENSE = "Data: research use, copyright Reuters Ltd. (Reuters-21578, Distribution 1.0)."
    CITATION = """\
@misc{lewis1997reuters,
  title = {Reuters-21578 Text Categorization Test Collection, Distribution 1.0},
  author = {Lewis, David D.},
  year = {1997}
}
"""
    TOPICS = (
        "acq",
        "alum",
        "bop",
        "carcass",
        "cocoa",
        "coffee",
        "copper",
        "cotton",
        "cpi",
        "cpu",
        "crude",
        "dlr",
        "earn",
        "fuel",
        "gas",
        "gnp",
        "gold",
        "grain",
        "heat",
        "housing",
        "income",
        "instal-debt",
        "interest",
        "ipi",
        "iron-steel",
        "jet",
        "jobs",
        "lead",
        "lei",
        "livestock",
        "lumber",
        "meal-feed",
        "money-fx",
        "money-supply",
        "nat-gas",
        "nickel",
        "orange",
        "pet-chem",
        "platinum",
        "potato",
        "reserves",
        "retail",
        "rubber",
        "ship",
        "strategic-metal",
        "sugar",
        "tea",
        "tin",
        "trade",
        "veg-oil",
        "wpi",
        "zinc",
    )
