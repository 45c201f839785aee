"""A SavedModel in a folder as a function from strings to answers, without Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import checksums
from pipelines.columns import KINDS, as_request
from pipelines.errors import UserError, reason
from pipelines.json_files import damaged, read_json
from pipelines.rows import Column
from tfnlp.inference import settings
from tfnlp.inference.settings import Settings
from tfnlp.runtime import precision
from tfnlp.runtime.precision import Precision
from tfnlp.runtime.startup import quiet_start

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

SAVED_MODELS = Path("saved_models")
INPUTS = "inputs.json"  # in a model's folder, the kinds of its inputs
HEADS = "heads.json"  # there too, the runs of a SavedModel that several were joined in
SETTINGS = "settings.json"  # there too, what else requests may say, by signature, with defaults
# An answer's outputs that say which of several models gave it, and what that one gives.
HEAD, FIELDS = "head", "fields"
AGAIN = "python -m tfnlp.export RUN writes the SavedModel again"

Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class ServedModel:
    """What answers texts.

    Attributes:
        columns: the strings it reads, by name in alphabetical order, and their kinds.
        answer: from B strings per input, or lists of turns, to B answers, each a value per named
            output.
    """

    columns: tuple[Column, ...]
    answer: Callable[[Mapping[str, Sequence[Any]]], Answers]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)


def find_model(model: str) -> Path:
    """Return a SavedModel's folder.

    Args:
        model: that folder, or one with integer versions in it, of which the highest is taken, or
            the name of such a folder in saved_models.

    Raises:
        UserError: there is no SavedModel there.
    """
    if "://" in model:
        raise UserError(f"{model} is a server's address (give a SavedModel's folder)")
    named = SAVED_MODELS / model
    folder = Path(model) if Path(model).exists() or not named.is_dir() else named
    if (folder / "saved_model.pb").is_file():
        return folder
    if not folder.is_dir():
        there = sorted(path.name for path in SAVED_MODELS.glob("[!.]*/"))
        listed = f"has: {', '.join(there)}" if there else "has none"
        raise UserError(f"there is no model {model!r}; {SAVED_MODELS}/ {listed}")
    versions = [
        path.parent for path in folder.glob("*/saved_model.pb") if path.parent.name.isdecimal()
    ]
    if not versions:
        raise UserError(
            f"{folder} holds no SavedModel: neither saved_model.pb nor a version folder such as "
            f"{folder / '1'} with one in it"
        )
    return max(versions, key=lambda path: int(path.name))


@dataclass(frozen=True)
class Request:
    """What a signature takes.

    Attributes:
        columns: the strings it reads, by name in alphabetical order, and their kinds.
        settings: their values, the same for every row.
        fill: from B values per column to its inputs.
    """

    columns: tuple[Column, ...]
    settings: Mapping[str, Any]
    fill: Callable[[Mapping[str, Sequence[Any]]], dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Saved:
    """A SavedModel that can be asked: in memory, or on a server.

    Attributes:
        place: where it stands, for messages.
        specs: by signature its inputs by name.
        settings: the settings that its signatures take besides texts.
        kinds: of its inputs, by name, where they are not texts.
        call: from a signature and its inputs to its outputs, by name; raises UserError.
    """

    place: str
    specs: Mapping[str, Mapping[str, tf.TensorSpec]]
    settings: Settings
    kinds: Mapping[str, Any]
    call: Callable[[str, Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]

    @property
    def signatures(self) -> set[str]:
        """The names of its signatures."""
        return set(self.specs)

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Return a signature's inputs by name, in alphabetical order.

        Raises:
            UserError: there is no such signature.
        """
        if signature not in self.specs:
            there = ", ".join(sorted(self.signatures)) or "none"
            raise UserError(f"{self.place} has no signature {signature!r}; it has: {there}")
        # TensorFlow lists them in any order.
        return dict(sorted(self.specs[signature].items()))

    def request(self, signature: str, given: Mapping[str, str] | None = None) -> Request:
        """Return how to ask a signature.

        Args:
            signature: reads strings of shape (B,), and perhaps settings of the same shape.
            given: values of settings, by name, in place of the model's own.

        Raises:
            UserError: it reads something else, or has no such setting.
        """
        import tensorflow as tf

        types = {tf.int32: int, tf.float32: float, tf.string: str}
        specs = self.inputs(signature)
        known = self.settings.ways.get(signature, {})
        there = {name: value for name, value in known.items() if name in specs}
        other = [
            spec.name
            for name, spec in specs.items()
            if spec.shape.rank != 1 or spec.dtype not in (types if name in there else (tf.string,))
        ]
        names = specs.keys() - there.keys()
        if other or not names:
            raise UserError(
                f"{signature} of {self.place} does not read strings of shape [None]: "
                f"{', '.join(map(str, specs.values())) or 'it has no input'}"
            )
        kinds = {name: types[specs[name].dtype] for name in there}
        told = settings.values(given or {}, there, kinds, f"{signature} of {self.place}")

        def fill(texts: Mapping[str, Sequence[Any]]) -> dict[str, tf.Tensor]:
            rows = len(next(iter(texts.values())))
            strings = {n: tf.constant([*map(as_request, v)], tf.string) for n, v in texts.items()}
            same = {n: tf.fill([rows], tf.constant(v, specs[n].dtype)) for n, v in told.items()}
            return {**strings, **same}

        columns = (Column(name, self.kinds.get(name, "text"), "") for name in sorted(names))
        return Request(tuple(columns), told, fill)

    def model(
        self, signature: str = "serving_default", given: Mapping[str, str] | None = None
    ) -> ServedModel:
        """Return what answers texts by a signature; arguments and errors as of `request`."""
        request = self.request(signature, given)

        def answer(texts: Mapping[str, Sequence[Any]]) -> Answers:
            outputs = self.call(signature, request.fill(texts))
            arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
            return split_rows(arrays, len(next(iter(texts.values()))))

        return ServedModel(request.columns, answer)


def opened(folder: Path, kind: Precision = "auto") -> Saved:
    """Load a SavedModel.

    Args:
        folder: the SavedModel's.
        kind: in which precision this process multiplies; for a model that writes it is float32
            (`precision.exact` says why).

    Raises:
        UserError: it cannot be loaded.
    """
    checksums.check(folder, AGAIN)
    known = settings_of(folder)
    with quiet_start():
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  (registers the ops that exported models use)

        kind = "float32" if known.ways else kind
        precision.start(kind, training=False)
        tf.constant("")  # looks for devices

    try:
        loaded: Any = tf.saved_model.load(str(folder))
        # Each with its inputs by keyword.
        specs = {key: f.structured_input_signature[1] for key, f in loaded.signatures.items()}
    except Exception as error:  # a damaged folder raises almost anything, IndexError among them
        raise UserError(
            f"cannot load the SavedModel in {folder}: {reason(error)} ({AGAIN})"
        ) from error

    def call(signature: str, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        try:
            # Whatever else runs in this process may have set another precision since.
            with precision.exact() if kind == "float32" else nullcontext():
                outputs: dict[str, tf.Tensor] = loaded.signatures[signature](**inputs)
        except tf.errors.OpError as error:
            raise UserError(f"the model in {folder} fails: {reason(error)}") from error
        return outputs

    path = folder / INPUTS
    kinds = read_json(path, remedy=AGAIN) if path.exists() else {}
    if path.exists() and not (kinds and all(kind in KINDS for kind in map(str, kinds.values()))):
        raise damaged(path, "it does not hold kinds of columns", AGAIN)
    return Saved(str(folder), specs, known, kinds, call)


def load(
    folder: Path,
    signature: str = "serving_default",
    settings: Mapping[str, str] | None = None,
) -> ServedModel:
    """Load a SavedModel of which a signature reads strings of shape (B,).

    Args:
        folder: the SavedModel's.
        signature: which of its signatures is asked.
        settings: values besides the texts, where the signature takes settings: by name, in
            place of those in settings.json.

    Raises:
        UserError: it cannot be loaded; it has no such signature, or one that reads something else;
            or that has no such setting, or one of another kind.

    Example::

        load(Path("saved_models/trec/1")).answer({"text": ["Who wrote Hamlet?"]})[0]["label"]
    """
    return opened(folder).model(signature, settings)


def settings_of(folder: Path) -> Settings:
    """Return the settings that a model's signatures take besides texts."""
    path = folder / SETTINGS
    holds = {"serving_default": dict}
    written = read_json(path, holds, remedy=AGAIN) if path.exists() else {}
    if not all(isinstance(values, dict) for values in written.values()):
        raise damaged(path, "it does not hold settings by signature", AGAIN)
    return Settings.of(written)


def fold(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join what belongs together: lists of things, and labels with their scores; decode strings.

    Args:
        outputs: arrays of shape (B, ...). Where there is ``entities``, int (B,), and
            ``entities/text`` and the like, (B, N, ...), ``entities`` becomes B lists of
            mappings from ``text`` and the like to values, each of as many as it counted.

    Returns:
        Arrays of B rows, strings as str.

    Example::

        fold({"label": np.array([b"LOC"], object)})  # {"label": array(["LOC"])}
    """
    import numpy as np

    decoded = {n: _decoded(a) if a.dtype == object else a for n, a in outputs.items()}
    groups = {name.partition("/")[0] for name in decoded if "/" in name}
    folded = {n: a for n, a in decoded.items() if n.partition("/")[0] not in groups}
    for group in groups & decoded.keys():
        parts = {
            name.partition("/")[2]: _plain(decoded[name])
            for name in sorted(decoded)
            if name.startswith(f"{group}/")
        }
        lists = np.empty(len(decoded[group]), object)
        for row, count in enumerate(decoded[group].tolist()):
            things = zip(*(values[row][:count] for values in parts.values()), strict=True)
            lists[row] = [dict(zip(parts, thing, strict=True)) for thing in things]
        folded[group] = lists
    return folded


def _decoded(array: np.ndarray) -> np.ndarray:
    """Turn bytes into str."""
    import numpy as np

    if not array.size:
        return array
    decode = np.vectorize(lambda item: item.decode("utf-8", "replace"), otypes=[object])
    decoded: np.ndarray = decode(array)
    return decoded


def split_rows(outputs: Mapping[str, np.ndarray], rows: int) -> Answers:
    """Turn named outputs of a batch into an answer per row.

    Args:
        outputs: arrays of shape (B, ...), folded as in `fold`; ``labels`` and ``scores``, if both
            are (B, C), become one mapping from label to score, called ``scores``. So do
            ``topics.labels`` and ``topics.scores`` of several models. Where there is ``fields``,
            string (B,), a row's answer has those outputs alone, which it names with commas.
        rows: B.

    Raises:
        UserError: an output has not one value per row.
    """
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise UserError(f"output {name!r} of shape {array.shape} is not one value per row")
    folded = fold(outputs)
    # TensorFlow lists outputs in any order.
    lists = {name: _plain(folded[name]) for name in sorted(folded)}
    mixed = {FIELDS, HEAD} <= lists.keys() and folded[FIELDS].dtype == object
    fields = lists.pop(FIELDS) if mixed else None
    for name in [name for name in lists if name.rpartition(".")[2] == "labels"]:
        scores = f"{name.removesuffix('labels')}scores"
        if (
            scores in lists
            and folded[name].ndim == 2
            and (folded[name].shape == folded[scores].shape)
        ):
            pairs = zip(lists.pop(name), lists[scores], strict=True)
            lists[scores] = [dict(zip(*pair, strict=True)) for pair in pairs]
    answers = [
        dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
    ]
    return answers if fields is None else list(map(_own, answers, fields))


def _own(answer: dict[str, Any], fields: str) -> dict[str, Any]:
    """Return what the model of a row says, of several whose answers are of other shapes."""
    names = {*fields.split(","), HEAD}
    names = {name.partition("/")[0] for name in names}  # lists are folded
    own = {name: value for name, value in answer.items() if name in names}
    if isinstance(own.get("scores"), dict):
        own["scores"] = {label: score for label, score in own["scores"].items() if label}
    return own


def _plain(array: np.ndarray) -> list[Any]:
    """Return an array as Python values, floats with the digits they have."""
    if array.dtype == "float32":
        # float32 0.1 is 0.1 again, not 0.10000000149011612.
        array = array.astype(str).astype(float)
    values: list[Any] = array.tolist()
    return values
