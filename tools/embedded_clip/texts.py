"""Texts about rendered pedestrians, in the words of the phrase bank, to train the embedded CLIP on.

Crops come in blocks, one per training step, and all texts of a block answer the same question ("which colour is the
top?"). Two different texts then contradict each other, and a text is right for every crop that has it. Within a block
each value has one wording; the next block draws new ones.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evaluation.captions.stated import stated_values
from stages.caption.bank.bank import Bank, block_facets, compose
from stages.caption.bank.english import Number, with_article
from stages.caption.bank.phrases import Attribute, Phrase
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import write_sentences

Truth = Mapping[str, str]
"""Attribute -> value of one rendered pedestrian."""

SENTENCE, PAIR = "sentence", "pair"
PAIRS = ("{who} wearing {upper}", "{who} in {upper} and {lower}", "{who} wearing {lower}", "{who} {action}")


class Wording(NamedTuple):
    """The wording of one value in one block."""

    phrase: Phrase
    text: str
    number: Number


class Block:
    """The wordings of one block of crops."""

    def __init__(self, bank: Bank, rng: random.Random, synonyms: float) -> None:
        self._bank, self._rng = bank, rng
        self._said = {
            (facet.name, phrase.value): _draw(phrase, rng, synonyms)
            for facet in bank.facets
            for phrase in facet.phrases
        }

    def ask(self, question: str, truths: Sequence[Truth], crop_ids: Sequence[str]) -> list[str]:
        """One text per crop; ``question`` is an attribute, several factors joined by ``+``, a pair or a sentence."""
        if question == SENTENCE:
            return self._sentences(truths, crop_ids)
        if question == PAIR:
            pair = self._rng.choice(PAIRS)
            return [f"a photo of {self._pair(pair, truth)}" for truth in truths]
        names = question.split("+")
        block = self._bank.by_name[names[0]].block
        template = self._rng.randrange(len(block.prompts))
        return [self._prompt(block, names, template, truth) for truth in truths]

    def _prompt(self, block: Attribute, names: Sequence[str], template: int, truth: Truth) -> str:
        if block.factors and block.name not in truth:
            return "a photo of a person wearing a dress"
        text, number, phrase = self._words(block, names, truth)
        prompts = phrase.prompts or block.prompts
        blanks = {"phrase": text, "a_phrase": with_article(text, number)}
        return prompts[template % len(prompts)].format(**blanks)

    def _words(self, block: Attribute, names: Sequence[str], truth: Truth) -> tuple[str, Number, Phrase]:
        if not block.factors:
            said = self._said[block.name, truth[block.name]]
            return said.text, said.number, said.phrase
        chosen = {f.factor: self._said[f.name, truth[f.name]] for f in block_facets(block) if f.name in names}
        head = chosen.get(block.head)
        if head is None:
            assert block.generic is not None
            head = Wording(block.generic, block.generic.text, block.generic.number)
        chosen[block.head] = head
        phrases = {str(factor): said.phrase for factor, said in chosen.items()}
        text = compose(block, phrases, {str(factor): said.text for factor, said in chosen.items()})
        return text, head.number, head.phrase

    def _noun(self, name: str, truth: Truth) -> str:
        block = self._bank.by_name[name].block
        names = [facet.name for facet in block_facets(block)]
        text, number, _ = self._words(block, names, truth)
        return with_article(text, number)

    def _pair(self, template: str, truth: Truth) -> str:
        blanks = {
            "who": self._noun("gender", truth),
            "upper": self._noun("upper", truth),
            "lower": self._noun("lower", truth) if "lower" in truth else "a dress",
            "action": self._said["action", truth["action"]].text,
        }
        return template.format(**blanks)

    def _sentences(self, truths: Sequence[Truth], crop_ids: Sequence[str]) -> list[str]:
        stated = np.concatenate([stated_values(truth, self._bank) for truth in truths])
        config = CaptionConfig(seed=self._rng.getrandbits(32))
        return write_sentences(stated, crop_ids, self._bank, config).texts


def _draw(phrase: Phrase, rng: random.Random, synonyms: float) -> Wording:
    wordings = phrase.wordings
    if rng.random() < synonyms:
        text, number, _ = rng.choices(wordings, [weight for _, _, weight in wordings])[0]
    else:
        text, number, _ = wordings[0]
    return Wording(phrase, text, number)


def texts_of_block(
    bank: Bank,
    truths: Sequence[Truth],
    crop_ids: Sequence[str],
    *,
    questions: Sequence[Mapping[str, float]],
    synonyms: float,
    rng: random.Random,
    keep: Callable[[str], bool] = lambda _: True,
) -> list[list[str]]:
    """Texts for a block of crops: the k-th text of every crop answers the same question.

    Args:
        bank: The phrase bank.
        truths: Attributes of each crop.
        crop_ids: Their ids.
        questions: For each text a group of questions, each with its relative frequency.
        synonyms: Share of the wordings that may be a synonym.
        rng: Random source.
        keep: Which questions are allowed; a group without an allowed question draws from all groups together.

    Returns:
        For each crop one text per group.
    """
    block, columns = Block(bank, rng, synonyms), []
    every = {question: weight for group in questions for question, weight in group.items() if keep(question)}
    for group in questions:
        left = {question: weight for question, weight in group.items() if keep(question)} or every
        question = rng.choices(list(left), list(left.values()))[0]
        columns.append(block.ask(question, truths, crop_ids))
    return [list(texts) for texts in zip(*columns, strict=True)]
