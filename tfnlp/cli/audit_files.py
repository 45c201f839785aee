"""What an audit found, as a page, as JSON, and as JUnit's XML for a build server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from tfnlp.extensions import Finding
from tfnlp.report import Report, Table, between, four_places

PAGE = "index.html"


@dataclass(frozen=True)
class Examined:
    """What one check found.

    Attributes:
        check: its name.
        summary: what it checks, in a line.
        findings: its figures.
        report: its tables and figures.
        unsuitable: why it was passed over; empty if it was not.
    """

    check: str
    summary: str
    findings: tuple[Finding, ...] = ()
    report: Report = field(default_factory=lambda: Report({}))
    unsuitable: str = ""


def verdict(finding: Finding) -> str:
    """Return whether a finding's bound holds, in a word."""
    if finding.bound is None:
        return ""
    return "passed" if finding.passed else "crossed"


def summary(done: Sequence[Examined], warnings: Sequence[str]) -> Report:
    """Return all findings as one table; what was passed over is a warning."""
    rows = [
        (
            one.check,
            finding.name,
            four_places(finding.value),
            between(finding.interval),
            finding.n,
            "" if finding.bound is None else f"{_limit(finding)} {finding.bound:g}",
            verdict(finding),
        )
        for one in done
        for finding in one.findings
    ]
    passed_over = [f"{one.check} was left out: {one.unsuitable}" for one in done if one.unsuitable]
    header = ("check", "finding", "value", "95% interval", "rows", "bound", "verdict")
    return Report({}, [Table("Findings", header, rows)], {}, [*warnings, *passed_over])


def _limit(finding: Finding) -> str:
    """Return how a value may lie to its bound."""
    return "at most" if finding.worse == "above" else "at least"


def page(done: Sequence[Examined], about: Mapping[str, Any], found: Report) -> str:
    """Return the audit as a page of HTML."""
    from tfnlp.evaluation import html

    own = {f"{one.check}: {one.summary}": one.report for one in done if not one.unsuitable}
    return html.page(f"Audit of {about['model']}", about, {"Findings": found, **own})


def values(
    done: Sequence[Examined], about: Mapping[str, Any], warnings: Sequence[str]
) -> dict[str, Any]:
    """Return the audit as plain values for report.json."""
    findings = [
        {
            "check": one.check,
            "name": finding.name,
            "value": finding.value,
            "interval": list(finding.interval),
            "rows": finding.n,
            "bound": finding.bound,
            "worse": finding.worse,
            "passed": finding.passed,
        }
        for one in done
        for finding in one.findings
    ]
    tables = {
        one.check: {
            table.title: [dict(zip(table.header, row, strict=True)) for row in table.rows]
            for table in one.report.tables
        }
        for one in done
        if not one.unsuitable
    }
    return {
        **about,
        "passed": all(finding["passed"] for finding in findings),
        "findings": findings,
        "tables": tables,
        "left_out": {one.check: one.unsuitable for one in done if one.unsuitable},
        "warnings": [*warnings, *(text for one in done for text in one.report.warnings)],
    }


def junit(done: Sequence[Examined]) -> bytes:
    """Return the audit as JUnit's XML: a suite a check, a case a finding."""
    root = ElementTree.Element("testsuites", name="tfnlp.audit")
    for one in done:
        failures = sum(not finding.passed for finding in one.findings)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=one.check,
            tests=str(max(len(one.findings), 1)),
            failures=str(failures),
            skipped=str(int(bool(one.unsuitable))),
        )
        if one.unsuitable:
            case = ElementTree.SubElement(suite, "testcase", classname=one.check, name=one.check)
            ElementTree.SubElement(case, "skipped", message=_printable(one.unsuitable))
        for finding in one.findings:
            name = _printable(finding.name)
            case = ElementTree.SubElement(suite, "testcase", classname=one.check, name=name)
            said = f"{finding.name} is {four_places(finding.value)} on {finding.n} rows"
            if finding.passed:
                ElementTree.SubElement(case, "system-out").text = _printable(said)
            else:
                message = f"{said}; it must be {_limit(finding)} {finding.bound:g}"
                ElementTree.SubElement(case, "failure", message=_printable(message))
    written: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return written


def _printable(text: str) -> str:
    """Return a text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)
