"""Write a million captions of random persons and look for what a careful reader would strike out.

Attributes are combined at random, likely or not, from none stated to all stated, in all styles. The exit
code is 1 when one caption has a problem. Usage::

    python benchmarks/captions/lint.py --count 1000000 --bank street
"""

import argparse
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

from evaluation.captions.sentence_checks import lint
from evaluation.captions.stated import random_stated
from evaluation.captions.vocabulary import finite_verbs, vocabulary
from stages.caption.bank.bank import Bank, load_bank
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import templates_of, write_sentences

BATCH = 5_000
KNOWN = (1.0, 0.9, 0.7, 0.4, 0.1)


def check(batch: int, count: int, bank_name: str) -> tuple[int, list[tuple[str, str]]]:
    """Captions written in one batch, and each problem of theirs with the caption."""
    bank, known, verbs = _bank(bank_name)
    config = CaptionConfig(bank=bank_name, captions_per_crop=2, seed=batch)
    stated = random_stated(bank, count // 2, known=KNOWN[batch % len(KNOWN)], seed=batch)
    texts = write_sentences(stated, [f"{batch}/{i}" for i in range(len(stated))], bank, config).texts
    return len(texts), [(problem, text) for text in texts for problem in lint(text, known, verbs)]


@lru_cache(maxsize=1)
def _bank(name: str) -> tuple[Bank, frozenset[str], frozenset[str]]:
    bank = load_bank(name)
    templates = itertools.chain(*templates_of(bank, CaptionConfig(bank=name)))
    return bank, vocabulary(bank, templates), finite_verbs(bank)


def main(arguments: list[str] | None = None) -> int:
    """Run the check and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="captions to write (default 1,000,000)")
    parser.add_argument("--bank", default="street", help="name of a shipped bank, or path of a YAML file")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    given = parser.parse_args(arguments)
    if given.count < 2 or given.workers < 1:
        parser.error(f"--count {given.count} --workers {given.workers}: give at least 2 captions and 1 process")
    try:
        _bank(given.bank)
    except BankError as error:
        parser.error(str(error))
    start, written, found = time.perf_counter(), 0, Counter[str]()
    for count, problems in _results(given):
        written += count
        for problem, text in problems:
            found[problem.partition(":")[0]] += 1
            if found.total() <= 20:
                print(f"{problem}\n    {text}")
    print(f"{written:,} captions of bank {given.bank} in {time.perf_counter() - start:.0f} s: {found.total()} problems")
    for kind, count in found.most_common():
        print(f"    {count:,} {kind}")
    return 1 if found else 0


def _results(given: argparse.Namespace) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    counts = [min(BATCH, given.count - start) for start in range(0, given.count, BATCH)]
    if given.workers == 1:
        yield from (check(batch, count, given.bank) for batch, count in enumerate(counts))
        return
    with ProcessPoolExecutor(given.workers) as pool:
        yield from pool.map(check, range(len(counts)), counts, itertools.repeat(given.bank))


if __name__ == "__main__":
    raise SystemExit(main())
