"""Puts what was learnt into a generator."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from torch import nn

from fgds_core.adapt.methods import METHODS
from fgds_core.adapt.record import AGAIN, AdapterRecord, read_record, write_record
from fgds_core.adapt.weights import load_tensors, load_weights, save_tensors, save_weights
from fgds_core.adapt.words import put_words, words_of
from fgds_core.errors import InputError
from fgds_core.generators.model import Generator

WORDS_FILE = "words.safetensors"
DECODER_FILE = "decoder.safetensors"

READERS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
"""Components that words are made in."""


def save_adapter(folder: Path, generator: Generator, record: AdapterRecord) -> None:
    """Writes what a generator has learnt, and last what it is.

    Args:
        folder: Gets the files.
        generator: Has learnt.
        record: What is said of it.
    """
    assert record.method is not None
    METHODS[record.method].save(generator.network, folder)
    if record.words:
        rows = words_of(generator.pipeline, record.words)
        save_tensors(rows, folder / WORDS_FILE)
    if record.decoder is not None:
        save_weights(generator.decoder, folder / DECODER_FILE)
    write_record(folder, record)


def adapted(generator: Generator, folder: Path, *, apart: bool, compile: bool) -> Generator:
    """A generator with what was learnt.

    Args:
        generator: As it was when it began to learn.
        folder: Of the adapter.
        apart: Whether `generator` stays as it is, which takes memory for both.
        compile: Whether `torch.compile` translates what is copied for that.

    Raises:
        InputError: There is no adapter, or it is of another generator.
    """
    record = read_record(folder)
    if not record.enabled or record.method not in METHODS:
        raise InputError(f"{folder} holds nothing that was learnt, adapt was off; {AGAIN}")
    pipeline = copy.copy(generator.pipeline)
    if apart:
        parts = [generator.family.network]
        parts += [part for part in READERS if record.words and hasattr(pipeline, part)]
        parts += [generator.family.decoder] if record.decoder is not None else []
        for part in parts:
            setattr(pipeline, part, copy.deepcopy(getattr(pipeline, part)))
    new = replace(generator, pipeline=pipeline, _prompts={})
    METHODS[record.method].load(new.network, folder)
    if record.words:
        put_words(pipeline, record.words, load_tensors(folder / WORDS_FILE))
    if record.decoder is not None:
        load_weights(new.decoder, folder / DECODER_FILE)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.requires_grad_(False).eval()
    if apart and compile:
        new.network.compile()
        if record.decoder is not None:
            new.decoder.decoder.compile()
    return new
