# Redis 8 from Debian: one lock server of the cluster.
#
# Deliberately absent: a configuration file. All that differs from Redis' defaults is below, in one line each, and a
# later argument wins over an earlier one (`command: ["--appendonly", "yes"]` in a compose file, say).

# The clock shim needs no library, so a compiler without one will do; it stays behind in this stage.
FROM debian:trixie-slim AS clock
RUN apt-get update && apt-get install -y --no-install-recommends gcc
COPY clockshim.c /
RUN gcc -O2 -Wall -Wextra -Werror -shared -fPIC -ffreestanding -nostdlib -fno-stack-protector \
    -o /fencepost-clock.so /clockshim.c

FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /data && chown redis:redis /data

# Not preloaded: whoever wants to move this server's clock sets LD_PRELOAD and mounts a page.
COPY --from=clock /fencepost-clock.so /usr/local/lib/

USER redis
WORKDIR /data
# A volume of its own, not the container's top layer: it survives a kill and a restart all the same, and an fsync costs
# what the host's disk costs, not what the image driver adds to it.
VOLUME /data
EXPOSE 6379
# No persistence: as Redlock's critics assume, and as the default image of most deployments runs. A restart forgets.
# No protected mode: the servers talk to nobody but the containers of their own network and 127.0.0.1.
ENTRYPOINT ["redis-server", \
    "--bind", "0.0.0.0", \
    "--port", "6379", \
    "--protected-mode", "no", \
    "--dir", "/data", \
    "--save", "", \
    "--appendonly", "no"]
