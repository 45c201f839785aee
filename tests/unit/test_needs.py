"""Options of commands that would have no effect are refused, before a model is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import explain, needs, predict, serve
from tfnlp.needs import Need
from tfnlp.options import option

HERE = ["none", "a text"]
SERVER = ["http://127.0.0.1:1/v1/models/none", "a text"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([*HERE, "--column", "text=review"], "--column has no effect on texts on the command line"),
        ([*HERE, "--on-bad-row", "skip"], "--on-bad-row skip has no effect on texts"),
        ([*HERE, "--input-format", "csv"], "--input-format csv has no effect on texts"),
        ([*HERE, "--requests", "2"], "--requests 2 has no effect on a model that is not on a"),
        ([*SERVER, "--precision", "float32"], "--precision float32 has no effect on a model"),
        (["none", "--runner", "R", "--precision", "float32"], "--precision float32 has no effect"),
    ],
)
def test_predict_refuses_what_has_no_effect(argv, said):
    with pytest.raises(UserError, match=f"^{said}"):
        predict.main(argv)


@pytest.mark.parametrize("flags", [["--on-bad-row", "skip"], ["--column", "text=review"]])
def test_explain_refuses_what_has_no_effect(flags):
    with pytest.raises(UserError, match="has no effect on texts on the command line"):
        explain.main([*HERE, *flags])


def test_serve_refuses_what_has_no_effect():
    with pytest.raises(UserError, match=r"--batch-wait 5\.0 has no effect with --batch-size 1"):
        serve.run(Path("none"), serve.Options(batch_wait=5.0, batch_size=1))
    with pytest.raises(UserError, match="there is no none"):
        serve.run(Path("none"), serve.Options(batch_wait=5.0, batch_size=2))


@dataclass(frozen=True)
class Section:
    """Options of every kind, none of which has an effect on "nothing"."""

    need = Need(lambda known: known != "nothing", "has no effect on {known}", "ask {known} else")
    rate: float = option(0.5, "a rate", needs=need)
    fast: bool = option(True, "whether to hurry", needs=need)
    words: tuple[str, ...] = option((), "words", flag="--word", needs=need)
    name: str | None = option(None, "a name", needs=Need(need.met, "has none"))
    free: int = option(1, "what needs nothing")


def test_only_other_values_than_the_default_need_something():
    assert list(needs.unmet(Section(free=2), "nothing")) == []
    assert list(needs.unmet(Section(0.1, False, ("a",), "b"), "much")) == []
    assert list(needs.unmet(Section(rate=0.1), "nothing", {"rate": 0.1})) == []
    assert list(needs.unmet(Section(), "nothing", {"rate": 0.1}, "own-")) == [
        "--own-rate 0.5 has no effect on nothing (ask nothing else, or leave out --own-rate)"
    ]
    assert list(needs.unmet(Section(0.1, False, ("a",), "{b}"), "nothing")) == [
        "--rate 0.1 has no effect on nothing (ask nothing else, or leave out --rate)",
        "--no-fast has no effect on nothing (ask nothing else, or leave out --no-fast)",
        "--word has no effect on nothing (ask nothing else, or leave out --word)",
        "--name '{b}' has none (leave out --name)",
    ]
