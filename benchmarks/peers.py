"""The environment of the peers: what they need conflicts with TensorFlow's requirements."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipelines.registry.packages import cache_root

PACKAGES = (
    "torch>=2.9",
    "transformers>=5",
    "accelerate>=1.1",
    "safetensors",
    "onnx",
    "onnxruntime",
    "fastapi",
    "uvicorn",
)


def installed(python: Path | None) -> Path:
    """Return the Python of the peers' environment; make it if there is none."""
    if python:
        return python
    folder = cache_root() / "peers"
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", *PACKAGES], check=True)
    return folder / "bin" / "python"
