#!/bin/sh
# Fetches CPythons that this machine's distribution does not have from Debian's unstable suite, and
# unpacks them into a cache outside the tree: no root, nothing installed, apt's own state untouched.
#   tools/debian-pythons.sh NAME...      3.14, 3.15, 3.13-dbg: what is not there yet is fetched
#   tools/debian-pythons.sh --list       prints what is there: "3.14 /path/to/python3.14"
# 3.14-arm64 is one for another processor, which needs QEMU (qemu-aarch64 -L): it is not listed.
# What is there stays as it is; delete its folder to get the newest.
set -eu
cache="${XDG_CACHE_HOME:-$HOME/.cache}/aionursery/pythons"

program() {
    case $1 in
    *-dbg) echo "$cache/$1/usr/bin/python${1%-dbg}d" ;;
    *-arm64) echo "$cache/$1/usr/bin/python${1%-arm64}" ;;
    *) echo "$cache/$1/usr/bin/python$1" ;;
    esac
}

if [ "${1:-}" = --list ]; then
    for tree in "$cache"/3.*; do
        name=${tree##*/}
        case $name in *-arm64) continue ;; esac
        if [ -x "$(program "$name")" ]; then
            echo "$name $(program "$name")"
        fi
    done
    exit 0
fi

missing=""
for name in "$@"; do
    [ -x "$(program "$name")" ] || missing="$missing $name"
done
if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "no CPython$missing: apt-get and dpkg-deb, which would fetch them, are not here" >&2
    exit 1
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: > "$work/status"

# The mirror is the one that works here: the first archive of Debian's among apt's own sources.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
    | grep -E '/debian/?$' | head -n 1) || mirror=""
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=""
if [ -e "$keyring" ]; then
    signed="[signed-by=$keyring] "
fi
echo "deb $signed${mirror:-http://deb.debian.org/debian/} sid main" > "$work/sources.list"
# Nothing counts as installed, so that apt resolves down to the C library: the newest CPython wants
# a newer one than this machine has. Its icons and descriptions are not wanted.
cat > "$work/apt.conf" <<END_OF_CONF
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Debug::NoLocking "1";
APT::Install-Recommends "0";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "0";
END_OF_CONF
export APT_CONFIG="$work/apt.conf"
# One run fetches for one processor.
case $missing in
*-arm64) echo 'APT::Architecture "arm64"; APT::Architectures "arm64";' >> "$work/apt.conf" ;;
esac
if ! apt-get -qq --error-on=any update >"$work/log" 2>&1; then
    cat "$work/log" >&2
    echo "no CPython$missing: Debian's unstable suite cannot be read" >&2
    exit 1
fi

for name in $missing; do
    minor=${name%-dbg}
    minor=${minor%-arm64}
    tree="$work/$name"
    echo "fetching CPython $name from Debian"
    packages="python$minor python$minor-venv libpython$minor-testsuite libpython$minor-dev patchelf"
    case $name in
    *-dbg) packages="$packages python$minor-dbg" ;;
    *-arm64) packages="python$minor" ;;
    esac
    # shellcheck disable=SC2086
    if ! apt-get -qq -y --download-only install $packages >"$work/log" 2>&1; then
        cat "$work/log" >&2
        echo "no CPython $name: Debian's packages of it cannot be had" >&2
        exit 1
    fi
    mkdir "$tree"
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree" --exclude=./usr/share/doc \
            --exclude=./usr/share/man --exclude=./usr/lib/debug --exclude='./usr/lib/*/*.a'
        rm "$package"
    done

    case $name in
    *-arm64)
        # Debian's own package of directories, which is not among these, has this link.
        ln -s usr/lib "$tree/lib"
        rm -rf "${cache:?}/$name"
        mv "$tree" "$cache/$name"
        continue
        ;;
    esac

    # The interpreter is told to find its own loader and libraries, where a wrapper that sets
    # variables would break environments, and what they hold would reach every child process.
    # DT_RPATH, unlike DT_RUNPATH, also holds for the libraries of what it loads. The loader comes
    # last: patchelf 0.18 breaks programs at fixed addresses if it comes first.
    here=$(dirname "$(find "$tree" -name libc.so.6 | head -n 1)")
    there="$cache/$name${here#"$tree"}"
    python=$(program "$name")
    python="$tree${python#"$cache/$name"}"
    loader=$(find "$here" -name 'ld-linux*.so.*' -o -name 'ld64.so.*' | head -n 1)
    edit() { "$loader" --library-path "$here" "$tree/usr/bin/patchelf" "$@" "$python"; }
    edit --force-rpath --set-rpath "$there"
    edit --set-interpreter "$there/${loader##*/}"
    # The wheels that environments get their pip from, and the half of the headers that is beside
    # the other, are meant to be at the root.
    sed -i "s|'/usr/share/python-wheels|'$cache/$name/usr/share/python-wheels|" \
        "$tree/usr/lib/python$minor"/_sysconfigdata*.py
    sed -i "s|<\(.*/python$minor.*/pyconfig.h\)>|\"../\1\"|" "$tree/usr/include/python$minor"*/pyconfig.h
    rm -rf "${cache:?}/$name"
    mv "$tree" "$cache/$name"
    "$(program "$name")" -c 'import asyncio, ctypes, sqlite3, ssl, zlib' || {
        rm -rf "${cache:?}/$name"
        echo "no CPython $name: what was unpacked does not run here" >&2
        exit 1
    }
done
