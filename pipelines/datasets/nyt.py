"""SQuADShifts' New York Times: questions on paragraphs, with their answers in them (English)."""

from __future__ import annotations

from pipelines.datasets._squadshifts import SquadShifts


class Nyt(SquadShifts, skip_registration=True):  # type: ignore[call-arg]
    """Questions of SQuAD's kind on 797 articles of the New York Times; a test split only.

    It is for evaluating models that were trained on Wikipedia. Ten answers that begin one character
    after their offset are corrected.
    """

    STEM = "nyt"

    def split_of(self, title: str) -> str:
        """Return the split in which an article's questions belong."""
        return "test"
