"""TensorFlow's start without its messages, among which a command's own would be lost."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what native code writes to standard error; show it if the body fails.

    TensorFlow 2.21 and TF Text log some lines while they are imported and while the first device
    is looked for, which TF_CPP_MIN_LOG_LEVEL does not hold back. Setting it to 0 or 1 shows all.
    Later it calls error what is none (an int64 product that oneDNN leaves to Eigen), so that the
    level is 3 here; what really fails raises an exception too.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1"):
        yield
        return
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
