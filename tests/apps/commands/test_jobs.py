"""Jobs that were given up, from the command line."""

from __future__ import annotations

import pytest

from rickhouse.apps.commands.jobs import jobs_given_up, jobs_try_again
from rickhouse.kernel.errors import NotFound
from tests.apps.conftest import Sql


def test_job_that_was_given_up_is_shown_and_tried_again(sql: Sql, capsys: pytest.CaptureFixture[str]) -> None:
    [job] = sql(
        """
        insert into payments.pgqueuer (priority, entrypoint, status, attempts)
        values (0, 'mail', 'failed', 7) returning id
        """
    )

    jobs_given_up("orders")
    assert capsys.readouterr().out == ""
    jobs_given_up()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"payments {job['id']}  mail  8 attempts  ")

    with pytest.raises(NotFound):
        jobs_try_again("orders", job["id"])
    jobs_try_again("payments", job["id"])
    assert capsys.readouterr().out == f"payments tries job {job['id']} again\n"
    assert [row["status"] for row in sql("select status::text from payments.pgqueuer")] == ["queued"]
