"""Which caption writer a recipe gets: the only place that names the implementations."""

from stages.caption.bank.bank import Bank
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import TemplateWriter
from stages.caption.write.writer import CaptionWriter


def caption_writer(bank: Bank, config: CaptionConfig) -> CaptionWriter:
    """The writer of a recipe.

    Raises:
        BankError: The files that the recipe names do not exist, are not valid or do not fit each other.
    """
    return TemplateWriter(bank, config)
