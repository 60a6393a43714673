"""The formats that a corpus can be exported in, by name."""

from typing import Final

from stages.publish.formats.export_format import Format
from stages.publish.formats.parquet import ParquetFormat
from stages.publish.formats.webdataset import WebDatasetFormat

FORMATS: Final[dict[str, type[Format]]] = {one.name: one for one in (ParquetFormat, WebDatasetFormat)}
"""``FORMATS[name].model_validate(options)`` checks the options and gives the format."""
