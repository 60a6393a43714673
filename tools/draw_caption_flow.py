"""Draw docs/caption_flow.png: how captions are made, from crops to variants.

Usage::

    python -m tools.draw_caption_flow        # needs the extra 'notebook' (matplotlib)
"""

from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "docs/caption_flow.png"

INK, PAPER = "#1f2933", "#ffffff"
STORED, STEP, GIVEN = "#e3edf7", "#fdf1d8", "#e9f3e6"

# Left edge, lower edge, width, height, fill, heading, lines.
BOXES = (
    (0.2, 5.2, 3.4, 1.3, STORED, "crops", "JPEG, box, keypoints"),
    (4.6, 5.2, 3.6, 1.3, STEP, "embed", "CLIP image tower,\nonce per crop and region"),
    (9.2, 6.1, 3.6, 1.1, STORED, "embeddings", "whole, head, upper, lower"),
    (9.2, 4.6, 3.6, 1.1, STORED, "evidence", "colours of pixels, objects\nthat the detector saw"),
    (0.2, 1.9, 3.4, 1.5, GIVEN, "phrase bank", "attributes, regions,\nphrases, prompts"),
    (4.6, 1.9, 3.6, 1.5, STEP, "divide", "CLIP text tower, once:\nphrases become features"),
    (9.2, 1.9, 3.6, 1.5, STEP, "conquer", "softmax for each attribute,\nprior, calibration;\nin doubt: unknown"),
    (13.8, 1.9, 3.6, 1.5, STEP, "combine", "hash of seed and crop\nchooses template, words"),
    (13.8, 0.1, 3.6, 1.1, GIVEN, "grammar", "clauses, orders, styles"),
    (18.4, 1.9, 3.8, 1.5, STORED, "captions/one", "sentences, attributes,\nprobability, margin"),
    (18.4, 0.1, 3.8, 1.1, STORED, "captions/other", "another recipe, same features"),
)
# From, to, and how far the arrow bends.
ARROWS = (
    ((3.6, 5.85), (4.6, 5.85), 0.0),
    ((8.2, 6.05), (9.2, 6.55), 0.0),
    ((8.2, 5.65), (9.2, 5.15), 0.0),
    ((12.8, 6.6), (12.6, 3.4), -0.55),
    ((11.0, 4.6), (11.0, 3.4), 0.0),
    ((3.6, 2.65), (4.6, 2.65), 0.0),
    ((8.2, 2.65), (9.2, 2.65), 0.0),
    ((12.8, 2.65), (13.8, 2.65), 0.0),
    ((15.6, 1.2), (15.6, 1.9), 0.0),
    ((17.4, 2.65), (18.4, 2.65), 0.0),
    ((17.4, 2.0), (18.4, 1.0), 0.0),
)


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Rectangle

    figure, axes = plt.subplots(figsize=(15.5, 5.4), dpi=100, facecolor=PAPER)
    axes.set_xlim(0, 22.4)
    axes.set_ylim(-0.1, 7.9)
    axes.axis("off")
    for box in BOXES:
        _box(axes, *box)
    for start, end, bend in ARROWS:
        style = {"arrowstyle": "-|>", "color": INK, "lw": 1.4, "connectionstyle": f"arc3,rad={bend}"}
        axes.annotate("", xy=end, xytext=start, arrowprops=style)
    axes.text(0.2, 7.5, "once per corpus: images, GPU", color=INK, fontsize=11.5, style="italic")
    axes.text(0.2, 3.75, "once per variant: no images, CPU", color=INK, fontsize=11.5, style="italic")
    axes.plot([0.2, 22.2], [4.3, 4.3], color=INK, lw=0.8, ls=(0, (5, 4)))
    for x, fill, name in ((0.2, STORED, "stored table"), (3.0, STEP, "step"), (4.9, GIVEN, "YAML that you write")):
        axes.add_patch(Rectangle((x, 0.35), 0.4, 0.35, facecolor=fill, edgecolor=INK, lw=0.8))
        axes.text(x + 0.55, 0.525, name, color=INK, fontsize=9.5, va="center")
    figure.savefig(path, bbox_inches="tight", facecolor=PAPER, metadata={"Software": None})


def _box(axes: Any, x: float, y: float, width: float, height: float, fill: str, head: str, lines: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.12", facecolor=fill, edgecolor=INK, linewidth=1.1
    )
    axes.add_patch(shape)
    middle = x + width / 2
    axes.text(middle, y + height - 0.12, head, ha="center", va="top", color=INK, fontsize=11, weight="bold")
    axes.text(middle, y + (height - 0.45) / 2, lines, ha="center", va="center", color=INK, fontsize=9, linespacing=1.35)


if __name__ == "__main__":
    draw(TARGET)
