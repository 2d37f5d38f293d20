"""The result as one HTML page that needs no network, with the tables and the verdict as files.

Five parts: verdict, accuracy, pictures, cost, provenance. The same inputs give the same bytes;
only what `timing.json` and `provenance.json` note differs between runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgds_core.data.imbalance import BINS
from fgds_core.files import replacing
from fgds_core.report import charts, compare, confusions, numbers, pictures
from fgds_core.report.ability import able
from fgds_core.report.accuracy import (
    GROUPS_LISTED,
    LISTED,
    Line,
    chosen_classes,
    class_lines,
    comparison,
    group_lines,
    headline_lines,
    mistakes,
    rarest_first,
    worst_groups,
)
from fgds_core.report.advice import steps
from fgds_core.report.cautions import cautions
from fgds_core.report.compare import PAIRS, Change, changes
from fgds_core.report.config import ReportConfig
from fgds_core.report.copies import copy_counts, copy_pairs, what_was_done
from fgds_core.report.cost import agreement, cost, quality, quality_of_classes
from fgds_core.report.gains import SIGNIFICANT, guesses, headline_rows
from fgds_core.report.health import health
from fgds_core.report.inputs import Places, ReportInputs, read_inputs
from fgds_core.report.left_out import left_out
from fgds_core.report.provenance import flat, provenance
from fgds_core.report.summary import Row, summary_csv
from fgds_core.report.verdict import CERTAIN, LABELS, Judgement, claim, headline
from fgds_core.report.writing import PageFiles, page_at, rendered

PAGE, SUMMARY, PAIRED, VERDICT = "index.html", "summary.csv", "paired.csv", "verdict.json"
CONFUSIONS = "confusion_changes.csv"
OUTPUTS = (PAGE, SUMMARY, PAIRED, CONFUSIONS, VERDICT, pictures.FOLDER)
"""What the stage writes beside the reports of the others."""

BALANCED = {"sampling": "class_balanced"}

# What a class is told to the generator by, for each value of `synthesize.conditioning`.
TOLD_BY = {
    "dual": "by a text prompt and by the embedding of a real image of the class",
    "text": "by a text prompt",
    "image": "by the embedding of a real image of the class",
}
# Whose criterion steers, for each value of `synthesize.guide`.
GUIDED_BY = {
    "baseline": "baseline",
    "control": "control",
    "both": "committee of baseline and control",
}


@dataclass(frozen=True)
class Found:
    """What the report makes of its inputs, before it is a page.

    Attributes:
        inputs: What the other stages reported.
        rows: Of the summary.
        changed: The changes of each of `PAIRS`.
        mistakes: Those that changed, the most changed first.
        judgement: The verdict.
    """

    inputs: ReportInputs
    rows: list[Row]
    changed: dict[tuple[str, str], list[Change]]
    mistakes: list[confusions.Confusion]
    judgement: Judgement


def write_report(places: Places, params: Mapping[str, Any], config: ReportConfig) -> Path:
    """The stage in one call: writes what `OUTPUTS` names into the folder of the reports.

    They take the place of earlier ones together, when all are whole.

    Args:
        places: Where the other stages' files lie.
        params: All parameters by section, shown as a table.
        config: How much the page shows.

    Returns:
        The path of the page.

    Raises:
        InputError: If the report of another stage is missing or damaged.
    """
    found = find(read_inputs(places, params))
    texts = {
        SUMMARY: summary_csv(found.rows),
        PAIRED: compare.as_csv([each for of_pair in found.changed.values() for each in of_pair]),
        CONFUSIONS: confusions.as_csv(found.mistakes),
        VERDICT: json.dumps(found.judgement.as_json(), indent=2, ensure_ascii=False) + "\n",
    }
    out = places.reports
    with ExitStack() as whole:
        page = whole.enter_context(page_at(out, PAGE))
        _write_page(page, found, config)
        for name, text in texts.items():
            temporary = whole.enter_context(replacing(out / name))
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return out / PAGE


def find(inputs: ReportInputs) -> Found:
    """Compares the classifiers and judges the run."""
    answers, bins = inputs.answers, inputs.meta.bins
    changed = {pair: changes(answers, bins, *pair) for pair in PAIRS}
    return Found(
        inputs,
        headline_rows(inputs.metrics, answers, bins),
        changed,
        confusions.changed(answers),
        judge(inputs, changed["control", "final"]),
    )


def judge(inputs: ReportInputs, changed: Sequence[Change]) -> Judgement:
    """The verdict on a run.

    Args:
        inputs: What was measured.
        changed: Final minus control: overall, of each bin, of each class.
    """
    guessed = guesses(inputs.answers, "final")
    claims = [
        claim(change, guesses=guessed)
        for change in changed
        if change.of != "class" and (change.num_images or change.of == "overall")
    ]
    lost = [
        change
        for change in changed
        if change.of == "class" and change.stands_out and change.lost > change.won
    ]
    lost.sort(key=lambda each: each.difference or 0.0)
    sentence, stance = headline(claims, lost, guesses=guessed)
    found = cautions(inputs)
    bins = (inputs.worth or {}).get("bins", {})
    return Judgement(
        headline=sentence,
        stance=stance,
        claims=tuple(claims),
        paid=tuple(lost),
        cautions=tuple(found),
        steps=tuple(steps(inputs, stance, changed, found)),
        worth={name: numbers.images(bins[name]["worth"]) for name in BINS if name in bins},
    )


def _write_page(page: PageFiles, found: Found, config: ReportConfig) -> None:
    inputs = found.inputs
    final_guesses = guesses(inputs.answers, "final")
    lines = class_lines(inputs.answers, final_guesses=final_guesses)
    shown = chosen_classes(lines, inputs.real_counts, config.max_classes)
    copies = copy_pairs(inputs)

    def as_html(with_pictures: Sequence[int]) -> str:
        return render(found, lines, with_pictures, len(copies), final_guesses=final_guesses)

    more = {"copies": copies} if copies else {}
    page.write(pictures.of_classes(inputs, shown, config), as_html, config.max_page_mb, more)


def render(
    found: Found,
    lines: Sequence[Line],
    with_pictures: Sequence[int],
    num_pairs: int = 0,
    *,
    final_guesses: bool,
) -> str:
    """The page without the pictures.

    Args:
        found: What the report makes of its inputs.
        lines: Of all classes.
        with_pictures: Numbers of the classes that have some.
        num_pairs: Suspected copies that are shown beside what they may copy.
        final_guesses: Whether the final classifier could be guessing.
    """
    inputs = found.inputs
    meta, answers, synthetic = inputs.meta, inputs.answers, inputs.synthetic
    counts = inputs.real_counts
    rows = rarest_first(lines, counts)
    names = [line.label for line in rows]
    took, of_guidance = cost(inputs), health(inputs)
    comparisons = [comparison(answers, found.changed[pair]) for pair in PAIRS]
    columns, values, dashes = quality_of_classes(synthetic, names)
    drawn = {
        "gains": charts.gains(lines, counts),
        "trade_off": charts.trade_off(inputs.trade_offs),
        "confusion": charts.confusion(answers, names),
        "calibration": charts.calibration(answers),
        "curves": charts.learning_curves(inputs.curves),
        "hardness": charts.hardness(of_guidance),
        "criterion": charts.guidance_steps(of_guidance, "criterion"),
        "gradient": charts.guidance_steps(of_guidance, "gradient"),
        "time": charts.stage_times(took) if took else None,
        "worth": charts.worth(inputs.worth["bins"], inputs.worth["unit"])
        if inputs.worth
        else None,
    }
    params = inputs.params.get("synthesize", {})
    guided = synthetic["guidance"]["criterion_first"] is not None
    of_what = numbers.count(len(meta.class_names), "class", "classes")
    what = "feedback-guided synthetic images" if guided else "synthetic images"
    return rendered(
        "page.html.j2",
        drawn,
        # of all parts
        title=f"What {what} add to {of_what}",
        meta=meta,
        num_train=sum(counts.values()),
        num_test=len(answers.actual),
        num_synthetic=synthetic["num_synthetic"],
        seed=inputs.metrics["final"]["seed"],
        guided=guided,
        recipe=_recipe(inputs.params),
        labels=LABELS,
        # verdict
        final_guesses=final_guesses,
        judgement=found.judgement,
        significant=SIGNIFICANT,
        certain=CERTAIN,
        # accuracy
        headline=headline_lines(found.rows, final_guesses=final_guesses),
        num_classes_in={
            name: sum(meta.bins[of] == name for of in meta.class_names) for name in BINS
        },
        worst=worst_groups(answers),
        groups=group_lines(answers),
        groups_listed=GROUPS_LISTED,
        comparisons=comparisons,
        mistakes=mistakes(found.mistakes),
        listed=LISTED,
        lines=rows,
        number_of={name: number for number, name in enumerate(meta.class_names)},
        p_of={each.name: each.p_holm for each in found.changed["control", "final"]},
        counts=counts,
        synthetic_counts=inputs.synthetic_counts,
        agreement={name: agreement(synthetic["per_class"][name]) for name in names},
        with_pictures=set(with_pictures),
        fewest=charts.FEWEST,
        # pictures
        remarks=list(pictures.remarks(synthetic)),
        able=able(inputs),
        copy_counts=copy_counts(inputs),
        copies_done=what_was_done(inputs),
        num_pairs=num_pairs,
        left_out=left_out(inputs),
        vetting=inputs.made_by.get("vetting"),
        # cost
        cost=took,
        guidance=synthetic["guidance"],
        health=of_guidance,
        quality=quality(synthetic),
        quality_columns=columns,
        quality_of=values,
        quality_dashes=dashes,
        synthetic=synthetic,
        # provenance
        provenance=provenance(inputs),
        told=TOLD_BY.get(params.get("conditioning"), TOLD_BY["dual"]),
        guide=GUIDED_BY[params.get("guide", "baseline")],
    )


def _recipe(params: Mapping[str, Any]) -> str | None:
    """What the final recipe and its control's differ in from the baseline's, as text.

    None where it is class-balanced batches of what came as it is, which the page has words for.
    """
    sampling = params.get("train_baseline", {}).get("sampling", "instance")
    differs = params.get("retrain", {}).get("training", BALANCED)
    if sampling == "instance" and differs == BALANCED:
        return None
    return ", ".join(f"{key}: {value}" for key, value in flat(differs) if key)
