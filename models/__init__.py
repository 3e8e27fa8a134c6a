"""Flows, classifiers, scalers and ensembles as scikit-learn style estimators: arrays X [n, d] and m [n, c] in, arrays out."""
