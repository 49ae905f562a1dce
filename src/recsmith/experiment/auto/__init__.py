"""``recsmith auto``: profile, race, tune, blend, test once, fit the winner on everything.

Read ``run.py`` first; ``profile.py`` cuts the log, ``race.py`` tries the models of the registry, ``winner.py``
chooses and blends, ``finish.py`` tests, ``page.py`` says what was done.
"""
