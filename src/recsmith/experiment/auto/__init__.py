"""``recsmith auto``: profile, race, tune, blend, test once, fit the winner on everything.

Read ``run.py`` first; ``profile.py`` cuts the log, ``race.py`` chooses among the models of the registry, ``finish.py``
blends and tests, ``page.py`` says what was done.
"""
