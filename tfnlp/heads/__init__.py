"""Output heads, one file for each geometry; importing this makes their layers known to Keras.

So it does those of MPNet, which KerasHub lacks: then each kept network can be loaded.
"""

import importlib

import tfnlp.backbones.mpnet  # noqa: F401
from pipelines import discover

for _name in discover.names(__name__):
    importlib.import_module(f"{__name__}.{_name}")
