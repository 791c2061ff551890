#!/usr/bin/env bash
# Runs the library tutorial on this machine: a node for Alice, a node for a colleague, and a hub.
# Everything is real and keeps running, so users can try it. `demo.sh stop` removes it.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${DEMO_BIN:-$here/target/debug}
demo=${DEMO_FOLDER:-/var/lib/dotmesh-demo}
app=$demo/moby-counter
fork=$demo/moby-counter-eleven-users
hub_address=127.0.0.1:8180

[ "$(id -u)" = 0 ] || exec sudo -E DEMO_BIN="$bin" FORCE="${FORCE:-}" "$0" "$@"
PATH=$bin:$PATH
export PATH

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }

# Prints a command as a user would type it, then runs it.
show() {
    printf '\033[36m$ %s\033[0m\n' "$*"
    (cd "$app" && eval "$*")
}

alice() {
    export DOTMESH_SOCKET=/run/dotmesh/api.sock DM_DRIVER=dm PORT=8100 COMPOSE_PROJECT_NAME=mobycounter HOME=$demo/alice
}

bob() {
    export DOTMESH_SOCKET=/run/dotmesh/bob.sock DM_DRIVER=dm2 PORT=8101 COMPOSE_PROJECT_NAME=colleague HOME=$demo/bob
}

wait_until() { # seconds, what, command…
    local seconds=$1 what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "$what did not happen within $seconds seconds; see the logs in $demo"
        sleep 0.1
    done
}

start_docker() {
    docker info >/dev/null 2>&1 && return
    if [ -d /run/systemd/system ]; then
        systemctl start docker || fail "Docker does not start; see 'journalctl -u docker'"
        wait_until 60 "starting Docker" docker info
        return
    fi
    mkdir -p "$demo"
    setsid dockerd >"$demo/dockerd.log" 2>&1 </dev/null &
    echo $! >"$demo/dockerd.pid"
    until docker info >/dev/null 2>&1; do
        kill -0 "$!" 2>/dev/null || fail "Docker does not start:
$(tail -n 5 "$demo/dockerd.log")"
        sleep 0.1
    done
}

refuse_other_node() {
    [ ! -S /run/dotmesh/api.sock ] || ! curl -fsS -m 5 --unix-socket /run/dotmesh/api.sock http://node/v1/version >/dev/null 2>&1 ||
        fail "a Dotmesh node runs here already. Stop it first: 'make demo-stop' if it is the demo's, else 'sudo dm cluster reset', which keeps your dots."
}

# These steps may fail on some machines and need no program of ours, so they come before the build.
prepare() {
    refuse_other_node
    start_docker
    "$here/scripts/images.sh"
}

daemon() { # name, program, arguments…
    local name=$1
    shift
    setsid "$@" >"$demo/$name.log" 2>&1 </dev/null &
    echo $! >"$demo/$name.pid"
}

# Compose 2 is a plugin of Docker's client. Compose 1 is a program of its own.
if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi

app_answers() { curl -fsS -m 5 -o /dev/null "localhost:$PORT/users/0/image" || [ $? = 22 ]; }
database_answers() { (cd "$app" && $compose exec -T users-db psql -U postgres -c 'select count(*) from users'); }

app_ready() {
    wait_until 60 "starting the app" database_answers
    wait_until 60 "starting the app" app_answers
}

log_in() {
    curl -fsS "localhost:$PORT/login" -H 'Content-Type: application/json' -d "{\"Name\":\"$1\"}"
}

start() {
    prepare
    mkdir -p "$demo/alice" "$demo/bob"
    rm -rf "$app" && cp -r "$here/examples/moby-counter" "$app"
    # The app has its own git work tree, so that commits record the version of the code.
    (cd "$app" && git init -q -b multiple-services && git add . &&
        git -c user.name=Alice -c user.email=alice@example.com commit -qm "The moby counter")

    bold "Two nodes and a hub"
    daemon alice dotmeshd --root "$demo/alice/node"
    daemon bob dotmeshd --root "$demo/bob/node" --socket /run/dotmesh/bob.sock \
        --docker-plugin /run/docker/plugins/dm2.sock
    daemon hub dothub serve --data "$demo/hub" --listen "$hub_address"
    wait_until 30 "starting Alice's node" test -S /run/dotmesh/api.sock
    wait_until 30 "starting the colleague's node" test -S /run/dotmesh/bob.sock
    wait_until 30 "starting the hub" curl -fsS "http://$hub_address/api/v1/version"
    alice_key=$(dothub user add alice --data "$demo/hub" | tail -n 1)
    password=$(tr -dc a-z </dev/urandom | head -c 12) || true
    printf %s "$password" | dothub user password alice --data "$demo/hub" >/dev/null
    bob_key=$(dothub user add bob --data "$demo/hub" | tail -n 1)
    tutorial
}

tutorial() {
    alice
    bold "Alice starts her app and captures its empty state"
    show $compose up -d --no-build
    app_ready
    show dm list
    show dm switch mobycounter_app
    show 'dm commit -m "Empty state"'
    export DOTMESH_PASSWORD=$alice_key
    show dm remote add hub "alice@$hub_address"

    bold "A library of states"
    show dm checkout -b many-users
    app_ready
    for n in $(seq 11); do log_in "user$n"; done
    show 'dm commit -m "Created user1...user11 in user databases."'
    show dm push hub mobycounter_app many-users
    show dm checkout master
    app_ready
    show dm checkout -b security-vulnerability
    app_ready
    nobody=$(log_in "" | tr -dc 0-9)
    show "curl -fsS -o /dev/null -F uploadfile=@samples/pirate-flag.png localhost:$PORT/users/$nobody/image"
    show 'dm commit -m "
   Eek - register as any new user (e.g. '"'newuser1'"') to see
   that all new accounts are showing a compromised image."'
    show dm push hub mobycounter_app security-vulnerability
    permalink=$(dm open security-vulnerability --print)
    # The permalink opens the page of that state.
    # grep would end at the first match, and curl would fail at the rest of the page.
    curl -fsS -H "Authorization: Bearer $alice_key" "$permalink" >"$demo/page"
    grep -q "compromised image" "$demo/page" || fail "the permalink does not open"
    show dm checkout master
    app_ready
    show dm log --oneline
    colleague
}

colleague() {
    dothub collaborator add alice/mobycounter_app bob --access read --data "$demo/hub" >/dev/null
    bob
    bold "A colleague brings the security hole up on another node"
    export DOTMESH_PASSWORD=$bob_key
    show dm remote add hub "bob@$hub_address"
    show dm clone hub alice/mobycounter_app --local-name colleague_app
    show dm checkout security-vulnerability
    show $compose up -d --no-build
    app_ready
    local id shown
    log_in newuser1
    id=$(cd "$app" && $compose exec -T users-db psql -U postgres -tAc "select id from users where username = 'newuser1'")
    shown=$(curl -fsS "localhost:$PORT/users/$id/image" | sha256sum)
    [ "$shown" = "$(sha256sum <"$app/samples/pirate-flag.png")" ] || fail "the pirate flag is not there"
    echo "newuser1 sees the pirate flag."
    forks
}

# Runs a command in the work tree of the fork.
in_fork() {
    printf '\033[36m$ %s\033[0m\n' "$*"
    (cd "$fork" && eval "$*")
}

# The number of users in a work tree's app. A word before the query says how Compose is called there.
count_users() { "$@" exec -T users-db psql -U postgres -tAc 'select count(*) from users' | tr -dc 0-9; }

fork_ready() { (cd "$fork" && [ "$(count_users dm compose --)" = 11 ] && curl -fsS -m 5 -o /dev/null "$(dm url web)"); }

forks() {
    alice
    bold "A second work tree of Alice's runs beside her app, with other data"
    show git worktree add -q -b eleven-users ../moby-counter-eleven-users
    in_fork dm up many-users
    wait_until 60 "starting the fork" fork_ready
    show dm ps
    local url empty
    url=$(cd "$fork" && dm url web)
    # shellcheck disable=SC2086
    empty=$(cd "$app" && count_users $compose)
    echo "The app has $empty users, and its fork has 11."

    bold "All of them run. Look at them:"
    cat <<END
  Alice's app, on the empty state:    http://localhost:8100
  its fork, with eleven users:        $url   (in $fork)
  the colleague's, compromised:       http://localhost:8101   (log in as any new user)
  the hole's page on the hub:         $permalink
                                      (log in as alice, password $password)

Go on as root:                        sudo -s
as Alice:                             export PATH=$bin:\$PATH HOME=$demo/alice; dm list; dm checkout many-users
or as the colleague:                  export PATH=$bin:\$PATH HOME=$demo/bob DOTMESH_SOCKET=/run/dotmesh/bob.sock
Take it all away again:               make demo-stop
END
}

end_daemon() {
    [ -f "$demo/$1.pid" ] || return 0
    local pid
    pid=$(cat "$demo/$1.pid")
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$demo/$1.pid"
}

# Lists the dots that the user has made on the demo's nodes.
other_dots() {
    for node in alice bob; do
        ("$node" && dm list -H 2>/dev/null) || true
    done | cut -f1 | sed 's/^[* ]*//' | { grep -vxE 'mobycounter_app|colleague_app' || true; }
}

stop() {
    [ -d "$demo" ] || { echo "There is no demo on this machine."; return; }
    local others
    others=$(other_dots | paste -sd ' ')
    [ -z "$others" ] || [ "${FORCE:-}" = 1 ] || fail "these dots of yours are in the demo's nodes and would be deleted: $others
Push what you want to keep to a hub of your own. Then run: make demo-stop FORCE=1"
    if docker info >/dev/null 2>&1 && [ -d "$app" ]; then
        # Forks have containers and networks of their own.
        for node in alice bob; do
            "$node" && for name in $(dm ps --names 2>/dev/null); do dm down "$name" --delete || true; done
        done
        alice && (cd "$app" && $compose down -v) || true
        bob && (cd "$app" && $compose down -v) || true
    fi
    for name in alice bob hub dockerd; do end_daemon "$name"; done
    for node in alice bob; do
        if mountpoint -q "$demo/$node/node/pool"; then umount "$demo/$node/node/pool"; fi
    done
    rm -rf "$demo"
    echo "The demo is gone."
}

case ${1:-} in
prepare) prepare ;;
start) start ;;
stop) stop ;;
*) echo "usage: $0 prepare|start|stop" >&2; exit 2 ;;
esac
