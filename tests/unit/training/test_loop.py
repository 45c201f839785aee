"""Exact resume in one process, on a small model with everything that has a state."""

from __future__ import annotations

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp import config
from tfnlp.runtime.signals import Interrupted, Signals
from tfnlp.task import Objective
from tfnlp.training import callbacks, checkpoints, loop, optimizers
from tfnlp.training.state import Feed, State, Watch

ROWS, SIZE, EPOCHS = 40, 8, 4
STEPS = ROWS // SIZE


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


def made(
    accumulate: int = 1,
    precision: str = "float32",
    dropout: float = 0.5,
    frozen: bool = False,
    **settings,
):
    """A compiled classifier of 3 labels and its objective; its first layer may be frozen."""
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(7)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    hidden = keras.layers.Dropout(dropout)(keras.layers.LayerNormalization()(hidden))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))
    model.layers[1].trainable = not frozen
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    metrics = [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.F1Score(average="macro", name="f1"),
    ]
    chosen = {"learning_rate": 0.02, "accumulate": accumulate, **settings}
    optimizer = optimizers.adamw(config.Optimizer(**chosen), STEPS * EPOCHS, ())
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.evaluate(data(0, 1), verbose=0)
    return model, Objective(loss, metrics, "val_accuracy", "max")


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype("float32")
    y = np.eye(3, dtype="float32")[(x @ random.normal(size=(4, 3))).argmax(-1)]
    return x, y


def data(epoch: int, steps: int = STEPS, poison: float | None = None) -> tf.data.Dataset:
    x, y = rows(ROWS, 1)
    if poison is not None:
        x[29] = poison
    order = np.random.default_rng((5, epoch)).permutation(ROWS)
    return tf.data.Dataset.from_tensor_slices((x[order], y[order])).batch(SIZE).take(steps)


def feed(poison: float | None = None) -> Feed:
    def batches(epochs: range, start: int) -> tf.data.Dataset:
        whole = data(epochs.start, poison=poison)
        for epoch in epochs[1:]:
            whole = whole.concatenate(data(epoch, poison=poison))
        return whole.skip(start)

    def numbers(epoch: int, batch: int) -> list[int]:
        order = np.random.default_rng((5, epoch)).permutation(ROWS)
        return [int(i) + 1 for i in order[batch * SIZE : (batch + 1) * SIZE]]

    held = tf.data.Dataset.from_tensor_slices(rows(16, 2)).batch(8)
    return Feed(batches, lambda epoch: STEPS, lambda epoch: epoch * STEPS, numbers, held, 2)


def train(folder, model, objective, *, resume=False, patience=3, minutes=0.0, poison=None, by=()):
    return loop.fit(
        model,
        Watch(objective.monitor, objective.mode),
        feed(poison),
        epochs=EPOCHS,
        patience=patience,
        folder=folder,
        minutes=minutes,
        resume=resume,
        callbacks=by,
    )


def values(model: keras.Model) -> list[np.ndarray]:
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(v.numpy()) for v in variables]


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it and save."""


class Kill(keras.callbacks.Callback):
    """Breaks off, or sends a signal, at the n-th event of a run."""

    def __init__(self, at: int, signum: int = 0) -> None:
        super().__init__()
        self.at, self.signum, self.seen = at, signum, 0

    def event(self, *args, **kwargs) -> None:
        self.seen += 1
        if self.seen == self.at:
            if not self.signum:
                raise Killed
            os.kill(os.getpid(), self.signum)

    on_train_batch_begin = on_train_batch_end = on_test_begin = on_test_batch_end = event
    on_epoch_begin = on_epoch_end = on_train_begin = event


def same(folder, whole, **settings) -> None:
    """Resume in a new process's stead until the end, and compare with the whole run."""
    model, objective = made(**settings)
    state = train(folder, model, objective, resume=True)
    found, wanted = ({**each.__dict__, "seconds": 0} for each in (state, whole[0]))
    assert json.dumps(found) == json.dumps(wanted)
    assert state.seconds > 0
    for a, b in zip(values(model), whole[1], strict=True):
        np.testing.assert_array_equal(a, b)


def uninterrupted(folder, **settings):
    model, objective = made(**settings)
    state = train(folder, model, objective)
    return state, values(model)


EVERYTHING = {"accumulate": 2, "schedule": "cosine"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return uninterrupted(tmp_path_factory.mktemp("whole"), **EVERYTHING)


def test_a_run_uses_all_that_is_to_be_kept(whole):
    state, _ = whole
    assert [sorted(h) for h in state.history] == [
        ["accuracy", "f1", "loss", "val_accuracy", "val_f1", "val_loss"]
    ] * len(state.history)
    names = [v.path for v in made(**EVERYTHING)[0].variables]
    assert any("seed_generator" in name for name in names)


@pytest.mark.parametrize(
    "at", [14, 27, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 8, 16, 47))]
)
def test_killed_anywhere_it_ends_as_if_it_was_not(tmp_path, whole, at):
    model, objective = made(**EVERYTHING)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(at)])
    same(tmp_path, whole, **EVERYTHING)


@pytest.mark.parametrize(
    ("at", "signum"),
    [
        (5, signal.SIGTERM),
        (12, signal.SIGINT),
        pytest.param(14, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(16, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_the_run_goes_on(tmp_path, whole, at, signum):
    before = signal.getsignal(signum)
    model, objective = made(**EVERYTHING)
    try:
        with pytest.raises(Interrupted, match=r"with --resume to continue") as stop:
            train(tmp_path, model, objective, minutes=1e9, by=[Kill(at, signum)])
        assert signal.getsignal(signum) is signal.SIG_DFL  # a second one kills
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signum, before)
    assert stop.value.signum == signum
    newest = checkpoints.newest(tmp_path, "step-")
    if 12 <= at < 16:  # at the last batch or in the validation of the first epoch
        assert checkpoints.read_state(newest)["step"] == STEPS  # nothing is trained again
    same(tmp_path, whole, **EVERYTHING)


@pytest.mark.slow
def test_killed_several_times(tmp_path, whole):
    for i, at in enumerate([8, 3, 14, 1, 9]):
        model, objective = made(**EVERYTHING)
        with pytest.raises(Killed):
            train(tmp_path, model, objective, resume=i > 0, by=[Kill(at)])
    same(tmp_path, whole, **EVERYTHING)


@pytest.mark.parametrize("damaged", ["step", "best"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, damaged, caplog):
    model, objective = made(**EVERYTHING)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(22)])
    kept = checkpoints.listed(tmp_path, damaged + "-")
    data_file = next(kept[-1].glob("variables.data*"))
    data_file.write_bytes(data_file.read_bytes()[:-50])
    same(tmp_path, whole, **EVERYTHING)
    assert "is damaged" in caplog.text


def test_a_run_that_has_ended_is_not_trained_on(tmp_path, whole):
    model, objective = made(**EVERYTHING)
    train(tmp_path, model, objective)
    same(tmp_path, whole, **EVERYTHING)


def test_the_seconds_before_a_kill_count(tmp_path, monkeypatch):
    """Those until the last checkpoint: what came after it is trained again."""
    clock = iter(range(0, 10**9, 100))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    model, objective = made(**EVERYTHING)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(22)])
    before = checkpoints.read_state(checkpoints.newest(tmp_path, "step-"))["seconds"]
    assert before >= 100
    model, objective = made(**EVERYTHING)
    callbacks.Saver(tmp_path, resumed := State(), feed(), 1.0, Signals("")).load(model)
    assert resumed.seconds == before
    model, objective = made(**EVERYTHING)
    assert train(tmp_path, model, objective, resume=True).seconds > before + 100


@pytest.mark.parametrize(
    "precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
def test_mixed_precision_is_resumed_exactly(tmp_path, precision):
    settings = {"precision": precision, "accumulate": 3}
    whole = uninterrupted(tmp_path / "whole", **settings)
    assert np.isfinite([h["loss"] for h in whole[0].history]).all()
    model, objective = made(**settings)
    if precision == "mixed_float16":
        names = [v.path for v in model.optimizer.variables]
        assert any("dynamic_scale" in name for name in names)
    with pytest.raises(Killed):
        train(tmp_path / "run", model, objective, by=[Kill(21)])
    same(tmp_path / "run", whole, **settings)


def test_dropout_goes_on_where_it_was(tmp_path):
    """Without its generator's state a resumed run would draw the first masks again."""
    model, objective = made()
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(9)])
    seeds = [v.numpy() for v in model.variables if "seed_generator" in v.path]
    resumed, _ = made()
    fresh = [v.numpy() for v in resumed.variables if "seed_generator" in v.path]
    state = State()
    signals = Signals("")
    callbacks.Saver(tmp_path, state, feed(), 1.0, signals).load(resumed)
    found = [v.numpy() for v in resumed.variables if "seed_generator" in v.path]
    assert state.step > 1
    np.testing.assert_array_equal(found, seeds)
    assert not np.array_equal(found, fresh)


def test_a_poisoned_row_stops_the_run_and_is_named(tmp_path):
    model, objective = made(accumulate=1)
    order = [feed().rows(0, batch) for batch in range(STEPS)]
    place = next(i for i, numbers in enumerate(order) if 30 in numbers)
    with pytest.raises(UserError, match="the loss became nan") as stop:
        train(tmp_path, model, objective, poison=np.inf)
    message = str(stop.value)
    assert f"epoch 1, batch {place + 1} (rows {', '.join(map(str, order[place]))})" in message
    newest = checkpoints.newest(tmp_path, "step-")
    if place == 0:
        assert newest is None
        assert "no checkpoint was written yet" in message
    else:
        assert str(newest) in message
        assert checkpoints.read_state(newest)["step"] == place
        for array in loaded(newest):
            assert np.isfinite(array).all()


def loaded(folder) -> list[np.ndarray]:
    reader = tf.train.load_checkpoint(str(folder / "variables"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variable_")]
    arrays = [reader.get_tensor(name) for name in names]
    return [array for array in arrays if array.dtype.kind == "f"]


def test_weights_that_are_no_numbers_are_not_written(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 3:
                self.model.layers[1].kernel.assign(np.full((4, 16), np.nan))

    model, objective = made()
    with pytest.raises(UserError, match=r"kernel became NaN.*last good checkpoint.*step-2"):
        train(tmp_path, model, objective, by=[Break()])
    assert [f.name for f in checkpoints.listed(tmp_path, "step-")] == ["step-1", "step-2"]


def test_a_huge_learning_rate_is_stopped(tmp_path):
    model, objective = made(learning_rate=1e38, clip_norm=0.0, warmup=0.0)
    with pytest.raises(UserError, match=r"became (nan|inf|NaN or infinite).*learning-rate"):
        train(tmp_path, model, objective)
    for folder in tmp_path.iterdir():
        assert all(np.isfinite(array).all() for array in loaded(folder))


def test_answers_that_are_no_numbers_stop_the_run(tmp_path):
    class Enlarge(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == STEPS:
                for weight in self.model.trainable_variables:
                    weight.assign(weight * 0 + 1e38)

    model, objective = made()
    with pytest.raises(UserError, match=r"validation rows became nan in epoch 1; .*learning-rate"):
        train(tmp_path, model, objective, by=[Enlarge()])


def test_the_best_epoch_wins_and_early_stopping_counts(tmp_path):
    class Bad(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                for weight in self.model.trainable_variables:
                    weight.assign(tf.zeros_like(weight.value))

    model, objective = made(learning_rate=1e-5)
    state = train(tmp_path, model, objective, patience=2, by=[Bad()])
    held = [h["val_accuracy"] for h in state.history]
    assert state.best_epoch == max(i for i, value in enumerate(held) if value == max(held))
    assert state.best == max(held)
    score = model.evaluate(feed().validation, return_dict=True, verbose=0)["accuracy"]
    assert score == pytest.approx(max(held))


def test_accumulating_two_halves_is_one_batch():
    """16 + 16 accumulated rows and 32 at once give the same update, clipping included."""
    x, y = rows(64, 3)

    def after(size: int, accumulate: int, **settings) -> list[np.ndarray]:
        model, _ = made(accumulate, dropout=0.0, **settings)
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
        model.fit(batches, verbose=0)
        return [v.numpy() for v in model.trainable_variables]

    settings = {"schedule": "constant", "warmup": 0.0, "clip_norm": 0.1}
    for a, b in zip(after(16, 2, **settings), after(32, 1, **settings), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    unlike = zip(after(16, 1, **settings), after(32, 1, **settings), strict=True)
    assert max(np.abs(a - b).max() for a, b in unlike) > 1e-3


def test_an_epoch_of_fewer_batches_than_accumulate_makes_one_update(tmp_path):
    """The weights are those after one batch of all rows, of each epoch; a checkpoint has them."""
    settings = {"schedule": "constant", "warmup": 0.0, "clip_norm": 0.1, "dropout": 0.0}
    few, objective = made(64, **settings)
    state = train(tmp_path, few, objective)
    assert int(few.optimizer.iterations) == EPOCHS
    assert state.history[0]["val_loss"] != state.history[-1]["val_loss"]
    whole, _ = made(1, **settings)
    whole.fit(tf.data.Dataset.from_tensors(rows(ROWS, 1)).repeat(EPOCHS), verbose=0)
    callbacks.Saver(tmp_path, State(), feed(), 1.0, Signals("")).load(few)  # after the last epoch
    for a, b in zip(few.trainable_variables, whole.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def test_a_checkpoint_without_a_count_of_rows_is_resumed(tmp_path):
    """0.1.0 kept a sum of gradients, and no count."""
    model, objective = made(2)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(5)])  # after a batch
    held = model.optimizer.held
    newest = checkpoints.newest(tmp_path, "step-")
    state = checkpoints.read_state(newest)
    saver = callbacks.Saver(tmp_path, State(), feed(), 1.0, Signals(""))
    old = [v for v in saver._variables(model, {}) if v is not held.value]
    sums = [v.numpy() for v in model.optimizer._accumulated_gradients]
    assert (state["step"], float(held)) == (1, 1)
    checkpoints.write(newest, old, {k: v for k, v in state.items() if k != "frozen"})
    resumed, _ = made(2)
    saver.load(resumed)
    assert float(resumed.optimizer.held) == SIZE
    for a, b in zip(resumed.optimizer._accumulated_gradients, sums, strict=True):
        np.testing.assert_allclose(a, b * SIZE, rtol=1e-6)
