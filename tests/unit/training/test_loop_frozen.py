"""Checkpoints of a network of which a part is frozen."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.runtime.signals import Signals
from tfnlp.training import callbacks, checkpoints
from tfnlp.training.state import State

from . import test_loop
from .test_loop import Kill, Killed, feed, made, train, values

float32 = test_loop.float32  # a fixture


def shapes(folder) -> list[list[int]]:
    return sorted(shape for _, shape in tf.train.list_variables(str(folder / "variables")))


def test_checkpoints_leave_out_what_is_frozen(tmp_path):
    model, objective = made(frozen=True)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(20)])
    (best,) = checkpoints.listed(tmp_path, "best-")
    for folder in (checkpoints.newest(tmp_path, "step-"), best):
        assert [4, 16] not in shapes(folder)
        assert [16, 3] in shapes(folder)
    resumed, objective = made(frozen=True)
    train(tmp_path, resumed, objective, resume=True)
    unbroken, objective = made(frozen=True)
    train(tmp_path / "unbroken", unbroken, objective)
    for a, b in zip(values(resumed), values(unbroken), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_frozen_backbone_is_refused(tmp_path):
    model, objective = made(frozen=True)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(20)])
    other, objective = made(frozen=True)
    other.layers[1].kernel.assign_add(np.full((4, 16), 1e-3))
    with pytest.raises(UserError, match="the backbone is another one than before"):
        train(tmp_path, other, objective, resume=True)


def test_a_checkpoint_of_0_1_0_holds_the_frozen_too(tmp_path):
    model, objective = made(frozen=True)
    with pytest.raises(Killed):
        train(tmp_path, model, objective, by=[Kill(20)])
    (best,) = checkpoints.listed(tmp_path, "best-")
    checkpoints.write(best, callbacks.values_of(model.variables), {"epoch": 0})
    newest = checkpoints.newest(tmp_path, "step-")
    state = {k: v for k, v in checkpoints.read_state(newest).items() if k != "frozen"}
    saver = callbacks.Saver(tmp_path, State(), feed(), 1.0, Signals(""))
    checkpoints.write(newest, saver._variables(model, state), state)
    resumed, objective = made(frozen=True)
    assert train(tmp_path, resumed, objective, resume=True).history
