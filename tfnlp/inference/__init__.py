"""What asks a SavedModel, in a folder or on a server; no Keras in here."""
