"""Captions measured: against known truth, against labels, and against the clock."""
