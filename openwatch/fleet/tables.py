"""The tables a fleet is written to; reading is in queries.sql."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peewee import BlobField, BooleanField, Field, IntegerField, TextField, UUIDField

from openwatch.db import Model


class InetField(Field):
    """An IP address, given and read as text."""

    field_type = "INET"


class TextArrayField(Field):
    """A list of texts."""

    field_type = "TEXT[]"

    def db_value(self, value: Any) -> list[str]:
        """Hand the driver a list."""
        return list(value)


class UUIDArrayField(Field):
    """A list of ids."""

    field_type = "UUID[]"

    def db_value(self, value: Any) -> list[UUID]:
        """Hand the driver a list."""
        return list(value)


class Host(Model):
    """What people say about a host; what scans find out is written by facts.py."""

    id = UUIDField(primary_key=True)
    hostname = TextField()
    ip_address = InetField()
    port = IntegerField()
    transport = TextField()
    display_name = TextField(null=True)
    description = TextField(null=True)
    environment = TextField()
    tags = TextArrayField()
    username = TextField(null=True)
    jump_hosts = UUIDArrayField()
    created_by = UUIDField(null=True)

    class Meta:
        """The name the runbooks know."""

        table_name = "hosts"


class Credential(Model):
    """A credential with its sealed secrets."""

    id = UUIDField(primary_key=True)
    scope = TextField()
    scope_id = UUIDField(null=True)
    name = TextField()
    description = TextField(null=True)
    username = TextField()
    auth_method = TextField()
    encrypted_password = BlobField(null=True)
    encrypted_private_key = BlobField(null=True)
    encrypted_private_key_passphrase = BlobField(null=True)
    ssh_key_fingerprint = TextField(null=True)
    ssh_key_type = TextField(null=True)
    ssh_key_bits = IntegerField(null=True)
    ssh_key_comment = TextField(null=True)
    is_default = BooleanField()
    created_by = UUIDField(null=True)

    class Meta:
        """The name the runbooks know."""

        table_name = "credentials"
