"""The command that looks at an installation."""

from __future__ import annotations

import asyncio

from rickhouse.apps.doctor import examine
from rickhouse.apps.refusals import Refused
from rickhouse.apps.terminal import Config, say, settings_of


def doctor(*, config: Config = None) -> None:
    """Check settings, key files, database, migrations and vendors; exit code 1 when something is wrong."""
    findings = asyncio.run(examine(settings_of(config)))
    for finding in findings:
        say(f"{'ok ' if finding.fine else 'BAD'}  {finding.what}: {finding.detail}")
    if not all(finding.fine for finding in findings):
        raise Refused
