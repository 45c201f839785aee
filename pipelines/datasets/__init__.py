"""Built-in data sets, one TFDS builder a file; the folder is the registry."""
