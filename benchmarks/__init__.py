"""Measurements, each one table from one run; how to repeat them stands in the README of each folder."""
