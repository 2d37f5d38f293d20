"""What a classifier says of each test image, at rest."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgds_core.classify.answers import read_answers, write_answers
from fgds_core.errors import InputError

COLUMNS = {
    "id": ["a/1.png", "=1+1", "a\r\n,b"],
    "actual": ["cat", "-1", "cat"],
    "predicted": ["-1", "-1", "cat"],
    "confidence": [0.5, 0.25, 1.0],
}


@pytest.mark.parametrize("groups", [None, ["in", "out", "=in"]])
def test_answers_come_back_and_have_the_same_bytes(tmp_path, groups):
    path = tmp_path / "predictions.parquet"
    write_answers(path, COLUMNS, groups)
    first = path.read_bytes()
    expected = COLUMNS if groups is None else COLUMNS | {"group": groups}
    assert read_answers(path, "make it again").to_pydict() == expected
    write_answers(path, COLUMNS, groups)
    assert path.read_bytes() == first


def test_what_is_missing_or_damaged_names_the_remedy(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(InputError, match=r"does not exist; make it again"):
        read_answers(path, "make it again")
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"damaged .*; make it again"):
        read_answers(path, "make it again")
    pq.write_table(pa.table({"id": ["a"], "actual": ["cat"], "predicted": ["cat"]}), path)
    with pytest.raises(InputError, match=r"no column 'confidence' of float\); make it again"):
        read_answers(path, "make it again")
    write_answers(path, {name: [] for name in COLUMNS})
    with pytest.raises(InputError, match=r"is empty; make it again"):
        read_answers(path, "make it again")
