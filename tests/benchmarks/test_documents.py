"""Tables stand once in the documents, between their marks, and are written there again."""

import pytest

from benchmarks.documents import DOCUMENTS, marks, show, shown


@pytest.fixture
def documents(tmp_path):
    begin, end = marks("table")
    other = marks("other")
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_text(f"before\n{begin}{end}after\n")
    second.write_text(f"{other[0]}kept\n{other[1]}")
    return first, second


def test_a_table_is_written_between_its_marks_and_again_in_its_place(documents):
    before = documents[1].read_text()
    for text in ("| a | b |\n|---|---|\n| 1 | 2 |\n", "| \\1 | c |\n"):
        show("table", text, documents)
        assert shown("table", documents) == text
        begin, end = marks("table")
        assert documents[0].read_text() == f"before\n{begin}{text}{end}after\n"
    assert documents[1].read_text() == before


def test_a_table_without_a_place_is_written_nowhere_and_missed_when_asked_for(documents):
    before = [path.read_text() for path in documents]
    show("stranger", "text\n", documents)
    assert [path.read_text() for path in documents] == before
    with pytest.raises(LookupError, match="stranger stands in 0 places"):
        shown("stranger", documents)


def test_no_table_stands_twice():
    names = [
        line.removeprefix("<!-- ").removesuffix(": begin -->")
        for path in DOCUMENTS
        for line in path.read_text().splitlines()
        if line.startswith("<!-- ") and line.endswith(": begin -->")
    ]
    assert names
    for name in names:
        shown(name)
