"""The self-contained HTML report of a run."""

from otf.report.page import write_report
from otf.report.plan import Plan

__all__ = ["Plan", "write_report"]
