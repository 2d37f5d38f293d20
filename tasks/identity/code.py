"""What counts as the code of a stage: the import closure of its flow within our packages.

DVC's dependencies and the cache keys of the tasks are both made from this closure, so editing the
report redraws no image and editing the sampler redraws all of them. DVC compares bytes; the keys
compare what Python runs, so that a better comment or docstring repeats and redraws nothing.

Alternatives stand in registries, as names of modules that are loaded when they are chosen. A stage
depends on all of them, one image on those it was made with, and on no registry.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from threading import Lock

PACKAGES = ("fgds_core", "tasks", "flows")

PLUMBING = frozenset(
    {
        "flows",
        "tasks",
        "tasks.identity",
        "tasks.identity.artifacts",
        "tasks.identity.cache",
        "tasks.identity.code",
        "tasks.identity.links",
        "tasks.cost",
        "tasks.plan",
        "tasks.space",
        "tasks.store",
        "tasks.store.bucket",
        "tasks.store.config",
        "tasks.store.faults",
        "tasks.store.inputs",
        "tasks.store.parts",
        "tasks.watch",
        "tasks.watch.journal",
        "tasks.watch.progress",
        "tasks.watch.provenance",
        "tasks.watch.timing",
        "tasks.workers",
        "tasks.workers.config",
        "tasks.workers.fanout",
    }
)
"""Modules every stage imports that decide when and how fast it runs and what it says meanwhile,
and can change no byte of its outputs. They are left out, with what only they import: a new
progress bar is no reason to train again."""

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds our packages."""


def closure(
    *modules: str,
    registered: bool = True,
    without: frozenset[str] = frozenset(),
    root: Path = ROOT,
) -> tuple[str, ...]:
    """Files whose content is the code of some modules.

    Imports are read from the source, those inside functions too. What stands under `if
    TYPE_CHECKING` or `if __name__ == "__main__"` is not imported with the module, so it does not
    count. A file beside a module that shares its stem, such as a template, counts with it.

    Args:
        modules: Dotted names, for instance `flows.synthesize`.
        registered: Whether modules count that a registry names, as text.
        without: Modules that are left out, with what only they import.
        root: The folder that holds the packages.

    Returns:
        Paths relative to `root` (POSIX form), sorted.
    """
    return _closure(modules, registered, without, root, Path.read_bytes)


def digest(
    *modules: str,
    registered: bool = True,
    without: frozenset[str] = frozenset(),
    root: Path = ROOT,
) -> str:
    """sha256 of the names and code of the closure of modules; each file is read once in a process.

    Comments, docstrings and blank lines are no code. Where `registered` is false, neither are the
    registries themselves, nor what an error says that is raised.

    Args:
        modules: As in `closure`.
        registered: As in `closure`.
        without: As in `closure`.
        root: As in `closure`.
    """
    with _reading:
        return _first_digest(modules, registered, without, root)


def has_changed(module: str, root: Path = ROOT) -> bool:
    """Whether a module's closure is another than when this process read it first."""
    with _reading:
        now = _digest((module,), True, frozenset(), root, Path.read_bytes)
        return now != _first_digest((module,), True, frozenset(), root)


_reading = Lock()
"""Python 3.11 cannot parse in several threads at once (`ast.parse` fails now and then)."""

Read = Callable[[Path], bytes]
"""Path -> the file's bytes."""


@cache
def _first_read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _first_digest(
    modules: tuple[str, ...], registered: bool, without: frozenset[str], root: Path
) -> str:
    return _digest(modules, registered, without, root, _first_read)


def _digest(
    modules: tuple[str, ...], registered: bool, without: frozenset[str], root: Path, read: Read
) -> str:
    lines = [
        f"{_code_digest(read(root / path), path, registered)}  {path}"
        for path in _closure(modules, registered, without, root, read)
    ]
    return sha256("\n".join(lines).encode()).hexdigest()


def _closure(
    modules: tuple[str, ...], registered: bool, without: frozenset[str], root: Path, read: Read
) -> tuple[str, ...]:
    left_out = PLUMBING | without
    seen: set[str] = set()
    found: set[str] = set()
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _source(name, root)
        if file is None or name in left_out:
            continue
        found.add(name)
        pending += _ancestors(name)
        imported, named = _references(read(file), name, file.name == "__init__.py")
        pending += imported
        if registered:
            pending += named
    files = {path for name in found for path in _files(name, root)}
    return tuple(sorted(path.relative_to(root).as_posix() for path in files))


@cache
def _references(
    source: bytes, name: str, is_package: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modules that a source imports, and texts in it that may name a module."""
    tree = ast.parse(source)
    return tuple(_imports(tree, name, is_package)), tuple(_named(tree))


@cache
def _code_digest(source: bytes, path: str, registered: bool) -> str:
    return sha256(_code(source, path, registered)).hexdigest()


def _code(source: bytes, path: str, registered: bool) -> bytes:
    """What of a file's bytes can have an effect; all of a file that is not Python."""
    if not path.endswith(".py"):
        return source
    # Cut from the text: what `ast.unparse` writes and how f-strings are split differs by version
    for start, end in reversed(_outermost(_idle(source, registered))):
        before, after = source[:start].rstrip(b" \t"), source[end:]
        rest, _, following = after.partition(b"\n")
        alone = (not before or before.endswith(b"\n")) and not rest.strip()
        source = before + (following if alone else after)
    return source


def _outermost(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places that lie within no other, in order."""
    outermost: list[tuple[int, int]] = []
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if not outermost or start >= outermost[-1][1]:
            outermost.append((start, end))
    return outermost


def _idle(source: bytes, registered: bool) -> Iterator[tuple[int, int]]:
    """Places of comments, docstrings and blank lines, perhaps of registries and messages."""
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]

    def end_of(node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.end_lineno - 1] + node.end_col_offset

    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield starts[node.lineno - 1] + node.col_offset, end_of(node)
        elif not registered and isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield end_of(node.exc.func), end_of(node.exc)
    for statement in tree.body:
        if not registered and _is_registry(statement):
            yield starts[statement.lineno - 1] + statement.col_offset, end_of(statement)
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT or (
            token.type == tokenize.NL and not token.line.strip()
        ):
            start = starts[token.start[0] - 1] + len(token.line[: token.start[1]].encode())
            yield start, start + len(token.string.rstrip("\r\n").encode())


def _is_registry(statement: ast.stmt) -> bool:
    """Whether a statement gives names to modules of ours."""
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Dict) or not value.values:
        return False
    texts = [entry.value if isinstance(entry, ast.Constant) else None for entry in value.values]
    return all(isinstance(text, str) and _names_ours(text) for text in texts)


def _names_ours(text: str) -> bool:
    return bool(re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", text))


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


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_never_imported(node.test):
            for statement in node.orelse:
                yield from _imports(ast.Module([statement], []), module, is_package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, module, is_package)


def _named(tree: ast.AST) -> Iterator[str]:
    """Texts that may name a module of ours."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and _names_ours(text):
            yield text


def _is_never_imported(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        assert node.module is not None
        return node.module
    package = module.split(".") if is_package else module.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
