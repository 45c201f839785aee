"""What a trainer says of a fit that has ended."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfnlp.training import hints
from tfnlp.training.state import State


def said(moved: float, *scores: float, epochs: int = 2) -> list[str]:
    history = [{"val_accuracy": score} for score in scores]
    state = State(history=history, best_epoch=int(np.argmax(scores)))
    return list(hints.of(state, "val_accuracy", epochs, moved))


def test_a_last_epoch_that_was_the_best_asks_for_more():
    assert said(1e-3, 0.5, 0.6) == ["the last of 2 epochs was the best: more may help (--epochs 4)"]
    assert said(1e-3, 0.6, 0.5) == said(1e-3, 0.5, 0.6, epochs=3) == []


def test_weights_that_stayed_as_they_were_are_named_and_no_more_epochs_of_that_kind():
    (sentence,) = said(3e-9, 0.5, 0.6)
    assert sentence.startswith("training changed the weights by 3e-09 of what they were")
    assert "raise --learning-rate" in sentence


@pytest.mark.parametrize(("rate", "nothing"), [(1e-12, True), (1e-4, False)])
def test_how_far_weights_are_from_what_they_were(rate, nothing):
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input([64]), keras.layers.Dense(50)])
    network.layers[-1].bias.assign(np.ones(50))
    network.compile(keras.optimizers.Adam(rate), "mse", jit_compile=False)
    before = hints.sampled(network)
    assert len(before) == 1050 + 50 or len(before) <= 2 * 1000  # of the kernel not all
    network.train_on_batch(np.ones([2, 64]), np.zeros([2, 50]))
    moved = hints.moved(before, hints.sampled(network))
    assert (moved < hints.UNCHANGED) is nothing
