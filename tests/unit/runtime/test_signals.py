"""Signals that end a command, and what TensorFlow makes of them."""

import os
import signal

import pytest

from tfnlp.runtime import signals


@pytest.fixture
def _handlers():
    """Give the signals back to whoever had them."""
    before = {each: signal.getsignal(each) for each in signals.SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def _fails_as_tensorflow_does(sent, error):
    with signals.caught("; go on"):
        try:
            os.kill(os.getpid(), sent)
        except KeyboardInterrupt as stop:
            if error:
                raise error from stop


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("sent", signals.SIGNALS)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("MISMATCH of original and normalized exception types"),
        TypeError("call() missing 1 required positional argument"),
        None,  # lost in a callback of C++
    ],
    ids=repr,
)
def test_a_signal_that_tensorflow_swallows_or_makes_an_error_of_stops_the_command(sent, error):
    with pytest.raises(signals.Interrupted) as stop:
        _fails_as_tensorflow_does(sent, error)
    assert (stop.value.signum, str(stop.value)) == (sent, f"{sent.name}; go on")


def test_errors_without_a_signal_stay_as_they_are():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match=r"^of another kind$"), signals.caught("; go on"):
        raise RuntimeError("of another kind")
    assert signal.getsignal(signal.SIGTERM) is before
