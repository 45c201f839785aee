"""Studies of several runs; one file each."""
