"""The role that reads: made by `valmon migrate --reader`, and by whom it cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from valmon_pipeline.doctor.database import reader_findings
from valmon_pipeline.doctor.finding import Verdict
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.reader_role import make_reader


@pytest.fixture
def role(database_url: str, schema: str) -> Iterator[str]:
    """The name of a role that is dropped afterwards, if it was made."""
    name = f"{schema}_role"
    yield name
    with psycopg.connect(database_url, autocommit=True) as owner:
        if owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
            owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def address(database_url: str, role: str, password: str | None = None) -> str:
    url = make_url(database_url).set(username=role, password=password)
    return url.render_as_string(hide_password=False)


def test_it_is_made_once_and_brought_up_to_date_after(
    database: Database, database_url: str, role: str
) -> None:
    make_reader(database, role=role)
    make_reader(database, role=role, password="n3w")
    with psycopg.connect(address(database_url, role, "n3w")) as reader:
        settings = reader.execute(
            "SELECT current_setting('default_transaction_read_only'), "
            "current_setting('statement_timeout')"
        ).fetchone()
        assert settings == ("on", "30s")
        reader.execute(f"SELECT count(*) FROM {database.schema}.network_epochs".encode())


def test_the_server_is_not_told_the_password(
    database: Database, database_url: str, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    telling = make_url(database_url).update_query_dict(
        {"options": "-c log_statement=all -c client_min_messages=log"}
    )
    observed = Database(telling.render_as_string(hide_password=False), database.schema)
    with caplog.at_level(logging.INFO, "sqlalchemy.dialects.postgresql"):
        make_reader(observed, role=role, password="n3w-s3cret")
    observed.close()
    assert f'ALTER ROLE "{role}" PASSWORD' in caplog.text
    assert "n3w-s3cret" not in caplog.text


def test_the_doctor_tells_of_tables_it_may_not_read(
    database: Database, database_url: str, role: str
) -> None:
    assert list(reader_findings(database, role)) == []
    make_reader(database, role=role)
    (finding,) = reader_findings(database, role)
    assert finding.verdict is Verdict.GOOD
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"REVOKE SELECT ON {database.schema}.alerts FROM {role}".encode())
    (finding,) = reader_findings(database, role)
    assert finding.verdict is Verdict.WARNING
    assert "may not read 1 tables" in finding.found


def test_a_user_that_may_not_make_roles_is_told_who_can(
    database: Database, database_url: str, schema: str, role: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN".encode())
        owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}".encode())
    humble = Database(address(database_url, role), schema)
    with pytest.raises(StorageError, match="let an administrator run the statements"):
        make_reader(humble, role=f"{role}_reader")
    humble.close()
