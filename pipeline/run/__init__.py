"""How stages run on Ray: planning against the ledger, units of work, operators, progress, and the record of a run."""
