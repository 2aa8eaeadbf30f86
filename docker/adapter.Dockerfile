# The clients' image with what the program of a stranger's lock needs: Python packages, Debian packages. The program
# itself is mounted.
FROM fencepost-tools AS packages
ARG PIP
ARG INDEX
RUN if [ -n "$PIP" ]; then apt-get update && apt-get install -y --no-install-recommends python3-venv ca-certificates; fi
COPY pip-certificates.pem /
RUN mkdir -p /opt/adapter && if [ -n "$PIP" ]; then \
    if [ -s /pip-certificates.pem ]; then export PIP_CERT=/pip-certificates.pem; fi; \
    if [ -n "$INDEX" ]; then export PIP_INDEX_URL=$INDEX; fi; \
    python3 -m venv /opt/adapter && /opt/adapter/bin/pip install --no-cache-dir --disable-pip-version-check $PIP; fi

FROM fencepost-tools
ARG PIP
ARG APT
RUN if [ -n "$PIP$APT" ]; then apt-get update \
    && apt-get install -y --no-install-recommends ${PIP:+python3} $APT && rm -rf /var/lib/apt/lists/*; fi
COPY --from=packages /opt/adapter /opt/adapter
ENV PATH=/opt/adapter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
