"""Audits of a model; one file each."""
