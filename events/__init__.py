"""Events: columns, readers, features, the separation into regions, and the regions of a folder."""
