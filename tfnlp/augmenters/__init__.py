"""Augmenters: texts changed so that labels stay right; one file each."""
