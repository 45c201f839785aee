"""Files of runs and SavedModels that are emptied, cut, overwritten or somebody else's.

Each command that reads one ends in one sentence that names a file or folder, with status 2, or
answers as if nothing had happened where it does not need the file. The artefacts are those of
test_artefacts.py, which nothing has to be trained for.
"""

from __future__ import annotations

import importlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tfnlp.runtime import exit_status

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "garbage": lambda whole: random.Random(len(whole)).randbytes(max(len(whole), 40)),
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "null": lambda _: b"null",
    "text": lambda _: b'"x"',
    "nan": lambda _: b"NaN",
    "values": lambda _: b'{"name": NaN, "labels": 3, "widths": 5, "text": ["a"], "task": []}',
}
RUN = "tensorboard_logs/{name}/run"
MODEL = "saved_models/{name}/1"
COMMANDS = {
    "predict": ["predict", MODEL, "Tom lives in Rome."],
    "evaluate": ["evaluate", MODEL, "--output", "report"],
    "explain": ["explain", MODEL, "Tom lives in Rome."],
    "audit": ["audit", MODEL, "--test", "data/{name}-test.jsonl", "--output", "audit"],
    "export": ["export", RUN, "--saved-models", "again"],
    "explain a run": ["explain", RUN, "Tom lives in Rome."],
    "resume": ["train", "--config", "kept.yaml", "--resume"],
}
OF_MODELS = {
    "inputs.json": "predict",
    "settings.json": "predict",
    "saved_model.pb": "predict",
    "variables/variables.index": "predict",
    "variables/variables.data-00000-of-00001": "predict",
    "experiment.yaml": "evaluate explain audit",
    "facts.json": "evaluate",
    "assets.extra/tokenizer/tokenizer_config.json": "evaluate",
    "assets.extra/tokenizer/vocab.txt": "evaluate",
    "assets.extra/target_tokenizer/spiece.model": "evaluate",
    "metrics.json": "predict evaluate",
    "labels.txt": "predict evaluate",
    "fingerprint.pb": "predict",
}
OF_RUNS = {
    "model/facts.json": "export",
    "model/experiment.yaml": "export",
    "model/model.keras": "export",
    "model/tokenizer/tokenizer_config.json": "export",
    "model/tokenizer/vocab.txt": "export",
    "model/target_tokenizer/spiece.model": "export",
    "metrics.json": "export resume",
    "experiment.yaml": "resume",
}
OF_INTERRUPTED = {"before.json": "resume", "experiment.yaml": "resume"}


def cases() -> list:
    return [
        (name, f"{place.format(name=name)}/{file}", damage, command)
        for name, place, files in (
            ("labels", MODEL, OF_MODELS),
            ("labels", RUN, OF_RUNS),
            ("translated", MODEL, OF_MODELS),
            ("translated", RUN, OF_RUNS),
            ("interrupted", RUN, OF_INTERRUPTED),
        )
        for file, commands in files.items()
        for command in commands.split()
        for damage in DAMAGES
    ]


@pytest.fixture
def told(artefacts, monkeypatch, capfd):
    """Run a command on a damaged file; returns its status and what it said last."""
    monkeypatch.chdir(artefacts)

    def run(name: str, file: str, damage: str, command: str) -> tuple[int, str]:
        path = Path(file)
        if not path.exists():
            pytest.skip("this model has no such file")
        whole = path.read_bytes()
        shutil.copyfile(f"{RUN.format(name=name)}/experiment.yaml", "kept.yaml")
        path.write_bytes(DAMAGES[damage](whole))
        module, *flags = (part.format(name=name) for part in COMMANDS[command])
        capfd.readouterr()
        try:
            status = exit_status.status(importlib.import_module(f"tfnlp.{module}").main, flags)
        finally:
            path.write_bytes(whole)
            for made in ("report", "audit", "again"):
                shutil.rmtree(made, ignore_errors=True)
        return status, capfd.readouterr().err.strip().split("\n")[-1]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file", "damage", "command"), cases())
def test_a_damaged_file_is_named_in_one_sentence(told, name, file, damage, command):
    status, said = told(name, file, damage, command)
    assert status in (0, 2), said
    if status == 2:
        assert said.startswith("error: ")
        assert str(Path(file).parent.parent.name) in said or Path(file).name in said, said
