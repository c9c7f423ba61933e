"""Commands of the audit: plan it, see how far it is, close it. The fields are visited in ``review --audit``."""

from __future__ import annotations

import getpass
import secrets
from pathlib import Path
from typing import Annotated

import typer

import follicle_stager as fs
from follicle_stager.cli.common import app, out
from follicle_stager.errors import UserError

audit = typer.Typer(no_args_is_help=True, help="Check a random part of the tissue by eye, for counts that are right.")
app.add_typer(audit, name="audit")

StudyFolder = Annotated[Path, typer.Argument(help="A study folder.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is written into the log.")]


@audit.command()
def plan(
    study_folder: StudyFolder,
    share: Annotated[
        float | None,
        typer.Option("--share", min=0.001, max=1, help="Share of each animal's fields: 0.1 for 10 %."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the draw; random by default.")] = None,
) -> None:
    """Draw fields from the tissue of every animal; with a larger --share, extend an audit that is planned already."""
    from follicle_stager.audit import AuditPlan, AuditRecord, plan_audit

    study = fs.Study.open(study_folder)
    known = AuditPlan.read(study)
    if known is not None:
        if share is None or seed is not None:
            raise UserError(
                f"{study.path}: an audit is planned already ({known.settings['made'][:10]}); to extend it, give a "
                "larger --share, without --seed."
            )
        if AuditRecord.read(study).closed:
            raise UserError(f"{study.path}: the audit is closed; run 'follicle-stager audit reopen' first.")
        made = known.extended(share)
    else:
        config = study.config.audit
        config = config if share is None else config.model_copy(update={"share": share})
        made = plan_audit(study, config=config, seed=secrets.randbits(31) if seed is None else seed, author=_reader())
    made.write(study)
    _show(study)
    out.print(f"Visit the fields:  follicle-stager review {study_folder} --audit", soft_wrap=True, highlight=False)


@audit.command()
def status(study_folder: StudyFolder) -> None:
    """Show how far the audit is, and how exact the comparison will be; no result is shown."""
    _show(fs.Study.open(study_folder))


@audit.command()
def close(study_folder: StudyFolder, reason: Reason = "") -> None:
    """Close the audit, so that its results may be seen; this is logged, also if fields are left."""
    from follicle_stager.audit import AuditResult, AuditSession

    study = fs.Study.open(study_folder)
    with AuditSession(study, reader=_reader()) as session:
        if session.record.closed:
            raise UserError(f"{study.path}: the audit is closed already.")
        result = AuditResult.of(study)
        assert result is not None
        left = len(result.plan.visits) - len(session.record.done(result.plan))
        if left and not reason:
            raise UserError(f"{result.progress} To close the audit early, give --reason; it is written into the log.")
        _ = result.sizes  # refused if an animal has too few fields
        session.close_audit(reason)
    out.print("The audit is closed. 'follicle-stager report' compares the audited counts.")


@audit.command()
def reopen(study_folder: StudyFolder, reason: Reason = "") -> None:
    """Open a closed audit again; this is logged. The comparison is hidden until it is closed."""
    from follicle_stager.audit import AuditSession

    study = fs.Study.open(study_folder)
    with AuditSession(study, reader=_reader()) as session:
        if not session.record.closed:
            raise UserError(f"{study.path}: the audit is open.")
        if not reason:
            raise UserError("Give --reason: the results have been seen, and the log must say why the audit goes on.")
        session.reopen(reason)
    out.print("The audit is open again.")


def _reader() -> str:
    return getpass.getuser()


def _show(study: fs.Study) -> None:
    from follicle_stager.audit import AuditResult
    from follicle_stager.cli.tables import expected_table
    from follicle_stager.statistics.expected import SHARES, expected_intervals

    result = AuditResult.of(study)
    if result is None:
        raise UserError(f"{study.path}: no audit is planned; run 'follicle-stager audit plan {study.path}'.")
    own = float(result.plan.settings["share"])
    shares = tuple(sorted({*SHARES, own}))
    expected = expected_intervals(result, contrast=study.config.comparison.contrast_place, shares=shares)
    drawn = result.plan.fields["visit"].notna().groupby(result.plan.fields["animal"]).sum()
    out.print(
        f"{len(result.plan.fields)} fields of {result.plan.settings['field_um']:g} µm; drawn: {int(drawn.sum())} "
        f"({own:.0%}; {drawn.min()} to {drawn.max()} of each animal), "
        f"{len(result.plan.visits) - int(drawn.sum())} of them twice. {result.progress}"
        + (" The audit is closed." if result.record.closed else "")
    )
    out.print(expected_table(expected, own))
