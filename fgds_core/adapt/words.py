"""Words that a text encoder does not know: each gets a row of its own in the table of embeddings.

Prompts stay as they are. The tokenizer takes the name as one token wherever it stands alone, and
what that token means is learnt.

Source: Gal et al. (2022), https://arxiv.org/abs/2208.01618
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fgds_core.generators.family import Pipeline

SHORT = 3
"""Bytes below which a name says nothing: the letter T is no picture of a T."""


def nameless(names: Sequence[str], unknown: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """The names that need a word of their own.

    Args:
        names: Of classes, as they are spoken.
        unknown: Those that no text encoder knows.
        prompts: The templates; a name that stands in one of them as a word, such as the letter a,
            keeps the meaning it has.
    """
    plain = [re.sub(r"{\w+}", " ", prompt) for prompt in prompts]
    return [
        name
        for name in names
        if (name in unknown or len(name.encode()) < SHORT)
        and not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in plain)
    ]


def add_words(pipeline: Pipeline, words: Sequence[str]) -> None:
    """Makes words of the pipeline's text encoders, each meaning what its pieces mean on average.

    Args:
        pipeline: Its tokenizers and text encoders are changed.
        words: The words, in an order that never changes.
    """
    from transformers import AddedToken

    if not words:
        return
    for tokenizer, encoder in _readers(pipeline):
        pieces = [tokenizer(word, add_special_tokens=False).input_ids for word in words]
        tokens = [AddedToken(word, single_word=True, normalized=False) for word in words]
        tokenizer.add_tokens(tokens)
        weight = encoder.get_input_embeddings().weight
        means = [weight[ids].mean(dim=0) for ids in pieces]  # each [D]
        if len(tokenizer) > encoder.config.vocab_size:
            encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = encoder.get_input_embeddings().weight
        with torch.no_grad():
            table[_rows(tokenizer, words)] = torch.stack(means).to(table)


def begin_words(pipeline: Pipeline, words: Sequence[str]) -> list[nn.Parameter]:
    """Lets words learn, and nothing else of the text encoders.

    Returns:
        The tables of embeddings; rows of other words get no gradient.
    """
    tables = []
    for tokenizer, encoder in _readers(pipeline) if words else ():
        table = encoder.get_input_embeddings().weight
        kept = torch.zeros(len(table), 1, device=table.device)
        kept[_rows(tokenizer, words)] = 1
        table.requires_grad_(True)
        table.register_hook(lambda grad, kept=kept: grad * kept)
        tables.append(table)
    return tables


def words_of(pipeline: Pipeline, words: Sequence[str]) -> dict[str, Tensor]:
    """What words mean: number of the text encoder -> their rows, [W, D]."""
    return {
        str(number): encoder.get_input_embeddings().weight[_rows(tokenizer, words)]
        for number, (tokenizer, encoder) in enumerate(_readers(pipeline))
    }


def put_words(pipeline: Pipeline, words: Sequence[str], rows: dict[str, Tensor]) -> None:
    """Makes words of the text encoders that mean what was learnt.

    Args:
        pipeline: Its tokenizers and text encoders are changed.
        words: The words.
        rows: From `words_of`.
    """
    add_words(pipeline, words)
    for number, (tokenizer, encoder) in enumerate(_readers(pipeline)):
        table = encoder.get_input_embeddings().weight
        with torch.no_grad():
            table[_rows(tokenizer, words)] = rows[str(number)].to(table)


def _readers(pipeline: Pipeline) -> Iterator[tuple[Any, Any]]:
    """Each tokenizer with its text encoder."""
    for number in ("", "_2"):
        tokenizer = getattr(pipeline, f"tokenizer{number}", None)
        encoder = getattr(pipeline, f"text_encoder{number}", None)
        if tokenizer is not None and encoder is not None:
            yield tokenizer, encoder


def _rows(tokenizer: Any, words: Sequence[str]) -> list[int]:  # noqa: ANN401, of transformers
    return list(tokenizer.convert_tokens_to_ids(list(words)))
