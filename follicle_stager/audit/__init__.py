"""Check a random part of a study by eye, so that its counts are right whatever errors the detector makes.

`plan` divides the tissue into fields and draws some of them, `record` is what a person saw there, which `session` adds,
and `results` estimates the counts of each animal, and with `accuracy` how good the software is. `sampling` and
`estimates` are the mathematics.
"""

from follicle_stager.audit.plan import AuditPlan, plan_audit
from follicle_stager.audit.record import AuditRecord, is_open
from follicle_stager.audit.results import AuditResult
from follicle_stager.audit.session import AuditSession

__all__ = ["AuditPlan", "AuditRecord", "AuditResult", "AuditSession", "is_open", "plan_audit"]
