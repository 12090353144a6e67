"""Gives the schema that the data is checked against: the kept one, or one made from this data."""
