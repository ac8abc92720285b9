"""PostgreSQL: the only door to Peewee's database classes and to pg8000."""

from __future__ import annotations

from openwatch.db.postgres import Database, Model, database_of_models
from openwatch.db.queries import Queries, Query, load

__all__ = ["Database", "Model", "Queries", "Query", "database_of_models", "load"]
