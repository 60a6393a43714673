"""How stages run: recipe, corpus, ledger, runner on Ray, catalog, command line. The only place that imports ray."""

__version__ = "0.2.0.dev0"
