"""The backbones that install by name: one file each."""
