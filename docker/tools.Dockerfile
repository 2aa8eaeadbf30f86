# What runs beside the lock servers: clients and the protected resource (the fencepost binary, bind-mounted), and
# helpers that enter the network of another container to cut or slow it.
# As in redis.Dockerfile, so that it is made once.
FROM debian:trixie-slim AS shims
RUN apt-get update && apt-get install -y --no-install-recommends gcc
COPY sys.h clockshim.c syncshim.c /
RUN for shim in clock sync; do \
    gcc -O2 -Wall -Wextra -Werror -shared -fPIC -ffreestanding -nostdlib -fno-stack-protector \
    -o /fencepost-$shim.so /${shim}shim.c || exit 1; done

FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 iptables nftables procps \
    && rm -rf /var/lib/apt/lists/*

# Preloaded in clients only.
COPY --from=shims /fencepost-clock.so /usr/local/lib/
