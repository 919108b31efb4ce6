"""The gate between training and the daemon: whether a candidate may become current."""
