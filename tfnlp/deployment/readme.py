"""The README of a deployment: exact commands for these models."""

from __future__ import annotations

from pathlib import Path
from shlex import quote as sh
from urllib.parse import quote

from tfnlp.deployment import plan as plans
from tfnlp.deployment.checks import Findings
from tfnlp.deployment.filling import MODELS, fill, relative
from tfnlp.deployment.models import Served, body
from tfnlp.deployment.plan import Plan

REST = "http://localhost:8501"


def write(plan: Plan, out: Path, checks: str, separate: bool) -> str:
    """Return the README of a deployment.

    Args:
        plan: what is deployed.
        out: its folder.
        checks: what was checked, as of `checked`.
        separate: batching parameters for single models are in ``batching/``.

    Example::

        write(plan, Path("deploy"), checked(found, "2.19"), separate=False)
    """
    first = plan.models[0]
    row = "| `batching/` | parameters for single models, not in use: see below |\n"
    return fill(
        "README.md",
        app=plan.app,
        tag=plan.release.tag,
        cpus=plan.cpus,
        checks=checks,
        requests="".join(map(_requests, plan.models)),
        build=build(plan, out),
        copy="\n".join(_copy(plan, model, out) for model in plan.models),
        next_docker=_next_docker(first, out),
        next_kubernetes=_next_kubernetes(plan, first, out),
        name=first.name,
        path=quote(first.name),
        version=first.version,
        new=first.version + 1,
        body=sh(body(first.example())),
        server=plans.SERVER,
        graph=plans.GRAPH,
        request=plan.request,
        limit=plan.limit,
        batching_row=row if separate else "",
        batching=_batching(plan, out, separate),
    )


def checked(found: dict[str, Findings], minor: str) -> str:
    """Return what was checked, by model, as Markdown.

    Args:
        found: by model what was found.
        minor: the version of TF Serving.

    Example::

        checked({"trec": Findings(passed=["version 1 is a folder ..."])}, "2.19")
    """
    parts = []
    for name, findings in found.items():
        lines = [f"- {sentence}" for sentence in findings.passed]
        lines += [f"- **warning**: {sentence}" for sentence in findings.warnings]
        parts.append(f"`{name}` for TF Serving {minor}:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def build(plan: Plan, out: Path) -> str:
    """Return the command that builds an image with the models.

    Example::

        build(plan, Path("deploy"))  # docker build --build-context model0=../saved_models/trec ...
    """
    contexts = [
        f"--build-context {sh(f'model{i}={relative(model.folder, out)}')}"
        for i, model in enumerate(plan.models)
    ]
    return " \\\n  ".join(["docker build", *contexts, f"-t REGISTRY/{plan.app}:1 ."])


def _requests(model: Served) -> str:
    """Return requests to a model, with real inputs."""
    address = f"{REST}/v1/models/{quote(model.name)}:predict"
    lines = [f"curl -d {sh(body(model.example()))} {sh(address)}"]
    ways = (way for way in ("sample", "beam", "contrastive") if way in model.signatures)
    for way in ways:
        lines += [f"# {way}: with settings, the same names in every instance"]
        lines += [f"curl -d {sh(body(model.example(way), way))} {sh(address)}"]
    shown = "\n".join(lines)
    return f"`{model.name}`, version {model.version}:\n\n```sh\n{shown}\n```\n\n"


def _copy(plan: Plan, model: Served, out: Path, version: int | None = None) -> str:
    """Return the commands that bring a version into the cluster's volume."""
    number = version or model.version
    source = f"{relative(model.folder, out)}/{number}"
    aside = f"{MODELS}/.incoming-{number}"
    place = f"{MODELS}/{model.name}"
    move = f"mkdir -p {sh(place)} && mv {aside} {sh(f'{place}/{number}')}"
    return (
        f"kubectl cp {sh(source)} {plan.app}-loader:{aside}\n"
        f"kubectl exec {plan.app}-loader -- sh -c {sh(move)}"
    )


def _next_docker(model: Served, out: Path) -> str:
    """Return the commands that add a version to those that Docker serves."""
    folder, number = relative(model.folder, out), model.version + 1
    return (
        f"cp -r PATH/TO/{number} {sh(f'{folder}/.incoming-{number}')}\n"
        f"mv {sh(f'{folder}/.incoming-{number}')} {sh(f'{folder}/{number}')}"
    )


def _next_kubernetes(plan: Plan, model: Served, out: Path) -> str:
    """Return the commands that bring the next version into a cluster."""
    return (
        f"kubectl apply -f kubernetes/loader.yaml\n"
        f"kubectl wait --for=condition=Ready pod/{plan.app}-loader\n"
        f"{_copy(plan, model, out, model.version + 1)}\n"
        f"kubectl delete pod {plan.app}-loader"
    )


def _batching(plan: Plan, out: Path, separate: bool) -> str:
    """Return how requests are batched, and how a model gets parameters of its own."""
    if not plan.most:
        return "- Batching is off (`--no-batching`): each request is answered by itself.\n"
    if plan.in_models:
        return (
            "- Batching: each version's folder has its own `batching_params.pbtxt`, written there "
            "with `--batching-in-models`.\n  A new version needs one too, or its requests are not "
            "batched.\n"
        )
    text = (
        f"- Batching: at most {plan.shared} rows at once, and in a request (`--max-batch-size`).\n"
    )
    if separate:
        commands = "\n".join(
            f"cp {sh(f'batching/{model.name}.pbtxt')} "
            f"{sh(f'{relative(model.path, out)}/batching_params.pbtxt')}"
            for model in plan.models
        )
        text += (
            "\nA model can have its own: TF Serving reads `batching_params.pbtxt` in a version's "
            "folder, if it has the flag\n`--enable_per_model_batching_parameters=true`. "
            "`python -m tfnlp.deploy --batching-in-models` does both, or copy them:\n\n"
            f"```sh\n{commands}\n```\n"
        )
    return text
