"""Whether a text encoder knows what a class is called.

What it does not know it takes apart. A byte-level tokenizer spells such a name almost letter by
letter, one of whole words says that it is unknown, and what is cut off or has no letters left
reads like another class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BYTES_PER_TOKEN = 1.5
"""A name that takes more tokens is spelled, not known. Rare words such as Latin names of species
have 2 to 4 bytes a token in CLIP's vocabulary."""

SHORT = 3
"""Bytes below which a name may well be one token a letter."""


def unknown_names(
    tokenizers: Sequence[Any], names: Sequence[str], prompts: Sequence[str]
) -> dict[int, str]:
    """Which names no text encoder of a generator knows.

    Args:
        tokenizers: Those of the generator's text encoders; one that knows a name is enough.
        names: Of the classes, as they are spoken.
        prompts: A prompt for each, with its name in it.

    Returns:
        Place of the name -> what is unknown, in words.
    """
    found: dict[int, str] = {}
    if not tokenizers:
        return found
    read: dict[tuple[tuple[int, ...], ...], int] = {}
    for place, (name, prompt) in enumerate(zip(names, prompts, strict=True)):
        told = tuple(tuple(each(prompt, truncation=True).input_ids) for each in tokenizers)
        if (first := read.setdefault(told, place)) != place:
            found[place] = f"the text encoder reads {name!r} like {names[first]!r}"
            found.setdefault(first, f"the text encoder reads {names[first]!r} like {name!r}")
        said = [_unknown(tokenizer, name) for tokenizer in tokenizers]
        if all(said):
            found[place] = str(said[0])
    return found


def _unknown(tokenizer: Any, name: str) -> str | None:  # noqa: ANN401, of transformers
    tokens = tokenizer(name, add_special_tokens=False).input_ids
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id, None}
    if tokenizer.unk_token_id not in special and tokenizer.unk_token_id in tokens:
        return f"the text encoder has no word for {name!r}"
    size = len(name.replace(" ", "").encode())
    if size >= SHORT and len(tokens) > 1 and size / len(tokens) < BYTES_PER_TOKEN:
        return f"the text encoder spells {name!r} in {len(tokens)} pieces"
    return None
