"""What a configuration stands for: the files that it names, checked against it."""

from stages.caption.bank.bank import bank_path, load_bank
from stages.caption.config import CaptionConfig
from stages.caption.read.calibration import load_temperatures
from stages.caption.read.decisions import check_thresholds
from stages.caption.read.evidence import check_evidence
from stages.caption.read.prior import reference_digest
from stages.caption.write.grammar import grammar_paths
from stages.caption.write.known_writers import caption_writer


def variant_files(config: CaptionConfig) -> dict[str, str | None]:
    """Files that a configuration names, those of shipped banks and grammars included, by recipe key.

    Raises:
        BankError: A file does not exist or is not valid.
    """
    bank = load_bank(config.bank)
    grammars = grammar_paths(config.grammar or bank.grammar)
    return {
        "caption.bank": str(bank_path(config.bank)),
        **{f"caption.grammar{'.extends' * depth}": str(path) for depth, path in enumerate(grammars)},
        "caption.calibration": config.calibration if isinstance(config.calibration, str) else None,
        "caption.reference": config.reference,
    }


def variant_digests(config: CaptionConfig) -> dict[str, object]:
    """Contents of the files that a configuration names, by which finished work is known to be of the same one.

    Raises:
        BankError: One of the files does not exist, is not valid, or lacks what the configuration asks of it.
    """
    bank = load_bank(config.bank)
    check_thresholds(bank, config)
    check_evidence(bank, config)
    return {
        "bank": bank.digest,
        **caption_writer(bank, config).digests(),
        "calibration": load_temperatures(config, bank),
        "reference": reference_digest(config),
    }
