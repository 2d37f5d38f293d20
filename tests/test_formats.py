"""Each file format has one reader: what two places read drifts apart."""

import ast
import re

from micro import ROOT

READERS = {
    "JSON and CSV files that a stage writes": "fgds_core/files.py",
    "class names in the schema of a Parquet file": "fgds_core/images/table.py",
    "CSV files of published sets": "fgds_core/data/sources/csv.py",
    "names of classes": "fgds_core/data/sources/name_files.py",
    "pickled arrays of CIFAR": "fgds_core/data/sources/pickles.py",
    "JSON of more images than memory holds": "fgds_core/data/sources/json_entries.py",
    "config.json of a classifier": "fgds_core/classify/card.py",
    "recipe of a training, in the config.json of what it trained": "fgds_core/classify/train.py",
    "recipe of the final classifier, of two sections": "fgds_core/classify/config.py",
    "recipe of a training, for a process that tries it": "fgds_core/stages/trial.py",
    "checkpoint of a training": "fgds_core/classify/checkpoint.py",
    "weights of a classifier": "fgds_core/classify/network.py",
    "JSON of a pre-trained model": "fgds_core/pretrained/folder.py",
    "head of a pre-trained model's weights": "fgds_core/pretrained/component.py",
    "record beside a part": "fgds_core/synthesis/record.py",
    "record of a part in the store": "tasks/store/parts.py",
    "what a generator has learnt": "fgds_core/adapt/weights.py",
    "manifest of a folder in the store": "tasks/store/inputs.py",
    "dvc.yaml": "tasks/identity/dvc_yaml.py",
    "journal of a run": "tasks/watch/journal.py",
    "where the stages' runs come from": "tasks/watch/provenance.py",
    "times of the stages": "tasks/watch/timing.py",
    "what a training says of the worth of a set": "tasks/worth.py",
    "params.yaml": "flows/cli/document.py",
    "params.yaml with its comments, to write it with other values": "flows/cli/written.py",
}
"""The module that parses each format that is text, JSON or tensors."""

PARSERS = re.compile(
    r"json\.loads?|csv\.\w*[rR]eader|.*yaml.*\.load|.*\.model_validate_json|torch\.load|pickle\.\w+"
    r"|\w*Unpickler|json\.JSONDecoder|ijson\.basic_parse"
    r"|safe_open|(safetensors\.torch\.)?load_file|tomllib\.loads?"
)


def test_each_format_has_one_reader() -> None:
    parsing = {
        path.relative_to(ROOT).as_posix()
        for layer in ("fgds_core", "tasks", "flows")
        for path in (ROOT / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and PARSERS.fullmatch(ast.unparse(node.func))
    }
    assert parsing == set(READERS.values())
    assert len(parsing) == len(READERS)
