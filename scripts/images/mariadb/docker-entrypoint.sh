#!/bin/sh
# Starts MariaDB as its own user, for other containers. If the data folder is empty, it first makes a new database
# with the values of MARIADB_ROOT_PASSWORD and MARIADB_DATABASE.
set -eu

data=/var/lib/mysql

case ${1-} in
-*) set -- mariadbd "$@" ;;
esac

if [ "$1" != mariadbd ]; then
    exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
    install -d -o mysql -g mysql -m 0755 "$data" /run/mysqld
    find "$data" \! -user mysql -exec chown mysql:mysql '{}' +
    exec setpriv --reuid mysql --regid mysql --clear-groups "$0" "$@"
fi
shift

if [ ! -d "$data/mysql" ]; then
    if [ -z "${MARIADB_ROOT_PASSWORD:-}" ]; then
        echo 'MARIADB_ROOT_PASSWORD is not set: choose a password for the new server' >&2
        exit 1
    fi
    mariadb-install-db --no-defaults --datadir="$data" --auth-root-authentication-method=normal --skip-test-db "$@" >/dev/null
    {
        echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
        echo "CREATE USER 'root'@'%' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
        echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
        [ -z "${MARIADB_DATABASE:-}" ] || echo "CREATE DATABASE \`$MARIADB_DATABASE\`;"
    } >/tmp/first.sql
    set -- --init-file=/tmp/first.sql "$@"
fi

exec mariadbd --no-defaults --datadir="$data" --socket=/run/mysqld/mysqld.sock --bind-address=0.0.0.0 "$@"
