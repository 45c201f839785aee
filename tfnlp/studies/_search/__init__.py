"""The parts of the study `search`."""
