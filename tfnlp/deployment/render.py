"""The files of a deployment, from the templates next to this module."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfnlp.deployment import plan as plans
from tfnlp.deployment import readme
from tfnlp.deployment.filling import MODELS, fill, proto_text, relative, yaml_text
from tfnlp.deployment.models import Served
from tfnlp.deployment.plan import Plan


def files(plan: Plan, out: Path, checks: str) -> dict[str, str]:
    """Return the texts of a deployment's files by their path in its folder.

    Args:
        plan: what is deployed.
        out: the folder, from which the paths of the models are told.
        checks: what was checked, Markdown.

    Example::

        files(plan, Path("deploy"), checks)["compose.yaml"]
    """
    config = _config(plan)
    written = {f"config/{name}": text for name, text in config.items()}
    own = {} if plan.in_models else {m.name: _parameters(plan, m) for m in plan.models if plan.most}
    if len(own) > 1:
        written |= {f"batching/{name}.pbtxt": text for name, text in own.items()}
    values = _values(plan, out)
    build = readme.build(plan, out)
    for path, template in {
        "compose.yaml": "compose.yaml",
        "compose.gpu.yaml": "compose.gpu.yaml",
        "kubernetes/base/pvc.yaml": "pvc.yaml",
        "kubernetes/base/deployment.yaml": "deployment.yaml",
        "kubernetes/base/service.yaml": "service.yaml",
        "kubernetes/base/hpa.yaml": "hpa.yaml",
        "kubernetes/base/pdb.yaml": "pdb.yaml",
        "kubernetes/base/kustomization.yaml": "kustomization.yaml",
        "kubernetes/gpu/kustomization.yaml": "kustomization.gpu.yaml",
        "kubernetes/gpu/patch.yaml": "patch.gpu.yaml",
        "kubernetes/loader.yaml": "loader.yaml",
    }.items():
        indent = 12 if template == "deployment.yaml" else 6
        written[path] = fill(template, **values, flags=_flags(plan, indent))
    written["kubernetes/base/configmap.yaml"] = fill(
        "configmap.yaml", app=plan.app, files=_indented_files(config)
    )
    written["Dockerfile"] = fill(
        "Dockerfile",
        build=build.replace("\n", "\n#   "),
        tag=plan.release.tag,
        copies="\n".join(
            f"COPY --from=model{i} {json.dumps(['.', f'{MODELS}/{model.name}/'])}"
            for i, model in enumerate(plan.models)
        ),
        command=json.dumps([flag for flag, _ in flags(plan)]),
    )
    written["README.md"] = readme.write(plan, out, checks, separate=len(own) > 1)
    return written


def flags(plan: Plan) -> list[tuple[str, str]]:
    """Return the server's flags, each with what it is for.

    Example::

        dict(flags(plan))["--enable_batching=true"]
    """
    found = [
        ("--model_config_file=/config/models.config", "Which models, from where."),
        ("--model_config_file_poll_wait_seconds=30", "Between looks into that file [s]."),
        ("--file_system_poll_wait_seconds=30", "Between looks for new versions [s]."),
        (
            "--allow_version_labels_for_unavailable_models=true",
            "So that labels can be in that file when the server starts.",
        ),
        ("--monitoring_config_file=/config/monitoring.config", "Metrics for Prometheus."),
        ("--rest_api_timeout_in_ms=60000", "For an answer over REST, at most [ms]."),
        (
            f"--tensorflow_intra_op_parallelism={plan.cpus}",
            "Threads within an op and for ops side by side: the container's cores, because "
            "TensorFlow would count those of the machine.",
        ),
        (f"--tensorflow_inter_op_parallelism={plan.cpus}", ""),
    ]
    if plan.most:
        found += [
            ("--enable_batching=true", "Requests that come together are answered together."),
            ("--batching_parameters_file=/config/batching.config", ""),
        ]
    if plan.in_models:
        found.append(
            (
                "--enable_per_model_batching_parameters=true",
                "From that file only the threads; the rest from batching_params.pbtxt in each "
                "version's folder. A version without it is not batched.",
            )
        )
    return found


def batching_params(plan: Plan, model: Served) -> str:
    """Return ``batching_params.pbtxt`` for a version's folder.

    Example::

        batching_params(plan, plan.models[0])
    """
    return f"# BatchingParameters of this version.\n{_parameters(plan, model)}"


def _config(plan: Plan) -> dict[str, str]:
    """Return the files that the server reads, by name."""
    config = {
        "models.config": fill("models.config", models="".join(map(_model, plan.models))),
        "monitoring.config": fill("monitoring.config"),
    }
    if plan.most:
        threads = fill("threads.pbtxt", cpus=plan.cpus)
        if plan.in_models:
            scope = "Each version's folder has its own batching_params.pbtxt; this is for all."
            parameters = threads
        else:
            scope = "They hold for each signature of each model; the threads are shared."
            why = (
                "What suits every model\n# here." if len(plan.models) > 1 else _why(plan.models[0])
            )
            parameters = _batching(plan, plan.shared, why) + threads
        config["batching.config"] = fill("batching.config", scope=scope, parameters=parameters)
    return {name: text.rstrip("\n") + "\n" for name, text in config.items()}


def _model(model: Served) -> str:
    """Return a model's entry in models.config."""
    policy = "policy_specific.pbtxt" if model.pinned else "policy_latest.pbtxt"
    return fill(
        "model.pbtxt",
        name=proto_text(model.name),
        base=proto_text(f"{MODELS}/{model.name}"),
        policy=fill(policy, version=model.version),
    )


def _parameters(plan: Plan, model: Served) -> str:
    """Return a model's own batching parameters, without the threads."""
    return _batching(plan, plan.most[model.name], _why(model))


def _batching(plan: Plan, most: int, why: str) -> str:
    """Return batching parameters."""
    return fill(
        "batching.pbtxt",
        most=most,
        why=why,
        allowed="\n".join(f"allowed_batch_sizes: {size}" for size in plans.batch_sizes(most)),
        enqueued=max(2 * plan.cpus, 8),
    )


def _why(model: Served) -> str:
    """Return a sentence on the effect of more or fewer rows."""
    if model.writes:
        return "Fewer rows wait less for one another: this model writes until the last one is done."
    return "More rows take longer together, and less for each."


def _values(plan: Plan, out: Path) -> dict[str, Any]:
    """Return the values for the YAML templates."""
    path = quote(plan.models[0].name)
    metadata = f"/v1/models/{path}/metadata"
    return {
        "app": plan.app,
        "tag": plan.release.tag,
        "cpus": plan.cpus,
        "request": plan.request,
        "limit": plan.limit,
        "storage": f"{plan.storage}Gi",
        "startup": plan.startup,
        "attempts": plan.startup // 5,
        "status": f"/v1/models/{path}",
        "metadata": metadata,
        "printed": metadata.replace("%", "%%"),
        "volumes": "".join(_volume(model, out) for model in plan.models).rstrip("\n"),
        "server": plans.SERVER,
        "graph": plans.GRAPH,
    }


def _volume(model: Served, out: Path) -> str:
    """Return the entry of a model's folder in compose.yaml."""
    source = relative(model.folder, out)
    if not source.startswith(("./", "../")):
        source = f"./{source}"
    target = f"{MODELS}/{model.name}"
    # Compose reads $ as the beginning of a variable.
    doubled = (yaml_text(path.replace("$", "$$")) for path in (source, target))
    return fill("volume.yaml", **dict(zip(("source", "target"), doubled, strict=True)))


def _flags(plan: Plan, indent: int) -> str:
    """Return the flags as items of a YAML list, with comments."""
    lines: list[str] = []
    for flag, why in flags(plan):
        wrapped = textwrap.wrap(why, 96 - indent)
        lines += [*(f"# {line}" for line in wrapped), f"- {flag}"]
    return textwrap.indent("\n".join(lines), " " * indent)


def _indented_files(config: dict[str, str]) -> str:
    """Return files as the literal blocks of a ConfigMap."""
    blocks = (f"  {name}: |\n{textwrap.indent(text, '    ')}" for name, text in config.items())
    return "".join(blocks).rstrip("\n")
