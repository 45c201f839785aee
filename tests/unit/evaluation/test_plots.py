"""Pictures show what they are given, in any script."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager

from tfnlp.evaluation import plots
from tfnlp.report import png


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (40, 25), (3, 90)])
def test_attention_names_its_tokens(rows, columns, tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(columns), rows)
    down, across = [f"t{i}" for i in range(rows)], ["天", "$", "", "##s", "\x00"] * columns
    figure = plots.attention("to $x", down, across[:columns], weights)
    (tmp_path / "a.png").write_bytes(png(figure))
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
    (tmp_path / "a.png").write_bytes(png(figure))
    axes = figure.axes[0]
    assert [note.get_text() for note in axes.texts] == ["T 0.5", "T 1", "天"]
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[0.1, 0.9], [0.4, 0.7]],
        [[0.3, 0.5]],
    ]
    (tmp_path / "b.png").write_bytes(png(plots.plane("", "", "", {})))


def test_a_font_installed_after_matplotlibs_first_start_is_used(monkeypatch, tmp_path):
    """Matplotlib lists the fonts of a machine once, in a file that it keeps."""
    font = f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    damaged = tmp_path / "damaged.ttf"
    damaged.write_text("no font")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(damaged), font])
    plots._add_new_fonts.cache_clear()
    plots.confusion_matrix(np.eye(2, dtype=int), ["yes", "no"])
    assert not font_manager.fontManager.ttflist  # looking for them takes a while
    plots.confusion_matrix(np.eye(2, dtype=int), ["天", "地"])
    assert font in {found.fname for found in font_manager.fontManager.ttflist}
    plots._add_new_fonts.cache_clear()


@pytest.mark.parametrize("labels", [2, 50, 60])
def test_a_confusion_matrix_is_legible(labels):
    names = [f"{i} {'标签' * 10}" for i in range(labels)]
    counts = np.eye(labels, dtype=int)
    counts[0] = 1234
    figure = plots.confusion_matrix(counts, names)
    axes = figure.axes[0]
    sizes = {text.get_fontsize() for text in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    assert sizes == {8}
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts[:labels]]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    ticks = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(a.y0 > b.y1 for a, b in itertools.pairwise(ticks))
