"""The trials of a study as TensorBoard's HParams tab compares them.

::

    studies/NAME/tensorboard/columns/    what the tab shows: what varies, and metrics in their order
    studies/NAME/tensorboard/trial-K/    a trial: its options, its metrics, how it ended

In ``--logdir studies/NAME`` there is this study alone: the tab takes one list of columns for all
that it finds, and without one sorts metrics by the alphabet.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from pipelines.atomic import replacing_path
from tfnlp.evaluation import runs
from tfnlp.extensions import Trial
from tfnlp.runs import compared
from tfnlp.runs.compared import Option

_SPLITS = {
    "validation": api_pb2.DATASET_VALIDATION,
    "test": api_pb2.DATASET_UNKNOWN,
}
_MINUTES = "minutes"


def write(folder: Path, trials: Sequence[Trial]) -> None:
    """Write what the tab shows of the trials that have ended.

    Args:
        folder: made if it is not there; what is in it is replaced where it has changed.
        trials: of a study.

    Example::

        write(Path("studies/rates/tensorboard"), trials)  # tensorboard --logdir studies/rates
    """
    ended = {n: trial for n, trial in enumerate(trials, 1) if trial.state != "running"}
    columns = _varied([compared.options(trial.experiment) for trial in trials])
    for number, trial in ended.items():
        _replace(folder / f"trial-{number}", _trial(number, trial, columns))
    if ended:
        _replace(folder / "columns", [_columns(columns, list(ended.values()))])


def _varied(options: Sequence[Mapping[str, Option]]) -> dict[str, list[Option | None]]:
    """Return the options in which trials differ, each with the trials' values."""
    names = dict.fromkeys(name for held in options for name in held)
    values = {name: [held.get(name) for held in options] for name in names}
    return {n: held for n, held in values.items() if any(v != held[0] for v in held)}


def _trial(
    number: int, trial: Trial, columns: Mapping[str, Sequence[Option | None]]
) -> Iterator[Any]:
    """Yield the summaries of a trial."""
    options = compared.options(trial.experiment)
    shown = {name: options.get(name) for name in columns}
    known = {
        name: "none" if value is None and _is_text(columns[name]) else value
        for name, value in shown.items()
    }
    yield hparams_pb(
        {name: value for name, value in known.items() if value is not None},
        trial_id=f"trial {number:02}",
        start_time_secs=number,  # the order of the trials
    )
    for split, metrics in _metrics(trial).items():
        for name, value in metrics.items():
            if value is not None:
                yield scalar_pb(f"{split}/{name}", value)
    yield scalar_pb(_MINUTES, trial.seconds / 60)
    ended = api_pb2.STATUS_SUCCESS if trial.state == "complete" else api_pb2.STATUS_FAILURE
    told = SessionEndInfo(status=ended, end_time_secs=number + 1)
    yield _told(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=told))


def _metrics(trial: Trial) -> dict[str, Mapping[str, float | None]]:
    """Return a trial's metrics by split."""
    return {split: (trial.metrics or {}).get(split) or {} for split in _SPLITS}


def _columns(columns: Mapping[str, Sequence[Option | None]], ended: Sequence[Trial]) -> Any:
    """Return the columns: what varies, the metric that decides, the test's, and the others."""
    found: dict[str, None] = {}
    for trial in ended:
        if trial.metrics:
            first = runs.headline(trial.metrics)
            names = [first, *(n for held in _metrics(trial).values() for n in held)]
            found |= dict.fromkeys(names)
    pairs = [(split, name) for name in found for split in _SPLITS]
    there = {(s, n) for trial in ended for s, held in _metrics(trial).items() for n in held}
    metrics = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(tag=f"{split}/{name}"),
            display_name=f"{name} ({split})",
            dataset_type=_SPLITS[split],
        )
        for split, name in pairs
        if (split, name) in there
    ]
    minutes = api_pb2.MetricInfo(name=api_pb2.MetricName(tag=_MINUTES), display_name=_MINUTES)
    infos = [_column(name, values) for name, values in columns.items()]
    told = api_pb2.Experiment(hparam_infos=infos, metric_infos=[*metrics, minutes])
    return _told(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=told))


def _told(tag: str, told: HParamsPluginData) -> Summary:
    """Return a summary for the tab; TensorBoard's own function for it imports TensorFlow."""
    held = metadata.create_summary_metadata(told)
    return Summary(value=[Summary.Value(tag=tag, metadata=held, tensor=metadata.NULL_TENSOR)])


def _column(name: str, values: Sequence[Option | None]) -> api_pb2.HParamInfo:
    """Return a column of an option, with the values that it can be filtered by."""
    info = api_pb2.HParamInfo(name=name, display_name=name, differs=True)
    known = [value for value in values if value is not None]
    if _is_text(values):
        info.type = api_pb2.DATA_TYPE_STRING
        texts = {"none" if value is None else value for value in values}
        info.domain_discrete.extend(sorted(map(str, texts)))
    elif all(isinstance(value, bool) for value in known):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(sorted(set(known)))
    else:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value = min(map(float, known))
        info.domain_interval.max_value = max(map(float, known))
    return info


def _is_text(values: Iterable[Option | None]) -> bool:
    """Return whether an option is a text in some trial."""
    return any(isinstance(value, str) for value in values)


def _replace(folder: Path, summaries: Iterable[Any]) -> None:
    """Write a folder's event file, unless it is there as it is."""
    events = [Event(wall_time=1.0, file_version="brain.Event:2")]
    for summary in summaries:
        events.append(Event(wall_time=1.0, summary=summary))
    held = io.BytesIO()
    for event in events:
        RecordWriter(held).write(event.SerializeToString(deterministic=True))
    file = folder / "events.out.tfevents.1.study"
    if file.exists() and file.read_bytes() == held.getvalue():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_path(file) as aside:
        aside.write_bytes(held.getvalue())
