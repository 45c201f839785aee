"""Pinned files out of packages of the package index."""
