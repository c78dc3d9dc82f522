FROM node:22-bookworm-slim AS page
WORKDIR /src/frontend2
COPY frontend2/package.json frontend2/package-lock.json frontend2/.npmrc ./
RUN npm ci --no-audit --no-fund --loglevel=error
COPY frontend2/ ./
RUN npm run build --silent

FROM python:3.12-slim-bookworm AS wheels
WORKDIR /src
COPY pyproject.toml README.md alembic.ini ./
COPY migrations/ migrations/
COPY sql/ sql/
COPY glue/ glue/
COPY --from=page /src/frontend2/dist/ frontend2/dist/
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[alerts]'

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/tidemark tidemark
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels 'tidemark[alerts]'
USER tidemark
WORKDIR /var/lib/tidemark
ENV TIDEMARK_LISTEN=0.0.0.0:8017 \
    TIDEMARK_LOG=json
EXPOSE 8017
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidemark"]
CMD ["--help"]
