"""``valmon doctor``: tests a whole set-up before, or while, it runs, and says what to do.

A module per subject, each with functions that return findings and raise nothing of valmon's.
"""

from valmon_pipeline.doctor.examination import examine
from valmon_pipeline.doctor.finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
