"""Users on a database of its own."""

import pytest

from kit.db import Database
from services.users.service import UserService

CHEAP_KIB = 1024


@pytest.fixture
def service(users_db: Database) -> UserService:
    return UserService(users_db, CHEAP_KIB)
