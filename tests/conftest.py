"""What all tests share: their options, and a processor of which all have the abilities."""

import gc

import pytest

from tfnlp.runtime import precision
from tfnlp.runtime.threads import start


@pytest.fixture(autouse=True, scope="session")
def processor():
    """Multiply in float32 on every machine, so that tests can compare digits.

    Yields what says what the processor is really quick at.
    """
    really = precision.bfloat16_is_faster
    precision.bfloat16_is_faster = lambda: False
    yield really
    precision.bfloat16_is_faster = really


@pytest.fixture(autouse=True, scope="session")
def threads():
    """Give each core a thread as tfnlp.train does, before any test has used TensorFlow."""
    start()
    gc.set_threshold(100_000)  # as in commands (tfnlp/runtime/exit_status.py)


@pytest.fixture(autouse=True, scope="module")
def garbage():
    """Collect what a module has left, and look no further at what stays: it takes minutes."""
    yield
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    group = parser.getgroup("serving")
    group.addoption(
        "--target",
        metavar="URL",
        help="run tests/serving against this REST server, a real TF Serving say, in place of "
        "`python -m tfnlp.serve`; it mounts what `python -m tests.serving.models FOLDER` writes, "
        "which prints how to start it",
    )
    group.addoption(
        "--target-grpc",
        metavar="HOST:PORT",
        help="the same server's gRPC address (default: --target's host, port 8500)",
    )
