"""The query language: wire terms, compiler, evaluator, errors, and one module per family of terms."""
