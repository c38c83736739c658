"""What a site may choose, read from the environment (prefix `CDS_`, such as `CDS_PORT=8080`) and nowhere else."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import zone_named

Jurisdiction = Literal["us", "uk"]
_SECRETS = {"patient_key", "database_url"}
_DATABASES = {
    "sqlite+aiosqlite": "sqlite+aiosqlite:///var/cds.sqlite",
    "postgresql+asyncpg": "postgresql+asyncpg://user:password@host/database",
}


def shipped_knowledge() -> Path:
    """Where `logic/` and `cards/` lie: beside the package in a clone, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "knowledge_files"
    return inside if inside.is_dir() else package.parent


class Settings(BaseSettings):
    """Each field is documented in `deploy/README.md`; a test compares the two."""

    model_config = SettingsConfigDict(env_prefix="CDS_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    knowledge: Path = Field(default_factory=shipped_knowledge)
    database_url: str = "sqlite+aiosqlite:///var/cds.sqlite"
    body_limit: int = Field(default=16 * 1024 * 1024, ge=1024)
    deadline: float = Field(default=2.0, ge=0.2, le=30)
    most_calls: int = Field(default=200, ge=1, le=10_000)
    receive_timeout: float = Field(default=10.0, ge=0.2, le=300)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    jurisdiction: Jurisdiction = "us"
    time_zone: str | None = None
    public_url: str | None = None
    allow_as_of: bool | None = None
    clients: Path | None = None
    guarded: bool = False
    trial: bool = False
    discovery: Literal["open", "signed"] = "open"
    max_cards: int = Field(default=6, ge=1, le=20)
    workup_without_reason: bool = True
    serve: Literal["drafts", "approved"] = "drafts"
    approvals: Path | None = None
    shadow: Annotated[tuple[str, ...], NoDecode] = ()
    patient_key: SecretStr | None = Field(default=None, min_length=32)
    override_days: int = Field(default=30, ge=0, le=365)
    keep_comments: bool = False
    retention_days: int = Field(default=365, ge=1, le=3650)
    metrics_from: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))
    pages: Literal["off", "demo", "signed-in"] | None = None
    pages_from: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, Field(validate_default=True)] = ()
    pages_header: str = Field(default="X-Forwarded-User", pattern=r"^[A-Za-z0-9-]+$")
    environment: Literal["production", "development"] = "production"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("cors_origins", "metrics_from", "pages_from", "shadow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("pages_from")
    @classmethod
    def _names_the_proxy(cls, value: tuple[object, ...], info: ValidationInfo) -> tuple[object, ...]:
        if info.data.get("pages") == "signed-in" and not value:
            raise ValueError("CDS_PAGES=signed-in needs the address of the proxy that signs people in")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return zone_named(value).key if value else None

    @field_validator("patient_key", "pages", "time_zone", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("retention_days")
    @classmethod
    def _outlasts_overrides(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("override_days", 0):
            raise ValueError("an override could not count for as long as CDS_OVERRIDE_DAYS says")
        return value

    @field_validator("database_url")
    @classmethod
    def _can_be_opened(cls, value: str) -> str:
        """Said at start, where a typing error would else be told by the first feedback that is lost."""
        scheme, _, rest = value.partition("://")
        if scheme not in _DATABASES or not rest.lstrip("/"):
            raise ValueError(f"is no address of a database: write one like {' or '.join(_DATABASES.values())}")
        return value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError(f"{value!r} is no address: write https://host, as a browser reaches this service")
        return value.rstrip("/") if value else None

    @field_validator("cors_origins")
    @classmethod
    def _no_wildcard(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not origin.startswith(("https://", "http://")) or origin.endswith("/"):
                raise ValueError(f"{origin!r} is not an origin: write scheme://host[:port] without a path, never *")
        return value


def read_settings() -> Settings:
    """Settings from the environment. Raises SettingsError naming every variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            Problem(
                f"CDS_{str(item['loc'][0]).upper()}" if item["loc"] else "environment",
                item["msg"] if item["loc"] and item["loc"][0] in _SECRETS else f"{item['msg']} (got {item['input']!r})",
                "see the table of settings in deploy/README.md",
            )
            for item in error.errors()
        ) from None
