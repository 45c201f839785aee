"""Make artefacts-0.1.0.tar.xz: what tfnlp 0.1.0 wrote, and what it answered.

    python tests/compatibility/make_artefacts.py [--archive FILE] [--keep FOLDER]

The artefacts in this folder were made so, from the commit cc76e33, the last one before the modules
moved into folders. The script unpacks that commit (it needs the repository's history) into a
temporary folder, puts it on PYTHONPATH and runs its commands in a working folder with relative
paths:

1. ``corpus.py`` writes small training files; ``in_old_tree.py backbones`` small backbones.
2. ``python -m tfnlp.train`` trains a run for each task (``RUNS``), which also exports the
   SavedModels; ``python -m tfnlp.triples`` joins two of them.
3. ``in_old_tree.py round`` loads the runs with the largest networks, cuts digits off
   their weights, so that they can be packed, and keeps them again; ``python -m tfnlp.export``
   exports them.
4. ``in_old_tree.py interrupted`` trains a run that is sent SIGTERM in the middle of its second
   epoch. A copy of it is resumed to its end; the weights and metrics of that are kept.
5. ``in_old_tree.py record`` loads every run and SavedModel and writes what they answer to the texts
   in ``questions.py`` into answers.json.

TensorBoard's files, pictures, the SavedModels not named in ``SAVED`` and the older of two
checkpoints are left out.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import corpus

COMMIT = "cc76e33"
HERE = Path(__file__).parent
ARCHIVE = HERE / "artefacts-0.1.0.tar.xz"

COMMON = (
    "--precision float32 --projector 0 --batch-size 8 --epochs 20 --patience 20 "
    "--learning-rate 0.01 --backbone backbones/hugging_face"
)
LANGUAGE_MODEL = (
    "--task language_model --max-length 24 --max-tokens 12 --vocabulary-size 100 --no-export "
    "--backbone scratch:1x64 --weight-decay 0 --deterministic --rows plain"
)
RUNS = {
    "labels": "--task classification --max-length 32",
    "spans": "--task ner --max-length 32 --overlap 8",
    "relations": "--task relation_extraction --max-length 48 --freeze-embeddings",
    "tags": "--task multi_label --windows 2 --max-length 16 --freeze-embeddings",
    "grades": "--task ordinal --pair --max-length 48 --freeze-embeddings",
    "numbers": "--task regression --max-length 32 --freeze-embeddings",
    "vectors": "--task similarity --pair --max-length 32 --freeze-embeddings --rows pairs",
    "answers": "--task extractive_qa --max-length 48 --max-question-length 12 --overlap 8 "
    "--freeze-embeddings --rows questions",
    "gaps": "--task masked_lm --max-length 32 --rows plain --backbone backbones/keras_hub",
    "translated": "--task translation --max-length 32 --max-tokens 16 --vocabulary-size 100 "
    "--target-vocabulary learned --beams 2 --decoder-layers 1 --label-smoothing 0 --epochs 60 "
    "--patience 60 --rows translations",
    "written": f"{LANGUAGE_MODEL} --unit row",
    # What is kept are the weights of "written", which the archive then holds once.
    "adversarial": f"{LANGUAGE_MODEL} --strategy gan --gan-steps 6 --gan-warmup 2 "
    "--gan-batch-size 8 --gan-evaluate-every 3 --gan-judged 8 --gan-keep mle",
    "chat": "--task dialogue --max-length 64 --max-tokens 16 --decoding greedy --no-export "
    "--rows turns --backbone backbones/causal",
    "summarized": "--task summarization --max-length 64 --max-tokens 16 --decoding contrastive "
    "--no-export --rows summaries --backbone backbones/encoder_decoder",
}
# These are larger: their weights are shortened, kept again and exported by commands of their own.
ROUNDED = ("written", "adversarial", "chat", "summarized")
INTERRUPTED = (
    "--task classification --max-length 32 --name interrupted --rows labels --epochs 3 "
    "--deterministic --accumulate 2 --dropout 0.2 --freeze-embeddings --no-export"
)
# Of the SavedModels that training wrote, those that are kept, and the joined one.
SAVED = ("labels", "spans", "answers", "translated", "written", "triples")
LEFT_OUT = ("events.out.tfevents.", "projector_config")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="where it goes")
    parser.add_argument("--keep", type=Path, help="also keep the working folder here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tree, work = place / "tree", place / "work"
        _unpack(tree)
        work.mkdir()
        make(tree, work)
        kept = place / "kept"
        kept.mkdir()
        gather(work, kept)
        pack(kept, given.archive)
        if given.keep:
            shutil.copytree(work, given.keep)
    print(f"{given.archive}: {given.archive.stat().st_size:,} bytes")


def _unpack(tree: Path) -> None:
    """Write the files of the old commit."""
    command = ["git", "archive", "--format=tar", COMMIT]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree, filter="data")


def make(tree: Path, work: Path) -> None:
    """Run the old tree's commands in a working folder."""
    env = {**os.environ, "PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(*command: str, status: int = 0) -> None:
        print("+", *command, flush=True)
        said = subprocess.run(
            [sys.executable, *command], cwd=work, env=env, check=False, capture_output=True
        )
        if said.returncode != status:
            raise SystemExit(said.stdout.decode() + said.stderr.decode())

    helper = str(HERE / "in_old_tree.py")
    corpus.write(work / "data")
    (work / "pieces.txt").write_text("\n".join(corpus.pieces()) + "\n", "utf-8")
    run(helper, "backbones", "pieces.txt", "backbones")
    for name, flags in RUNS.items():
        run("-m", "tfnlp.train", *arguments(f"--name {name} {flags}", name))
        _rename_run(work / "tensorboard_logs" / name)
        if name in ROUNDED:
            run(helper, "round", f"tensorboard_logs/{name}/run")
            run("-m", "tfnlp.export", f"tensorboard_logs/{name}/run")
    runs = [f"tensorboard_logs/{name}/run" for name in ("spans", "relations")]
    run("-m", "tfnlp.triples", *runs, "--min-score", "0.2")
    run(helper, "interrupted", *arguments(INTERRUPTED, "labels"), status=128 + 15)
    interrupted = work / "tensorboard_logs" / "interrupted"
    _rename_run(interrupted)
    _drop_older_checkpoint(interrupted / "run" / "checkpoints")
    shutil.copytree(interrupted, work / "interrupted")
    run("-m", "tfnlp.train", *arguments(INTERRUPTED, "labels"), "--resume")
    run(helper, "record")


def arguments(flags: str, rows: str) -> list[str]:
    """Return a run's arguments; ``--rows NAME`` among them stands for the files of that name."""
    words = [*COMMON.split(), *flags.split()]
    if "--rows" in words:
        place = words.index("--rows")
        rows = words.pop(place + 1)
        words.pop(place)
    suffix = "txt" if rows == "plain" else "jsonl"
    for split in ("train", "validation", "test"):
        words += [f"--{split}", f"data/{rows}-{split}.{suffix}"]
    return words


def _rename_run(parent: Path) -> None:
    """Name a run's folder, which is named by the time, so that tests can say it."""
    (run,) = parent.iterdir()
    run.rename(parent / "run")


def _drop_older_checkpoint(folder: Path) -> None:
    steps = sorted(folder.glob("step-*"), key=lambda f: int(f.name.removeprefix("step-")))
    for older in steps[:-1]:
        shutil.rmtree(older)


def gather(work: Path, kept: Path) -> None:
    """Copy what the archive holds."""
    for name in ("backbones/hugging_face", "data", "tensorboard_logs", "saved_models"):
        shutil.copytree(work / name, kept / name, ignore=_ignored)
    shutil.rmtree(kept / "tensorboard_logs" / "interrupted")
    shutil.copytree(work / "interrupted", kept / "tensorboard_logs/interrupted", ignore=_ignored)
    for name in ("answers.json", "finished.npz"):
        shutil.copy(work / name, kept / name)


def _ignored(folder: str, names: list[str]) -> set[str]:
    if Path(folder).name == "saved_models":
        return set(names) - set(SAVED)
    if Path(folder).name == "data":
        return set()
    return {name for name in names if name.startswith(LEFT_OUT)}


def pack(folder: Path, archive: Path) -> None:
    """Write the archive, the same for the same files."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        return info

    with tarfile.open(archive, "w:xz", preset=9 | lzma.PRESET_EXTREME) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=plain)


if __name__ == "__main__":
    main()
