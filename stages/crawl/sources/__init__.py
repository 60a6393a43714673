"""Sources of videos: one module per source, each with the functions of ``stages.crawl.sources.source.Source``."""
