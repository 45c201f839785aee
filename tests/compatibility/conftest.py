"""What 0.1.0 wrote."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).with_name("artefacts-0.1.0.tar.xz")


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory) -> Path:
    """The working folder of 0.1.0, unpacked for the tests of one file."""
    folder = tmp_path_factory.mktemp("artefacts")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder
