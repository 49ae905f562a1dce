"""The command line: ``recsmith VERB``. Each file holds a group of verbs; ``main.py`` puts them together."""
