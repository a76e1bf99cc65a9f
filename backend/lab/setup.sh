#!/bin/sh
# Installs what virt-ferry and its lab need: system packages, a guest kernel, .venv.
# May be run again at any time: it is quick, and needs no network, when nothing is missing.
# It starts no daemon: the lab runs its own and does not depend on the machine's.
set -eu

cache=/var/cache/virt-ferry
root=$(cd "$(dirname "$0")/../.." && pwd)
packages="
    busybox-static ca-certificates gcc iproute2 iputils-ping libc6-dev libvirt-clients
    libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-dev openssh-client
    openssh-server pkg-config python3 python3-dev python3-venv qemu-system-x86 qemu-utils
    xz-utils zstd
"
modules="
    virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover
    net_failover virtio_net virtio_blk button evdev
"
DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND PATH
# A caller inside some Python environment must not leak it into ours.
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV || true

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

scratch=
our_policy=
clean_up() {
    if [ -n "$our_policy" ]; then rm -f "$our_policy"; fi
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Runs a command silently; shows what it said only if it failed.
quietly() {
    what=$1
    shift
    if ! "$@" >"$scratch/log" 2>&1; then
        tail -n 20 "$scratch/log" >&2
        die "$what failed; what it said is above."
    fi
}

refuse_distribution() {
    # shellcheck disable=SC2086  # one word each
    set -- $packages
    die "this script knows Debian 12 and 13 and Ubuntu 24.04 LTS and later LTS on x86-64; this is ${1:+$distribution}.
Needed, by their Debian names: $*
and the kernel of linux-image-cloud-amd64 as $cache/kernel/vmlinuz, with the modules
$(echo $modules) as $cache/kernel/modules/NAME.ko, uncompressed;
then: python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'"
}

check_machine() {
    [ "$(id -u)" = 0 ] || die "this installs packages, which takes root. Run it as root."
    distribution="an unknown system"
    if [ -r /etc/os-release ]; then
        # shellcheck disable=SC1091
        distribution=$(. /etc/os-release && echo "${PRETTY_NAME:-$ID}")
        # shellcheck disable=SC1091
        release=$(. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}")
    fi
    case "$(uname -m) ${release:-}" in
        "x86_64 debian-12" | "x86_64 ubuntu-24.04") ;;
        "x86_64 debian-13" | "x86_64 ubuntu-26.04")
            # From here on, libvirt's drivers are packages of their own.
            for driver in interface network nodedev nwfilter secret storage; do
                packages="$packages libvirt-daemon-driver-$driver"
            done ;;
        *) refuse_distribution ;;
    esac
    case ${release%%-*} in
        debian) kernel_package=linux-image-cloud-amd64 ;;
        *) kernel_package=linux-image-virtual ;;
    esac
}

# Package lists are fetched at most once, and only when something is missing.
refresh_lists() {
    if [ -z "${lists_fresh:-}" ]; then
        quietly "apt-get update" apt-get -q update
        lists_fresh=yes
    fi
}

missing_packages() {
    # shellcheck disable=SC2086  # one word each
    dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' $packages 2>/dev/null |
        sed -n 's/^installed \([^:]*\).*/\1/p' >"$scratch/installed" || true
    for package in $packages; do
        grep -qxF "$package" "$scratch/installed" || echo "$package"
    done
}

# Keeps freshly installed packages from starting daemons: the machine's services stay as they are.
forbid_starts() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        our_policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$our_policy"
        chmod 755 "$our_policy"
    fi
}

allow_starts() {
    if [ -n "$our_policy" ]; then rm -f "$our_policy"; fi
    our_policy=
}

# Nor at the next boot, where there was no such service before.
leave_disabled() {
    command -v systemctl >/dev/null || return 0
    for package in "$@"; do
        case $package in
            openssh-server) units="ssh.service ssh.socket" ;;
            libvirt-daemon-system)
                units="libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
                       virtlogd.socket virtlockd.socket libvirt-guests.service" ;;
            *) continue ;;
        esac
        for unit in $units; do
            systemctl disable "$unit" >/dev/null 2>&1 || true
        done
        say "$package is installed but not enabled: the lab runs its own"
    done
}

install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086  # one word each
    set -- $missing
    say "installing packages: $*"
    refresh_lists
    forbid_starts
    quietly "apt-get install" \
        apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$@"
    allow_starts
    leave_disabled "$@"
}

# The packages that a kernel's own package only points to.
kernel_parts() {
    apt-cache depends "$kernel_package" |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1 >"$scratch/kernel"
    read -r image <"$scratch/kernel" || return 1
    echo "$image"
    case $kernel_package in
        linux-image-virtual) echo "linux-modules-${image#linux-image-}" ;;
    esac
}

# $1: a module, perhaps compressed; $2: where it goes
unpack_module() {
    case $1 in
        *.xz) xz -dc "$1" >"$2" ;;
        *.zst) zstd -qdc "$1" >"$2" ;;
        *.gz) gzip -dc "$1" >"$2" ;;
        *) cp "$1" "$2" ;;
    esac
}

fetch_kernel() {
    [ ! -e "$cache/kernel/vmlinuz" ] || return 0
    refresh_lists
    parts=$(kernel_parts) || die "apt knows no $kernel_package; check its sources."
    say "fetching the guests' kernel, not installed: $(echo $parts)"
    mkdir "$scratch/deb" "$scratch/tree" "$scratch/new" "$scratch/new/modules"
    # shellcheck disable=SC2086  # one word each
    (cd "$scratch/deb" && quietly "apt-get download" \
        apt-get -q -o APT::Sandbox::User=root download $parts)
    for deb in "$scratch"/deb/*.deb; do dpkg -x "$deb" "$scratch/tree"; done
    for module in $modules; do
        found=$(find "$scratch/tree" -name "$module.ko*" | head -n 1)
        # One that is not there is built into this kernel.
        if [ -n "$found" ]; then unpack_module "$found" "$scratch/new/modules/$module.ko"; fi
    done
    mkdir -p "$cache"
    rm -rf "$cache/kernel.new" "$cache/kernel"
    cp -r "$scratch/new" "$cache/kernel.new"
    cp "$scratch"/tree/boot/vmlinuz-* "$cache/kernel.new/vmlinuz"
    mv "$cache/kernel.new" "$cache/kernel"
}

make_venv() {
    venv=$root/.venv
    stamp=$( (/usr/bin/python3 -V && cat "$root/pyproject.toml" && echo "$root") | sha256sum)
    if [ -x "$venv/bin/virt-ferry" ] && [ "$(cat "$venv/.setup" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    say "installing the project and its Python packages into $venv"
    if ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        quietly "python3 -m venv" /usr/bin/python3 -m venv --clear "$venv"
    fi
    quietly "pip install" "$venv/bin/pip" install --disable-pip-version-check -q -e "$root[dev]"
    printf '%s\n' "$stamp" >"$venv/.setup"
}

check_machine
scratch=$(mktemp -d)
install_packages
fetch_kernel
make_venv
say "everything is there"
