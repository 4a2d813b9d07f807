#!/bin/sh
# What the tests need from the system beside Python: a real MQTT broker, OpenSSL to make certificates, systemd-analyze,
# a compiler (for a disk with bad sectors), strace (for the order of writes), time zones.
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need mosquitto mosquitto
need openssl openssl
need systemd-analyze systemd
need cc "gcc libc6-dev"
need strace strace
need mke2fs e2fsprogs
need losetup mount
[ -e /usr/share/zoneinfo/Europe/Berlin ] || missing="$missing tzdata"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "the tests need more from the system; install it with: sudo apt install$missing" >&2
  exit 1
fi
echo "installing$missing ..."
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words is meant
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
