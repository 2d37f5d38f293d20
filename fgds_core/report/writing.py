"""How a page becomes files: templates, style and script, and the pictures in it or beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fgds_core.files import replacing
from fgds_core.report import charts, numbers, pictures

MB = 1e6

_PICTURES_HERE = "<!-- pictures of the classes -->"

WRITTEN = (
    *("percent", "points", "number", "count", "duration", "within"),
    *("p_value", "probability", "gain_of"),
)
"""Functions of `numbers` that the templates know by name."""


def environment() -> Environment:
    """How the templates of this folder are read."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: numbers.visible(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def written(write: Any) -> Any:  # noqa: ANN401, any function of `numbers`
        return lambda *values, **options: numbers.typeset(write(*values, **options))

    made.filters |= {name: written(getattr(numbers, name)) for name in WRITTEN}
    made.filters["typeset"] = numbers.typeset
    return made


def _beside(name: str) -> Markup:
    """The style or the script of the page, which lies beside this module."""
    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def rendered(template: str, drawn: Mapping[str, charts.Spec | None], **values: object) -> str:
    """A page as text, with its charts and without the pictures of its classes.

    Args:
        template: Name of the template.
        drawn: The charts by name; None is one that there is nothing for.
        values: What the template knows besides, `title` among it.
    """
    specs = {name: spec for name, spec in drawn.items() if spec}
    data = _compact({"specs": specs, "config": charts.CONFIG})
    text: str = (
        environment()
        .get_template(template)
        .render(
            charts=specs,
            charts_json=Markup(pictures.for_script(data)),
            runtime=Markup(charts.runtime()),
            style=_beside("writing.css"),
            script=_beside("writing.js"),
            pictures_here=Markup(_PICTURES_HERE),
            **values,
        )
    )
    return text


@dataclass(frozen=True)
class PageFiles:
    """Where a page and its folder of pictures are until they are whole."""

    page: Path
    folder: Path

    def write(
        self,
        classes: Iterable[tuple[int, Mapping[str, Any]]],
        render: Callable[[Sequence[int]], str],
        max_mb: float,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Writes the page, and the pictures of its classes into it or beside it.

        Args:
            classes: Number of each class, and what is shown of it; one at a time is in memory.
            render: Makes the page of the numbers of the classes that have pictures.
            max_mb: Megabytes up to which the page holds its pictures.
            more: What else has pictures, as JSON values by name.
        """
        rows: list[Mapping[str, Any]] = []
        sizes: dict[int | str, int] = {}
        for name, found in more.items():
            _write(self._file_of(name), pictures.for_script(_compact(found)))
            sizes[name] = self._file_of(name).stat().st_size
        numbers_of_classes = []
        for number, of_class in classes:
            rows += [item["csv"] for item in of_class["items"]]
            _write(self._file_of(number), pictures.as_json(of_class))
            sizes[number] = self._file_of(number).stat().st_size
            numbers_of_classes.append(number)
        _write(self.folder / pictures.TABLE, pictures.as_csv(rows))
        html = render(sorted(numbers_of_classes))
        head, tail = html.split(_PICTURES_HERE)
        beside = len(html.encode()) + sum(sizes.values()) > max_mb * MB
        with self.page.open("w", encoding="utf-8", newline="\n") as page:
            page.write(head)
            for key in sizes:
                text = self._file_of(key).read_text(encoding="utf-8")
                if beside:
                    _write(self._file_of(key), f"fgds.pictures({json.dumps(key)},{text});\n")
                else:
                    kind = f'type="application/json" id="pictures-{key}"'
                    page.write(f"<script {kind}>{text}</script>\n")
                    self._file_of(key).unlink()
            page.write(tail)

    def _file_of(self, key: int | str) -> Path:
        """Of a class by its number, or of what else has pictures by its name."""
        return self.folder / (f"{key:05d}.js" if isinstance(key, int) else f"{key}.js")


@contextmanager
def page_at(out: Path, name: str) -> Iterator[PageFiles]:
    """Gives places for a page and its folder; what was there is replaced when both are whole.

    Args:
        out: The folder of both.
        name: Of the page.
    """
    with _replacing_folder(out / pictures.FOLDER) as folder, replacing(out / name) as page:
        yield PageFiles(page, folder)


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder, which takes the place of `path`, or is removed on an error."""
    temporary = path.with_name(f"{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
