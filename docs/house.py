"""Draws the figure of docs/architecture.md: `python docs/house.py`.

The house is drawn from the contracts of `.importlinter` and what each folder says of itself, the
stages from `dvc.yaml`: the figure shows what the tests hold the code to.
"""

import ast
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from importlinter.api import read_configuration
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "images" / "house.svg"

LAYERS = {"flows": "commands", "tasks": "rooms", "fgds_core": "wings"}
"""The contract that orders the rooms of each layer."""

WIDTH = 1000
LEFT = 190
"""Where the rooms begin; what is said of a layer stands before."""
LOW, LINE, GAP, EDGE = 34, 15, 5, 10
"""Height of a floor whose rooms say all in one line, and of each line below it."""

STYLE = """
text { font: 13px sans-serif; fill: #1f2933; dominant-baseline: central }
.title { font-size: 15px; font-weight: bold } .name { font-weight: bold }
.note { font-size: 12px; fill: #52606d }
.flows { fill: #fbe9c9 } .tasks { fill: #d8e7f5 } .fgds_core { fill: #dcefdd }
.room { fill: #ffffff; stroke: #b8c2cc }
.library { fill: #3e4c59 } .library + text { fill: #ffffff; font-size: 11px }
.life { stroke: #9fb3c8; stroke-width: 2 }
.reads { fill: #ffffff; stroke: #2b6cb0; stroke-width: 2 } .writes { fill: #2b6cb0 }
"""

Contract = dict[str, Any]


def figure() -> str:
    """The whole figure, as SVG."""
    house, floor = _house(50)
    stages, bottom = _stages(floor + 36)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom}"'
            f' viewBox="0 0 {WIDTH} {bottom}">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{bottom}" fill="#ffffff"/>',
            *house,
            *stages,
            "</svg>\n",
        ]
    )


def _house(top: int) -> tuple[list[str], int]:
    contracts: dict[str, Contract] = {
        each["id"]: each
        for each in read_configuration(str(ROOT / ".importlinter"))["contracts_options"]
    }
    libraries = _libraries(contracts)
    drawn = [_text(EDGE, top - 28, "A room may know those on the floors below it", "title")]
    for layer, contract in LAYERS.items():
        floors = contracts[contract]["layers"]
        rooms = [_rooms(layer, floor, libraries) for floor in floors]
        heights = [_height(floor) for floor in rooms]
        height = sum(heights) + GAP * (len(floors) - 1) + 2 * EDGE
        drawn += [
            _box(EDGE, top, WIDTH - 2 * EDGE, height, layer),
            _text(2 * EDGE, top + EDGE + LOW / 2, layer, "title"),
            *_lines(2 * EDGE, top + EDGE + LOW + 5, textwrap.wrap(_docstring(layer), 24)),
        ]
        y = top + EDGE
        for floor, high in zip(rooms, heights, strict=True):
            drawn += [line for room in floor for line in _room(room, y, high)]
            y += high + GAP
        top += height + GAP
    return drawn, top


@dataclass(frozen=True)
class Room:
    """A folder, or modules, of one layer."""

    name: str
    says: str
    libraries: list[str]
    """What only this room knows."""
    x: float
    width: float


def _rooms(layer: str, floor: str, libraries: Mapping[str, list[str]]) -> list[Room]:
    """The rooms of a floor side by side; more than three modules share one."""
    names = [name.strip() for name in floor.split("|")]
    modules = not any((ROOT / layer / name).is_dir() for name in names)
    groups = [names] if modules and len(names) > 3 else [[name] for name in names]
    width = (WIDTH - LEFT - 2 * EDGE - GAP * (len(groups) - 1)) / len(groups)
    return [
        Room(
            ", ".join(group),
            _docstring(f"{layer}/{group[0]}") if len(group) == 1 else "",
            libraries.get(f"{layer}.{group[0]}", []),
            LEFT + number * (width + GAP),
            width,
        )
        for number, group in enumerate(groups)
    ]


def _fits(room: Room) -> bool:
    """Whether a room's words stand in one line, as wide as most fonts are."""
    words = 7.5 * len(room.name) + 5.9 * len(room.says) + sum(map(_wide, room.libraries))
    return words + 4 * EDGE < room.width


def _height(floor: Sequence[Room]) -> int:
    if all(map(_fits, floor)):
        return LOW
    return LOW - 1 + LINE * max(len(_wrapped(room)) for room in floor)


def _wrapped(room: Room) -> list[str]:
    return textwrap.wrap(room.says, int(room.width / 6))


def _room(room: Room, y: float, height: float) -> list[str]:
    drawn = [_box(room.x, y, room.width, height, "room")]
    name = f'<tspan class="name">{escape(room.name)}</tspan>'
    if height == LOW:
        name += f'<tspan class="note" dx="8">{escape(room.says)}</tspan>'
    else:
        drawn += _lines(room.x + EDGE, y + LOW + 2, _wrapped(room))
    drawn.append(f'<text x="{room.x + EDGE:g}" y="{y + LOW / 2:g}">{name}</text>')
    right = room.x + room.width - EDGE
    for library in room.libraries:
        drawn += [
            _box(right - _wide(library), y + 8, _wide(library), LOW - 16, "library"),
            _text(right - _wide(library) / 2, y + LOW / 2, library, anchor="middle"),
        ]
        right -= _wide(library) + GAP
    return drawn


def _wide(library: str) -> int:
    return 7 * len(library) + 12


def _lines(x: float, y: float, lines: Sequence[str]) -> list[str]:
    return [_text(x, y + LINE * number, line, "note") for number, line in enumerate(lines)]


def _libraries(contracts: dict[str, Contract]) -> dict[str, list[str]]:
    """The libraries that only some rooms know, by room."""
    found = defaultdict(list)
    for contract in contracts.values():
        for importer in contract.get("allowed_importers", []):
            room = ".".join(importer.split(".")[:2])
            found[room].append(contract["protected_modules"][0])
    return found


def _stages(top: float) -> tuple[list[str], int]:
    """A column a stage, a row a folder: which reads and which writes it."""
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    writes = {name: _folders(stage["outs"]) for name, stage in stages.items()}
    folders = [folder for owned in writes.values() for folder in owned]
    step = (WIDTH - LEFT - EDGE) / len(stages)
    columns = {name: LEFT + step * (number + 0.5) for number, name in enumerate(stages)}
    rows = {folder: top + 70 + 26 * number for number, folder in enumerate(folders)}
    drawn = [
        _text(EDGE, top, "A stage is folders in and folders out", "title"),
        _dot(LEFT + 180, top, "writes"),
        _text(LEFT + 192, top, "writes", "note"),
        _dot(LEFT + 250, top, "reads"),
        _text(LEFT + 262, top, "reads", "note"),
    ]
    for name, x in columns.items():
        drawn += [
            _box(x - step / 2 + 3, top + 20, step - 6, 28, "flows"),
            _text(x, top + 34, name, anchor="middle"),
        ]
    for folder, y in rows.items():
        users = {
            name: "writes" if folder in writes[name] else "reads"
            for name, stage in stages.items()
            if folder in writes[name] or any(_within(dep, folder) for dep in stage["deps"])
        }
        ends = [columns[name] for name in users]
        drawn.append(_text(2 * EDGE, y, folder, "note"))
        drawn.append(
            f'<line class="life" x1="{min(ends):g}" x2="{max(ends):g}" y1="{y:g}" y2="{y:g}"/>'
        )
        drawn += [_dot(columns[name], y, use) for name, use in users.items()]
    return drawn, int(max(rows.values())) + 26


def _folders(outs: Sequence[str | dict[str, Any]]) -> list[str]:
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    return [name for name in names if "." not in Path(name).name]


def _within(dependency: str, folder: str) -> bool:
    return Path(dependency).is_relative_to(folder)


def _docstring(place: str) -> str:
    """The first sentence of a package or module, without its full stop."""
    file = ROOT / place / "__init__.py"
    file = file if file.is_file() else ROOT / f"{place}.py"
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return said.splitlines()[0].removesuffix(".").replace("`", "")


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'
    )


def _dot(x: float, y: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="6"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
    )


if __name__ == "__main__":
    FIGURE.write_text(figure(), encoding="utf-8")
