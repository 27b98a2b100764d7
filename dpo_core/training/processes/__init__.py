"""Several processes that train one round."""
