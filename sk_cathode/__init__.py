"""The estimators of `models/` under the import names that sk_cathode users know; nothing but re-exports."""
