"""``python -m pipeline`` is ``reidforge``."""

from pipeline.cli import main

main()
