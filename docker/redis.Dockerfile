# Redis 8 from Debian: one lock server of the cluster.

# The shims need no library, so a compiler without one will do; it stays behind in this stage, which all images share.
FROM debian:trixie-slim AS shims
RUN apt-get update && apt-get install -y --no-install-recommends gcc
COPY sys.h clockshim.c syncshim.c /
RUN for shim in clock sync; do \
    gcc -O2 -Wall -Wextra -Werror -shared -fPIC -ffreestanding -nostdlib -fno-stack-protector \
    -o /fencepost-$shim.so /${shim}shim.c || exit 1; done

FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /data && chown redis:redis /data

# The entry script preloads them.
COPY --from=shims /fencepost-clock.so /fencepost-sync.so /usr/local/lib/
COPY redis.sh /usr/local/bin/

USER redis
WORKDIR /data
# A volume of its own, not the container's top layer: it survives a kill and a restart all the same, and an fsync costs
# what the host's disk costs, not what the image driver adds to it.
VOLUME /data
EXPOSE 6379
ENTRYPOINT ["/bin/bash", "/usr/local/bin/redis.sh"]
