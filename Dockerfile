# The image of gateway, workers and simulated provider: `docker build -t sluice:local .`
# One image for all parts; the command says which: `docker run sluice:local workers`.

ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The packages we depend on change rarely: their layer needs the project's metadata alone.
COPY pyproject.toml README.md LICENSE ./
RUN pip wheel --wheel-dir /wheels . && rm /wheels/sluice-*.whl
COPY pipeline pipeline
COPY gateway gateway
COPY workers workers
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/sluice \
    && pip --python /opt/sluice/bin/python install --no-index --find-links /wheels \
        /wheels/sluice-*.whl

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="An event-driven pipeline for LLM requests" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin sluice
COPY --from=build /opt/sluice /opt/sluice
ENV PATH=/opt/sluice/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Nothing is written here, and nothing of a caller's is imported from it.
WORKDIR /srv/sluice
# By number: Kubernetes' runAsNonRoot cannot tell from a name.
USER 10001:10001
EXPOSE 8080 8081 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["--help"]
