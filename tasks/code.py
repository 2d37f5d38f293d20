"""What counts as the code of a stage: the import closure of its flow within our packages.

DVC's dependencies and the cache keys of the tasks are both made from this closure, so editing the
report redraws no image and editing the sampler redraws all of them.
"""

import ast
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock

PACKAGES = ("fgds_core", "tasks", "flows")

PLUMBING = frozenset(
    {
        "flows",
        "tasks",
        "tasks.artifacts",
        "tasks.cache",
        "tasks.code",
        "tasks.fanout",
        "tasks.journal",
        "tasks.plan",
        "tasks.progress",
        "tasks.resume",
        "tasks.timing",
        "tasks.store",
        "tasks.store.bucket",
        "tasks.store.faults",
        "tasks.store.inputs",
        "tasks.store.parts",
        "fgds_core.config.compute",
        "fgds_core.config.store",
    }
)
"""Modules every stage imports that decide when and how fast it runs and what it says meanwhile,
and can change no byte of its outputs. They are left out, with what only they import: a new
progress bar is no reason to train again."""

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds our packages."""


def closure(module: str, root: Path = ROOT) -> tuple[str, ...]:
    """Files whose content is the code of a module.

    Imports are read from the source, those inside functions too. What stands under `if
    TYPE_CHECKING` or `if __name__ == "__main__"` is not imported with the module, so it does not
    count. A file beside a module that shares its stem, such as a template, counts with it.

    Args:
        module: Dotted name, for instance `flows.synthesize`.
        root: The folder that holds the packages.

    Returns:
        Paths relative to `root` (POSIX form), sorted.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        file = _source(name, root)
        if name in found or file is None:
            continue
        found.add(name)
        if name in PLUMBING:
            continue
        pending += _ancestors(name)
        pending += _imports(ast.parse(file.read_text(encoding="utf-8")), name, file)
    files = {path for name in found - PLUMBING for path in _files(name, root)}
    return tuple(sorted(path.relative_to(root).as_posix() for path in files))


def digest(module: str, root: Path = ROOT) -> str:
    """sha256 of the names and bytes of a module's closure; read once in a process."""
    with _reading:
        return _digest(module, root)


def has_changed(module: str, root: Path = ROOT) -> bool:
    """Whether a module's closure is another than when this process read it first."""
    with _reading:
        return _digest.__wrapped__(module, root) != _digest(module, root)


_reading = Lock()
"""Python 3.11 cannot parse in several threads at once (`ast.parse` fails now and then)."""


@cache
def _digest(module: str, root: Path) -> str:
    lines = [
        f"{sha256((root / path).read_bytes()).hexdigest()}  {path}"
        for path in closure(module, root)
    ]
    return sha256("\n".join(lines).encode()).hexdigest()


def _source(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    stem = root.joinpath(*name.split("."))
    for file in (stem.with_suffix(".py"), stem / "__init__.py"):
        if file.is_file():
            return file
    return None


def _files(name: str, root: Path) -> Iterator[Path]:
    file = _source(name, root)
    assert file is not None
    yield file
    if file.name != "__init__.py":
        yield from (
            other
            for other in file.parent.glob(f"{file.stem}.*")
            if other.suffix not in (".py", ".pyc")
        )


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _imports(tree: ast.AST, module: str, file: Path) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_never_imported(node.test):
            for statement in node.orelse:
                yield from _imports(ast.Module([statement], []), module, file)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, file)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, module, file)


def _is_never_imported(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        assert node.module is not None
        return node.module
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
