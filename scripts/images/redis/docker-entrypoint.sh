#!/bin/sh
# Starts Redis as its own user, for other containers, with its data in the working folder.
set -eu

case ${1-} in
-* | *.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
    shift
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis:redis '{}' +
        set -- setpriv --reuid redis --regid redis --clear-groups redis-server "$@"
    else
        set -- redis-server "$@"
    fi
    set -- "$@" --protected-mode no
fi
exec "$@"
