"""Which models and versions are served: from a folder, or TF Serving's models.config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from pipelines.errors import UserError, reason
from tfnlp.serving.failures import Code, RequestError, invalid


@dataclass(frozen=True)
class Wanted:
    """A model to be served.

    Attributes:
        name: in requests.
        folder: of its versions.
        policy: the latest ones, all, or those named.
        latest: how many of the latest.
        versions: those named.
        labels: version by name.

    Example:
        >>> Path("trec", "1").mkdir(parents=True)
        >>> Path("trec", "2").mkdir()
        >>> Wanted("trec", Path("trec"), latest=1).chosen()
        {2: PosixPath('trec/2')}
    """

    name: str
    folder: Path
    policy: Literal["latest", "all", "specific"] = "latest"
    latest: int = 1
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)

    def chosen(self) -> dict[int, Path]:
        """Return the versions that are there and wanted, folder by number, the highest first."""
        there = versions_in(self.folder)
        numbers = sorted(there, reverse=True)
        if self.policy == "specific":
            numbers = [number for number in numbers if number in self.versions]
        if self.policy == "latest":
            numbers = numbers[: self.latest]
        return {number: there[number] for number in numbers}


def versions_in(folder: Path) -> dict[int, Path]:
    """Return a model's versions, folder by number; of a folder that is not there, none.

    TF Serving reads names as numbers: 007 is version 7, unless there is a 7 too.

    Example:
        >>> Path("en-es", "007").mkdir(parents=True)
        >>> versions_in(Path("en-es"))
        {7: PosixPath('en-es/007')}
    """
    try:
        there = sorted(folder.iterdir(), key=lambda path: (-len(path.name), path.name))
    except OSError:
        return {}
    numbered = [path for path in there if path.name.isascii() and path.name.isdecimal()]
    found = {int(path.name): path for path in numbered if path.is_dir()}
    return {number: path for number, path in found.items() if number < 2**63}


def find(folder: Path) -> list[Wanted]:
    """Find the models in a folder: those of its folders that hold versions, or itself.

    Raises:
        UserError: there is no folder, or it is a single version.

    Example:
        >>> Path("models", "en-es", "1").mkdir(parents=True)
        >>> [model.name for model in find(Path("models"))]
        ['en-es']
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} (give one of models, or a models.config)")
    if (folder / "saved_model.pb").is_file():
        raise UserError(
            f"{folder} is a single SavedModel; give the folder above its version folders, "
            f"such as {folder.resolve().parent}"
        )
    if versions_in(folder):
        return [Wanted(folder.resolve().name, folder)]
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [Wanted(path.name, path) for path in inside if path.is_dir() and versions_in(path)]


def read(file: Path) -> list[Wanted]:
    """Read TF Serving's models.config: a ModelServerConfig in protobuf's text format.

    Raises:
        UserError: it cannot be read, or is not one.

    Example::

        [model.name for model in read(Path("models.config"))]
    """
    try:
        text = file.read_text("utf-8")
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        return wanted(config)
    except OSError as error:
        raise UserError(f"cannot read {file}: {reason(error)}") from error
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(f"{file} is not a models.config of TF Serving: {error}") from error
    except Exception as error:
        raise UserError(f"{file}: {error}") from error


def wanted(config: model_server_config_pb2.ModelServerConfig) -> list[Wanted]:
    """Return the models of a configuration.

    Raises:
        RequestError: one has no name or no absolute folder, two have the same name, or it is of
            another kind.

    Example::

        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        [model.name for model in wanted(config)]
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("custom_model_config is not served here (use model_config_list)")
    models = [_model(entry) for entry in config.model_config_list.config]
    seen = Counter(model.name for model in models)
    twice = sorted(name for name, count in seen.items() if count > 1)
    if twice:
        raise invalid(f"Illegal to list model {twice[0]} multiple times in config list")
    return models


def check_below(models: Iterable[Wanted], folders: Iterable[Path]) -> None:
    """Raise a RequestError for a model not below one of some folders, or given two names.

    Loading a SavedModel runs it, so that who names one must be trusted; and each name of it takes
    the memory of a model.

    Example:
        >>> check_below([Wanted("trec", Path("models/trec"))], [Path("models")])
    """
    allowed = [folder.resolve() for folder in folders]
    seen: set[Path] = set()
    for model in models:
        place = model.folder.resolve()
        if not any(place.is_relative_to(folder) for folder in allowed):
            raise RequestError(
                Code.PERMISSION_DENIED,
                f"without a token, models are taken from below {allowed[0]} alone, not from "
                f"{model.folder} (start the server with --token-file)",
            )
        if place in seen:
            raise RequestError(
                Code.PERMISSION_DENIED,
                f"without a token, a folder is served under one name, and {model.folder} is given "
                "two (start the server with --token-file)",
            )
        seen.add(place)


def _model(entry: model_server_config_pb2.ModelConfig) -> Wanted:
    """Read a model's configuration."""
    folder = Path(entry.base_path)
    if not entry.name or not entry.base_path:
        raise invalid("Model config with an empty name or base_path")
    if not folder.is_absolute():
        raise invalid(f"Expected model {entry.name} to have an absolute path: {entry.base_path}")
    if entry.model_platform not in ("", "tensorflow"):
        raise invalid(f"model_platform {entry.model_platform!r} is not served here (tensorflow is)")
    labels = dict(entry.version_labels)
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific":
        versions = tuple(policy.specific.versions)
        return Wanted(entry.name, folder, "specific", versions=versions, labels=labels)
    if kind == "all":
        return Wanted(entry.name, folder, "all", labels=labels)
    return Wanted(entry.name, folder, latest=max(policy.latest.num_versions, 1), labels=labels)
