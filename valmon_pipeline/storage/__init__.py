"""PostgreSQL: the embedded server, the tables, migrations, bulk copy, the IO manager and queries.

Belongs here: everything that speaks SQL. Does not belong here: what a table's columns mean
(``frames``) and how they are computed (``assets``).
"""
