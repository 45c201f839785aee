"""tfnlp: fine-tune a pretrained BERT, watch it in TensorBoard, serve it with TF Serving.

Example::

    import tfnlp

    model = tfnlp.fit("reviews.csv", task="classification")
    model.predict(["A masterpiece."])
    model.export()
"""

import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.errors import UserError as UserError
    from tfnlp.api.available import available as available
    from tfnlp.api.fitting import fit as fit
    from tfnlp.api.fitting import load as load
    from tfnlp.api.fitting import run_study as run_study
    from tfnlp.api.model import Model as Model
    from tfnlp.inference.served import open as open
    from tfnlp.report import Report as Report

__version__ = "0.2.0"

# Where each public name is; it is imported when it is first asked for, TensorFlow when a function
# needs it.
_PLACES = {
    "fit": ("tfnlp.api.fitting", "fit"),
    "load": ("tfnlp.api.fitting", "load"),
    "open": ("tfnlp.inference.served", "open"),
    "available": ("tfnlp.api.available", "available"),
    "run_study": ("tfnlp.api.fitting", "run_study"),
    "Model": ("tfnlp.api.model", "Model"),
    "Report": ("tfnlp.report", "Report"),
    "UserError": ("pipelines.errors", "UserError"),
}
__all__ = ["Model", "Report", "UserError", "available", "fit", "load", "open", "run_study"]


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    globals()[name] = getattr(importlib.import_module(module), attribute)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# While `python -m tfnlp.NAME` imports, Ctrl-C ends it as it ends other programs, without a
# traceback; `runtime.exit_status` gives it back to Python.
if (
    "-m" in sys.orig_argv[1:5]
    and any(part.partition(".")[0] == "tfnlp" for part in sys.orig_argv[1:6])
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
