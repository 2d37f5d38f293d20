"""The audits for shortcuts of all retrained classifiers, beside the controls of their seeds."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments import percent
from fgds_core.classify.metrics import interval

TITLES = {
    "probe_auc": "probe, synthetic or real",
    "sent_to_synthetic": "real images sent to synthetic classes",
}
"""What the entries of an audit are called in the table."""


def audits(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the audits of a comparison come to.

    Args:
        runs: Those of one data set; those with `audit` and `audit_of_control` count.

    Returns:
        By arm and number `value` and `over_control`: mean and 95 % interval over seeds, and the
        same of the differences from the control of a seed; None without any.
    """
    of_arm: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs.values():
        if "audit" in run:
            of_arm.setdefault(run["arm"], []).append(run)

    def entry(some: list[Mapping[str, Any]], key: str) -> dict[str, Any] | None:
        pairs = [(run["audit"][key], run["audit_of_control"][key]) for run in some]
        known = [(ours, theirs) for ours, theirs in pairs if None not in (ours, theirs)]
        if not known:
            return None
        return {
            "value": interval([ours for ours, _ in known]),
            "over_control": interval([ours - theirs for ours, theirs in known]),
        }

    return {arm: {key: entry(some, key) for key in TITLES} for arm, some in of_arm.items()}


def as_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of one data set, in percent and points; nothing without audits."""
    if not found:
        return ""
    titles = [f"{title} | over control" for title in TITLES.values()]
    lines = [f"| arm | {' | '.join(titles)} |", "|---" * (1 + 2 * len(titles)) + "|"]
    for arm, entries in found.items():
        cells = [
            cell
            for key in TITLES
            for entry in (entries[key] or {},)
            for cell in (percent(entry.get("value")), percent(entry.get("over_control"), "+"))
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
