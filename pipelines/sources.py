"""Data sets by name: the built-in ones and all of TensorFlow Datasets -> rows."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines import discover
from pipelines.atomic import remove
from pipelines.errors import UserError
from pipelines.registry.packages import cache_root, locked
from pipelines.rows import BadRow, Rows

Reader = Callable[[Any], Any]  # a value as TFDS gives it -> a row's value
_FOLDER = "pipelines.datasets"
_TFDS = "tfds:"
_AT_A_TIME = 1024  # examples
_SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}


def dataset_names() -> list[str]:
    """Return the names of the built-in data sets as users write them; imports none of them.

    Example:
        >>> "trec" in dataset_names()
        True
    """
    return [name.replace("_", "-") for name in discover.names(_FOLDER)]


def load_dataset(name: str, splits: Sequence[str] | None = None) -> dict[str, Rows]:
    """Return the rows of a data set, which the first call fetches and prepares in the cache.

    Args:
        name: a built-in data set, an outsider's module that holds a TFDS builder
            (``mypackage.irony``), or ``tfds:NAME[/CONFIG][:VERSION]``.
        splits: which to read, by default train, validation and test. ``valid``, ``val`` and
            ``dev`` of a data set are called validation.

    Returns:
        Rows by split; a split that the data set does not have is not there. The columns bear the
        data set's own feature names (``where/page`` for a nested one): str for texts and class
        labels, a number for numbers, lists of these for sequences, lists of dictionaries for
        sequences of several features (``answers``). Other features are left out.

    Raises:
        UserError: no such data set, or it cannot be fetched, prepared or written.

    Example::

        load_dataset("trec")["train"].columns
        # {"text": ["How did serfdom develop ...", ...], "label": ["DESC", ...]}
    """
    if name.startswith(_TFDS):
        builder = _from_tfds(name)
        try:
            return _splits(builder, name, splits)
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:  # TFDS has no error of its own for damaged files
            raise UserError(
                f"cannot read {name} in {builder.data_path}: {_reason(error)} (delete that folder, "
                "and it is prepared again)"
            ) from error
    module = discover.load(_FOLDER, name, "data set")
    folder = _place(module)
    there = folder.exists()
    try:
        return _splits(_built_in(module, name), name, splits)
    except UserError:
        raise
    except Exception as error:
        if not there:
            raise
        print(f"{folder} is damaged ({_reason(error)}); preparing it anew", file=sys.stderr)
        remove(folder)
    return _splits(_built_in(module, name), name, splits)


def split_sizes(name: str) -> dict[str, int]:
    """Return how many rows each split of a data set has, usable or not, without reading them.

    Args:
        name: as `load_dataset` takes it. The first call fetches and prepares the data set; once
            that is done, a built-in one is counted without TensorFlow.

    Raises:
        UserError: no such data set, or it cannot be fetched, prepared or written.

    Example::

        split_sizes("trec")  # {"train": 5452, "test": 500}
    """
    if name.startswith(_TFDS):
        builder = _from_tfds(name)
    else:
        builder = _built_in(discover.load(_FOLDER, name, "data set"), name)
    named = _named(builder)
    return {split: builder.info.splits[named[split]].num_examples for split in named}


def _splits(builder: Any, name: str, splits: Sequence[str] | None) -> dict[str, Rows]:
    """Read the splits that are asked for, by our names for them."""
    return {
        split: _rows(builder, own, f"{name}[{split}]")
        for split, own in _named(builder).items()
        if split in (splits or _SPLITS)
    }


def _named(builder: Any) -> dict[str, str]:
    """Return a data set's own names of its splits by ours."""
    return {_SPLIT_NAMES.get(own, own): own for own in builder.info.splits}


def _place(module: ModuleType) -> Path:
    """Where a built-in data set lies, apart from TFDS's own of the same name, if there is one."""
    return cache_root() / "tfds" / module.__name__


def _built_in(module: ModuleType, name: str) -> Any:
    """Prepare the builder that a module holds."""
    import tensorflow_datasets as tfds

    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, tfds.core.DatasetBuilder)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"{module.__name__} must define one TFDS builder; it has {len(found)}")
    folder = _place(module)
    builder = found[0](data_dir=folder)
    tfds.disable_progress_bar()  # the packages show their own; writing takes seconds
    _prepare(builder, folder, name)
    return builder


def _from_tfds(name: str) -> Any:
    """Prepare a data set of TensorFlow Datasets."""
    asked = re.fullmatch(r"tfds:(?P<name>\w+)(/[\w.-]+)?(:[\d.*]+)?", name)
    if not asked:
        raise UserError(f"{name!r} is not written tfds:NAME[/CONFIG][:VERSION]")
    import tensorflow_datasets as tfds

    folder = Path(os.environ.get("TFDS_DATA_DIR") or cache_root() / "tfds").expanduser()
    (tfds.enable_progress_bar if sys.stderr.isatty() else tfds.disable_progress_bar)()
    try:
        builder = tfds.builder(name.removeprefix(_TFDS), data_dir=folder, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(asked["name"], known, n=1)
        hint = f"; did you mean tfds:{near[0]}?" if near else ""
        raise UserError(f"TensorFlow Datasets has no data set {asked['name']!r}{hint}") from error
    except Exception as error:  # an unknown configuration or version, each in its own way
        raise UserError(f"TensorFlow Datasets cannot give {name}: {_reason(error)}") from error
    try:
        _prepare(builder, folder, name)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"preparing {name} needs the Python module {error.name!r}, which is not installed "
            f"(pip install {error.name})"
        ) from error
    except Exception as error:  # each builder fails in its own way
        raise UserError(
            f"cannot prepare {name}: {_reason(error)} (TensorFlow Datasets fetches it from the "
            f"data's own site: check the connection, or copy a prepared one into {folder})"
        ) from error
    return builder


def _reason(error: Exception) -> str:
    """Shorten an error of TFDS to what it is about."""
    said = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r'^Failed to construct dataset .*?\}": ', "", said)[:300]


def _prepare(builder: Any, folder: Path, name: str) -> None:
    """Write a builder's data into the cache, unless they are there."""
    if builder.info.splits and builder.data_path.exists():
        return
    import tensorflow as tf
    import tensorflow_datasets as tfds

    # TFDS renames its folder into place, but of two processes the second would fail.
    with locked(folder / "locks" / builder.info.full_name.replace("/", "--"), name):
        if builder.data_path.exists():  # the other process made it meanwhile
            builder.info.read_from_directory(builder.data_path)
            return
        print(f"preparing the data set {name}", file=sys.stderr, flush=True)
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is about to do
                builder.download_and_prepare(download_config=config)
        except tf.errors.OpError as error:
            raise UserError(f"cannot write {name} into {folder}: {error.message}") from error


def _rows(builder: Any, split: str, source: str) -> Rows:
    """Read one split, in the order in which it is stored."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise UserError(f"{source} has no named features to use as columns")
    readers = dict(_readers(features, ()))
    if not readers:
        raise UserError(f"{source} has no texts, labels or numbers to use as columns")
    rows = Rows(source, {"/".join(path): [] for path in readers}, [])
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    data = builder.as_dataset(split=split, shuffle_files=False, read_config=in_order)
    data = data.map(lambda example: [_at(example, path) for path in readers])
    for number, example in enumerate(_examples(data), start=1):
        try:
            values = [read(value) for read, value in zip(readers.values(), example, strict=True)]
        except ValueError as error:  # UnicodeDecodeError among them
            rows.bad.append(BadRow(number, str(error)))
            continue
        rows.numbers.append(number)
        for column, value in zip(rows.columns.values(), values, strict=True):
            column.append(value)
    wanted = builder.info.splits[split].num_examples
    if len(rows) + len(rows.bad) != wanted:
        raise ValueError(f"{source} has {len(rows) + len(rows.bad)} rows, not {wanted}")
    return rows


def _examples(data: Any) -> Iterator[list[Any]]:
    """Yield examples, lists of tensors or dictionaries of them, as Python values.

    They are taken out of TensorFlow many at a time: one by one takes ten times as long.
    """
    for batch in data.ragged_batch(_AT_A_TIME):
        columns = [_listed(value) for value in batch]
        yield from map(list, zip(*columns, strict=True))


def _listed(value: Any) -> list[Any]:
    """Turn a batch's tensor, or dictionary of tensors, into a list of its examples' values."""
    if isinstance(value, dict):
        parts = zip(*map(_listed, value.values()), strict=True)
        return [dict(zip(value, part, strict=True)) for part in parts]
    listed: list[Any] = value.to_list() if hasattr(value, "to_list") else value.numpy().tolist()
    return listed


def _at(example: Any, path: tuple[str, ...]) -> Any:
    """Take a nested feature's value out of an example."""
    for name in path:
        example = example[name]
    return example


def _readers(features: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Reader]]:
    """Pair each feature that rows can hold with what reads its value."""
    import tensorflow_datasets as tfds

    for name, feature in features.items():
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _readers(feature, (*path, name))
        elif isinstance(feature, tfds.features.Sequence):
            if (reader := _sequence_reader(feature.feature)) is not None:
                yield (*path, name), reader
        elif (scalar := _scalar_reader(feature)) is not None:
            yield (*path, name), scalar


def _sequence_reader(items: Any) -> Reader | None:
    """Choose what reads a sequence of scalars, or of dictionaries of them; None for others."""
    import tensorflow_datasets as tfds

    if not isinstance(items, tfds.features.FeaturesDict):
        scalar = _scalar_reader(items)
        return scalar and (lambda values: [scalar(value) for value in values])
    found = {name: _scalar_reader(feature) for name, feature in items.items()}
    readers = {name: reader for name, reader in found.items() if reader is not None}

    def read(stored: Any) -> list[dict[str, Any]]:
        # A sequence of dictionaries is stored as a dictionary of sequences.
        columns = [[reader(value) for value in stored[name]] for name, reader in readers.items()]
        return [dict(zip(readers, values, strict=True)) for values in zip(*columns, strict=True)]

    return read


def _scalar_reader(feature: Any) -> Reader | None:
    """Choose what reads a text, class label or number; None for another feature."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel):
        names = feature.names
        return lambda value: _label(names, int(value))
    if not isinstance(feature, tfds.features.Tensor) or feature.shape != ():
        return None
    if isinstance(feature, tfds.features.Text) or feature.np_dtype in (object, bytes, str):
        return lambda value: value.decode("utf-8")
    return lambda value: value


def _label(names: Sequence[str], number: int) -> str:
    """Name a class; TFDS gives -1 where the label is kept secret."""
    if not 0 <= number < len(names):
        raise ValueError(f"its class label is {number}, which has no name")
    return names[number]
