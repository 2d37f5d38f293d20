"""What the numbers are called, and the table of `docs/results.md`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.usefulness.gains import OUTCOMES, POOLED

LABELS = {
    "num_images": "number of images",
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "copy_rate": "near copies",
    "label_agreement": "label agreement",
    "variance": "feature variance, CLIP",
    "nearest_train": "distance to training images",
    "probe_auc": "probe, synthetic or real",
    "in_look": "in the data's look",
    "judge_margin": "judge's margin",
    "judge_confidence": "judge's confidence",
    "loss": "loss",
    "entropy": "entropy",
    "hardness": "hardness",
    "excess_loss": "loss over real images'",
    "guide_variance": "feature variance",
    "influence": "influence",
    "alignment": "gradient alignment",
}


def label_of(measure: str) -> str:
    """A number's name for people."""
    for who in ("guide", "control"):
        name = measure.removeprefix(f"{who}_")
        if name != measure:
            return f"{LABELS.get(f'guide_{name}', LABELS.get(name, name))}, {who}"
    name = measure.removesuffix("_by_class")
    return LABELS.get(name, name) + (", by class" if name != measure else "")


def as_markdown(found: Mapping[str, Any]) -> str:
    """The table, strongest numbers first, and what choosing by them comes to."""
    data = [scope for scope in found["sets"] if scope != POOLED]
    scopes = [
        scope for scope in found["sets"] if any(scope in m for m in found["measures"].values())
    ]
    if not scopes:
        return ""
    columns = [(scope, outcome) for scope in scopes for outcome in OUTCOMES]
    titles = [f"{scope}, {spoken(scope, outcome)}" for scope, outcome in columns]
    lost = [f"points lost, {each}" for each in data if len(data) > 1]
    lines = [
        f"| number | {' | '.join([*titles, *lost])} |",
        "|---" * (1 + len(titles) + len(lost)) + "|",
    ]
    for name in ranking(found):
        of_measure = found["measures"][name]
        cells = [
            _cell(of_measure.get(scope, {}).get(outcome), with_interval=scope == scopes[-1])
            for scope, outcome in columns
        ]
        if len(data) > 1:
            picks = (found["picked"][name].get(each, {}).get("rare") for each in data)
            cells += ["" if pick is None else f"{100 * pick['lost']:.1f}" for pick in picks]
        lines.append(f"| {label_of(name)} | {' | '.join(cells)} |")
    lines.append("")
    counts = [
        f"{found['sets'][each]} sets of {found['arms'][each]} arms on {each}" for each in data
    ]
    lines += [f"{found['tried']} numbers were tried, on {' and '.join(counts)}.", ""]
    best_of_all = [
        f"{value:.2f} on {each}, {spoken(each, outcome)}"
        for each in data
        for outcome, value in found["ceiling"].get(each, {}).items()
        if value is not None
    ]
    if best_of_all:
        lines.append(
            "- Seeds differ: a number that knew what each arm is worth would correlate by about"
            f" {', '.join(best_of_all)}."
        )
    for each, by_outcome in found["left_out"].items():
        for outcome, result in by_outcome.items():
            if result is not None:
                best = max(result["chosen"], key=lambda name: result["chosen"][name])
                lines.append(
                    f"- On {each}, {spoken(each, outcome)}, the best number chosen without an arm"
                    f" (mostly {label_of(best)}) tells that arm from another one"
                    f" in {100 * result['right']:.0f} % of pairs and loses"
                    f" {100 * result['lost']:.1f} points, a coin {100 * result['coin']:.1f}."
                )
                rho = found["on_test"][each].get(best, {}).get(outcome)
                if rho is not None:
                    lines[-1] += f" With the gain on test images it correlates by {rho:+.2f}."
    return "\n".join(lines) + "\n"


def ranking(found: Mapping[str, Any]) -> list[str]:
    """The measures, those first that go with the rare gain the most, pooled if they can be."""
    scopes = [*found["sets"]]

    def strength(name: str) -> float:
        rho = (found["measures"][name].get(scopes[-1]) or {}).get("rare", {}).get("rho")
        return -1.0 if rho is None else abs(rho)

    return sorted(found["measures"], key=lambda name: (-strength(name), name))


def spoken(scope: str, outcome: str) -> str:
    """An outcome in the words of a data set."""
    rare = {"fashion-lt": "few-shot", "fashion-contexts": "worst tenth"}
    return rare.get(scope, outcome) if outcome == "rare" else outcome


def _cell(value: Mapping[str, float | None] | None, *, with_interval: bool) -> str:
    """A correlation; bold where it stands corrected for all that were tried."""
    if value is None or value["rho"] is None:
        return ""
    text = f"{value['rho']:+.2f}"
    if with_interval and value["low"] is not None:
        text += f" ({value['low']:+.2f} to {value['high']:+.2f})"
    return f"**{text}**" if value["p_holm"] is not None and value["p_holm"] < 0.05 else text
