"""The routes of the gateway, hottest first: the router asks them in this order."""

from typing import Final, cast

import msgspec
from starlette.routing import Route, Router

from gateway.admin import DeadLetters
from gateway.admin_ladder import Ladder
from gateway.complete import PlainCalls
from gateway.endpoint import Endpoint, Serve
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.health import HealthRoutes
from gateway.metrics import Metrics
from gateway.openai import OpenAI
from gateway.plain import PlainChat
from gateway.requests import Requests
from gateway.sessions import Sessions
from gateway.stats import StatsRoute
from pipeline.errors import RouteNotFound

ROUTES: Final = (
    "POST /v1/chat/completions",
    "POST /v1/embeddings",
    "GET /v1/models",
    "GET /v1/models/{id}",
    "POST /chat",
    "POST /chat/async",
    "GET /chat/{task_id}",
    "GET /stream/{session_id}",
    "POST /complete",
    "POST /embeddings",
    "GET /v1/requests/{id}",
    "DELETE /v1/requests/{id}",
    "POST /v1/requests/{id}/cancel",
    "GET /v1/requests/{id}/events",
    "GET /v1/requests/{id}/stream",
    "GET /health",
    "GET /health/full",
    "GET /stats",
    "GET /metrics",
    "GET /admin/dead",
    "POST /admin/dead/replay",
    "POST /admin/dead/purge",
    "GET /admin/dead/{id}",
    "PATCH /admin/dead/{id}",
    "DELETE /admin/dead/{id}",
    "POST /admin/dead/{id}/replay",
    "GET /admin/ladder",
    "POST /admin/ladder/promote",
)


def build(gateway: Gateway, metrics: Metrics) -> Router:
    """Build the application over an open gateway."""
    openai, plain, requests = OpenAI(gateway), PlainChat(gateway), Requests(gateway)
    health, calls = HealthRoutes(gateway), PlainCalls(gateway)
    routes = [
        _post("/v1/chat/completions", openai.chat_completions),
        _post("/chat/async", plain.later),
        _post("/chat", plain.chat),
        _get("/stream/{session_id}", Sessions(gateway).stream),
        _get("/chat/{task_id}", plain.state),
        _post("/v1/embeddings", openai.embeddings),
        _post("/complete", calls.complete),
        _post("/embeddings", calls.embeddings),
        _get("/v1/requests/{id}/stream", requests.stream),
        _get("/v1/requests/{id}/events", requests.events),
        _post("/v1/requests/{id}/cancel", requests.cancel),
        Route("/v1/requests/{id}", Endpoint(get=requests.show, delete=requests.cancel)),
        _get("/v1/models", openai.models),
        _get("/v1/models/{id:path}", openai.model),
        _get("/health", health.alive),
        _get("/health/full", health.full),
        _get("/stats", StatsRoute(gateway).stats),
        _get("/metrics", metrics.show),
        _get("/", _welcome),
        *_admin(gateway),
    ]
    missing = Endpoint(other=_not_found)
    if gateway.meter:
        missing.meter = gateway.meter.route("other")
        for route in routes:
            # As `{id:path}` is written for the router alone.
            meter = gateway.meter.route(route.path.replace(":path", ""))
            cast("Endpoint", route.endpoint).meter = meter
    return Router(routes, redirect_slashes=False, default=missing)


def _admin(gateway: Gateway) -> list[Route]:
    dead, ladder = DeadLetters(gateway), Ladder(gateway)
    one = Endpoint(get=dead.show, patch=dead.edit, delete=dead.purge_one)
    return [
        _get("/admin/dead", dead.page),
        _post("/admin/dead/replay", dead.replay),
        _post("/admin/dead/purge", dead.purge),
        _post("/admin/dead/{id}/replay", dead.replay_one),
        Route("/admin/dead/{id}", one),
        _get("/admin/ladder", ladder.page),
        _post("/admin/ladder/promote", ladder.promote),
    ]


def _get(path: str, serve: Serve) -> Route:
    return Route(path, Endpoint(get=serve))


def _post(path: str, serve: Serve) -> Route:
    return Route(path, Endpoint(post=serve))


async def _welcome(exchange: Exchange) -> None:
    await exchange.answer(200, msgspec.json.encode({"name": "sluice", "routes": ROUTES}))


async def _not_found(exchange: Exchange) -> None:
    path = exchange.scope["path"]
    raise RouteNotFound(f"There is no route {path[:200]}; GET / lists them.")
