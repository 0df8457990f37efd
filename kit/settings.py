"""Settings of a process: one typed class, read from the environment, refused at start when anything is off."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "GOZON_"
SECRETS = Path("/run/secrets")
"""A setting may be a file in here instead, named like its variable in small letters, as containers get secrets."""


class ProcessSettings(BaseSettings):
    """What every process needs. A process adds its own fields; each is the variable GOZON_<FIELD>, or a file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    metrics_port: int = 0
    """Port of Prometheus metrics; 0 means none."""
    metrics_host: str = "127.0.0.1"
    """Address that they are served on. They are for everybody who can reach it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[^/]+)?$")
    """http://host:port (https: with TLS) of an OpenTelemetry collector that gets the traces, over gRPC; empty: none."""
    trace_percent: float = Field(default=100, ge=0, le=100)
    """How many of the traces that begin here are sent; those that begin elsewhere say it themselves."""

    @classmethod
    def load(cls) -> Self:
        """Reads the environment; a missing, bad or unknown GOZON_ variable ends the process with one clear line."""
        known = {f"{PREFIX}{name}".upper() for name in cls.model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SystemExit(f"unknown settings: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            files: dict[str, Any] = {"_secrets_dir": SECRETS} if SECRETS.is_dir() else {}
            return cls(**files)  # the environment and the files give the arguments
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
