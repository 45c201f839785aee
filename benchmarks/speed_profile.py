"""Where a training step's time goes, and what each of tfnlp's own parts takes off it.

Run by benchmarks/speed.py: python speed_profile.py VARIANT [profile]; prints one line of JSON.
"""

from __future__ import annotations

import collections
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from speed_step import learner

VARIANTS = {
    # Whose layer, whose AdamW, precision, and whether each core takes a part of the batch.
    "plain Keras and KerasHub, float32": ("keras", "keras", "float32", False),
    "and tfnlp's AdamW": ("keras", "tfnlp", "float32", False),
    "and tfnlp's layer": ("tfnlp", "tfnlp", "float32", False),
    "and products in bfloat16": ("tfnlp", "tfnlp", "auto", False),
    "and a part of the batch on each core: tfnlp": ("tfnlp", "tfnlp", "auto", True),
    "plain, but Keras's mixed_bfloat16": ("keras", "keras", "mixed_bfloat16", False),
    "plain, but compiled by XLA": ("keras", "keras", "xla", False),
}
_STEPS = 20


def parts(repeats: int) -> None:
    """Print the time of a step as it was and as it is, and what of it goes where."""
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    first: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats):
        for name in VARIANTS:
            told = _apart(name)
            found[name].append(told["ms"])
            first[name].append(told["first"])
    print("\n**A training step of 32 rows of 13 tokens**\n")
    print("| | ms a step | the first step [s] |\n| --- | --- | --- |")
    for name in VARIANTS:
        later, begun = statistics.median(found[name]), statistics.median(first[name])
        print(f"| {name} | {later:.0f} | {begun:.1f} |")
    chosen = list(VARIANTS)
    for name in (chosen[0], chosen[4]):
        print(f"\n**Profile: {name}** (ms of a thread in a step)\n")
        print("| part | operation | ms | how often |\n| --- | --- | --- | --- |")
        for part, op, taken, count in _apart(name, "profile")["operations"][:16]:
            print(f"| {part} | {op} | {taken:.1f} | {count:.0f} |")


def _apart(*arguments: str) -> dict[str, Any]:
    """Run a variant in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def step(variant: str, profiled: bool) -> dict[str, Any]:
    """Time steps of 32 rows of 13 tokens."""
    import tensorflow as tf

    layer, optimizer, kind, apart = VARIANTS[variant]
    taken = learner(32, 13, kind, layer=layer, optimizer=optimizer, apart=apart)
    first = taken()
    for _ in range(3):
        taken()
    if not profiled:
        return {"first": first, "ms": 1e3 * statistics.median(taken() for _ in range(_STEPS))}
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(_STEPS):
                taken()
        return {"operations": _operations(Path(folder))}


def _operations(folder: Path) -> list[tuple[str, str, float, float]]:
    """Read a profile: part of the step, operation, ms and times a step; the longest first."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (file,) = folder.glob("**/*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(file.read_bytes())
    total: collections.Counter[tuple[str, str]] = collections.Counter()
    count: dict[tuple[str, str], float] = collections.defaultdict(float)
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, _, op = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if not name.startswith("StatefulPartitionedCall"):
                continue
            backward = "gradient_tape" in name
            part = "optimizer" if "adam" in name else "backward" if backward else "forward"
            for key in ((part, "all"), (part, op)):
                total[key] += event.duration_ps / 1e9 / _STEPS
                count[key] += 1 / _STEPS
    return [(*key, milliseconds, count[key]) for key, milliseconds in total.most_common()]


if __name__ == "__main__":
    print(json.dumps(step(sys.argv[1], len(sys.argv) > 2)))
