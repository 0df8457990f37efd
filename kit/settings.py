"""Settings of a process: one typed class, read from the environment, refused at start when anything is off."""

import os
from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "GOZON_"


class ProcessSettings(BaseSettings):
    """What every process needs. A process adds its own fields; each is the variable GOZON_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    metrics_port: int = 0
    """Port of Prometheus metrics on loopback; 0 means none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    def load(cls) -> Self:
        """Reads the environment; a missing, bad or unknown GOZON_ variable ends the process with one clear line."""
        known = {f"{PREFIX}{name}".upper() for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SystemExit(f"unknown settings: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            return cls()  # the environment gives the arguments
        except ValidationError as error:
            # Values stay out of the message: they may be secrets.
            problems = "; ".join(f"{PREFIX}{e['loc'][0]}".upper() + f": {e['msg']}"[:200] for e in error.errors())
            raise SystemExit(f"bad settings: {problems}") from None


class BusSettings(ProcessSettings):
    """What every process that has a bus needs besides."""

    nats_url: str
    """nats://user:password@host:port, several with commas between them."""
    stream_replicas: int = Field(default=1, ge=1, le=5)
    """On how many servers of a NATS cluster each stream is kept. The same for all processes: each declares them."""


class Settings(ProcessSettings):
    """What every service needs besides."""

    database_url: str
    """postgresql://role:password@host:port/database"""
    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server."""
