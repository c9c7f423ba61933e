"""Check a random part of a study by eye, so that its counts are right whatever errors the detector makes.

`plan` divides the tissue into fields and draws some of them, `record` is what a person saw there, which `session` adds,
and `results` estimates the counts of each animal, and with `accuracy` how good the software is. `sampling` and
`estimates` are the mathematics.
"""

from typing import TYPE_CHECKING

import lazy_loader

# Most studies have no audit: to say so, a command needs none of the mathematics.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "plan": ["AuditPlan", "plan_audit"],
        "record": ["AuditRecord", "is_open"],
        "results": ["AuditResult"],
        "session": ["AuditSession"],
    },
)

if TYPE_CHECKING:
    from follicle_stager.audit.plan import AuditPlan as AuditPlan
    from follicle_stager.audit.plan import plan_audit as plan_audit
    from follicle_stager.audit.record import AuditRecord as AuditRecord
    from follicle_stager.audit.record import is_open as is_open
    from follicle_stager.audit.results import AuditResult as AuditResult
    from follicle_stager.audit.session import AuditSession as AuditSession
