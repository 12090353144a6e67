"""Checks the data against the schema and the statistics of the first blessed run."""
