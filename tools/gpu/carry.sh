#!/usr/bin/env bash
# Collect what a proof needs besides this checkout, for a machine with a GPU and no network.
#
#   tools/gpu/carry.sh [--python 3.12] [--machine x86_64] [--out FOLDER] [--part-mib 50]
#                      [--without NAME]... [--torch] [REQUIREMENT...]
#
# Without REQUIREMENT that is the project with what its extras `build` and `cuda` need, at the
# releases of constraints.txt. PyTorch is left out unless --torch asks for it: its CUDA build is
# gigabytes, and a machine that proves a GPU mostly has one. --without leaves out what else is there.
# FOLDER then holds parts of at most --part-mib MiB, their digests, and install.sh, which joins and
# installs them there. What has no wheel, as pycuda, is compiled there: it needs the CUDA toolkit.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=3.12 machine=x86_64 out=carry part_mib=50 torch=no
without=() requirements=()

fail() {
    echo "carry.sh: $1" >&2
    exit 2
}

while (($#)); do
    case $1 in
    --python | --machine | --out | --part-mib | --without)
        (($# > 1)) || fail "$1 needs a value"
        case $1 in
        --python) python=$2 ;;
        --machine) machine=$2 ;;
        --out) out=$2 ;;
        --part-mib) part_mib=$2 ;;
        --without) without+=("$2") ;;
        esac
        shift 2
        ;;
    --torch) torch=yes && shift ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
    -*) fail "no option $1: see --help" ;;
    *) requirements+=("$1") && shift ;;
    esac
done
[[ $python =~ ^3\.[0-9]+$ ]] || fail "--python is $python, expected a version such as 3.12"
[[ $machine == x86_64 || $machine == aarch64 ]] ||
    fail "--machine is $machine, expected x86_64 or aarch64"
[[ $part_mib =~ ^[0-9]+$ && $part_mib -ge 1 && $part_mib -le 50 ]] ||
    fail "--part-mib is $part_mib, expected 1 to 50"
[[ ! -e $out ]] || fail "$out exists: remove it, or give another --out"
bin=${FASDK_BIN:-$root/.venv/bin}
[[ -x $bin/uv && -x $bin/python ]] || fail "no uv in $bin: run \`make install\`"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/wheels" "$work/out"

[[ $torch == yes ]] || without+=(torch)
# A requirement that no machine meets takes a package out of the resolution, its own needs with it.
for name in "${without[@]}"; do
    echo "$name ; sys_platform == 'none'"
done >"$work/overrides.txt"
if ((${#requirements[@]})); then
    printf '%s\n' "${requirements[@]}" >"$work/requirements.in"
    input=("$work/requirements.in")
else
    # setuptools compiles pycuda, scikit-build-core and nanobind the checkout, with cmake and ninja.
    printf '%s\n' setuptools wheel cmake ninja 'scikit-build-core>=0.10' 'nanobind>=2.2' \
        >"$work/requirements.in"
    input=("$work/requirements.in" "$root/pyproject.toml" --extra build --extra cuda)
fi
echo "Resolving for Python $python on $machine" >&2
"$bin/uv" pip compile "${input[@]}" -c "$root/constraints.txt" -c "$root/tools/jetson/constraints.txt" \
    --override "$work/overrides.txt" --python-version "$python" \
    --python-platform "$machine-manylinux_2_28" --no-header --no-annotate -q \
    -o "$work/requirements.txt"

echo "Downloading $(wc -l <"$work/requirements.txt") packages" >&2
platforms=()
# pip takes each name for itself; a wheel for an older system runs on a newer one.
for tag in manylinux1 manylinux2010 manylinux2014 manylinux_2_{5,12,17,24,26,27,28}; do
    platforms+=(--platform "${tag}_$machine")
done
"$bin/python" -m pip --disable-pip-version-check download -q --no-deps --prefer-binary \
    --python-version "$python" --implementation cp "${platforms[@]}" \
    -r "$work/requirements.txt" -d "$work/wheels"

cp "$work/requirements.txt" "$work/wheels"
tar -C "$work" -cf - wheels | split -b "${part_mib}M" -d -a 3 - "$work/out/wheels.tar."
(cd "$work/out" && sha256sum wheels.tar.* >SHA256SUMS)
cat >"$work/out/install.sh" <<'INSTALL'
#!/usr/bin/env bash
# Join the parts beside this script and install them, without a network.
#
#   install.sh --venv FOLDER [--checkout FOLDER]      a new virtual environment
#   install.sh --python PROGRAM [--checkout FOLDER]   that Python's own environment
#
# With --python what is there already stays as it is. --checkout also installs the project, editable,
# which compiles its preprocessing.
set -euo pipefail
parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv='' python='' checkout=''
while (($#)); do
    (($# > 1)) || { echo "install.sh: $1 needs a value" >&2 && exit 2; }
    case $1 in
    --venv) venv=$2 ;;
    --python) python=$2 ;;
    --checkout) checkout=$2 ;;
    *) echo "install.sh: no option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
[[ -n $venv || -n $python ]] || { echo "install.sh: give --venv or --python" >&2 && exit 2; }
(cd "$parts" && sha256sum --quiet -c SHA256SUMS) ||
    { echo "install.sh: a part is missing or damaged: copy it again" >&2 && exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat "$parts"/wheels.tar.* | tar -C "$work" -xf -
wanted=$work/wheels/requirements.txt
if [[ -n $venv ]]; then
    python3 -m venv "$venv"
    python=$venv/bin/python
else
    sed -E 's/[=;].*//' "$wanted" >"$work/names.txt"
    wanted=$work/names.txt
fi
# pycuda is compiled: here against the toolkit that is found and the driver, which without its
# development files has no name to link by, and without cuRAND, which nothing here needs.
toolkit='' driver=''
for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda "$(dirname "$(command -v nvcc)")/.."; do
    if [[ -f $folder/include/cuda.h ]]; then toolkit=$folder && break; fi
done
IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
for folder in "${folders[@]}" /usr/local/nvidia/lib64 /usr/lib/*-linux-gnu{,/nvidia,/tegra} /usr/lib64; do
    if [[ -e $folder/libcuda.so.1 ]]; then driver=$folder/libcuda.so.1 && break; fi
done
mkdir "$work/home" "$work/link"
[[ -z $driver ]] || ln -s "$driver" "$work/link/libcuda.so"
cat >"$work/home/.aksetup-defaults.py" <<DEFAULTS
CUDA_ENABLE_CURAND = False
CUDA_INC_DIR = ["$toolkit/include"]
CUDADRV_LIB_DIR = ["$work/link", "$toolkit/lib64/stubs", "$toolkit/lib64"]
CXXFLAGS = ["-O0", "-g0", "-w"]
DEFAULTS
export HOME=$work/home
pip=("$python" -m pip --disable-pip-version-check install -q --no-index --find-links "$work/wheels")
"${pip[@]}" -r "$wanted"
[[ -z $checkout ]] || "${pip[@]}" --no-deps --no-build-isolation -e "$checkout"
INSTALL
chmod +x "$work/out/install.sh"
mkdir -p "$(dirname "$out")"
cp -r "$work/out" "$out"
echo "$out: $(ls "$out"/wheels.tar.* | wc -l) parts, $(du -sm "$out" | cut -f1) MiB" >&2
