"""Check a random part of a study by eye, so that its counts are right whatever errors the detector makes.

`plan` divides the tissue into fields and draws some of them, `record` keeps what a person saw there, and `results`
estimates the counts of each animal and the accuracy of the software. `sampling` and `estimates` are the mathematics.
"""

from follicle_stager.audit.plan import AuditPlan, plan_audit
from follicle_stager.audit.record import AuditRecord, AuditSession, is_open
from follicle_stager.audit.results import AuditResult

__all__ = ["AuditPlan", "AuditRecord", "AuditResult", "AuditSession", "is_open", "plan_audit"]
