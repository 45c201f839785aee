"""python -m tfnlp.deploy: files that serve models with TF Serving, in Docker and Kubernetes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from tfnlp.deployment.versions import DEFAULT, PATCHES, Release
from tfnlp.options import Parser
from tfnlp.runtime import exit_status
from tfnlp.runtime.signals import caught

if TYPE_CHECKING:
    from tfnlp.deployment.checks import Findings
    from tfnlp.deployment.models import Served
    from tfnlp.deployment.plan import Plan

PARAMETERS = "batching_params.pbtxt"  # in a version's folder


def parser() -> Parser:
    """Return the command's options."""
    parser = Parser(
        prog="python -m tfnlp.deploy",
        description="Check SavedModels against a version of TF Serving, and write what serves them "
        "with it:\nits configuration, Docker Compose for CPU and GPU, Kubernetes manifests, and a "
        "README with the\ncommands. Nothing is run, and the models are only read.",
        epilog="""examples:
  python -m tfnlp.deploy saved_models/trec
  python -m tfnlp.deploy trec en-es --output deploy/ --serving-version 2.19 --cpus 4
  python -m tfnlp.deploy trec en-es --max-batch-size en-es=4 --batching-in-models""",
    )
    add = parser.add_argument
    add(
        "models",
        metavar="MODEL",
        nargs="+",
        help="SavedModel: a folder of versions, one version, or a name in saved_models/",
    )
    add("--output", type=Path, default=Path("deploy"), metavar="FOLDER", help="where to (deploy)")
    add(
        "--serving-version",
        default=DEFAULT,
        metavar="VERSION",
        help=f"of TF Serving: {min(PATCHES, key=_number)} to {max(PATCHES, key=_number)}, or a "
        f"patch of one ({DEFAULT})",
    )
    add("--name", help="of the deployment (the model's, or tf-serving for several)")
    add("--cpus", type=int, default=2, help="cores of a container (2)")
    add(
        "--max-batch-size",
        action="append",
        default=[],
        metavar="[MODEL=]ROWS",
        help="rows answered together and in a request, at most (32)",
    )
    add(
        "--batching-in-models",
        action="store_true",
        help=f"write {PARAMETERS} into each version's folder, and have the server use it",
    )
    add("--no-batching", action="store_true", help="answer each request by itself")
    add(
        "--trusted-ops",
        action="append",
        default=[],
        metavar="OP",
        help="op that a model may have although it reads or writes files; may be repeated",
    )
    add(
        "--force",
        action="store_true",
        help="if the folder is there with other files, keep it as FOLDER.before-N",
    )
    return parser


def _number(version: str) -> list[int]:
    """Return a version as numbers."""
    return [int(part) for part in version.split(".")]


def run(args: argparse.Namespace) -> int:
    """Check the models, and write the folder.

    Returns:
        The exit status: 1, and nothing is written, if TF Serving would refuse a model.

    Raises:
        UserError: a mistake in the arguments, or a folder that cannot be written.

    Example::

        run(parser().parse(["trec-classification", "--output", "deploy"]))
    """
    release = Release.of(args.serving_version)
    if not 1 <= args.cpus <= 256:
        raise UserError(f"--cpus {args.cpus} must be from 1 to 256")
    if args.no_batching and (args.batching_in_models or args.max_batch_size):
        raise UserError("--no-batching leaves nothing for --max-batch-size, --batching-in-models")
    from tfnlp.deployment import folder, models, plan, readme, render

    served = [models.read(model) for model in args.models]
    _check_names(served)
    planned = plan.Plan(
        app=plan.app_name(args.name, served),
        release=release,
        models=served,
        cpus=args.cpus,
        most={} if args.no_batching else plan.most_rows(args.max_batch_size, served),
        in_models=args.batching_in_models,
    )
    found = _checked(planned, args.trusted_ops)
    refused = [f"{name}: {text}" for name, each in found.items() for text in each.errors]
    if refused:
        further = f" (and {len(refused) - 1} more: {'; '.join(refused[1:])})" * (len(refused) > 1)
        said = f"TF Serving {release.minor} would not serve {refused[0]}{further}"
        print(f"error: {said}", file=sys.stderr)
        return 1
    texts = render.files(planned, args.output, readme.checked(found, release.minor))
    folder.in_the_way(args.output, args.force)
    with caught("") as signals, signals.held():  # all is written, or nothing
        if planned.in_models:
            for model in served:
                parameters = render.batching_params(planned, model)
                folder.into_model(model.path / PARAMETERS, parameters, args.force)
        kept = folder.place(texts, args.output, args.force)
    _tell(planned, found, args.output, kept)
    return 0


def _check_names(served: Sequence[Served]) -> None:
    """Raise UserError if two models have the same name."""
    names = [model.name for model in served]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"two models are called {twice[0]!r}; requests could not tell them apart")


def _checked(planned: Plan, trusted: Sequence[str]) -> dict[str, Findings]:
    """Return what was found in each model."""
    from tfnlp.deployment import checks

    batching = bool(planned.most)
    return {m.name: checks.check(m, planned.release, batching, trusted) for m in planned.models}


def _tell(planned: Plan, found: Mapping[str, Findings], out: Path, kept: Path | None) -> None:
    """Print what was checked and written, and what to do next."""
    for model in planned.models:
        print(f"{model.name} version {model.version}, for TF Serving {planned.release.minor}:")
        for text in found[model.name].passed:
            print(f"  ok: {text}")
        for text in found[model.name].warnings:
            print(f"  warning: {text}")
    if planned.in_models:
        print(f"wrote {PARAMETERS} into {len(planned.models)} version folders")
    if kept:
        print(f"kept the folder that was there as {kept}")
    print(f"wrote {out} (nothing was started: try it in TF Serving)")
    print(
        f"next: cd {shlex.quote(str(out))} && docker compose up -d, then the requests in its "
        "README.md"
    )


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    return run(parser().parse(list(argv)))


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
