"""When training stops, and which of equally good epochs is kept."""

import keras
import pytest

from tfnlp.training import checkpoints
from tfnlp.training.callbacks import EarlyStopping
from tfnlp.training.state import State, Watch


def stopped(folder, scores, losses, patience, least=None):
    """Return the state after the last epoch, and how many epochs there were."""
    inputs = keras.Input([1])
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    state = State()
    callback = EarlyStopping(Watch("val_f1", "max", least=least or {}), patience, state, folder)
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, (score, loss) in enumerate(zip(scores, losses, strict=True)):
        logs = {"val_f1": score, "val_loss": loss}
        state.history.append(logs)
        callback.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    return state, len(state.history)


@pytest.mark.parametrize(
    ("losses", "best", "epochs"),
    [
        ([2.0, 1.0, 0.9, 0.8, 0.9, 0.9, 0.9], 3, 6),  # falls on where the score stands still
        ([2.0, 1.0, 1.0, 1.0, 0.5, 0.4, 0.3], 1, 4),  # as high as before is not lower
        ([2.0, 1.0, 1.5, 0.9, 1.0, 0.8, 0.7], 6, 7),  # at the last moment, twice
    ],
)
def test_equal_scores_wait_for_a_lower_loss(tmp_path, losses, best, epochs):
    state, trained = stopped(tmp_path, [0.5, *[0.8] * 6], losses, patience=2)
    assert (state.best_epoch, trained) == (best, epochs)
    assert (state.stopped, state.best) == (epochs < 7, 0.8)
    assert checkpoints.listed(tmp_path, "best-")[-1].name == f"best-{best}"


def test_a_better_score_wins_whatever_its_loss(tmp_path):
    state, _ = stopped(tmp_path, [0.5, 0.8, 0.9, 0.8], [1.0, 0.5, 3.0, 0.1], patience=4)
    assert (state.best_epoch, state.wait) == (2, 1)


@pytest.mark.parametrize(
    ("least", "epochs"),
    [({2: 0.81}, 2), ({2: 0.8}, 4), ({1: 0.4, 3: 0.85}, 3), ({9: 1.0}, 4)],
)
def test_what_is_not_as_good_as_asked_is_given_up(tmp_path, least, epochs):
    state, trained = stopped(tmp_path, [0.5, 0.8, 0.7, 0.7], [1.0] * 4, 4, least)
    assert (trained, state.stopped, state.best_epoch) == (epochs, epochs < 4, 1)


def test_nan_is_not_as_good_as_anything(tmp_path):
    assert stopped(tmp_path, [float("nan")] * 3, [1.0] * 3, 4, {1: 0.1})[1] == 1
