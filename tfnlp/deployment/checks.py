"""Check a model against a version of TF Serving: what fails there, and what may.

Nothing is run: the graph's ops, the signatures and the warm-up requests are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from tfnlp.deployment import warmup
from tfnlp.deployment.models import STRING, Served, Signature
from tfnlp.deployment.versions import LISTED, Release
from tfnlp.inference import serving_ops
from tfnlp.serving import trust

_DEFAULT = "serving_default"
_FAST = ("FastBert", "FastWordpiece", "TFText>Fast")


@dataclass
class Findings:
    """What a check found, in sentences that begin with the model's name.

    Attributes:
        errors: the server would refuse the model, or its requests.
        warnings: it may, or some of them.
        passed: what was checked and is right.

    Example:
        >>> Findings(warnings=["trec: no warm-up requests"]).errors
        []
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


def check(
    model: Served, release: Release, batching: bool, trusted: Collection[str] = ()
) -> Findings:
    """Check a model.

    Args:
        model: as it lies in its folder.
        release: the server's version.
        batching: the server will put requests together.
        trusted: ops that may read or write files.

    Example::

        check(read("trec"), Release.of("2.19"), batching=True).errors  # []
    """
    findings = Findings()
    findings.passed.append(f"version {model.version} is a folder named by a whole number")
    _trust(model, trusted, findings)
    _ops(model, release, findings)
    _signatures(model, findings)
    _warmup(model, findings)
    if batching:
        _batching(model, findings)
    return findings


def _trust(model: Served, trusted: Collection[str], findings: Findings) -> None:
    """Report what the graph would do to files and to the server's process, and links out of it."""
    risky = trust.risky_ops(model.graph, trusted)
    findings.errors += [
        f"its graph has the op {op}, which reads or writes files, or runs Python; if you trust the "
        f"model, add --trusted-ops {op}"
        for op in risky
    ]
    links = trust.links_out(model.path)
    findings.errors += [
        f"the link {link} leads out of the version's folder; copy the file there" for link in links
    ]
    if not risky and not links:
        findings.passed.append("nothing that it runs reads or writes files, or calls Python")


def _ops(model: Served, release: Release, findings: Findings) -> None:
    """Compare the ops with those that the server registers."""
    compiled = serving_ops.compiled(model.graph)
    lacks = serving_ops.missing(model.graph, LISTED)
    for node in lacks:
        if release.certain or node.op.startswith("Xla"):
            findings.errors.append(
                f"its graph has the op {node.op!r} (node {node.name!r}), which TF Serving "
                f"{release.minor} does not run; export it without it"
            )
        else:
            findings.warnings.append(
                f"its graph has the op {node.op!r}, which TF Serving {LISTED} lacks; whether "
                f"{release.minor} has it is not known here"
            )
    findings.errors += [
        f"its graph has the XLA-compiled function {name!r}, and the stock server has no compiler; "
        "export it without jit_compile"
        for name in compiled[:1]
    ]
    fast = any(node.op.startswith(_FAST) for node in serving_ops.nodes(model.graph))
    if release.doubt and (fast or release.minor != "2.11"):
        findings.warnings.append(release.doubt)
    if not lacks:
        findings.passed.append(release.basis)
    if not compiled:
        findings.passed.append("nothing in the graph asks for XLA's compiler")


def _signatures(model: Served, findings: Findings) -> None:
    """Check that inputs are strings by rows, and report strings that come out as base64."""
    default = model.signatures.get(_DEFAULT)
    if default is None:
        there = ", ".join(model.signatures) or "none"
        findings.errors.append(f"it has no signature {_DEFAULT!r}; it has: {there}")
        return
    settings = model.settings.get(_DEFAULT, {})
    wrong = [
        name
        for name, tensor in default.inputs.items()
        if name not in settings and (tensor.dtype, tensor.shape) != (STRING, (-1,))
    ]
    if wrong or not default.inputs:
        which = f"the input {wrong[0]!r}" if wrong else "no input"
        findings.errors.append(
            f"{_DEFAULT} must read strings of shape [None], one a row, and has {which}"
            f"{' of another kind' if wrong else ''}; export it from raw strings"
        )
    else:
        listed = ", ".join(map(repr, default.inputs))
        findings.passed.append(f"{_DEFAULT} reads strings, any number of rows: {listed}")
    encoded = [
        name
        for signature in model.signatures.values()
        for name, tensor in signature.outputs.items()
        if tensor.dtype == STRING and name.endswith("_bytes")
    ]
    findings.warnings += [
        f'the output {name!r} ends in _bytes, so that REST answers {{"b64": "..."}}, its bytes in '
        "base64 (gRPC does not)"
        for name in dict.fromkeys(encoded)
    ]


def _warmup(model: Served, findings: Findings) -> None:
    """Check the warm-up requests, any of which would keep the version from being served."""
    found = model.warmup
    if not found.there:
        findings.warnings.append(
            f"it has no {warmup.FILE}: its first requests will be slow (python -m tfnlp.export "
            "writes it)"
        )
        return
    wrong = [found.fault] if found.fault else []
    if len(found.requests) > warmup.MOST:
        wrong.append(f"it has more than {warmup.MOST} records")
    for number, request in enumerate(found.requests, 1):
        wrong += [f"record {number} {fault}" for fault in _faults(request, model.signatures)][:1]
    if wrong:
        findings.errors.append(f"{warmup.FILE} would keep it from loading: {wrong[0]}")
    elif not found.requests:
        findings.warnings.append(f"{warmup.FILE} is empty: its first requests will be slow")
    else:
        findings.passed.append(f"its {len(found.requests)} warm-up requests fit its signatures")
    other = {request.model for request in found.requests} - {model.name, ""}
    if other:
        findings.warnings.append(
            f"its warm-up requests name the model {min(other)!r}; TF Serving runs them "
            "nevertheless (if the folder was renamed, that is all)"
        )


def _faults(request: warmup.Request, signatures: Mapping[str, Signature]) -> Iterator[str]:
    """Return what is wrong with a warm-up request."""
    if request.kind == "multi-inference":
        return
    signature = signatures.get(request.signature)
    if signature is None:
        yield f"asks for the signature {request.signature!r}, which is not there"
        return
    if request.kind != "predict":
        if not signature.method.endswith(request.kind):
            yield f"is a {request.kind} request, which {request.signature} does not answer"
        return
    for name in sorted(request.inputs.keys() ^ signature.inputs.keys()):
        which = "lacks" if name in signature.inputs else "has"
        yield f"{which} the input {name!r}"
    for name in sorted(request.inputs.keys() & signature.inputs.keys()):
        (dtype, shape), wanted = request.inputs[name], signature.inputs[name]
        if dtype != wanted.dtype or not _fits(shape, wanted.shape):
            yield f"has the input {name!r} in another type or shape than {request.signature} reads"


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...] | None) -> bool:
    """Return whether a tensor has the shape that a signature reads."""
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(
        there in (-1, size) for size, there in zip(shape, wanted, strict=True)
    )


def _batching(model: Served, findings: Findings) -> None:
    """Report signatures whose requests the server cannot batch.

    Source: tensorflow_serving/batching/batching_session.cc, which joins the requests of every
        signature along the first dimension, and divides every output by it.
    """
    never, unequal = [], []
    for name, signature in model.signatures.items():
        every = [*signature.inputs.values(), *signature.outputs.values()]
        if not all(tensor.by_rows for tensor in every):
            never.append(name)
        elif any(-1 in (tensor.shape or ())[1:] for tensor in signature.inputs.values()):
            unequal.append(name)
    if never:
        findings.warnings.append(
            f"with batching, requests to {_listed(never)} fail, because not all inputs and "
            "outputs are by rows"
            + (" (they write text while it is shown)" if "advance" in never else "")
            + "; write the files with --no-batching if you need them"
        )
    if unequal:
        findings.warnings.append(
            f"with batching, requests to {_listed(unequal)} that come together fail unless they "
            "have the same length; pad them alike, or use --no-batching"
        )


def _listed(names: list[str]) -> str:
    """Write names as in a sentence."""
    return " and ".join(", ".join(names).rsplit(", ", 1))
