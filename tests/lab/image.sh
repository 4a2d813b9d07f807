#!/usr/bin/env bash
# Builds the lab's guest, a small Debian 12, and prints the folder that holds it: kernel, initrd, root.img.
# It is built once and kept outside of the checkout, in $EDGED_LAB_CACHE (default: edged-lab in the user's cache), until
# this script, the kernel's version or a requirement changes.  A build takes a minute or two, root and a Debian mirror.
# usage: image.sh      (PYTHON: the Python whose pip fetches the daemon's dependencies)
set -euo pipefail

suite=bookworm
packages=systemd,systemd-sysv,udev,dbus,kmod,python3,dmsetup,e2fsprogs,mount,iproute2,procps
# Kernel modules that tests load, beside those that boot it; what they need comes along.
modules="loop dm-mod dm-flakey virtio_net"
boot_modules="virtio_pci virtio_blk crc32c_generic ext4 overlay"
size=700M

cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
cache=${EDGED_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edged-lab}
started=$SECONDS
say() { echo "lab: $*" >&2; }
step() { say "[$((SECONDS - started)) s] $*"; }
give_up() { say "$*"; exit 1; }

# --- what it needs from this machine

command -v apt-get >/dev/null || give_up "it needs a Debian machine: apt-get is not here"
[ "$(dpkg --print-architecture)" = amd64 ] || give_up "it needs an amd64 machine; this is $(dpkg --print-architecture)"
missing=""
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need qemu-system-x86_64 qemu-system-x86
need mmdebstrap mmdebstrap
need busybox busybox-static
need cpio cpio
need modprobe kmod
need mke2fs e2fsprogs
need flock util-linux
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -nE"
root_or_give_up() { $as_root true 2>/dev/null || give_up "$1"; }
if [ -n "$missing" ]; then
  root_or_give_up "more is needed; install it with: sudo apt install$missing"
  say "installing$missing ..."
  $as_root apt-get update -qq
  # shellcheck disable=SC2086  # lists of words are meant
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# --- is it there?

requirements=$(mktemp)
trap 'rm -f "$requirements"*' EXIT
"$python" -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > "$requirements"
kernel=$(apt-cache madison linux-image-amd64 2>/dev/null | awk -F'|' -v suite=$suite '$3 ~ suite { print $2; exit }')
key=$({ cat tests/lab/image.sh "$requirements" requirements-dev.txt; echo "$kernel"; } | sha256sum | cut -c1-16)
image=$cache/$key
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9  # two runs build it once
if [ -e "$image/root.img" ]; then
  touch "$image"
  echo "$image"
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  root_or_give_up "building the guest needs root; build it with: sudo -E $0"
  flock -u 9
  exec sudo -nE env PYTHON="$(command -v "$python")" EDGED_LAB_CACHE="$cache" "$0"
fi

# --- the build

say "building the guest in $image ..."
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work" "$requirements"*' EXIT
root=$work/root
mkdir "$work/kernel" "$work/out"

# The kernel is unpacked and not installed: its package would bring an initramfs and all modules.
cat > "$work/fetch-kernel" <<'END'
#!/bin/sh
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$(dirname "$0")/kernel"
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
apt-get -qq -o APT::Sandbox::User=root download "$package"
END
chmod +x "$work/fetch-kernel"
mmdebstrap --quiet --mode=root --variant=essential --include="$packages" \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="$work/fetch-kernel" \
  "$suite" "$root" >&2 || give_up "Debian $suite cannot be fetched; see above"
step "root file system: $(du -sh "$root" | cut -f1)"

dpkg-deb -x "$work"/kernel/*.deb "$work/kernel"
[ -e "$work/kernel/usr/lib/modules" ] || mv "$work/kernel/lib" "$work/kernel/usr"
version=$(ls "$work/kernel/usr/lib/modules")
cp "$work/kernel/boot/vmlinuz-$version" "$work/out/kernel"
ln -s usr/lib "$work/kernel/lib"
depmod -b "$work/kernel" "$version"
files() { modprobe -d "$work/kernel" -S "$version" -a --show-depends "$@" | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'; }
# shellcheck disable=SC2086
for file in $(files $boot_modules $modules); do
  target=$root/usr/lib/modules/${file##*/lib/modules/}
  mkdir -p "$(dirname "$target")"
  cp "$file" "$target"
done
cp "$work/kernel/usr/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/usr/lib/modules/$version/"
depmod -b "$root" "$version"
step "kernel $version"

grep -oE '^[A-Za-z0-9._-]+==[^ ;]+' requirements-dev.txt > "$requirements.lock"
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-compile \
  --target "$root/usr/lib/python3/dist-packages" --only-binary :all: --implementation cp --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform any \
  --constraint "$requirements.lock" --requirement "$requirements" >&2
chroot "$root" python3 -m compileall -q /usr/lib/python3/dist-packages
step "Python packages"

echo lab > "$root/etc/hostname"
: > "$root/etc/machine-id"  # made at the boot
: > "$root/etc/fstab"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
for unit in getty@tty1.service serial-getty@ttyS0.service fstrim.timer e2scrub_all.timer e2scrub_reap.service \
  dpkg-db-backup.timer systemd-binfmt.service proc-sys-fs-binfmt_misc.automount; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# The initrd: the disk's modules, and memory laid over the root file system, which itself is never written.  So all
# that a guest ever changes is in its memory, and a saved memory fits the image for ever.
initrd=$work/initrd
mkdir -p "$initrd"/{bin,proc,dev,lower,upper,root,modules}
cp /bin/busybox "$initrd/bin/"
# shellcheck disable=SC2086
for file in $(files $boot_modules); do
  cp "$file" "$initrd/modules/"
  echo "/modules/${file##*/}" >> "$initrd/modules/order"
done
cat > "$initrd/init" <<'END'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "$module"; done < /modules/order
until [ -b /dev/vda ]; do $b usleep 20000; done
$b mount -t tmpfs -o mode=0755 tmpfs /upper
$b mkdir /upper/data /upper/work
$b mount -t ext4 -o ro,noatime /dev/vda /lower &&
  $b mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root || $b poweroff -f
$b mount --move /dev /root/dev
$b umount /proc
exec $b switch_root /root /sbin/init
END
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio --quiet -o -H newc) > "$work/out/initrd"

truncate -s "$size" "$work/out/root.img"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$work/out/root.img"
chmod 0755 "$work/out"
[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$cache" "$work/out"
mv "$work/out" "$image"
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +  # images of former days
step "ready: $(du -sh "$image" | cut -f1)"
echo "$image"
