"""The recipes of LUPerson-T belong to one corpus: what they share must not be made twice."""

from pathlib import Path

import pytest

from pipeline.flow import caption, detect, embed
from pipeline.recipe import Recipe, load_recipe
from stages.caption.read.conquer import read_attributes
from stages.caption.variant import variant_digests
from tests.runs import ROOT
from tests.stages.caption.captioning import WALKER, look, unipt_features

NAMES = ("luperson_t", "luperson_t_faithful", "luperson_t_multi")


def recipe(name: str) -> Recipe:
    return load_recipe(Path(ROOT / "recipes" / f"{name}.yaml"))


def test_the_variants_of_luperson_t_share_crops_and_embeddings() -> None:
    recipes = [recipe(name) for name in NAMES]
    for stage in (detect, embed):
        assert len({str(getattr(item, stage.__name__.rpartition(".")[2]).identity()) for item in recipes}) == 1
    assert len({embed.STAGE.scope(item) for item in recipes}) == 1
    assert [item.caption.variant for item in recipes] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_that_they_name_are_there(name: str) -> None:
    assert set(variant_digests(recipe(name).caption)) >= {"bank", "grammar"}
    assert caption.STAGE.scope(recipe(name)) == name


def test_the_faithful_one_reads_the_whole_crop_and_ours_the_parts() -> None:
    features = {region: look(WALKER)[None] for region in ("whole", "head", "upper", "lower")}
    faithful = read_attributes(features, unipt_features(), recipe("luperson_t_faithful").caption)
    ours = read_attributes(features, unipt_features(), recipe("luperson_t").caption)
    assert set(faithful.regions) == {"whole"}
    assert {"head", "upper", "lower"} < set(ours.regions)


def test_the_faithful_one_takes_the_papers_number_of_templates() -> None:
    assert recipe("luperson_t_faithful").caption.templates == 456


def test_the_one_with_several_captions_gives_each_crop_every_style() -> None:
    config = recipe("luperson_t_multi").caption
    assert config.captions_per_crop == len(config.styles) == 3
