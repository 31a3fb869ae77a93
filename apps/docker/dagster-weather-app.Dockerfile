# Dagster user code, run pods, webserver, daemon and the metrics exporter: one image, another command for each.
# Build from the repository's top folder: scripts/build_and_push_images.sh does.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON_IMAGE} AS build
COPY apps/requirements/dagster-weather-app.txt /tmp/requirements.txt
# --no-deps: the lock file is complete
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        -r /tmp/requirements.txt \
    && /opt/venv/bin/pip check
COPY apps/weather_common /opt/weather/weather_common
COPY apps/weather_pipeline /opt/weather/weather_pipeline
COPY apps/dagster_exporter /opt/weather/dagster_exporter
# /app stays empty: the Vault Agent's /app/.env is mounted there, over the whole folder or as one file
RUN /opt/venv/bin/python -m compileall -q /opt/weather \
    && mkdir -p /app /opt/dagster/dagster_home \
    && chown 10001:10001 /opt/dagster/dagster_home

FROM ${PYTHON_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dagster-weather-app" \
    org.opencontainers.image.description="Weather pipeline for Dagster, Dagster's services, and their metrics exporter" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt /opt
COPY --from=build /app /app
# Nothing is written outside /tmp and DAGSTER_HOME: mount both writable when the root file system is read-only.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/weather \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    HOME=/tmp
WORKDIR /app
USER 10001:10001
EXPOSE 3030
# For docker and podman, and the default command; Kubernetes has probes of its own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["dagster", "api", "grpc-health-check", "-p", "3030"]
# This image has a shell and the AWS CLI, as runbooks call ls, cat, env and aws inside of it.
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "3030", "-m", "weather_pipeline"]
