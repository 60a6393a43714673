from collections.abc import Mapping, Sequence

import pytest

from stages.caption.write.parts import BE, Cluster, Person, Statement, VerbForms
from stages.caption.write.sentences import Renderer
from stages.caption.write.templates import parse_template

WEAR = VerbForms("wear", "wears", "wearing", True)
DRESS = VerbForms("are dressed in", "is dressed in", "dressed in", False)
HAVE = VerbForms("have", "has", "with", False)
CARRY = VerbForms("carry", "carries", "carrying", True)
HOLD = VerbForms("hold", "holds", "holding", True)

MAN, CHILD = Person("man", "young", "he"), Person("child", "", "they")

WALKING = {"activity": [Cluster(BE, ["walking"])]}
COAT = {"clothes": [Cluster(WEAR, ["an orange coat", "black pants"])]}
DRESSED = {"clothes": [Cluster(DRESS, ["an orange coat"])]}
HAIR = {"looks": [Cluster(HAVE, ["short hair"])]}
HAT = {"accessories": [Cluster(WEAR, ["a hat"])]}
BAG = {"things": [Cluster(CARRY, ["a bag"])]}
ALL = WALKING | COAT | HAIR | HAT | BAG

TWO = "{a} {now activity}, {ing clothes}. {he} {verb looks accessories things}"
LEAD = "{ing clothes}, {a} {with looks accessories} {now activity}, {ing things}"
THIS = (
    "This is {a} {with looks}. {he} also {now accessories things}. "
    "{his} outfit consists of {np clothes}. {the} {now activity}"
)
ONE = "{the} {with looks} {now activity} {with clothes}, {ing accessories things}"
WHO = "This is {a} {who activity clothes looks}. {he} {now accessories things}"
TWICE = "{a} {with looks} {with clothes} {now activity}, {ing accessories things}"
ALL_ING = "{a} {now activity}, {ing clothes looks accessories things}"

COAT_SAID = "an orange coat and black pants"


def render(template: str, person: Person, stated: Mapping[str, Sequence[Cluster]]) -> str:
    """One caption; ``stated`` holds clusters by group."""
    statements = [Statement(clusters) for clusters in stated.values()]
    renderer = Renderer(tuple(stated))
    return renderer.render(parse_template(template, "plain"), person, statements, (1 << len(statements)) - 1)


@pytest.mark.parametrize(
    ("template", "person", "stated", "due"),
    [
        (TWO, MAN, ALL, "A young man is walking, wearing {coat}. He has short hair, wears a hat, and carries a bag."),
        (TWO, CHILD, ALL, "A child is walking, wearing {coat}. They have short hair, wear a hat, and carry a bag."),
        (TWO, MAN, WALKING, "A young man is walking."),
        (TWO, MAN, COAT | BAG, "A young man wears {coat}. He carries a bag."),
        (TWO, CHILD, DRESSED, "A child is dressed in an orange coat."),
        (TWO, MAN, HAIR, "This is a young man. He has short hair."),
        (TWO, CHILD, {}, "This is a child."),
        (LEAD, MAN, ALL, "Wearing {coat}, a young man with short hair and a hat is walking, carrying a bag."),
        (LEAD, MAN, COAT, "A young man wears {coat}."),
        (LEAD, MAN, COAT | HAIR, "Wearing {coat}, a young man has short hair."),
        (LEAD, MAN, HAIR | BAG, "A young man with short hair carries a bag."),
        (THIS, CHILD, HAIR | BAG, "This is a child with short hair. They also are carrying a bag."),
        (THIS, CHILD, COAT | WALKING, "This is a child. Their outfit consists of {coat}. The child is walking."),
        (THIS, MAN, COAT, "This is a young man. His outfit consists of {coat}."),
        (THIS, MAN, {}, "This is a young man."),
        (ONE, MAN, ALL, "The young man with short hair is walking in {coat}, wearing a hat and carrying a bag."),
        (ONE, MAN, HAIR | HAT, "The young man with short hair wears a hat."),
        (WHO, MAN, WALKING | DRESSED, "This is a young man who is walking and dressed in an orange coat."),
        (WHO, CHILD, WALKING | COAT | HAIR, "This is a child who is walking, wears {coat}, and has short hair."),
        (THIS, MAN, COAT | WALKING, "This is a young man. His outfit consists of {coat}. The man is walking."),
        (TWICE, MAN, HAIR | COAT, "A young man with short hair wears {coat}."),
        (ALL_ING, MAN, WALKING | COAT | HAIR, "A young man is walking, wearing {coat}, with short hair."),
        (WHO, CHILD, HAT | BAG, "This is a child. They are wearing a hat and carrying a bag."),
    ],
)
def test_sentences(template: str, person: Person, stated: dict[str, list[Cluster]], due: str) -> None:
    text = render(template, person, stated)
    assert text == due.replace("{coat}", COAT_SAID)


def test_nouns_merge_under_one_verb_and_keep_their_lists_apart() -> None:
    stated = {**COAT, **HAT, "things": [Cluster(CARRY, ["a bag"]), Cluster(HOLD, ["a phone", "an umbrella"])]}
    text = render(TWO, MAN, stated | WALKING)
    assert text.endswith("He wears a hat, carries a bag, and holds a phone and an umbrella.")
    one = "{a} {with looks} {now activity}, {ing clothes accessories things}"
    assert "wearing an orange coat, black pants and a hat, carrying a bag" in render(one, MAN, stated | WALKING)
