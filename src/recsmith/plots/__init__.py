"""Pictures (extra ``plot``): one file for each family of them."""
