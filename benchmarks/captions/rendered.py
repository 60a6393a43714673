"""How truly rendered pedestrians are read: the paper's way, our default, and what a recipe may switch on.

    python -m benchmarks.captions.rendered
    python -m benchmarks.captions.rendered --recipe recipes/demo.yaml
    python -m benchmarks.captions.rendered --crops 3000 --model ViT-B-16-quickgelu --pretrained openai

Every crop is drawn with its truth known (stages/render); seed 2 is the series that the embedded model never saw.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.captions.reading import REFUSALS, read_side_by_side, reading_options, show_readings
from evaluation.render.rendered_crops import render_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, read, print; 2 when an option makes no sense."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2)
    reading_options(parser)
    options = parser.parse_args(arguments)
    table = render_table(options.seed, 0, options.crops)
    truths = [
        {item["attribute"]: frozenset([item["value"]]) for item in row} for row in table["attributes"].to_pylist()
    ]
    try:
        readings = read_side_by_side(table["jpeg"].to_pylist(), truths, options)
    except REFUSALS as error:
        print(f"rendered: {error}", file=sys.stderr)
        return 2
    show_readings(readings, options.crops, f"Rendered pedestrians of seed {options.seed}, read by {options.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
