"""Export formats: one module per format, all behind ``stages.publish.formats.export_format.Format``."""
