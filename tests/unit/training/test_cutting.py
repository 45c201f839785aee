"""What train says of texts that are longer than what is read of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.batching import Sizes
from tfnlp import task
from tfnlp.training import cutting


def told(name, lengths, **options):
    """Return what is said of texts of these lengths, with a backbone of 512 positions."""
    chosen = task.load(name)
    made = chosen.options(**options)
    whole = np.array(lengths)
    read = np.minimum(whole, made.max_length)
    sizes = Sizes(read, np.ones_like(whole), read, whole - read)
    context = SimpleNamespace(kind="encoder", positions=512)
    experiment = SimpleNamespace(options=made)
    return cutting.told(SimpleNamespace(task=chosen, context=context, experiment=experiment), sizes)


def test_nothing_is_said_where_nothing_is_cut():
    assert told("classification", [5, 128]) == ""


def test_rows_tokens_remedy_and_cost_are_said():
    assert told("classification", [100] * 50 + [300] * 50, max_length=100) == (
        "50 of 100 training rows (50.0%) are longer than --max-length 100 has room for, and 50.0% "
        "of all tokens are cut (--max-length 300 reads 95% of the rows whole, and 2.0 times the "
        "tokens)"
    )


@pytest.mark.parametrize(
    ("name", "options", "remedy"),
    [
        ("classification", {}, "(--max-length 512 --windows 3 reads 95% of the rows whole, and"),
        (
            "similarity",
            {},
            "(95% of the rows would need more than the backbone's --max-length",
        ),
        ("classification", {"pair": True}, "would need more than the backbone's --max-length 512)"),
    ],
)
def test_texts_beyond_the_positions_need_windows(name, options, remedy):
    assert remedy in told(name, [1200] * 20, **options)
