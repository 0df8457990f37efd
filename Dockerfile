# Two images: `gozon` is every Python process and the command, `web` the page and the API's documentation.
# What is in them is what uv.lock and web/app/package-lock.json say.

ARG PYTHON=python:3.13-slim-trixie
ARG NODE=node:24-slim

FROM ${PYTHON} AS packages
ARG UV_VERSION=0.13.8
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==${UV_VERSION}
WORKDIR /gozon
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock ./

FROM packages AS python
# Compiled here, because a read-only file system keeps nothing of what the first start compiles.
RUN uv sync --frozen --no-install-project --group command
COPY README.md LICENSE ./
COPY gen gen
COPY kit kit
COPY services services
COPY stack stack
COPY workers workers
COPY edge edge
RUN uv sync --frozen --group command && /opt/venv/bin/python -m compileall -q gen kit services stack workers

FROM ${NODE} AS page
WORKDIR /gozon/web/app
COPY web/app/package.json web/app/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY edge/openapi.yaml /gozon/edge/openapi.yaml
COPY web/app ./
RUN npm run --silent build

FROM packages AS servers
RUN uv sync --frozen --no-install-project --only-group web

FROM debian:trixie-slim AS web
COPY --from=servers /opt/venv/bin/caddy /usr/local/bin/caddy
COPY --from=servers /opt/venv/lib/python3.13/site-packages/flask_swagger_ui/dist /srv/swagger-ui
COPY edge/openapi.yaml edge/asyncapi.yaml /srv/openapi/
COPY web/Caddyfile /etc/caddy/Caddyfile
COPY web/unbuilt.html /srv/web/
COPY web/docs /srv/web/docs
COPY --from=page /gozon/web/app/dist /srv/web/app/dist
ENV XDG_CONFIG_HOME=/tmp XDG_DATA_HOME=/tmp
USER 10001:10001
EXPOSE 8080
CMD ["caddy", "run", "--adapter", "caddyfile", "--config", "/etc/caddy/Caddyfile"]

FROM ${PYTHON} AS gozon
RUN groupadd --gid 10001 gozon && useradd --uid 10001 --gid gozon --no-create-home --shell /usr/sbin/nologin gozon \
    && install -d -o gozon -g gozon -m 700 /var/lib/gozon /var/lib/beat /var/lib/provider
COPY --from=python /opt/venv /opt/venv
COPY --from=python /gozon /gozon
WORKDIR /gozon
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["gozon", "--help"]
