"""Experiments side by side."""

import re

import pytest
from reported import CONFIG, GARMENTS, PARAMS, make_workspace

from fgds_core.errors import InputError
from fgds_core.report.experiments import (
    Experiment,
    accuracies,
    against_the_first,
    differing,
    sentences_of,
    write_comparison,
)
from fgds_core.report.inputs import read_inputs
from fgds_core.report.page import find


def experiment(folder, name, scale, lifts, names=GARMENTS[:4], **options):
    places = make_workspace(folder / name, names, [500, 50, 15, 5], lifts=lifts, **options)
    synthesize = {"synthesize": {"feedback": "entropy", "feedback_scale": scale}}
    return Experiment(name, find(read_inputs(places, PARAMS | synthesize)))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    return [
        experiment(folder, "weak", 0.02, (0.0, 0.0, 0.1), num_test=100),
        experiment(folder, "strong", 0.2, (0.0, 0.0, 0.6), num_test=100),
    ]


def test_the_parameters_that_differ_come_first(both, tmp_path):
    (row,) = differing(both)
    assert (row.key, row.values) == ("synthesize.feedback_scale", ("0.02", "0.2"))
    html = write_comparison(both, tmp_path, CONFIG).read_text()
    assert html.index("synthesize.feedback_scale") < html.index('id="accuracy"')
    parts = re.findall(r'<section id="(\w+)"', html)
    assert parts == ["verdict", "accuracy", "pictures", "cost", "provenance"]


def test_final_classifiers_are_compared_image_by_image(both):
    found = against_the_first(both)["strong"]
    few = next(each for each in found if each.name == "few")
    a, b = (each.found.inputs.answers for each in both)
    rare = a.actual >= 2
    gained = (b.right("final") & ~a.right("final"))[rare].sum()
    assert (few.won, few.num_images) == (gained, 200)
    assert few.p_holm < 0.001
    (sentence,) = sentences_of(both)
    assert sentence.startswith("strong beside weak: ")
    assert "few-shot +" in sentence
    assert "(certain)" in sentence
    (nothing,) = sentences_of([both[0], Experiment("again", both[0].found)])
    assert nothing == ("again and weak: no difference can be told from chance on 400 test images.")


def test_accuracies_stand_side_by_side_with_the_gain_over_each_ones_control(both):
    rows = dict((row[0], row[1:]) for row in accuracies(both))
    for name in ("overall", "few"):
        of_each = [next(row for row in each.found.rows if row.bin == name) for each in both]
        for text, row in zip(rows[name], of_each, strict=True):
            assert text.startswith(f"{100 * row.final:.1f} (")
    assert "worst_group" not in rows


def test_pictures_of_a_class_stand_below_each_other_and_name_their_experiment(both, tmp_path):
    html = write_comparison(both, tmp_path, CONFIG).read_text()
    titles = re.findall(r'"title":"([^"]*)"', html[html.index('id="pictures-0"') :])
    assert titles[:7] == [
        "Real training images",
        "weak: Synthetic, the first of them",
        "strong: Synthetic, the first of them",
        "weak: With feedback and without, from the same seed",
        "strong: With feedback and without, from the same seed",
        "weak: Worst by the judge",
        "strong: Worst by the judge",
    ]
    assert '["experiment","strong"]' in html
    assert "flows.redraw" not in html


def test_what_cannot_stand_side_by_side_is_refused_and_other_test_images_are_said(both, tmp_path):
    with pytest.raises(InputError, match="2 to 8 experiments"):
        write_comparison([both[0], both[0]], tmp_path, CONFIG)
    other = experiment(tmp_path, "other", 0.1, (0, 0, 0), names=("a", "b", "c", "d"), grid=False)
    with pytest.raises(InputError, match="other classes, such as 'Dress'"):
        write_comparison([both[0], other], tmp_path, CONFIG)
    inputs = both[1].found.inputs
    digests = inputs.meta.content_sha256 | {"test": "1" * 64}
    meta = type(inputs.meta)(**vars(inputs.meta) | {"content_sha256": digests})
    moved = type(inputs)(**vars(inputs) | {"meta": meta})
    apart = [both[0], Experiment("elsewhere", find(moved))]
    assert against_the_first(apart) == {}
    assert "tested on other images than weak" in sentences_of(apart)[0]
    assert "No parameter" not in write_comparison(apart, tmp_path, CONFIG).read_text()
