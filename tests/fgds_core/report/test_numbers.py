"""How numbers and names are written."""

import pytest

from fgds_core.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (10.0, "10"),
        (0.0312, "0.031"),
        (16.094, "16.09"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (0.00041, "0.00041"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits_or_so(value, text):
    assert numbers.number(value) == text


def test_a_change_has_its_sign_and_one_that_rounds_to_nothing_has_none():
    assert [numbers.points(each) for each in (0.0812, -0.004, 0.0004, -0.0004, None)] == [
        "+8.1",
        "-0.4",
        "0.0",
        "0.0",
        "-",
    ]
    assert numbers.gain_of(0.65049, 0.80451) == "+15.5"  # 65.0 to 80.5
    assert numbers.within(-0.1, 0.25) == "-10.0 to +25.0"


def test_words_for_counts_times_and_chances():
    assert numbers.count(1, "image") == "1 image"
    assert numbers.count(2000, "class", "classes") == "2,000 classes"
    assert [numbers.duration(each) for each in (0.1123, 45, 210, 9000)] == [
        "0.11 s",
        "45 s",
        "3.5 min",
        "2.5 h",
    ]
    assert numbers.p_value(0.0004) == "p < 0.001"
    assert numbers.p_value(0.0312) == "p = 0.031"
    assert numbers.names(["a", "b", "c"]) == "a, b and c"
    assert numbers.names([*"abcdefgh"]) == "a, b, c, d, e and 3 more"


def test_on_the_page_a_minus_is_a_minus_and_a_name_stays_as_it_is():
    minus = "\N{MINUS SIGN}"
    assert numbers.typeset("-1.3 to +0.2") == f"{minus}1.3 to +0.2"
    assert numbers.typeset("few-shot (-10.0 points)") == f"few-shot ({minus}10.0 points)"
    assert numbers.typeset("x-1 T-800") == "x-1 T-800"
    assert numbers.typeset("-") == "\N{EN DASH}"
    assert numbers.visible("\u202egpj.exe") == "\N{REPLACEMENT CHARACTER}gpj.exe"
