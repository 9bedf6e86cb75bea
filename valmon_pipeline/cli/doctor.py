"""``valmon doctor``: what is wrong with the set-up, and what to do about it."""

from __future__ import annotations

from collections import Counter
from typing import Final

import typer

from valmon_pipeline.cli.application import ConfigOption, JsonOption, app, print_json, say
from valmon_pipeline.doctor import Finding, Verdict, examine

_SIGNS: Final = {
    Verdict.GOOD: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.PROBLEM: ("✗", "red"),
}


@app.command()
def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Test the whole set-up, and say what to do about what is wrong.

    Nothing is changed. Ends with exit code 1 if there is a problem; warnings do not count.
    """
    findings: list[Finding] = []
    subject = ""
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            if finding.subject != subject:
                subject = finding.subject
                say(subject, style="bold")
            _show(finding)
    counts = Counter(finding.verdict for finding in findings)
    if as_json:
        print_json({"counts": {one.value: counts[one] for one in Verdict}, "findings": findings})
    else:
        say(
            f"{counts[Verdict.PROBLEM]} problems, {counts[Verdict.WARNING]} warnings, "
            f"{counts[Verdict.GOOD]} things are good"
        )
    if counts[Verdict.PROBLEM]:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    sign, style = _SIGNS[finding.verdict]
    say(f"  {sign} {finding.name}: {finding.found}", style=style)
    if finding.advice:
        say(f"      → {finding.advice}")
