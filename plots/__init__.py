"""The figures. Arrays and results in, matplotlib figures out."""
