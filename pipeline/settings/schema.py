"""The settings' structs: every key, its default, its unit and the range it may have.

Those of providers and models are in `models`. They are decoded by `decode` and made whole by
`load`, through which all others reach them. Relations between keys are in `check`.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from pipeline.settings.fields import (
    AnyModelName,
    Count,
    HeaderName,
    Host,
    HttpUrl,
    ModelName,
    Name,
    Namespace,
    Pause,
    Port,
    Reserved,
    Seconds,
    Section,
    Share,
    WholeSeconds,
)
from pipeline.settings.models import ModelSettings, ProviderSettings
from pipeline.settings.secret import RedisUrl, TokenHash

DEFAULT_REDIS_URL: Final = "redis://127.0.0.1:6379/0"


class RedisSettings(Section, frozen=True, kw_only=True):
    """Where Redis is, and the names' prefix in it."""

    url: RedisUrl | None = None
    namespace: Namespace = "sluice"
    partitions: Count = 1

    @property
    def is_set(self) -> bool:
        """Whether file, environment or command line named a Redis."""
        return self.url is not None

    @property
    def address(self) -> str:
        """The URL to connect to, with its password: not for printing, which `url` is."""
        return DEFAULT_REDIS_URL if self.url is None else self.url.reveal()


class GatewaySettings(Section, frozen=True, kw_only=True):
    """The HTTP host."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    processes: Count = 1
    request_timeout_s: Seconds = 300
    max_body_bytes: Count = 33_554_432
    default_model: ModelName = "fast"
    #: Taken where embeddings are asked for, or needed, and no model is named; empty: none is.
    default_embedding_model: AnyModelName = ""
    #: What becomes of a call whose client went away.
    on_disconnect: Literal["drain", "cancel"] = "drain"
    #: Whether to listen beyond loopback although no tenants are configured.
    open: bool = False
    #: Header that names the user where the body does not; in small letters once loaded.
    user_header: HeaderName = "x-sluice-user"


class WorkersSettings(Section, frozen=True, kw_only=True):
    """The processes that run the hops."""

    processes: Count = 1
    #: Provider calls in flight per process.
    calls: Count = 1000
    #: A worker that has shown no life for so long is dead.
    liveness_s: Seconds = 12
    scan_s: Seconds = 3
    #: How long a stopping worker may finish what it has begun.
    grace_s: Pause = 30
    #: An entry delivered more often is poison.
    max_deliveries: Count = 5


class SimulateSettings(Section, frozen=True, kw_only=True):
    """Where the simulated provider listens."""

    host: Host = "127.0.0.1"
    port: Port = 8081

    @property
    def base_url(self) -> str:
        """The address that a provider of kind `simulated` calls."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


class ReserveSettings(Section, frozen=True, kw_only=True):
    """The share of every provider limit that a class of priority keeps to itself."""

    high: Reserved = 0
    default: Reserved = 0
    low: Reserved = 0


class GateSettings(Section, frozen=True, kw_only=True):
    """How requests wait for capacity."""

    #: A class, or a large request at its head, that got nothing for so long goes first.
    aging_s: Seconds = 60
    #: Most requests that wait in one waiting room.
    max_queue_size: Count = 100_000
    reserve: ReserveSettings = ReserveSettings()
    #: A key that a provider refused is tried again after this, with one request.
    probe_s: Seconds = 600


class RetrySettings(Section, frozen=True, kw_only=True):
    """Quick retries of a failed call, before another deployment or the ladder."""

    #: How often the same deployment is asked again at once.
    quick: Annotated[int, Meta(ge=0, le=10)] = 2
    #: Mean pause before the first of them; it doubles with each.
    backoff_s: Pause = 0.25
    max_backoff_s: Pause = 4


class IdempotencySettings(Section, frozen=True, kw_only=True):
    """How repeated requests are known again."""

    #: How long after its end a reply is kept for who repeats its key.
    kept_s: WholeSeconds = 86_400
    #: Whether equal bodies without a key count as one: of clients that say they retry, of all.
    dedupe: Literal["off", "retries", "all"] = "off"
    dedupe_s: WholeSeconds = 60


class DurabilitySettings(Section, frozen=True, kw_only=True):
    """Whether accepting waits for replicas of Redis."""

    wait_replicas: Annotated[int, Meta(ge=0)] = 0
    wait_ms: Count = 100


class AdminSettings(Section, frozen=True, kw_only=True):
    """Who may use the routes below `/admin`; without tokens and tenants, whoever is on loopback."""

    tokens: tuple[TokenHash, ...] = ()


class Window(Section, frozen=True, kw_only=True):
    """So many requests in any so many seconds."""

    requests: Annotated[int, Meta(ge=0)]
    seconds: Seconds


class TenantLimits(Section, frozen=True, kw_only=True):
    """What we allow a tenant or user; absent: no limit, 0: no access."""

    rpm: Annotated[int, Meta(ge=0)] | None = None
    tpm: Annotated[int, Meta(ge=0)] | None = None
    rpd: Annotated[int, Meta(ge=0)] | None = None
    tpd: Annotated[int, Meta(ge=0)] | None = None
    concurrency: Annotated[int, Meta(ge=0)] | None = None
    window: Window | None = None


class RetentionSettings(Section, frozen=True, kw_only=True):
    """How long what has ended is kept, counted from a request's end."""

    events_s: WholeSeconds = 86_400
    replies_s: WholeSeconds = 3_600
    dead_s: WholeSeconds = 604_800
    #: Greatest length of `requests`, `done` and `dead`, whichever of age and length comes first.
    max_entries: Count = 1_000_000
    #: Callback streams are capped near this many entries.
    reply_to_max_entries: Count = 100_000


class TenantSettings(Section, frozen=True, kw_only=True):
    """An organisation that sends requests, and what it may do."""

    tokens: tuple[TokenHash, ...] = ()
    weight: Count = 1
    priority: Annotated[int, Meta(ge=-10, le=10)] = 0
    #: Globs of model names it may ask for.
    models: tuple[str, ...] = ("*",)
    #: Over all of it.
    limits: TenantLimits = TenantLimits()
    #: Of each user by name; `default` holds for each of the others by itself.
    users: Mapping[str, TenantLimits] = {}
    #: Of each token, by the first 8 hex digits of its hash; `default` as for users.
    token_limits: Mapping[str, TenantLimits] = {}
    #: Of each model, by the name that clients use, over all of the tenant; `default` as for users.
    model_limits: Mapping[str, TenantLimits] = {}


class TelemetrySettings(Section, frozen=True, kw_only=True):
    """Where traces go, where metrics are to be read, and how logs are written."""

    #: Where an OTLP collector listens; empty: there are no traces.
    otlp_endpoint: HttpUrl = ""
    #: Empty: as the port tells, 4318 being HTTP's.
    protocol: Literal["", "grpc", "http/protobuf"] = ""
    #: Share of requests that are traced.
    sampling: Share = 1.0
    #: Whether the decision of a caller's own `traceparent` goes before that.
    parent_based: bool = True
    #: How long an export may take.
    timeout_s: Seconds = 2
    #: Whether providers are told the trace context, too.
    to_providers: bool = False
    #: Whether prompts and answers are recorded, each up to so many bytes.
    capture_content: bool = False
    content_bytes: Count = 8192
    #: Jaeger's pages, for links to traces.
    jaeger_url: HttpUrl = ""
    #: Beyond loopback, whoever reaches it may read the metrics.
    metrics_host: Host = "127.0.0.1"
    #: Of the first process; further ones take those behind it. 0: none.
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 9464
    logs: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Sections(Section, frozen=True, kw_only=True):
    """Everything that a file may say."""

    redis: RedisSettings = RedisSettings()
    gateway: GatewaySettings = GatewaySettings()
    workers: WorkersSettings = WorkersSettings()
    gate: GateSettings = GateSettings()
    simulate: SimulateSettings = SimulateSettings()
    providers: Mapping[Name, ProviderSettings] = {}
    models: Mapping[ModelName, ModelSettings] = {}
    #: Seconds of each rung, ascending.
    ladder: tuple[WholeSeconds, ...] = (60, 600, 3600, 86_400)
    retry: RetrySettings = RetrySettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    durability: DurabilitySettings = DurabilitySettings()
    admin: AdminSettings = AdminSettings()
    retention: RetentionSettings = RetentionSettings()
    tenants: Mapping[Name, TenantSettings] = {}
    telemetry: TelemetrySettings = TelemetrySettings()


class Settings(Sections, frozen=True, kw_only=True):
    """The whole configuration, checked and complete, and where it came from."""

    #: The file's path, or `no file`.
    source: str = "no file"
    #: A line for each provider that is set in the environment and cannot be served yet.
    left_out: tuple[str, ...] = ()

    @property
    def needs_simulator(self) -> bool:
        """Whether a provider is the simulated one that `sluice up` has to start."""
        return any(
            provider.kind == "simulated" and provider.base_url == self.simulate.base_url
            for provider in self.providers.values()
        )
