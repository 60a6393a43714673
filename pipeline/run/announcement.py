"""What a run announces before it works on a stage: the ledger has only what was done, and ``status`` needs both."""

import datetime as dt
import json

from pipeline.corpus.files import Corpus
from pipeline.run.plan import Plan


def announce(corpus: Corpus, run_id: str, plan: Plan, *, retry: bool) -> None:
    """Record when a run began a stage, the units that the recipe wants, and those to do."""
    began = dt.datetime.now(dt.UTC).isoformat()
    facts = {"began": began, "wanted": plan.wanted.num_rows, "todo": plan.todo(retry=retry).num_rows}
    corpus.put(announced_path(run_id, plan.stage), json.dumps(facts).encode())


def announced_path(run_id: str, stage: str) -> str:
    """File in which a run announces a stage."""
    return f"runs/{run_id}/stages/{stage}.json"
