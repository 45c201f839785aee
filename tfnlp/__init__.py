"""tfnlp: fine-tune a pretrained BERT, watch it in TensorBoard, serve it with TF Serving."""

import signal
import sys

__version__ = "0.2.0"

# While `python -m tfnlp.NAME` imports, Ctrl-C ends it as it ends other programs, without a
# traceback; `runtime.exit_status` gives it back to Python.
if (
    "-m" in sys.orig_argv[1:5]
    and any(part.partition(".")[0] == "tfnlp" for part in sys.orig_argv[1:6])
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
