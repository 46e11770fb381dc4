"""Records to tables, plots and pages. Knows records, not models.

reports.load("reports/runs")    a tidy pandas DataFrame, one line per run and number
"""

from reports.record import Record, load_record
from reports.tidy import load

__all__ = ["Record", "load", "load_record"]
