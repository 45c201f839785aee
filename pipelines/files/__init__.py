"""Files of rows, read and written: CSV, JSONL, CoNLL, SQuAD."""
