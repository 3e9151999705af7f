# Whence in an image: one SQLite file in /data, or PostgreSQL by WHENCE_STORE. docs/operations.md says how to run it.

FROM python:3.13-slim-bookworm AS build

# npm builds the console, and fetches the assets of the page /docs. If that fails, the build warns and the server shows
# plain pages.
COPY --from=node:22-bookworm-slim /usr/local/bin/node /usr/local/bin/node
COPY --from=node:22-bookworm-slim /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm

WORKDIR /build
COPY requirements/server.txt requirements/server.txt
RUN python -m venv /opt/whence \
    && /opt/whence/bin/pip install --no-cache-dir --require-hashes --requirement requirements/server.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY console console
COPY verifier verifier
COPY src src
RUN /opt/whence/bin/pip install --no-cache-dir --no-deps .


FROM python:3.13-slim-bookworm

# The number is fixed, so that the owner of a volume stays the same, and Kubernetes can check that it is not root.
RUN groupadd --gid 10001 whence \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin whence \
    && install --directory --owner=whence --group=whence --mode=0700 /data
COPY --from=build /opt/whence /opt/whence

# In /data are the log, its secret, and the profile with the first key, which commands in the container use.
ENV PATH=/opt/whence/bin:$PATH \
    HOME=/data \
    WHENCE_STORE=sqlite:////data/log.db \
    WHENCE_HOST=0.0.0.0 \
    WHENCE_PORT=8700

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8700

HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['WHENCE_PORT']), timeout=2); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["whence"]
CMD ["serve"]
