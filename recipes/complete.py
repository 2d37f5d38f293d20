"""Brings the recipes up to params.yaml: its keys, their order and their comments.

    python recipes/complete.py           # writes what is not as it should be, and names it
    python recipes/complete.py --check   # names it alone; exit status 1 if there is any

A recipe keeps its header, its section `data` and its values. A key that it lacks gets the value of
params.yaml. A key that params.yaml does not have stays, for reading it strictly to name.
"""

import argparse
import re
import sys
from pathlib import Path

RECIPES = Path(__file__).parent
PARAMS = RECIPES.parent / "params.yaml"

MOST = 100
"""Characters of a line."""

OWN = ("data",)
"""Sections whose keys depend on what is chosen in them."""

FREE = ("model_kwargs", "loss_kwargs", "feedback_factors", "training", "prompts")
"""Keys whose value is as the recipe has it, whatever is below it in params.yaml."""


def main() -> int:
    """Completes the recipes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    params = PARAMS.read_text()
    found = 0
    for path in sorted(RECIPES.glob("*.yaml")):
        text = path.read_text()
        if (whole := completed(text, params)) == text:
            continue
        found += 1
        print(f"{path.name}: {'is not complete' if check else 'completed'}")
        if not check:
            path.write_text(whole)
    return int(check and found > 0)


def completed(recipe: str, params: str) -> str:
    """The text of a recipe with all keys of params.yaml."""
    header, own = blocks(recipe.splitlines(), indent=0)
    _, model = blocks(params.splitlines(), indent=0)
    sections = []
    for name, lines in {**model, **own}.items():
        mine = own.get(name, lines)
        sections.append(mine if name in OWN else merged(mine, model.get(name, []), indent=0))
    texts = ["\n".join(header), *("\n".join(lines) for lines in sections)]
    return "\n\n".join(text.strip("\n") for text in texts) + "\n"


def merged(mine: list[str], model: list[str], indent: int) -> list[str]:
    """The lines of a key and what is below: the recipe's values, the comments of params.yaml."""
    if not model:
        return mine
    _, first, below = parted(mine)
    above, model_first, model_below = parted(model)
    value, comment = without_comment(first), model_first[len(without_comment(model_first)) :]
    line = value + comment if len(value + comment) <= MOST else value
    name = first.split(":")[0].strip()
    _, theirs = blocks(model_below, indent + 2)
    if name in FREE or not theirs or (indent and not below):
        return [*above, line, *below]
    rest, ours = blocks(below, indent + 2)
    lines = [*above, line, *rest]
    for key, block in {**theirs, **ours}.items():
        lines += merged(ours.get(key, block), theirs.get(key, []), indent + 2)
    return lines


def blocks(lines: list[str], indent: int) -> tuple[list[str], dict[str, list[str]]]:
    """What is before the first key of an indentation, and the lines of each key.

    Comments of that indentation belong to the key below them; at the top of a file only those
    that no empty line parts from it.
    """
    key = re.compile(rf" {{{indent}}}(\w+):")
    before: list[str] = []
    found: dict[str, list[str]] = {}
    waiting: list[str] = []
    current = before
    for line in lines:
        if line.startswith(" " * indent + "#"):
            waiting.append(line)
        elif match := key.match(line):
            current = found[match[1]] = [*waiting, line]
            waiting = []
        else:
            current += [*waiting, line]
            waiting = []
    current += waiting
    return before, found


def parted(lines: list[str]) -> tuple[list[str], str, list[str]]:
    """Comments above a key, its own line, and what is below it."""
    number = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    below = lines[number + 1 :]
    while below and not below[-1].strip():
        below = below[:-1]
    return lines[:number], lines[number], below


def without_comment(line: str) -> str:
    """A line of YAML up to its comment."""
    return re.sub(r"(?<=\S)  #.*$", "", line)


if __name__ == "__main__":
    sys.exit(main())
