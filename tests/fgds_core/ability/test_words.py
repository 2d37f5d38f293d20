"""What a text encoder knows of the names of classes."""

import pytest
from micro import ROOT, generator_config

from fgds_core.ability.words import unknown_names
from fgds_core.generators.tokenizers import load_tokenizers

GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "sneaker", "ankle boot")


def unknown(names: tuple[str, ...], *tokenizers: object) -> dict[str, str]:
    embedded = load_tokenizers(generator_config(ROOT / "assets" / "tiny-unclip"))
    found = unknown_names(tokenizers or embedded, names, [f"a photo of a {n}" for n in names])
    return {names[place]: words for place, words in found.items()}


def test_the_embedded_generator_knows_garments_and_nothing_else() -> None:
    assert unknown(GARMENTS) == {}
    assert unknown((*GARMENTS, "zebra", "brown bear")) == {
        "zebra": "the text encoder spells 'zebra' in 5 pieces",
        "brown bear": "the text encoder spells 'brown bear' in 9 pieces",
    }


def test_names_that_read_alike_are_not_known_apart() -> None:
    assert unknown(("coat", "Coat", "bag")) == {
        "coat": "the text encoder reads 'coat' like 'Coat'",
        "Coat": "the text encoder reads 'Coat' like 'coat'",
    }


class Words:
    """A tokenizer of whole words, with a token for those it has not."""

    eos_token_id, pad_token_id, unk_token_id = 0, 0, 1

    def __call__(self, text: str, **options: object) -> "Words":
        self.input_ids = [2 + len(word) if word != "yeti" else 1 for word in text.split()]
        return self


def test_a_token_for_the_unknown_is_one_and_another_encoder_may_know() -> None:
    assert unknown(("yeti", "coat"), Words()) == {
        "yeti": "the text encoder has no word for 'yeti'"
    }
    knows_all = Words()
    knows_all.unk_token_id = None  # type: ignore[assignment]
    assert unknown(("yeti", "coat"), Words(), knows_all) == {}


@pytest.mark.parametrize("name", ["A", "ox", "t"])
def test_single_letters_are_words(name: str) -> None:
    assert unknown((name, "coat")) == {}
