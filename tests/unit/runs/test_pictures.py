"""Pictures of reports in TensorBoard."""

from matplotlib.figure import Figure

from tfnlp.runs import tensorboard


def test_characters_that_no_font_has_are_drawn_without_a_warning(recwarn):
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.text(0.5, 0.5, "\U000f0000")
    width, height, drawn = tensorboard._image("report/a", figure).value[0].tensor.string_val
    assert (width, height, drawn[:4]) == (b"100", b"50", b"\x89PNG")
    assert not recwarn.list
