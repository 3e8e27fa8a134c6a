"""The estimators of `models/` under the import names that sk_cathode users know; nothing but re-exports.

Importing it switches scikit-learn's metadata routing on, so that `make_pipeline(scaler, flow, classifier).predict(X, m=m)` hands m to
the flow.
"""

import sklearn

sklearn.set_config(enable_metadata_routing=True)
