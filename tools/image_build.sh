#!/usr/bin/env bash
# Builds the image where there is no Docker: with buildah, on a base made by debootstrap. As root, on a Debian with its
# python3 in the versions that we support; not part of `make check`. Everything lies in the folder that is named.
#   tools/image_build.sh /tmp/image
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?image_build: name a folder}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$folder"
export BUILDAH_ISOLATION=chroot
store=(--root "$folder/store" --runroot "$folder/run" --storage-driver vfs)

command -v buildah debootstrap > /dev/null ||
  apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends buildah debootstrap

if ! buildah "${store[@]}" inspect --type image localhost/crown-base > /dev/null 2>&1; then
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$folder/base" "$mirror"
  ln --symbolic --force python3 "$folder/base/usr/bin/python"
  rm -rf "$folder"/base/var/cache/apt/archives/*.deb "$folder"/base/var/lib/apt/lists/*
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" copy --quiet "$container" "$folder/base" /
  buildah "${store[@]}" commit --quiet "$container" localhost/crown-base
  buildah "${store[@]}" rm "$container"
fi

# How this machine reaches the index of packages, and whom it trusts there; none of it becomes part of the image.
mounts=()
for path in /etc/pip.conf /etc/ssl/certs; do
  [ ! -e "$path" ] || mounts+=(--volume "$path:$path:ro")
done
buildah "${store[@]}" bud --network host --layers=false --pull-never --build-arg BASE=localhost/crown-base \
  "${mounts[@]}" --tag crown-notification-service .
buildah "${store[@]}" images
