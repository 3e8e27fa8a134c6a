"""The figures, one module per subject. Arrays and results in, matplotlib figures out."""
