"""What Python code and the commands call: train, evaluate, explain, audit, export, study.

The commands parse their arguments and call the functions of these modules; `fit`, `load`,
`run_study` and `Model` take keyword arguments and call the same ones. `import tfnlp` has them all.
"""
