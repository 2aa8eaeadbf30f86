# etcd 3.5 from Debian: one lock server of the cluster.
FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends etcd-server \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /data && chown etcd:etcd /data

COPY etcd.sh /usr/local/bin/etcd.sh
USER etcd
WORKDIR /data
# A volume of its own, not the container's top layer: it survives a kill and a restart all the same, and an fsync costs
# what the host's disk costs, not what the image driver adds to it.
VOLUME /data
EXPOSE 2379
ENTRYPOINT ["/bin/bash", "/usr/local/bin/etcd.sh"]
