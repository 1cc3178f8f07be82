"""How the formula is evaluated: one file a library. `_evaluate` has the table."""
