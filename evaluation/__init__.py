"""How well the anomalies were found: scores, curves, background sculpting. Arrays in, results out; nothing is drawn here."""
