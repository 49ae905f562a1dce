"""The report: runs, an audit and an experiment with users as one page that stands alone, and its pictures beside it.

``inputs.py`` reads and checks, the files of sections say what is in the page, ``html.py`` and ``pictures.py`` turn
text, tables and figures into HTML, ``page.py`` puts it together and writes.
"""

from recsmith.report.page import Written, write_report

__all__ = ["Written", "write_report"]
