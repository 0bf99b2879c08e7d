"""Why keys of LiteLLM have no counterpart with us, and what to do instead."""

from typing import Final

from pipeline.importing.part import Reasons

_CLIENTS: Final = "let clients send it"
#: What else stands in `litellm_params`: LiteLLM would add it to each request.
SENT: Final = ("Sluice sends what clients send, and adds nothing to it", _CLIENTS)

_REGION: Final = ("regions are not told apart", "give each region a model name of its own")
_AZURE_AD: Final = ("Sluice shows Azure a key, not a token of Entra ID", "create a key")
_AWS: Final = ("Sluice does not sign requests with AWS credentials", "")
_BUDGET: Final = ("Sluice does not limit money", "limit tokens: tenants.*.limits.tpm and tpd")

PARAMS: Final[Reasons] = {
    "region_name": _REGION,
    "aws_region_name": _REGION,
    "azure_ad_token_provider": _AZURE_AD,
    "tenant_id": _AZURE_AD,
    "client_id": _AZURE_AD,
    "client_secret": _AZURE_AD,
    "aws_access_key_id": _AWS,
    "aws_secret_access_key": _AWS,
    "max_budget": _BUDGET,
    "budget_duration": _BUDGET,
    "num_retries": ("retries are set for all deployments", "see retry.quick"),
    "max_retries": ("retries are set for all deployments", "see retry.quick"),
    "tags": ("deployments are not chosen by tags", "give them a model name of their own"),
    "mock_response": ("answers are not made up", "use a provider of kind simulated"),
    "mock_timeout": ("answers are not made up", "use a provider of kind simulated"),
    "ssl_verify": ("certificates are always verified", "add the authority to the system's"),
    "api_version": ("only Azure has it", ""),
    "drop_params": (
        "fields are refused with 400, or left out where they change no answer",
        "let clients send what the model takes",
    ),
    "additional_drop_params": ("fields are not dropped", "let clients leave them out"),
    "input_cost_per_second": ("prices are per token", "set the deployment's price"),
    "output_cost_per_second": ("prices are per token", "set the deployment's price"),
}

INFO: Final[Reasons] = {
    "base_model": (
        "costs go by the provider's own name for the model",
        "set the deployment's price where `genai-prices` does not know that name",
    ),
    "max_tokens": ("an answer's length is the client's to limit", "let clients send max_tokens"),
    "max_output_tokens": ("an answer's length is the client's", "let clients send max_tokens"),
    "access_groups": ("models are allowed by name", "see tenants.*.models, which takes globs"),
    "supported_environments": ("a file is for one environment", "keep a file for each"),
    "input_cost_per_second": ("prices are per token", "set the deployment's price"),
    "output_cost_per_second": ("prices are per token", "set the deployment's price"),
    "custom_tokenizer": ("tokens are estimated, then settled by what the provider counts", ""),
    "health_check_timeout": ("it has no timeout of its own", "see providers.*.timeout"),
    "health_check_model": ("health is asked of the provider, not of a model", ""),
}

ROUTER: Final[Reasons] = {
    "enable_pre_call_checks": (
        "contexts are always checked where a deployment's context_tokens are known",
        "",
    ),
    "routing_strategy_args": ("strategies have no arguments", ""),
    "enable_tag_filtering": ("deployments are not chosen by tags", "use models of their own"),
    "retry_policy": ("retries are counted for all errors alike", "see retry.quick"),
    "model_group_retry_policy": ("retries are set for all models", "see retry.quick"),
    "allowed_fails_policy": ("failures are counted alike", "see providers.*.breaker.failures"),
    "max_fallbacks": ("all fallbacks are tried until the deadline", ""),
    "provider_budget_config": _BUDGET,
    "default_priority": ("priority belongs to tenants and requests", "see tenants.*.priority"),
    "polling_interval": ("nothing is polled", ""),
    "cache_responses": ("answers are not cached", ""),
    "caching_groups": ("answers are not cached", ""),
    "client_ttl": ("connections are kept by the workers", ""),
    "default_litellm_params": SENT,
    "optional_pre_call_checks": (
        "requests of one kind go to one deployment anyway",
        "see models.*.sticky",
    ),
    "routing_groups": ("they are models with us", "see models.*.strategy"),
    "stream_timeout": ("timeouts belong to providers", "see providers.*.timeout.idle_s"),
}

_LOGS: Final = ("Sluice calls no logging services", "see telemetry.otlp_endpoint and `sluice tail`")
_CACHE: Final = ("answers are not cached", "equal requests at once: see idempotency.dedupe")

LIBRARY: Final[Reasons] = {
    "success_callback": _LOGS,
    "failure_callback": _LOGS,
    "callbacks": _LOGS,
    "service_callbacks": _LOGS,
    "cache": _CACHE,
    "cache_params": _CACHE,
    "set_verbose": ("Sluice logs events, and no requests", ""),
    "drop_params": PARAMS["drop_params"],
    "modify_params": ("requests are not changed", ""),
    "max_budget": _BUDGET,
    "budget_duration": _BUDGET,
    "default_team_settings": ("Sluice calls no logging services", ""),
    "default_internal_user_params": ("users are not stored", "see tenants.*.users"),
    "telemetry": ("Sluice tells nobody anything unasked", ""),
    "turn_off_message_logging": ("prompts are never logged", ""),
    "json_logs": ("logs are always in fields", ""),
}

_DATABASE: Final = ("there is no database beside Redis", "")

GENERAL: Final[Reasons] = {
    "database_url": _DATABASE,
    "database_connection_pool_limit": _DATABASE,
    "database_connection_timeout": _DATABASE,
    "store_model_in_db": ("models that are in LiteLLM's database are not in this file", "add them"),
    "alerting": ("Sluice sends no alerts", "watch its metrics"),
    "alerting_threshold": ("Sluice sends no alerts", "watch its metrics"),
    "custom_auth": ("clients show tokens of tenants", "see `sluice token`"),
    "enable_jwt_auth": ("clients show tokens of tenants", "see `sluice token`"),
    "litellm_jwtauth": ("clients show tokens of tenants", "see `sluice token`"),
    "pass_through_endpoints": ("only chats and embeddings are passed on", ""),
    "allowed_routes": ("routes are not opened and shut", "put a reverse proxy in front"),
    "allowed_ips": ("addresses are not told apart", "put a reverse proxy in front"),
    "embedding_model": ("an embedding names its model", ""),
    "global_max_parallel_requests": (
        "without tenants nothing limits all requests together",
        "see tenants.*.limits.concurrency",
    ),
    "proxy_batch_write_at": _DATABASE,
    "proxy_budget_rescheduler_min_time": _DATABASE,
    "proxy_budget_rescheduler_max_time": _DATABASE,
}

TOP: Final[Reasons] = {
    "include": ("other files are not read", "import each of them, and put the results together"),
    "guardrails": ("Sluice does not look into requests", "check them before they are sent"),
    "mcp_servers": ("tools are the client's", ""),
    "callback_settings": _LOGS,
    "finetune_settings": ("only chats and embeddings are served", ""),
    "files_settings": ("only chats and embeddings are served", ""),
}
