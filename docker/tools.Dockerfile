# What runs beside the lock servers: clients and the protected resource (the fencepost binary, bind-mounted), and
# helpers that enter the network of another container to cut or slow it.
FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 iptables nftables procps \
    && rm -rf /var/lib/apt/lists/*
