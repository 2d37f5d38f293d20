"""The digest of a stage's code, as many threads ask for it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks.identity import code

THREADS = 8


def test_threads_that_ask_at_once_wait_for_one_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    closure, barrier = code.closure, Barrier(THREADS)

    def counting(*modules, **options):
        read.extend(modules)
        return closure(*modules, **options)

    def ask(_: int) -> str:
        barrier.wait()
        return code.digest("flows.prepare")

    monkeypatch.setattr(code, "closure", counting)
    code._digest.cache_clear()
    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(ask, range(THREADS)))) == 1
    assert read == ["flows.prepare"]


def test_edited_code_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    file = tmp_path / "tasks" / "some.py"
    file.write_text("x = 1\n")
    code.digest("tasks.some", root=tmp_path)
    assert not code.has_changed("tasks.some", tmp_path)
    file.write_text("x = 2\n")
    assert code.has_changed("tasks.some", tmp_path)


CODE = '''"""What it is for."""

import math

LIMIT = 3  # metres
"""How far."""


class Circle:
    """A circle."""

    def area(self, name="#f00"):
        # pi r squared
        return f"# {name}: {math.pi * LIMIT**2}", """a

b"""  # é an area
'''


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("pi r squared", "the area", True),
        ("        # pi r squared\n", "", True),
        ("import math\n", "import math\n\n\n# More\n", True),
        ("What it is for.", "Wofür, in\n\nmany lines", True),
        ('    """A circle."""\n\n', "", True),
        ('"""How far."""\n', "", True),
        ("  # metres", "", True),
        ("  # é an area", "# è a tuple", True),
        ("LIMIT = 3", "LIMIT = 4", False),
        ("#f00", "#0f0", False),
        ("# {name}", "## {name}", False),
        ("        return", "        yield", False),
        ("a\n\nb", "a\nb", False),
    ],
)
def test_what_python_does_not_run_is_no_code(
    tmp_path: Path, before: str, after: str, same: bool
) -> None:
    (tmp_path / "tasks").mkdir()
    file = tmp_path / "tasks" / "some.py"
    assert before in CODE
    file.write_text(CODE, encoding="utf-8")
    code.digest("tasks.some", root=tmp_path)
    file.write_text(CODE.replace(before, after), encoding="utf-8")
    assert code.has_changed("tasks.some", tmp_path) != same


def test_a_registry_is_code_of_a_stage_and_only_what_is_chosen_of_an_image(tmp_path: Path) -> None:
    files = {
        "fgds_core/__init__.py": "",
        "fgds_core/draw.py": "KINDS = {1: 'fgds_core.kinds.one', 2: 'fgds_core.kinds.two'}",
        "fgds_core/kinds/__init__.py": "",
        "fgds_core/kinds/one.py": "import fgds_core.shared",
        "fgds_core/kinds/two.py": "",
        "fgds_core/shared.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(code.closure("fgds_core.draw", root=tmp_path)) == set(files)
    chosen = ("fgds_core.draw", "fgds_core.kinds.one")
    found = code.closure(*chosen, registered=False, root=tmp_path)
    assert set(found) == set(files) - {"fgds_core/kinds/two.py"}
