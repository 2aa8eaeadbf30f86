#!/usr/bin/env bash
# Sees to it that the image debian:trixie-slim is there, which all images of the cluster are built on.
#
# In this order: already present; pulled from a registry; made here with debootstrap, for machines that reach a Debian
# mirror but no registry. Only the last needs root. Run it again as often as you like: present means done.
#
#   FENCEPOST_DEBIAN_MIRROR   where debootstrap and the image get their packages (default http://deb.debian.org/debian)
set -euo pipefail

image=debian:trixie-slim
mirror=${FENCEPOST_DEBIAN_MIRROR:-http://deb.debian.org/debian}
pull_seconds=30 # enough for 30 MB; without a network a pull fails at once

say() { printf 'base.sh: %s\n' "$*" >&2; }

if ! command -v docker >/dev/null; then
    say "the docker command is missing: install it (Debian: docker-cli or docker.io)"
    exit 1
fi
if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
docker version >/dev/null || { say "no Docker daemon answers: start it, then run this again"; exit 1; }

# A mirror that was chosen by hand also has to end up inside the image, so then there is nothing to pull.
if [ -z "${FENCEPOST_DEBIAN_MIRROR:-}" ]; then
    say "pulling $image"
    if timeout "$pull_seconds" docker pull --quiet "$image" >/dev/null 2>&1; then
        exit 0
    fi
    say "no registry gave $image; making it with debootstrap from $mirror"
fi

if [ "$(id -u)" -ne 0 ]; then
    say "debootstrap needs root: run 'sudo $0', or get the image with 'docker pull $image' where a registry can be reached"
    exit 1
fi
if ! command -v debootstrap >/dev/null; then
    if ! command -v apt-get >/dev/null; then
        say "debootstrap is missing and there is no apt-get: install debootstrap, or 'docker pull $image'"
        exit 1
    fi
    say "installing debootstrap"
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        debootstrap debian-archive-keyring >&2
fi

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
if ! debootstrap --variant=minbase trixie "$root" "$mirror" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    say "debootstrap failed: see above; another mirror can be named in FENCEPOST_DEBIAN_MIRROR"
    exit 1
fi

# What Debian's own slim image does too: no documentation and no package lists, now and in what is installed later.
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
SLIM
cat >"$root/etc/apt/apt.conf.d/slim" <<'SLIM'
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
SLIM
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log
find "$root/usr/share/doc" -type f ! -name copyright -delete

tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
say "made $image"
