"""The one list of names by which telemetry is known outside: attributes of spans, and metrics.

`gen_ai.*` follows the OpenTelemetry GenAI conventions as their own repository has them (the
constants in the Python package still have older ones). Metrics have the form that Prometheus gives
such names: dots become underscores, the unit and `_total` stand at the end.
"""

from typing import Final

# Attributes of every span of a hop.
SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
CONSUMER_GROUP: Final = "messaging.consumer.group.name"
MESSAGE_ID: Final = "messaging.message.id"
QUEUE_WAIT: Final = "sluice.queue.wait_ms"
DELIVERY: Final = "sluice.delivery.count"

# Of a leg's root.
REQUEST_ID: Final = "sluice.request.id"
TENANT: Final = "sluice.tenant"
STREAM: Final = "sluice.stream"
OUTCOME: Final = "sluice.outcome"
LEG: Final = "sluice.leg"
ATTEMPTS: Final = "sluice.attempts"
MODEL: Final = "sluice.model"
COST: Final = "sluice.cost"
FIRST_CHUNK: Final = "sluice.time_to_first_chunk_ms"
REPLAY_OF: Final = "sluice.replay_of"
REPLAYED: Final = "sluice.idempotency.replayed"
PREVIOUS_TRACE: Final = "sluice.previous.trace_id"
PREVIOUS_SPAN: Final = "sluice.previous.span_id"
NEXT_TRACE: Final = "sluice.next.trace_id"
NEXT_SPAN: Final = "sluice.next.span_id"
RUNG: Final = "sluice.rung_s"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

# Of route, gate, and the answer's delivery.
STRATEGY: Final = "sluice.route.strategy"
ROUTE_DEPLOYMENT: Final = "sluice.route.deployment"
CANDIDATES: Final = "sluice.route.candidates"
REASON: Final = "sluice.route.reason"
GATE_OUTCOME: Final = "sluice.gate.outcome"
GATE_WAIT: Final = "sluice.gate.wait_ms"
GATE_LIMIT: Final = "sluice.gate.limit"
GATE_SCOPE: Final = "sluice.gate.scope"
GATE_PLACE: Final = "sluice.gate.place"
PRIORITY: Final = "sluice.priority"
SSE_CHUNKS: Final = "sluice.sse.chunks"
SSE_BYTES: Final = "sluice.sse.bytes"
CLIENT_GONE: Final = "sluice.client_disconnected"

# Of provider calls: any `gen_ai.*` makes a reader show a span as a model call.
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_MODEL: Final = "gen_ai.request.model"
GEN_AI_STREAM: Final = "gen_ai.request.stream"
GEN_AI_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_FINISH: Final = "gen_ai.response.finish_reasons"
GEN_AI_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_INPUT: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT: Final = "gen_ai.output.messages"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ATTEMPT: Final = "sluice.attempt"
DEPLOYMENT: Final = "sluice.deployment"
KEY_ID: Final = "sluice.key.id"
RETRY_AFTER: Final = "sluice.retry_after_ms"
#: An event of the span: the first chunk has come.
FIRST_CHUNK_EVENT: Final = "first_chunk"

#: What providers are called by the conventions, by the kind that the settings name.
PROVIDER_NAMES: Final = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "anthropic": "anthropic",
    "gemini": "gcp.gemini",
}
