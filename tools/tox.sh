#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What ./qualify, ./tcpqual and ./check share: `tools/tox.sh qualify [ARGUMENT...]`, `tools/tox.sh tcpqual COMMAND...`,
# `tools/tox.sh check [ENVIRONMENT...]`.
#
# Everything it makes is under .tox in the checkout. .tox/bootstrap is a virtual environment with tox; tox makes one
# environment beside it for each of its own. A stamp is written when a set-up is complete and taken away before it
# begins, so what a killed run left half-made is known by its missing stamp, and is made anew.
#
# Exit status: 2 something is missing or wrong here, 3 the set-up failed, else what the command itself says.
set -u

tox='tox>=4.60,<5'
us=${1:?qualify, tcpqual or check}
shift

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
work=$root/.tox
bootstrap=$work/bootstrap
# A virtual environment cannot be moved, so a checkout that was is set up anew.
whole="$tox in $root"

say() {
    printf '%s: %s\n' "$us" "$*" >&2
}

fail() {
    status=$1
    shift
    say "$*"
    exit "$status"
}

# A pyenv shim may exist for a Python that is not there, so every candidate has to run and speak for itself.
find_python() {
    python=
    short=
    old=
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/local/bin/python3 /usr/bin/python3; do
        found=$("$candidate" -I -c 'import sys
try:
    import venv
    from ensurepip import bootstrap
    complete = "complete"
except ImportError:
    complete = "short"
print("old" if sys.version_info < (3, 11) else complete, "%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case $found in
            complete*) python=$candidate; return ;;
            short*) [ -n "$short" ] || short=${found#short } ;;
            old*) [ -n "$old" ] || old=${found#old } ;;
        esac
    done
    if [ -n "$short" ]; then
        fail 2 "Python $short has no venv module; on Debian or Ubuntu: apt-get install python$short-venv" \
            "(or python3-venv)"
    fi
    fail 2 "needs Python 3.11 or later, found ${old:-none}; on Debian or Ubuntu: apt-get install python3 python3-venv"
}

bootstrap_is_intact() {
    [ "$(cat "$bootstrap/stamp" 2>/dev/null)" = "$whole" ] &&
        "$bootstrap/bin/python" -I -c 'import tox.run' 2>/dev/null
}

make_bootstrap() {
    find_python
    say "setting up under .tox, about a minute; later runs start at once"
    # The other environments go too: they were made of a Python or a tox that may be gone.
    find "$work" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} + || fail 2 "cannot clear $work"
    say "making a virtual environment for tox with $("$python" -I -V 2>&1)"
    "$python" -I -m venv "$bootstrap" >&2 || fail 3 "$python -m venv failed, see above"
    "$bootstrap/bin/python" -I -m pip install --quiet "$tox" >&2 ||
        fail 3 "tox could not be installed, see above; is the package index within reach?"
    printf '%s\n' "$whole" >"$bootstrap/stamp"
}

# No stamp, or no Python behind it: half-made.
is_whole() {
    [ -s "$work/$1.stamp" ] && [ -x "$work/$1/bin/python" ]
}

make_environments() {
    stale=
    recreate=
    for environment in $environments; do
        is_whole "$environment" || recreate=--recreate
        is_whole "$environment" && [ "$(cat "$work/$environment.stamp")" = "$wanted" ] && continue
        stale="$stale${stale:+,}$environment"
        rm -f "$work/$environment.stamp"
    done
    [ -n "$stale" ] || return 0
    say "setting up the tox environments it needs: $stale"
    "$bootstrap/bin/python" -I -m tox run --conf "$root/tox.ini" --no-list-dependencies --notest $recreate \
        -e "$stale" >&2 ||
        fail 3 "a tox environment could not be made, see above; is the package index within reach?"
    for environment in $(printf '%s' "$stale" | tr ',' ' '); do
        printf '%s\n' "$wanted" >"$work/$environment.stamp"
    done
}

case $us in
    qualify | tcpqual) environments=qualify ;;
    check)
        for environment; do
            case $environment in
                lint | type | docs | tests) ;;
                *) fail 2 "unknown tox environment '$environment': lint, type, docs or tests" ;;
            esac
        done
        environments=${*:-lint type docs tests}
        ;;
    *) fail 2 "unknown command '$us': qualify, tcpqual or check" ;;
esac

command -v git >/dev/null 2>&1 || fail 2 "needs git; on Debian or Ubuntu: apt-get install git"
mkdir -p "$work" 2>/dev/null && [ -w "$work" ] && [ -w "$root" ] ||
    fail 2 "cannot write to $root as $(id -un); clone it to a directory of your own"
if [ "$(id -u)" != 0 ] && [ -n "$(find "$work" -maxdepth 2 ! -user "$(id -u)" -print 2>/dev/null | head -n 1)" ]; then
    fail 2 "$work holds files of another user; remove it as that user: rm -rf $work"
fi
# pip keeps the user's own settings, but for the one that forbids a virtual environment.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONHOME PYTHONPATH

# The lock is held by whatever the set-up starts, too: what a killed run left behind has ended before we go on.
exec 9>"$work/lock"
if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
    say "waiting for another set-up in this checkout to end"
    flock 9
fi
bootstrap_is_intact || make_bootstrap
wanted=$(cat "$root/pyproject.toml" "$root/setup.py" "$root/tox.ini" "$root/tools/tox.sh" | cksum)
make_environments
exec 9>&-

if [ "$us" = check ]; then
    exec "$bootstrap/bin/python" -I -m tox run --conf "$root/tox.ini" --no-list-dependencies --skip-env-install \
        -e "$(printf '%s' "$environments" | tr ' ' ',')"
fi
# What `tox run -e qualify` runs, without a process between: terminal, signals and exit status are the run's own.
VIRTUAL_ENV=$work/qualify
PATH=$VIRTUAL_ENV/bin:$PATH
export VIRTUAL_ENV PATH
[ "$us" = tcpqual ] || set -- run "$@"
exec tcpqual "$@"
