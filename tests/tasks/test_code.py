"""The digest of a stage's code, as many threads ask for it at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks import code

THREADS = 8


def test_threads_that_ask_at_once_wait_for_one_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    closure, barrier = code.closure, Barrier(THREADS)

    def counting(module, root):
        read.append(module)
        return closure(module, root)

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
    code.digest("tasks.some", tmp_path)
    assert not code.has_changed("tasks.some", tmp_path)
    file.write_text("x = 2\n")
    assert code.has_changed("tasks.some", tmp_path)
