"""Where the result comes from: when, by what code, on what machine, of which inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fgds_core.generators.known import known_as
from fgds_core.report.inputs import ReportInputs

LEFT_OUT = ("compute", "store")  # sections that change no result

LICENCES = (
    ("fgds", "Apache-2.0"),
    ("the real images", "whatever you have them under: this program is not told"),
)


@dataclass(frozen=True)
class Provenance:
    """What the last part of the page shows.

    Attributes:
        facts: (what, value): date, commit, versions, device, seed.
        digests: (what, sha256) of data, generator, classifiers and code.
        licences: (of what, licence).
        commands: What makes the result again, line by line.
        params: (section, [(key, value)]) of everything that decides a result.
    """

    facts: list[tuple[str, str]]
    digests: list[tuple[str, str]]
    licences: list[tuple[str, str]]
    commands: list[str]
    params: list[tuple[str, list[tuple[str, str]]]]


def provenance(inputs: ReportInputs) -> Provenance:
    """Collects it from what the stages noted; what nobody noted is left out."""
    noted = (inputs.provenance or {}).get("stages", {})
    last: Mapping[str, Any] = max(
        noted.values(), key=lambda each: str(each["finished"]), default={}
    )
    facts = [("Seed", str(inputs.metrics["final"]["seed"]))]
    for key, label in (("finished", "Date"), ("commit", "Commit"), ("device", "Device")):
        values = dict.fromkeys(_said(each, key) for each in noted.values() if each.get(key))
        if values:
            shown = max(values) if key == "finished" else "; ".join(values)
            facts.append((label, shown))
    versions = {name: v for each in noted.values() for name, v in each["versions"].items()}
    if versions:
        facts.append(("Versions", ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))))
    return Provenance(
        facts=facts,
        digests=list(_digests(inputs)),
        licences=[*LICENCES, ("the generator", _licence(inputs))],
        commands=_commands(last),
        params=[
            (section, list(flat(value)))
            for section, value in sorted(inputs.params.items())
            if section not in LEFT_OUT
        ],
    )


def _said(noted: Mapping[str, Any], key: str) -> str:
    dirty = " with changes that are not committed" if noted.get("changed") else ""
    return f"{noted[key]}{dirty if key == 'commit' else ''}"


def _digests(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    for split, sha256 in inputs.meta.content_sha256.items():
        yield f"prepared {split} images", sha256
    made_by = inputs.made_by
    for path, sha256 in made_by.get("inputs", {}).items():
        yield f"generator {path}", str(sha256)
    guide = made_by.get("guide")
    which = inputs.params.get("synthesize", {}).get("guide", "baseline")
    named = ("baseline", "control") if which == "both" else (which,)
    for number, each in enumerate(guide if isinstance(guide, list) else [guide]):
        if isinstance(each, Mapping) and "weights" in each:
            yield f"{named[number]}, which guided", str(each["weights"])
    if "code" in made_by:
        yield "code that drew", str(made_by["code"])


def _licence(inputs: ReportInputs) -> str:
    path = str(inputs.params.get("generator", {}).get("path", "its folder"))
    known = known_as(path)
    return f"that of {path}; its model card says" if known is None else known.licence


def _commands(last: Mapping[str, Any]) -> list[str]:
    commit = last.get("commit")
    lines = [f"git checkout {commit}"] if commit else []
    return [*lines, "make repro"]


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as (dotted key, JSON value)."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
