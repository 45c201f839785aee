"""Output heads, one file for each geometry; importing this makes their layers known to Keras."""

import importlib

from pipelines import discover

for _name in discover.names(__name__):
    importlib.import_module(f"{__name__}.{_name}")
