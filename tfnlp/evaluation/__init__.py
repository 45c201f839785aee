"""How good answers are: rows and answers in, reports out; no model in here."""
