"""The report: one self-contained HTML page, made from a history, its verdicts and its markers."""

from edgescale.harness.report.about import About
from edgescale.harness.report.page import page

__all__ = ["About", "page"]
