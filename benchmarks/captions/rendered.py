"""How accurately rendered pedestrians are read: as in the paper, by our default, and by what a recipe may switch on.

    python -m benchmarks.captions.rendered
    python -m benchmarks.captions.rendered --recipe recipes/demo.yaml
    python -m benchmarks.captions.rendered --crops 3000 --model ViT-B-16-quickgelu --pretrained openai

The attributes of every crop are known, because it is drawn from them (evaluation/render). The embedded model was not
trained on the series of seed 2.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.captions.reading import REFUSALS, read_side_by_side, reading_options, show_readings
from evaluation.render.rendered_crops import render_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, read and print; returns 2 for an invalid option."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2)
    reading_options(parser)
    options = parser.parse_args(arguments)
    table = render_table(options.seed, 0, options.crops)
    jpegs: list[Any] = table["jpeg"].to_pylist()
    attributes: list[Any] = table["attributes"].to_pylist()
    truths = [{item["attribute"]: frozenset([item["value"]]) for item in row} for row in attributes]
    try:
        readings = read_side_by_side(jpegs, truths, options)
    except REFUSALS as error:
        print(f"rendered: {error}", file=sys.stderr)
        return 2
    show_readings(readings, options.crops, f"Rendered pedestrians of seed {options.seed}, read by {options.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
