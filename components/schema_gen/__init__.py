"""Outputs the schema for the data check: the kept one, or one inferred from this data."""
