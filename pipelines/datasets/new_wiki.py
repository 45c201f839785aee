"""SQuADShifts' new Wikipedia: questions on paragraphs, with their answers in them (English)."""

from __future__ import annotations

from pipelines.datasets import _holdout
from pipelines.datasets._squadshifts import SquadShifts


class NewWiki(SquadShifts, skip_registration=True):  # type: ignore[call-arg]
    """Questions of SQuAD's kind on 48 articles of Wikipedia, each answered in its paragraph.

    It was made as a test set for SQuAD; here the articles are divided by their titles, about a
    tenth each for validation and test, so that no article stands in two splits. Eight answers
    that begin one character after their offset are corrected.
    """

    STEM = "new_wiki"

    def split_of(self, title: str) -> str:
        """Return the split in which an article's questions belong."""
        return _holdout.split_of(title)
