"""Pictures show what they are given, in any script."""

from __future__ import annotations

import numpy as np
import pytest

from tfnlp.evaluation import plots


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (40, 25), (3, 90)])
def test_attention_names_its_tokens(rows, columns, tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(columns), rows)
    down, across = [f"t{i}" for i in range(rows)], ["天", "$", "", "##s", "\x00"] * columns
    figure = plots.attention("to $x", down, across[:columns], weights)
    plots.save(figure, tmp_path / "a.png")
    assert max(figure.get_size_inches()) < 25
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == down
    step = 2 if columns > 60 else 1
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == across[:columns:step]
    assert np.array_equal(axes.images[0].get_array(), weights)


@pytest.mark.parametrize("values", [[3], [2, 4, 7], [0, 49], [0, 50], [5, 1000]])
def test_every_bar_of_whole_numbers_stands_for_as_many(values):
    figure = plots.histograms("length", {"a": np.array(values), "b": np.array(values)})
    bars = figure.axes[0].patches
    assert len(bars) <= 2 * 51
    assert len({round(bar.get_width(), 9) for bar in bars}) == 1
    assert bars[0].get_width() == max(1, -(-(max(values) - min(values) + 1) // 50))
    assert sum(bar.get_height() for bar in bars) == pytest.approx(2)


def test_points_of_curves_are_named(tmp_path):
    curves = {"sampling": [(0.1, 0.9, "T 0.5"), (0.4, 0.7, "T 1")], "GAN": [(0.3, 0.5, "天")]}
    figure = plots.plane("quality and diversity", "self-BLEU", "BLEU", curves)
    plots.save(figure, tmp_path / "a.png")
    axes = figure.axes[0]
    assert [note.get_text() for note in axes.texts] == ["T 0.5", "T 1", "天"]
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[0.1, 0.9], [0.4, 0.7]],
        [[0.3, 0.5]],
    ]
    plots.save(plots.plane("", "", "", {}), tmp_path / "b.png")
