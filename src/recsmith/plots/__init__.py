"""Pictures (extra ``plot``): one file for each family of them.

Each function takes what it shows (a Dataset, a Split, Reports, a frame of rows) and returns a Matplotlib ``Figure`` of
its own, which a notebook shows and ``savefig`` writes. No state of pyplot is touched.
"""
