"""Explanations of answers; one file each."""
