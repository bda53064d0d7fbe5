"""Audit log of decisions: one line each without images, chained by hashes, rotated.

`AuditLog` writes, `verify_audit_log` reads the whole chain and names its first broken link. `lines`
has the form of a line, `files` the names of a log's files and what a restart reads of them, `key`
the optional key of the chain, `report` what a verification found.
"""

from __future__ import annotations

from fasdk.audit.log import AuditFlush, AuditLog, AuditPolicy
from fasdk.audit.report import AuditReport, BrokenLink
from fasdk.audit.verification import verify_audit_log

__all__ = [
    "AuditFlush",
    "AuditLog",
    "AuditPolicy",
    "AuditReport",
    "BrokenLink",
    "verify_audit_log",
]
