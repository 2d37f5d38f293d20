"""The digest of a stage's code, as many threads ask for it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks.identity import code

THREADS = 8


def test_threads_that_ask_at_once_wait_for_one_that_reads(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "some.py").write_text("x = 1\n")
    barrier = Barrier(THREADS)

    def ask(_: int) -> str:
        barrier.wait()
        return code.digest("tasks.some", root=tmp_path)

    before = code._first_digest.cache_info().misses
    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(ask, range(THREADS)))) == 1
    assert code._first_digest.cache_info().misses == before + 1


def test_a_digest_is_of_what_was_read_first(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    file = tmp_path / "tasks" / "some.py"
    file.write_text("x = 1\n")
    every = code.digest("tasks.some", root=tmp_path)
    file.write_text("x = 2\n")
    assert code.digest("tasks.some", "tasks.none", root=tmp_path) == every


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
    without = frozenset({"fgds_core.kinds.one"})
    found = code.closure(*chosen, registered=False, without=without, root=tmp_path)
    assert set(found) == {"fgds_core/__init__.py", "fgds_core/draw.py"}


REGISTRY = """from fgds_core.kinds import load

KINDS: dict[str, str] = {
    "one": "fgds_core.kinds.one",  # the first
}


def choose(name):
    if name not in KINDS:
        raise ValueError(
            f"{name} is unknown"  # to us
        )
    return load(KINDS[name])
"""


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("  # the first\n", '\n    "two": "fgds_core.kinds.two",\n', True),
        ("is unknown", "is not known", True),
        ('(\n            f"{name} is unknown"  # to us\n        )', '("unknown")', True),
        ("ValueError", "KeyError", False),
        ("if name not in KINDS", "if name in KINDS", False),
        ("fgds_core.kinds.one", "elsewhere", False),
        ('"fgds_core.kinds.one"', "None", False),
    ],
)
def test_neither_registry_nor_message_is_code_of_an_image(
    tmp_path: Path, before: str, after: str, same: bool
) -> None:
    def digest(name: str, text: str, registered: bool) -> str:
        root = tmp_path / name
        (root / "fgds_core").mkdir(parents=True, exist_ok=True)
        (root / "fgds_core" / "draw.py").write_text(text)
        return code.digest("fgds_core.draw", registered=registered, root=root)

    assert before in REGISTRY
    edited = REGISTRY.replace(before, after)
    of_image = [digest(n, t, False) for n, t in (("old", REGISTRY), ("new", edited))]
    assert (of_image[0] == of_image[1]) == same
    assert digest("old", REGISTRY, True) != digest("new", edited, True)
