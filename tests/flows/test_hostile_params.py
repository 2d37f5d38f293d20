"""Parameters are hostile input: refused soon, in one message that gives nothing away."""

import argparse
import copy
import json
import math
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from micro import ROOT
from ruamel.yaml import YAML

from fgds_core.errors import InputError
from flows.cli.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES
from flows.cli.keys import HelpFormatter, describe_keys, keys
from flows.cli.params import SECTIONS, read_params

TEXT = (ROOT / "params.yaml").read_text()
TREE: dict[str, Any] = YAML(typ="safe", pure=True).load(TEXT)

FOLDER = {
    "kind": "folder",
    "root": "flowers",
    "groups": False,
    "split": {"by": "fractions", "validation": 0.1, "test": 0.2, "seed": 0},
}
BY_FOLDERS = {"by": "folders", "train": "train", "validation": "val", "test": "test"}
DRAWN = {"fraction": 0.1, "seed": 0}
LIST = {
    "kind": "list",
    "root": "imagenet",
    "images": "images",
    "train": "train.txt",
    "validation": DRAWN,
    "test": "test.txt",
    "groups": True,
    "class_names": "names.txt",
    "path_rewrite": {"pattern": "val/[^/]+/(.*)", "replacement": r"val/\1"},
}
CSV = {
    "kind": "csv",
    "root": "waterbirds",
    "file": "metadata.csv",
    "filename_column": "img_filename",
    "split_column": "split",
    "split_file": "splits.csv",
    "splits": {"train": 0, "validation": 1, "test": 2},
    "group_names": ["land", "water"],
}
CELEBA = {
    "kind": "celeba",
    "root": "celeba",
    "label": "Blond_Hair",
    "group": "Male",
    "class_names": ["dark hair", "blond hair"],
    "group_names": ["woman", "man"],
}
CIFAR = {
    "kind": "cifar",
    "root": "cifar",
    "imbalance": {"type": "exp", "factor": 100, "seed": 0},
    "validation_per_class": 5,
}
CONTEXTS = {
    "kind": "contexts",
    "root": "nicopp",
    "folder": "train",
    "class_ids": "ids.json",
    "pattern": "*.jpg",
    "held_out": 75,
    "seed": 666,
}
COCO = {
    "kind": "coco",
    "root": "inaturalist",
    "images": "images",
    "train": "train.json",
    "validation": DRAWN,
    "test": "test.json",
    "class_names": "names.json",
}
HUB = {
    "kind": "huggingface",
    "root": "hub",
    "repository": "owner/name",
    "revision": "main",
    "subset": "default",
    "train": "train",
    "validation": "validation",
    "test": "test",
}
ADAPTER = {
    "path": "owner/adapters",
    "revision": None,
    "subfolder": "models",
    "weight_name": "ip-adapter_sd15.safetensors",
    "image_encoder": "image_encoder",
    "scale": 0.6,
}
PRIOR = {
    "path": "owner/prior",
    "revision": None,
    "num_inference_steps": 25,
    "guidance_scale": 4.0,
    "text_share": 0.5,
}
EXCLUSION = {"class_name": "Bag", "indices": [3], "reason": "a shoe", "drawn_as": "0123abcd"}


VARIANTS: tuple[dict[str, Any], ...] = (
    *({**TREE, "data": data} for data in (LIST, CSV, CELEBA, CIFAR, CONTEXTS, COCO, HUB)),
    {**TREE, "data": FOLDER},
    {**TREE, "data": {**FOLDER, "split": {**BY_FOLDERS, "validation": DRAWN}}},
    {**TREE, "data": {**FOLDER, "split": BY_FOLDERS}},
    {**TREE, "generator": {**TREE["generator"], "kind": "ip-adapter", "adapter": ADAPTER}},
    {**TREE, "generator": {**TREE["generator"], "kind": "kandinsky-2.2", "prior": PRIOR}},
    {**TREE, "synthesize": {**TREE["synthesize"], "exclude": [EXCLUSION]}},
    TREE,
)
"""Valid parameters that have every key between them."""


def fields(tree: object, path: str = "") -> Iterator[str]:
    """Dotted path of every value that is no section; of a list of sections those of the first."""
    if isinstance(tree, dict) and (tree or not path):
        for name, value in tree.items():
            yield from fields(value, f"{path}.{name}" if path else name)
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        yield from fields(tree[0], path)
    else:
        yield path


PLACES = {path: tree for tree in VARIANTS for path in fields(tree)}

CREDENTIALS = (
    "https://user:HUSH@host/name",
    "s3://AKIA/HU/SH@bucket",
    "https://hub/name?token=HUSH",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
)

HOSTILE = (
    math.inf,
    -math.inf,
    math.nan,
    10**30,
    -(10**30),
    -1,
    "NUL \0",
    "x" * 100_000,
    CREDENTIALS[0],
    [[]],
    {"unknown key": 1},
)


def read_tree(folder: Path, tree: object) -> dict[str, Any]:
    """Reads a tree as parameters; JSON is YAML, except for these three names."""
    text = json.dumps(tree).replace("Infinity", ".inf").replace("NaN", ".nan")
    (folder / "params.yaml").write_text(text)
    return read_params(folder / "params.yaml")


def put(tree: dict[str, Any], path: str, value: object) -> None:
    *parents, name = path.split(".")
    for step in parents:
        tree = tree[step]
        tree = tree[0] if isinstance(tree, list) else tree
    tree[name] = value


def changed(path: str, value: object) -> dict[str, Any]:
    tree = copy.deepcopy(PLACES.get(path, TREE))
    put(tree, path, value)
    return tree


def test_every_key_is_tried() -> None:
    known = {key.path for section in SECTIONS for key in keys(section) if "keys" not in key.kind}
    assert known <= {*PLACES, "data.split"}


PASSED_ON = (
    "train_baseline.model_kwargs.",
    "train_baseline.loss_kwargs",
    "compute.dask.cluster_kwargs.",
    "compute.dask.adapt",
)

TAGS = ("data.kind", "data.split.by")

OVERRIDES = "retrain.training."
"""Keys that are checked together with those of train_baseline, once these are right."""


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("paths", [tuple(PLACES), *((tag,) for tag in TAGS)], ids=len)
def test_no_key_takes_what_is_no_value_for_it(
    paths: tuple[str, ...], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cli.document.MAX_TEXT", 1000)
    monkeypatch.setattr("flows.cli.params.MAX_MISTAKES", 1000)
    if len(paths) > 1:
        paths = tuple(p for p in paths if p not in TAGS and not p.startswith(OVERRIDES))
    if value in (-1, 10**30, -(10**30), [[]], {"unknown key": 1}):
        paths = tuple(path for path in paths if not path.startswith(PASSED_ON))
    told = ""
    for tree in VARIANTS:
        spoilt = copy.deepcopy(tree)
        for path in paths:
            if PLACES[path] is tree:
                put(spoilt, path, value)
        # Reading the document has its own tests; here the values go to the checks behind it.
        monkeypatch.setattr(
            "flows.cli.params.read_document", lambda path, remedy, tree=spoilt: tree
        )
        try:
            read_params()
        except InputError as error:
            told += str(error)
    lines = [line.strip() for line in told.splitlines()]
    for path in paths:
        place = re.sub(r"_kwargs\..*", "_kwargs", path)
        steps = r"(\[0\])?\.".join(map(re.escape, place.split(".")))
        found = [line for line in lines if re.match(rf"{steps}[.:\[]", line)]
        assert found, path
        assert max(map(len, found)) < 1500
    assert "HUSH" not in told


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:30])
def test_no_override_takes_what_is_no_value_for_it(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = copy.deepcopy(TREE)
    put(spoilt, f"{OVERRIDES}sampling", value)
    monkeypatch.setattr("flows.cli.params.read_document", lambda path, remedy: spoilt)
    with pytest.raises(InputError, match=r"retrain\.training[.:]") as told:
        read_params()
    assert len(str(told.value)) < 1500
    assert "HUSH" not in str(told.value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 2**63, "NUL \0", [[["\ud800"]]]])
@pytest.mark.parametrize("path", ["train_baseline.model_kwargs", "compute.dask.cluster_kwargs"])
def test_keys_that_are_passed_on_are_bounded_too(tmp_path: Path, path: str, value: object) -> None:
    with pytest.raises(InputError, match=path):
        read_tree(tmp_path, changed(path, {"further": [value]}))


def lines_of(*changes: tuple[str, str]) -> bytes:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


BOMB = "\n".join(
    [f"a0: &a0 [{', '.join(['x'] * 10)}]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)

DOCUMENTS = {
    "cp1252": (
        TEXT.replace("a photo", "un été").encode("cp1252"),
        r"line \d+, column 10: not UTF-8.*0xe9",
    ),
    "utf-16": (TEXT.encode("utf-16"), r"not UTF-8 \(UTF-16\); save"),
    "utf-32": (TEXT.encode("utf-32"), "not UTF-8"),
    "NUL": (TEXT.encode() + b"\0", r"line \d+, column 1: the character U\+0000"),
    "escape": (lines_of(("center", "cen\x1bter")), r"line \d+, column 12: the character U\+001B"),
    "escaped control": (lines_of(("center", '"cen\\x07ter"')), r"prepare\.crop: .*U\+0007"),
    "escaped surrogate": (lines_of(("center", '"\\ud800"')), r"prepare\.crop|cannot be read"),
    "tab": (lines_of(("  image_size: 32", "\timage_size: 32")), r"line \d+, column 1: not YAML"),
    "empty": (b"", "must hold sections"),
    "comment": (b"# nothing\n", "must hold sections"),
    "list": (b"- seed\n", "must hold sections"),
    "text": (b"seed", "must hold sections"),
    "two documents": (TEXT.encode() + b"---\nseed: 1\n", "line 2\\d\\d, column 1: must be one"),
    "duplicate key": (TEXT.encode() + b"seed: 1\n", r"line \d+, column 1: duplicate key"),
    "object": (
        TEXT.encode() + b"x: !!python/object:os.system {}\n",
        "column 4: must hold no tags",
    ),
    "own tag": (TEXT.encode() + b"x: !mine 1\n", "must hold no tags"),
    "set": (TEXT.encode() + b"x: !!set {a}\n", "must hold no tags"),
    "binary": (TEXT.encode() + b"x: !!binary aGk=\n", "must hold no tags"),
    "bad number": (lines_of(("seed: 0", "seed: !!int zero")), "line 4, column 7: this value"),
    "date": (lines_of(("seed: 0", "seed: 2026-11-25")), "seed: got a date: .* in quotes"),
    "no such day": (lines_of(("seed: 0", "seed: 2026-02-31")), "line 4, column 7: this value"),
    "number as key": (lines_of(("stem_width: 16", "1: 16")), "model_kwargs: keys must be text"),
    "null as key": (lines_of(("stem_width: 16", "null: 16")), "model_kwargs: keys must be text"),
    "list as key": (lines_of(("stem_width: 16", "? [1]\n    : 2")), "keys must be text|not YAML"),
    "alias bomb": (BOMB.encode(), "with those that aliases repeat"),
    "merge bomb": (BOMB.replace("[", "[{}, ").encode(), "with those that aliases repeat"),
    "alias in itself": (b"seed: &x [*x]\n", "line 1, column 11: must not refer to itself"),
    "alias of nothing": (b"seed: *HUSH\n", r"line 1, column 7: not YAML: .*undefined alias"),
    "long number": (lines_of(("seed: 0", f"seed: {'1' * 5001}")), "line 4, column 7: a number"),
    "long hex": (lines_of(("seed: 0", f"seed: 0x{'f' * 5001}")), "line 4, column 7: a number"),
    "deep": (b"[" * 3000, f"column {MAX_DEPTH + 1}: must be at most {MAX_DEPTH} levels"),
    "deep maps": (b"{a: " * 3000, f"must be at most {MAX_DEPTH} levels"),
    "deep blocks": (b"- " * 3000, f"must be at most {MAX_DEPTH} levels"),
    "long": (b"a: b\n" * MAX_BYTES, "is larger than"),
    "long list": (f"[{'x,' * 4000}]".encode(), "must hold at most"),
    "long text": (lines_of(("center", "x" * 20_000)), r"line \d+, column 9: a value must have"),
    "brace": (b"seed: [a {class}]\n", "line 1, column 10: not YAML: .* in quotes"),
    "open quote": (b'seed: "0\n', "line 2, column 1: not YAML"),
    "percent": (b"%HUSH 1\n%YAML 9.9\n---\nseed: 0\n", "params"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("flows.cli.document.MAX_VALUES", 2000)
    data, told = DOCUMENTS[name]
    path = tmp_path / "params.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=told) as caught:
        read_params(path)
    assert "HUSH" not in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("a photo of", "une photo d'\u00e9t\u00e9 \U0001f600").encode(),
        TEXT.replace("seed: 0", "seed: !!int 0").encode(),
        TEXT.replace("image_size: 32", "image_size: &side 32")
        .replace("input_size: 32", "input_size: *side")
        .encode(),
    ],
    ids=["byte order mark", "CRLF", "beyond ASCII", "plain tag", "alias"],
)
def test_a_document_that_is_one(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(data)
    assert read_params(tmp_path / "params.yaml")["train_baseline"].input_size == 32


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="fifo: it is no regular file"):
        read_params(tmp_path / "fifo")
    with pytest.raises(InputError, match="it is a folder"):
        read_params(tmp_path)
    with pytest.raises(InputError, match="it is no regular file"):
        read_params(Path("/dev/zero"))
    with pytest.raises(InputError, match="it is no name of a file"):
        read_params(Path("a\0b"))


@pytest.mark.parametrize(
    "store",
    [
        "s3://KEY:HUSH@bucket",
        ["HUSH"],
        {"url": "s3://KEY:HUSH@bucket"},
        {"url": "s3://KEY:HU/SH@bucket"},
        {"url": "HUSH"},
        {"url": "KEY:HUSH@bucket"},
        {"url": ["HUSH"]},
        {"url": {"HUSH": "HUSH"}},
        {"endpoint_url": "https://user:HUSH@host"},
        {"endpoint_url": "https://host/?token=HUSH"},
        {"endpoint_url": 5.5, "url": "s3://bucket?HUSH"},
        {"max_attempts": "HUSH"},
        {"max_attempts": {"HUSH": math.inf}},
        {"HUSH": "HUSH"},
        {"urlHUSH": None},
        {"HUSH": 2**70},
    ],
    ids=str,
)
def test_nothing_of_the_store_is_repeated(tmp_path: Path, store: object) -> None:
    if isinstance(store, dict):
        store = {**TREE["store"], **store}
    with pytest.raises(InputError, match="store") as caught:
        read_tree(tmp_path, {**TREE, "store": store})
    assert "HUSH" not in str(caught.value)
    assert caught.value.__cause__ is None  # shown where a server logs the traceback
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", CREDENTIALS)
@pytest.mark.parametrize(
    "path", ["generator.path", "judge.path", "compute.dask.address", "data.root", "seed"]
)
def test_no_parameter_holds_credentials(tmp_path: Path, path: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{path}: must hold no credentials") as caught:
        read_tree(tmp_path, changed(path, value))
    assert value not in str(caught.value)
    with pytest.raises(InputError, match="must hold no credentials") as caught:
        read_tree(tmp_path, {**TREE, value: 1})
    assert value not in str(caught.value)
    with pytest.raises(InputError, match="must hold no credentials") as caught:
        read_params(ROOT / "params.yaml", {path: value})
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("store.url", "s3://theirs", "store.url: store says what is started and where data go"),
        ("store", {"url": "HUSH"}, "store: store says"),
        ("compute.dask.cluster_class", "os.system", "compute.dask says what is started"),
        ("compute.dask.allowed_cluster_classes", ["os.system"], "compute.dask says"),
        ("compute.dask.cluster_kwargs.job_script_prologue", ["HUSH"], "compute.dask says"),
        ("compute.dask.address", "tcp://theirs:1", "compute.dask says"),
        ("compute.dask", None, "compute.dask says"),
        ("compute", {"dask": {}}, "compute: compute.dask says"),
        ("data.root", "/etc", 'data.root: got "/etc": an override names files below this'),
        ("data", {"root": "/etc"}, 'data: got "/etc": an override names files below'),
        ("generator.path", "../other", "generator.path: got"),
        ("judge.path", "~/judge", "judge.path: got"),
        ("generator.prompts", ["{class}", "a/../../b"], "generator.prompts: got"),
        ("generator.prompts", ["\ud800"], "generator.prompts: holds the character U\\+D800"),
        ("synthesize.eta", math.nan, "synthesize.eta: got nan: must be a finite number"),
        ("synthesize.eta", 2**80, "synthesize.eta: got a whole number of about 25 digits"),
        ("synthesize.eta", json.loads("[" * 500 + "]" * 500), "levels deep"),
        ("synthesize.eta", [0] * (MAX_VALUES + 1), "must hold at most"),
        ("synthesize." * 3000, 1, "a key got 33,000 characters"),
        ("", 1, "unknown key"),
        (".", 1, "unknown key|holds a value"),
        ("synthesize..eta", 1, "unknown key"),
        ("a\0", 1, "a key holds the character U\\+0000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_overrides_reach_neither_programs_nor_other_places(
    path: str, value: object, told: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        read_params(ROOT / "params.yaml", {path: value})
    assert "HUSH" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_an_override_of_one_alias_leaves_the_other(tmp_path: Path) -> None:
    text = TEXT.replace("model_kwargs:", "model_kwargs: &kwargs").replace(
        "{n_workers: 2, threads_per_worker: 1}", "*kwargs"
    )
    (tmp_path / "params.yaml").write_text(text)
    overrides = {"train_baseline.model_kwargs.stem_width": 8}
    params = read_params(tmp_path / "params.yaml", overrides)
    assert params["train_baseline"].model_kwargs["stem_width"] == 8
    assert params["compute"].dask.cluster_kwargs["stem_width"] == 16


def test_help_tells_every_key_once_and_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = describe_keys(tuple(SECTIONS), TREE).splitlines()
    told = [
        line.split(":")[0].strip() for line in lines if line.startswith("  ") and line[2] != " "
    ]
    assert len(told) == len(set(told))
    assert set(told) == {key.path for section in SECTIONS for key in keys(section)}
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "synthesize.guidance_scale: number, 1 to 1,000 (now 1.5)\n" in text
    assert 'data.image_column: text; default "image" (now "image")' in text
    assert "store.max_attempts: whole number, 1 to 100\n" in text  # values of the store: never
    for module in ("prepare", "synthesize", "repro"):
        helped = argparse.ArgumentParser(
            description=import_module(f"flows.{module}").__doc__, formatter_class=HelpFormatter
        ).format_help()
        assert max(map(len, helped.splitlines())) <= 80
        assert f"\n    python -m flows.{module}" in helped
    monkeypatch.setenv("COLUMNS", "1")
    assert describe_keys(("seed",), {}).startswith("parameters")
