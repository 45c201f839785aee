"""Trackers: where the log of a run goes besides TensorBoard; one file a tracker."""
