"""What a configuration stands for: the files that it names, checked against it."""

from stages.caption.bank import load_bank
from stages.caption.combine import templates_of
from stages.caption.config import CaptionConfig
from stages.caption.conquer import check_temperatures
from stages.caption.grammar import load_grammar


def variant_digests(config: CaptionConfig) -> dict[str, str]:
    """Digests of the bank and the grammar, by which finished work is known to be of the same configuration.

    Raises:
        BankError: One of the files does not exist, is not valid, or lacks what the configuration asks of it.
    """
    bank = load_bank(config.bank)
    check_temperatures(bank, config)
    templates_of(bank, config)
    return {"bank": bank.digest, "grammar": load_grammar(config.grammar or bank.grammar).digest}
