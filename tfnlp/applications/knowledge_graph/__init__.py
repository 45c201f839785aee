"""Texts -> a graph of the triples found in them."""
