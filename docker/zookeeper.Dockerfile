# ZooKeeper 3.9 from Debian: one lock server of the cluster.
#
# Built from the library package and a headless JRE: Debian's `zookeeper` package adds only scripts for a service
# manager, and pulls in a desktop.
# As in redis.Dockerfile, so that it is made once.
FROM debian:trixie-slim AS shims
RUN apt-get update && apt-get install -y --no-install-recommends gcc
COPY sys.h clockshim.c syncshim.c /
RUN for shim in clock sync; do \
    gcc -O2 -Wall -Wextra -Werror -shared -fPIC -ffreestanding -nostdlib -fno-stack-protector \
    -o /fencepost-$shim.so /${shim}shim.c || exit 1; done

FROM debian:trixie-slim

# The JRE's install script fails where slim images have no folder for manual pages.
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && apt-get install -y --no-install-recommends libzookeeper-java openjdk-21-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home zookeeper \
    && mkdir /data /conf && chown zookeeper:zookeeper /data /conf

COPY --from=shims /fencepost-clock.so /usr/local/lib/
COPY zookeeper.sh /usr/local/bin/zookeeper.sh
USER zookeeper
WORKDIR /data
# A volume of its own, not the container's top layer: it survives a kill and a restart all the same, and an fsync costs
# what the host's disk costs, not what the image driver adds to it.
VOLUME /data
EXPOSE 2181
ENTRYPOINT ["/bin/bash", "/usr/local/bin/zookeeper.sh"]
