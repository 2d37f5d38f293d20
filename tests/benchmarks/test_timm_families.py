"""The table of networks speaks of the timm that is installed, and its rows still hold."""

import json

import timm

from benchmarks.timm_families import RESULTS, TABLE, families, measure, read_results, table


def test_the_rows_are_families_of_the_installed_timm():
    assert json.loads(RESULTS.read_text())["versions"]["timm"] == timm.__version__
    wanted = families()
    for family, result in read_results().items():
        assert wanted[family] == result["model"]


TOO_LARGE = {"deepseek_vit", "gemma4_vit"}
"""Families whose smallest network, of 412 and 167 million weights, the measurement cannot end."""


def test_no_family_ends_the_process_or_fails_without_our_message():
    failed = {
        family: result["error"] for family, result in read_results().items() if "error" in result
    }
    assert set(failed) <= TOO_LARGE
    assert all(error.startswith("took more than") for error in failed.values())


def test_the_document_is_what_was_measured():
    assert TABLE.read_text() == table()


def test_a_small_network_still_does_what_its_row_says():
    result = dict(read_results()["resnet"])
    assert measure(result.pop("model")) == result
